package origin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

func TestTriesAreCounted(t *testing.T) {
	for _, c := range []struct {
		name     string
		script   string
		method   string
		body     string
		attempts int
		tries    int
		answer   string
		fails    selvage.ProxyErrorType
	}{
		{"good answer", "answers 200 well", "GET", "", 3, 1, "200 OK well", ""},
		{"one bad answer", "once answers 503 busy", "GET", "", 3, 2, "200 OK one 2", ""},
		{"the last bad answer is passed", "answers 503 busy", "GET", "", 3, 3, "503 Service Unavailable busy", ""},
		{"one try only", "answers 503 busy", "GET", "", 1, 1, "503 Service Unavailable busy", ""},
		{"a status that is not listed", "answers 500 sorry", "GET", "", 3, 1, "500 Internal Server Error sorry", ""},
		{"POST is not repeated after an answer", "answers 503 busy", "POST", "order", 3, 1, "503 Service Unavailable busy", ""},
		{"PUT is", "once answers 503 busy", "PUT", "order", 3, 2, "200 OK one 2", ""},
		{"no answer", "once answers 200\nreset", "GET", "", 3, 2, "200 OK one 2", ""},
		{"never an answer", "answers 200\nreset", "GET", "", 3, 3, "", selvage.ConnectionTerminated},
		{"POST without an answer is not repeated", "once answers 200\nreset", "POST", "order", 3, 1, "", selvage.ConnectionTerminated},
		{"POST without a body neither", "once answers 200\nreset", "POST", "", 3, 1, "", selvage.ConnectionTerminated},
	} {
		t.Run(c.name, func(t *testing.T) {
			inBed(t, func(b *bed) {
				o := b.origin(1, c.script)
				set := standard("http://10.0.0.1")
				set.Retry.Attempts = c.attempts
				p := b.pool(set)
				defer p.Release()
				got, rec, err := ask(p, c.method, c.body)
				if c.fails != "" {
					b.wantType(err, c.fails)
				} else if err != nil || got != c.answer {
					t.Errorf("got %q, %v; want %q", got, err, c.answer)
				}
				if o.Requests() != c.tries || rec.Origin.Attempts != c.tries {
					t.Errorf("the origin saw %d requests, the record has %d; want %d", o.Requests(), rec.Origin.Attempts, c.tries)
				}
				if rec.Origin.Type != c.fails {
					t.Errorf("the record says %q; want %q", rec.Origin.Type, c.fails)
				}
			})
		})
	}
}

func TestRefusedPostGoesToAnotherEndpoint(t *testing.T) {
	inBed(t, func(b *bed) {
		var bodies []string
		b.handle(1, func(_ http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			bodies = append(bodies, string(body))
		})
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Retry.Budget, set.Eject.Failures = 0, 0
		p := b.pool(set)
		defer p.Release()
		for range 20 { // more than the budget: it costs the origin nothing
			if got, _, err := ask(p, "POST", "order"); err != nil || !strings.HasPrefix(got, "200") {
				t.Errorf("got %q, %v; want 200", got, err)
			}
		}
		if len(bodies) != 20 || slices.ContainsFunc(bodies, func(s string) bool { return s != "order" }) {
			t.Errorf("the origin got %q; want 20 whole bodies", bodies)
		}
	})
}

func TestRetryGoesToAnotherEndpoint(t *testing.T) {
	inBed(t, func(b *bed) {
		bad, good := b.origin(1, "answers 503 busy"), b.origin(2, "answers 200 well")
		set := standard("http://10.0.0.1", "http://10.0.0.2")
		set.Eject.Failures = 0
		set.Retry.Budget = 1
		p := b.pool(set)
		defer p.Release()
		for range 30 {
			b.mustAsk(p, "200 OK well")
		}
		if bad.Requests() == 0 {
			t.Error("the failing endpoint was never asked: this proves nothing")
		}
		if good.Requests() != 30 || bad.Requests() > 30 {
			t.Errorf("%d requests at the good endpoint, %d at the bad one; want 30 and at most one each", good.Requests(), bad.Requests())
		}
	})
}

func TestRetriesWaitWithinTheBackoff(t *testing.T) {
	inBed(t, func(b *bed) {
		var seen []time.Time
		b.handle(1, func(w http.ResponseWriter, _ *http.Request) {
			seen = append(seen, time.Now())
			w.WriteHeader(503)
		})
		set := standard("http://10.0.0.1")
		set.Retry.Attempts, set.Retry.Budget, set.Eject.Failures = 4, 10, 0
		p := b.pool(set)
		defer p.Release()
		var sum [3]time.Duration
		const rounds = 100
		for range rounds {
			ask(p, "GET", "")
		}
		if len(seen) != 4*rounds {
			t.Fatalf("%d tries; want 4 for each of %d requests", len(seen), rounds)
		}
		for i := 0; i+3 < len(seen); i += 4 {
			for k := range sum {
				wait := seen[i+k+1].Sub(seen[i+k])
				if most := 25 * time.Millisecond << k; wait < 0 || wait >= most {
					t.Errorf("wait %d was %v; want less than %v", k+1, wait, most)
				}
				sum[k] += wait
			}
		}
		for k := range sum {
			// Evenly drawn waits have half the bound as their mean; a tenth off is 3.5 deviations.
			mean, want := sum[k]/rounds, 25*time.Millisecond<<k/2
			if mean < want*8/10 || mean > want*12/10 {
				t.Errorf("wait %d was %v on average; want about %v", k+1, mean, want)
			}
		}
	})
}

func TestRetriesEndWithTheBudget(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 503 busy")
		set := standard("http://10.0.0.1")
		set.Retry.Backoff = 0
		p := b.pool(set)
		defer p.Release()
		limited := 0
		for range 100 {
			if rec := b.mustAsk(p, "503 Service Unavailable busy"); rec.LimitHit == "retry_budget" {
				limited++
			}
		}
		if retries := o.Requests() - 100; retries != 10 {
			t.Errorf("%d retries of 100 requests; want 10", retries)
		}
		if limited < 90 {
			t.Errorf("%d records name the budget; want those of at least 90 requests", limited)
		}
		if len(b.limits) != 0 {
			t.Errorf("limits %v were told twice", b.limits)
		}
		req, _ := http.NewRequest("GET", "http://shop.example/", nil)
		resp, err := p.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if len(b.limits) != 1 || b.limits[0] != "retry_budget" {
			t.Errorf("limits %v; want the budget of the request without a record", b.limits)
		}
	})
}

func TestAttemptsAreNotedInTheRecord(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "once answers 503 busy\nwait 2s", "answers 200 well\nwait 1s")
		set := standard("http://10.0.0.1")
		set.Retry.Backoff = 0
		p := b.pool(set)
		defer p.Release()
		rec := b.mustAsk(p, "200 OK well")
		want := []record.Attempt{
			{Endpoint: "10.0.0.1:80", FirstByte: 2 * time.Second, Status: 503},
			{Endpoint: "10.0.0.1:80", Start: 2 * time.Second, FirstByte: time.Second, Status: 200},
		}
		got := rec.Origin.Kept()
		if len(got) != len(want) {
			t.Fatalf("%d attempts; want %d", len(got), len(want))
		}
		for i := range want {
			want[i].Reused = got[i].Reused // depends on what the first connection is still good for
			if got[i] != want[i] {
				t.Errorf("attempt %d is %+v; want %+v", i, got[i], want[i])
			}
		}
		if rec := b.mustAsk(p, "200 OK well"); !rec.Origin.Kept()[0].Reused {
			t.Error("the kept connection is not noted as reused")
		}
	})
}

func TestBodyIsSentAgain(t *testing.T) {
	inBed(t, func(b *bed) {
		b.origin(1, "once answers 503 busy\nearly\nreset")
		good := b.origin(2, "answers 200 well")
		p := b.pool(standard("http://10.0.0.1", "http://10.0.0.2"))
		defer p.Release()
		b.reg.random = func(int) int { return 0 } // the first endpoint first
		pr, pw := io.Pipe()
		req, _ := http.NewRequest("PUT", "http://shop.example/", pr)
		b.wg.Go(func() {
			for range 10 {
				time.Sleep(time.Second)
				io.WriteString(pw, "0123456789")
			}
			pw.Close()
		})
		resp, err := p.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("got %v, %v; want 200", resp, err)
		}
		resp.Body.Close()
		if last, ok := good.Last(); !ok || string(last.Body) != strings.Repeat("0123456789", 10) {
			t.Errorf("the second endpoint got %q; want the whole body", last.Body)
		}
	})
}

func TestBodyBeyondTheLimitIsNotSentAgain(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 503 busy")
		set := standard("http://10.0.0.1")
		set.Retry.Body = 99
		p := b.pool(set)
		defer p.Release()
		for size, want := range map[int]int{99: 3, 100: 1} {
			before := o.Requests()
			if got, _, err := ask(p, "PUT", strings.Repeat("x", size)); err != nil || got != "503 Service Unavailable busy" {
				t.Errorf("%d bytes: got %q, %v; want the answer", size, got, err)
			}
			if tries := o.Requests() - before; tries != want {
				t.Errorf("%d bytes were sent %d times; want %d", size, tries, want)
			}
		}
	})
}

func TestBrokenUploadIsNotTheOriginsFault(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1)
		p := b.pool(standard("http://10.0.0.1"))
		defer p.Release()
		gone := errors.New("client is gone")
		for range 6 {
			pr, pw := io.Pipe()
			b.wg.Go(func() { io.WriteString(pw, "half"); pw.CloseWithError(gone) })
			req, _ := http.NewRequest("PUT", "http://shop.example/", pr)
			_, err := p.RoundTrip(req)
			if !errors.Is(err, gone) {
				t.Errorf("error %v; want that of the body", err)
			}
		}
		if s := p.Status()[0]; s.LastError != "" {
			t.Errorf("the endpoint is blamed: %s", s.LastError)
		}
		synctest.Wait()
		if n := o.Requests(); n > 6 {
			t.Errorf("%d requests came; want no retries", n)
		}
	})
}

func TestNothingIsRetriedAfterTheClientIsGone(t *testing.T) {
	inBed(t, func(b *bed) {
		o := b.origin(1, "answers 200\nhang")
		p := b.pool(standard("http://10.0.0.1"))
		defer p.Release()
		for range 6 {
			ctx, cancel := context.WithTimeout(b.ctx, time.Second)
			req, _ := http.NewRequestWithContext(ctx, "GET", "http://shop.example/", nil)
			_, err := p.RoundTrip(req)
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v; want the context's", err)
			}
			b.wantType(err, selvage.ResponseTimeout)
			cancel()
		}
		synctest.Wait()
		if o.Requests() != 6 {
			t.Errorf("%d requests; want 6", o.Requests())
		}
		if last, _ := o.Last(); !last.Gone {
			t.Error("the origin was not told that nobody waits any more")
		}
		if s := p.Status()[0]; s.LastError != "" || s.State != StateIn || s.InFlight != 0 {
			t.Errorf("the endpoint is blamed: %+v", s)
		}
	})
}
