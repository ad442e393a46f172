package cache

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
)

func TestGroupsAreListsOfStrings(t *testing.T) {
	tests := []struct {
		lines []string
		want  []string
	}{
		{nil, nil},
		{[]string{""}, nil},
		{[]string{`"a"`}, []string{"a"}},
		{[]string{`"a", "b c";x=1`, `"a"`}, []string{"a", "b c", "a"}},
		{[]string{`"A", "a"`}, []string{"A", "a"}},
		{[]string{`"a", b`}, nil},
		{[]string{`"a", 1`}, nil},
		{[]string{`("a")`}, nil},
		{[]string{`a`}, nil},
		{[]string{`"a`}, nil},
	}
	for _, tt := range tests {
		if d := cmp.Diff(tt.want, groupNames(tt.lines)); d != "" {
			t.Errorf("%q (-want +got)\n%s", tt.lines, d)
		}
	}
}

func TestInvalidatedGroupIsNotGivenAgain(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			switch {
			case req.Method == http.MethodPost:
				return reply(req, 200, `Cache-Group-Invalidation: "b"`, ""), nil
			case req.URL.Path == "/b":
				return reply(req, 200, `Cache-Groups: "a", "b"`, "b"), nil
			}
			return reply(req, 200, `Cache-Groups: "a"`+"\n"+`Cache-Group-Invalidation: "a"`, "a"), nil
		}}
		e := newEdge(t, oneMinute, origin)
		e.get("/a") // a safe method invalidates nothing
		e.get("/b")
		settled()
		post := func() {
			req := get(t, "http://shop.example/change")
			req.Method = http.MethodPost
			e.do(req)
		}
		post()
		expect(t, e.get("/a"), 200, "a", "selvage; hit; ttl=60")
		expect(t, e.get("/b"), 200, "b", "selvage; fwd=uri-miss; stored")
		settled()
		expect(t, e.get("/b"), 200, "b", "selvage; hit; ttl=60")
		if got := e.store.Stats().Objects; got != 2 {
			t.Errorf("%d answers are stored, want 2", got)
		}
		e.store.check(t)
	})
}

func TestAnswerOnItsWayCannotOutrunTheInvalidationOfItsGroup(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		n := 0
		origin := &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Method == http.MethodPost {
				return reply(req, 200, `Cache-Group-Invalidation: "a"`, ""), nil
			}
			n++
			body := fmt.Sprint(n)
			time.Sleep(10 * time.Second)
			return reply(req, 200, `Cache-Groups: "a"`, body), nil
		}}
		e := newEdge(t, oneMinute, origin)
		first := e.begin(get(t, "http://shop.example/"))
		time.Sleep(5 * time.Second)
		req := get(t, "http://shop.example/change")
		req.Method = http.MethodPost
		e.do(req)
		second := e.begin(get(t, "http://shop.example/"))
		if r := <-first; r.body != "1" {
			t.Errorf("the first got %q, %v", r.body, r.err)
		}
		if r := <-second; r.body != "2" || r.rec.Cache.Collapsed {
			t.Errorf("who asked after the invalidation got %q, %v", r.body, r.err)
		}
		settled()
		expect(t, e.get("/"), 200, "2", "selvage; hit; ttl=50")
	})
}

func TestNotModifiedKeepsAndRenewsGroups(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := always(200, "Cache-Groups: \"a\"\nCache-Control: max-age=10\nEtag: \"e\"", "one")
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/")
		settled()
		origin.answer = notModified
		time.Sleep(10 * time.Second)
		e.get("/")
		settled()
		key := testKey("/")
		key.Scheme, key.Host = "http", "shop.example"
		e.store.endGroups(&key, []string{"a"})
		r := e.get("/")
		if strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("after the invalidation: %q", r.cacheStatus())
		}
	})
}
