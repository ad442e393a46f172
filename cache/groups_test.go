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

func TestForgottenGroupsEndTheirElders(t *testing.T) {
	var g groups
	origin := testKey("/")
	of := func(position uint64, names ...string) *answer { return &answer{position: position, groups: names} }
	for i := range 10 {
		g.invalidate(&origin, []string{fmt.Sprint(i)}, 4)
	}
	tests := []struct {
		a    *answer
		want bool
	}{
		{of(0), false},          // of no group
		{of(0, "9"), true},      // remembered
		{of(9, "9"), true},      // requested just before
		{of(10, "9"), false},    // and just after
		{of(0, "0"), true},      // forgotten, but older
		{of(3, "x"), true},      // never invalidated, but older than what is forgotten
		{of(6, "x"), false},     // younger
		{of(6, "x", "7"), true}, // one of several
	}
	for _, tt := range tests {
		if got := g.ended(&origin, tt.a); got != tt.want {
			t.Errorf("at %d of %q: ended %v, want %v", tt.a.position, tt.a.groups, got, tt.want)
		}
	}
	if len(g.ring) != 4 || len(g.since) != 4 {
		t.Errorf("%d and %d are remembered, want 4", len(g.ring), len(g.since))
	}
	other := origin
	other.Host = "other.example"
	if g.ended(&other, of(8, "9")) {
		t.Error("a group of another origin was invalidated")
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
		e.store.groups.invalidate(&key, []string{"a"}, groupPlaces)
		r := e.get("/")
		if strings.Contains(r.cacheStatus(), "hit") {
			t.Errorf("after the invalidation: %q", r.cacheStatus())
		}
	})
}
