package selvage

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// printed is a mistake as the tables below have it.
func printed(p Problem) string {
	s := p.Path + ": " + p.Message
	if p.AtKey {
		s = "key " + s
	}
	if p.Hint != "" {
		s += " | " + p.Hint
	}
	return s
}

func compare(t *testing.T, got Problems, want ...string) {
	t.Helper()
	var lines []string
	for _, p := range got {
		lines = append(lines, printed(p))
	}
	if !slices.Equal(lines, want) {
		t.Errorf("got:\n  %s\nwant:\n  %s", strings.Join(lines, "\n  "), strings.Join(want, "\n  "))
	}
}

// validService is a service without a mistake that the tables make mistakes in.
func validService() *Service {
	web := Origin{
		Endpoints: []string{"http://10.0.0.1:8080", "http://web.example"}, Host: "keep", Protocol: HTTP1,
		Eject: Eject{5, Duration(time.Second)}, Retry: Retry{Attempts: 3, Statuses: []int{502, 503}},
		Connections: OriginConnections{Max: 1, Resolve: Duration(time.Second)},
	}
	return &Service{
		Service: "shop", Tier: 1, Hosts: []string{"shop.example", "*.shop.example"},
		Origins: map[OriginName]Origin{"web": web, "static": {Folder: "./public", Host: "keep", Protocol: HTTP1}},
		Routes: []Route{
			{Match: Match{Path: "/old/*"}, Redirect: &Redirect{To: "/new/$1", Status: 308}},
			{Name: "api", Match: Match{Path: "/api/*", Methods: []string{"POST"}}, Origin: "web", Cache: &Cache{}},
			{Match: Match{Path: "/*"}, Origin: "static"},
		},
	}
}

// edit changes an origin, which a map does not let one do in place.
func (s *Service) edit(name OriginName, f func(*Origin)) {
	o := s.Origins[name]
	f(&o)
	s.Origins[name] = o
}

func TestAValidServiceHasNoProblems(t *testing.T) {
	compare(t, validService().Validate())
	if err := validService().Validate().Err(); err != nil {
		t.Errorf("no problem is the error %v", err)
	}
}

func TestServiceAndHosts(t *testing.T) {
	for _, c := range []struct {
		edit func(*Service)
		want []string
	}{
		{func(s *Service) { s.Service = "Shop" }, []string{`service: service "Shop" is not a name | write lower-case letters, digits and hyphens, at most 63`}},
		{func(s *Service) { s.Service = "-a" }, []string{`service: service "-a" is not a name | write lower-case letters, digits and hyphens, at most 63`}},
		{func(s *Service) { s.Service = ServiceName(strings.Repeat("a", 63)) }, nil},
		{func(s *Service) { s.Service = ServiceName(strings.Repeat("a", 64)) }, []string{`service: service "` + strings.Repeat("a", 64) + `" is not a name | write lower-case letters, digits and hyphens, at most 63`}},
		{func(s *Service) {
			s.ClientCookie = &ClientCookie{Name: "a b", MaxAge: 1}
			s.Routes[1].Cache.Key = &CacheKey{Cookies: []string{"a b"}}
		}, []string{
			`client_cookie.name: "a b" is not a name of a cookie | write letters, digits and hyphens`,
			`client_cookie.max_age: a cookie for 1ns is not kept | write 1m to 9600h`,
			`routes[1].cache.key.cookies: "a b" is the cookie of client_cookie, by which no answers are told apart | leave it out`,
			`routes[1].cache.key.cookies[0]: route "api": "a b" is not the name of a cookie`,
		}},
		{func(s *Service) { s.ClientCookie = &ClientCookie{Name: "id", MaxAge: Duration(time.Hour)} }, nil},
		{func(s *Service) { s.TLS = ServiceTLS{"a.pem", "a.key"} }, nil},
		{func(s *Service) { s.TLS.Key = "a.key" }, []string{`certificate: a certificate and its key go together | add the other one`}},
		{func(s *Service) { s.Objectives.Latency.P99 = 5 }, []string{`objectives.latency.p99: an answer within 5ns cannot be measured | write at least 1ms`}},
		{func(s *Service) { s.Hosts = []string{"*", "localhost", "192.0.2.1", "[2001:db8::1]", "*.a-b_c.d"} }, nil},
		{func(s *Service) { s.Hosts = []string{"a", "b", "a"} }, []string{`hosts[2]: host "a" stands here twice`}},
		{func(s *Service) { s.Hosts = []string{"Shop.Example."} }, []string{`hosts[0]: "Shop.Example." is not a host name | did you mean "shop.example"?`}},
		{func(s *Service) { s.Hosts = []string{"shop.example:80"} }, []string{`hosts[0]: "shop.example:80" is not a host name | leave the port out: "shop.example"`}},
		{func(s *Service) { s.Hosts = []string{"https://shop.example"} }, []string{`hosts[0]: "https://shop.example" is not a host name | write the host name alone, without a scheme`}},
		{func(s *Service) { s.Hosts = []string{"a.*.b", "a*"} }, []string{`hosts[0]: "a.*.b" is not a host name | a wildcard is * alone, or *. before a name`, `hosts[1]: "a*" is not a host name | a wildcard is * alone, or *. before a name`}},
		{func(s *Service) { s.Hosts = []string{"bücher.example"} }, []string{`hosts[0]: "bücher.example" is not a host name | write the name as DNS has it, with xn--`}},
		{func(s *Service) { s.Hosts = []string{"", "a..b", "-a", "10.0.0", "a b", "[::1"} }, []string{
			`hosts[0]: "" is not a host name | write a name such as shop.example, in lower case and without a port`,
			`hosts[1]: "a..b" is not a host name | write a name such as shop.example, in lower case and without a port`,
			`hosts[2]: "-a" is not a host name | write a name such as shop.example, in lower case and without a port`,
			`hosts[3]: "10.0.0" is not a host name | write a name such as shop.example, in lower case and without a port`,
			`hosts[4]: "a b" is not a host name | write a name such as shop.example, in lower case and without a port`,
			`hosts[5]: "[::1" is not a host name | write a name such as shop.example, in lower case and without a port`,
		}},
	} {
		s := validService()
		c.edit(s)
		compare(t, s.Validate(), c.want...)
	}
}

func TestRoutes(t *testing.T) {
	for _, c := range []struct {
		edit func(*Route)
		want []string
	}{
		{func(r *Route) { r.Origin = "wbe" }, []string{`routes[1].origin: route "api": origin "wbe" is not defined | did you mean "web"?`}},
		{func(r *Route) { r.Origin = "backend" }, []string{`routes[1].origin: route "api": origin "backend" is not defined`}},
		{func(r *Route) { r.Origin = "" }, []string{`routes[1]: route "api": it has neither an origin nor a redirect | add origin, function or redirect`}},
		{func(r *Route) { r.Redirect = &Redirect{To: "/"} }, []string{`key routes[1].redirect: route "api": it has both a redirect and an origin | keep one of them`}},
		{func(r *Route) {
			r.Origin, r.Redirect, r.Rewrite, r.OnFailure = "", &Redirect{To: "/"}, &Rewrite{Path: "/"}, []Rung{{Stale: true}}
		}, []string{
			`key routes[1].rewrite: route "api": rewrite has no use beside a redirect | take it away`,
			`key routes[1].cache: route "api": cache has no use beside a redirect | take it away`,
			`key routes[1].on_failure: route "api": on_failure has no use beside a redirect | take it away`,
		}},
		{func(r *Route) { r.Name = "a\nb" }, []string{`routes[1].name: route "a\nb": "a\nb" is not a name | write at most 128 printable characters`}},
		{func(r *Route) { r.Match.Path = "api" }, []string{`routes[1].match.path: route "api": path "api" does not begin with a slash | did you mean "/api"?`}},
		{func(r *Route) { r.Match.Path = "/a*" }, []string{`routes[1].match.path: route "api": in "/a*" a * is only a part of a segment | write /* for a whole segment, or %2A for the character`}},
		{func(r *Route) { r.Match.Path = "/a?b" }, []string{`routes[1].match.path: route "api": path "/a?b" has a query | only the path is matched; %3F is the character`}},
		{func(r *Route) { r.Match.Path = "/a#b" }, []string{`routes[1].match.path: route "api": path "/a#b" has a fragment | it never reaches a server; %23 is the character`}},
		{func(r *Route) { r.Match.Path = "/é a" }, []string{`routes[1].match.path: route "api": path "/é a" has characters that must be percent-encoded | did you mean "/%C3%A9%20a"?`}},
		{func(r *Route) { r.Match.Path = "/a%2" }, []string{`routes[1].match.path: route "api": path "/a%2" has characters that must be percent-encoded | did you mean "/a%252"?`}},
		{func(r *Route) { r.Match.Path = "/a/%2E./b" }, []string{`routes[1].match.path: route "api": path "/a/%2E./b" has a . or .. segment | requests are matched without them`}},
		{func(r *Route) { r.Match.Path = "/a%00" }, []string{`routes[1].match.path: route "api": path "/a%00" has a NUL, and no request may`}},
		{func(r *Route) { r.Match.Path = strings.Repeat("/*", 9) }, []string{`routes[1].match.path: route "api": path "` + strings.Repeat("/*", 9) + `" has 9 of *, the most is 8`}},
		{func(r *Route) { r.Match.Methods = []string{"post", "G T", "GET", "GET"} }, []string{
			`routes[1].match.methods[3]: route "api": method "GET" stands here twice`,
			`routes[1].match.methods[0]: route "api": "post" is not a method | did you mean "POST"?`,
			`routes[1].match.methods[1]: route "api": "G T" is not a method | write a method such as GET or POST`,
		}},
		{func(r *Route) {
			r.Match.Hosts = []string{"shop.example", "*.shop.example", "a.b.shop.example", "*.x.shop.example"}
		}, nil},
		{func(r *Route) { r.Match.Hosts = []string{"shp.example", "*", "xshop.example"} }, []string{
			`routes[1].match.hosts[0]: route "api": host "shp.example" is not one of the service's hosts | did you mean "shop.example"?`,
			`routes[1].match.hosts[1]: route "api": host "*" is not one of the service's hosts`,
			`routes[1].match.hosts[2]: route "api": host "xshop.example" is not one of the service's hosts | did you mean "shop.example"?`,
		}},
		{func(r *Route) { r.Rewrite = &Rewrite{} }, []string{`routes[1].rewrite: route "api": rewrite changes nothing | add strip_prefix or path`}},
		{func(r *Route) { r.Rewrite = &Rewrite{"/api", "/x"} }, []string{`routes[1].rewrite: route "api": it has both strip_prefix and path | keep one of them`}},
		{func(r *Route) { r.Rewrite = &Rewrite{Path: "/x/$1"} }, nil},
		{func(r *Route) { r.Rewrite = &Rewrite{Path: "/x/$2"} }, []string{`routes[1].rewrite.path: route "api": "/x/$2" uses $2, but the match has 1 of * | $1 is what the first * of the match takes`}},
		{func(r *Route) { r.Rewrite = &Rewrite{Path: "/x/$0"} }, []string{`routes[1].rewrite.path: route "api": "/x/$0" uses $0, but the match has 1 of * | $1 is what the first * of the match takes`}},
		{func(r *Route) { r.Rewrite = &Rewrite{Path: "/x/$host"} }, []string{`routes[1].rewrite.path: route "api": "/x/$host" has a $ that stands for nothing | write %24 for the character`}},
		{func(r *Route) { r.Rewrite = &Rewrite{Path: "/x/*"} }, []string{`routes[1].rewrite.path: route "api": path "/x/*" has a * | write $1 for what the first * of the match took`}},
		{func(r *Route) { r.Rewrite = &Rewrite{Path: "x"} }, []string{`routes[1].rewrite.path: route "api": path "x" does not begin with a slash | did you mean "/x"?`}},
		{func(r *Route) { r.Rewrite = &Rewrite{StripPrefix: "/api"} }, nil},
		{func(r *Route) { r.Rewrite = &Rewrite{StripPrefix: "/api/v1/"} }, nil},
		{func(r *Route) { r.Rewrite = &Rewrite{StripPrefix: "/ap"} }, []string{`routes[1].rewrite.strip_prefix: route "api": no path that matches "/api/*" begins with "/ap"`}},
		{func(r *Route) { r.Rewrite = &Rewrite{StripPrefix: "/*"} }, []string{`routes[1].rewrite.strip_prefix: route "api": prefix "/*" has a *`}},
	} {
		s := validService()
		c.edit(&s.Routes[1])
		compare(t, s.Validate(), c.want...)
	}
	s := validService()
	s.Routes[2].Name = "api"
	compare(t, s.Validate(), `routes[2].name: route "api": another route has this name too`)
}

func TestRedirects(t *testing.T) {
	for to, want := range map[string]string{
		"/new/$1":                     "",
		"/a?b=$1#c":                   "",
		"https://$host$path":          "",
		"https://$host/x/$1":          "",
		"http://$host:8443$path":      "",
		"https://www.shop.example/$1": "",
		"$path/x":                     "",
		"new":                         `address "new" is neither a path nor a URL | write a path, or a URL with http or https`,
		"//evil.example/":             `address "//evil.example/" is neither a path nor a URL | write a path, or a URL with http or https`,
		"ftp://a/":                    `address "ftp://a/" is neither a path nor a URL | write a path, or a URL with http or https`,
		"javascript:x":                `address "javascript:x" is neither a path nor a URL | write a path, or a URL with http or https`,
		"https:///x":                  `address "https:///x" has no valid host`,
		"https://u@a/":                `address "https://u@a/" has no valid host`,
		"https://a:99999/":            `address "https://a:99999/" has no valid host`,
		"https://$1/":                 `address "https://$1/" lets whoever asks choose the host | write the host out, or $host`,
		"https://$1.shop.example/":    `address "https://$1.shop.example/" lets whoever asks choose the host | write the host out, or $host`,
		"/a b":                        `address "/a b" has characters that must be percent-encoded`,
		"/a\r\nx":                     `address "/a\r\nx" has characters that must be percent-encoded`,
		"/a/../b":                     `address "/a/../b" has a . or .. segment`,
		"/$2":                         `"/$2" uses $2, but the match has 1 of * | $1 is what the first * of the match takes`,
		"/$99999999999999999999":      `"/$99999999999999999999" uses $99999999999999999999, but the match has 1 of * | $1 is what the first * of the match takes`,
		"/$x":                         `"/$x" has a $ that stands for nothing | write %24 for the character`,
		"/$hosts":                     `"/$hosts" has a $ that stands for nothing | write %24 for the character`,
		"/a$":                         `"/a$" has a $ that stands for nothing | write %24 for the character`,
	} {
		s := validService()
		s.Routes[0].Redirect.To = to
		if want == "" {
			compare(t, s.Validate())
		} else {
			compare(t, s.Validate(), `routes[0].redirect.to: route "/old/*": `+want)
		}
	}
}

func TestARouteThatCanNeverMatchNamesTheOneBefore(t *testing.T) {
	route := func(methods, hosts, path string) Route {
		return Route{Match: Match{Path: path, Methods: strings.Fields(methods), Hosts: strings.Fields(hosts)}, Origin: "web"}
	}
	for _, c := range []struct {
		earlier, later Route
		dead           bool
	}{
		{route("", "", "/*"), route("", "", "/a"), true},
		{route("", "", "/*"), route("", "", "/"), true},
		{route("", "", "/*"), route("", "", "/a/*/b/*"), true},
		{route("", "", "/a"), route("", "", "/a"), true},
		{route("", "", "/a"), route("", "", "/a/"), false},
		{route("", "", "/a/*"), route("", "", "/a/"), true},
		{route("", "", "/a/*"), route("", "", "/a"), false},
		{route("", "", "/a/*"), route("", "", "/*"), false},
		{route("", "", "/a/*"), route("", "", "/a/b/*"), true},
		{route("", "", "/*/b"), route("", "", "/a/b"), true},
		{route("", "", "/*/b"), route("", "", "/*/b"), true},
		{route("", "", "/*/b"), route("", "", "/a/*"), false},
		{route("", "", "/*/b"), route("", "", "//b"), false},
		{route("", "", "/a/b"), route("", "", "/*/b"), false},
		{route("", "", "/*/*"), route("", "", "/a/*"), true},
		{route("", "", "/*/*"), route("", "", "/*"), false},
		{route("GET", "", "/*"), route("GET", "", "/a"), true},
		{route("GET", "", "/*"), route("HEAD", "", "/a"), true},
		{route("HEAD", "", "/*"), route("GET", "", "/a"), false},
		{route("GET POST", "", "/*"), route("POST HEAD", "", "/a"), true},
		{route("GET", "", "/*"), route("", "", "/a"), false},
		{route("GET", "", "/*"), route("GET POST", "", "/a"), false},
		{route("", "shop.example", "/*"), route("", "", "/a"), false},
		{route("", "shop.example", "/*"), route("", "shop.example", "/a"), true},
		{route("", "*.shop.example", "/*"), route("", "a.shop.example *.b.shop.example", "/a"), true},
		{route("", "*.shop.example", "/*"), route("", "shop.example", "/a"), false},
		{route("", "a.shop.example b.shop.example", "/*"), route("", "b.shop.example", "/a"), true},
	} {
		s := validService()
		s.Routes = []Route{c.earlier, c.later}
		var want []string
		if c.dead {
			want = []string{fmt.Sprintf(`routes[1].match: route %q: it can never match, because route %q takes all its requests | put it before that one`, c.later.Label(), c.earlier.Label())}
		}
		compare(t, s.Validate(), want...)
	}
}

const hash = "$2y$05$abcdefghijklmnopqrstuuABCDEFGHIJKLMNOPQRSTUVWXYZ01234"

func TestPolicies(t *testing.T) {
	for _, c := range []struct {
		edit func(*Route)
		want []string
	}{
		{func(r *Route) { r.Access = &Access{} }, []string{`access: access lets everybody in | add allow, deny or basic_auth`}},
		{func(r *Route) { r.Access = users("ann", hash) }, nil},
		{func(r *Route) { r.Access = users("ann", strings.Replace(hash, "$05", "$14", 1)) }, nil},
		{func(r *Route) { r.Access = users("ann", "secret") }, []string{"access.basic_auth.users.ann: the password of user \"ann\" is not a bcrypt hash | make one with `htpasswd -nB`"}},
		{func(r *Route) { r.Access = users("ann", strings.Replace(hash, "$2y", "$1", 1)) }, []string{"access.basic_auth.users.ann: the password of user \"ann\" is not a bcrypt hash | make one with `htpasswd -nB`"}},
		{func(r *Route) { r.Access = users("ann", strings.Replace(hash, "$05", "$15", 1)) }, []string{`access.basic_auth.users.ann: the bcrypt hash of user "ann" has a cost of 15 | make it with a cost from 4 to 14`}},
		{func(r *Route) { r.Access = users("a:b", hash) }, []string{`key access.basic_auth.users.a:b: "a:b" cannot be a user's name | write it without a colon and control characters`}},
		{func(r *Route) { r.Access = users("ann", hash); r.Access.BasicAuth.Realm = `a"b` }, []string{`access.basic_auth.realm: "a\"b" cannot be sent as a realm | write printable ASCII without quotes and backslashes`}},
		{func(r *Route) {
			r.CORS = &CORS{Origins: []string{"https://a.example", "http://*.a.example:8080", "*"}, Methods: []string{"GET"}}
		}, nil},
		{func(r *Route) { r.CORS = &CORS{Origins: []string{"*"}, Credentials: true} }, []string{`cors.origins[0]: credentials cannot be allowed to all origins | name the origins`}},
		{func(r *Route) {
			r.CORS = &CORS{Origins: []string{"a.example", "https://a/", "https://*", "null", "https://A"}}
		}, []string{
			`cors.origins[0]: "a.example" is not an origin | write https://app.example, https://*.app.example or *`,
			`cors.origins[1]: "https://a/" is not an origin | write https://app.example, https://*.app.example or *`,
			`cors.origins[2]: "https://*" is not an origin | write https://app.example, https://*.app.example or *`,
			`cors.origins[3]: "null" is not an origin | write https://app.example, https://*.app.example or *`,
			`cors.origins[4]: "https://A" is not an origin | write https://app.example, https://*.app.example or *`,
		}},
		{func(r *Route) {
			r.CORS = &CORS{Origins: []string{"*"}, Methods: []string{"get"}, Headers: []string{"X Y"}, Expose: []string{""}}
		}, []string{
			`cors.methods[0]: "get" is not a method | did you mean "GET"?`,
			`cors.headers[0]: "X Y" is not the name of a header field`,
			`cors.expose[0]: "" is not the name of a header field`,
		}},
		{func(r *Route) { r.Limit = &Limit{Per: "header:X-Key"} }, nil},
		{func(r *Route) { r.Limit = &Limit{Per: "header:X Key"} }, []string{`limit.per: "header:X Key" does not name a header field | write header: and the field's name`}},
		{func(r *Route) { r.Cache.Tags.Header = "a b" }, []string{`cache.tags.header: "a b" is not the name of a header field`}},
		{func(r *Route) { r.Headers.Request.Set = map[string]string{"X-A": "é\t1", "X-B": ""} }, nil},
		{func(r *Route) {
			r.Headers.Request.Remove = []string{"connection", "TE", "Cookie", "Host", "cdn-loop", "a:b"}
		}, []string{
			`headers.request.remove[0]: field "connection" cannot be edited | it belongs to the connection`,
			`headers.request.remove[1]: field "TE" cannot be edited | it belongs to the connection`,
			`headers.request.remove[3]: field "Host" cannot be edited | the origin's host says which Host is sent`,
			`headers.request.remove[4]: field "cdn-loop" cannot be edited | it belongs to the connection`,
			`headers.request.remove[5]: "a:b" is not the name of a header field | write it without a colon and spaces`,
		}},
		{func(r *Route) {
			r.Headers.Response.Set = map[string]string{"Content-Length": "5", "X-A": "a", "x-a": "b"}
		}, []string{
			`key headers.response.set.Content-Length: field "Content-Length" cannot be edited | it belongs to the connection`,
			`key headers.response.set.x-a: field "x-a" stands here twice`,
		}},
		{func(r *Route) { r.Headers.Response.Add = map[string]string{"X-A": "a\r\nSet-Cookie: b", "X-B": " a"} }, []string{
			`headers.response.add.X-A: the value of field "X-A" has control characters, or spaces around it`,
			`headers.response.add.X-B: the value of field "X-B" has control characters, or spaces around it`,
		}},
		{func(r *Route) { r.OnFailure = []Rung{{Stale: true}, {Default: &DefaultAnswer{Status: 503, Body: "x"}}} }, nil},
		{func(r *Route) { r.OnFailure = []Rung{{}, {Stale: true, Default: &DefaultAnswer{}}} }, []string{
			`on_failure[0]: a step of the failure ladder has exactly one of stale and default | write stale, or default with its answer`,
			`on_failure[1]: a step of the failure ladder has exactly one of stale and default | write stale, or default with its answer`,
		}},
		{func(r *Route) { r.Cache, r.OnFailure = nil, []Rung{{Stale: true}} }, []string{`on_failure[0]: stale needs a cache on this route | add cache: {}`}},
		{func(r *Route) { r.OnFailure = []Rung{{Stale: true}, {Stale: true}} }, []string{`on_failure[1]: stale stands here twice`}},
		{func(r *Route) { r.OnFailure = []Rung{{Default: &DefaultAnswer{}}, {Stale: true}} }, []string{`on_failure[1]: this step is never tried: the default answer before it always answers | put it before the default answer`}},
		{func(r *Route) {
			r.OnFailure = []Rung{{Default: &DefaultAnswer{File: "a", Body: "b", Headers: map[string]string{"Upgrade": "x"}}}}
		}, []string{
			`on_failure[0].default: the default answer has both a file and a body | keep one of them`,
			`key on_failure[0].default.headers.Upgrade: field "Upgrade" cannot be edited | it belongs to the connection`,
		}},
		{func(r *Route) { r.OnFailure = []Rung{{Default: &DefaultAnswer{Status: 204, Body: "b"}}} }, []string{`on_failure[0].default.status: an answer of 204 has no body | take the body away`}},
	} {
		s := validService()
		c.edit(&s.Routes[1])
		var want []string
		for _, w := range c.want {
			key := ""
			if rest, ok := strings.CutPrefix(w, "key "); ok {
				key, w = "key ", rest
			}
			path, message, _ := strings.Cut(w, ": ")
			want = append(want, key+"routes[1]."+path+`: route "api": `+message)
		}
		compare(t, s.Validate(), want...)
	}
}

func users(name, hash string) *Access {
	return &Access{BasicAuth: &BasicAuth{Realm: "x", Users: map[string]string{name: hash}}}
}

func TestMessagesDoNotRepeatHashes(t *testing.T) {
	s := validService()
	s.Routes[1].Access = users("ann", "a-password-in-plain-words")
	if text := s.Validate().Error(); strings.Contains(text, "plain-words") {
		t.Errorf("got %s", text)
	}
}

func TestOrigins(t *testing.T) {
	one := func(endpoint string) func(*Origin) {
		return func(o *Origin) { o.Endpoints = []string{endpoint} }
	}
	for _, c := range []struct {
		edit func(*Origin)
		want []string
	}{
		{func(o *Origin) { o.Folder = "x" }, []string{`key folder: it has both endpoints and a folder | keep one of them`}},
		{func(o *Origin) { o.Endpoints = nil }, []string{`: it has neither endpoints nor a folder | add endpoints, folder or function`}},
		{func(o *Origin) { *o = Origin{Folder: "x", Health: &Health{}, TLS: OriginTLS{CA: "x"}, Protocol: H2} }, []string{
			`key health: a folder has no health check | take it away`, `key tls: a folder has no TLS | take it away`, `key protocol: a folder has no protocol | take it away`,
		}},
		{one("https://[2001:db8::1]:8443/"), nil},
		{one("http://WEB.example"), nil},
		{one("web:80"), []string{`endpoints[0]: endpoint "web:80" is not an http or https URL | did you mean "http://web:80"?`}},
		{one("grpc://web"), []string{`endpoints[0]: endpoint "grpc://web" is not an http or https URL | write a URL such as http://10.0.0.1:8080`}},
		{one("http://"), []string{`endpoints[0]: endpoint "http://" has no valid host and port`}},
		{one("http://a:"), []string{`endpoints[0]: endpoint "http://a:" has no valid host and port`}},
		{one("http://a:0"), []string{`endpoints[0]: endpoint "http://a:0" has no valid host and port`}},
		{one("http://a b"), []string{`endpoints[0]: endpoint "http://a b" is not an http or https URL | write a URL such as http://10.0.0.1:8080`}},
		{one("http://a/x"), []string{`endpoints[0]: endpoint "http://a/x" has a path | put the path before the request's with rewrite of the route`}},
		{one("http://a/?x"), []string{`endpoints[0]: endpoint "http://a/?x" has a query or a fragment`}},
		{one("http://a/#"), []string{`endpoints[0]: endpoint "http://a/#" has a query or a fragment`}},
		{one("http://u:p@a"), []string{`endpoints[0]: endpoint "http://u:p@a" has a user | set Authorization with headers.request.set of the route`}},
		{func(o *Origin) { o.Endpoints = []string{"http://a", "https://a", "http://a"} }, []string{
			`endpoints[2]: endpoint "http://a" stands here twice`,
			`endpoints[1]: endpoint "https://a" has another scheme than the ones before it | make them origins of their own`,
		}},
		{func(o *Origin) { o.Protocol = H2 }, []string{`protocol: h2 needs https endpoints | without TLS it is h2c`}},
		{func(o *Origin) { o.Protocol = H2C }, nil},
		{func(o *Origin) { o.Protocol, o.Endpoints = H2C, []string{"https://a"} }, []string{`protocol: h2c needs http endpoints | over TLS it is h2`}},
		{func(o *Origin) { o.Protocol, o.Endpoints, o.TLS.ServerName = H2, []string{"https://a"}, "A.example" }, nil},
		{func(o *Origin) { o.TLS.CA = "x" }, []string{`key tls: its endpoints have no TLS | take it away, or write https`}},
		{func(o *Origin) {
			o.Endpoints, o.TLS = []string{"https://a"}, OriginTLS{Certificate: "x", ServerName: "a b"}
		}, []string{
			`tls: a client certificate and its key go together | add the other one`, `tls.server_name: "a b" is not a host name`,
		}},
		{func(o *Origin) { o.Host = "endpoint" }, nil},
		{func(o *Origin) { o.Host = "internal.example:8080" }, nil},
		{func(o *Origin) { o.Host = "Keep" }, []string{`host: "Keep" is not a host name | write keep, endpoint or a host name`}},
		{func(o *Origin) { o.Health = &Health{Path: "/h?x", Every: 1, Timeout: 1, Host: "a:80"} }, nil},
		{func(o *Origin) { o.Health = &Health{Path: "h", Host: "a/b", Status: 100} }, []string{
			`health.path: "h" is not a path | write a path such as /healthz`, `health.host: "a/b" is not a host name`,
			`health.every: endpoints cannot be asked without a pause | write at least 100ms, or leave health out`,
			`health.timeout: a check that waits for nothing always fails`, `health.status: 100 is not a final status`,
		}},
		{func(o *Origin) { o.Retry.Statuses = []int{502, 200, 502} }, []string{
			`retry.statuses[2]: status "502" stands here twice`, `retry.statuses[1]: an answer of 200 is not tried again | write statuses from 400 to 599`,
		}},
		{func(o *Origin) { o.Eject.For = 0 }, []string{`eject.for: an endpoint cannot be ejected for no time | write how long, or failures: 0 to never eject`}},
		{func(o *Origin) { o.Eject = Eject{} }, nil},
		{func(o *Origin) { o.Connections.Resolve = 0 }, []string{`connections.resolve: names cannot be resolved without a pause | write at least 1s`}},
	} {
		s := validService()
		s.edit("web", c.edit)
		var want []string
		for _, w := range c.want {
			key := ""
			if rest, ok := strings.CutPrefix(w, "key "); ok {
				key, w = "key ", rest
			}
			path, message, _ := strings.Cut(w, ": ")
			want = append(want, key+strings.TrimSuffix("origins.web."+path, ".")+`: origin "web": `+message)
		}
		compare(t, s.Validate(), want...)
	}
	s := validService()
	s.Origins["Web"] = s.Origins["web"]
	compare(t, s.Validate(), `key origins.Web: origin "Web" is not a name | write lower-case letters, digits and hyphens, at most 63`)
}

func validNode() *Node {
	return &Node{
		Name: "ams-1.example", POP: "ams", Zone: "eu", Listen: []Listener{{Address: ":8443", TLS: true}, {Address: "[::1]:8080"}, {Address: "localhost:0"}},
		Admin: Admin{Address: "127.0.0.1:9440", Tokens: []string{strings.Repeat("0aF", 21) + "1"}}, TLS: TLS{Development: true},
		Limits: Limits{Head: 32 << 10, Target: 8 << 10, Body: 1}, Cache: NodeCache{Memory: 1}, AccessLog: "stderr", FunctionLog: "stderr",
	}
}

func TestNodes(t *testing.T) {
	for _, c := range []struct {
		edit func(*Node)
		want []string
	}{
		{func(*Node) {}, nil},
		{func(n *Node) { n.Name = "" }, nil},
		{func(n *Node) { n.Name, n.POP, n.Zone = "a b", "", "EU" }, []string{
			`name: node "a b" is not a name | write it like a host name`,
			`pop: pop "" is not a name | write lower-case letters, digits and hyphens, at most 63`,
			`zone: zone "EU" is not a name | write lower-case letters, digits and hyphens, at most 63`,
		}},
		{func(n *Node) { n.Listen = nil }, []string{`listen: nobody can come in without a listener | add {address: 127.0.0.1:8080}`}},
		{func(n *Node) {
			n.Listen = []Listener{{Address: "8080"}, {Address: "a"}, {Address: "a:99999"}, {Address: "a b:80"}, {Address: "::1:80"}, {Address: ":http"}}
		}, []string{
			`listen[0].address: "8080" is not an address | did you mean ":8080"?`,
			`listen[1].address: "a" is not an address | write a host and a port such as 127.0.0.1:8080, or :443 for all addresses`,
			`listen[2].address: "a:99999" is not an address | write a host and a port such as 127.0.0.1:8080, or :443 for all addresses`,
			`listen[3].address: "a b:80" does not name a host | write an IP address, a name, or nothing for all addresses`,
			`listen[4].address: "::1:80" does not name a host | write an IP address, a name, or nothing for all addresses`,
			`listen[5].address: ":http" is not an address | write a host and a port such as 127.0.0.1:8080, or :443 for all addresses`,
		}},
		{func(n *Node) {
			n.Listen = []Listener{{Address: ":80"}, {Address: ":80"}, {Address: "a:0"}, {Address: "a:0"}}
			n.Admin.Address = ":80"
		}, []string{
			`listen[1].address: address :80 belongs to a listener already`, `admin.address: address :80 belongs to a listener already`,
		}},
		{func(n *Node) { n.Admin.Address = "off" }, nil},
		{func(n *Node) { n.Admin.Address = "no" }, []string{`admin.address: "no" is not an address | write a host and a port such as 127.0.0.1:8080, or :443 for all addresses`}},
		{func(n *Node) { n.Admin.Tokens = []string{"token", strings.Repeat("g", 64)} }, []string{
			"admin.tokens[0]: this is not a SHA-256 of 64 hexadecimal digits | make it with `printf %s TOKEN | sha256sum`",
			"admin.tokens[1]: this is not a SHA-256 of 64 hexadecimal digits | make it with `printf %s TOKEN | sha256sum`",
		}},
		{func(n *Node) { n.TLS.Development = false }, []string{`listen[0].tls: a listener with TLS needs a certificate | add tls.certificates, or tls.development: true on your own machine`}},
		{func(n *Node) { n.TLS = TLS{Certificates: []Certificate{{"a", "b"}}} }, nil},
		{func(n *Node) {
			n.Listen = append(n.Listen, Listener{Address: ":8081", ClientCertificates: &ClientCertificates{Authorities: "a"}})
		}, []string{"listen[3].client_certificates: clients show certificates in a handshake of TLS, which this listener has not | add tls: true"}},
		{func(n *Node) { n.Limits.Target = 64 << 10 }, []string{`limits.target: the target is a part of the head, whose limit is 32KiB`}},
		{func(n *Node) { n.Limits = Limits{} }, []string{`limits.head: with a limit of nothing no request gets in`, `limits.target: with a limit of nothing no request gets in`, `limits.body: with a limit of nothing no request gets in`}},
		{func(n *Node) { n.Cache.Memory = 0 }, []string{`cache.memory: the memory for stored answers cannot be nothing | a route without cache stores nothing`}},
		{func(n *Node) { n.AccessLog = "/var/log/selvage.log" }, nil},
		{func(n *Node) { n.AccessLog = "sdterr" }, []string{`access_log: "sdterr" is not a place for the access log | did you mean "stderr"?`}},
		{func(n *Node) { n.FunctionLog = "of" }, []string{`function_log: "of" is not a place for the log of functions | did you mean "off"?`}},
		{func(n *Node) { n.AccessLog = "access.log" }, []string{`access_log: "access.log" is not a place for the access log | write stdout, stderr, off, or a file with its folder such as ./access.log`}},
	} {
		n := validNode()
		c.edit(n)
		compare(t, n.Validate(), c.want...)
	}
}

func TestAProcessIsValidatedWhole(t *testing.T) {
	a, b := validService(), validService()
	b.Service, b.Hosts = "other", []string{"other.example", "shop.example"}
	b.Routes[1].Origin = "wbe"
	c := Config{Node: *validNode(), Services: []Service{*a, *b}}
	c.Node.AccessLog = "x"
	compare(t, c.Validate(),
		`node.access_log: "x" is not a place for the access log | write stdout, stderr, off, or a file with its folder such as ./access.log`,
		`services[1].routes[1].origin: route "api": origin "wbe" is not defined | did you mean "web"?`,
		`services[1].hosts[1]: host "shop.example" belongs to service "shop" already`)
}

func TestProblemsArePrintedWithTheirPlace(t *testing.T) {
	ps := Problems{
		{File: "a.yaml", Line: 3, Column: 5, Message: "it is wrong", Hint: "make it right", Excerpt: "     3 | x: y\n       |     ^"},
		{File: "b.yaml", Message: "there is no such file"},
		{Message: "plain", Hint: "so"},
	}
	want := "a.yaml:3:5: it is wrong\n     3 | x: y\n       |     ^ make it right\nb.yaml: there is no such file\nplain (so)"
	if got := ps.Err().Error(); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestLabelsAreNamesOrMatches(t *testing.T) {
	for want, r := range map[RouteName]Route{
		"search":        {Name: "search", Match: Match{Path: "/s"}},
		"/s":            {Match: Match{Path: "/s"}},
		"GET,POST /s/*": {Match: Match{Path: "/s/*", Methods: []string{"GET", "POST"}}},
	} {
		if got := r.Label(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

func TestNearestFindsWhatWasMeant(t *testing.T) {
	names := []string{"endpoints", "web", "retry", "timeout", "tls"}
	for name, want := range map[string]string{
		"wbe": "web", "endpoint": "endpoints", "Retry": "retry", "retyr": "retry", "tmeout": "timeout", "tsl": "tls",
		"backend": "", "x": "", "": "", "ab": "", strings.Repeat("web", 1000): "",
	} {
		if got := Nearest(name, names); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", name, got, want)
		}
	}
	if got := Nearest("wbe", append(make([]string, 1000), "web")); got != "" {
		t.Errorf("among 1001 names it found %q", got)
	}
}

func TestWeightsAreOfTheOriginsEndpoints(t *testing.T) {
	const a, b = "http://10.0.0.1:8080", "http://web.example"
	for _, c := range []struct {
		weights map[string]int
		want    []string
	}{
		{map[string]int{a: 3, b: 0}, nil},
		{map[string]int{b: 1000}, nil},
		{map[string]int{a + "/": 3}, []string{`key origins.web.weights.` + a + `/: origin "web": endpoint "` + a + `/" is not one of this origin | did you mean "` + a + `"?`}},
		{map[string]int{a: -1, b: 1001}, []string{
			`origins.web.weights.` + a + `: origin "web": a weight is from 0 to 1000, not -1`,
			`origins.web.weights.` + b + `: origin "web": a weight is from 0 to 1000, not 1001`,
		}},
		{map[string]int{a: 0, b: 0}, []string{`origins.web.weights: origin "web": every endpoint has the weight 0 | give one of them some`}},
	} {
		s := validService()
		s.edit("web", func(o *Origin) { o.Weights = c.weights })
		compare(t, s.Validate(), c.want...)
	}
	s := validService()
	s.edit("static", func(o *Origin) { o.Weights = map[string]int{a: 1} })
	compare(t, s.Validate(), `key origins.static.weights: origin "static": a folder has no weights | take it away`)
}
