package cache

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// Who waited for an answer that turns out to be its leader's alone asks for himself,
// whether for a whole or for a part of it.
func TestWhoWaitedForWhatIsNotForAllAsksForHimself(t *testing.T) {
	for name, fields := range map[string]string{
		"private":                    "Cache-Control: private, max-age=60",
		"not to be stored":           "Cache-Control: no-store",
		"of one client":              "Cache-Control: max-age=60\nSet-Cookie: id=1",
		"stale from its beginning":   "Cache-Control: max-age=0",
		"to be confirmed each time":  "Cache-Control: no-cache",
		"selected by who knows what": "Cache-Control: max-age=60\nVary: *",
	} {
		for _, part := range []string{"", "bytes=0-3"} {
			t.Run(name+" "+part, func(t *testing.T) {
				onVirtualTime(t, func(t *testing.T) {
					var n atomic.Int64
					e := newEdge(t, selvage.Cache{}, &script{})
					e.origin.answer = func(req *http.Request) (*http.Response, error) {
						mine := fmt.Sprintf("%04d", n.Add(1))
						time.Sleep(time.Second)
						if req.Header.Get("Range") == "" {
							return reply(req, 200, fields+"\nEtag: \"a\"", mine), nil
						}
						res := reply(req, 206, fields+"\nEtag: \"a\"\nContent-Range: bytes 0-3/1000000", mine)
						return res, nil
					}
					ask := func() <-chan result {
						if part != "" {
							return e.beginGet("/", "Range", part)
						}
						return e.beginGet("/")
					}
					all := []<-chan result{ask(), ask(), ask()}
					seen := map[string]bool{}
					for _, c := range all {
						r := <-c
						if r.err != nil || seen[r.body] {
							t.Errorf("got %d %q, %v, which somebody else has too", r.status, r.body, r.err)
						}
						seen[r.body] = true
					}
				})
			})
		}
	}
}

// A tag is purged while an answer with it comes in: nobody who comes, and nobody who waits
// for its next slice, is given it.
func TestWhatIsPurgedWhileItComesInIsGivenToNobodyElse(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		var slow []*slowBody
		e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
			res := reply(req, 200, "Surrogate-Key: red", "")
			delete(res.Header, "Content-Length")
			b := newSlowBody(req)
			slow = append(slow, b)
			res.ContentLength, res.Body = -1, b
			return res, nil
		}})
		first := e.beginGet("/")
		settled()
		slow[0].parts <- "old"
		settled()
		e.purge(hard, "red")
		second := e.beginGet("/")
		settled()
		if len(slow) != 2 {
			t.Fatalf("the origin was asked %d times, want once more after the purge", len(slow))
		}
		close(slow[0].parts)
		slow[1].parts <- "new"
		close(slow[1].parts)
		if r := <-first; r.body != "old" {
			t.Errorf("who asked before the purge got %q, %v", r.body, r.err)
		}
		if r := <-second; r.body != "new" {
			t.Errorf("who asked after the purge got %q, %v", r.body, r.err)
		}
		settled()
		if r := e.get("/"); r.body != "new" || !strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("later: %q with %q", r.body, r.cacheStatus())
		}
	})
}

// A range that is put together while it is read waits for a piece that somebody else has
// asked for, and takes it only where it may be given to him, too.
func TestAPieceThatWasFetchedForAnotherIsTakenOnlyIfItIsForAll(t *testing.T) {
	for name, tt := range map[string]struct {
		fields string
		purge  []bool
	}{
		"purged softly":            {"", []bool{soft}},
		"purged":                   {"", []bool{hard}},
		"private":                  {"Cache-Control: private, max-age=60", nil},
		"of one client":            {"Set-Cookie: id=1", nil},
		"to be confirmed":          {"Cache-Control: no-cache", nil},
		"selected by other fields": {"Vary: X-Lang", nil},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				f, origin := slicedFile(0)
				tagged := f.modified
				var asked atomic.Bool
				f.modified = func(req *http.Request, res *http.Response) {
					tagged(req, res)
					if req.Header.Get("Range") == "bytes=100-199" && asked.CompareAndSwap(false, true) {
						time.Sleep(30 * time.Second)
						maps.Copy(res.Header, head(tt.fields))
						res.Body = io.NopCloser(strings.NewReader(strings.Repeat("!", 100)))
					}
				}
				e := newEdge(t, bySlices, origin)
				one := e.beginGet("/", "Range", "bytes=100-199", "X-Lang", "de")
				time.Sleep(5 * time.Second)
				for _, how := range tt.purge {
					e.purge(how, "s100")
				}
				other := e.beginGet("/", "Range", "bytes=0-199", "X-Lang", "fr")
				mine := strings.Repeat("!", 100)
				if slices.Contains(tt.purge, hard) {
					mine = f.bytes(span{100, 100}) // he asks again, too
				}
				if r := <-one; r.body != mine || r.err != nil {
					t.Errorf("who asked for the piece got %q, %v", r.body, r.err)
				}
				if r := <-other; r.body != f.bytes(span{0, 200}) || r.err != nil {
					t.Errorf("who waited for it got %q, %v", r.body, r.err)
				}
				e.expectRanges("100-199", "0-99", "100-199")
			})
		})
	}
}

func TestWaiterWhoCameAfterASoftPurgeIsSentOnWhenTheTagsAreKnown(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := counted(10*time.Second, "Surrogate-Key: red")
		e := newEdge(t, oneMinute, origin)
		first := e.beginGet("/p")
		settled()
		e.purge(soft, "red")
		late := e.beginGet("/p")
		settled()
		if n := origin.count(); n != 1 {
			t.Fatalf("before the tags are known the origin was asked %d times, want 1", n)
		}
		<-first
		if r := <-late; r.body != "2" || r.err != nil {
			t.Errorf("who came after the purge got %q, %v; that was requested before it", r.body, r.err)
		}
	})
}

// The purge comes when the head is there, and who waits has not looked at it yet.
func TestPurgeBetweenAHeadAndItsWaiterSendsHimOn(t *testing.T) {
	for _, how := range []bool{hard, soft} {
		onVirtualTime(t, func(t *testing.T) {
			e := newEdge(t, oneMinute, counted(time.Second, "Surrogate-Key: red"))
			leader, waiter := e.newInquiry(get(t, "http://shop.example/")), e.newInquiry(get(t, "http://shop.example/"))
			for _, q := range []*inquiry{leader, waiter} {
				if todo := e.decide(q); todo != fetch {
					t.Fatalf("got course %d, want a fetch", todo)
				}
			}
			f, first := e.join(leader, false)
			if _, second := e.join(waiter, false); first != leads || second != waits {
				t.Fatalf("their parts are %d and %d, want one who leads and one who waits", first, second)
			}
			time.Sleep(2 * time.Second)
			settled()
			e.purge(how, "red")
			if res, next, err := e.await(waiter, f, false); res != nil || next != tryNext || err != nil {
				t.Errorf("soft %v: got %v, %d, %v, want to try the next", how, res, next, err)
			}
			res, _, err := e.await(leader, f, true)
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(res.Body); string(body) != "1" || err != nil {
				t.Errorf("who caused the fetch got %q, %v", body, err)
			}
			res.Body.Close()
		})
	}
}

// An answer whose head is there, and whose body still comes, is joined by those only who may have it.
func TestOnlyWhoMayHaveWhatIsComingJoinsIt(t *testing.T) {
	for name, tt := range map[string]struct {
		fields []string
		purge  []bool
		want   part
	}{
		"the same":       {nil, nil, waits},
		"other fields":   {[]string{"X-Lang", "fr"}, nil, leads},
		"not wanted":     {[]string{"Cache-Control", "no-cache"}, nil, leads},
		"purged":         {nil, []bool{hard}, leads},
		"purged softly":  {nil, []bool{soft}, leads},
		"with a session": {[]string{"Cookie", "a=b"}, nil, waits},
	} {
		t.Run(name, func(t *testing.T) {
			onVirtualTime(t, func(t *testing.T) {
				origin, bodies := streaming("Vary: X-Lang\nSurrogate-Key: red", -1)
				e := newEdge(t, oneMinute, origin)
				first := e.open(t.Context(), "/")
				defer first.Close()
				for _, how := range tt.purge {
					e.purge(how, "red")
				}
				q := e.newInquiry(get(t, "http://shop.example/", tt.fields...))
				if todo := e.decide(q); todo != fetch {
					t.Fatalf("got course %d, want a fetch", todo)
				}
				f, got := e.join(q, false)
				if got != tt.want {
					t.Errorf("the part is %d, want %d", got, tt.want)
				}
				settled()
				f.leave(got == leads)
				close((<-bodies).parts)
			})
		})
	}
}

func TestWhoSelectsAnotherVariantDoesNotWaitForThisOne(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, &script{})
		e.origin.answer = after(time.Second, func(req *http.Request) (*http.Response, error) {
			return reply(req, 200, "Vary: X-Lang", req.Header.Get("X-Lang")), nil
		})
		e.get("/", "X-Lang", "de")
		settled()
		all := map[string]<-chan result{"fr": e.beginGet("/", "X-Lang", "fr"), "it": e.beginGet("/", "X-Lang", "it"), "": e.beginGet("/")}
		settled()
		if n := e.origin.count(); n != 4 {
			t.Errorf("the origin was asked %d times, want once for each variant at once", n)
		}
		for lang, c := range all {
			if r := <-c; r.body != lang {
				t.Errorf("asked for %q, got %q", lang, r.body)
			}
		}
	})
}

func TestHeadThatFindsAStaleAnswerRefreshesItByAGet(t *testing.T) {
	policy := oneMinute
	policy.StaleWhileRevalidate = selvage.Duration(time.Hour)
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, policy, always(200, "", "page"))
		e.get("/")
		settled()
		time.Sleep(61 * time.Second)
		req := get(t, "http://shop.example/")
		req.Method = http.MethodHead
		e.do(req)
		time.Sleep(RefreshJitter)
		settled()
		if got := e.origin.last().Method; e.origin.count() != 2 || got != http.MethodGet {
			t.Errorf("after %d requests the last one was %s, want a GET in the background", e.origin.count(), got)
		}
		if r := e.get("/"); r.body != "page" || !r.rec.Cache.Hit {
			t.Errorf("got %q with %q", r.body, r.cacheStatus())
		}
	})
}
