package policy

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
)

func withCORS(t testing.TB, c selvage.CORS) *Chain {
	t.Helper()
	return chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, CORS: &c})
}

var app = selvage.CORS{
	Origins: []string{"https://app.example", "https://*.Pages.example:8443", "http://old.example:80"}, Headers: []string{"Content-Type", "X-Key"},
	Methods: []string{"GET", "PUT"}, Expose: []string{"ETag"}, Credentials: true, MaxAge: selvage.Duration(10 * time.Minute),
}

func TestPreflightOfAnAllowedOriginGetsTheLists(t *testing.T) {
	c := withCORS(t, app)
	x := exchange(t, "OPTIONS", "/", "Origin", "https://app.example", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "x-key")
	a := c.Request(x)
	if status(a) != 204 {
		t.Fatalf("status %d, want 204", status(a))
	}
	c.Response(x, a.Header)
	want := http.Header{
		"Access-Control-Allow-Origin":      {"https://app.example"},
		"Access-Control-Allow-Credentials": {"true"},
		"Access-Control-Allow-Methods":     {"GET, PUT"},
		"Access-Control-Allow-Headers":     {"Content-Type, X-Key"},
		"Access-Control-Max-Age":           {"600"},
		"Vary":                             {"Origin, Access-Control-Request-Method, Access-Control-Request-Headers"},
	}
	if diff := cmp.Diff(want, a.Header); diff != "" {
		t.Errorf("answer (-want +got):\n%s", diff)
	}
}

func TestPreflightForAnyFieldNamesThemWhereCookiesAreSent(t *testing.T) {
	wide := selvage.CORS{Origins: []string{"https://app.example"}, Headers: []string{"*"}}
	for _, credentials := range []bool{false, true} {
		wide.Credentials = credentials
		want := map[bool]string{false: "*", true: "x-a, x-b"}[credentials]
		c := withCORS(t, wide)
		a := c.Request(exchange(t, "OPTIONS", "/", "Origin", "https://app.example", requestMethod, "POST", requestHeaders, "x-a, x-b"))
		if got := a.Header.Get(allowHeaders); status(a) != 204 || got != want {
			t.Errorf("credentials %v: %d, %q, want %q", credentials, status(a), got, want)
		}
		if got := a.Header.Get(allowMethods); got != "GET, HEAD, POST" {
			t.Errorf("the methods without a list are %q", got)
		}
	}
}

func TestPreflightOfAForeignOriginIsRefusedWithoutNamingIt(t *testing.T) {
	c := withCORS(t, app)
	x := exchange(t, "OPTIONS", "/", "Origin", "https://evil.example", "Access-Control-Request-Method", "PUT")
	a := c.Request(x)
	if status(a) != 403 {
		t.Fatalf("status %d, want 403", status(a))
	}
	c.Response(x, a.Header)
	for name := range a.Header {
		if strings.HasPrefix(name, "Access-Control-") {
			t.Errorf("the answer has %s", name)
		}
	}
}

func TestPlainOptionsIsNoPreflight(t *testing.T) {
	c := withCORS(t, app)
	if !c.Preflights() {
		t.Error("Preflights is false")
	}
	for _, fields := range [][]string{{"Origin", "https://app.example"}, {"Access-Control-Request-Method", "PUT"}, nil} {
		x := exchange(t, "OPTIONS", "/", fields...)
		if _, ok := Preflight(x.In); ok || c.Request(x) != nil {
			t.Errorf("OPTIONS with %q was answered", fields)
		}
	}
	x := exchange(t, "OPTIONS", "/", "Origin", "https://x.example", "Access-Control-Request-Method", "PUT")
	if m, ok := Preflight(x.In); !ok || m != "PUT" {
		t.Errorf("Preflight = %q, %v, want PUT", m, ok)
	}
}

func TestAnswersNameTheOriginTheyAreFor(t *testing.T) {
	all := selvage.CORS{Origins: []string{"*"}}
	for _, tt := range []struct {
		name   string
		cors   selvage.CORS
		origin string
		from   http.Header
		want   http.Header
	}{
		{"allowed", app, "https://app.example", http.Header{"Vary": {"Accept", "Cookie"}, allowOrigin: {"*"}}, http.Header{
			"Vary": {"Accept, Cookie, Origin"}, allowOrigin: {"https://app.example"}, allowCredentials: {"true"}, exposeHeaders: {"ETag"},
		}},
		{"foreign", app, "https://evil.example", http.Header{allowOrigin: {"https://evil.example"}, allowCredentials: {"true"}}, http.Header{"Vary": {"Origin"}}},
		{"none", app, "", http.Header{"Vary": {"accept, origin"}}, http.Header{"Vary": {"accept, origin"}}},
		{"all", all, "https://x.example", http.Header{}, http.Header{allowOrigin: {"*"}}},
		{"vary star", app, "", http.Header{"Vary": {"*"}}, http.Header{"Vary": {"*"}}},
	} {
		x := exchange(t, "GET", "/")
		if tt.origin != "" {
			x.In.Header.Set("Origin", tt.origin)
		}
		c := withCORS(t, tt.cors)
		if a := c.Request(x); a != nil {
			t.Fatalf("%s: answered %d", tt.name, a.Status)
		}
		c.Response(x, tt.from)
		if diff := cmp.Diff(tt.want, tt.from); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

func TestOriginMatch(t *testing.T) {
	o, err := newOrigins(app.Origins)
	if err != nil {
		t.Fatal(err)
	}
	for origin, want := range map[string]bool{
		"https://app.example":                         true,
		"http://app.example":                          false,
		"https://app.example:8443":                    false,
		"https://app.example.evil.example":            false,
		"https://evilapp.example":                     false,
		"https://a.pages.example:8443":                true,
		"https://a.b.pages.example:8443":              true,
		"https://pages.example:8443":                  false,
		"https://.pages.example:8443":                 false,
		"https://a.pages.example":                     false,
		"https://evilpages.example:8443":              false,
		"https://evil.example/.pages.example:8443":    false,
		"https://evil.example:1.pages.example:8443":   false,
		"https://me@evil.example#.pages.example:8443": false,
		"http://old.example":                          true,
		"null":                                        false,
		"":                                            false,
		"*":                                           false,
	} {
		if got := o.match(origin); got != want {
			t.Errorf("match(%q) = %v, want %v", origin, got, want)
		}
	}
}

func FuzzOriginMatch(f *testing.F) {
	for _, s := range []string{"https://app.example", "https://a.pages.example:8443", "https://evil/.pages.example:8443", "null"} {
		f.Add(s)
	}
	o, err := newOrigins(app.Origins)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, origin string) {
		if !o.match(origin) {
			return
		}
		scheme, host, _ := strings.Cut(origin, "://")
		inside := strings.HasSuffix(host, ".pages.example:8443") && scheme == "https"
		if origin != "https://app.example" && origin != "http://old.example" && !inside {
			t.Fatalf("%q was matched", origin)
		}
		if strings.ContainsAny(host, "/@?#\\ \t\r\n%,") {
			t.Fatalf("%q is no origin and was matched", origin)
		}
	})
}
