package cache

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

var oneMinute = selvage.Cache{TTL: selvage.Duration(time.Minute)}

func TestStoredAnswerIsUsedForItsWholeLifetimeAndNotLonger(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		expect(t, e.get("/"), 200, "one", "selvage; fwd=uri-miss; stored")
		settled()
		time.Sleep(59 * time.Second)
		r := e.get("/")
		expect(t, r, 200, "one", "selvage; hit; ttl=1")
		if r.header.Get("Age") != "59" {
			t.Errorf("Age %q, want 59", r.header.Get("Age"))
		}
		want := record.Cache{Hit: true, HasTTL: true, TTL: time.Second}
		if d := cmp.Diff(want, r.rec.Cache); d != "" {
			t.Errorf("record (-want +got)\n%s", d)
		}
		time.Sleep(time.Second)
		r = e.get("/")
		expect(t, r, 200, "one", "selvage; fwd=stale; fwd-status=200; stored")
		if d := cmp.Diff(record.Cache{Fwd: "stale", FwdStatus: 200, Stored: true}, r.rec.Cache); d != "" {
			t.Errorf("record (-want +got)\n%s", d)
		}
		if e.origin.count() != 2 || e.store.Stats().Hits != 1 {
			t.Errorf("origin was asked %d times with %d hits, want 2 and 1", e.origin.count(), e.store.Stats().Hits)
		}
	})
}

func TestStaleAnswerIsConfirmedByTheOrigin(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") == `"a"` {
				return reply(req, 304, "Cache-Control: max-age=20\nX-Version: 2", ""), nil
			}
			return reply(req, 200, "Cache-Control: max-age=10\nETag: \"a\"\nX-Version: 1", "one"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		time.Sleep(10 * time.Second)
		r := e.get("/")
		expect(t, r, 200, "one", "selvage; fwd=stale; fwd-status=304")
		if r.header.Get("X-Version") != "2" || r.header.Get("Age") != "" || r.header.Get("Content-Length") != "3" {
			t.Errorf("after validation: header %v", r.header)
		}
		time.Sleep(19 * time.Second)
		r = e.get("/")
		expect(t, r, 200, "one", "selvage; hit; ttl=1")
		if r.header.Get("X-Version") != "2" || r.header.Get("Age") != "19" {
			t.Errorf("hit after validation: header %v", r.header)
		}
		if got := e.store.Stats().Objects; got != 1 {
			t.Errorf("%d answers are stored, want 1", got)
		}
	})
}

func Test304OfAnotherAnswerIsNotBelieved(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		n := 0
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if n++; req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, `ETag: "b"`, ""), nil
			}
			return reply(req, 200, "Cache-Control: max-age=10\nETag: \"a\"", strings.Repeat("x", n)), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		time.Sleep(10 * time.Second)
		expect(t, e.get("/"), 200, "xxx", "selvage; fwd=stale; fwd-status=200; stored")
	})
}

func Test304ThatForbidsStoringEndsWhatIsStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, "Cache-Control: no-store", ""), nil
			}
			return reply(req, 200, "Cache-Control: max-age=10\nETag: \"a\"", "one"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		time.Sleep(10 * time.Second)
		expect(t, e.get("/"), 200, "one", "selvage; fwd=stale; fwd-status=304; detail=no-store")
		settled()
		if got := e.store.Stats().Objects; got != 0 {
			t.Errorf("%d answers are stored, want none", got)
		}
	})
}

func TestNoCacheAnswerIsAskedAboutEachTime(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, "", ""), nil
			}
			return reply(req, 200, "Cache-Control: no-cache, max-age=10\nETag: \"a\"", "one"), nil
		}}
		e := newEdge(t, selvage.Cache{StaleIfError: selvage.Duration(time.Hour)}, origin)
		e.get("/")
		settled()
		for range 3 {
			expect(t, e.get("/", "Cache-Control", "max-stale"), 200, "one", "selvage; fwd=stale; fwd-status=304")
			settled()
		}
		origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		if r := e.get("/"); !errors.Is(r.err, errOrigin) {
			t.Errorf("with the origin down: got %v %q, want its error", r.err, r.body)
		}
	})
}

func TestStaleServedWhileOriginDown(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{TTL: selvage.Duration(10 * time.Second), StaleIfError: selvage.Duration(time.Hour)}, always(200, "", "one"))
		e.get("/")
		time.Sleep(15 * time.Second)
		e.origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		r := e.get("/")
		expect(t, r, 200, "one", "selvage; fwd=stale; ttl=-5; detail=stale-if-error")
		if !r.rec.Cache.Stale || r.rec.Origin.Fallback != "stale" || r.header.Get("Age") != "15" {
			t.Errorf("record %+v, Age %q", r.rec.Cache, r.header.Get("Age"))
		}
		e.origin.answer = always(503, "Cache-Control: max-age=100", "sorry").answer
		expect(t, e.get("/"), 200, "one", "selvage; fwd=stale; fwd-status=503; ttl=-5; detail=stale-if-error")
		e.origin.answer = always(404, "", "gone").answer
		expect(t, e.get("/"), 404, "gone", "selvage; fwd=stale; fwd-status=404; stored")
	})
}

func TestHeadAndNoStoreGetStaleWhileOriginDown(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{TTL: selvage.Duration(10 * time.Second), StaleIfError: selvage.Duration(time.Hour)}, always(200, "", "one"))
		e.get("/")
		time.Sleep(15 * time.Second)
		e.origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		expect(t, e.get("/", "Cache-Control", "no-store"), 200, "one", "selvage; fwd=stale; ttl=-5; detail=stale-if-error")
		req := get(t, "http://shop.example/")
		req.Method = "HEAD"
		expect(t, e.do(req), 200, "", "selvage; fwd=stale; ttl=-5; detail=stale-if-error")
	})
}

func TestStaleRungAllowsADayWithoutAnotherBound(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		scope := shop
		scope.StaleOnError = true
		e := newEdgeFor(t, scope, always(200, "Cache-Control: max-age=10", "one"))
		e.get("/")
		e.get("/short")
		e.origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		time.Sleep(10*time.Second + DefaultStaleIfError - 1)
		expect(t, e.get("/"), 200, "one", "selvage; fwd=stale; ttl=-86400; detail=stale-if-error")
		time.Sleep(time.Nanosecond)
		if r := e.get("/"); !errors.Is(r.err, errOrigin) {
			t.Errorf("after a day: got %v, want the origin's error", r.err)
		}
	})
}

func TestStaleServedWhileOneRefreshRuns(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		body := "one"
		origin := &script{}
		origin.answer = func(req *http.Request) (*http.Response, error) {
			if origin.count() > 1 {
				time.Sleep(5 * time.Second)
				body = "two"
			}
			return reply(req, 200, "Cache-Control: max-age=10, stale-while-revalidate=30", body), nil
		}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		time.Sleep(12 * time.Second)
		for range 5 {
			expect(t, e.get("/", "Cookie", "a=b", "Authorization", "x", "Client-Cert", ":eA==:"), 200, "one", "selvage; hit; ttl=-2; detail=stale-while-revalidate")
		}
		time.Sleep(6 * time.Second)
		settled()
		expect(t, e.get("/"), 200, "two", "selvage; hit; ttl=4") // the answer was five seconds on its way
		if origin.count() != 2 {
			t.Errorf("origin was asked %d times, want 2", origin.count())
		}
		if h := origin.last().Header; h.Get("Cookie")+h.Get("Authorization")+h.Get("Client-Cert") != "" {
			t.Errorf("the refresh carried a client's credentials: %v", h)
		}
	})
}

func TestRefreshThatFailsLeavesTheStaleAnswer(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=10, stale-while-revalidate=30", "one"))
		e.get("/")
		time.Sleep(12 * time.Second)
		e.origin.answer = func(*http.Request) (*http.Response, error) { return nil, errOrigin }
		for i := range 3 {
			expect(t, e.get("/"), 200, "one", fmt.Sprintf("selvage; hit; ttl=%d; detail=stale-while-revalidate", -2-i))
			time.Sleep(RefreshJitter)
			settled()
		}
		e.origin.answer = always(200, "Cache-Control: no-store", "private").answer
		expect(t, e.get("/"), 200, "one", "selvage; hit; ttl=-5; detail=stale-while-revalidate")
		time.Sleep(RefreshJitter)
		settled()
		if got := e.origin.count(); got != 5 {
			t.Errorf("origin was asked %d times, want 5", got)
		}
		if s := e.store.Stats(); s.Refreshing != 0 || s.Refreshed != 1 || s.RefreshFailures != 3 {
			t.Errorf("refreshes: %+v, want 1 and 3 failures", s)
		}
	})
}

func TestRefreshesOfWhatWasStoredTogetherAreSpread(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		starts := map[time.Time]int{}
		var mu sync.Mutex
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			starts[time.Now()]++
			return reply(req, 200, "Cache-Control: max-age=10, stale-while-revalidate=5", "one"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		for _, again := range []bool{false, true} {
			for i := range 20 {
				e.get(fmt.Sprint("/", i))
			}
			settled()
			if !again {
				time.Sleep(12 * time.Second)
			}
		}
		if got := e.store.Stats().Refreshing; got != 20 {
			t.Errorf("%d refreshes are under way, want 20", got)
		}
		time.Sleep(500 * time.Millisecond) // a tenth of the window
		settled()
		if origin.count() != 40 || len(starts) < 15 {
			t.Errorf("the origin was asked %d times at %d moments, want 40 at more than 15", origin.count(), len(starts))
		}
	})
}

func TestWhoWaitsForARefreshHurriesIt(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=10, stale-while-revalidate=30", "one"))
		e.get("/")
		time.Sleep(12 * time.Second)
		e.get("/")
		start := time.Now()
		for range 2 {
			e.get("/", "Cache-Control", "max-age=5")
		}
		if took := time.Since(start); took != 0 || e.origin.count() != 2 {
			t.Errorf("it took %v and the origin was asked %d times, want no time and 2", took, e.origin.count())
		}
	})
}

func TestVariantsAreKeptApart(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "Cache-Control: max-age=60\nVary: Accept-Language", req.Header.Get("Accept-Language")), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		expect(t, e.get("/", "Accept-Language", "de"), 200, "de", "selvage; fwd=uri-miss; stored")
		settled()
		expect(t, e.get("/", "Accept-Language", "fr"), 200, "fr", "selvage; fwd=vary-miss; stored")
		settled()
		expect(t, e.get("/"), 200, "", "selvage; fwd=vary-miss; stored")
		settled()
		expect(t, e.get("/", "Accept-Language", "de"), 200, "de", "selvage; hit; ttl=60")
		expect(t, e.get("/", "Accept-Language", " fr "), 200, "fr", "selvage; hit; ttl=60")
		expect(t, e.get("/"), 200, "", "selvage; hit; ttl=60")
	})
}

func TestVariantsAreBounded(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=60\nVary: X", "one"))
		reached := map[string]int{}
		e.store.OnLimit = func(limit string) { reached[limit]++ }
		for i := range MaxVariants + 5 {
			e.get("/", "X", strings.Repeat("x", i+1))
			settled()
		}
		if got := e.store.Stats().Objects; got != MaxVariants {
			t.Errorf("%d variants are stored, want %d", got, MaxVariants)
		}
		if reached["variants"] != 5 {
			t.Errorf("limits reached: %v, want variants 5 times", reached)
		}
	})
}

func TestClientsConditionsAreAnsweredFromTheStore(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=60\nETag: \"a\"\nContent-Type: text/plain\nVary: X", "one"))
		r := e.get("/", "If-None-Match", `"a"`)
		expect(t, r, 304, "", "selvage; fwd=uri-miss; fwd-status=200; stored")
		if h := e.origin.last().Header; h.Get("If-None-Match") != "" {
			t.Error("the client's condition kept the origin from giving the whole")
		}
		settled()
		r = e.get("/", "If-None-Match", `W/"a"`)
		expect(t, r, 304, "", "selvage; hit; ttl=60")
		if r.header.Get("Content-Type") != "" || r.header.Get("Content-Length") != "" || r.header.Get("Etag") != `"a"` || r.header.Get("Vary") != "X" {
			t.Errorf("304 with header %v", r.header)
		}
		expect(t, e.get("/", "If-None-Match", `"b"`), 200, "one", "selvage; hit; ttl=60")
	})
}

func TestConditionOnAnAnswerThatIsNotStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, "Cache-Control: private\nETag: \"a\"", ""), nil
			}
			return reply(req, 200, "Cache-Control: private\nETag: \"a\"", "one"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		expect(t, e.get("/", "If-None-Match", `"a"`), 304, "", "selvage; fwd=uri-miss; fwd-status=200; detail=private")
		// Now it is known, and the condition goes to the origin as it came.
		expect(t, e.get("/", "If-None-Match", `"a"`), 304, "", "selvage; fwd=uri-miss; detail=status")
		if h := origin.last().Header; h.Get("If-None-Match") != `"a"` {
			t.Error("the condition did not reach the origin")
		}
	})
}

func TestRangesAreCutFromTheStoredWhole(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=60\nETag: \"a\"", "0123456789"))
		e.get("/")
		settled()
		r := e.get("/", "Range", "bytes=2-4")
		expect(t, r, 206, "234", "selvage; hit; ttl=60")
		if r.header.Get("Content-Range") != "bytes 2-4/10" || r.header.Get("Content-Length") != "3" {
			t.Errorf("206 with header %v", r.header)
		}
		expect(t, e.get("/", "Range", "bytes=-2", "If-Range", `"a"`), 206, "89", "selvage; hit; ttl=60")
		expect(t, e.get("/", "Range", "bytes=2-4", "If-Range", `"b"`), 200, "0123456789", "selvage; hit; ttl=60")
		r = e.get("/", "Range", "bytes=10-")
		expect(t, r, 416, "", "selvage; hit; ttl=60")
		if r.header.Get("Content-Range") != "bytes */10" || r.header.Get("Cache-Control") != "" {
			t.Errorf("416 with header %v", r.header)
		}
		expect(t, e.get("/", "Range", "bytes=2-4", "If-None-Match", `"a"`), 304, "", "selvage; hit; ttl=60")
	})
}

func TestRangeOfAStaleAnswerRenewsTheWhole(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, always(200, "Cache-Control: max-age=10", "0123456789"))
		e.get("/")
		time.Sleep(10 * time.Second)
		expect(t, e.get("/", "Range", "bytes=8-"), 206, "89", "selvage; fwd=stale; fwd-status=200; stored")
		if e.origin.last().Header.Get("Range") != "" {
			t.Error("the origin was asked for a part")
		}
		settled()
		expect(t, e.get("/"), 200, "0123456789", "selvage; hit; ttl=10")
	})
}

func TestHeadIsAnsweredFromTheStoredGet(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		head := get(t, "http://shop.example/")
		head.Method = "HEAD"
		expect(t, e.do(head), 200, "", "selvage; fwd=uri-miss; detail=head")
		expect(t, e.get("/"), 200, "one", "selvage; fwd=uri-miss; stored")
		settled()
		r := e.do(head)
		expect(t, r, 200, "", "selvage; hit; ttl=60")
		if r.header.Get("Content-Length") != "3" {
			t.Errorf("Content-Length %q, want 3", r.header.Get("Content-Length"))
		}
	})
}

func TestRequestDirectivesAreHonoured(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		expect(t, e.get("/", "Cache-Control", "only-if-cached"), 504, "", "selvage; detail=only-if-cached")
		expect(t, e.get("/", "Cache-Control", "no-store"), 200, "one", "selvage; fwd=uri-miss; detail=request-no-store")
		expect(t, e.get("/"), 200, "one", "selvage; fwd=uri-miss; stored")
		time.Sleep(10 * time.Second)
		expect(t, e.get("/", "Cache-Control", "only-if-cached"), 200, "one", "selvage; hit; ttl=50")
		expect(t, e.get("/", "Cache-Control", "no-store"), 200, "one", "selvage; hit; ttl=50")
		expect(t, e.get("/", "Cache-Control", "max-age=10"), 200, "one", "selvage; hit; ttl=50")
		expect(t, e.get("/", "Cache-Control", "max-age=9, only-if-cached"), 504, "", "selvage; detail=only-if-cached")
		expect(t, e.get("/", "Cache-Control", "max-age=9"), 200, "one", "selvage; fwd=request; fwd-status=200; stored")
		settled()
		expect(t, e.get("/", "Cache-Control", "no-cache"), 200, "one", "selvage; fwd=request; fwd-status=200; stored")
		time.Sleep(time.Minute)
		expect(t, e.get("/", "Cache-Control", "max-stale=5"), 200, "one", "selvage; hit; ttl=0; detail=max-stale")
	})
}

func TestUnsafeMethodMakesInvalid(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			switch req.Method {
			case "POST":
				return reply(req, 201, "Location: /b", ""), nil
			case "PUT":
				return reply(req, 409, "", "no"), nil
			}
			return reply(req, 200, "Cache-Control: max-age=60", "one"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		for _, path := range []string{"/a", "/b", "/c"} {
			e.get(path)
		}
		settled()
		send := func(method string) result {
			req := get(t, "http://shop.example/a")
			req.Method = method
			return e.do(req)
		}
		expect(t, send("PUT"), 409, "no", "selvage; fwd=method")
		expect(t, send("OPTIONS"), 200, "one", "selvage; fwd=method")
		expect(t, e.get("/a"), 200, "one", "selvage; hit; ttl=60")
		expect(t, send("POST"), 201, "", "selvage; fwd=method")
		expect(t, e.get("/a"), 200, "one", "selvage; fwd=uri-miss; stored")
		expect(t, e.get("/b"), 200, "one", "selvage; fwd=uri-miss; stored")
		expect(t, e.get("/c"), 200, "one", "selvage; hit; ttl=60")
		// A route that stores nothing makes invalid too.
		settled()
		req := get(t, "http://shop.example/a")
		req.Method = "POST"
		res, err := NewInvalidator(e.store, shop, origin).RoundTrip(req)
		if err != nil || res.Header.Get("Cache-Status") != "" {
			t.Errorf("the invalidator answered %v, %v", res, err)
		}
		expect(t, e.get("/a"), 200, "one", "selvage; fwd=uri-miss; stored")
	})
}

func TestBypass(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		e.get("/")
		settled()
		for _, name := range []string{"Upgrade", "If-Match", "If-Unmodified-Since", "X-HTTP-Method-Override", "X-Original-URL"} {
			r := e.get("/", name, "x")
			if r.rec.Cache.Fwd != "bypass" || r.body != "one" {
				t.Errorf("with %s: %q, Cache-Status %q", name, r.body, r.cacheStatus())
			}
		}
		req := get(t, "http://shop.example/")
		req.Body, req.ContentLength = io.NopCloser(strings.NewReader("x")), 1
		expect(t, e.do(req), 200, "one", "selvage; fwd=bypass; detail=body")
		if e.origin.count() != 7 {
			t.Errorf("origin was asked %d times, want 7", e.origin.count())
		}
	})
}

func TestTagsAreNotSentToTheClient(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{TTL: oneMinute.TTL, Tags: selvage.CacheTags{Header: "cache-tag"}},
			always(200, "Cache-Tag: a, b\nSurrogate-Key: c", "one"))
		private := newEdge(t, selvage.Cache{}, always(200, "Surrogate-Key: a b\nCache-Control: private", "one"))
		for range 2 {
			if r := e.get("/"); r.header.Get("Cache-Tag") != "" || r.header.Get("Surrogate-Key") != "c" {
				t.Errorf("stored: header %v", r.header)
			}
			settled()
			if r := private.get("/"); r.header.Get("Surrogate-Key") != "" {
				t.Errorf("private: header %v", r.header)
			}
			if r := private.get("/", "Upgrade", "x"); r.header.Get("Surrogate-Key") != "" {
				t.Errorf("bypass: header %v", r.header)
			}
		}
	})
}

func TestCallerMayChangeTheHeaderItIsGiven(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "X-A: 1\nCache-Status: Origin; hit", "one"))
		e.get("/")
		settled()
		for range 2 {
			r := e.get("/")
			if got := strings.Join(r.header["Cache-Status"], ", "); got != "Origin; hit, selvage; hit; ttl=60" {
				t.Errorf("Cache-Status %q", got)
			}
			if got := r.header.Values("X-A"); len(got) != 1 {
				t.Errorf("X-A %q", got)
			}
			r.header.Add("X-A", "2")
			r.header.Add("Cache-Status", "other")
			r.header.Del("Date")
		}
	})
}

func TestTrailersAreStoredWithTheBody(t *testing.T) {
	for _, announced := range []bool{true, false} {
		for _, long := range []bool{true, false} { // as HTTP/2 allows: with a length, and trailers behind it
			onVirtualTime(t, func(t *testing.T) { testTrailers(t, announced, long) })
		}
	}
}

func testTrailers(t *testing.T, announced, long bool) {
	origin := &script{answer: func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("If-None-Match") != "" {
			return reply(req, 304, "", ""), nil
		}
		res := reply(req, 200, "Etag: \"a\"\nConnection: X-Hop", "one")
		if !long {
			res.ContentLength = -1
			delete(res.Header, "Content-Length")
		}
		if announced {
			res.Trailer = http.Header{"X-Sum": nil}
		}
		res.Body = &trailing{res.Body, res}
		return res, nil
	}}
	e := newEdge(t, oneMinute, origin)
	ask := func(what string, sum string, fields ...string) {
		t.Helper()
		req := get(t, "http://shop.example/", fields...)
		if what == "HEAD" {
			req.Method = "HEAD"
		}
		res, err := e.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := res.Trailer["X-Sum"]; ok != (sum != "") && (announced || what != "first") {
			t.Errorf("%s: announced %v", what, res.Trailer)
		}
		if sum != "" && res.Trailer != nil && (res.ContentLength >= 0 || res.Header.Get("Content-Length") != "") {
			t.Errorf("%s: a length is said, behind which no trailer can follow", what)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if got := res.Trailer.Get("X-Sum"); got != sum || err != nil || res.Trailer.Get("Set-Cookie") != "" || res.Trailer.Get("X-Hop") != "" {
			t.Errorf("%s (announced %v, long %v): %q with trailers %v, %v; want X-Sum %q", what, announced, long, body, res.Trailer, err, sum)
		}
	}
	ask("first", "7")
	settled()
	ask("hit", "7")
	ask("part", "", "Range", "bytes=0-1")
	ask("HEAD", "")
	ask("304", "", "If-None-Match", `"a"`)
	time.Sleep(2 * time.Minute)
	ask("confirmed", "7")
	if n := origin.count(); n != 2 {
		t.Errorf("the origin was asked %d times, want once and once whether it is right", n)
	}
}

// trailing sets a trailer when the body has been read.
type trailing struct {
	io.ReadCloser
	res *http.Response
}

func (b *trailing) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if errors.Is(err, io.EOF) {
		b.res.Trailer = http.Header{"X-Sum": {"7"}, "Set-Cookie": {"a=b"}, "X-Hop": {"1"}}
	}
	return n, err
}

func TestLengthIsToldOnceItIsKnown(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			res := reply(req, 200, "", strings.Repeat("0123456789", 10000))
			res.ContentLength = -1
			delete(res.Header, "Content-Length")
			return res, nil
		}}
		e := newEdge(t, oneMinute, origin)
		if r := e.get("/"); len(r.body) != 100000 || r.header.Get("Content-Length") != "" {
			t.Errorf("first: %d bytes, Content-Length %q", len(r.body), r.header.Get("Content-Length"))
		}
		settled()
		if r := e.get("/"); len(r.body) != 100000 || r.header.Get("Content-Length") != "100000" {
			t.Errorf("hit: %d bytes, Content-Length %q", len(r.body), r.header.Get("Content-Length"))
		}
		if r := e.get("/", "Range", "bytes=99998-"); r.body != "89" {
			t.Errorf("range: %q", r.body)
		}
	})
}

func TestRecordHasTheLeadersAttempts(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			rec := record.From(req.Context())
			rec.Origin.Add(record.Attempt{Endpoint: "10.0.0.1:80", Status: 200})
			if rec.Trace.SpanID != [8]byte{1} {
				t.Errorf("the forward has trace %v", rec.Trace)
			}
			return reply(req, 200, "", "one"), nil
		}}
		e := newEdge(t, oneMinute, origin)
		rec := &record.Record{Trace: record.Trace{SpanID: [8]byte{1}}}
		req := get(t, "http://shop.example/")
		res, err := e.RoundTrip(req.WithContext(record.NewContext(req.Context(), rec)))
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if rec.Origin.Attempts != 1 || rec.Origin.Kept()[0].Endpoint != "10.0.0.1:80" {
			t.Errorf("record has %+v", rec.Origin)
		}
	})
}

func TestClosedStoreFetchesNothingForItself(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "", "one"))
		e.store.Close()
		expect(t, e.get("/"), 200, "one", "selvage; fwd=uri-miss; detail=closing")
		expect(t, e.get("/"), 200, "one", "selvage; fwd=uri-miss; detail=closing")
	})
}

func TestCloseEndsAFlightThatHangs(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
			<-req.Context().Done()
			return nil, req.Context().Err()
		}})
		got := make(chan result)
		go func() { got <- e.get("/") }() // awaited below
		settled()
		e.store.Close()
		if r := <-got; !errors.Is(r.err, context.Canceled) {
			t.Errorf("got %v, want canceled", r.err)
		}
	})
}

// What was made for somebody whose certificate was believed is not what an application
// that says nothing has for all.
func TestAnAnswerToACertificateIsNotStoredByTheTTL(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "", "for "+req.Header.Get("Client-Cert")), nil
		}})
		expect(t, e.get("/", "Client-Cert", ":YQ==:"), 200, "for :YQ==:", "selvage; fwd=uri-miss; detail=client-cert")
		expect(t, e.get("/"), 200, "for ", "selvage; fwd=uri-miss; stored")
	})
}

// Where the key tells certificates apart, each has its own answers, and a refresh asks for the same one.
func TestACertificateInTheKeyHasItsOwnAnswers(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		policy := oneMinute
		policy.StaleWhileRevalidate, policy.Key = selvage.Duration(time.Minute), &selvage.CacheKey{Headers: []string{"client-cert"}}
		e := newEdge(t, policy, &script{answer: func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "", "for "+req.Header.Get("Client-Cert")), nil
		}})
		expect(t, e.get("/", "Client-Cert", ":YQ==:"), 200, "for :YQ==:", "selvage; fwd=uri-miss; stored")
		expect(t, e.get("/"), 200, "for ", "selvage; fwd=uri-miss; stored")
		time.Sleep(70 * time.Second)
		e.get("/", "Client-Cert", ":YQ==:") // is stale, and refreshed
		time.Sleep(10 * time.Second)
		settled()
		if r := e.get("/", "Client-Cert", ":YQ==:"); r.body != "for :YQ==:" {
			t.Errorf("after the refresh: %q", r.body)
		}
		if n := e.origin.count(); n != 3 {
			t.Errorf("the origin was asked %d times, want 3", n)
		}
	})
}

func TestRequestWithACookieMayConfirmWhatTheTTLStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, "", ""), nil
			}
			return reply(req, 200, `ETag: "a"`, "one"), nil
		}}
		e := newEdge(t, oneMinute, origin)
		expect(t, e.get("/", "Cookie", "a=b"), 200, "one", "selvage; fwd=uri-miss; detail=cookie")
		expect(t, e.get("/"), 200, "one", "selvage; fwd=uri-miss; stored")
		time.Sleep(time.Minute)
		expect(t, e.get("/", "Cookie", "a=b"), 200, "one", "selvage; fwd=stale; fwd-status=304")
		settled()
		expect(t, e.get("/", "Cookie", "a=c"), 200, "one", "selvage; hit; ttl=60")
	})
}
