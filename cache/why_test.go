package cache

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

func TestEveryWordOfCacheStatusHasAMeaningAndASection(t *testing.T) {
	known := map[string]bool{}
	for param, r := range Reasons() {
		if known[param+r.Word] {
			t.Errorf("%s=%s is there twice", param, r.Word)
		}
		if known[param+r.Word] = true; r.Words == "" || r.Section == "" {
			t.Errorf("%s=%s has the words %q and the section %q", param, r.Word, r.Words, r.Section)
		}
	}
	words := 0
	for name, value := range constants(t) {
		for prefix, param := range map[string]string{"fwd": "fwd", "detail": "detail", "bypass": "detail", "refuse": "detail"} {
			if rest, ok := strings.CutPrefix(name, prefix); ok && rest != "" && rest[0] < 'a' {
				if words++; !known[param+value] {
					t.Errorf("%s: the table of reasons does not have %s=%s", name, param, value)
				}
			}
		}
	}
	if words < 30 {
		t.Errorf("only %d words were found in the sources", words)
	}
}

// constants are the package's constants that are strings.
func constants(t *testing.T) map[string]string {
	t.Helper()
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			for i, v := range spec.Values {
				if lit, ok := v.(*ast.BasicLit); ok && lit.Kind == token.STRING {
					out[spec.Names[i].Name], _ = strconv.Unquote(lit.Value)
				}
			}
			return true
		})
	}
	return out
}

// why asks for the account of a GET.
func (e *edge) why(path string, fields ...string) *Why {
	w, err := e.Why(get(e.t, "http://shop.example"+path, fields...))
	if err != nil {
		e.t.Fatal(err)
	}
	return w
}

// said are the steps of an account as lines.
func (w *Why) said() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", w.Verdict, w.Words)
	for _, s := range w.Steps {
		fmt.Fprintf(&b, "%s: %s (%s)\n", s.Rule, s.Words, s.Section)
	}
	return b.String()
}

func (w *Why) expect(t *testing.T, lines ...string) {
	t.Helper()
	said := w.said()
	for _, l := range lines {
		if !strings.Contains("\n"+said, "\n"+l) {
			t.Errorf("the account lacks %q:\n%s", l, said)
		}
	}
}

func TestWhyTellsTheArithmetic(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		scope := shop
		scope.Revision = "5d1e0b7c"
		scope.Policy.Key = &selvage.CacheKey{Query: &selvage.QueryRules{Drop: []string{"utm_*"}}}
		e := newEdgeFor(t, scope, always(200, "CDN-Cache-Control: max-age=60\nCache-Control: max-age=5\nAge: 4\nVary: Accept-Language\nSurrogate-Key: shoes sale", "one"))
		e.why("/p?utm_x=1&a=2").expect(t,
			"forwarded: nothing that may be used is stored for this URL",
			"key: GET http://shop.example/p?a=2 (9111 section 2)",
			"key: query drops utm_* (policy)",
			"forward: nothing that may be used is stored for this URL (9111 section 2)")
		e.get("/p?a=2", "Accept-Language", "de")
		settled()
		time.Sleep(15 * time.Second)
		e.why("/p?a=2&utm_x=1", "Accept-Language", "de").expect(t,
			"hit: fresh, 41 s left",
			"variant: accept-language: de: 1 of 1 stored (9111 section 4.1)",
			"lifetime: 60 s, max-age of CDN-Cache-Control (9213 section 2.2)",
			"age: 19 s, of which 4 s when it came (9111 section 4.2.3)",
			"fresh: 60 - 19 = 41 s left (9111 section 4.2)",
			"stored: ", "tags: sale shoes",
			"stale: while a new one is fetched: no (5861 section 3)")
		if w := e.why("/p?a=2", "Accept-Language", "de"); !strings.Contains(w.said(), "by revision 5d1e0b7c") || w.Status != "selvage; hit; ttl=41" {
			t.Errorf("got Cache-Status %q and\n%s", w.Status, w.said())
		}
		e.why("/p?a=2", "Accept-Language", "fr").expect(t,
			"forwarded: something is stored for this URL, but not for these request fields",
			"variant: accept-language: fr: 0 of 1 stored")
		e.why("/p?a=2", "Accept-Language", "de", "Cache-Control", "max-age=5").expect(t,
			"forwarded: what is stored is fresh, but the request does not take it",
			"request: it says max-age=5 (9111 section 5.2.1)")
		time.Sleep(time.Minute)
		e.why("/p?a=2", "Accept-Language", "de").expect(t,
			"forwarded: what is stored must not be used without asking",
			"fresh: no, stale for 19 s")
	})
}

func TestWhyNamesThePurges(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{StaleWhileRevalidate: selvage.Duration(time.Minute)}, always(200, "Cache-Control: max-age=60\nSurrogate-Key: shoes", "one"))
		e.get("/p")
		settled()
		time.Sleep(time.Second)
		soft := e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, Soft: true, Tags: []selvage.Tag{"shoes"}})
		w := e.why("/p")
		w.expect(t, "stale: it is stale, and a new one is fetched meanwhile", "purge: tag:shoes, soft: stale since")
		if w.Verdict != WouldBeStale || !slices.ContainsFunc(w.Steps, func(s Step) bool { return s.Purge == soft }) {
			t.Errorf("got %s without the purge at %d: %+v", w.Verdict, soft, w.Steps)
		}
		u, _ := url.Parse("http://shop.example/p")
		hard := e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, URLs: []*url.URL{u}})
		w = e.why("/p")
		w.expect(t, "forwarded: what was stored, or was on its way, is purged", "purge: url, hard: it is gone")
		if w.Status != "selvage; fwd=uri-miss; detail=purged" || !slices.ContainsFunc(w.Steps, func(s Step) bool { return s.Purge == hard }) {
			t.Errorf("got %q without the purge at %d: %+v", w.Status, hard, w.Steps)
		}
	})
}

func TestWhyRemembersThatTheLastAnswerWasNotStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: private", "one"))
		e.get("/p")
		settled()
		e.why("/p").expect(t, "last: the last answer was not kept for others: the answer is for one user; requests do not wait for each other, 10 s more (9111 section 5.2.2.7)")
	})
}

// whole is all of a store that a look may not change.
func (s *Store) whole() []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var out []string
	for e := range s.objects.all() {
		k := s.keyLocked(e)
		out = append(out, fmt.Sprintf("%q %d %v %d %d %d %d", k.Path+k.Query, e.serial, e.where, e.size, e.frequency.Load(), e.asked.Load(), e.queue))
	}
	for _, q := range []*queue{&s.queues.small, &s.queues.main} {
		for e := s.objects.at(q.oldest); e != nil; e = s.objects.at(e.newer) {
			out = append(out, fmt.Sprint(e.self))
		}
	}
	return append(out, fmt.Sprint(s.used, s.reserved, s.count, s.evictions, s.hits.Load(), s.purges.position.Load()))
}

// TestWhySaysWhatIsThenDone is a property: for random stores and requests the
// account is what the request then meets, it asks nothing and changes nothing.
func TestWhySaysWhatIsThenDone(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	met := map[string]int{}
	for round := range 60 {
		onVirtualTime(t, func(t *testing.T) { whyRound(t, rand.New(rand.NewPCG(seed, uint64(round))), met) })
	}
	for _, w := range []string{"hit", "stale", "forwarded", "refused", "uri-miss", "vary-miss", "request", "bypass", "partial", "purged"} {
		if met[w] == 0 {
			t.Errorf("none was %s: the test tests too little: %v", w, met)
		}
	}
}

func pick(r *rand.Rand, values ...string) string { return values[r.IntN(len(values))] }

func whyRound(t *testing.T, r *rand.Rand, met map[string]int) {
	var mu sync.Mutex // guards own
	own := rand.New(rand.NewPCG(r.Uint64(), 0))
	origin := &script{answer: func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		defer mu.Unlock()
		fields := "Cache-Control: " + pick(own, "max-age=20", "max-age=3, stale-while-revalidate=30", "s-maxage=9", "no-cache", "private", "max-age=5, stale-if-error=60") + "\nEtag: \"1\"\nSurrogate-Key: a"
		if own.IntN(3) == 0 {
			fields += "\nVary: Accept-Language"
		}
		const body = "012345678901234567890123456789"
		var from, to int
		if n, _ := fmt.Sscanf(req.Header.Get("Range"), "bytes=%d-%d", &from, &to); n == 2 && from < len(body) {
			// Less than was asked for, so that parts stay parts.
			to = min(to, from+9, len(body)-1)
			return reply(req, 206, fmt.Sprintf("%s\nContent-Range: bytes %d-%d/%d", fields, from, to, len(body)), body[from:to+1]), nil
		}
		return reply(req, 200, fields, body), nil
	}}
	e := newEdge(t, selvage.Cache{TTL: selvage.Duration(10 * time.Second)}, origin)
	for range 60 {
		req := get(t, "http://shop.example"+pick(r, "/a", "/b", "/c?x=1"))
		req.Method = pick(r, "GET", "GET", "GET", "GET", "HEAD", "POST")
		for _, f := range []struct{ name, value string }{
			{"Accept-Language", pick(r, "", "de", "fr")},
			{"Range", pick(r, "", "", "", "bytes=2-5", "bytes=5-20")},
			{"Cache-Control", pick(r, "", "", "", "max-age=2", "max-stale=20", "no-cache", "only-if-cached", "no-store", "min-fresh=4")},
			{"If-None-Match", pick(r, "", "", "", `"1"`)},
			{"If-Match", pick(r, "", "", "", "", "", `"1"`)},
		} {
			if f.value != "" {
				req.Header.Set(f.name, f.value)
			}
		}
		asked, before := origin.count(), e.store.whole()
		w, err := e.Why(req.Clone(t.Context()))
		if err != nil {
			t.Fatal(err)
		}
		if after := e.store.whole(); origin.count() != asked || !slices.Equal(slices.Sorted(slices.Values(before)), slices.Sorted(slices.Values(after))) {
			t.Fatalf("the account of %s %v asked the origin or changed the store: %s", req.Method, req.Header, cmp.Diff(before, after))
		}
		got := e.do(req)
		settled()
		checkWhy(t, w, req, got.rec, origin.count()-asked)
		for _, word := range []string{string(w.Verdict), w.Facts.Fwd, w.Facts.Detail} {
			met[word]++
		}
		switch r.IntN(10) {
		case 0:
			e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, Soft: r.IntN(2) == 0, Tags: []selvage.Tag{"a"}})
		case 1:
			u, _ := url.Parse("http://shop.example/a")
			e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, Soft: r.IntN(2) == 0, URLs: []*url.URL{u}})
		}
		time.Sleep(time.Duration(r.IntN(4000)) * time.Millisecond)
	}
}

// checkWhy compares an account with what then was done, with so many forwards.
func checkWhy(t *testing.T, w *Why, req *http.Request, rec *record.Record, forwards int) {
	t.Helper()
	want, got := rec.Cache, w.Facts
	verdict := WouldForward
	switch {
	case want.Hit && want.Stale:
		verdict = WouldBeStale
	case want.Hit:
		verdict = WouldHit
	case want.Detail == detailOnlyIfCached:
		verdict = WouldRefuse
	}
	want.FwdStatus, want.Stored, want.Collapsed = 0, false, false // what the origin says
	if verdict == WouldForward && want.Fwd != fwdBypass {
		want.Detail, got.Detail = "", ""
		if forwards > 1 { // what a part brought was of no use, and the whole was asked for
			want.Fwd = got.Fwd
		}
	}
	if w.Verdict != verdict || got != want {
		t.Fatalf("%s %s %v: the account is %s %+v, then it was %s %+v\n%s", req.Method, req.URL, req.Header, w.Verdict, got, verdict, want, w.said())
	}
}

func TestWhyMayBeAskedWhileRequestsRun(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdgeFor(t, Scope{Tenant: shop.Tenant, Service: shop.Service, Policy: selvage.Cache{TTL: selvage.Duration(2 * time.Second), StaleWhileRevalidate: selvage.Duration(time.Second)}},
			always(200, "Surrogate-Key: a\nEtag: \"1\"\nVary: Accept-Language", "0123456789"))
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() {
				for n := range 200 {
					path := "/" + strconv.Itoa(n%3)
					switch {
					case i == 0:
						e.why(path)
					case i == 1:
						e.why(path, "Range", "bytes=2-3")
					case i == 2 && n%20 == 0:
						e.store.Purge(Purge{Tenant: shop.Tenant, Service: shop.Service, Soft: n%40 == 0, Tags: []selvage.Tag{"a"}})
					default:
						e.get(path, "Accept-Language", strconv.Itoa(n%2))
					}
					time.Sleep(100 * time.Millisecond)
				}
			})
		}
		wg.Wait()
		settled()
		e.why("/0").expect(t, "key: GET http://shop.example/0")
	})
}
