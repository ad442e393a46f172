package origin

import (
	"net/http"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

// switched is an origin that can be told to fail.
type switched struct {
	fails atomic.Bool
	asked atomic.Int64
}

func (s *switched) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.asked.Add(1)
	if s.fails.Load() {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
}

func (b *bed) states(p *Pool) (states []State) {
	for _, s := range p.Status() {
		states = append(states, s.State)
	}
	return states
}

func (b *bed) wantStates(p *Pool, want ...State) {
	b.Helper()
	if got := b.states(p); !slices.Equal(got, want) {
		b.Errorf("endpoints are %v; want %v", got, want)
	}
}

func TestUnwellEndpointIsOutUntilItIsWell(t *testing.T) {
	inBed(t, func(b *bed) {
		one, two := &switched{}, &switched{}
		b.handle(1, one.ServeHTTP)
		b.handle(2, two.ServeHTTP)
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Health = &selvage.Health{Path: "/healthz", Every: selvage.Duration(2 * time.Second), Timeout: selvage.Duration(time.Second), Rise: 3, Fall: 2}
		p := b.pool(set)
		defer p.Release()
		b.wantStates(p, StateIn, StateIn)
		b.run()
		synctest.Wait()
		one.fails.Store(true)
		time.Sleep(2300 * time.Millisecond) // one check each, give or take a tenth
		b.wantStates(p, StateIn, StateIn)
		time.Sleep(2300 * time.Millisecond)
		b.wantStates(p, StateDown, StateIn)
		if why := p.Status()[0].Why; why != "it answers 503 to /healthz" {
			t.Errorf("it is out because %q", why)
		}
		before := one.asked.Load()
		for range 20 {
			b.mustAsk(p, "200 OK ")
		}
		if one.asked.Load() != before {
			t.Error("the unwell endpoint was asked")
		}
		two.fails.Store(true)
		time.Sleep(5 * time.Second)
		b.wantStates(p, StateDown, StateDown)
		_, rec, err := ask(p, "GET", "")
		b.wantType(err, selvage.DestinationDown)
		if rec.Origin.Attempts != 0 {
			t.Errorf("%d attempts at endpoints that are down", rec.Origin.Attempts)
		}
		one.fails.Store(false)
		time.Sleep(3500 * time.Millisecond) // two checks at most
		b.wantStates(p, StateDown, StateDown)
		time.Sleep(3500 * time.Millisecond)
		b.wantStates(p, StateIn, StateDown)
		b.mustAsk(p, "200 OK ")
		b.stop() // before the release: the loops must not outlive Run
		b.wg.Wait()
	})
}

func TestHealthCheckIsARequestOfItsOwn(t *testing.T) {
	for _, c := range []struct{ set, want string }{{"", "10.0.0.1:8080"}, {"shop.example", "shop.example"}} {
		inBed(t, func(b *bed) {
			var got *http.Request
			var when []time.Time
			l, err := b.net.Listen("tcp", "10.0.0.1:8080")
			if err != nil {
				t.Fatal(err)
			}
			server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				got = r
				when = append(when, time.Now())
				w.WriteHeader(204)
			})}
			b.wg.Go(func() { server.Serve(l) })
			set := standard("http://10.0.0.1:8080")
			set.Health = &selvage.Health{Path: "/ping?deep=1", Host: c.set, Status: 204}
			p := b.pool(set)
			b.run()
			time.Sleep(100 * time.Second)
			b.wantStates(p, StateIn)
			p.Release()
			server.Close()
			if got.Method != "GET" || got.RequestURI != "/ping?deep=1" || got.Host != c.want || got.UserAgent() != "selvage-health" {
				t.Errorf("got %s %s, Host %s, by %s", got.Method, got.RequestURI, got.Host, got.UserAgent())
			}
			steady := true
			for i := range when[1:] {
				d := when[i+1].Sub(when[i])
				if d < 1800*time.Millisecond || d > 2200*time.Millisecond {
					t.Errorf("%v between two checks; want 2 s, give or take a tenth", d)
				}
				steady = steady && d == 2*time.Second
			}
			if steady || len(when) < 45 {
				t.Errorf("%d checks, evenly spaced %v; want about 50, and uneven", len(when), steady)
			}
		})
	}
}

func TestHangingHealthCheckIsABadOne(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 200\nhang")
		set := standard("http://10.0.0.1")
		set.Health = &selvage.Health{Fall: 1}
		p := b.pool(set)
		defer p.Release()
		b.run()
		time.Sleep(1500 * time.Millisecond)
		b.wantStates(p, StateDown)
		if last, _ := o.Last(); !last.Gone {
			t.Error("the check still hangs at the origin")
		}
	})
}

func TestFailuresInARowEject(t *testing.T) {
	inBed(t, func(b *bed) {
		one, two := &switched{}, &switched{}
		b.handle(1, one.ServeHTTP)
		b.handle(2, two.ServeHTTP)
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts = 1
		set.Eject = selvage.Eject{Failures: 3, For: selvage.Duration(5 * time.Second)}
		p := b.pool(set)
		defer p.Release()
		one.fails.Store(true)
		for one.asked.Load() < 3 {
			b.wantStates(p, StateIn, StateIn)
			ask(p, "GET", "")
			time.Sleep(time.Second) // its latency counts as bad for a while
		}
		b.wantStates(p, StateEjected, StateIn)
		for range 50 {
			b.mustAsk(p, "200 OK ")
		}
		if n := one.asked.Load(); n != 3 {
			t.Errorf("the ejected endpoint was asked %d times; want 3", n)
		}
		if s := p.Status()[0]; s.Why != "Service Unavailable" || s.Until.Before(time.Now()) {
			t.Errorf("status %+v; want why and until when", s)
		}
	})
}

func TestTimeOutDoublesUpToTenTimes(t *testing.T) {
	inBed(t, func(b *bed) {
		one := &switched{}
		b.handle(1, one.ServeHTTP)
		b.handle(2, func(http.ResponseWriter, *http.Request) {})
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts = 1
		set.Eject = selvage.Eject{Failures: 1, For: selvage.Duration(5 * time.Second)}
		p := b.pool(set)
		defer p.Release()
		one.fails.Store(true)
		// askUntil asks until the shaky endpoint had its turn: it counts as slow for a while.
		askUntil := func() {
			for before := one.asked.Load(); one.asked.Load() == before; {
				time.Sleep(time.Second)
				ask(p, "GET", "")
			}
		}
		for _, want := range []int{5, 10, 20, 40, 50, 50} {
			askUntil()
			s := p.Status()[0]
			if got := time.Until(s.Until); s.State != StateEjected || got != time.Duration(want)*time.Second {
				t.Errorf("%s for %v; want ejected for %d s", s.State, got, want)
			}
			time.Sleep(time.Until(s.Until))
			b.wantStates(p, StateTrying, StateIn)
		}
		one.fails.Store(false)
		askUntil()
		b.wantStates(p, StateIn, StateIn)
		one.fails.Store(true)
		askUntil()
		if got := time.Until(p.Status()[0].Until); got != 5*time.Second {
			t.Errorf("after a success it is out for %v; want 5 s again", got)
		}
	})
}

func TestOneRequestAtATimeTriesAnEndpointAgain(t *testing.T) {
	inBed(t, func(b *bed) {
		var fails atomic.Bool
		var asked, now, most atomic.Int64
		b.handle(1, func(w http.ResponseWriter, _ *http.Request) {
			asked.Add(1)
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			if fails.Load() {
				w.WriteHeader(503)
				return
			}
			time.Sleep(time.Second)
		})
		b.handle(2, func(http.ResponseWriter, *http.Request) { time.Sleep(time.Second) })
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts = 1
		set.Eject = selvage.Eject{Failures: 1, For: selvage.Duration(5 * time.Second)}
		p := b.pool(set)
		defer p.Release()
		fails.Store(true)
		for asked.Load() == 0 {
			ask(p, "GET", "")
		}
		fails.Store(false)
		time.Sleep(6 * time.Second)
		b.wantStates(p, StateTrying, StateIn)
		before := asked.Load()
		for range 40 {
			b.wg.Go(func() { ask(p, "GET", "") })
		}
		synctest.Wait()
		if got := asked.Load() - before; got != 1 || most.Load() > 1 {
			t.Errorf("%d of 40 requests try the endpoint at once; want 1", got)
		}
		time.Sleep(2 * time.Second)
		b.wantStates(p, StateIn, StateIn)
	})
}

func TestLastEndpointIsNeverEjected(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 503 busy")
		b.origin(2, "answers 503 busy")
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts = 1
		p := b.pool(set)
		defer p.Release()
		for range 40 {
			ask(p, "GET", "")
			states := b.states(p)
			if !slices.Contains(states, StateIn) {
				t.Fatalf("endpoints are %v; want one in", states)
			}
		}
		if !slices.Contains(b.states(p), StateEjected) {
			t.Error("no endpoint was ejected: this proves nothing")
		}
	})
}

func TestEjectedEndpointIsUsedWhenTheOthersAreDown(t *testing.T) {
	inBed(t, func(b *bed) {
		one, two := &switched{}, &switched{}
		b.handle(1, one.ServeHTTP)
		b.handle(2, two.ServeHTTP)
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts = 1
		set.Eject.Failures = 1
		p := b.pool(set)
		defer p.Release()
		one.fails.Store(true)
		for one.asked.Load() == 0 {
			ask(p, "GET", "")
		}
		one.fails.Store(false)
		b.wantStates(p, StateEjected, StateIn)
		p.members.Load().peers[1].down.Store(true) // as a health check would
		b.mustAsk(p, "200 OK ")
		b.wantStates(p, StateIn, StateDown)
	})
}

func TestNoFailuresEjectWhereTheyMayNot(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 503 busy")
		b.origin(2)
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Attempts, set.Eject.Failures = 1, 0
		p := b.pool(set)
		defer p.Release()
		for range 100 {
			ask(p, "GET", "")
			time.Sleep(time.Second)
			b.wantStates(p, StateIn, StateIn)
		}
	})
}

func TestBrokenBodiesEjectToo(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "answers 200\nContent-Length: 100\nchunk half\nreset")
		b.origin(2)
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		p := b.pool(set)
		defer p.Release()
		broken := 0
		for range 1000 {
			if _, _, err := ask(p, "GET", ""); err != nil {
				b.wantType(err, selvage.ResponseIncomplete)
				broken++
			}
			if b.states(p)[0] == StateEjected {
				break
			}
			time.Sleep(time.Second / 10)
		}
		if broken != 5 {
			t.Errorf("%d broken answers before it was ejected; want 5", broken)
		}
	})
}
