package policy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

func limited(rate string, burst int, per selvage.LimitKey) selvage.Route {
	var r selvage.Rate
	if err := r.UnmarshalText([]byte(rate)); err != nil {
		panic(err)
	}
	return selvage.Route{Match: selvage.Match{Path: "/*"}, Limit: &selvage.Limit{Rate: r, Burst: burst, Per: per}}
}

func TestLimitAdmitsTheBurstThenTheRate(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			c := chain(t, limited("2/s", 5, "client"))
			admitted := func() (n int) {
				for range 20 {
					x := exchange(t, "GET", "/")
					x.Now = time.Now()
					if c.Request(x) == nil {
						n++
					}
				}
				return n
			}
			for _, step := range []struct {
				wait time.Duration
				want int
			}{{0, 5}, {0, 0}, {499 * time.Millisecond, 0}, {time.Millisecond, 1}, {time.Second, 2}, {time.Hour, 5}} {
				time.Sleep(step.wait)
				if got := admitted(); got != step.want {
					t.Errorf("after %v: %d admitted, want %d", step.wait, got, step.want)
				}
			}
		})
	})
}

func TestRetryAfterIsWhenTheNextRequestIsAdmitted(t *testing.T) {
	c := chain(t, limited("1000/h", 0, "route"))
	x := exchange(t, "GET", "/")
	if a := c.Request(x); a != nil {
		t.Fatalf("the first was answered %d", a.Status)
	}
	h := http.Header{"Ratelimit": {`"origin";r=7;t=1`}}
	c.Response(x, h)
	want := http.Header{"Ratelimit": {`"origin";r=7;t=1`, `"route";r=0;t=4`}, "Ratelimit-Policy": {`"route";q=1;w=4`}}
	if diff := cmp.Diff(want, h); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
	x.Now = epoch.Add(600 * time.Millisecond) // 3.6 s apart: 3 s to wait
	a := c.Request(x)
	if status(a) != 429 || a.Header.Get("Retry-After") != "3" {
		t.Fatalf("status %d, Retry-After %q, want 429, 3", status(a), a.Header.Get("Retry-After"))
	}
	c.Response(x, a.Header)
	if got := a.Header.Get("RateLimit"); got != `"route";r=0;t=3` {
		t.Errorf("RateLimit: %s", got)
	}
	if got := record.From(x.In.Context()).LimitHit; got != "rate" {
		t.Errorf("the record's limit is %q, want rate", got)
	}
	x.Now = epoch.Add(3600*time.Millisecond - 1)
	if a := c.Request(x); status(a) != 429 || a.Header.Get("Retry-After") != "1" {
		t.Error("a nanosecond too early it was admitted, or Retry-After is not 1")
	}
	x.Now = epoch.Add(3600 * time.Millisecond)
	if a := c.Request(x); a != nil {
		t.Errorf("after that time: status %d", a.Status)
	}
}

func TestBurstWithoutOneIsASecondsWorth(t *testing.T) {
	for rate, want := range map[string]int64{"20/s": 20, "1/s": 1, "600/m": 10, "59/m": 1, "1000/h": 1, "7200/h": 2} {
		var r selvage.Rate
		if err := r.UnmarshalText([]byte(rate)); err != nil {
			t.Fatal(err)
		}
		if g, err := newGCRA(r, 0); err != nil || g.burst != want {
			t.Errorf("%s: burst %d, %v, want %d", rate, g.burst, err, want)
		}
	}
}

func TestWhoSharesAnAllowance(t *testing.T) {
	with := func(addr string, keys ...string) *Exchange {
		x := exchange(t, "GET", "/")
		x.Client = netip.MustParseAddr(addr)
		for _, k := range keys {
			x.In.Header.Add("X-Key", k)
		}
		return x
	}
	for _, tt := range []struct {
		per  selvage.LimitKey
		a, b *Exchange
		same bool
	}{
		{"client", with("192.0.2.1"), with("192.0.2.2"), false},
		{"client", with("192.0.2.1"), with("::ffff:192.0.2.1"), true},
		{"client", with("2001:db8::1"), with("2001:db8:0:ff:ffff::1"), true},
		{"client", with("2001:db8::1"), with("2001:db8:0:100::1"), false},
		{"", with("192.0.2.1"), with("192.0.2.2"), false},
		{"route", with("192.0.2.1"), with("192.0.2.2"), true},
		{"header:x-key", with("192.0.2.1", "a"), with("192.0.2.2", "a"), true},
		{"header:X-Key", with("192.0.2.1", "a"), with("192.0.2.1", "b"), false},
		{"header:X-Key", with("192.0.2.1", "a", "b"), with("192.0.2.1", "a"), false},
		{"header:X-Key", with("192.0.2.1"), with("192.0.2.2"), true},
	} {
		c := chain(t, limited("1/h", 1, tt.per))
		if a := c.Request(tt.a); a != nil {
			t.Fatalf("per %s: the first was answered %d", tt.per, a.Status)
		}
		if got := status(c.Request(tt.b)) == 429; got != tt.same {
			t.Errorf("per %q: %v %v and %v %v share: %v, want %v", tt.per,
				tt.a.Client, tt.a.In.Header["X-Key"], tt.b.Client, tt.b.In.Header["X-Key"], got, tt.same)
		}
	}
}

func TestSameLimitHasTheSameCountersInTheNextRevision(t *testing.T) {
	limits := new(Limits)
	scope := Scope{Tenant: "main", Service: "shop", Limits: limits}
	compile := func(scope Scope, rt selvage.Route) *Chain {
		c, err := Compile(scope, rt)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	old := compile(scope, limited("10/h", 10, "client"))
	for range 10 {
		if a := old.Request(exchange(t, "GET", "/")); a != nil {
			t.Fatalf("within the burst: status %d", a.Status)
		}
	}
	if got := status(compile(scope, limited("10/h", 10, "client")).Request(exchange(t, "GET", "/"))); got != 429 {
		t.Errorf("the same limit: status %d, want 429", got)
	}
	// A larger limit gives what is more in it; a smaller one begins empty, not years behind.
	if got := status(compile(scope, limited("10/h", 12, "client")).Request(exchange(t, "GET", "/"))); got != 0 {
		t.Errorf("a larger burst: status %d, want none", got)
	}
	faster := compile(scope, limited("1/s", 1, "client"))
	x := exchange(t, "GET", "/")
	if a := faster.Request(x); status(a) != 429 || a.Header.Get("Retry-After") != "1" {
		t.Errorf("a faster limit: status %d, want 429 for one second", status(a))
	}
	other := scope
	other.Tenant = "other"
	if got := status(compile(other, limited("10/h", 10, "client")).Request(exchange(t, "GET", "/"))); got != 0 {
		t.Errorf("another tenant's: status %d, want none", got)
	}
	runtime.KeepAlive(old)
}

func TestCountersGoWithTheLastRevision(t *testing.T) {
	limits := new(Limits)
	rt := limited("1/h", 1, "client")
	if c, err := Compile(Scope{Limits: limits}, rt); err != nil || c.Request(exchange(t, "GET", "/")) != nil {
		t.Fatal("the first was not admitted")
	}
	for end := time.Now().Add(time.Minute); time.Now().Before(end); runtime.GC() {
		limits.mu.Lock()
		left := len(limits.byID)
		limits.mu.Unlock()
		if left == 0 {
			return
		}
	}
	t.Error("the counters of no revision are still there")
}

func TestBurstIsExactAmongGoroutines(t *testing.T) {
	c := chain(t, limited("1/h", 100, "client"))
	const clients = 20
	var admitted [clients]atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			x := exchange(t, "GET", "/")
			for i := range clients * 50 {
				x.Client = netip.AddrFrom4([4]byte{10, 0, 0, byte(i % clients)})
				if c.Request(x) == nil {
					admitted[i%clients].Add(1)
				}
			}
		})
	}
	wg.Wait()
	for i := range admitted {
		if got := admitted[i].Load(); got != 100 {
			t.Errorf("client %d: %d admitted, want 100", i, got)
		}
	}
}

// A client that has used up its allowance floods the table with other keys.
func TestFloodOfKeysResetsNobodysAllowance(t *testing.T) {
	full := 0
	limits := &Limits{Keys: 256, OnLimit: func(name string) {
		if name != "rate_keys" {
			t.Errorf("limit %q was told", name)
		}
		full++
	}}
	c, err := Compile(Scope{Limits: limits}, limited("1/h", 3, "client"))
	if err != nil {
		t.Fatal(err)
	}
	x := exchange(t, "GET", "/")
	for range 3 {
		c.Request(x)
	}
	mine := 0
	for i := range 20000 {
		other := exchange(t, "GET", "/")
		other.Client = netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		c.Request(other)
		if i%100 == 0 && c.Request(exchange(t, "GET", "/")) == nil {
			mine++
		}
	}
	if mine != 0 {
		t.Errorf("%d requests were admitted beyond the allowance", mine)
	}
	if full == 0 {
		t.Error("the full table was not told")
	}
}

// The table against a map that forgets nothing: it may be stricter, never laxer.
func FuzzTableIsNeverLaxer(f *testing.F) {
	f.Add(uint64(1))
	f.Add(uint64(99))
	f.Fuzz(func(t *testing.T, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		g, err := newGCRA(selvage.Rate{Requests: 10, Per: time.Second}, 3)
		if err != nil {
			t.Fatal(err)
		}
		c := new(Limits)
		c.Keys = ways * setsPerPage
		table, exact := c.acquire(limitID{}), map[uint64]*atomic.Int64{}
		now := epoch.UnixNano()
		for range 2000 {
			now += r.Int64N(int64(20 * time.Millisecond))
			key := 1 + r.Uint64N(40)*setsPerPage // all in one set
			m := exact[key]
			if m == nil {
				m = new(atomic.Int64)
				exact[key] = m
			}
			got := g.take(table.moment(key, now), now)
			if !got.admitted {
				continue // the exact one is not charged for what was refused
			}
			if want := g.take(m, now); !want.admitted {
				t.Fatalf("seed %d: a request was admitted that its own key does not allow", seed)
			}
		}
	})
}

func TestClockSetBackEmptiesAndHeals(t *testing.T) {
	g, err := newGCRA(selvage.Rate{Requests: 1, Per: time.Second}, 2)
	if err != nil {
		t.Fatal(err)
	}
	var m atomic.Int64
	now := epoch.UnixNano()
	g.take(&m, now)
	now -= int64(time.Hour)
	if f := g.take(&m, now); f.admitted || f.retry != time.Second {
		t.Errorf("an hour back: %+v, want a second to wait", f)
	}
	if f := g.take(&m, now+int64(time.Second)); !f.admitted {
		t.Errorf("a second later: %+v, want admitted", f)
	}
}

func BenchmarkLimitPerClient(b *testing.B) {
	c := chain(b, limited("1000000/s", 1000000, "client"))
	x := exchange(b, "GET", "/")
	i := 0
	for b.Loop() {
		x.Client = netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)})
		i++
		c.Request(x)
	}
}

func ExampleLimits() {
	limits := new(Limits) // one for the node
	route := selvage.Route{Match: selvage.Match{Path: "/*"}, Limit: &selvage.Limit{Rate: selvage.Rate{Requests: 20, Per: time.Second}}}
	chain, err := Compile(Scope{Tenant: "main", Service: "shop", Limits: limits}, route)
	fmt.Println(chain.Plain(), err)
	// Output: true <nil>
}
