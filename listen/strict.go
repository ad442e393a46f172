package listen

import (
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// refusal says why an HTTP/2 request is refused.
type refusal struct {
	status int
	limit  string // as in the configuration; empty if none was hit
	why    string
}

// maxMethod is the longest method that is looked at, as in package http1.
const maxMethod = 128

func malformed(why string) *refusal { return &refusal{status: http.StatusBadRequest, why: why} }

// examine refuses a request that an HTTP/1.1 origin could read in another way
// than we do, as package http1 would refuse it, and one beyond the limits. What
// net/http has refused already, as a stream error or with 400, is not looked at
// again: fields of the connection, line breaks and NUL in fields, names in upper
// case, pseudo-header fields that are missing, repeated or out of place. It also
// returns what the head would be long in HTTP/1.1.
func examine(r *http.Request, lim *selvage.Limits) (size int64, no *refusal) {
	size = int64(len(r.Method) + len(r.RequestURI) + len("  HTTP/1.1\r\nHost: \r\n\r\n") + len(r.Host))
	fields := 1
	for name, values := range r.Header {
		for _, v := range values {
			fields++
			size += int64(len(name) + len(v) + len(": \r\n"))
		}
	}
	switch {
	case len(r.RequestURI) > int(lim.Target):
		return size, &refusal{http.StatusRequestURITooLong, "target", "request target too long"}
	case size > int64(lim.Head):
		return size, &refusal{http.StatusRequestHeaderFieldsTooLarge, "head", "head too large"}
	case fields > lim.Fields:
		return size, &refusal{http.StatusRequestHeaderFieldsTooLarge, "fields", "too many header fields"}
	}
	for _, check := range []func(*http.Request) *refusal{checkMethod, checkTarget, checkHost, checkLength, checkExpect} {
		if no := check(r); no != nil {
			return size, no
		}
	}
	if r.ContentLength > int64(lim.Body) {
		return size, &refusal{http.StatusRequestEntityTooLarge, "body", "request body too large"}
	}
	return size, nil
}

func checkMethod(r *http.Request) *refusal {
	for i := range len(r.Method) {
		if !isTokenByte(r.Method[i]) {
			return malformed("malformed method")
		}
	}
	switch {
	case r.Method == "":
		return malformed("malformed method")
	case len(r.Method) > maxMethod:
		return &refusal{status: http.StatusNotImplemented, why: "method too long"}
	case r.Method == http.MethodConnect:
		return &refusal{status: http.StatusNotImplemented, why: "CONNECT is not implemented"}
	case r.Method == http.MethodTrace && r.ContentLength != 0:
		return malformed("TRACE with a body")
	}
	return nil
}

// isTokenByte is RFC 9110, section 5.6.2.
func isTokenByte(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// checkTarget wants :path to be what can stand in a request line.
func checkTarget(r *http.Request) *refusal {
	t := r.RequestURI
	if t == "*" && r.Method == http.MethodOptions {
		return nil
	}
	if t == "" || t[0] != '/' {
		return malformed("malformed request target")
	}
	for i := range len(t) {
		if c := t[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return malformed("bad character in the request target")
		}
	}
	return nil
}

// checkHost wants one host, in the form that it has in HTTP/1.1. A Host field
// beside :authority must say the same (RFC 9113, section 8.3.1); it is taken away.
func checkHost(r *http.Request) *refusal {
	for _, h := range r.Header["Host"] {
		if !strings.EqualFold(h, r.Host) {
			return malformed(":authority and Host disagree")
		}
	}
	if len(r.Header["Host"]) > 1 {
		return malformed("more than one Host")
	}
	delete(r.Header, "Host")
	if !isAuthority(r.Host) {
		return malformed("malformed :authority")
	}
	return nil
}

// isAuthority takes a host name of letters, digits, hyphens, underscores and
// single dots, or an IPv6 address in brackets, and a port from 1 to 65535. It
// is the rule of package http1.
func isAuthority(s string) bool {
	if s == "" || len(s) > 261 {
		return false
	}
	if s[0] == '[' {
		addr, port, ok := strings.Cut(s[1:], "]")
		a, err := netip.ParseAddr(addr)
		return ok && err == nil && a.Is6() && a.Zone() == "" && isPort(port)
	}
	name, port := s, ""
	if i := strings.IndexByte(s, ':'); i >= 0 {
		name, port = s[:i], s[i:]
	}
	if name == "" || name[0] == '.' || strings.Contains(name, "..") {
		return false
	}
	for i := range len(name) {
		switch c := name[i]; {
		case '0' <= c && c <= '9', 'a' <= c|0x20 && c|0x20 <= 'z', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return isPort(port)
}

// isPort takes nothing, or a colon and a port.
func isPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 || strings.IndexFunc(s[1:], func(r rune) bool { return r < '0' || r > '9' }) >= 0 {
		return false
	}
	n, err := strconv.Atoi(s[1:])
	return err == nil && 0 < n && n <= 65535
}

// checkLength wants Content-Length to say what net/http understood: it reads
// the first one only, and none where the request ended with its head.
func checkLength(r *http.Request) *refusal {
	values, ok := r.Header["Content-Length"]
	if !ok {
		return nil
	}
	if len(values) != 1 || len(values[0]) == 0 || len(values[0]) > 19 {
		return malformed("malformed Content-Length")
	}
	n, err := strconv.ParseInt(values[0], 10, 64)
	if err != nil || values[0][0] == '+' || values[0][0] == '-' {
		return malformed("malformed Content-Length")
	}
	if n != r.ContentLength {
		return malformed("Content-Length without its body")
	}
	return nil
}

// checkExpect leaves 100-continue to net/http, which has taken it away, and
// knows no other expectation.
func checkExpect(r *http.Request) *refusal {
	if len(r.Header["Expect"]) > 0 {
		return &refusal{status: http.StatusExpectationFailed, why: "unknown expectation"}
	}
	return nil
}
