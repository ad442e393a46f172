package policy

import (
	"net/url"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
)

// captureOf fills in what `/a/*` or `/*` took, as the route's table does.
func captureOf(x *Exchange, prefix string) {
	x.Captures[0] = strings.TrimPrefix(x.Path, prefix)
}

func TestRedirect(t *testing.T) {
	for _, tt := range []struct{ match, to, target, host, want string }{
		{"/old/*", "/new/$1", "/old/a/b%2Fc?q=1", "", "/new/a/b%2Fc?q=1"},
		{"/old/*", "/new/$1?x=2", "/old/a?q=1", "", "/new/a?x=2"},
		{"/old/*", "/new?", "/old/a?q=1", "", "/new?"},
		{"/old/*", "/new/$1#top", "/old/a?q=1", "", "/new/a?q=1#top"},
		{"/old/*", "/new?from=$1&path=$path", "/old/a&b=c+d;e", "", "/new?from=a%26b%3Dc%2Bd%3Be&path=/old/a%26b%3Dc%2Bd%3Be"},
		{"/*", "https://$host$path", "/a/b?q=1", "shop.example:8080", "https://shop.example/a/b?q=1"},
		{"/*", "https://$host:8443$path", "//x", "[::1]:80", "https://[::1]:8443//x"},
		{"/*", "https://www.$host/$1", "/a", "shop.example", "https://www.shop.example/a"},
		{"/*", "/a$1b$path", "/x", "", "/axb/x"},
		{"/*", "https://shop.example/$1", "//evil.example", "", "https://shop.example//evil.example"},
		{"/*", "/$1", "//evil.example/", "", "/evil.example/"},
		{"/*", "/$1", "/////evil.example", "", "/evil.example"},
		{"/*", "$path", "//evil.example", "", "/evil.example"},
		{"/*", "/$1", "/%5Cevil.example", "", "/%5Cevil.example"},
		{"/*", "/x", "/?a=%zz{|}'`", "", "/x?a=%zz%7B%7C%7D'%60"},
	} {
		c := chain(t, selvage.Route{Match: selvage.Match{Path: tt.match}, Redirect: &selvage.Redirect{To: tt.to}})
		x := exchange(t, "GET", tt.target)
		captureOf(x, strings.TrimSuffix(tt.match, "*"))
		if tt.host != "" {
			x.In.Host = tt.host
		}
		a := c.Request(x)
		if status(a) != 308 || a.Header.Get("Location") != tt.want {
			t.Errorf("%s to %s: %s gives %d, %q, want %q", tt.match, tt.to, tt.target, status(a), a.Header.Get("Location"), tt.want)
		}
	}
}

func TestRedirectRefusesAHostThatIsNone(t *testing.T) {
	for _, tt := range []struct{ to, host string }{
		{"https://$host/", "evil.example\r\nX: y"},
		{"https://$host/", "a@b"},
		{"https://$host/", ""},
		{"https://$host/", "[::1/evil]"},
	} {
		c := chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, Redirect: &selvage.Redirect{To: tt.to}})
		x := exchange(t, "GET", "/")
		x.In.Host = tt.host
		if a := c.Request(x); status(a) != 400 {
			t.Errorf("%s with host %q: %d to %q, want 400", tt.to, tt.host, status(a), a.Header.Get("Location"))
		}
	}
}

func FuzzRedirectStaysOnTheSite(f *testing.F) {
	for _, s := range []string{"", "/evil.example", "\\evil", "a\r\nSet-Cookie: b", "\t//x", "@evil", "%2F%2Fevil", "é", ":80", ".evil.example"} {
		f.Add(s, "a=b", "shop.example")
	}
	templates := []string{"/$1", "$path", "/new/$1?x=$1#$1", "/$1$1", "https://shop.example/$1", "https://shop.example$path"}
	var chains []*Chain
	for _, to := range templates {
		chains = append(chains, chain(f, selvage.Route{Match: selvage.Match{Path: "/*"}, Redirect: &selvage.Redirect{To: to}}))
	}
	base, _ := url.Parse("https://shop.example/base/")
	f.Fuzz(func(t *testing.T, taken, query, host string) {
		for i, c := range chains {
			x := exchange(t, "GET", "/")
			x.Path, x.Captures[0], x.In.URL.RawQuery, x.In.Host = "/"+taken, taken, query, host
			a := c.Request(x)
			location := a.Header.Get("Location")
			if a.Status == 400 {
				continue
			}
			if strings.ContainsFunc(location, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '\\' }) {
				t.Fatalf("%s: Location %q has a byte that no URL has", templates[i], location)
			}
			// A % that is none comes from a capture that the route's table would never give.
			u, err := base.Parse(strings.ReplaceAll(location, "%", "_"))
			if err != nil {
				t.Fatalf("%s: Location %q: %v", templates[i], location, err)
			}
			if u.Host != "shop.example" && !strings.HasSuffix(u.Host, ".shop.example") {
				t.Fatalf("%s: Location %q leads to %q", templates[i], location, u.Host)
			}
		}
	})
}

func TestRewrite(t *testing.T) {
	for _, tt := range []struct {
		match   string
		rewrite selvage.Rewrite
		target  string
		want    string // empty: refused
	}{
		{"/*", selvage.Rewrite{StripPrefix: "/app"}, "/app/x%2Fy?q=1", "/x%2Fy?q=1"},
		{"/*", selvage.Rewrite{StripPrefix: "/app/"}, "/app/x", "/x"},
		{"/*", selvage.Rewrite{StripPrefix: "/app"}, "/app", "/"},
		{"/*", selvage.Rewrite{StripPrefix: "/app"}, "/apple", "/apple"},
		{"/*", selvage.Rewrite{StripPrefix: "/app"}, "/other", "/other"},
		{"/api/*", selvage.Rewrite{Path: "/v2/$1"}, "/api/a/b%20c?q=$1", "/v2/a/b%20c?q=$1"},
		{"/api/*", selvage.Rewrite{Path: "/v2$path"}, "/api/[x];y", "/v2/api/[x];y"},
		{"/api/*", selvage.Rewrite{Path: "/by/$host"}, "/api/", "/by/shop.example"},
		{"/api/*", selvage.Rewrite{Path: "/.$1"}, "/api/", ""},
		{"/api/*", selvage.Rewrite{Path: "/%2e$1"}, "/api/.x", "/%2e.x"},
		{"/api/*", selvage.Rewrite{Path: "/%2e$1/x"}, "/api/", ""},
	} {
		c := chain(t, selvage.Route{Match: selvage.Match{Path: tt.match}, Rewrite: &tt.rewrite})
		x := exchange(t, "GET", tt.target)
		captureOf(x, strings.TrimSuffix(tt.match, "*"))
		a := c.Request(x)
		if got := x.Out.URL.RequestURI(); tt.want == "" && status(a) != 400 || tt.want != "" && (a != nil || got != tt.want) {
			t.Errorf("%+v: %s becomes %s, status %d, want %q", tt.rewrite, tt.target, got, status(a), tt.want)
		}
		if got := x.In.URL.RequestURI(); got != tt.target {
			t.Errorf("the request as it came became %s", got)
		}
	}
}
