package cache

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// victim is what an innocent client asks for after an attack: it must get the
// page, from wherever.
func victim(t *testing.T, e *edge) {
	t.Helper()
	settled()
	if r := e.get("/"); r.status != 200 || r.body != "page" {
		t.Errorf("the victim got %d %q with %q", r.status, r.body, r.cacheStatus())
	}
}

// poisonable answers each unusual request in its own way, and says that
// everything may be stored.
func poisonable() *script {
	return &script{answer: func(req *http.Request) (*http.Response, error) {
		h := req.Header
		const fields = "Cache-Control: max-age=60\nETag: \"a\""
		switch {
		case h.Get("X-HTTP-Method-Override") != "" || h.Get("X-Original-URL") != "" || req.ContentLength > 0:
			return reply(req, 200, fields, "something else"), nil
		case h.Get("If-Match") != "":
			return reply(req, 412, fields, ""), nil
		case h.Get("If-None-Match") == `"a"`:
			return reply(req, 304, fields, ""), nil
		case h.Get("Range") == "bytes=0-0":
			return reply(req, 206, fields+"\nContent-Range: bytes 0-0/4", "p"), nil
		case h.Get("Range") != "":
			return reply(req, 416, fields+"\nContent-Range: bytes */4", ""), nil
		}
		return reply(req, 200, fields, "page"), nil
	}}
}

func TestNoUnusualRequestPoisonsWhatOthersGet(t *testing.T) {
	attacks := map[string]func(*http.Request){
		"HEAD":               func(r *http.Request) { r.Method = "HEAD" },
		"HEAD with a range":  func(r *http.Request) { r.Method = "HEAD"; r.Header.Set("Range", "bytes=0-0") },
		"part":               func(r *http.Request) { r.Header.Set("Range", "bytes=0-0") },
		"impossible part":    func(r *http.Request) { r.Header.Set("Range", "bytes=9-") },
		"malformed part":     func(r *http.Request) { r.Header.Set("Range", "bytes=x") },
		"condition":          func(r *http.Request) { r.Header.Set("If-None-Match", `"a"`) },
		"failing condition":  func(r *http.Request) { r.Header.Set("If-Match", `"b"`) },
		"method override":    func(r *http.Request) { r.Header.Set("X-HTTP-Method-Override", "DELETE") },
		"path override":      func(r *http.Request) { r.Header.Set("X-Original-URL", "/admin") },
		"body on a GET":      func(r *http.Request) { r.Body, r.ContentLength = http.NoBody, 5 },
		"other host":         func(r *http.Request) { r.Host = "evil.example"; r.Header.Set("Range", "bytes=9-") },
		"unknown method":     func(r *http.Request) { r.Method = "GETT" },
		"lower-case method":  func(r *http.Request) { r.Method = "get" },
		"condition and part": func(r *http.Request) { r.Header.Set("Range", "bytes=0-0"); r.Header.Set("If-Range", `"a"`) },
	}
	for name, attack := range attacks {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				e := newEdge(t, selvage.Cache{}, poisonable())
				send := func() {
					req := get(t, "http://shop.example/")
					attack(req)
					e.do(req)
				}
				send() // into the empty store
				victim(t, e)
				send() // onto what is stored
				victim(t, e)
				time.Sleep(2 * time.Minute)
				send() // onto what is stale
				victim(t, e)
			})
		})
	}
}

func TestHeadersOfHeadDoNotReachTheStoredGet(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Method == "HEAD" {
				return reply(req, 200, "Cache-Control: max-age=6000\nContent-Length: 9\nX-Head: 1", ""), nil
			}
			return reply(req, 200, "Cache-Control: max-age=10", "page"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		time.Sleep(10 * time.Second)
		req := get(t, "http://shop.example/")
		req.Method = "HEAD"
		e.do(req)
		r := e.get("/")
		expect(t, r, 200, "page", "selvage; fwd=stale; fwd-status=200; stored")
		if r.header.Get("X-Head") != "" {
			t.Error("a field of the answer to HEAD is on the answer to GET")
		}
	})
}

func TestCookieOfOneClientIsNotGivenToAnother(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("If-None-Match") != "" {
				return reply(req, 304, "Set-Cookie: session="+req.Header.Get("X-User"), ""), nil
			}
			return reply(req, 200, "Cache-Control: max-age=10\nETag: \"a\"", "page"), nil
		}}
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/", "X-User", "1")
		time.Sleep(10 * time.Second)
		first, second := e.beginGet("/", "X-User", "1"), e.beginGet("/", "X-User", "2")
		for user, c := range map[string]<-chan result{"1": first, "2": second} {
			r := <-c
			if got := r.header.Get("Set-Cookie"); got != "" && got != "session="+user {
				t.Errorf("user %s got the cookie %q", user, got)
			}
		}
		settled()
		if got := e.get("/", "X-User", "3").header.Get("Set-Cookie"); got != "" && got != "session=3" {
			t.Errorf("user 3 got the cookie %q", got)
		}
	})
}

func TestFieldsOfAConnectionAreNotGivenToAnother(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, always(200, "Connection: X-Secret\nX-Secret: 1\nProxy-Authenticate: Basic", "page"))
		e.get("/")
		settled()
		if r := e.get("/"); r.header.Get("X-Secret") != "" || r.header.Get("Proxy-Authenticate") != "" || r.header.Get("Connection") != "" {
			t.Errorf("header %v", r.header)
		}
	})
}

func TestOversizeAnswerIsNotStoredInPart(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		big := strings.Repeat("x", 200<<10)
		for _, announced := range []bool{true, false} {
			origin := &script{answer: func(req *http.Request) (*http.Response, error) {
				res := reply(req, 200, "", big)
				if !announced {
					res.ContentLength = -1
					delete(res.Header, "Content-Length")
				}
				return res, nil
			}}
			e := newEdge(t, selvage.Cache{TTL: oneMinute.TTL, MaxBody: 100 << 10}, origin)
			for range 2 {
				if r := e.get("/"); r.body != big || r.err != nil {
					t.Errorf("announced %v: got %d bytes, %v", announced, len(r.body), r.err)
				}
				settled()
			}
			if s := e.store.Stats(); s.Objects != 0 || s.Receiving != 0 {
				t.Errorf("announced %v: left behind %+v", announced, s)
			}
		}
	})
}

// The bound counts also where all of the answer is there before its length is known.
func TestSmallAnswerBeyondTheBoundIsNotStored(t *testing.T) {
	for _, size := range []int{100, 101} {
		onVirtualTime(t, func(t *testing.T) {
			e := newEdge(t, selvage.Cache{TTL: oneMinute.TTL, MaxBody: 100}, &script{answer: func(req *http.Request) (*http.Response, error) {
				res := reply(req, 200, "", strings.Repeat("x", size))
				res.ContentLength = -1
				delete(res.Header, "Content-Length")
				return res, nil
			}})
			if r := e.get("/"); len(r.body) != size || r.err != nil {
				t.Errorf("got %d bytes, %v, want %d", len(r.body), r.err, size)
			}
			settled()
			if s := e.store.Stats(); (s.Objects == 1) != (size == 100) || s.Receiving != 0 {
				t.Errorf("of %d bytes, where 100 are allowed, is left %+v", size, s)
			}
		})
	}
}
