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

func TestQueriesAreEqualWhereTheAnswerSaysSo(t *testing.T) {
	tests := []struct {
		field, a, b string
		want        bool
	}{
		{"", "a=1", "a=2", false},
		{`params`, "a=1", "b=2&c", true},
		{`params`, "", "b=2&c", true},
		{`params=?0`, "a=1", "a=2", false},
		{`params=("utm")`, "a=1&utm=x", "a=1", true},
		{`params=("utm")`, "utm=x&a=1&utm=y", "a=1", true},
		{`params=("utm")`, "a=1", "a=2", false},
		{`params=("utm")`, "a=1&b=2", "b=2&a=1", false},
		{`params=("utm")`, "a=1&UTM=2", "a=1", false},
		{`params=("a%20b" "c+d")`, "a+b=1&c%20d=2&e", "e", true},
		{`params, except=("id")`, "id=1&utm=x", "x&id=1", true},
		{`params, except=("id")`, "id=1", "id=2", false},
		{`params, except=("id")`, "id=1", "id=1&id=1", false},
		{`params, except=()`, "id=1", "", true},
		{`key-order`, "a=1&b=2", "b=2&a=1", true},
		{`key-order`, "a=1&a=2", "a=2&a=1", false},
		{`key-order, params=("x")`, "a=1&b=2&x", "x=9&b=2&a=1", true},
		// Two ways to write the same.
		{`params=("utm")`, "a=%41", "a=A", true},
		{`params=("utm")`, "a", "a=", true},
		{`params=("utm")`, "a=1&&", "a=1", true},
		{`params=("utm")`, "a=%zz", "a=%zz", true},
		{`params=("utm")`, "a=%2", "a=%252", true},
		{`params=("utm")`, "a=b%26c", "a=b&c", false},
		// What is no such field means that all matters.
		{`params=("utm"`, "a=1&utm=x", "a=1", false},
		{`params=(utm)`, "a=1&utm=x", "a=1", false},
		{`params="utm"`, "a=1&utm=x", "a=1", false},
		{`params=1`, "a=1&utm=x", "a=1", false},
		{`key-order=1, params`, "a=1&utm=x", "a=1", false},
		{`except=("id")`, "a=1&utm=x", "a=1", false},
		{`params=("utm"), except=("id")`, "a=1&utm=x", "a=1", false},
		{`params, except`, "a=1&utm=x", "a=1", false},
		{`other`, "a=1&utm=x", "a=1", false},
	}
	for _, tt := range tests {
		v := readNoVarySearch([]string{tt.field})
		key := func(query string) Key { return v.applied(Key{Query: query, HasQuery: query != ""}) }
		if got := key(tt.a) == key(tt.b); got != tt.want {
			t.Errorf("%s: %q and %q are equal: %v, want %v", tt.field, tt.a, tt.b, got, tt.want)
		}
	}
}

// FuzzSearch: a query is equal to its own parameters written anew, keys by
// different variances never meet, and nothing else than the query is changed.
func FuzzSearch(f *testing.F) {
	f.Add(`params=("a" "b")`, "a=1&c=%2")
	f.Add(`params, except=("a"), key-order`, "a=1&c=+&a")
	f.Fuzz(func(t *testing.T, field, query string) {
		if strings.Contains(query, "\x00") {
			return
		}
		v := readNoVarySearch([]string{field})
		exact := Key{Path: "/", Query: query, HasQuery: true}
		k := v.applied(exact)
		if v == nil {
			if k != exact {
				t.Errorf("%q without a variance became %+v", query, k)
			}
			return
		}
		var written []string
		for part := range strings.SplitSeq(query, "&") {
			if part != "" {
				name, value, _ := strings.Cut(part, "=")
				written = append(written, url.QueryEscape(decoded(name))+"="+url.QueryEscape(decoded(value)))
			}
		}
		exact.Query = strings.Join(written, "&")
		if again := v.applied(exact); again != k {
			t.Errorf("%s: %q is %q, but written anew %q", field, query, k.Query, again.Query)
		}
		if k.variedBy() != v.text || exact.variedBy() != "" {
			t.Errorf("%s: the key is varied by %q", field, k.variedBy())
		}
	})
}

// searching answers with the query of the request.
func searching(field *string) *script {
	return &script{answer: func(req *http.Request) (*http.Response, error) {
		fields := "Cache-Control: max-age=60"
		if *field != "" {
			fields += "\nNo-Vary-Search: " + *field
		}
		return reply(req, 200, fields, req.URL.RawQuery), nil
	}}
}

func TestAnswerIsGivenToQueriesThatDoNotMatterToIt(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		field := `params=("utm")`
		e := newEdge(t, selvage.Cache{}, searching(&field))
		const miss, hit = "selvage; fwd=uri-miss; stored", "selvage; hit; ttl=60"
		expect(t, e.get("/?utm=1&a=1"), 200, "utm=1&a=1", miss)
		settled()
		expect(t, e.get("/?a=1&utm=2"), 200, "utm=1&a=1", hit)
		expect(t, e.get("/?a=1"), 200, "utm=1&a=1", hit)
		expect(t, e.get("/?a=2"), 200, "a=2", miss)
		expect(t, e.get("/other?a=1"), 200, "a=1", miss)
		settled()
		req := get(t, "http://shop.example/?utm=7&a=1")
		req.Method = http.MethodPost
		e.do(req)
		expect(t, e.get("/?a=1&utm=3"), 200, "a=1&utm=3", miss)
		settled()
		expect(t, e.get("/?a=2"), 200, "a=2", hit)
		e.store.check(t)
	})
}

func TestAnswerThatVariesByMoreThanItsEldersIsItsLeadersAlone(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		field := "params"
		origin := searching(&field)
		slow := origin.answer
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/?a=0")
		settled()
		time.Sleep(time.Minute)
		origin.answer = func(req *http.Request) (*http.Response, error) {
			time.Sleep(time.Second)
			return slow(req)
		}
		field = ""
		var all []<-chan result
		for i := range 5 {
			all = append(all, e.begin(get(t, fmt.Sprintf("http://shop.example/?a=%d", i))))
		}
		for i, c := range all {
			if r := <-c; r.body != fmt.Sprintf("a=%d", i) || r.err != nil {
				t.Errorf("?a=%d got %q, %v", i, r.body, r.err)
			}
		}
		settled()
		for i := 1; i < 5; i++ {
			r := e.get(fmt.Sprintf("/?a=%d", i))
			if r.body != fmt.Sprintf("a=%d", i) {
				t.Errorf("later ?a=%d got %q", i, r.body)
			}
		}
	})
}

func TestErrorsDoNotTeachWhatAnswersVaryBy(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		field := "params"
		origin := searching(&field)
		ok := origin.answer
		e := newEdge(t, selvage.Cache{}, origin)
		e.get("/?a=1")
		settled()
		origin.answer = func(req *http.Request) (*http.Response, error) {
			return reply(req, 404, "Cache-Control: max-age=60", "gone"), nil
		}
		expect(t, e.get("/?a=2", "Cache-Control", "no-cache"), 404, "gone", "selvage; fwd=request; fwd-status=404; detail=no-vary-search")
		origin.answer = ok
		expect(t, e.get("/?a=3"), 200, "a=1", "selvage; hit; ttl=60")
	})
}

func TestSearchesAreBounded(t *testing.T) {
	var s searches
	v := readNoVarySearch([]string{"params"})
	for i := range searchPlaces + 10 {
		s.learn(testKey(fmt.Sprint(i)), v)
		s.learn(testKey(fmt.Sprint(i)), v)
	}
	if len(s.byPath) != searchPlaces || len(s.ring) != searchPlaces {
		t.Errorf("%d paths and %d places, want %d", len(s.byPath), len(s.ring), searchPlaces)
	}
	forgotten, last := testKey("0"), testKey(fmt.Sprint(searchPlaces+9))
	if s.keyed(forgotten) != forgotten || s.keyed(last) == last {
		t.Error("the oldest path is not the one that was forgotten")
	}
	s.learn(last, nil)
	if s.keyed(last) != last {
		t.Error("a path that varies by everything again is not")
	}
}
