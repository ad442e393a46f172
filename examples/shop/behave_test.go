package shop

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func told(t *testing.T, s *Shop, v Behaviour) {
	t.Helper()
	if err := s.Behave(v); err != nil {
		t.Fatal(err)
	}
}

func TestModesOnTheWire(t *testing.T) {
	s := open(t, Options{})
	base, browser := serve(t, s)
	told(t, s, Behaviour{Mode: Error})
	resp, err := browser.Get(base + "/healthz")
	if err != nil || resp.StatusCode != 503 || resp.Header.Get("Cache-Control") != "no-store" {
		t.Errorf("error: %v, %v, want 503", resp, err)
	}
	told(t, s, Behaviour{Mode: Garbage})
	if _, err := browser.Get(base + "/"); err == nil || !strings.Contains(err.Error(), "malformed") {
		t.Errorf("garbage: %v, want a malformed answer", err)
	}
	told(t, s, Behaviour{Mode: Cut})
	resp, err = browser.Get(base + "/p/42")
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); !errors.Is(err, io.ErrUnexpectedEOF) || len(body) == 0 || resp.StatusCode != 200 {
		t.Errorf("cut: %d with %d bytes, %v, want an unexpected end", resp.StatusCode, len(body), err)
	}
	told(t, s, Behaviour{Mode: Close})
	order := func() error {
		r, err := http.NewRequestWithContext(t.Context(), "POST", base+"/orders", strings.NewReader("name=Ann&id=42&reference=r1"))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		r.Header.Set("Idempotency-Key", "k1")
		resp, err := browser.Do(r)
		if err == nil {
			resp.Body.Close()
		}
		return err
	}
	if err := order(); err == nil {
		t.Error("close: there was an answer")
	}
	if got := s.Tally().Orders; got != 1 {
		t.Errorf("close: %d orders, want the one that was done and not told", got)
	}
	told(t, s, Behaviour{})
	if err := order(); err != nil || s.Tally().Orders != 1 {
		t.Errorf("the same order again: %v, %d orders, want one", err, s.Tally().Orders)
	}
	told(t, s, Behaviour{Mode: Hang})
	ctx, cancel := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, "GET", base+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := browser.Do(r); !errors.Is(err, context.Canceled) {
			t.Errorf("hang: %v, want our own end", err)
		}
	})
	cancel()
	wg.Wait()
}

func TestSlowAnswersAfterItsDelay(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := open(t, Options{Behave: Behaviour{Mode: Slow, Delay: 3 * time.Second}})
			began := time.Now()
			if w := ask(s, "GET", "/healthz", ""); w.Code != 200 || time.Since(began) != 3*time.Second {
				t.Errorf("status %d after %v, want 200 after 3s", w.Code, time.Since(began))
			}
		})
	})
}

func TestShareIsOfAHundredRequests(t *testing.T) {
	s := open(t, Options{Behave: Behaviour{Mode: Error, Share: 30}})
	bad := 0
	for range 2000 {
		if ask(s, "GET", "/healthz", "").Code == 503 {
			bad++
		}
	}
	if bad < 450 || bad > 750 { // 600 expected; seven standard deviations
		t.Errorf("%d of 2000 failed, want about 600", bad)
	}
}

func TestOnlyThisMachineTellsTheShopHowToBehave(t *testing.T) {
	s := open(t, Options{Behave: Behaviour{Mode: Error}})
	tell := func(addr, form string, fields ...string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", "/_shop/behave", strings.NewReader(form))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		for i := 0; i < len(fields); i += 2 {
			r.Header.Set(fields[i], fields[i+1])
		}
		r.RemoteAddr = addr
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		return w
	}
	for _, tt := range []struct {
		addr, form string
		fields     []string
		want       int
		says       string
	}{
		{"192.0.2.1:1", "mode=ok", nil, 403, ""},
		{"", "mode=ok", nil, 403, ""},
		{"127.0.0.1:1", "mode=ok", []string{"Via", "1.1 edge"}, 403, ""},
		{"127.0.0.1:1", "mode=ok", []string{"X-Forwarded-For", "127.0.0.1"}, 403, ""},
		{"127.0.0.1:1", "mode=ok", []string{"Sec-Fetch-Site", "cross-site"}, 403, ""},
		{"127.0.0.1:1", "mode=odd", nil, 400, ""},
		{"127.0.0.1:1", "mode=slow&share=101", nil, 400, ""},
		{"127.0.0.1:1", "mode=slow&delay=soon", nil, 400, ""},
		{"[::1]:1", "mode=slow&share=50&delay=250ms", nil, 200, "mode=slow share=50 delay=250ms\n"},
		{"127.0.0.1:1", "mode=error&share=0", nil, 200, "mode=ok share=100 delay=2s\n"},
	} {
		w := tell(tt.addr, tt.form, tt.fields...)
		if w.Code != tt.want || tt.says != "" && w.Body.String() != tt.says {
			t.Errorf("%s from %q, %q: %d %q, want %d %q", tt.form, tt.addr, tt.fields, w.Code, w.Body, tt.want, tt.says)
		}
	}
	if w := ask(s, "GET", "/healthz", ""); w.Code != 200 {
		t.Errorf("after healing: %d", w.Code)
	}
}

func TestTrafficUsesAllOfTheShopAndEnds(t *testing.T) {
	s := open(t, Options{Data: t.TempDir()})
	base, _ := serve(t, s)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	seen := map[string]int{}
	p := &Shoppers{Base: base, People: 4, Pause: 100 * time.Microsecond, Seen: func(method, path string, status int, err error) {
		mu.Lock()
		defer mu.Unlock()
		path, _, _ = strings.Cut(path, "?")
		kind := strings.SplitAfter(path, "/")[1]
		if status >= 400 && kind != "products/" || err != nil { // the old link is the edge's to know
			t.Errorf("%s %s: %d, %v", method, path, status, err)
		}
		seen[method+" /"+kind]++
		if len(seen) == 8 && s.Tally().Orders > 2 {
			cancel()
		}
	}}
	p.Run(ctx)
	if got := s.Tally(); len(seen) != 8 || len(got.Doubled) > 0 {
		t.Errorf("used %v, orders %+v", seen, got)
	}
}

func TestShopperWhoDoesNotKnowOrdersWithTheSameKey(t *testing.T) {
	s := open(t, Options{})
	base, browser := serve(t, s)
	told(t, s, Behaviour{Mode: Close})
	p := &shopper{s: &Shoppers{Base: base}, pause: time.Microsecond, client: browser}
	p.client.Transport = addCart{p.client.Transport}
	p.order(t.Context())
	if got := s.Tally(); got.Orders != 1 {
		t.Errorf("four tries made %d orders, want 1", got.Orders)
	}
}

// addCart is a browser with something in its cart.
type addCart struct{ next http.RoundTripper }

func (a addCart) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Cookie", "cart=42x1")
	return a.next.RoundTrip(r)
}
