package origin

import (
	"context"
	"errors"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

func TestFailuresHaveTheirType(t *testing.T) {
	for _, c := range []struct {
		name   string
		script string
		want   selvage.ProxyErrorType
		after  time.Duration
	}{
		{"garbage", "does\nsend hello\\r\\n\\r\\n", selvage.ResponseProtocolError, 0},
		{"closed before the answer", "answers 200\nclose", selvage.ConnectionTerminated, 0},
		{"reset before the answer", "answers 200\nreset", selvage.ConnectionTerminated, 0},
		{"head too large", "answers 200\nX-Large: " + strings.Repeat("x", 70<<10), selvage.ResponseHeadTooLarge, 0},
		{"no head in time", "answers 200\nhang", selvage.ResponseTimeout, 30 * time.Second},
		{"body too short", "answers 200\nContent-Length: 100\nchunk half\nclose", selvage.ResponseIncomplete, 0},
		{"body reset", "answers 200\nchunk half\nreset", selvage.ResponseIncomplete, 0},
		{"body stops", "answers 200\nchunk half\nhang", selvage.ResponseTimeout, time.Minute},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				b.origin(1, c.script)
				set := standard("http://10.0.0.1")
				set.Retry.Attempts = 1
				p := b.pool(set)
				defer p.Release()
				start := time.Now()
				_, _, err := ask(p, "GET", "")
				b.wantType(err, c.want)
				if took := time.Since(start); took != c.after {
					t.Errorf("it took %v; want %v", took, c.after)
				}
				if s := p.Status()[0]; s.LastError == "" || s.InFlight != 0 {
					t.Errorf("status %+v; want the error, and nothing in flight", s)
				}
			})
		})
	}
}

func TestConnectionsThatAreNotMadeHaveTheirType(t *testing.T) {
	at := netip.MustParseAddrPort("10.0.0.1:80")
	inBed(t, func(b *bed) {
		set := standard("http://10.0.0.1")
		set.Retry.Attempts = 1
		p := b.pool(set)
		defer p.Release()
		_, rec, err := ask(p, "GET", "")
		b.wantType(err, selvage.ConnectionRefused)
		if rec.Detail != err.Error() || rec.Origin.Kept()[0].Error != selvage.ConnectionRefused {
			t.Errorf("the record says %q, %+v", rec.Detail, rec.Origin.Kept())
		}
		b.net.Unreachable(at)
		start := time.Now()
		_, _, err = ask(p, "GET", "")
		b.wantType(err, selvage.ConnectionTimeout)
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %v; want 1s", took)
		}
	})
}

func TestTotalDeadlineBoundsAllAttempts(t *testing.T) {
	for _, c := range []struct {
		name      string
		firstByte time.Duration
		tries     int
	}{{"with a bound for each", 10 * time.Second, 3}, {"without", 0, 1}} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				o := b.origin(1, "answers 200\nhang")
				set := standard("http://10.0.0.1")
				set.Retry.Attempts = 10
				set.Timeout.FirstByte, set.Timeout.Total = selvage.Duration(c.firstByte), selvage.Duration(25*time.Second)
				p := b.pool(set)
				defer p.Release()
				start := time.Now()
				_, _, err := ask(p, "GET", "")
				b.wantType(err, selvage.ResponseTimeout)
				if took := time.Since(start); took != 25*time.Second {
					t.Errorf("it took %v; want 25s", took)
				}
				if o.Requests() != c.tries {
					t.Errorf("%d tries; want %d", o.Requests(), c.tries)
				}
			})
		})
	}
}

func TestTotalDeadlineEndsWithTheHead(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 200\nevery 10s chunk x")
		set := standard("http://10.0.0.1")
		set.Timeout.FirstByte, set.Timeout.Total = 0, selvage.Duration(15*time.Second)
		p := b.pool(set)
		defer p.Release()
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		if _, err := io.ReadFull(resp.Body, make([]byte, 10)); err != nil {
			t.Errorf("reading on after the deadline: %v", err)
		}
	})
}

func TestSlowUploadIsNotTheOriginsFault(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1)
		set := standard("http://10.0.0.1")
		p := b.pool(set)
		defer p.Release()
		pr, pw := io.Pipe()
		defer pw.Close()
		req, _ := http.NewRequest("PUT", "http://shop.example/", pr)
		_, err := p.RoundTrip(req)
		b.wantType(err, selvage.ResponseTimeout)
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed: %s", s.LastError)
		}
	})
}

func TestRequestIsInFlightUntilTheAnswersEnd(t *testing.T) {
	for _, end := range []string{"read", "close"} {
		inBed(t, func(b *bed) {
			b.origin(1, "answers 200\nchunk one\nwait 1s\nchunk two")
			p := b.pool(standard("http://10.0.0.1"))
			defer p.Release()
			req, _ := http.NewRequest("GET", "http://shop.example/", nil)
			resp, err := p.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			if n := p.Status()[0].InFlight; n != 1 {
				t.Errorf("%d in flight before the end; want 1", n)
			}
			if end == "read" {
				io.ReadAll(resp.Body)
			} else {
				resp.Body.Close()
			}
			if n := p.Status()[0].InFlight; n != 0 {
				t.Errorf("%d in flight after %s; want 0", n, end)
			}
			resp.Body.Close()
			if n := p.Status()[0].InFlight; n != 0 {
				t.Errorf("%d in flight after all; want 0", n)
			}
		})
	}
}

func TestHostIsSentAsConfigured(t *testing.T) {
	for _, c := range []struct{ set, endpoint, want string }{
		{"", "http://10.0.0.1", "shop.example"},
		{"keep", "http://10.0.0.1", "shop.example"},
		{"endpoint", "http://10.0.0.1", "10.0.0.1"},
		{"endpoint", "http://web.internal:80", "web.internal"},
		{"web.example:8080", "http://10.0.0.1", "web.example:8080"},
	} {
		inBed(t, func(b *bed) {
			o := b.origin(1)
			b.net.SetHost("web.internal", addrs("10.0.0.1")...)
			set := standard(c.endpoint)
			set.Host = c.set
			p := b.pool(set)
			defer p.Release()
			b.mustAsk(p, "200 OK one 1")
			last, _ := o.Last()
			if got := last.Header.Get("Host"); got != c.want {
				t.Errorf("host %q at %s: sent %q; want %q", c.set, c.endpoint, got, c.want)
			}
			if last.Target != "/path?q=1" {
				t.Errorf("target %q; want the request's", last.Target)
			}
		})
	}
}

func TestCallersRequestStaysAsItIs(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "once answers 503")
		set := standard("http://10.0.0.1")
		set.Host = "other.example"
		p := b.pool(set)
		defer p.Release()
		req, _ := http.NewRequest("PUT", "http://shop.example/path?q=1", io.NopCloser(strings.NewReader("body")))
		req.RequestURI = "/path?q=1"
		req.Header = http.Header{"Accept": {"text/html"}, "Connection": {"close, x"}, "X": {"1"}}
		before, url, header := *req, *req.URL, maps.Clone(req.Header)
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if !reflect.DeepEqual(*req, before) || *req.URL != url || !reflect.DeepEqual(req.Header, header) {
			t.Errorf("the request is now %+v; want %+v", *req, before)
		}
		if resp.Request != req {
			t.Error("the answer names another request")
		}
	})
}

func TestUpgradedConnectionGoesBothWays(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 101\nConnection: Upgrade\nUpgrade: chat\necho")
		p := b.pool(standard("http://10.0.0.1"))
		defer p.Release()
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "chat")
		resp, err := p.RoundTrip(req)
		if err != nil || resp.StatusCode != 101 {
			t.Fatalf("got %v, %v; want 101", resp, err)
		}
		rw := resp.Body.(io.ReadWriteCloser)
		time.Sleep(time.Hour) // no deadline is left
		io.WriteString(rw, "hello")
		got := make([]byte, 5)
		if _, err := io.ReadFull(rw, got); err != nil || string(got) != "hello" {
			t.Errorf("got %q, %v; want hello", got, err)
		}
		if n := p.Status()[0].InFlight; n != 1 {
			t.Errorf("%d in flight; want 1", n)
		}
		if err := rw.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
			t.Errorf("close for writing: %v", err)
		}
		if rest, err := io.ReadAll(rw); err != nil || len(rest) != 0 {
			t.Errorf("after the end: %q, %v", rest, err)
		}
		rw.Close()
		if n := p.Status()[0].InFlight; n != 0 {
			t.Errorf("%d in flight after the end; want 0", n)
		}
	})
}

func TestUpgradeIsNotSentTwice(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 200\nreset")
		p := b.pool(standard("http://10.0.0.1"))
		defer p.Release()
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		req.Header.Set("Connection", "Upgrade")
		req.Header.Set("Upgrade", "chat")
		_, err := p.RoundTrip(req)
		b.wantType(err, selvage.ConnectionTerminated)
		if o.Requests() != 1 {
			t.Errorf("it was sent %d times; want once", o.Requests())
		}
	})
}

func TestClientsEndReachesTheOriginInTheBodyToo(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 200\nevery 1s chunk x")
		p := b.pool(standard("http://10.0.0.1"))
		defer p.Release()
		ctx, cancel := context.WithCancel(b.ctx)
		req, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.example/", nil)
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		io.ReadFull(resp.Body, make([]byte, 3))
		cancel()
		if _, err := io.ReadAll(resp.Body); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v; want the client's", err)
		}
		resp.Body.Close()
		synctest.Wait()
		if last, _ := o.Last(); !last.Gone {
			t.Error("the origin goes on")
		}
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed: %s", s.LastError)
		}
	})
}

func TestConnectionLimitIsAWaitThenAnError(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 200 slow\nwait 5s")
		set := standard("http://10.0.0.1")
		set.Connections.Max = 2
		p := b.pool(set)
		defer p.Release()
		for range 2 {
			b.wg.Go(func() { b.mustAsk(p, "200 OK slow") })
		}
		synctest.Wait()
		start := time.Now()
		_, _, err := ask(p, "GET", "")
		b.wantType(err, selvage.ConnectionLimit)
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %v; want the connect timeout", took)
		}
		if len(b.limits) != 1 || b.limits[0] != "origin_connections" {
			t.Errorf("limits %v; want origin_connections", b.limits)
		}
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed for our limit: %s", s.LastError)
		}
		time.Sleep(4 * time.Second)
		b.mustAsk(p, "200 OK slow")
		if n := o.Connections(); n != 2 {
			t.Errorf("%d connections; want 2", n)
		}
	})
}

func TestReloadKeepsTheConnection(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1)
		set := standard("http://10.0.0.1")
		p := b.pool(set)
		b.mustAsk(p, "200 OK one 1")
		same := b.pool(set)
		if same != p {
			t.Error("the same settings gave another pool")
		}
		p.Release()
		b.mustAsk(same, "200 OK one 2")
		// Another pool, with another endpoint more, and the same connections.
		set.Endpoints = append(set.Endpoints, "http://10.0.0.2")
		set.Retry.Attempts, set.Host = 2, "endpoint"
		other := b.pool(set)
		same.Release()
		b.reg.random = func(int) int { return 0 }
		b.mustAsk(other, "200 OK one 3")
		if n := o.Connections(); n != 1 {
			t.Errorf("%d connections; want 1", n)
		}
		set.Timeout.FirstByte++
		another := b.pool(set)
		other.Release()
		b.mustAsk(another, "200 OK one 4")
		if n := o.Connections(); n != 2 {
			t.Errorf("%d connections after a change of how it is connected; want 2", n)
		}
		another.Release()
	})
}

func TestLastReleaseClosesTheConnections(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "once answers 200 well", "answers 200\nchunk one\nwait 5s\nchunk two")
		p := b.pool(standard("http://10.0.0.1"))
		b.mustAsk(p, "200 OK well")
		peer := p.members.Load().peers[0]
		b.wg.Go(func() { b.mustAsk(p, "200 OK onetwo") })
		synctest.Wait()
		p.Release()
		time.Sleep(time.Second)
		if n := peer.inFlight.Load(); n != 1 {
			t.Errorf("%d in flight after the release; want 1", n)
		}
		time.Sleep(5 * time.Second)
		if n := peer.inFlight.Load(); n != 0 {
			t.Errorf("%d in flight; want 0", n)
		}
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		if _, err := peer.rt.RoundTrip(req); err == nil {
			t.Error("the transport still works")
		}
		if n := o.Connections(); n != 1 {
			t.Errorf("%d connections; want 1", n)
		}
	})
}

func TestFasterEndpointGetsMoreRequests(t *testing.T) {
	inBed(t, func(b *bed) {
		var mu sync.Mutex
		rng := rand.New(rand.NewPCG(1, 2))
		b.reg.random = func(n int) int {
			mu.Lock()
			defer mu.Unlock()
			return rng.IntN(n)
		}
		var endpoints []string
		var count [4]atomic.Int64
		for i := range count {
			endpoints = append(endpoints, "http://"+netip.AddrFrom4([4]byte{10, 0, 0, byte(i + 1)}).String())
			d := 10 * time.Millisecond
			if i == 3 {
				d = 100 * time.Millisecond
			}
			b.handle(byte(i+1), func(http.ResponseWriter, *http.Request) { count[i].Add(1); time.Sleep(d) })
		}
		p := b.pool(standard(endpoints...))
		defer p.Release()
		for range 8 { // clients
			b.wg.Go(func() {
				for range 250 {
					b.mustAsk(p, "200 OK ")
				}
			})
		}
		time.Sleep(time.Hour)
		for i := range count[:3] {
			if n := count[i].Load(); n < 500 || n > 800 {
				t.Errorf("endpoint %d got %d of 2000 requests; want about a third", i, n)
			}
		}
		if n := count[3].Load(); n == 0 || n > 100 {
			t.Errorf("the slow endpoint got %d of 2000 requests; want a few", n)
		}
	})
}

func TestEqualEndpointsGetEqualShares(t *testing.T) {
	inBed(t, func(b *bed) {
		var count [2]int
		for i := range count {
			b.handle(byte(i+1), func(http.ResponseWriter, *http.Request) { count[i]++ })
		}
		p := b.pool(standard("http://10.0.0.1", "http://10.0.0.2"))
		defer p.Release()
		for range 1000 {
			b.mustAsk(p, "200 OK ")
		}
		if count[0] < 400 || count[0] > 600 { // more than six deviations
			t.Errorf("shares are %v; want about 500 each", count)
		}
	})
}

func TestNewAddressStartsWithTheMeanLatency(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 200 well\nwait 50ms")
		b.net.SetHost("web.internal", addrs("10.0.0.1")...)
		p := b.pool(standard("http://web.internal"))
		defer p.Release()
		b.run()
		synctest.Wait()
		b.mustAsk(p, "200 OK well")
		b.net.SetHost("web.internal", addrs("10.0.0.1", "10.0.0.2")...)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		s := p.Status()
		if len(s) != 2 || s[1].Latency.Round(time.Microsecond) != s[0].Latency.Round(time.Microsecond) || s[1].Latency == 0 {
			t.Errorf("status %+v; want the same latency for both", s)
		}
	})
}

func TestStaleConnectionIsNobodysFault(t *testing.T) {
	inBed(t, func(b *bed) {
		// It gives up each kept connection in the moment in which the second request comes on it.
		var mu sync.Mutex
		seen := make(map[string]bool)
		b.handle(1, func(w http.ResponseWriter, r *http.Request) {
			mu.Lock()
			again := seen[r.RemoteAddr]
			seen[r.RemoteAddr] = true
			mu.Unlock()
			if again {
				panic(http.ErrAbortHandler)
			}
		})
		set := standard("http://10.0.0.1")
		set.Retry.Budget = 0
		p := b.pool(set)
		defer p.Release()
		for i := range 20 { // more than the budget
			rec := b.mustAsk(p, "200 OK ")
			if want := min(i, 1) + 1; rec.Origin.Attempts != want {
				t.Errorf("request %d took %d attempts; want %d", i, rec.Origin.Attempts, want)
			}
		}
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed: %+v", s)
		}
		if _, _, err := ask(p, "POST", "order"); err == nil {
			t.Error("a POST that may have been seen was sent again")
		}
	})
}

func TestWeightsSayHowMuchEachEndpointGets(t *testing.T) {
	const a, b, c = "http://10.0.0.1", "http://10.0.0.2", "http://pair.example"
	for _, tc := range []struct {
		name      string
		endpoints []string
		weights   map[string]int
		want      map[string]float64 // shares
	}{
		{"three to one", []string{a, b}, map[string]int{a: 3}, map[string]float64{"1": 0.75, "2": 0.25}},
		{"nothing", []string{a, b}, map[string]int{b: 0}, map[string]float64{"1": 1}},
		{"a name's addresses share its weight", []string{a, c}, map[string]int{c: 2}, map[string]float64{"1": 1. / 3, "3": 1. / 3, "4": 1. / 3}},
		{"ones", []string{a, b}, map[string]int{a: 1, b: 1}, map[string]float64{"1": 0.5, "2": 0.5}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			inBed(t, func(bed *bed) {
				rng := rand.New(rand.NewPCG(1, 2))
				bed.reg.random = rng.IntN
				bed.net.SetHost("pair.example", netip.MustParseAddr("10.0.0.3"), netip.MustParseAddr("10.0.0.4"))
				for n := byte(1); n <= 4; n++ {
					bed.handle(n, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, string('0'+n)) })
				}
				set := standard(tc.endpoints...)
				set.Weights = tc.weights
				p := bed.pool(set)
				defer p.Release()
				bed.run() // it looks up the name
				synctest.Wait()
				got := map[string]float64{}
				const all = 2000
				for range all {
					answer, _, err := ask(p, "GET", "")
					if err != nil {
						t.Fatal(err)
					}
					got[strings.TrimPrefix(answer, "200 OK ")] += 1. / all
				}
				if len(got) != len(tc.want) {
					t.Errorf("got %v, want %v", got, tc.want)
				}
				for name, share := range tc.want {
					if math.Abs(got[name]-share) > 0.04 {
						t.Errorf("%s got %.2f of the requests, want %.2f", name, got[name], share)
					}
				}
			})
		})
	}
}

func TestWeightsGiveWayToFailuresAndLoad(t *testing.T) {
	inBed(t, func(b *bed) {
		rng := rand.New(rand.NewPCG(1, 2))
		b.reg.random = rng.IntN
		const slow, other = "http://10.0.0.1", "http://10.0.0.2"
		hold := make(chan struct{})
		b.handle(1, func(w http.ResponseWriter, _ *http.Request) { <-hold; io.WriteString(w, "slow") })
		b.handle(2, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "other") })
		set := standard(slow, other)
		set.Weights = map[string]int{slow: 9}
		p := b.pool(set)
		defer p.Release()
		var waiting sync.WaitGroup
		others := 0
		for range 200 {
			waiting.Go(func() {
				if answer, _, err := ask(p, "GET", ""); err != nil || answer == "200 OK other" {
					others++
				}
			})
			synctest.Wait()
		}
		close(hold)
		waiting.Wait()
		if others < 25 { // twenty would be its weight
			t.Errorf("the other endpoint got %d of 200 requests while the first one answered none", others)
		}
	})
	inBed(t, func(b *bed) {
		b.handle(2, func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "other") })
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Weights = map[string]int{"http://10.0.0.1": 1000}
		p := b.pool(set)
		defer p.Release()
		for range 50 {
			b.mustAsk(p, "200 OK other")
		}
	})
}
