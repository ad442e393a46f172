package selvage

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// match checks a pattern of requests against itself and its service's hosts.
func (c *checker) match(at string, s *Service, hosts hostSet, m *Match) {
	c.hosts(at+".hosts", m.Hosts)
	for i, h := range m.Hosts {
		if len(hosts) > 0 && !hosts.covers(h) {
			c.mistake(fmt.Sprintf("%s.hosts[%d]", at, i), didYouMean(c, h, slices.Values(s.Hosts)), "host %q is not one of the service's hosts", h)
		}
	}
	if m.Path != "" {
		c.pattern(at+".path", m.Path)
	}
	c.methods(at+".methods", m.Methods)
}

func (c *checker) methods(at string, methods []string) {
	unique(c, at, "method", methods)
	for i, m := range methods {
		if !validToken(m) || m != strings.ToUpper(m) {
			hint := "write a method such as GET or POST"
			if upper := strings.ToUpper(m); validToken(m) {
				hint = fmt.Sprintf("did you mean %q?", upper)
			}
			c.mistake(fmt.Sprintf("%s[%d]", at, i), hint, "%q is not a method", m)
		}
	}
}

// maxCaptures is how many * a path may have: a match keeps what they took in a fixed space.
const maxCaptures = 8

// pattern checks the path of a match.
func (c *checker) pattern(at, p string) {
	c.path(at, p)
	if n := captures(p); n > maxCaptures {
		c.mistake(at, "", "path %q has %d of *, the most is %d", p, n, maxCaptures)
	}
	for seg := range strings.SplitSeq(p, "/") {
		if seg != "*" && strings.Contains(seg, "*") {
			c.mistake(at, "write /* for a whole segment, or %2A for the character", "in %q a * is only a part of a segment", p)
			return
		}
	}
}

// path checks a path that stands in a request or is sent in one.
func (c *checker) path(at, p string) bool {
	switch {
	case !strings.HasPrefix(p, "/"):
		c.mistake(at, fmt.Sprintf("did you mean %q?", "/"+p), "path %q does not begin with a slash", p)
	case strings.Contains(p, "?"):
		c.mistake(at, "only the path is matched; %3F is the character", "path %q has a query", p)
	case strings.Contains(p, "#"):
		c.mistake(at, "it never reaches a server; %23 is the character", "path %q has a fragment", p)
	case !visible(p):
		c.mistake(at, fmt.Sprintf("did you mean %q?", (&url.URL{Path: p}).EscapedPath()), "path %q has characters that must be percent-encoded", p)
	case strings.Contains(p, "%00"):
		c.mistake(at, "", "path %q has a NUL, and no request may", p)
	case dotSegment(p):
		c.mistake(at, "requests are matched without them", "path %q has a . or .. segment", p)
	default:
		return true
	}
	return false
}

// captures is how many parts of a path a pattern takes.
func captures(pattern string) int {
	n := 0
	for seg := range strings.SplitSeq(pattern, "/") {
		if seg == "*" {
			n++
		}
	}
	return n
}

// fill checks the $ words of a template and puts examples in their place, so
// that what is left can be checked as a path or a URL.
func (c *checker) fill(at, template string, n int, words map[string]string) (filled string, ok bool) {
	var b strings.Builder
	rest := template
	for {
		before, after, found := strings.Cut(rest, "$")
		b.WriteString(before)
		if !found {
			return b.String(), true
		}
		end := strings.IndexFunc(after, func(r rune) bool { return r < '0' || r > '9' })
		if end < 0 {
			end = len(after)
		}
		if end > 0 {
			if i, err := strconv.Atoi(after[:end]); err != nil || i < 1 || i > n {
				c.mistake(at, "$1 is what the first * of the match takes", "%q uses $%s, but the match has %d of *", template, after[:end], n)
				return "", false
			}
			b.WriteString("x")
			rest = after[end:]
			continue
		}
		word := after
		if end := strings.IndexFunc(after, func(r rune) bool { return (r < 'a' || r > 'z') && r != '_' }); end >= 0 {
			word = after[:end]
		}
		if words[word] == "" {
			c.mistake(at, "write %24 for the character", "%q has a $ that stands for nothing", template)
			return "", false
		}
		b.WriteString(words[word])
		rest = after[len(word):]
	}
}

// redirect checks the address that is answered.
func (c *checker) redirect(at string, r *Route) {
	to := r.Redirect.To
	at += ".to"
	if to == "" {
		return
	}
	filled, ok := c.fill(at, to, captures(r.Match.Path), map[string]string{"host": "host.example", "path": "/path"})
	if !ok {
		return
	}
	scheme, rest, absolute := strings.Cut(filled, "://")
	switch {
	case !visible(filled):
		c.mistake(at, "", "address %q has characters that must be percent-encoded", to)
	case strings.HasPrefix(filled, "/") && !strings.HasPrefix(filled, "//"):
		if path := filled[:min(len(filled), strings.IndexAny(filled+"?", "?#"))]; dotSegment(path) {
			c.mistake(at, "", "address %q has a . or .. segment", to)
		}
	case !absolute || scheme != "http" && scheme != "https":
		c.mistake(at, "write a path, or a URL with http or https", "address %q is neither a path nor a URL", to)
	default:
		host := rest[:strings.IndexAny(rest+"/", "/?#")]
		if !validHostPort(host) {
			c.mistake(at, "", "address %q has no valid host", to)
		} else if i := strings.Index(to, "://") + 3; strings.Contains(strings.ReplaceAll(authority(to[i:]), "$host", ""), "$") {
			c.mistake(at, "write the host out, or $host", "address %q lets whoever asks choose the host", to)
		}
	}
}

// authority is what stands before the path of a template without its scheme.
func authority(s string) string {
	if i := strings.Index(s, "$path"); i >= 0 {
		s = s[:i]
	}
	return s[:strings.IndexAny(s+"/", "/?#")]
}

// rewrite checks how the path is changed.
func (c *checker) rewrite(at string, r *Route) {
	w := r.Rewrite
	switch {
	case w.StripPrefix != "" && w.Path != "":
		c.mistake(at, "keep one of them", "it has both strip_prefix and path")
	case w.StripPrefix == "" && w.Path == "":
		c.mistake(at, "add strip_prefix or path", "rewrite changes nothing")
	case w.Path != "":
		if filled, ok := c.fill(at+".path", w.Path, captures(r.Match.Path), nil); ok && c.path(at+".path", filled) && strings.Contains(filled, "*") {
			c.mistake(at+".path", "write $1 for what the first * of the match took", "path %q has a *", w.Path)
		}
	default:
		c.stripPrefix(at+".strip_prefix", w.StripPrefix, r.Match.Path)
	}
}

func (c *checker) stripPrefix(at, prefix, pattern string) {
	if !c.path(at, prefix) {
		return
	}
	if strings.Contains(prefix, "*") {
		c.mistake(at, "", "prefix %q has a *", prefix)
		return
	}
	have := strings.Split(pattern, "/")
	for i, seg := range strings.Split(strings.TrimSuffix(prefix, "/"), "/") {
		if i < len(have) && have[i] == "*" && i == len(have)-1 {
			return
		}
		if i >= len(have) || have[i] != "*" && have[i] != seg {
			c.mistake(at, "", "no path that matches %q begins with %q", pattern, prefix)
			return
		}
	}
}
