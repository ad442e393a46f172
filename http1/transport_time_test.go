package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

// quietConn is a connection in memory that can be looked at without waiting.
type quietConn struct{ *memConn }

func (c quietConn) Quiet() error {
	c.in.mu.Lock()
	defer c.in.mu.Unlock()
	switch {
	case len(c.in.data) > 0:
		return errUnsolicited
	case c.in.ended || c.in.broken:
		return io.EOF
	}
	return nil
}

// inBubble runs f on virtual time with a transport to an origin in memory. f
// has to leave nothing running.
func inBubble(t *testing.T, serve func(c net.Conn, n int), f func(t *testing.T, tr *Transport)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var wg sync.WaitGroup
		var n atomic.Int32
		tr := &Transport{MaxIdle: 16}
		tr.Dial = func(context.Context) (net.Conn, error) {
			ours, theirs := memPair()
			k := int(n.Add(1)) - 1
			wg.Go(func() {
				defer theirs.Close()
				serve(theirs, k)
			})
			return quietConn{ours}, nil
		}
		f(t, tr)
		tr.Close()
		wg.Wait()
	})
}

func asking(t *testing.T, tr *Transport) (string, time.Duration, error) {
	t.Helper()
	start := time.Now()
	body, err := get(t, tr)
	return body, time.Since(start), err
}

// silent reads what comes and says nothing.
func silent(c net.Conn, _ int) { io.Copy(io.Discard, c) }

func TestSilentOriginIsGivenUpAfterFirstByte(t *testing.T) {
	inBubble(t, silent, func(t *testing.T, tr *Transport) {
		tr.FirstByte = 30 * time.Second
		for range 2 {
			_, took, err := asking(t, tr)
			if e := wantType(t, err, selvage.ResponseTimeout); !e.Sent || e.Reused || took != tr.FirstByte {
				t.Errorf("after %v: Sent %v, Reused %v", took, e.Sent, e.Reused)
			}
		}
	})
}

// A deadline is set for a request and left alone by the next one, so it passes
// in the middle of another. Each has its own time nevertheless.
func TestEveryRequestHasItsOwnTime(t *testing.T) {
	serve := func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		for _, wait := range []time.Duration{20 * time.Second, 29 * time.Second, 29 * time.Second, 0} {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			if wait == 0 {
				break
			}
			time.Sleep(wait)
			io.WriteString(c, countedAnswer("ok"))
		}
		silent(c, 0)
	}
	inBubble(t, serve, func(t *testing.T, tr *Transport) {
		tr.FirstByte = 30 * time.Second
		for range 3 {
			if body, _, err := asking(t, tr); body != "ok" || err != nil {
				t.Fatalf("got %q, %v", body, err)
			}
			time.Sleep(5 * time.Second)
		}
		_, took, err := asking(t, tr)
		if e := wantType(t, err, selvage.ResponseTimeout); !e.Reused || took != tr.FirstByte {
			t.Errorf("after %v, Reused %v", took, e.Reused)
		}
	})
}

func TestHeadHasToBeWholeInTime(t *testing.T) {
	for name, drip := range map[string]string{
		"byte by byte":    "x",
		"interim answers": "HTTP/1.1 103 Early Hints\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c net.Conn, _ int) {
				http.ReadRequest(bufio.NewReader(c))
				if drip == "x" {
					io.WriteString(c, "HTTP/1.1 200 OK\r\nX: ")
				}
				for {
					time.Sleep(9 * time.Second)
					if _, err := io.WriteString(c, drip); err != nil {
						return
					}
				}
			}, func(t *testing.T, tr *Transport) {
				tr.FirstByte = 30 * time.Second
				_, took, err := asking(t, tr)
				if wantType(t, err, selvage.ResponseTimeout); took != tr.FirstByte {
					t.Errorf("given up after %v", took)
				}
			})
		})
	}
}

func TestBodyMayTakeLongButNotPause(t *testing.T) {
	inBubble(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
		for range 8 {
			time.Sleep(59 * time.Second)
			io.WriteString(c, "x")
		}
		silent(c, 0)
	}, func(t *testing.T, tr *Transport) {
		tr.FirstByte, tr.Idle = 10*time.Second, 60*time.Second
		body, took, err := asking(t, tr)
		if wantType(t, err, selvage.ResponseTimeout); body != "xxxxxxxx" || took != (8*59+60)*time.Second {
			t.Errorf("got %q, after %v", body, took)
		}
	})
}

func TestZeroIsNoBound(t *testing.T) {
	inBubble(t, func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		for {
			if _, err := http.ReadRequest(br); err != nil {
				return
			}
			time.Sleep(1000 * time.Hour)
			io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n")
			time.Sleep(1000 * time.Hour)
			io.WriteString(c, "x")
		}
	}, func(t *testing.T, tr *Transport) {
		for range 2 {
			if body, took, err := asking(t, tr); err != nil || body != "x" || took != 2000*time.Hour {
				t.Errorf("got %q, %v after %v", body, err, took)
			}
		}
	})
}

func TestFirstByteBeginsWhenTheRequestEnds(t *testing.T) {
	inBubble(t, silent, func(t *testing.T, tr *Transport) {
		tr.FirstByte, tr.Idle = 30*time.Second, 60*time.Second
		pr, pw := io.Pipe()
		go func() {
			for range 5 {
				time.Sleep(50 * time.Second)
				io.WriteString(pw, "x")
			}
			pw.Close()
		}()
		start := time.Now()
		_, err := tr.RoundTrip(newRequest(t, "POST", "/", pr))
		if wantType(t, err, selvage.ResponseTimeout); time.Since(start) != 280*time.Second {
			t.Errorf("given up after %v", time.Since(start))
		}
	})
}

func TestOriginThatTakesNoBodyIsGivenUp(t *testing.T) {
	stay := func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		time.Sleep(time.Hour)
	}
	inBubble(t, stay, func(t *testing.T, tr *Transport) {
		tr.FirstByte, tr.Idle = 30*time.Second, 60*time.Second
		start := time.Now()
		body := &closeCounter{Reader: strings.NewReader(strings.Repeat("x", 1<<20))}
		_, err := tr.RoundTrip(newRequest(t, "POST", "/", body))
		if wantType(t, err, selvage.ResponseTimeout); time.Since(start) != tr.Idle {
			t.Errorf("given up after %v", time.Since(start))
		}
		synctest.Wait()
		if body.closed.Load() != 1 {
			t.Errorf("the body was closed %d times", body.closed.Load())
		}
	})
}

func TestExpectingOriginThatSaysNothingGetsTheBodyAfterASecond(t *testing.T) {
	inBubble(t, func(c net.Conn, _ int) {
		start := time.Now()
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		b, _ := io.ReadAll(r.Body)
		io.WriteString(c, countedAnswer(string(b)+time.Since(start).String()))
	}, func(t *testing.T, tr *Transport) {
		r := newRequest(t, "POST", "/", strings.NewReader("hello "))
		r.Header["Expect"] = []string{"100-continue"}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := io.ReadAll(resp.Body); string(b) != "hello 1s" {
			t.Errorf("got %q", b)
		}
	})
}

func TestContextEndsTheWaitForAnAnswer(t *testing.T) {
	inBubble(t, silent, func(t *testing.T, tr *Transport) {
		tr.FirstByte = time.Hour
		for want, end := range map[selvage.ProxyErrorType]func() (context.Context, context.CancelFunc){
			selvage.ResponseTimeout: func() (context.Context, context.CancelFunc) {
				return context.WithTimeout(t.Context(), 3*time.Second)
			},
			selvage.ConnectionTerminated: func() (context.Context, context.CancelFunc) {
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(3*time.Second, cancel)
				return ctx, cancel
			},
		} {
			ctx, cancel := end()
			start := time.Now()
			_, err := tr.RoundTrip(newRequest(t, "GET", "/", nil).WithContext(ctx))
			if wantType(t, err, want); !errors.Is(err, ctx.Err()) || time.Since(start) != 3*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			cancel()
		}
	})
}

func TestUpgradedConnectionHasNoDeadline(t *testing.T) {
	inBubble(t, func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReader(c))
		io.WriteString(c, "HTTP/1.1 101 Go\r\nUpgrade: x\r\n\r\n")
		time.Sleep(100 * time.Hour)
		io.WriteString(c, "late")
	}, func(t *testing.T, tr *Transport) {
		tr.FirstByte, tr.Idle = time.Second, time.Second
		r := newRequest(t, "GET", "/", nil)
		r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}}
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(resp.Body); string(b) != "late" || err != nil {
			t.Errorf("got %q, %v", b, err)
		}
		resp.Body.Close()
	})
}

// counts says how many connections there are, and how many of them are idle.
func (p *connPool) counts() [2]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return [2]int{p.open, len(p.idle)}
}

func TestIdleConnectionsAreClosedInTime(t *testing.T) {
	inBubble(t, answering(func(int, *http.Request) string {
		time.Sleep(time.Second)
		return countedAnswer("ok")
	}), func(t *testing.T, tr *Transport) {
		tr.IdleTimeout = 60 * time.Second
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() {
				if _, err := get(t, tr); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		time.Sleep(40 * time.Second)
		mustGet(t, tr, "ok") // keeps one of them young
		if got := tr.pool.counts(); got != [2]int{3, 3} {
			t.Errorf("%v connections are open and idle, want 3", got)
		}
		time.Sleep(19 * time.Second)
		synctest.Wait()
		if got := tr.pool.counts(); got != [2]int{1, 1} {
			t.Errorf("%v connections are open and idle, want 1: the one used last", got)
		}
		time.Sleep(41 * time.Second)
		synctest.Wait()
		if got := tr.pool.counts(); got != [2]int{0, 0} {
			t.Errorf("%v connections are open and idle, want none", got)
		}
		mustGet(t, tr, "ok")
	})
}

func TestNoMoreIdleConnectionsThanAllowed(t *testing.T) {
	inBubble(t, answering(func(int, *http.Request) string {
		time.Sleep(time.Second)
		return countedAnswer("ok")
	}), func(t *testing.T, tr *Transport) {
		tr.MaxIdle = 2
		var wg sync.WaitGroup
		for range 5 {
			wg.Go(func() {
				if _, err := get(t, tr); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if got := tr.pool.counts(); got != [2]int{2, 2} {
			t.Errorf("%v connections are open and idle, want 2", got)
		}
		tr.CloseIdle()
		if got := tr.pool.counts(); got != [2]int{0, 0} {
			t.Errorf("%v connections are open and idle, want none", got)
		}
	})
}

func TestWaitersAreServedInOrder(t *testing.T) {
	inBubble(t, answering(func(_ int, r *http.Request) string {
		time.Sleep(time.Second)
		if r.URL.Path == "/2" {
			return countedAnswer(r.URL.Path) + "x" // spoils its connection: the next one has to dial
		}
		return countedAnswer(r.URL.Path)
	}), func(t *testing.T, tr *Transport) {
		tr.MaxConns = 1
		var limits []string
		tr.OnLimit = func(limit string) { limits = append(limits, limit) }
		var mu sync.Mutex
		var got []string
		var wg sync.WaitGroup
		for _, path := range []string{"/1", "/2", "/3", "/4"} {
			wg.Go(func() {
				resp, err := tr.RoundTrip(newRequest(t, "GET", path, nil))
				if err != nil {
					t.Error(err)
					return
				}
				b, _ := io.ReadAll(resp.Body)
				mu.Lock()
				defer mu.Unlock()
				got = append(got, string(b))
			})
			synctest.Wait()
		}
		wg.Wait()
		if diff := cmp.Diff([]string{"/1", "/2", "/3", "/4"}, got); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(slices.Repeat([]string{"origin_connections"}, 3), limits); diff != "" {
			t.Error(diff)
		}
	})
}

func TestWaitForAConnectionEnds(t *testing.T) {
	inBubble(t, silent, func(t *testing.T, tr *Transport) {
		tr.MaxConns, tr.Wait, tr.FirstByte = 1, 5*time.Second, time.Minute
		var wg sync.WaitGroup
		wg.Go(func() { get(t, tr) })
		synctest.Wait()
		_, took, err := asking(t, tr)
		if e := wantType(t, err, selvage.ConnectionLimit); e.Sent || took != tr.Wait {
			t.Errorf("Sent %v after %v", e.Sent, took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = tr.RoundTrip(newRequest(t, "GET", "/", nil).WithContext(ctx))
		if wantType(t, err, selvage.ConnectionLimit); !errors.Is(err, context.DeadlineExceeded) {
			t.Error(err)
		}
		wg.Go(func() {
			_, err := get(t, tr)
			wantType(t, err, selvage.DestinationDown)
		})
		synctest.Wait()
		tr.Close()
		wg.Wait()
		if got := tr.pool.counts(); got != [2]int{0, 0} {
			t.Errorf("%v connections are open and idle, want none", got)
		}
	})
}
