package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

func (e *edge) post(path, content string, fields ...string) result {
	req := get(e.t, "http://shop.example"+path, fields...)
	req.Method = "POST"
	withContent(req, []byte(content))
	return e.do(req)
}

func TestPostAnswersAGetOnlyWhereTheOriginSaysSo(t *testing.T) {
	tests := []struct {
		name, fields string
		request      []string
		stored       bool
	}{
		{"all of it", "Cache-Control: max-age=60\nContent-Location: /a?b", nil, true},
		{"absolute", "Cache-Control: max-age=60\nContent-Location: http://shop.example/a?b", nil, true},
		{"empty", "Expires: " + httpDate(epoch.AddDate(90, 0, 0)) + "\nContent-Location:", nil, true},
		{"no location", "Cache-Control: max-age=60", nil, false},
		{"another location", "Cache-Control: max-age=60\nContent-Location: /a", nil, false},
		{"another host", "Cache-Control: max-age=60\nContent-Location: http://other.example/a?b", nil, false},
		{"no lifetime of its own", "Content-Location: /a?b", nil, false},
		{"stale at once", "Cache-Control: max-age=0\nEtag: \"a\"\nContent-Location: /a?b", nil, false},
		{"private", "Cache-Control: max-age=60, private\nContent-Location: /a?b", nil, false},
		{"a cookie", "Cache-Control: max-age=60\nContent-Location: /a?b\nSet-Cookie: a=b", nil, false},
		{"credentials", "Cache-Control: max-age=60\nContent-Location: /a?b", []string{"Authorization", "x"}, false},
		{"another method meant", "Cache-Control: max-age=60\nContent-Location: /a?b", []string{"X-Http-Method-Override", "DELETE"}, false},
		{"not to be stored", "Cache-Control: max-age=60\nContent-Location: /a?b", []string{"Cache-Control", "no-store"}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
					return reply(req, 200, tt.fields, req.Method), nil
				}})
				r := e.post("/a?b", "what", tt.request...)
				if r.body != "POST" || r.rec.Cache.Stored != tt.stored || strings.Contains(r.cacheStatus(), "stored") != tt.stored {
					t.Errorf("POST: got %q with %s, stored %v", r.body, r.cacheStatus(), r.rec.Cache.Stored)
				}
				if r := e.get("/a?b"); (r.body == "POST") != tt.stored {
					t.Errorf("GET: got %q with %s", r.body, r.cacheStatus())
				}
				e.store.check(t)
			})
		})
	}
}

func TestPostIsNotStoredOverALaterChange(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		var slow *slowBody
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			res := reply(req, 200, "Cache-Control: max-age=60\nContent-Location: /", "12345")
			if slow == nil {
				slow = newSlowBody(req)
				res.Body = slow
			}
			return res, nil
		}})
		req := get(t, "http://shop.example/")
		req.Method = "POST"
		first := e.begin(req)
		settled()
		if r := e.post("/", "later"); !r.rec.Cache.Stored {
			t.Errorf("the later one is not stored: %s", r.cacheStatus())
		}
		slow.parts <- "first"
		close(slow.parts)
		if r := <-first; r.body != "first" || r.rec.Cache.Stored {
			t.Errorf("got %q, stored %v", r.body, r.rec.Cache.Stored)
		}
		if r := e.get("/"); r.body != "12345" || !r.rec.Cache.Hit {
			t.Errorf("got %q with %s", r.body, r.cacheStatus())
		}
		if s := e.store.Stats(); s.Receiving != 0 {
			t.Errorf("%d bytes are reserved", s.Receiving)
		}
	})
}

func TestPostThatWasPurgedOnItsWayIsNotStored(t *testing.T) {
	for _, what := range []string{"red", "/", ""} {
		for _, how := range []bool{hard, soft} {
			onVirtualTime(t, func(t *testing.T) {
				var slow *slowBody
				e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
					res := reply(req, 200, "Cache-Control: max-age=60\nContent-Location: /\nSurrogate-Key: red", "12345")
					slow = newSlowBody(req)
					res.Body = slow
					return res, nil
				}})
				req := get(t, "http://shop.example/")
				req.Method = "POST"
				posted := e.begin(req)
				settled()
				slow.parts <- "123"
				if what == "" {
					e.purge(how)
				} else {
					e.purge(how, what)
				}
				slow.parts <- "45"
				close(slow.parts)
				if r := <-posted; r.body != "12345" || r.rec.Cache.Stored {
					t.Errorf("purge of %q, soft %v: got %q, stored %v", what, how, r.body, r.rec.Cache.Stored)
				}
				if s := e.store.Stats(); s.Objects != 0 || s.Receiving != 0 {
					t.Errorf("purge of %q, soft %v: left behind %+v", what, how, s)
				}
			})
		}
	}
}

func TestPostCutShortIsNotStored(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			res := reply(req, 200, "Cache-Control: max-age=60\nContent-Location: /", "12345")
			if req.Method == "POST" {
				res.ContentLength = 9
			}
			return res, nil
		}})
		if r := e.post("/", "x"); r.rec.Cache.Stored {
			t.Error("it is said to be stored")
		}
		if s := e.store.Stats(); s.Objects != 0 || s.Receiving != 0 {
			t.Errorf("left behind %+v", s)
		}
	})
}

func TestOriginChoosesAmongVariants(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			tag := `"de"`
			if strings.HasPrefix(req.Header.Get("Accept-Language"), "fr") {
				tag = `"fr"`
			}
			fields := "Cache-Control: max-age=60\nVary: Accept-Language\nEtag: " + tag
			if matchesAny(req.Header[ifNoneMatch], tag) {
				return reply(req, 304, fields, ""), nil
			}
			return reply(req, 200, fields, tag), nil
		}})
		for _, tt := range []struct{ language, body, asked, cacheStatus string }{
			{"de", `"de"`, "", "selvage; fwd=uri-miss; stored"},
			{"fr", `"fr"`, `"de"`, "selvage; fwd=vary-miss; stored"},
			{"de-AT", `"de"`, `"fr", "de"`, "selvage; fwd=vary-miss; fwd-status=304"},
		} {
			expect(t, e.get("/", "Accept-Language", tt.language), 200, tt.body, tt.cacheStatus)
			settled()
			if got := e.origin.last().Header.Get("If-None-Match"); got != tt.asked {
				t.Errorf("%s: asked with %q, want %q", tt.language, got, tt.asked)
			}
		}
		for _, tt := range []struct{ language, body string }{{"de-AT", `"de"`}, {"fr", `"fr"`}, {"de", `"de"`}} {
			expect(t, e.get("/", "Accept-Language", tt.language), 200, tt.body, "selvage; hit; ttl=60")
		}
		e.store.check(t)
	})
}

func TestA304ThatNamesNoneOfSeveralVariantsIsNotBelieved(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, &script{answer: func(req *http.Request) (*http.Response, error) {
			language := req.Header.Get("Accept-Language")
			fields := "Cache-Control: max-age=60\nVary: Accept-Language"
			if req.Header.Get("If-None-Match") != "" && language == "it" {
				return reply(req, 304, fields, ""), nil
			}
			return reply(req, 200, fields+"\nEtag: \""+language+"\"", language), nil
		}})
		for _, language := range []string{"de", "fr", "it"} {
			if r := e.get("/", "Accept-Language", language); r.body != language {
				t.Errorf("%s: got %q", language, r.body)
			}
			settled()
		}
		if n := e.origin.count(); n != 4 {
			t.Errorf("the origin was asked %d times, want 4: the last one twice", n)
		}
	})
}

func TestA304ForAVariantThatWasPurgedMeanwhileIsNotBelieved(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, &script{})
		e.origin.answer = after(10*time.Second, func(req *http.Request) (*http.Response, error) {
			const fields = "Cache-Control: max-age=60\nVary: Accept-Language\nSurrogate-Key: red\nEtag: \"de\""
			if req.Header.Get(ifNoneMatch) != "" {
				return reply(req, 304, fields, ""), nil
			}
			return reply(req, 200, fields, fmt.Sprint(e.origin.count())), nil
		})
		e.get("/", "Accept-Language", "de")
		settled()
		other := e.beginGet("/", "Accept-Language", "de-AT")
		time.Sleep(5 * time.Second)
		if got := e.origin.last().Header.Get(ifNoneMatch); got != `"de"` {
			t.Fatalf("asked with If-None-Match %q, want the stored ETag", got)
		}
		e.purge(hard, "red")
		if r := <-other; r.body != "3" {
			t.Errorf("got %q with %q, want an answer that was requested after the purge", r.body, r.cacheStatus())
		}
		settled()
		if r := e.get("/", "Accept-Language", "de-AT"); r.body != "3" || !r.rec.Cache.Hit {
			t.Errorf("later: %q with %q", r.body, r.cacheStatus())
		}
	})
}
