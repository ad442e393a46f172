package http1

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// ownFields are the fields of a request that the transport writes itself,
// because they frame it or belong to one connection.
var ownFields = setOf(NameHost, NameContentLength, NameTransferEncoding, NameTrailer, NameConnection, NameKeepAlive,
	NameProxyConnection, NameTE, NameUpgrade, NameHTTP2Settings, NameExpect)

// compose writes the request's head, with its body if that is small and
// cannot block, and notes in a how the rest is sent.
func (a *answer) compose(dst []byte) ([]byte, error) {
	req := a.req
	if err := a.plan(req); err != nil {
		return dst, unsendable(err)
	}
	dst, err := a.appendHead(dst, req)
	if err != nil {
		return dst, unsendable(err)
	}
	if a.length <= 0 || a.length > maxSmallBody || a.expects || !holdsBody(req) {
		return dst, nil
	}
	head := len(dst)
	dst = slices.Grow(dst, int(a.length))[:head+int(a.length)]
	if _, err := io.ReadFull(req.Body, dst[head:]); err != nil {
		return dst[:head], unsendable(fmt.Errorf("%w: %w", ErrRequestBody, err))
	}
	a.closeRequestBody()
	a.composed = true // so it is closed once
	return dst, nil
}

// holdsBody says whether reading the body cannot wait for anybody. A body that
// can be had again is one; the server's own says so itself.
func holdsBody(req *http.Request) bool {
	if req.GetBody != nil {
		return true
	}
	b, ok := req.Body.(interface{ Buffered() bool })
	return ok && b.Buffered()
}

// plan decides how the request's body is framed, and refuses what cannot be sent.
func (a *answer) plan(req *http.Request) error {
	has := req.Body != nil && req.Body != http.NoBody
	switch {
	case req.URL == nil:
		return errors.New("request without a URL")
	case req.Method == http.MethodConnect:
		return errors.New("CONNECT is not sent to an origin")
	case req.Method != "" && !isToken(req.Method):
		return fmt.Errorf("%q is not a method", req.Method)
	case !has && req.ContentLength > 0:
		return errors.New("request with a length and without a body")
	case !has:
		a.length = 0
	case req.ContentLength > 0 && len(req.Trailer) == 0:
		a.length = req.ContentLength
	default:
		a.length = -1
	}
	a.expects = has && headerHas(req.Header["Expect"], "100-continue")
	if headerHas(req.Header["Connection"], "upgrade") {
		// HTTP/2 begins with its preface or in the TLS handshake, never by an upgrade.
		if up := strings.Join(req.Header["Upgrade"], ", "); !headerHas([]string{up}, "h2c") {
			a.upgrade = up
		}
	}
	return nil
}

// headerHas says whether a list of tokens has one of them, in any case.
func headerHas(values []string, token string) bool {
	for _, v := range values {
		for member := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.Trim(member, " \t"), token) {
				return true
			}
		}
	}
	return false
}

func (a *answer) appendHead(dst []byte, req *http.Request) ([]byte, error) {
	dst = append(dst, cmpOr(req.Method, http.MethodGet)...)
	dst = append(dst, ' ')
	dst, err := appendTarget(dst, req.URL, req.Method)
	if err != nil {
		return dst, err
	}
	host := cmpOr(req.Host, req.URL.Host)
	if !isSendableHost(host) {
		return dst, fmt.Errorf("%q cannot be sent as Host", host)
	}
	dst = append(dst, " HTTP/1.1\r\nHost: "...)
	dst = append(dst, host...)
	dst = append(dst, "\r\n"...)
	if dst, err = appendFields(dst, endToEnd(req.Header), ownFields); err != nil {
		return dst, err
	}
	if dst, err = a.appendHops(dst, req); err != nil {
		return dst, err
	}
	if dst, err = a.appendFraming(dst, req); err != nil {
		return dst, err
	}
	return append(dst, "\r\n"...), nil
}

func cmpOr(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// endToEnd is the header without the fields that its own Connection field
// names: those were meant for us.
func endToEnd(header http.Header) http.Header {
	nominated := header["Connection"]
	if len(nominated) == 0 {
		return header
	}
	header = maps.Clone(header)
	for _, v := range nominated {
		for member := range strings.SplitSeq(v, ",") {
			header.Del(strings.Trim(member, " \t"))
		}
	}
	return header
}

// appendHops writes the fields of this connection.
func (a *answer) appendHops(dst []byte, req *http.Request) ([]byte, error) {
	options := make([]string, 0, 3)
	if headerHas(req.Header["Te"], "trailers") {
		dst = append(dst, "TE: trailers\r\n"...)
		options = append(options, "TE")
	}
	if a.upgrade != "" {
		if !isFieldValue(a.upgrade) {
			return dst, errors.New("value of Upgrade holds a control character")
		}
		dst = appendField(dst, "Upgrade", a.upgrade)
		options = append(options, "Upgrade")
	}
	if req.Close {
		options = append(options, "close")
	}
	if len(options) > 0 {
		dst = append(dst, "Connection: "...)
		dst = append(dst, strings.Join(options, ", ")...)
		dst = append(dst, "\r\n"...)
	}
	return dst, nil
}

// appendFraming writes the fields that say where the request ends.
func (a *answer) appendFraming(dst []byte, req *http.Request) ([]byte, error) {
	if a.expects {
		dst = append(dst, "Expect: 100-continue\r\n"...)
	}
	switch {
	case a.length > 0:
	case a.length < 0:
		dst = append(dst, "Transfer-Encoding: chunked\r\n"...)
		return appendTrailerNames(dst, req.Trailer)
	case req.Method != http.MethodPost && req.Method != http.MethodPut && req.Method != http.MethodPatch:
		return dst, nil
	}
	dst = append(dst, "Content-Length: "...)
	dst = strconv.AppendInt(dst, a.length, 10)
	return append(dst, "\r\n"...), nil
}

func appendTrailerNames(dst []byte, trailer http.Header) ([]byte, error) {
	keys := make([]string, 0, len(trailer))
	for k := range trailer {
		if !isToken(k) {
			return dst, fmt.Errorf("%q is not a field name", k)
		}
		if !neverTrailer.has(LookUpName(k)) || LookUpName(k) == NameOther {
			keys = append(keys, k)
		}
	}
	if len(keys) == 0 {
		return dst, nil
	}
	slices.Sort(keys)
	return appendField(dst, "Trailer", strings.Join(keys, ", ")), nil
}

// appendTarget writes the request target in origin-form: the URL's Opaque if
// it has one, else its path. A path goes out byte for byte as it came in, if the URL
// remembers that: net/url would mend some of the bytes that it remembers, and
// then two readers might see two paths.
func appendTarget(dst []byte, u *url.URL, method string) ([]byte, error) {
	start := len(dst)
	switch {
	case u.Opaque != "":
		// Two slashes would make it absolute-form, which could disagree with Host.
		if u.Opaque[0] != '/' || strings.HasPrefix(u.Opaque, "//") {
			return dst, fmt.Errorf("opaque target %q is no path", u.Opaque)
		}
		dst = append(dst, u.Opaque...)
	case u.Path == "*" && method == http.MethodOptions:
		dst = append(dst, '*')
	case u.Path == "":
		dst = append(dst, '/')
	case u.Path[0] != '/':
		return dst, fmt.Errorf("path %q does not begin with a slash", u.Path)
	case u.RawPath != "" && unescapesTo(u.RawPath, u.Path):
		dst = append(dst, u.RawPath...)
	case u.RawPath == "" && isPlainPath(u.Path):
		dst = append(dst, u.Path...)
	default:
		dst = append(dst, u.EscapedPath()...)
	}
	if u.ForceQuery || u.RawQuery != "" {
		dst = append(dst, '?')
		dst = append(dst, u.RawQuery...)
	}
	for _, c := range dst[start:] {
		if c <= ' ' || c == 0x7f || c == '#' {
			return dst, errors.New("bad character in the request target")
		}
	}
	return dst, nil
}

// unescapesTo says whether raw, with its escapes resolved, is path.
func unescapesTo(raw, path string) bool {
	n := 0
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch {
		case c == '?':
			return false
		case c != '%':
		case i+2 >= len(raw) || hexDigit(raw[i+1]) < 0 || hexDigit(raw[i+2]) < 0:
			return false
		default:
			c = byte(hexDigit(raw[i+1])<<4 | hexDigit(raw[i+2]))
			i += 2
		}
		if n == len(path) || path[n] != c {
			return false
		}
		n++
	}
	return n == len(path)
}

// plainInPath are the characters beside letters and digits that net/url does not escape in a path.
var plainInPath = newByteSet("-_.~$&+,/:;=@")

// inHost are the characters beside letters and digits of a host and a port (RFC 3986, section 3.2.2).
var inHost = newByteSet("-._~!$&'()*+,;=:[]%")

type byteSet [256]bool

// newByteSet makes a set of letters, digits and more.
func newByteSet(more string) *byteSet {
	s := new(byteSet)
	for c := range 256 {
		s[c] = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c < 128 && strings.IndexByte(more, byte(c)) >= 0
	}
	return s
}

func (s *byteSet) holdsAll(text string) bool {
	for i := range len(text) {
		if !s[text[i]] {
			return false
		}
	}
	return true
}

func isPlainPath(path string) bool { return plainInPath.holdsAll(path) }

func isSendableHost(host string) bool { return host != "" && inHost.holdsAll(host) }
