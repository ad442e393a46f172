package cache

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
)

func rulesOf(q selvage.QueryRules) *keyRules { return newKeyRules(&selvage.CacheKey{Query: &q}) }

func TestQueriesAreKeptDroppedAndSorted(t *testing.T) {
	tests := []struct {
		rules       selvage.QueryRules
		query, want string
	}{
		{selvage.QueryRules{Drop: []string{"utm_*", "fbclid"}}, "utm_source=x&a=1&fbclid=2&utm_medium", "a=1"},
		{selvage.QueryRules{Drop: []string{"utm_*"}}, "utm%5Fsource=x&UTM_source=y&utm", "UTM_source=y&utm"},
		{selvage.QueryRules{Drop: []string{"utm_*"}}, "utm_a=1;b=2&c=3", "c=3"},
		{selvage.QueryRules{Drop: []string{"a b"}}, "a+b=1&a%20b=2&ab=3", "ab=3"},
		{selvage.QueryRules{Drop: []string{"x"}}, "&&a=1&&", "a=1"},
		{selvage.QueryRules{Keep: []string{"q", "p*"}}, "page=2&z=1&q=a&q=b&pp", "page=2&q=a&q=b&pp"},
		{selvage.QueryRules{Keep: []string{"q"}}, "q=1;x=2&x=3", "q=1;x=2"},
		{selvage.QueryRules{Keep: []string{"q"}}, "z=1", ""},
		{selvage.QueryRules{Sort: true}, "b=2&a=%31&b=1&a=0", "a=%31&a=0&b=2&b=1"},
		{selvage.QueryRules{Sort: true, Drop: []string{"b"}}, "c&b&a", "a&c"},
		{selvage.QueryRules{Sort: true}, "", ""},
		{selvage.QueryRules{Ignore: true}, "a=1&b", ""},
		{selvage.QueryRules{Drop: []string{"x"}}, "%zz=1&=2&%", "%zz=1&=2&%"},
	}
	for _, tt := range tests {
		if got := rulesOf(tt.rules).query(tt.query); got != tt.want {
			t.Errorf("%+v of %q: got %q, want %q", tt.rules, tt.query, got, tt.want)
		}
	}
}

func TestRulesThatSayNothingAreNone(t *testing.T) {
	for _, k := range []*selvage.CacheKey{nil, {}, {Query: &selvage.QueryRules{}}} {
		if r := newKeyRules(k); r != nil {
			t.Errorf("%+v: got rules %q", k, r.text)
		}
	}
}

// Two policies that say the same share what they store; two that do not never meet.
func TestRulesHaveOneForm(t *testing.T) {
	a := newKeyRules(&selvage.CacheKey{Query: &selvage.QueryRules{Drop: []string{"b", "a*", "a"}}, Headers: []string{"x-plan", "X-App"}})
	b := newKeyRules(&selvage.CacheKey{Query: &selvage.QueryRules{Drop: []string{"a", "b", "a*"}}, Headers: []string{"X-App", "X-Plan"}})
	if a.text != b.text {
		t.Errorf("got %q and %q", a.text, b.text)
	}
	seen := map[string]bool{}
	for _, k := range []selvage.CacheKey{
		{Query: &selvage.QueryRules{Drop: []string{"a"}}}, {Query: &selvage.QueryRules{Drop: []string{"a*"}}},
		{Query: &selvage.QueryRules{Keep: []string{"a"}}}, {Query: &selvage.QueryRules{Ignore: true}}, {Query: &selvage.QueryRules{Sort: true}},
		{Query: &selvage.QueryRules{Drop: []string{"a", "b"}}}, {Query: &selvage.QueryRules{Drop: []string{"a&b"}}},
		{Headers: []string{"A"}}, {Cookies: []string{"A"}}, {Headers: []string{"A"}, Cookies: []string{"A"}},
	} {
		if r := newKeyRules(&k); seen[r.text] {
			t.Errorf("%+v has the form %q of another", k, r.text)
		} else {
			seen[r.text] = true
		}
	}
}

func TestFieldsAndCookiesTellAnswersApart(t *testing.T) {
	r := newKeyRules(&selvage.CacheKey{Headers: []string{"X-Plan", "X-App"}, Cookies: []string{"currency", "b"}})
	same := [][]string{
		{"X-Plan: gold\nCookie: currency=eur; session=1", "Cookie: session=2;currency=eur\nX-Plan:  gold ", "X-Plan: gold\nCookie: session=3\nCookie: currency=eur"},
		{"", "Cookie: session=1", "Accept: x"},
	}
	seen := map[string]int{}
	for i, group := range same {
		for _, h := range group {
			got := r.fields(head(h))
			if at, ok := seen[got]; ok && at != i {
				t.Errorf("%q has the key of group %d", h, at)
			}
			seen[got] = i
		}
	}
	if len(seen) != len(same) {
		t.Errorf("%d keys for %d groups", len(seen), len(same))
	}
	for i, h := range []string{
		"X-Plan: gold", "X-App: gold", "X-Plan: gold\nX-App: gold", "Cookie: currency=gold", "Cookie: b=gold", "X-Plan: ", "Cookie: currency=",
		"Cookie: currency=a; currency=b", "Cookie: currency=b; currency=a", "Cookie: currency=a; b=b", "X-Plan: a, b", "X-Plan: a,\nX-Plan: b,c",
	} {
		got := r.fields(head(h))
		if at, ok := seen[got]; ok {
			t.Errorf("%q has the key of %d", h, at)
		}
		seen[got] = 100 + i
	}
}

// What the key leaves out cannot get into an answer: the origin does not see it.
func TestWhatIsDroppedOfAQueryIsNotSentOn(t *testing.T) {
	policy := oneMinute
	policy.Key = &selvage.CacheKey{Query: &selvage.QueryRules{Drop: []string{"utm_*"}, Sort: true}}
	for target, want := range map[string]string{
		"/?utm_a=1": "/", "/?": "/", "/?b=1&utm_a=%22&a=2": "/?a=2&b=1", "/?%75tm_a=1&a": "/?a", "/?a&b": "/?a&b",
	} {
		onVirtualTime(t, func(t *testing.T) {
			e := newEdge(t, policy, always(200, "", "page"))
			e.get(target)
			if got := e.origin.last().URL.RequestURI(); got != want {
				t.Errorf("%s: the origin was asked for %s, want %s", target, got, want)
			}
		})
	}
}

func TestOnlyNamedCookiesGoOn(t *testing.T) {
	r := newKeyRules(&selvage.CacheKey{Cookies: []string{"a", "b"}})
	h := http.Header{"Cookie": {"s=1; b=2", "a=3; =4; x"}}
	if r.coversCookies(h) {
		t.Error("a session is said to be in the key")
	}
	r.onlyCookies(h)
	if got := strings.Join(h["Cookie"], "|"); got != "b=2; a=3" {
		t.Errorf("got %q", got)
	}
	if !r.coversCookies(h) {
		t.Error("what is left is not in the key")
	}
	var none *keyRules
	if none.onlyCookies(h); len(h["Cookie"]) > 0 {
		t.Errorf("without rules %q is left", h["Cookie"])
	}
}

// The rules of revisions that are not live any more still find what was stored by them.
func TestAURLIsFoundUnderTheRulesOfEveryRevision(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := always(200, "Cache-Control: max-age=60", "page")
		store := NewStore(1 << 20)
		defer store.Close()
		scopeWith := func(k *selvage.CacheKey) Scope {
			s := shop
			s.Policy.Key = k
			return s
		}
		keys := []*selvage.CacheKey{
			nil,
			{Query: &selvage.QueryRules{Drop: []string{"utm_*"}}},
			{Query: &selvage.QueryRules{Sort: true}},
			{Headers: []string{"X-Plan"}},
			{Query: &selvage.QueryRules{Ignore: true}, Cookies: []string{"c"}},
		}
		edges := make([]*edge, len(keys))
		for i, k := range keys {
			edges[i] = &edge{Transport: NewTransport(store, scopeWith(k), origin), t: t, origin: origin}
		}
		for i, e := range edges {
			got := e.get("/a?b=1&a=2&utm_x=3", "X-Plan", fmt.Sprint("gold", i), "Cookie", "c=d")
			expect(t, got, 200, "page", "selvage; fwd=uri-miss; stored")
			settled()
		}
		if n := store.Stats().Objects; n != len(keys) {
			t.Fatalf("%d are stored, want %d", n, len(keys))
		}
		post := get(t, "http://shop.example/a?b=1&a=2&utm_x=3")
		post.Method = http.MethodPost
		res, err := NewInvalidator(store, shop, origin).RoundTrip(post)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if n := store.Stats().Objects; n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestTheOldestRulesGoWithWhatWasStoredByThem(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		origin := always(200, "Cache-Control: max-age=60", "page")
		store := NewStore(1 << 20)
		defer store.Close()
		var limits []string
		store.OnLimit = func(limit string) { limits = append(limits, limit) }
		with := func(name string) *edge {
			s := shop
			s.Policy.Key = &selvage.CacheKey{Query: &selvage.QueryRules{Drop: []string{name}}}
			return &edge{Transport: NewTransport(store, s, origin), t: t, origin: origin}
		}
		first := with("x")
		first.get("/a")
		settled()
		second := with("y")
		second.get("/a")
		settled()
		for i := range maxKeyRules - 1 {
			with(fmt.Sprint("z", i))
		}
		if n := store.Stats().Objects; n != 1 || !slices.Equal(limits, []string{"key_rules"}) {
			t.Errorf("%d are left and the limits %v were told, want 1 and key_rules", n, limits)
		}
		expect(t, second.get("/a"), 200, "page", "selvage; hit; ttl=60")
	})
}

// What the origin is sent of a query is exactly what is in the key, and doing it
// twice changes nothing.
func FuzzQueryRules(f *testing.F) {
	for _, s := range []string{"a=1&utm_x=2", "b&a&b=;a", "%61=1&+=2&%zz&=&&", "utm%5fx"} {
		f.Add(s, "utm_*", "a", true)
	}
	f.Fuzz(func(t *testing.T, query, drop, keep string, sort bool) {
		for _, q := range []selvage.QueryRules{{Drop: []string{drop}, Sort: sort}, {Keep: []string{keep}, Sort: sort}, {Sort: true}} {
			r := rulesOf(q)
			once := r.query(query)
			if twice := r.query(once); twice != once {
				t.Fatalf("%+v of %q: %q, and again %q", q, query, once, twice)
			}
			parts := strings.Split(query, "&")
			for part := range strings.SplitSeq(once, "&") {
				if part != "" && !slices.Contains(parts, part) {
					t.Fatalf("%+v of %q: %q was not there", q, query, part)
				}
			}
			if len(q.Drop) == 1 {
				for part := range strings.SplitSeq(once, "&") {
					name, _, _ := strings.Cut(part, "=")
					if plain, err := url.QueryUnescape(name); err == nil && part != "" && plain == drop {
						t.Fatalf("%q is left of %q", part, query)
					}
				}
			}
		}
	})
}

func FuzzKeyFields(f *testing.F) {
	f.Add("gold", "a=1; b=2", "gold", "b=2;a=1")
	f.Add("", "a", "", "a=")
	f.Fuzz(func(t *testing.T, plan1, cookie1, plan2, cookie2 string) {
		r := newKeyRules(&selvage.CacheKey{Headers: []string{"X-Plan"}, Cookies: []string{"a", "b"}})
		h1, h2 := http.Header{"X-Plan": {plan1}, "Cookie": {cookie1}}, http.Header{"X-Plan": {plan2}, "Cookie": {cookie2}}
		if r.fields(h1) != r.fields(h2) {
			return
		}
		v1, _ := selecting("X-Plan", h1["X-Plan"])
		if v2, _ := selecting("X-Plan", h2["X-Plan"]); v1 != v2 {
			t.Fatalf("%q and %q have one key", plan1, plan2)
		}
		values := func(h http.Header, want string) (all []string) {
			for name, value := range cookies(h["Cookie"]) {
				if name == want {
					all = append(all, value)
				}
			}
			return all
		}
		for _, name := range []string{"a", "b"} {
			if !slices.Equal(values(h1, name), values(h2, name)) {
				t.Fatalf("%q and %q have one key", cookie1, cookie2)
			}
		}
	})
}
