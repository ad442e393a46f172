package selvage

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// Validate finds what is wrong with a service beyond the form of its file:
// names that are not defined, patterns that cannot match, settings that
// contradict each other. Paths are those of the file, such as routes[2].origin.
func (s *Service) Validate() Problems {
	var c checker
	c.name("service", "service", string(s.Service))
	c.hosts("hosts", s.Hosts)
	if (s.TLS.Certificate == "") != (s.TLS.Key == "") {
		c.mistake("certificate", "add the other one", "a certificate and its key go together")
	}
	if p99 := s.Objectives.Latency.P99; p99 != 0 && p99.Std() < time.Millisecond {
		c.mistake("objectives.latency.p99", "write at least 1ms", "an answer within %s cannot be measured", p99)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Origins)) {
		o := s.Origins[name]
		at := "origins." + string(name)
		if !validName(string(name)) {
			c.keyMistake(at, "write lower-case letters, digits and hyphens, at most 63", "origin %q is not a name", name)
		}
		c.subject = fmt.Sprintf("origin %q: ", name)
		c.origin(at, s, &o)
		c.subject = ""
	}
	c.clientCookie(s)
	c.functions(s)
	c.routes(s)
	return c.problems
}

// What a client's cookie may last: browsers cut longer lives to 400 days.
const (
	minCookieAge = time.Minute
	maxCookieAge = 400 * 24 * time.Hour
)

// clientCookie checks the cookie by which clients are told apart. It tells no
// answers apart: it is gone before keys are made.
func (c *checker) clientCookie(s *Service) {
	cookie := s.ClientCookie
	if cookie == nil {
		return
	}
	if !validToken(cookie.Name) {
		c.mistake("client_cookie.name", "write letters, digits and hyphens", "%q is not a name of a cookie", cookie.Name)
	}
	if age := cookie.MaxAge.Std(); age < minCookieAge || age > maxCookieAge {
		c.mistake("client_cookie.max_age", "write 1m to 9600h", "a cookie for %s is not kept", cookie.MaxAge)
	}
	for i := range s.Routes {
		if r := &s.Routes[i]; r.Cache != nil && r.Cache.Key != nil && slices.Contains(r.Cache.Key.Cookies, cookie.Name) {
			c.mistake(fmt.Sprintf("routes[%d].cache.key.cookies", i), "leave it out",
				"%q is the cookie of client_cookie, by which no answers are told apart", cookie.Name)
		}
	}
}

// hosts checks the host names of a service or of a match.
func (c *checker) hosts(at string, hosts []string) {
	unique(c, at, "host", hosts)
	for i, h := range hosts {
		if h == "*" || validHost(strings.TrimPrefix(h, "*.")) {
			continue
		}
		c.mistake(fmt.Sprintf("%s[%d]", at, i), hostHint(h), "%q is not a host name", h)
	}
}

// hostHint says what to write instead of a host that is none.
func hostHint(h string) string {
	if host, _, ok := strings.Cut(h, "://"); ok && validToken(host) {
		return "write the host name alone, without a scheme"
	}
	if host, port, ok := cutPort(h); ok && validPort(port, 0) && validHost(host) {
		return fmt.Sprintf("leave the port out: %q", host)
	}
	if lower := strings.TrimSuffix(strings.ToLower(h), "."); lower != h && validHost(strings.TrimPrefix(lower, "*.")) {
		return fmt.Sprintf("did you mean %q?", lower)
	}
	if strings.Contains(h, "*") {
		return "a wildcard is * alone, or *. before a name"
	}
	if !all(h, func(r rune) bool { return r < 0x80 }) {
		return "write the name as DNS has it, with xn--"
	}
	return "write a name such as shop.example, in lower case and without a port"
}

// hostSet is host patterns, to be asked whether they cover another one.
type hostSet map[string]bool

func newHostSet(hosts []string) hostSet {
	set := hostSet{}
	for _, h := range hosts {
		set[h] = true
	}
	return set
}

// covers says that every host that a pattern matches, one of the set matches too.
func (set hostSet) covers(h string) bool {
	if set["*"] || set[h] {
		return true
	}
	rest := strings.TrimPrefix(h, "*")
	for i := range rest {
		if i > 0 && rest[i] == '.' && set["*"+rest[i:]] {
			return true
		}
	}
	return false
}

// Label is how the route is called in logs, metrics and messages: its name, or
// the methods and the path of its match.
func (r *Route) Label() RouteName {
	if r.Name != "" {
		return r.Name
	}
	if len(r.Match.Methods) == 0 {
		return RouteName(r.Match.Path)
	}
	return RouteName(strings.Join(r.Match.Methods, ",") + " " + r.Match.Path)
}

// routes checks every route, and all of them together.
func (c *checker) routes(s *Service) {
	names, seen := map[RouteName]bool{}, reach{}
	hosts := newHostSet(s.Hosts)
	for i := range s.Routes {
		r := &s.Routes[i]
		at := fmt.Sprintf("routes[%d]", i)
		c.subject = fmt.Sprintf("route %q: ", r.Label())
		if r.Name != "" {
			if names[r.Name] {
				c.mistake(at+".name", "", "another route has this name too")
			}
			names[r.Name] = true
			if !validFieldValue(string(r.Name)) || len(r.Name) > 128 {
				c.mistake(at+".name", "write at most 128 printable characters", "%q is not a name", r.Name)
			}
		}
		c.match(at+".match", s, hosts, &r.Match)
		c.target(at, s, r)
		c.policies(at, r)
		if earlier := seen.takesAllOf(r); earlier != nil {
			c.mistake(at+".match", "put it before that one",
				"it can never match, because route %q takes all its requests", earlier.Label())
		}
		seen.add(r)
	}
	c.subject = ""
}

// target checks where a route ends: a redirect, a function or an origin.
func (c *checker) target(at string, s *Service, r *Route) {
	switch {
	case r.Redirect != nil && r.Origin != "":
		c.keyMistake(at+".redirect", "keep one of them", "it has both a redirect and an origin")
	case r.Redirect != nil && r.Function != "":
		c.keyMistake(at+".redirect", "keep one of them", "it has both a redirect and a function")
	case r.Redirect == nil && r.Origin == "" && r.Function == "":
		c.mistake(at, "add origin, function or redirect", "it has neither an origin nor a redirect")
	case r.Redirect != nil:
		c.redirect(at+".redirect", r)
	default:
		if r.Origin != "" {
			c.defined(at+".origin", s, r.Origin)
		}
		if _, ok := s.Functions[r.Function]; !ok && r.Function != "" {
			c.mistake(at+".function", didYouMean(c, r.Function, maps.Keys(s.Functions)), "function %q is not defined", r.Function)
		}
	}
	if r.Rewrite != nil && r.Redirect == nil {
		c.rewrite(at+".rewrite", r)
	}
}

// policies checks what is done to a route's requests and answers.
func (c *checker) policies(at string, r *Route) {
	if r.Access != nil {
		c.access(at+".access", r.Access)
	}
	if r.CORS != nil {
		c.cors(at+".cors", r.CORS)
	}
	if r.Limit != nil {
		if name, ok := r.Limit.Per.Header(); ok && !validToken(name) {
			c.mistake(at+".limit.per", "write header: and the field's name", "%q does not name a header field", r.Limit.Per)
		}
	}
	c.edits(at+".headers.request", &r.Headers.Request)
	c.edits(at+".headers.response", &r.Headers.Response)
	if r.Cache != nil {
		c.cache(at+".cache", r.Cache)
	}
	if r.Compress != nil {
		c.compress(at+".compress", r.Compress)
	}
	c.ladder(at+".on_failure", r)
	if r.Redirect != nil && r.Origin == "" && r.Function == "" {
		c.idle(at, "rewrite", r.Rewrite != nil)
		c.idle(at, "cache", r.Cache != nil)
		c.idle(at, "compress", r.Compress != nil)
		c.idle(at, "on_failure", len(r.OnFailure) > 0)
	}
}

// idle reports a setting of a redirect that only a route with an origin has.
func (c *checker) idle(at, key string, set bool) {
	if set {
		c.keyMistake(at+"."+key, "take it away", "%s has no use beside a redirect", key)
	}
}
