package route

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
)

func service(hosts []string, matches ...selvage.Match) selvage.Service {
	s := selvage.Service{Service: "shop", Hosts: hosts}
	for _, m := range matches {
		s.Routes = append(s.Routes, selvage.Route{Match: m, Origin: "web"})
	}
	return s
}

func compile(t testing.TB, s selvage.Service) *Table {
	t.Helper()
	table, err := Compile(s)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func TestFirstRouteInFileOrderWins(t *testing.T) {
	table := compile(t, service([]string{"shop.example", "*.shop.example"},
		selvage.Match{Path: "/old/*"},                                         // 0
		selvage.Match{Path: "/api/*", Methods: []string{"POST"}},              // 1
		selvage.Match{Path: "/api/*/x"},                                       // 2
		selvage.Match{Path: "/api/v1/x"},                                      // 3, never
		selvage.Match{Path: "/a/*/c/*", Hosts: []string{"api.shop.example"}},  // 4
		selvage.Match{Path: "/only", Methods: []string{"GET"}},                // 5
		selvage.Match{Path: "/caf%c3%a9"},                                     // 6
		selvage.Match{Path: "/"},                                              // 7
		selvage.Match{Path: "/wild", Hosts: []string{"*.shop.example"}},       // 8
		selvage.Match{Path: "/deep", Hosts: []string{"*.eu.shop.example"}},    // 9
		selvage.Match{Path: "/*", Hosts: []string{"api.shop.example"}},        // 10
		selvage.Match{Path: "/a/b/*", Methods: []string{"DELETE", "OPTIONS"}}, // 11
	))
	for _, tt := range []struct {
		host, method, path string
		index              int
		miss               Miss
		captures           []string
	}{
		{"shop.example", "GET", "/old/", 0, Found, []string{""}},
		{"shop.example", "GET", "/old/a/b", 0, Found, []string{"a/b"}},
		{"shop.example", "GET", "/old", 0, NoPath, nil},
		{"shop.example", "POST", "/api/v1/x", 1, Found, []string{"v1/x"}},
		{"shop.example", "GET", "/api/v1/x", 2, Found, []string{"v1"}},
		{"shop.example", "GET", "/api//x", 0, NoMethod, nil},
		{"shop.example", "GET", "/api/v1", 0, NoMethod, nil},
		{"shop.example", "HEAD", "/only", 5, Found, nil},
		{"shop.example", "get", "/only", 0, NoMethod, nil},
		{"shop.example", "GET", "/only/", 0, NoPath, nil},
		{"shop.example", "GET", "/caf%C3%A9", 6, Found, nil},
		{"SHOP.example.:8080", "GET", "/", 7, Found, nil},
		{"api.shop.example", "GET", "/a/%2F/c/d/e", 4, Found, []string{"%2F", "d/e"}},
		{"www.shop.example", "GET", "/a/b/c/d", 0, NoMethod, nil},
		{"api.shop.example", "GET", "/a/b", 10, Found, []string{"a/b"}},
		{"x.api.shop.example", "GET", "/a/b", 0, NoPath, nil},
		{"shop.example", "GET", "/wild", 0, NoPath, nil},
		{"api.shop.example", "GET", "/wild", 8, Found, nil},
		{"x.y.shop.example", "GET", "/wild", 8, Found, nil},
		{"x.eu.shop.example", "GET", "/wild", 8, Found, nil},
		{"x.eu.shop.example", "GET", "/deep", 9, Found, nil},
		{"eu.shop.example", "GET", "/deep", 0, NoPath, nil},
		{"evilshop.example", "GET", "/", 0, NoHost, nil},
		{"", "GET", "/", 0, NoHost, nil},
		{"shop.example", "OPTIONS", "*", 0, NoPath, nil},
		{"shop.example", "GET", "", 0, NoPath, nil},
		{"shop.example", "DELETE", "/a/b/", 11, Found, []string{""}},
	} {
		m, ok := table.Match(tt.host, tt.method, tt.path)
		got := m.Captures[:m.N]
		if ok != (tt.miss == Found) || m.Miss != tt.miss || m.Index != tt.index || !slices.Equal(got, tt.captures) {
			t.Errorf("Match(%q, %s, %q) = index %d, miss %d, captures %q, %v, want index %d, miss %d, captures %q",
				tt.host, tt.method, tt.path, m.Index, m.Miss, got, ok, tt.index, tt.miss, tt.captures)
		}
	}
}

func TestAllowListsTheMethodsOfThePath(t *testing.T) {
	table := compile(t, service([]string{"shop.example"},
		selvage.Match{Path: "/a", Methods: []string{"POST"}},
		selvage.Match{Path: "/*", Methods: []string{"GET", "POST"}},
		selvage.Match{Path: "/b/*"},
	))
	for path, want := range map[string][]string{"/a": {"GET", "HEAD", "POST"}, "/b/c": nil, "/x": {"GET", "HEAD", "POST"}} {
		if diff := cmp.Diff(want, table.Allow("shop.example", path)); diff != "" {
			t.Errorf("Allow(%q) (-want +got):\n%s", path, diff)
		}
	}
	if got := table.Allow("other.example", "/a"); got != nil {
		t.Errorf("Allow of an unknown host = %q, want none", got)
	}
}

func TestCompileRefusesWhatItCannotMatch(t *testing.T) {
	for name, s := range map[string]selvage.Service{
		"no slash":           service([]string{"a"}, selvage.Match{Path: "a"}),
		"a query":            service([]string{"a"}, selvage.Match{Path: "/a?b"}),
		"half a segment":     service([]string{"a"}, selvage.Match{Path: "/a*"}),
		"nine stars":         service([]string{"a"}, selvage.Match{Path: strings.Repeat("/*", 9)}),
		"an invalid escape":  service([]string{"a"}, selvage.Match{Path: "/%zz"}),
		"a foreign host":     service([]string{"a"}, selvage.Match{Path: "/", Hosts: []string{"b"}}),
		"a wider host":       service([]string{"a.b"}, selvage.Match{Path: "/", Hosts: []string{"*.b"}}),
		"a star in the name": service([]string{"a.*.b"}, selvage.Match{Path: "/"}),
		"an empty host":      service([]string{""}, selvage.Match{Path: "/"}),
	} {
		if _, err := Compile(s); selvage.KindOf(err) != selvage.Invalid || err == nil {
			t.Errorf("%s: Compile says %v, want an error of kind invalid", name, err)
		}
	}
}

func TestHostsExactBeforeLongestWildcardBeforeAll(t *testing.T) {
	h, err := NewHosts([]selvage.Service{
		{Service: "all", Hosts: []string{"*"}},
		{Service: "shop", Hosts: []string{"Shop.Example", "[::1]"}},
		{Service: "below", Hosts: []string{"*.shop.example"}},
		{Service: "deeper", Hosts: []string{"*.eu.shop.example", "x.shop.example"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for host, want := range map[string]int{
		"shop.example": 1, "shop.example:443": 1, "SHOP.EXAMPLE.": 1, "[::1]:8080": 1, "a.shop.example": 2, "a.b.shop.example": 2,
		"eu.shop.example": 2, "a.eu.shop.example": 3, "x.shop.example": 3, "y.x.shop.example": 2, "other.example": 0,
		".shop.example": 0, "": 0, strings.Repeat("a.", 200) + "shop.example": 0,
	} {
		if got, ok := h.Find(host); got != want || !ok {
			t.Errorf("Find(%q) = %d, %v, want %d", host, got, ok, want)
		}
	}
	none, err := NewHosts([]selvage.Service{{Service: "shop", Hosts: []string{"shop.example"}}})
	if err != nil {
		t.Fatal(err)
	}
	if got, ok := none.Find("example"); ok {
		t.Errorf("Find of an unknown host = %d, want none", got)
	}
	if _, err := NewHosts([]selvage.Service{{Hosts: []string{"a.b"}}, {Hosts: []string{"A.b."}}}); err == nil {
		t.Error("a host of two services was taken")
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	table := compile(t, big())
	hosts, err := NewHosts([]selvage.Service{big()})
	if err != nil {
		t.Fatal(err)
	}
	n := testing.AllocsPerRun(100, func() {
		_, _ = hosts.Find("api.shop.example:8080")
		if m, ok := table.Match("api.shop.example:8080", "GET", "/r7/x/items/9/z/y"); !ok || m.N != 3 {
			t.Fatalf("got %+v", m)
		}
	})
	if n != 0 {
		t.Errorf("a match allocates %v times", n)
	}
}

func big() selvage.Service {
	s := service([]string{"shop.example", "*.shop.example"})
	for i := range 100 {
		s.Routes = append(s.Routes, selvage.Route{Match: selvage.Match{Path: fmt.Sprintf("/r%d/*/items/*/*", i)}})
	}
	return s
}

func BenchmarkMatch(b *testing.B) {
	table := compile(b, big())
	for b.Loop() {
		_, _ = table.Match("shop.example", "GET", "/r77/x/items/9/z")
	}
}

func BenchmarkClean(b *testing.B) {
	for b.Loop() {
		_, _ = Clean("/products/shoes/42-running-shoe?colour=red")
	}
}

// naiveMatch looks at one route after the other.
func naiveMatch(s selvage.Service, host, method, path string) (int, Miss, []string) {
	hostFits := func(patterns []string) bool {
		for _, p := range patterns {
			if p == "*" || p == host || strings.HasPrefix(p, "*.") && strings.HasSuffix(host, p[1:]) && len(host) > len(p)-1 {
				return true
			}
		}
		return false
	}
	if !hostFits(s.Hosts) {
		return 0, NoHost, nil
	}
	miss := NoPath
	for i, r := range s.Routes {
		if len(r.Match.Hosts) > 0 && !hostFits(r.Match.Hosts) {
			continue
		}
		captures, ok := naiveFits(strings.Split(r.Match.Path, "/"), strings.Split(path, "/"))
		if !ok {
			continue
		}
		miss = NoMethod
		if r.Match.Methods == nil || slices.Contains(r.Match.Methods, method) || method == "HEAD" && slices.Contains(r.Match.Methods, "GET") {
			return i, Found, captures
		}
	}
	return 0, miss, nil
}

func naiveFits(pattern, path []string) (captures []string, ok bool) {
	for i, p := range pattern {
		switch {
		case i >= len(path):
			return nil, false
		case p == "*" && i == len(pattern)-1:
			return append(captures, strings.Join(path[i:], "/")), true
		case p == "*" && path[i] != "":
			captures = append(captures, path[i])
		case p != path[i]:
			return nil, false
		}
	}
	return captures, len(path) == len(pattern)
}

// randomService makes many overlaps: few names, short paths.
func randomService(r *rand.Rand) selvage.Service {
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	s := service([]string{pick("*", "a.b", "*.b"), "c.b", "*.c.b"})
	for range 1 + r.IntN(12) {
		var m selvage.Match
		for range 1 + r.IntN(4) {
			m.Path += "/" + pick("*", "a", "b", "c", "")
		}
		for range r.IntN(3) {
			m.Methods = append(m.Methods, pick("GET", "POST", "HEAD"))
		}
		for range r.IntN(3) {
			if h := pick("c.b", "*.c.b", "x.c.b", "*.x.c.b"); len(m.Hosts) == 0 || m.Hosts[0] != h {
				m.Hosts = append(m.Hosts, h)
			}
		}
		s.Routes = append(s.Routes, selvage.Route{Match: m})
	}
	return s
}

func FuzzMatchAgreesWithTheNaiveOne(f *testing.F) {
	f.Add(uint64(1), "/a/b", uint8(0))
	f.Add(uint64(2), "/a//c/", uint8(7))
	f.Add(uint64(3), "/", uint8(200))
	f.Fuzz(func(t *testing.T, seed uint64, raw string, pick uint8) {
		path, err := Clean("/" + raw)
		if err != nil || strings.ContainsRune(path, '?') {
			return
		}
		r := rand.New(rand.NewPCG(seed, 0))
		s := randomService(r)
		table := compile(t, s)
		host := []string{"a.b", "c.b", "x.c.b", "y.x.c.b", "b", "z"}[int(pick)%6]
		method := []string{"GET", "HEAD", "POST", "PUT"}[int(pick>>3)%4]
		paths := []string{path}
		for range 20 {
			var p string
			for range 1 + r.IntN(5) {
				p += "/" + []string{"a", "b", "c", "", "%2F"}[r.IntN(5)]
			}
			paths = append(paths, p)
		}
		for _, p := range paths {
			m, ok := table.Match(host, method, p)
			index, miss, captures := naiveMatch(s, host, method, p)
			if m.Index != index || m.Miss != miss || ok != (miss == Found) || !slices.Equal(m.Captures[:m.N], captures) {
				t.Fatalf("seed %d: Match(%q, %s, %q) = %d, %d, %q, want %d, %d, %q, routes %+v",
					seed, host, method, p, m.Index, m.Miss, m.Captures[:m.N], index, miss, captures, s.Routes)
			}
		}
	})
}
