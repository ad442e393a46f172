package route

import (
	"errors"
	"net/url"
	"path"
	"strings"
	"testing"
)

func TestCleanNormalises(t *testing.T) {
	for _, tt := range []struct{ in, want string }{
		{"/", "/"},
		{"*", "*"},
		{"/a/b", "/a/b"},
		{"/%41%7e", "/A~"},
		{"/%2f%3a", "/%2F%3A"},
		{"/a%2Fb", "/a%2Fb"},
		{"/a/./b/../c", "/a/c"},
		{"/a/..", "/"},
		{"/a/.", "/a/"},
		{"/..", "/"},
		{"/../../etc/passwd", "/etc/passwd"},
		{"/%2e%2E/x", "/x"},
		{"/a/.%2e/x", "/x"},
		{"/a/b..%2fx", "/a/b..%2Fx"},
		{"/a%2f.b;c/..d;e", "/a%2F.b;c/..d;e"},
		{"//a//b/", "//a//b/"},
		{"/a//../b", "/a/b"},
		{"/..//evil", "//evil"},
		{"/...", "/..."},
		{"/.a/b.", "/.a/b."},
		{"/%2541", "/%2541"},
		{"/a?b=../..&c=%41#", "/a?b=../..&c=%41#"},
		{"/./?/../", "/?/../"},
		{"/é\"<>^`{|}", "/%C3%A9%22%3C%3E%5E%60%7B%7C%7D"},
		{"/[a]@:!$&'()*+,;=", "/[a]@:!$&'()*+,;="},
		{"/%5c%0a", "/%5C%0A"},
	} {
		got, err := Clean(tt.in)
		if err != nil || got != tt.want {
			t.Errorf("Clean(%q) = %q, %v, want %q", tt.in, got, err, tt.want)
		}
	}
}

func TestCleanRefusesWhatTwoServersReadInTwoWays(t *testing.T) {
	for in, want := range map[string]error{
		"":             errForm,
		"a":            errForm,
		"http://x/":    errForm,
		"/%":           errEscape,
		"/%4":          errEscape,
		"/%4g":         errEscape,
		"/%u0041":      errEscape,
		"/é%zz":        errEscape,
		"/%00":         errNUL,
		"/é%00":        errNUL,
		"/\x00":        errNUL,
		`/a\b`:         errBackslash,
		`/a/../\b`:     errBackslash,
		"/a/..%2fx":    errHidden,
		"/a/.%2Fx":     errHidden,
		"/a/..%5cx":    errHidden,
		"/a%2f../x":    errHidden,
		"/a%2F..":      errHidden,
		"/a%5C.":       errHidden,
		"/%2e%2e%2fx":  errHidden,
		"/a/..;/x":     errHidden,
		"/a/%2e.;b=c":  errHidden,
		"/a/./..;":     errHidden,
		"/a b":         errByte,
		"/a\tb":        errByte,
		"/a\x7f":       errByte,
		"/a#b":         errByte,
		"/a/./#b?c":    errByte,
		"/%41\r\nX: y": errByte,
	} {
		if got, err := Clean(in); !errors.Is(err, want) {
			t.Errorf("Clean(%q) = %q, %v, want %v", in, got, err, want)
		}
	}
}

func TestCleanTargetIsReturnedWithoutAllocation(t *testing.T) {
	for _, in := range []string{"/", "/p/42?utm_source=x", "/a%2Fb/c.d/..e/", "//x//"} {
		n := testing.AllocsPerRun(100, func() {
			if got, err := Clean(in); got != in || err != nil {
				t.Fatalf("Clean(%q) = %q, %v", in, got, err)
			}
		})
		if n != 0 {
			t.Errorf("Clean(%q) allocates %v times", in, n)
		}
	}
}

func TestSetPathGivesTheSamePathBack(t *testing.T) {
	for _, p := range []string{"/", "/a b%2Fc", "/a%2Fb", "//evil/x", "/[a];b,c!", "/%C3%A9", "/a:b", "/*", "/%41"} {
		clean, err := Clean(p)
		if err != nil {
			clean = p // a path that is not clean must survive too
		}
		u := url.URL{Host: "shop.example", RawQuery: "q=1"}
		SetPath(&u, clean)
		if err == nil && u.EscapedPath() != clean {
			t.Errorf("SetPath(%q): EscapedPath is %q", clean, u.EscapedPath())
		}
	}
}

// naiveClean works on the parts, slowly.
func naiveClean(p string) (string, bool) {
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		c := p[i]
		if c == '%' {
			raw, err := url.PathUnescape(p[i:min(i+3, len(p))])
			if err != nil || raw == "\x00" {
				return "", false
			}
			i += 2
			if strings.Contains("-._~", raw) || raw[0] < 0x80 && strings.ContainsAny(raw, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789") {
				b.WriteString(raw)
			} else {
				b.WriteString(strings.ToUpper(p[i-2 : i+1]))
			}
			continue
		}
		if c <= ' ' || c == 0x7f || c == '#' || c == '\\' {
			return "", false
		}
		if c >= 0x80 || strings.IndexByte("\"<>^`{|}", c) >= 0 {
			b.WriteString("%" + strings.ToUpper(string("0123456789abcdef"[c>>4])+string("0123456789abcdef"[c&15])))
			continue
		}
		b.WriteByte(c)
	}
	var out []string
	parts := strings.Split(b.String(), "/")[1:]
	for i, s := range parts {
		most := strings.Split(strings.ReplaceAll(s, "%5C", "%2F"), "%2F") // as those see it who decode first
		for _, m := range most {
			m, _, parameters := strings.Cut(m, ";")
			if (m == "." || m == "..") && (parameters || len(most) > 1) {
				return "", false
			}
		}
		switch s {
		case ".", "..":
			if s == ".." && len(out) > 0 {
				out = out[:len(out)-1]
			}
			if i == len(parts)-1 {
				out = append(out, "")
			}
		default:
			out = append(out, s)
		}
	}
	return "/" + strings.Join(out, "/"), true
}

func FuzzClean(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e//x", "/a%2fb?c=/../", "/é", "/%", "//..//.", "/a/./../.%2e/b/", "/a/..%2f.;/%5c..", "*"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, in string) {
		got, err := Clean(in)
		rawPath, query, hasQuery := strings.Cut(in, "?")
		want, ok := "", strings.HasPrefix(in, "/")
		if ok {
			want, ok = naiveClean(rawPath)
		}
		if in == "*" {
			want, ok = "*", true
		}
		if ok != (err == nil) {
			t.Fatalf("Clean(%q) = %q, %v, the naive one says %v", in, got, err, ok)
		}
		if err != nil {
			return
		}
		if hasQuery {
			want += "?" + query
		}
		if got != want {
			t.Fatalf("Clean(%q) = %q, want %q", in, got, want)
		}
		if again, err := Clean(got); again != got || err != nil {
			t.Fatalf("Clean(%q) = %q, of which Clean makes %q, %v", in, got, again, err)
		}
		cleanPath, _, _ := strings.Cut(got, "?")
		for s := range strings.SplitSeq(cleanPath, "/") {
			if s == "." || s == ".." {
				t.Fatalf("Clean(%q) = %q has a dot segment", in, got)
			}
		}
		if in == "*" {
			return
		}
		u, err := url.ParseRequestURI(cleanPath)
		if err != nil {
			t.Fatalf("url.ParseRequestURI(%q): %v", cleanPath, err)
		}
		var set url.URL
		SetPath(&set, cleanPath)
		if set.Path != u.Path || set.EscapedPath() != cleanPath || u.EscapedPath() != cleanPath {
			t.Fatalf("of %q SetPath makes %q and %q, the parser %q and %q", cleanPath, set.Path, set.EscapedPath(), u.Path, u.EscapedPath())
		}
		if rooted := path.Clean(u.Path); strings.Contains(rooted, "/../") {
			t.Fatalf("%q leaves the root", got)
		}
	})
}
