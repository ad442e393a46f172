package cache

import (
	"fmt"
	"net/http"
	"strings"
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
					n := 0
					e := newEdge(t, selvage.Cache{}, &script{})
					e.origin.answer = func(req *http.Request) (*http.Response, error) {
						n++
						mine := fmt.Sprintf("%04d", n)
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
