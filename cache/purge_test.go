package cache

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// purge applies a purge to the edge's service: of tags, or of URLs, which have a slash.
func (e *edge) purge(soft bool, what ...string) {
	p := Purge{Tenant: e.scope.Tenant, Service: e.scope.Service, Soft: soft, All: len(what) == 0}
	for _, w := range what {
		if !strings.HasPrefix(w, "/") {
			p.Tags = append(p.Tags, selvage.Tag(w))
			continue
		}
		u, err := url.Parse("http://shop.example" + w)
		if err != nil {
			e.t.Fatal(err)
		}
		p.URLs = append(p.URLs, u)
	}
	e.store.Purge(p)
}

// counted is an origin whose answers say how many there were, after a delay.
func counted(delay time.Duration, fields string) *script {
	s := new(script)
	s.answer = func(req *http.Request) (*http.Response, error) {
		n := fmt.Sprint(s.count())
		time.Sleep(delay)
		return reply(req, 200, fields, n), nil
	}
	return s
}

const hard, soft = false, true

// The race first: the answer is on its way when the purge comes.
func TestAnswerOnItsWayCannotSlipInBehindAPurge(t *testing.T) {
	for _, what := range []string{"red", "/p", ""} {
		t.Run("purge of "+what, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				e := newEdge(t, oneMinute, counted(10*time.Second, "Surrogate-Key: red blue"))
				first := e.begin(get(t, "http://shop.example/p"))
				time.Sleep(5 * time.Second)
				early := e.begin(get(t, "http://shop.example/p"))
				settled()
				if what == "" {
					e.purge(hard)
				} else {
					e.purge(hard, what)
				}
				second := e.begin(get(t, "http://shop.example/p"))
				if r := <-first; r.body != "1" {
					t.Errorf("who caused the fetch got %q, %v", r.body, r.err)
				}
				if r := <-early; r.err != nil {
					t.Errorf("who waited before the purge got %v", r.err)
				}
				if r := <-second; r.body != "2" {
					t.Errorf("who asked after the purge got %q, %v; that was requested before it", r.body, r.err)
				}
				settled()
				expect(t, e.get("/p"), 200, "2", "selvage; hit; ttl=50")
				e.store.check(t)
			})
		})
	}
}

// Tags are known with the head only.
func TestWaiterWhoCameAfterAMatchingPurgeIsSentOnWhenTheTagsAreKnown(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := counted(10*time.Second, "Surrogate-Key: red")
		e := newEdge(t, oneMinute, origin)
		first := e.begin(get(t, "http://shop.example/p"))
		settled()
		e.purge(hard, "blue") // of no concern
		joined := e.begin(get(t, "http://shop.example/p"))
		settled()
		if n := origin.count(); n != 1 {
			t.Fatalf("after a purge of another tag the origin was asked %d times, want 1", n)
		}
		e.purge(hard, "red")
		late := e.begin(get(t, "http://shop.example/p"))
		settled()
		if n := origin.count(); n != 1 {
			t.Errorf("before the tags are known the origin was asked %d times, want 1", n)
		}
		if r := <-first; r.body != "1" || r.rec.Cache.Stored {
			t.Errorf("the first got %q, stored %v; it was requested before the purge", r.body, r.rec.Cache.Stored)
		}
		a, b := <-joined, <-late
		if b.body != "2" {
			t.Errorf("who came after the purge got %q, %v", b.body, b.err)
		}
		if a.err != nil || origin.count() != 2 {
			t.Errorf("who came before it got %q, %v; the origin was asked %d times, want 2", a.body, a.err, origin.count())
		}
	})
}

func TestWaiterJoinsNoFetchWhoseURLWasPurgedSince(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := counted(10*time.Second, "")
		e := newEdge(t, oneMinute, origin)
		first := e.begin(get(t, "http://shop.example/p"))
		settled()
		e.purge(hard, "/p")
		second := e.begin(get(t, "http://shop.example/p"))
		settled()
		if n := origin.count(); n != 2 {
			t.Errorf("the origin was asked %d times, want a fetch of its own for who came after the purge", n)
		}
		<-first
		if r := <-second; r.body != "2" || r.rec.Cache.Collapsed {
			t.Errorf("got %q, collapsed %v", r.body, r.rec.Cache.Collapsed)
		}
	})
}

func TestPurgeMeansWhatItNames(t *testing.T) {
	const tags = "Surrogate-Key: s1 s2\nCache-Tag: c1,c2\nX-Tags: own, other\nCache-Groups: \"g 1\""
	for _, tt := range []struct {
		what string
		want bool
	}{
		{"s1", true}, {"s2", true}, {"c1", true}, {"c2", true}, {"own", true}, {"other", true}, {"g 1", true},
		{"s", false}, {"S1", false}, {"s1 s2", false}, {"c1,c2", false}, {"g", false},
		{"/p?a=1", true}, {"/p", false}, {"/p?a=2", false}, {"/p?a=1&b=2", false}, {"/p?", false}, {"/", false},
		{"", true},
	} {
		onVirtualTime(t, func(t *testing.T) {
			policy := oneMinute
			policy.Tags.Header = "x-tags"
			e := newEdge(t, policy, counted(0, tags))
			r := e.get("/p?a=1")
			if r.header.Get("X-Tags") != "" {
				t.Error("the field with our tags is sent to the client")
			}
			settled()
			if tt.what == "" {
				e.purge(hard)
			} else {
				e.purge(hard, tt.what)
			}
			r = e.get("/p?a=1")
			if got := r.body == "2"; got != tt.want {
				t.Errorf("after a purge of %q: purged %v, want %v", tt.what, got, tt.want)
			}
			if detail := strings.Contains(r.cacheStatus(), "detail=purged"); detail != tt.want {
				t.Errorf("after a purge of %q: Cache-Status %q", tt.what, r.cacheStatus())
			}
		})
	}
}

func TestPurgeOfOneServiceLeavesOthersAlone(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, counted(0, "Surrogate-Key: red"))
		e.get("/p")
		settled()
		for _, p := range []Purge{
			{Tenant: e.scope.Tenant, Service: "other", All: true},
			{Tenant: "other", Service: e.scope.Service, Tags: []selvage.Tag{"red"}},
		} {
			e.store.Purge(p)
		}
		expect(t, e.get("/p"), 200, "1", "selvage; hit; ttl=60")
	})
}

// A URL purge hits what any rule keys it under, all variants, and the answers to QUERY.
func TestURLPurgeReachesEveryFormOfTheKey(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, counted(0, "Vary: X-Lang\nNo-Vary-Search: params=(\"utm\"), key-order"))
		ask := func(target, method, lang string) result {
			req := get(t, target, "X-Lang", lang)
			req.Method = method
			return e.do(req)
		}
		before := map[string]string{}
		each := func(do func(target, method, lang string)) {
			for _, target := range []string{"http://shop.example/p?a=1&b=2&utm=x", "https://shop.example/p?b=2&a=1"} {
				for _, method := range []string{"GET", "QUERY"} {
					for _, lang := range []string{"de", "fr"} {
						do(target, method, lang)
						settled()
					}
				}
			}
		}
		each(func(target, method, lang string) { ask(target, method, lang) })
		each(func(target, method, lang string) {
			r := ask(target, method, lang)
			if !strings.Contains(r.cacheStatus(), "hit") {
				t.Fatalf("%s %s is not stored: %s", method, target, r.cacheStatus())
			}
			before[target+method+lang] = r.body
		})
		e.purge(hard, "/p?b=2&utm=y&a=1") // a third way to write it
		each(func(target, method, lang string) {
			if r := ask(target, method, lang); r.body == before[target+method+lang] {
				t.Errorf("%s %s in %s is still there", method, target, lang)
			}
		})
	})
}

func TestHardPurgedAnswerIsNeverAskedAbout(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := counted(0, "Etag: \"e\"\nSurrogate-Key: red")
		e := newEdge(t, oneMinute, origin)
		e.get("/p")
		settled()
		e.purge(hard, "red")
		r := e.get("/p")
		if got := origin.last().Header.Get("If-None-Match"); got != "" || r.body != "2" {
			t.Errorf("the origin was asked with If-None-Match %q, the client got %q", got, r.body)
		}
	})
}

func TestHardPurgedAnswerNeverStandsInForAnError(t *testing.T) {
	policy := oneMinute
	policy.StaleIfError, policy.StaleWhileRevalidate = selvage.Duration(time.Hour), selvage.Duration(time.Hour)
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, policy, counted(0, "Surrogate-Key: red"))
		e.get("/p")
		settled()
		e.purge(hard, "red")
		e.origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		if r := e.get("/p"); r.err == nil {
			t.Errorf("got %d %q with %q, want no answer", r.status, r.body, r.cacheStatus())
		}
	})
	onVirtualTime(t, func(t *testing.T) { // the purge comes while the origin is failing
		e := newEdge(t, policy, counted(0, "Surrogate-Key: red"))
		e.get("/p")
		settled()
		time.Sleep(62 * time.Minute) // too stale to be used while it is fetched
		policy := e.origin
		policy.answer = func(*http.Request) (*http.Response, error) { time.Sleep(time.Second); return nil, errOrigin }
		waiting := e.begin(get(t, "http://shop.example/p", "Cache-Control", "no-cache"))
		settled()
		e.purge(hard, "red")
		if r := <-waiting; r.err == nil {
			t.Errorf("got %d %q with %q, want no answer", r.status, r.body, r.cacheStatus())
		}
	})
}

func TestHardPurgeMakesAPartAskForTheWhole(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := counted(0, "Etag: \"e\"\nSurrogate-Key: red")
		e := newEdge(t, oneMinute, origin)
		e.get("/p")
		settled()
		e.purge(hard, "red")
		e.get("/p", "Range", "bytes=0-0")
		if h := origin.last().Header; h.Get("If-Range") != "" || h.Get("If-None-Match") != "" {
			t.Errorf("a purged answer's validator was used: %v", h)
		}
	})
}

func TestSoftPurgedAnswerIsStale(t *testing.T) {
	policy := oneMinute
	policy.StaleIfError, policy.StaleWhileRevalidate = selvage.Duration(100*time.Second), selvage.Duration(10*time.Second)
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, policy, counted(0, "Etag: \"e\"\nSurrogate-Key: red"))
		e.get("/p")
		settled()
		time.Sleep(5 * time.Second)
		e.purge(soft, "red")
		e.origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		expect(t, e.get("/p"), 200, "1", "selvage; hit; ttl=0; detail=stale-while-revalidate")
		time.Sleep(11 * time.Second)
		expect(t, e.get("/p"), 200, "1", "selvage; fwd=stale; ttl=-11; detail=stale-if-error")
		e.origin.answer = notModified
		e.get("/p")
		if got := e.origin.last().Header.Get("If-None-Match"); got != `"e"` {
			t.Errorf("the origin was asked with If-None-Match %q, want the stored ETag", got)
		}
		settled()
		if r := e.get("/p"); !strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("after the origin confirmed it: %q", r.cacheStatus())
		}
		time.Sleep(5 * time.Second)
		e.purge(hard, "red")
		e.origin.answer = counted(0, "").answer
		if r := e.get("/p"); strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("a hard purge after a soft one: %q", r.cacheStatus())
		}
	})
}

// The second purge of two comes while a request is on its way that began between them.
func TestSoftPurgedAnswerIsStaleAlsoForWhoBeganBeforeTheNextPurge(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "Surrogate-Key: red blue", "1"))
		e.get("/p")
		settled()
		e.purge(soft, "red")
		time.Sleep(time.Second)
		q := e.newInquiry(get(t, "http://shop.example/p"))
		time.Sleep(time.Second)
		e.purge(soft, "blue")
		for range 2 { // the first look makes it stale, the second one finds it so
			if v := q.consider(e.lookup(q)); v == useFresh || q.found.answer == nil {
				t.Errorf("it is still fresh for a second time: %v, %v", v, q.found.answer.terms.ttl(q.now))
			}
		}
	})
}

func TestSoftPurgeCountsFromItsMoment(t *testing.T) {
	policy := oneMinute
	policy.StaleWhileRevalidate = selvage.Duration(10 * time.Second)
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, policy, counted(0, "Surrogate-Key: red"))
		e.get("/p")
		settled()
		e.purge(soft, "red")
		time.Sleep(11 * time.Second) // nobody looked meanwhile
		if r := e.get("/p"); r.body != "2" {
			t.Errorf("got %q with %q, want a new one: it is stale for 11 s", r.body, r.cacheStatus())
		}
	})
}

func TestNotModifiedHasThePositionOfItsValidation(t *testing.T) {
	for _, tt := range []struct {
		name  string
		purge time.Duration // after the validation began; it takes 10 s
		hit   bool
	}{{"before", -time.Second, false}, {"during", 5 * time.Second, false}, {"after", 15 * time.Second, false}, {"never", time.Hour, true}} {
		t.Run("purge "+tt.name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				origin := counted(0, "Etag: \"e\"\nSurrogate-Key: red\nCache-Control: max-age=60")
				e := newEdge(t, selvage.Cache{}, origin)
				e.get("/p")
				settled()
				time.Sleep(70 * time.Second)
				if tt.purge < 0 {
					e.purge(hard, "red")
				}
				whole := origin.answer
				origin.answer = func(req *http.Request) (*http.Response, error) {
					time.Sleep(10 * time.Second)
					if req.Header.Get("If-None-Match") == "" {
						return whole(req)
					}
					return notModified(req)
				}
				validating := e.begin(get(t, "http://shop.example/p"))
				if tt.purge > 0 && tt.purge < time.Minute {
					time.Sleep(tt.purge)
					e.purge(hard, "red")
				}
				<-validating
				settled()
				r := e.get("/p")
				if hit := strings.Contains(r.cacheStatus(), "hit") && r.body == "1"; hit != tt.hit {
					t.Errorf("got %q with %q, want the old one used %v", r.body, r.cacheStatus(), tt.hit)
				}
			})
		})
	}
}

// A soft purge's validation brings the answer back; one before the purge does not.
func TestConfirmationAfterASoftPurgeMakesFreshAgain(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, counted(0, "Etag: \"e\"\nSurrogate-Key: red"))
		e.get("/p")
		settled()
		e.purge(soft, "red")
		e.origin.answer = func(req *http.Request) (*http.Response, error) { time.Sleep(time.Second); return notModified(req) }
		first := e.begin(get(t, "http://shop.example/p"))
		settled()
		e.purge(soft, "red")
		<-first
		settled()
		asked := e.origin.count()
		if r := e.get("/p"); r.body != "1" || e.origin.count() != asked+1 {
			t.Errorf("the answer that was confirmed before the second purge was used without asking: %q", r.cacheStatus())
		}
		settled()
		if r := e.get("/p"); !strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("got %q, want a hit", r.cacheStatus())
		}
	})
}

func TestHeadTakesBackNoPurge(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, counted(0, "Surrogate-Key: red"))
		e.get("/p")
		settled()
		for _, how := range []bool{soft, hard} {
			e.purge(how, "red")
			req := get(t, "http://shop.example/p", "Cache-Control", "no-cache")
			req.Method = http.MethodHead
			e.do(req)
			settled()
			asked := e.origin.count()
			if e.get("/p"); e.origin.count() == asked {
				t.Errorf("soft %v: a HEAD made a purged answer fresh", how)
			}
			settled()
		}
	})
}

func TestConfirmationMayChangeTags(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := counted(0, "Etag: \"e\"\nSurrogate-Key: red\nCache-Control: max-age=60")
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/p")
		settled()
		time.Sleep(70 * time.Second)
		origin.answer = func(req *http.Request) (*http.Response, error) {
			return reply(req, 304, "Etag: \"e\"\nSurrogate-Key: blue\nCache-Control: max-age=60", ""), nil
		}
		e.get("/p")
		settled()
		e.purge(hard, "red")
		expect(t, e.get("/p"), 200, "1", "selvage; hit; ttl=60")
		e.purge(hard, "blue")
		e.get("/p")
		if got := origin.last().Header.Get("If-None-Match"); got != "" {
			t.Error("the tag of the 304 was not learnt")
		}
	})
}

func TestAnswerWithTooManyTagsIsNotStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		var many strings.Builder
		for i := range MaxTags + 1 {
			fmt.Fprintf(&many, " t%d", i)
		}
		var reached string
		e := newEdge(t, oneMinute, counted(0, "Surrogate-Key:"+many.String()))
		e.store.OnLimit = func(limit string) { reached = limit }
		expect(t, e.get("/p"), 200, "1", "selvage; fwd=uri-miss; detail=tags")
		settled()
		if e.store.Stats().Objects != 0 || reached != "tags" {
			t.Errorf("%d are stored, limit reached: %q", e.store.Stats().Objects, reached)
		}
	})
}

func TestForgetDropsWhatIsStoredAndWhatIsOnItsWay(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, counted(10*time.Second, ""))
		e.get("/a")
		on := e.begin(get(t, "http://shop.example/b"))
		settled()
		e.store.Forget()
		if got := e.store.Stats(); got.Objects != 0 || got.Bytes != 0 {
			t.Errorf("%d objects, %d bytes are left", got.Objects, got.Bytes)
		}
		<-on
		settled()
		expect(t, e.get("/b"), 200, "3", "selvage; fwd=uri-miss; stored")
		e.store.check(t)
	})
}

// What a purge costs does not depend on what it hits: it writes one number and
// looks at no stored answer.
func TestPurgeOfATagLooksAtNoAnswer(t *testing.T) {
	for _, stored := range []int{1, 2000} {
		store := NewStore(64 << 20)
		tr := NewTransport(store, Scope{Tenant: shop.Tenant, Service: shop.Service, Policy: oneMinute}, nil)
		for i := range stored {
			k := testKey(fmt.Sprintf("/%d", i))
			store.put(k, http.Header{}, &answer{ledger: tr.ledger, tags: []string{"red"}, body: new(body)}, 0)
		}
		p := Purge{Tenant: shop.Tenant, Service: shop.Service, Tags: []selvage.Tag{"red"}}
		store.Purge(p)
		store.mu.Lock() // whoever looks at an answer needs it
		got := testing.AllocsPerRun(100, func() { store.Purge(p) })
		store.mu.Unlock()
		if got > 2 {
			t.Errorf("with %d answers of the tag a purge allocates %.0f times, want at most 2", stored, got)
		}
		if n := len(tr.ledger.marks.at); n != 1 {
			t.Errorf("%d marks, want 1", n)
		}
	}
}

// The answer was keyed by the rules of a revision that is not live when its URL
// is purged, and is live again afterwards.
func TestURLPurgeReachesWhatOtherRulesHaveKeyed(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		policy := oneMinute
		policy.Key = &selvage.CacheKey{Headers: []string{"X-Plan"}, Query: &selvage.QueryRules{Drop: []string{"utm_*"}, Sort: true}}
		old := newEdge(t, policy, counted(0, "Vary: X-Lang"))
		ask := func(target, plan, lang string) result {
			return old.do(get(t, "http://shop.example"+target, "X-Plan", plan, "X-Lang", lang))
		}
		for _, plan := range []string{"free", "paid"} {
			for _, lang := range []string{"de", "fr"} {
				ask("/p?b=2&a=1&utm_x=1", plan, lang)
				settled()
			}
		}
		live := &edge{Transport: NewTransport(old.store, shop, old.origin), t: t, origin: old.origin}
		live.purge(hard, "/p?a=1&b=3")
		if r := ask("/p?a=1&b=2", "free", "de"); !strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("after the purge of another URL: %q", r.cacheStatus())
		}
		live.purge(hard, "/p?utm_y=3&a=1&b=2")
		for _, plan := range []string{"free", "paid"} {
			for _, lang := range []string{"de", "fr"} {
				if r := ask("/p?a=1&b=2", plan, lang); strings.Contains(r.cacheStatus(), "hit") {
					t.Errorf("plan %s in %s is still there: %q", plan, lang, r.cacheStatus())
				}
			}
		}
	})
}

// A fetch in the background waits a while before it begins. What is purged
// meanwhile must not be asked about: its old body would come back as a new answer.
func TestRefreshThatWaitsDoesNotAskAboutWhatWasPurgedMeanwhile(t *testing.T) {
	policy := oneMinute
	policy.StaleWhileRevalidate = selvage.Duration(time.Hour)
	for range 20 { // the wait is by chance
		onVirtualTime(t, func(t *testing.T) {
			origin := counted(0, "Etag: \"e\"\nSurrogate-Key: red")
			e := newEdge(t, policy, origin)
			e.get("/p")
			settled()
			time.Sleep(61 * time.Second)
			e.get("/p") // begins the refresh
			settled()
			if origin.count() > 1 {
				return // it has not waited
			}
			e.purge(hard, "red")
			time.Sleep(RefreshJitter)
			settled()
			if got := origin.last().Header.Get("If-None-Match"); got != "" {
				t.Errorf("the refresh asked about a purged answer: If-None-Match %q", got)
			}
			if r := e.get("/p"); r.body != "2" {
				t.Errorf("got %q with %q", r.body, r.cacheStatus())
			}
		})
	}
}

func TestWhatWasPurgedWhileTheOriginFailedDoesNotStandIn(t *testing.T) {
	policy := oneMinute
	policy.StaleIfError = selvage.Duration(time.Hour)
	for name, fields := range map[string][]string{"a fetch": nil, "a request that goes on its own": {"Cache-Control", "no-store"}} {
		onVirtualTime(t, func(t *testing.T) {
			e := newEdge(t, policy, counted(0, "Surrogate-Key: red"))
			e.get("/p")
			settled()
			time.Sleep(2 * time.Minute)
			e.origin.answer = func(*http.Request) (*http.Response, error) { time.Sleep(time.Second); return nil, errOrigin }
			waiting := e.begin(get(t, "http://shop.example/p", fields...))
			settled()
			e.purge(hard, "red")
			if r := <-waiting; r.err == nil {
				t.Errorf("%s: got %d %q with %q, want no answer", name, r.status, r.body, r.cacheStatus())
			}
		})
	}
}

// BenchmarkPurgeOfATag purges a tag that one answer has, or many.
func BenchmarkPurgeOfATag(b *testing.B) {
	for _, stored := range []int{1, 1_000_000} {
		b.Run(fmt.Sprint(stored), func(b *testing.B) {
			store := NewStore(8 << 30)
			tr := NewTransport(store, Scope{Tenant: shop.Tenant, Service: shop.Service, Policy: oneMinute}, nil)
			tags := []string{"red"}
			for i := range stored {
				store.put(testKey(fmt.Sprint(i)), http.Header{}, &answer{ledger: tr.ledger, tags: tags, body: new(body)}, 0)
			}
			p := Purge{Tenant: shop.Tenant, Service: shop.Service, Tags: []selvage.Tag{"red"}}
			for b.Loop() {
				store.Purge(p)
			}
		})
	}
}
