package policy

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
)

// The fields of the CORS protocol (Fetch Standard, section 3.3), in the form of http.Header's keys.
const (
	allowOrigin      = "Access-Control-Allow-Origin"
	allowCredentials = "Access-Control-Allow-Credentials"
	allowMethods     = "Access-Control-Allow-Methods"
	allowHeaders     = "Access-Control-Allow-Headers"
	exposeHeaders    = "Access-Control-Expose-Headers"
	maxAge           = "Access-Control-Max-Age"
	requestMethod    = "Access-Control-Request-Method"
	requestHeaders   = "Access-Control-Request-Headers"
)

// Preflight is the method that a CORS preflight request asks for; ok is false
// if r is none. Node routes it as that method, since a route for POST alone
// would never see its OPTIONS.
func Preflight(r *http.Request) (method string, ok bool) {
	if r.Method != http.MethodOptions || len(r.Header["Origin"]) != 1 {
		return "", false
	}
	m := r.Header[requestMethod]
	if len(m) != 1 || m[0] == "" {
		return "", false
	}
	return m[0], true
}

// cors is a compiled CORS policy.
type cors struct {
	origins     origins
	credentials bool
	methods     string
	headers     string
	anyHeader   bool // the list has `*`
	expose      string
	maxAge      string
}

// compileCORS answers preflight requests and names the origin in answers to
// those of other sites. A foreign origin's preflight gets 403; one of an
// allowed origin gets the lists, by which the browser decides and says what is wrong.
func compileCORS(_ Scope, rt *selvage.Route) (policy, error) {
	in := rt.CORS
	if in == nil {
		return policy{}, nil
	}
	methods := in.Methods
	if methods == nil {
		methods = []string{"GET", "HEAD", "POST"}
	}
	c := &cors{
		credentials: in.Credentials,
		methods:     strings.Join(methods, ", "),
		headers:     strings.Join(in.Headers, ", "),
		expose:      strings.Join(in.Expose, ", "),
		maxAge:      strconv.FormatInt(int64(in.MaxAge.Std()/time.Second), 10),
	}
	for _, list := range [][]string{methods, in.Headers, in.Expose} {
		for _, name := range list {
			if !isToken(name) {
				return policy{}, selvage.Errorf(selvage.Invalid, "cors: %q is not a name", name)
			}
		}
	}
	for _, name := range in.Headers {
		c.anyHeader = c.anyHeader || name == "*"
	}
	var err error
	if c.origins, err = newOrigins(in.Origins); err != nil {
		return policy{}, err
	}
	if c.origins.all && c.credentials {
		return policy{}, selvage.Errorf(selvage.Invalid, "cors: credentials and origin * do not go together")
	}
	return policy{request: c.request, response: c.response}, nil
}

func (c *cors) request(x *Exchange) *Answer {
	if _, ok := Preflight(x.In); !ok {
		return nil
	}
	x.preflight = true
	if !c.origins.match(x.In.Header["Origin"][0]) {
		a := refuse(x, http.StatusForbidden, "This origin may not use this page from a browser.\n", "cors: origin denied")
		a.Header["Vary"] = []string{"Origin"}
		return a
	}
	h := http.Header{
		allowMethods: {c.methods},
		maxAge:       {c.maxAge},
		"Vary":       {"Origin, " + requestMethod + ", " + requestHeaders},
	}
	c.name(x, h)
	switch asked := x.In.Header[requestHeaders]; {
	case c.anyHeader && c.credentials && len(asked) == 1 && asked[0] != "":
		// With credentials `*` would be a name, so the fields are named.
		h[allowHeaders] = []string{visible(asked[0])}
	case c.headers != "":
		h[allowHeaders] = []string{c.headers}
	}
	return &Answer{Status: http.StatusNoContent, Header: h}
}

func (c *cors) response(x *Exchange, h http.Header) {
	if x.preflight {
		return
	}
	// What the origin says of it is of no account: the route has a policy.
	delete(h, allowOrigin)
	delete(h, allowCredentials)
	delete(h, exposeHeaders)
	if !c.origins.all {
		addVary(h, "Origin")
	}
	if o := x.In.Header["Origin"]; len(o) != 1 || !c.origins.match(o[0]) {
		return
	}
	c.name(x, h)
	if c.expose != "" {
		h[exposeHeaders] = []string{c.expose}
	}
}

// name says that the origin, which was matched, may.
func (c *cors) name(x *Exchange, h http.Header) {
	if c.origins.all {
		h[allowOrigin] = []string{"*"}
		return
	}
	h[allowOrigin] = []string{x.In.Header["Origin"][0]}
	if c.credentials {
		h[allowCredentials] = []string{"true"}
	}
}

// origins is a set of serialised origins.
type origins struct {
	all   bool
	exact map[string]bool
	below []suffix
}

// suffix is `https://*.app.example`: what stands before the star, and after it with the dot.
type suffix struct{ scheme, name string }

func newOrigins(list []string) (origins, error) {
	o := origins{exact: map[string]bool{}}
	for _, s := range list {
		if s == "*" {
			o.all = true
			continue
		}
		clean, ok := cleanOrigin(s)
		if !ok {
			return o, selvage.Errorf(selvage.Invalid, "cors: %q is not an origin: write https://app.example, https://*.app.example or *", s)
		}
		if scheme, name, ok := strings.Cut(clean, "*"); ok {
			o.below = append(o.below, suffix{scheme, name})
		} else {
			o.exact[clean] = true
		}
	}
	return o, nil
}

// cleanOrigin is the origin as a browser serialises it: in small letters,
// without the scheme's own port. A `*` may stand for the first labels.
func cleanOrigin(s string) (string, bool) {
	s = strings.ToLower(s)
	if s == "null" {
		return s, true
	}
	scheme, host, ok := strings.Cut(s, "://")
	if !ok || scheme == "" || host == "" || !isToken(scheme) {
		return "", false
	}
	switch scheme {
	case "https":
		host = strings.TrimSuffix(host, ":443")
	case "http":
		host = strings.TrimSuffix(host, ":80")
	}
	name := strings.TrimPrefix(host, "*.")
	if name == "" || !onlyHostBytes(name) {
		return "", false
	}
	return scheme + "://" + host, true
}

// match says whether a page of origin may. It is compared byte for byte: a
// browser writes an origin in one way only.
func (o *origins) match(origin string) bool {
	if o.all || o.exact[origin] {
		return true
	}
	for _, b := range o.below {
		rest, ok := strings.CutPrefix(origin, b.scheme)
		if !ok {
			continue
		}
		labels, ok := strings.CutSuffix(rest, b.name)
		if ok && labels != "" && labels[0] != '.' && onlyHostBytes(labels) && strings.IndexByte(labels, ':') < 0 {
			return true
		}
	}
	return false
}

// onlyHostBytes says whether s could be a part of a host and a port.
func onlyHostBytes(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLetterOrDigit(c) && c != '.' && c != '-' && c != '_' && c != ':' && c != '[' && c != ']' {
			return false
		}
	}
	return true
}

// addVary adds a field name to Vary unless it is there already or `*` is.
func addVary(h http.Header, name string) {
	values := h["Vary"]
	for _, v := range values {
		for token := range strings.SplitSeq(v, ",") {
			if token = strings.TrimSpace(token); token == "*" || strings.EqualFold(token, name) {
				return
			}
		}
	}
	all := strings.Join(values, ", ")
	if all != "" {
		all += ", "
	}
	h["Vary"] = []string{all + name}
}

// visible is s without anything that could end a header field.
func visible(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return -1
		}
		return r
	}, s)
}
