package selvage

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// cache checks how answers are stored.
func (c *checker) cache(at string, p *Cache) {
	if p.Tags.Header != "" && !validToken(p.Tags.Header) {
		c.mistake(at+".tags.header", "", "%q is not the name of a header field", p.Tags.Header)
	}
	c.ttlStatus(at+".ttl_status", p.TTLStatus)
	unique(c, at+".ignore_request", "directive", p.IgnoreRequest)
	for i, name := range p.IgnoreRequest {
		if !slices.Contains(requestDirectives, name) {
			hint := didYouMean(c, name, slices.Values(requestDirectives))
			if hint == "" {
				hint = "known here: " + strings.Join(requestDirectives, ", ")
			}
			c.mistake(fmt.Sprintf("%s.ignore_request[%d]", at, i), hint, "%q is not a directive of a request", name)
		}
	}
	if p.Key != nil {
		c.cacheKey(at+".key", p.Key)
	}
}

// requestDirectives are those of RFC 9111, section 5.2.1, and RFC 5861, section 4, that a cache acts upon.
var requestDirectives = []string{"max-age", "max-stale", "min-fresh", "no-cache", "no-store", "only-if-cached", "stale-if-error"}

// HeuristicStatuses are the final statuses whose answers may be given a lifetime
// that they do not say themselves (RFC 9110, section 15.1; RFC 9111, section
// 4.2.2). 206 is one of them too: a part is not an answer of its own.
func HeuristicStatuses() []int {
	return []int{200, 203, 204, 300, 301, 308, 404, 405, 410, 414, 451, 501}
}

// StatusClass reads a status such as 404, which is from 404 to 404, or a class
// such as 4xx, from 400 to 499.
func StatusClass(s string) (from, to int, ok bool) {
	if digit, class := strings.CutSuffix(strings.ToLower(s), "xx"); class {
		n, err := strconv.Atoi(digit)
		return n * 100, n*100 + 99, err == nil && len(digit) == 1 && n >= 2 && n <= 5
	}
	n, err := strconv.Atoi(s)
	return n, n, err == nil && len(s) == 3 && n >= 200 && n <= 599
}

func (c *checker) ttlStatus(at string, ttl map[string]Duration) {
	for _, key := range slices.Sorted(maps.Keys(ttl)) {
		from, to, ok := StatusClass(key)
		switch {
		case !ok:
			c.keyMistake(at+"."+key, "write a status such as 404, or a class such as 4xx", "%q is not a status", key)
		case ttl[key] > 0 && !slices.ContainsFunc(HeuristicStatuses(), func(s int) bool { return s >= from && s <= to }):
			c.keyMistake(at+"."+key, "let the application say it in Cache-Control", "answers of %s may not be given a lifetime by others (RFC 9111, section 4.2.2)", key)
		}
	}
}

// The fields that cannot be in a key, and what to do instead.
var notInKeys = map[string]string{
	"Authorization":   "answers to one user are not for others; let the application say which are, with public or s-maxage",
	"Cookie":          "name the cookies under cookies",
	"Host":            "it always is",
	"Accept-Encoding": "it makes no difference to what is stored where the route compresses; an application that codes by itself names it in Vary",
	"Range":           "ranges are cut from the whole",
	"Cache-Control":   "it says how to use the cache, not what is asked for",
	"Pragma":          "it says how to use the cache, not what is asked for",
}

func (c *checker) cacheKey(at string, k *CacheKey) {
	if k.Query != nil {
		c.queryRules(at+".query", k.Query)
	}
	seen := map[string]bool{}
	for i, name := range k.Headers {
		at := fmt.Sprintf("%s.headers[%d]", at, i)
		canonical := http.CanonicalHeaderKey(name)
		hint, refused := notInKeys[canonical]
		switch {
		case !validToken(name):
			c.mistake(at, "", "%q is not the name of a header field", name)
		case refused || strings.HasPrefix(canonical, "If-") || slices.Contains(ownFields, canonical):
			c.mistake(at, hint, "field %q cannot be in a key", name)
		case seen[canonical]:
			c.mistake(at, "", "field %q stands here twice", name)
		}
		seen[canonical] = true
	}
	unique(c, at+".cookies", "cookie", k.Cookies)
	for i, name := range k.Cookies {
		if !validToken(name) {
			c.mistake(fmt.Sprintf("%s.cookies[%d]", at, i), "", "%q is not the name of a cookie", name)
		}
	}
}

func (c *checker) queryRules(at string, q *QueryRules) {
	switch {
	case len(q.Keep) > 0 && len(q.Drop) > 0:
		c.keyMistake(at+".drop", "keep one of them: with keep all others are dropped", "it has both keep and drop")
	case q.Ignore && (len(q.Keep) > 0 || len(q.Drop) > 0 || q.Sort):
		c.keyMistake(at+".ignore", "take it away, or the other rules", "a query that is ignored has no parameters to keep, drop or sort")
	}
	c.parameters(at+".keep", q.Keep)
	c.parameters(at+".drop", q.Drop)
}

// parameters checks names of query parameters.
func (c *checker) parameters(at string, names []string) {
	unique(c, at, "parameter", names)
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case name == "" || !all(name, func(r rune) bool { return r > ' ' && r != 0x7f && r != '&' && r != '=' && r != '#' }):
			c.mistake(at, "write the name alone, decoded", "%q is not the name of a parameter", name)
		case strings.Contains(strings.TrimSuffix(name, "*"), "*"):
			c.mistake(at, "a * stands at the end only", "%q is not a name or the beginning of one", name)
		case name == "*":
			c.mistake(at, "write ignore: true for a query that does not matter", "%q is every parameter", name)
		}
	}
}

// contentCodings are those that answers can be compressed by.
var contentCodings = []string{"br", "zstd", "gzip"}

// compress checks how answers are compressed.
func (c *checker) compress(at string, p *Compress) {
	unique(c, at+".codings", "coding", p.Codings)
	for i, name := range p.Codings {
		if !slices.Contains(contentCodings, name) {
			c.mistake(fmt.Sprintf("%s.codings[%d]", at, i), "write br, zstd or gzip", "%q is not a content coding that is made here", name)
		}
	}
	unique(c, at+".types", "type", p.Types)
	for i, name := range p.Types {
		major, minor, ok := strings.Cut(name, "/")
		if !ok || !validToken(major) || !validToken(minor) || strings.Contains(name, "*") {
			c.mistake(fmt.Sprintf("%s.types[%d]", at, i), "write one such as application/x-protobuf", "%q is not a media type", name)
		}
	}
}
