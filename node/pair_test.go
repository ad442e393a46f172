package node

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// otherMaker is oldService, but that what it makes is not what oldService does.
const otherMaker = `service: test
hosts: ["*"]
origins: {web: {endpoints: [http://one], retry: {attempts: 2, backoff: 0s}, timeout: {first_byte: 2s}}}
routes:
  - {name: pages, match: {path: /p/*}, origin: web, headers: {request: {set: {X-New: "1"}}}, cache: {ttl: 60s}}
  - {name: rest, match: {path: /*}, origin: web}
`

// asked are what an origin was asked, a line each.
type asked struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (a *asked) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	who := "old"
	if r.Header.Get("X-New") != "" {
		who = "new"
	}
	line := fmt.Sprint(who, " ", r.Method, " ", r.URL.Path)
	for _, name := range []string{"Cookie", "Authorization", "If-None-Match", "Accept-Language"} {
		if v := r.Header.Get(name); v != "" {
			line += " " + name
		}
	}
	a.mu.Lock()
	a.lines = append(a.lines, line)
	a.mu.Unlock()
	w.Header().Set("Cache-Control", "public, max-age=60")
	w.Header().Set("Etag", `"1"`)
	fmt.Fprint(w, who)
}

func (a *asked) expect(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	slices.Sort(a.lines) // the two arms ask at the same time
	if !slices.Equal(a.lines, want) {
		t.Errorf("the origin was asked\n\t%s\nwant\n\t%s", strings.Join(a.lines, "\n\t"), strings.Join(want, "\n\t"))
	}
	a.lines = nil
}

func (l *ledger) sorted() {
	synctest.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	slices.Sort(l.lines)
}

func TestWhatTheBaselineHasInStoreIsMadeByBothArms(t *testing.T) {
	var origin asked
	serve(t, oldService, origin.ServeHTTP, func(b *bed) {
		ask := func(method, path string, header ...string) {
			t.Helper()
			req, err := http.NewRequestWithContext(b.t.Context(), method, "http://203.0.113.1"+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(header); i += 2 {
				req.Header.Set(header[i], header[i+1])
			}
			res, err := b.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			res.Body.Close()
		}
		for _, path := range []string{"/p/1", "/p/2", "/p/4", "/p/5"} {
			b.get(path)
		}
		origin.expect(t, "old GET /p/1", "old GET /p/2", "old GET /p/4", "old GET /p/5")
		b.canary(otherMaker, 1)

		ask("GET", "/p/1", "Cookie", "who=me", "Authorization", "Bearer me", "Accept-Language", "de")
		b.ledger.sorted()
		b.ledger.expect(t, "begin baseline pages (stored)", "begin canary pages (stored)", "end [] 3 bytes 0s", "end [] 3 bytes 0s")
		origin.expect(t, "new GET /p/1 Cookie Authorization Accept-Language", "old GET /p/1 Accept-Language") // nobody's request

		if got := b.node.registry.store.Stats().Objects; got != 5 {
			t.Errorf("%d answers are stored, want the four of before and the canary's", got)
		}
		ask("GET", "/p/3") // in nobody's store: the baseline's own clients ask for it
		b.ledger.expect(t, "begin canary pages", "end [] 3 bytes 0s")
		origin.expect(t, "new GET /p/3")
		ask("GET", "/p/3") // in the canary's
		ask("GET", "/p/2", "Range", "bytes=0-0")
		ask("HEAD", "/p/4")
		ask("GET", "/p/5", "Cache-Control", "no-cache") // the baseline would ask too
		ask("GET", "/x")                                // no cached route
		origin.expect(t, "new GET /p/2", "new GET /p/5", "new HEAD /p/4", "old GET /x")
		b.ledger.sorted()
		b.ledger.expect(t, slices.Concat(
			slices.Repeat([]string{"begin canary pages"}, 3), []string{"begin canary rest"},
			slices.Repeat([]string{"end [] 3 bytes 0s"}, 3), []string{"end [] no body 0s"})...)

		time.Sleep(61 * time.Second) // nothing is fresh any more
		ask("GET", "/p/1")
		b.ledger.expect(t, "begin canary pages", "end [] 3 bytes 0s")
	})
}

func TestAnArmWithoutAStoreIsComparedWithWhatTheOtherOneStores(t *testing.T) {
	var origin asked
	serve(t, oldService, origin.ServeHTTP, func(b *bed) {
		b.get("/p/1")
		b.canary(strings.Replace(otherMaker, ", cache: {ttl: 60s}", "", 1), 1)
		for range 3 {
			b.get("/p/1")
			synctest.Wait() // what the old revision makes of it is under way no more: the next joins no one
		}
		origin.expect(t, "new GET /p/1", "new GET /p/1", "new GET /p/1", "old GET /p/1", "old GET /p/1", "old GET /p/1", "old GET /p/1")
	})
}

func TestNobodyWaitsForWhatTheBaselineMakes(t *testing.T) {
	slow := false
	var origin asked
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		if slow && r.Header.Get("X-New") == "" {
			time.Sleep(time.Second)
		}
		origin.ServeHTTP(w, r)
	}, func(b *bed) {
		b.get("/p/1")
		slow = true
		b.canary(otherMaker, 1)
		began := time.Now()
		if got := b.get("/p/1"); got != "200 new" || time.Since(began) > 0 {
			t.Errorf("got %q after %s, want what the canary makes, at once", got, time.Since(began))
		}
		b.ledger.sorted()
		b.ledger.expect(t, "begin baseline pages (stored)", "begin canary pages (stored)", "end [] 3 bytes 0s")
		time.Sleep(time.Second)
		b.ledger.sorted()
		b.ledger.expect(t, "end [] 3 bytes 1s")
	})
}

// A client that asks for what the canary does not make would have the old revision make it, alone:
// its origin would be asked as often as it likes, and seem as fast as what it asks for.
func TestWhatTheCanaryDoesNotMakeTheBaselineDoesNotMakeAgain(t *testing.T) {
	slow := false
	var origin asked
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		if slow && r.Header.Get("X-New") != "" {
			time.Sleep(time.Second)
		}
		origin.ServeHTTP(w, r)
	}, func(b *bed) {
		b.get("/p/1")
		origin.expect(t, "old GET /p/1")
		b.canary(otherMaker, 1)
		ask := func(header ...string) {
			req, err := http.NewRequestWithContext(b.t.Context(), http.MethodGet, "http://203.0.113.1/p/1", nil)
			if err != nil {
				t.Error(err)
				return
			}
			if len(header) > 0 {
				req.Header.Set(header[0], header[1])
			}
			res, err := b.client.Do(req)
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, res.Body)
			res.Body.Close()
		}
		ask("Cache-Control", "only-if-cached")
		origin.expect(t)
		slow = true
		var wg sync.WaitGroup
		for range 5 { // one makes it, the others wait
			wg.Go(func() { ask() })
			time.Sleep(100 * time.Millisecond)
		}
		wg.Wait()
		origin.expect(t, "new GET /p/1", "old GET /p/1")
		time.Sleep(59 * time.Second)
		b.canary(otherMaker, 0)
		b.get("/p/1") // what the old revision has is fresh for longer
		b.canary(otherMaker, 1)
		origin.expect(t, "old GET /p/1 If-None-Match")
		time.Sleep(15 * time.Second)
		ask("Cache-Control", "max-stale") // the canary's is stale, and does
		origin.expect(t)
	})
}

func TestWhatHasNoCounterpartIsNoEvidence(t *testing.T) {
	slow := false
	var origin asked
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		if slow {
			time.Sleep(time.Second)
		}
		origin.ServeHTTP(w, r)
	}, func(b *bed) {
		b.get("/p/1")
		slow = true
		b.canary(strings.Replace(otherMaker, ", cache: {ttl: 60s}", "", 1), 1)
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { b.get("/p/1") })
			synctest.Wait()
		}
		wg.Wait()
		origin.expect(t, "new GET /p/1", "new GET /p/1", "new GET /p/1", "old GET /p/1", "old GET /p/1")
		b.ledger.sorted()
		b.ledger.expect(t, "begin baseline pages (stored)", "begin canary pages (stored)",
			"begin canary pages (stored, unpaired)", "begin canary pages (stored, unpaired)",
			"end [] 3 bytes 1s", "end [] 3 bytes 1s", "end [] 3 bytes 1s", "end [] 3 bytes 1s")
	})
}
