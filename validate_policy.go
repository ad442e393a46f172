package selvage

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// access checks who may use a route. Hashes are never repeated in a message.
func (c *checker) access(at string, a *Access) {
	if len(a.Allow) == 0 && len(a.Deny) == 0 && a.BasicAuth == nil {
		c.mistake(at, "add allow, deny or basic_auth", "access lets everybody in")
	}
	unique(c, at+".allow", "address", a.Allow)
	unique(c, at+".deny", "address", a.Deny)
	if a.BasicAuth == nil {
		return
	}
	at += ".basic_auth"
	if r := a.BasicAuth.Realm; strings.ContainsAny(r, `"\`) || !all(r, func(r rune) bool { return r >= ' ' && r < 0x7f }) {
		c.mistake(at+".realm", "write printable ASCII without quotes and backslashes", "%q cannot be sent as a realm", r)
	}
	for _, user := range slices.Sorted(maps.Keys(a.BasicAuth.Users)) {
		at := at + ".users." + user
		if user == "" || strings.Contains(user, ":") || !validFieldValue(user) {
			c.keyMistake(at, "write it without a colon and control characters", "%q cannot be a user's name", user)
		}
		c.hash(at, user, a.BasicAuth.Users[user])
	}
}

var bcryptHash = regexp.MustCompile(`^\$2[aby]\$([0-3][0-9])\$[./A-Za-z0-9]{53}$`)

// hash checks the shape of a bcrypt hash. Costs above 14 are refused: each
// request with a wrong password would take the processor for seconds.
func (c *checker) hash(at, user, hash string) {
	m := bcryptHash.FindStringSubmatch(hash)
	switch {
	case m == nil:
		c.mistake(at, "make one with `htpasswd -nB`", "the password of user %q is not a bcrypt hash", user)
	case m[1] < "04" || m[1] > "14":
		c.mistake(at, "make it with a cost from 4 to 14", "the bcrypt hash of user %q has a cost of %s", user, m[1])
	}
}

// cors checks which other sites' pages may use a route.
func (c *checker) cors(at string, p *CORS) {
	unique(c, at+".origins", "origin", p.Origins)
	for i, o := range p.Origins {
		at := fmt.Sprintf("%s.origins[%d]", at, i)
		if o == "*" && p.Credentials {
			c.mistake(at, "name the origins", "credentials cannot be allowed to all origins")
		}
		scheme, host, ok := strings.Cut(o, "://")
		if o != "*" && (!ok || scheme != "http" && scheme != "https" || !validHostPort(strings.TrimPrefix(host, "*."))) {
			c.mistake(at, "write https://app.example, https://*.app.example or *", "%q is not an origin", o)
		}
	}
	c.methods(at+".methods", p.Methods)
	c.fieldNames(at+".headers", p.Headers)
	c.fieldNames(at+".expose", p.Expose)
}

func (c *checker) fieldNames(at string, names []string) {
	for i, n := range names {
		if !validToken(n) {
			c.mistake(fmt.Sprintf("%s[%d]", at, i), "", "%q is not the name of a header field", n)
		}
	}
}

// ownFields are the fields that frame a message, belong to one connection
// (RFC 9110, section 7.6.1) or keep requests from going in circles. They are
// ours to write.
var ownFields = []string{
	"Connection", "Content-Length", "Host", "Http2-Settings", "Keep-Alive", "Proxy-Connection",
	"Te", "Trailer", "Transfer-Encoding", "Upgrade", "Cdn-Loop",
}

// fieldName checks the name of a field that is changed.
func (c *checker) fieldName(at, name string, key bool) {
	report := c.mistake
	if key {
		report = c.keyMistake
	}
	canonical := http.CanonicalHeaderKey(name)
	switch {
	case !validToken(name):
		report(at, "write it without a colon and spaces", "%q is not the name of a header field", name)
	case canonical == "Host":
		report(at, "the origin's host says which Host is sent", "field %q cannot be edited", name)
	case slices.Contains(ownFields, canonical):
		report(at, "it belongs to the connection", "field %q cannot be edited", name)
	}
}

// fields checks names and values of a map of fields.
func (c *checker) fields(at string, fields map[string]string) {
	seen := map[string]bool{}
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		at := at + "." + name
		c.fieldName(at, name, true)
		if canonical := http.CanonicalHeaderKey(name); seen[canonical] {
			c.keyMistake(at, "", "field %q stands here twice", name)
		} else {
			seen[canonical] = true
		}
		if !validFieldValue(fields[name]) {
			c.mistake(at, "", "the value of field %q has control characters, or spaces around it", name)
		}
	}
}

func (c *checker) edits(at string, e *HeaderEdits) {
	for i, name := range e.Remove {
		c.fieldName(fmt.Sprintf("%s.remove[%d]", at, i), name, false)
	}
	c.fields(at+".set", e.Set)
	c.fields(at+".add", e.Add)
}

// ladder checks the failure ladder of a route.
func (c *checker) ladder(at string, r *Route) {
	answered, stale := false, false
	for i := range r.OnFailure {
		rung := &r.OnFailure[i]
		at := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case rung.Stale == (rung.Default != nil):
			c.mistake(at, "write stale, or default with its answer", "a step of the failure ladder has exactly one of stale and default")
		case answered:
			c.mistake(at, "put it before the default answer", "this step is never tried: the default answer before it always answers")
		case rung.Stale && stale:
			c.mistake(at, "", "stale stands here twice")
		case rung.Stale && r.Cache == nil:
			c.mistake(at, "add cache: {}", "stale needs a cache on this route")
		}
		stale = stale || rung.Stale
		answered = answered || rung.Default != nil
		if rung.Default != nil {
			c.answer(at+".default", rung.Default)
		}
	}
}

func (c *checker) answer(at string, a *DefaultAnswer) {
	if a.File != "" && a.Body != "" {
		c.mistake(at, "keep one of them", "the default answer has both a file and a body")
	}
	if s := a.Status; (a.File != "" || a.Body != "") && (s == http.StatusNoContent || s == http.StatusResetContent || s == http.StatusNotModified) {
		c.mistake(at+".status", "take the body away", "an answer of %d has no body", s)
	}
	c.fields(at+".headers", a.Headers)
}
