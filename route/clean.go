package route

import (
	"errors"
	"net/url"
	"strings"
)

// What Clean refuses. The answer to each is 400.
var (
	errForm      = errors.New("clean path: it does not begin with a slash")
	errEscape    = errors.New("clean path: invalid percent-encoding")
	errNUL       = errors.New("clean path: a NUL byte")
	errBackslash = errors.New("clean path: a backslash")
	errHidden    = errors.New("clean path: a dot segment that only some see")
	errByte      = errors.New("clean path: a byte that no path has")
)

// What a byte means in a path.
const (
	foreign    = iota // no path has it as it is: it is percent-encoded
	unreserved        // RFC 3986, section 2.3: never percent-encoded
	plain             // kept as it came, encoded or not
	escape            // %
	refused           // space, controls, #, backslash
)

var classes = func() (t [256]byte) {
	for c := range t {
		switch {
		case c <= ' ' || c == 0x7f || c == '#' || c == '\\':
			t[c] = refused
		case 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9':
			t[c] = unreserved
		case strings.IndexByte("-._~", byte(c)) >= 0:
			t[c] = unreserved
		case strings.IndexByte("/!$&'()*+,;=:@[]", byte(c)) >= 0:
			t[c] = plain
		case c == '%':
			t[c] = escape
		}
	}
	return t
}()

// Clean normalises the path of a request target in origin-form, with or
// without a query, so that the edge and the origin see the same path (RFC
// 3986, section 6.2.2): escapes of unreserved characters are decoded, all
// others get capital digits, bytes that no path may hold get one, and then dot
// segments are removed. An encoded slash stays encoded, `//` stays, the query
// is not touched.
//
// It refuses what two servers read in two ways: an invalid escape, NUL, a
// backslash, a raw space or control character, a fragment; and a dot segment
// for those who decode %2F and %5C before they remove dots, or take away what
// follows a semicolon, as in `/a/..%2Fb` and `/a/..;/b`. A target that is clean
// already is returned as it is, without an allocation. The target `*` is clean.
func Clean(target string) (string, error) {
	if target == "*" {
		return target, nil
	}
	if target == "" || target[0] != '/' {
		return "", errForm
	}
	end := strings.IndexByte(target, '?')
	if end < 0 {
		end = len(target)
	}
	path := target[:end]
	clean, err := isClean(path)
	if clean || err != nil {
		return target, err
	}
	b, err := normalise(make([]byte, 0, len(target)+16), path)
	if err != nil {
		return "", err
	}
	if hidesAnyDot(b) {
		return "", errHidden
	}
	return string(removeDots(b)) + target[end:], nil
}

// isClean says whether there is nothing to do. It reports the first byte that
// must be refused, but only what stands before the first thing to do.
func isClean(path string) (bool, error) {
	for i := 0; i < len(path); i++ {
		switch c := path[i]; classes[c] {
		case plain:
			if c == '/' && (isDot(path[i+1:]) || hidesDot(path[i+1:], false)) {
				return false, nil
			}
		case foreign:
			return false, nil
		case refused:
			return false, refusal(c)
		case escape:
			c, ok := unhex(path[i:])
			switch {
			case !ok:
				return false, errEscape
			case c == 0:
				return false, errNUL
			case classes[c] == unreserved || lower(path[i+1]) || lower(path[i+2]):
				return false, nil
			case isSlash(c) && hidesDot(path[i+3:], true):
				return false, errHidden
			}
			i += 2
		}
	}
	return true, nil
}

// isDot says whether s begins with a segment that is `.` or `..`.
func isDot(s string) bool {
	if s == "" || s[0] != '.' {
		return false
	}
	s = strings.TrimPrefix(s[1:], ".")
	return s == "" || s[0] == '/'
}

// hidesDot says whether s begins with a segment that is a dot segment for some
// only: one that ends with an encoded slash or a semicolon, or, if it began
// behind an encoded slash, any.
func hidesDot[T ~string | ~[]byte](s T, hidden bool) bool {
	if len(s) == 0 || s[0] != '.' {
		return false
	}
	n := 1
	if len(s) > n && s[n] == '.' {
		n++
	}
	switch {
	case len(s) == n || s[n] == '/':
		return hidden
	case s[n] == ';':
		return true
	case s[n] != '%' || len(s) < n+3:
		return false
	}
	hi, ok1 := digit(s[n+1])
	lo, ok2 := digit(s[n+2])
	return ok1 && ok2 && isSlash(hi<<4|lo)
}

func isSlash(c byte) bool { return c == '/' || c == '\\' }

// hidesAnyDot looks at all segments of a path whose escapes are in their one form.
func hidesAnyDot(b []byte) bool {
	for i, c := range b {
		switch {
		case c == '/':
			if hidesDot(b[i+1:], false) {
				return true
			}
		case c == '%' && len(b) >= i+3:
			if hex := string(b[i+1 : i+3]); (hex == "2F" || hex == "5C") && hidesDot(b[i+3:], true) {
				return true
			}
		}
	}
	return false
}

// normalise appends path with its escapes in their one form.
func normalise(b []byte, path string) ([]byte, error) {
	const digits = "0123456789ABCDEF"
	for i := 0; i < len(path); i++ {
		c := path[i]
		switch classes[c] {
		case unreserved, plain:
			b = append(b, c)
			continue
		case refused:
			return nil, refusal(c)
		case escape:
			var ok bool
			if c, ok = unhex(path[i:]); !ok {
				return nil, errEscape
			}
			if c == 0 {
				return nil, errNUL
			}
			i += 2
			if classes[c] == unreserved {
				b = append(b, c)
				continue
			}
		}
		b = append(b, '%', digits[c>>4], digits[c&15])
	}
	return b, nil
}

// removeDots takes the dot segments out of b, in place (RFC 3986, section 5.2.4).
func removeDots(b []byte) []byte {
	out := b[:0]
	for rest := b; len(rest) > 0; {
		end := 1
		for end < len(rest) && rest[end] != '/' {
			end++
		}
		segment, last := rest[:end], end == len(rest) // with its slash
		rest = rest[end:]
		switch string(segment) {
		case "/.":
		case "/..":
			for n := len(out); n > 0; n = len(out) {
				out = out[:n-1]
				if b[n-1] == '/' {
					break
				}
			}
		default:
			out = append(out, segment...)
			continue
		}
		if last {
			out = append(out, '/')
		}
	}
	return out
}

func refusal(c byte) error {
	switch c {
	case 0:
		return errNUL
	case '\\':
		return errBackslash
	}
	return errByte
}

// unhex reads the escape at the beginning of s.
func unhex(s string) (byte, bool) {
	if len(s) < 3 {
		return 0, false
	}
	hi, ok1 := digit(s[1])
	lo, ok2 := digit(s[2])
	return hi<<4 | lo, ok1 && ok2
}

func digit(c byte) (byte, bool) {
	switch {
	case '0' <= c && c <= '9':
		return c - '0', true
	case 'a' <= c && c <= 'f':
		return c - 'a' + 10, true
	case 'A' <= c && c <= 'F':
		return c - 'A' + 10, true
	}
	return 0, false
}

func lower(c byte) bool { return 'a' <= c && c <= 'z' }

// SetPath puts a path that is clean, without a query, into u: u.EscapedPath
// gives it back byte for byte, whatever escapes it has.
func SetPath(u *url.URL, path string) {
	decoded, err := url.PathUnescape(path)
	if err != nil { // only if the path was not clean; the encoded form is then the safe one
		decoded = path
	}
	u.Path, u.RawPath = decoded, ""
	if u.EscapedPath() != path {
		u.RawPath = path
	}
}
