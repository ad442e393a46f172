package policy

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// exchange is a request as node gives it to a chain.
func exchange(t testing.TB, method, target string, fields ...string) *Exchange {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatal(err)
	}
	in := &http.Request{Method: method, URL: u, Host: "shop.example:8080", Header: http.Header{}, Body: http.NoBody}
	for i := 0; i < len(fields); i += 2 {
		in.Header.Add(fields[i], fields[i+1])
	}
	in = in.WithContext(record.NewContext(context.Background(), new(record.Record)))
	return &Exchange{In: in, Out: in.Clone(in.Context()), Client: netip.MustParseAddr("192.0.2.1"), Path: u.EscapedPath(), Now: epoch}
}

func chain(t testing.TB, rt selvage.Route) *Chain {
	t.Helper()
	c, err := Compile(Scope{Tenant: "main", Service: "shop"}, rt)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// status is that of the answer, 0 if the request goes on.
func status(a *Answer) int {
	if a == nil {
		return 0
	}
	return a.Status
}

func prefixes(t testing.TB, list ...string) []selvage.Prefix {
	t.Helper()
	out := make([]selvage.Prefix, len(list))
	for i, s := range list {
		if err := out[i].UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

func TestRouteWithoutPoliciesCostsNoAllocation(t *testing.T) {
	c := chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, Origin: "web"})
	if !c.Empty() || !c.Plain() {
		t.Errorf("Empty is %v, Plain is %v, want both", c.Empty(), c.Plain())
	}
	x, h := exchange(t, "GET", "/"), http.Header{}
	if n := testing.AllocsPerRun(100, func() { c.Request(x); c.Response(x, h) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestAdmittedRequestCostsNoAllocationBeforeItsAnswer(t *testing.T) {
	c := chain(t, selvage.Route{
		Match:   selvage.Match{Path: "/*"},
		Access:  &selvage.Access{Allow: prefixes(t, "192.0.2.0/24"), Deny: prefixes(t, "192.0.2.7")},
		CORS:    &selvage.CORS{Origins: []string{"https://app.example"}},
		Limit:   &selvage.Limit{Rate: selvage.Rate{Requests: 1e6, Per: time.Second}},
		MaxBody: 1 << 20,
		Headers: selvage.Headers{Request: selvage.HeaderEdits{Remove: []string{"Cookie"}}},
	})
	x := exchange(t, "GET", "/", "Cookie", "a=b")
	n := testing.AllocsPerRun(100, func() {
		if a := c.Request(x); a != nil {
			t.Fatalf("answered %d", a.Status)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestOnlyPasswordsMakeARouteWait(t *testing.T) {
	users := map[string]string{"ann": string(hashOfNobody(4))}
	for name, tt := range map[string]struct {
		route selvage.Route
		plain bool
	}{
		"all but passwords": {selvage.Route{
			Match: selvage.Match{Path: "/*"}, Access: &selvage.Access{Deny: prefixes(t, "::/0")}, CORS: &selvage.CORS{Origins: []string{"*"}},
			Limit: &selvage.Limit{Rate: selvage.Rate{Requests: 1, Per: time.Second}}, MaxBody: 1, Redirect: &selvage.Redirect{To: "/"},
		}, true},
		"passwords": {selvage.Route{Match: selvage.Match{Path: "/*"}, Access: &selvage.Access{BasicAuth: &selvage.BasicAuth{Users: users}}}, false},
	} {
		if got := chain(t, tt.route).Plain(); got != tt.plain {
			t.Errorf("%s: Plain is %v, want %v", name, got, tt.plain)
		}
	}
}

// Each step takes away the reason for the first answer; the next one shows.
func TestOrderOfPolicies(t *testing.T) {
	rt := selvage.Route{
		Match:    selvage.Match{Path: "/*"},
		Access:   &selvage.Access{Deny: prefixes(t, "192.0.2.1"), BasicAuth: &selvage.BasicAuth{Users: map[string]string{"ann": secretHash}}},
		CORS:     &selvage.CORS{Origins: []string{"https://app.example"}},
		Limit:    &selvage.Limit{Rate: selvage.Rate{Requests: 1, Per: time.Hour}},
		MaxBody:  10,
		Redirect: &selvage.Redirect{To: "/new"},
		Headers:  selvage.Headers{Response: selvage.HeaderEdits{Set: map[string]string{"X-Edge": "1"}}},
	}
	c := chain(t, rt)
	x := exchange(t, "OPTIONS", "/", "Origin", "https://app.example", "Access-Control-Request-Method", "POST")
	if got := status(c.Request(x)); got != 403 {
		t.Errorf("denied address: status %d, want 403", got)
	}
	x.Client = netip.MustParseAddr("192.0.2.2")
	for range 3 {
		if got := status(c.Request(x)); got != 204 {
			t.Errorf("preflight: status %d, want 204, uncounted", got)
		}
	}
	x = exchange(t, "POST", "/")
	x.Client = netip.MustParseAddr("192.0.2.2")
	x.In.ContentLength = 11
	if got := status(c.Request(x)); got != 401 {
		t.Errorf("without password: status %d, want 401", got)
	}
	if got := status(c.Request(x)); got != 429 {
		t.Errorf("second request: status %d, want 429 before the password", got)
	}
	h := http.Header{}
	c.Response(x, h)
	if h.Get("X-Edge") != "1" || h.Get("Vary") != "Origin" {
		t.Errorf("an answer of ours has not the route's fields: %v", h)
	}
	x.Client = netip.MustParseAddr("192.0.2.3")
	x.In.SetBasicAuth("ann", "secret")
	if got := status(c.Request(x)); got != 413 {
		t.Errorf("long body: status %d, want 413", got)
	}
	x.Client, x.In.ContentLength = netip.MustParseAddr("192.0.2.4"), 10
	if got := status(c.Request(x)); got != 308 {
		t.Errorf("at last: status %d, want 308", got)
	}
}

func TestAccessDenyGoesBeforeAllow(t *testing.T) {
	both := &selvage.Access{
		Allow: prefixes(t, "10.0.0.0/8", "10.1.0.0/16", "192.0.2.9", "2001:db8::/33"),
		Deny:  prefixes(t, "10.9.0.0/16", "2001:db8:1::/48"),
	}
	deny := &selvage.Access{Deny: prefixes(t, "0.0.0.0/0")}
	for _, tt := range []struct {
		access *selvage.Access
		addr   string
		want   int
	}{
		{both, "10.0.0.0", 0},
		{both, "10.255.255.255", 0},
		{both, "10.2.0.1", 0},
		{both, "11.0.0.0", 403},
		{both, "9.255.255.255", 403},
		{both, "10.9.0.0", 403},
		{both, "10.9.255.255", 403},
		{both, "10.10.0.0", 0},
		{both, "192.0.2.9", 0},
		{both, "192.0.2.8", 403},
		{both, "192.0.2.10", 403},
		{both, "::ffff:10.2.0.1", 0},
		{both, "2001:db8::1", 0},
		{both, "2001:db8::1%eth0", 0},
		{both, "2001:db8:7fff:ffff::", 0},
		{both, "2001:db8:8000::", 403},
		{both, "2001:db8:1::1", 403},
		{deny, "10.0.0.1", 403},
		{deny, "::1", 0},
	} {
		x := exchange(t, "GET", "/")
		x.Client = netip.MustParseAddr(tt.addr)
		c := chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, Access: tt.access})
		if got := status(c.Request(x)); got != tt.want {
			t.Errorf("%s: status %d, want %d", tt.addr, got, tt.want)
		}
	}
	x := exchange(t, "GET", "/")
	x.Client = netip.Addr{}
	if got := status(chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, Access: both}).Request(x)); got != 403 {
		t.Errorf("an unknown address: status %d, want 403", got)
	}
}

func TestHeaderEdits(t *testing.T) {
	c := chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, Headers: selvage.Headers{
		Request: selvage.HeaderEdits{
			Remove: []string{"cookie", "x-both"}, Set: map[string]string{"x-set": "new"}, Add: map[string]string{"x-both": "added", "accept": "b"},
		},
		Response: selvage.HeaderEdits{Remove: []string{"server"}, Add: map[string]string{"vary": "X-Plan"}},
	}})
	x := exchange(t, "GET", "/", "Cookie", "a", "X-Set", "old", "X-Set", "older", "X-Both", "gone", "Accept", "a")
	shared := x.Out.Header["Accept"]
	if a := c.Request(x); a != nil {
		t.Fatalf("answered %d", a.Status)
	}
	want := http.Header{"X-Set": {"new"}, "X-Both": {"added"}, "Accept": {"a", "b"}}
	if diff := cmp.Diff(want, x.Out.Header); diff != "" {
		t.Errorf("request fields (-want +got):\n%s", diff)
	}
	if len(shared) != 1 || x.In.Header.Get("Cookie") != "a" {
		t.Error("the request as it came was edited")
	}
	h := http.Header{"Server": {"x"}, "Vary": {"Accept"}}
	c.Response(x, h)
	if diff := cmp.Diff(http.Header{"Vary": {"Accept", "X-Plan"}}, h); diff != "" {
		t.Errorf("answer fields (-want +got):\n%s", diff)
	}
}

func TestMaxBody(t *testing.T) {
	c := chain(t, selvage.Route{Match: selvage.Match{Path: "/*"}, MaxBody: 4})
	for body, want := range map[string]string{"": "", "abcd": "abcd", "abcde": "http: request body too large"} {
		x := exchange(t, "POST", "/")
		x.In.ContentLength = -1
		x.Out.Body = io.NopCloser(strings.NewReader(body))
		if a := c.Request(x); a != nil {
			t.Fatalf("answered %d before the body was read", a.Status)
		}
		got, err := io.ReadAll(x.Out.Body)
		if err != nil {
			got = []byte(err.Error())
		}
		if string(got) != want {
			t.Errorf("body %q: read %q, want %q", body, got, want)
		}
	}
	x := exchange(t, "POST", "/")
	x.In.ContentLength = 5
	if got, limit := status(c.Request(x)), record.From(x.In.Context()).LimitHit; got != 413 || limit != "body" {
		t.Errorf("a known length beyond it: status %d, limit %q, want 413, body", got, limit)
	}
}

func TestCompileRefuses(t *testing.T) {
	redirect := func(path, to string) selvage.Route {
		return selvage.Route{Match: selvage.Match{Path: path}, Redirect: &selvage.Redirect{To: to}}
	}
	rewrite := func(r selvage.Rewrite) selvage.Route {
		return selvage.Route{Match: selvage.Match{Path: "/*"}, Rewrite: &r}
	}
	set := func(name, value string) selvage.Route {
		return selvage.Route{Headers: selvage.Headers{Response: selvage.HeaderEdits{Set: map[string]string{name: value}}}}
	}
	for name, rt := range map[string]selvage.Route{
		"a capture that is not there": redirect("/a/*", "/$2"),
		"a capture 0":                 redirect("/a/*", "/$0"),
		"an unknown word":             redirect("/*", "/$query"),
		"a bare word":                 redirect("/*", "new"),
		"a capture alone":             redirect("/*", "$1"),
		"a script":                    redirect("/*", "javascript:alert(1)"),
		"two slashes":                 redirect("/*", "//evil.example"),
		"a backslash":                 redirect("/*", `/\evil.example`),
		"a line end":                  redirect("/*", "/a\r\nX: y"),
		"no host":                     redirect("/*", "https:///x"),
		"a site by capture":           redirect("/*", "https://$1"),
		"a site by capture and slash": redirect("/*/x", "https://$1/x"),
		"a name that runs on":         redirect("/*", "https://shop.example$1"),
		"a port by capture":           redirect("/*/x", "https://shop.example:$1/"),
		"a user":                      redirect("/*/x", "https://$1@shop.example/"),
		"a label by capture":          redirect("/*/x", "https://$1.shop.example/"),
		"a longer word":               redirect("/*", "https://$hosts/"),
		"a capture 10":                redirect("/*/x", "/$10"),
		"a status":                    {Redirect: &selvage.Redirect{To: "/", Status: 200}},
		"both rewrites":               rewrite(selvage.Rewrite{StripPrefix: "/a", Path: "/b"}),
		"no rewrite":                  rewrite(selvage.Rewrite{}),
		"a query in a rewrite":        rewrite(selvage.Rewrite{Path: "/a?b"}),
		"a rewrite without a slash":   rewrite(selvage.Rewrite{Path: "a"}),
		"a prefix without a slash":    rewrite(selvage.Rewrite{StripPrefix: "a"}),
		"a framing field":             set("content-length", "1"),
		"a field of the connection":   set("Connection", "x"),
		"no field name":               set("a b", "1"),
		"a value with a line end":     set("A", "1\r\nB: 2"),
		"a rate of nothing":           {Limit: &selvage.Limit{}},
		"a burst beyond all time":     {Limit: &selvage.Limit{Rate: selvage.Rate{Requests: 1, Per: time.Hour}, Burst: 1 << 40}},
		"a key":                       {Limit: &selvage.Limit{Rate: selvage.Rate{Requests: 1, Per: time.Hour}, Per: "header:a b"}},
		"a plain password":            {Access: &selvage.Access{BasicAuth: &selvage.BasicAuth{Users: map[string]string{"ann": "secret"}}}},
		"no users":                    {Access: &selvage.Access{BasicAuth: &selvage.BasicAuth{}}},
		"a user with a colon":         {Access: &selvage.Access{BasicAuth: &selvage.BasicAuth{Users: map[string]string{"a:b": secretHash}}}},
		"a realm with a line end":     {Access: &selvage.Access{BasicAuth: &selvage.BasicAuth{Realm: "\n", Users: map[string]string{"a": secretHash}}}},
		"credentials for all":         {CORS: &selvage.CORS{Origins: []string{"*"}, Credentials: true}},
		"an origin with a path":       {CORS: &selvage.CORS{Origins: []string{"https://app.example/"}}},
		"an origin without a scheme":  {CORS: &selvage.CORS{Origins: []string{"app.example"}}},
		"an origin with a star in it": {CORS: &selvage.CORS{Origins: []string{"https://a.*.example"}}},
		"a method that is none":       {CORS: &selvage.CORS{Origins: []string{"*"}, Methods: []string{"A B"}}},
		"a negative size":             {MaxBody: -1},
	} {
		if _, err := Compile(Scope{}, rt); err == nil || selvage.KindOf(err) != selvage.Invalid {
			t.Errorf("%s: Compile says %v, want an error of kind invalid", name, err)
		}
	}
}
