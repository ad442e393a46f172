package policy

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// A template is text with $1 to $8, $host and $path in it.
type template []piece

type piece struct {
	kind kind
	text string // of a literal
	n    int    // of a capture, from 0
}

type kind uint8

const (
	literal kind = iota
	capture
	host
	path
)

var words = map[string]kind{"host": host, "path": path}

// newTemplate reads a template for a match with as many captures.
func newTemplate(s string, captures int) (template, error) {
	var t template
	for s != "" {
		i := strings.IndexByte(s, '$')
		if i < 0 {
			i = len(s)
		}
		if i > 0 {
			t = append(t, piece{kind: literal, text: s[:i]})
		}
		if s = s[i:]; s == "" {
			break
		}
		end := 1
		for end < len(s) && ('0' <= s[end] && s[end] <= '9' || 'a' <= s[end] && s[end] <= 'z' || s[end] == '_') {
			end++
		}
		word := s[1:end]
		if n, err := strconv.Atoi(strings.TrimRight(word, "abcdefghijklmnopqrstuvwxyz_")); err == nil {
			if n < 1 || n > captures {
				return nil, selvage.Errorf(selvage.Invalid, "$%d: the match has %d of *", n, captures)
			}
			word = strconv.Itoa(n)
			t = append(t, piece{kind: capture, n: n - 1})
		} else if k, ok := words[word]; ok {
			t = append(t, piece{kind: k})
		} else {
			return nil, selvage.Errorf(selvage.Invalid, "%q: after $ comes a number, host or path; write %%24 for the character", s)
		}
		s = s[1+len(word):]
	}
	return t, nil
}

// captures is how many `*` a route's path has.
func captures(rt *selvage.Route) int {
	n := 0
	for s := range strings.SplitSeq(rt.Match.Path, "/") {
		if s == "*" {
			n++
		}
	}
	return min(n, MaxCaptures)
}

// value is what a piece stands for, as the client sent it.
func (p piece) value(x *Exchange) string {
	switch p.kind {
	case capture:
		return x.Captures[p.n]
	case host:
		return hostname(x.In)
	case path:
		return x.Path
	}
	return p.text
}

// hostname is the request's host without the port.
func hostname(r *http.Request) string {
	h := r.Host
	if i := strings.LastIndexByte(h, ':'); i >= 0 && strings.IndexByte(h[i:], ']') < 0 {
		return h[:i]
	}
	return h
}

// Bytes that may stand as they are in the parts of a URL. A % stays, because
// what the client sent is percent-encoded already.
const (
	pathBytes  = "%/-._~!$&'()*+,;=:@[]"
	queryBytes = pathBytes + "?"
	valueBytes = "%/-._~!$'()*,:@?" // in a query, where & = + ; divide
)

// expand appends the template; what is not its own text is escaped unless its bytes are safe.
func (t template) expand(b []byte, x *Exchange, safe string) []byte {
	for _, p := range t {
		if p.kind == literal {
			b = append(b, p.text...)
		} else {
			b = escape(b, p.value(x), safe)
		}
	}
	return b
}

// escape appends s with every byte percent-encoded that is neither a letter, a digit nor safe.
func escape(b []byte, s, safe string) []byte {
	const digits = "0123456789ABCDEF"
	for i := range len(s) {
		c := s[i]
		if isLetterOrDigit(c) || c < 0x80 && strings.IndexByte(safe, c) >= 0 {
			b = append(b, c)
		} else {
			b = append(b, '%', digits[c>>4], digits[c&15])
		}
	}
	return b
}

// checkLiterals refuses own text that could not stand in a URL.
func (t template) checkLiterals() error {
	for _, p := range t {
		for i := range len(p.text) {
			if c := p.text[i]; c <= ' ' || c >= 0x7f || strings.IndexByte("\"<>\\^`{|}", c) >= 0 {
				return selvage.Errorf(selvage.Invalid, "%q: percent-encode the byte %q", p.text, c)
			}
		}
	}
	return nil
}

// rooted says whether every expansion begins with a slash.
func (t template) rooted() bool {
	return len(t) > 0 && (t[0].kind == path || strings.HasPrefix(t[0].text, "/"))
}
