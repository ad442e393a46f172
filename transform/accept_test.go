package transform

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestAcceptEncodingIsReadStrictly(t *testing.T) {
	all := []Coding{Zstd, Brotli, Gzip}
	for _, c := range []struct {
		lines []string
		want  Coding
		bad   bool
	}{
		{lines: nil},
		{lines: []string{""}},
		{lines: []string{"gzip"}, want: Gzip},
		{lines: []string{"gzip, deflate, br, zstd"}, want: Zstd},
		{lines: []string{"gzip, deflate, br"}, want: Brotli},
		{lines: []string{"gzip", "br"}, want: Brotli},
		{lines: []string{"X-GZIP"}, want: Gzip},
		{lines: []string{"deflate, compress"}},
		{lines: []string{"br;q=0.5, gzip"}, want: Gzip},
		{lines: []string{"br;q=0.5,gzip;q=0.5"}, want: Brotli},
		{lines: []string{"br ; Q=0.999 , gzip ;\tq=1.000"}, want: Gzip},
		{lines: []string{"gzip;q=0"}},
		{lines: []string{"gzip;q=0."}},
		{lines: []string{"gzip;q=1."}, want: Gzip},
		{lines: []string{"gzip;q=0.001"}, want: Gzip},
		{lines: []string{"gzip;q=0, gzip"}},
		{lines: []string{"gzip, x-gzip;q=0"}},
		{lines: []string{"identity"}},
		{lines: []string{"identity, gzip"}, want: Gzip},
		{lines: []string{"identity, gzip;q=0.5"}},
		{lines: []string{"identity;q=0"}},
		{lines: []string{"identity;q=0, gzip;q=0.1"}, want: Gzip},
		{lines: []string{"identity;q=0.5, *;q=0"}},
		{lines: []string{"*"}, want: Gzip},
		{lines: []string{"*;q=0"}},
		{lines: []string{"*;q=0, br"}, want: Brotli},
		{lines: []string{"*;q=0.1, br;q=0.1"}, want: Brotli},
		{lines: []string{"br;q=0.1, *"}, want: Gzip},
		{lines: []string{"gzip;q=0, *"}},
		{lines: []string{",, gzip,,"}, want: Gzip},
		{lines: []string{strings.Repeat(",", 31) + "gzip"}, want: Gzip},
		{lines: []string{strings.Repeat(",", 32) + "gzip"}, bad: true},
		{lines: []string{strings.Repeat("a,", 31) + "gzip"}, want: Gzip},
		{lines: slices.Repeat([]string{"gzip"}, 33), bad: true},
		{lines: []string{"gzip;q=1.001"}, bad: true},
		{lines: []string{"gzip;q=2"}, bad: true},
		{lines: []string{"gzip;q=0.0001"}, bad: true},
		{lines: []string{"gzip;q=-1"}, bad: true},
		{lines: []string{"gzip;q=.5"}, bad: true},
		{lines: []string{"gzip;q= 1"}, bad: true},
		{lines: []string{"gzip;q =1"}, bad: true},
		{lines: []string{"gzip;q="}, bad: true},
		{lines: []string{"gzip;"}, bad: true},
		{lines: []string{"gzip;q=1;q=1"}, bad: true},
		{lines: []string{"gzip;level=9"}, bad: true},
		{lines: []string{`"gzip"`}, bad: true},
		{lines: []string{"gzip br"}, bad: true},
		{lines: []string{"br, gz ip"}, bad: true},
		{lines: []string{";q=1"}, bad: true},
		{lines: []string{"gzip\x00"}, bad: true},
	} {
		a, ok := ParseAccept(c.lines)
		if got := a.Choose(all); ok == c.bad || got != c.want {
			t.Errorf("%q: got %q, ok %v, want %q, ok %v", c.lines, got, ok, c.want, !c.bad)
		}
	}
}

func TestTheServersOrderDecidesAmongEquals(t *testing.T) {
	a, _ := ParseAccept([]string{"gzip, br, zstd"})
	for _, c := range []struct {
		prefer []Coding
		want   Coding
	}{
		{[]Coding{Gzip, Brotli}, Gzip}, {[]Coding{Brotli, Gzip}, Brotli}, {[]Coding{Zstd}, Zstd}, {nil, Identity},
	} {
		if got := a.Choose(c.prefer); got != c.want {
			t.Errorf("of %v: got %q, want %q", c.prefer, got, c.want)
		}
	}
}

func TestTakesIsWhatTheClientReads(t *testing.T) {
	for _, c := range []struct {
		accept, coding string
		want           bool
	}{
		{"gzip", "gzip", true}, {"gzip", "x-gzip", true}, {"gzip", "br", false}, {"*", "br", true}, {"*, br;q=0", "br", false},
		{"*;q=0, br", "br", true}, {"", "gzip", false}, {"*", "deflate", true},
	} {
		a, _ := ParseAccept([]string{c.accept})
		if got := a.Takes(c.coding); got != c.want {
			t.Errorf("%q takes %s: got %v, want %v", c.accept, c.coding, got, c.want)
		}
	}
}

func TestAParsedAcceptAllocatesNothing(t *testing.T) {
	lines := []string{"gzip, deflate;q=0.5, br, zstd;q=0.9"}
	f := newCompress(t, Delivered, nil)
	request := http.Header{"Accept-Encoding": lines}
	if n := testing.AllocsPerRun(100, func() { f.Variant(request) }); n != 0 {
		t.Errorf("got %v allocations, want 0", n)
	}
}

// member is the grammar of RFC 9110, sections 12.4.2 and 12.5.3, as an oracle.
var member = regexp.MustCompile("^[ \t]*([!#$%&'*+\\-.^_`|~0-9A-Za-z]+([ \t]*;[ \t]*[qQ]=(0(\\.[0-9]{0,3})?|1(\\.0{0,3})?))?)?[ \t]*$")

func FuzzParseAccept(f *testing.F) {
	for _, s := range []string{"", "gzip, deflate, br, zstd", "*;q=0, br;q=0.5", "identity;q=0", "gzip;q=1.000, x-gzip;q=0", ",,,", "a;q=", "gzip\t;\tq=0.1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		a, ok := ParseAccept([]string{s})
		members := strings.Split(s, ",")
		want := len(members) <= maxMembers && !slices.ContainsFunc(members, func(m string) bool { return !member.MatchString(m) })
		if ok != want {
			t.Fatalf("%q: got ok %v, want %v", s, ok, want)
		}
		if !ok && a != (Accepted{}) {
			t.Fatalf("%q: a malformed field accepts %+v", s, a)
		}
		if lines, _ := ParseAccept(members); lines != a {
			t.Fatalf("%q in lines: got %+v, want %+v", s, lines, a)
		}
		if upper, _ := ParseAccept([]string{strings.ToUpper(s)}); upper != a {
			t.Fatalf("%q in upper case: got %+v, want %+v", s, upper, a)
		}
		for _, prefer := range [][]Coding{{Zstd, Brotli, Gzip}, {Gzip}, {Brotli, Zstd}} {
			if got := a.Choose(prefer); got != Identity && (!slices.Contains(prefer, got) || !a.Takes(string(got))) {
				t.Fatalf("%q of %v: got %q, which the client does not take", s, prefer, got)
			}
		}
	})
}
