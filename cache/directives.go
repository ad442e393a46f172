package cache

import (
	"iter"
	"strings"
	"time"
)

// maxDelta is the greatest number of seconds the cache reckons with: RFC 9111,
// section 1.2.2, names 2^31, and sums of a few of them stay within an int64 of nanoseconds.
const maxDelta = (1 << 31) * time.Second

// delta is a number of seconds that a directive may carry.
type delta struct {
	d   time.Duration
	set bool
}

// agree notes one more value. Two that differ make the safe one, zero: RFC
// 9111, section 4.2.1, lets such an answer be considered stale.
func (v *delta) agree(d time.Duration) {
	if v.set && v.d != d {
		d = 0
	}
	*v = delta{d, true}
}

// answerDirectives are the directives of an answer (RFC 9111, section 5.2.2,
// and RFC 5861). Odd forms have been read to the safe side: a number that is
// none is 0, private and no-cache with field names are as without, a field that
// does not parse is malformed, which forbids storing.
type answerDirectives struct {
	noStore, noCache, private, public               bool
	mustRevalidate, proxyRevalidate, mustUnderstand bool
	immutable                                       bool
	malformed                                       bool
	targeted                                        bool // they are from a targeted field, and Expires does not count
	maxAge, sharedMaxAge                            delta
	staleWhileRevalidate, staleIfError              delta
}

// readAnswerDirectives reads the lines of an answer's Cache-Control.
func readAnswerDirectives(lines []string) (d answerDirectives) {
	for p := range directives(lines) {
		if v := d.number(p.name); v != nil {
			v.agree(p.seconds())
		} else if b := d.word(p.name); b != nil {
			*b = true
		}
		d.malformed = d.malformed || p.malformed
	}
	return d
}

// word is the directive of that name among those without a number, nil for all others.
func (d *answerDirectives) word(name string) *bool {
	switch name {
	case "no-store":
		return &d.noStore
	case "no-cache":
		return &d.noCache
	case "private":
		return &d.private
	case "public":
		return &d.public
	case "must-revalidate":
		return &d.mustRevalidate
	case "proxy-revalidate":
		return &d.proxyRevalidate
	case "must-understand":
		return &d.mustUnderstand
	case "immutable":
		return &d.immutable
	}
	return nil
}

// number is the directive of that name among those with a number, nil for all others.
func (d *answerDirectives) number(name string) *delta {
	switch name {
	case "max-age":
		return &d.maxAge
	case "s-maxage":
		return &d.sharedMaxAge
	case "stale-while-revalidate":
		return &d.staleWhileRevalidate
	case "stale-if-error":
		return &d.staleIfError
	}
	return nil
}

// requestDirectives are the directives of a request (RFC 9111, section 5.2.1, and RFC 5861, section 4).
// Odd forms have been read so that the origin is asked rather than not.
type requestDirectives struct {
	noStore, noCache, onlyIfCached bool
	maxAge, minFresh, maxStale     delta
	staleIfError                   delta
}

// readRequestDirectives reads the lines of a request's Cache-Control.
func readRequestDirectives(lines []string) (d requestDirectives) {
	for p := range directives(lines) {
		switch p.name {
		case "no-store":
			d.noStore = true
		case "no-cache":
			d.noCache = true
		case "only-if-cached":
			d.onlyIfCached = true
		case "max-age":
			d.maxAge.agree(p.seconds())
		case "stale-if-error":
			d.staleIfError.agree(p.seconds())
		case "min-fresh":
			v, ok := parseSeconds(p.arg)
			if !ok {
				v = maxDelta
			}
			d.minFresh = delta{max(v, d.minFresh.d), true}
		case "max-stale":
			switch v, ok := parseSeconds(p.arg); {
			case !p.hasArg:
				d.maxStale.agree(maxDelta)
			case ok:
				d.maxStale.agree(v)
			}
		}
		d.noCache = d.noCache || p.malformed
	}
	return d
}

// ignored are the directives of requests that a policy does not honour. That is
// allowed (RFC 9111, section 5.2.1: they are advice), and protects an origin from
// those who reload.
type ignored struct {
	noStore, noCache, onlyIfCached, maxAge, minFresh, maxStale, staleIfError bool
}

// readIgnored reads the names of directives. Validation lets no others through.
func readIgnored(names []string) (i ignored) {
	for _, name := range names {
		switch name {
		case "no-store":
			i.noStore = true
		case "no-cache":
			i.noCache = true
		case "only-if-cached":
			i.onlyIfCached = true
		case "max-age":
			i.maxAge = true
		case "min-fresh":
			i.minFresh = true
		case "max-stale":
			i.maxStale = true
		case "stale-if-error":
			i.staleIfError = true
		}
	}
	return i
}

// without is what is left of the directives.
func (d requestDirectives) without(i ignored) requestDirectives {
	d.noStore = d.noStore && !i.noStore
	d.noCache = d.noCache && !i.noCache
	d.onlyIfCached = d.onlyIfCached && !i.onlyIfCached
	if i.maxAge {
		d.maxAge = delta{}
	}
	if i.minFresh {
		d.minFresh = delta{}
	}
	if i.maxStale {
		d.maxStale = delta{}
	}
	if i.staleIfError {
		d.staleIfError = delta{}
	}
	return d
}

// directive is one member of a Cache-Control field.
type directive struct {
	name      string // in lower case
	arg       string // without its quotes
	hasArg    bool
	malformed bool // the member is neither a token, nor token=token, nor token="…"
}

// seconds is the argument as delta-seconds, 0 where it is none.
func (d directive) seconds() time.Duration {
	v, _ := parseSeconds(d.arg)
	return v
}

// directives walks through the members of the lines. A quoted string may hold
// commas. A line that ends within one yields a malformed member.
func directives(lines []string) iter.Seq[directive] {
	return func(yield func(directive) bool) {
		for _, line := range lines {
			for line != "" {
				var d directive
				if d, line = nextDirective(line); d != (directive{}) && !yield(d) {
					return
				}
			}
		}
	}
}

// nextDirective cuts the first member off a line. An empty one is the zero directive.
func nextDirective(line string) (d directive, rest string) {
	line = strings.TrimLeft(line, " \t")
	end := 0
	for end < len(line) && isToken(line[end]) {
		end++
	}
	d.name = strings.ToLower(line[:end])
	line = line[end:]
	if strings.HasPrefix(line, `="`) {
		d.hasArg = true
		var ok bool
		if d.arg, line, ok = cutQuoted(line[1:]); !ok {
			d.malformed = true
			return d, ""
		}
	} else if strings.HasPrefix(line, "=") {
		d.hasArg = true
		end := 1
		for end < len(line) && isToken(line[end]) {
			end++
		}
		d.arg, line = line[1:end], line[end:]
		d.malformed = d.arg == "" && !isDelta(d.name)
	}
	tail, rest, _ := strings.Cut(line, ",")
	if tail = strings.Trim(tail, " \t"); tail != "" || d.name == "" && d.hasArg {
		// Something stands where a comma should: what it was meant to say is
		// anybody's guess, and its argument is not to be believed either.
		d.malformed, d.arg = true, ""
	}
	return d, rest
}

// isDelta says whether the directive has a number, so that an empty one is a
// wrong number and not a wrong member.
func isDelta(name string) bool {
	switch name {
	case "max-age", "s-maxage", "stale-while-revalidate", "stale-if-error", "min-fresh", "max-stale":
		return true
	}
	return false
}

// cutQuoted cuts a quoted-string off the front of s, which begins with its quote.
func cutQuoted(s string) (content, rest string, ok bool) {
	escaped := false
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			escaped = true
			i++
		case '"':
			content = s[1:i]
			if escaped {
				content = unescape(content)
			}
			return content, s[i+1:], true
		}
	}
	return "", "", false
}

func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// parseSeconds reads delta-seconds (RFC 9111, section 1.2.2): digits and
// nothing else. What is too large is maxDelta.
func parseSeconds(s string) (d time.Duration, ok bool) {
	if s == "" {
		return 0, false
	}
	var n int64
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = min(n*10+int64(s[i]-'0'), int64(maxDelta/time.Second))
	}
	return time.Duration(n) * time.Second, true
}

// isToken says whether c may stand in a token (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' ||
		strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}
