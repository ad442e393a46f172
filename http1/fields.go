package http1

import (
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
)

// bodyKind says how a body ends (RFC 9112, section 6.3).
type bodyKind uint8

const (
	noBody     bodyKind = iota
	counted             // after so many bytes
	chunked             // with its last chunk
	untilClose          // with the connection; answers only
)

// framing is where a message ends.
type framing struct {
	kind   bodyKind
	length int64 // of a counted body, -1 where it is not known before
}

var (
	errLength = refuse("malformed Content-Length")
	errBoth   = refuse("Content-Length with Transfer-Encoding")
)

// requestFraming decides where a request ends. Nothing that two readers could
// decide differently is let through.
func (h *Head) requestFraming() (framing, error) {
	if h.Has(NameTransferEncoding) {
		if err := h.onlyChunked(); err != nil {
			return framing{}, err
		}
		return framing{chunked, -1}, nil
	}
	if !h.Has(NameContentLength) {
		return framing{kind: noBody}, nil
	}
	n, err := h.contentLength()
	if err != nil || n == 0 {
		return framing{kind: noBody}, err
	}
	return framing{counted, n}, nil
}

// answerFraming decides where an answer to a method ends. Answers without a
// body keep the length that they announce.
func (h *Head) answerFraming(method string) (framing, error) {
	f := framing{untilClose, -1}
	switch {
	case h.Has(NameTransferEncoding):
		if err := h.onlyChunked(); err != nil {
			return framing{}, err
		}
		f.kind = chunked
	case h.Has(NameContentLength):
		n, err := h.contentLength()
		if err != nil {
			return framing{}, err
		}
		f = framing{counted, n}
	}
	switch {
	case h.status < 200 || h.status == http.StatusNoContent:
		if f.kind != untilClose && (f.kind == chunked || f.length > 0) {
			return framing{}, refuse("an answer without a body announces one")
		}
		return framing{kind: noBody}, nil
	case method == http.MethodHead || h.status == http.StatusNotModified:
		return framing{noBody, f.length}, nil
	}
	return f, nil
}

// contentLength takes one field of digits without a leading zero. Lists and
// repetitions are refused even where they agree.
func (h *Head) contentLength() (int64, error) {
	if h.Repeated(NameContentLength) {
		return 0, refuse("more than one Content-Length")
	}
	v := h.Value(NameContentLength)
	if len(v) == 0 || len(v) > 1 && v[0] == '0' {
		return 0, errLength
	}
	var n int64
	for _, c := range v {
		if !isDigit(c) || n > (math.MaxInt64-9)/10 {
			return 0, errLength
		}
		n = n*10 + int64(c-'0')
	}
	return n, nil
}

// onlyChunked takes one Transfer-Encoding that is the word chunked. Another
// coding in front of a final chunked is not implemented; all the rest is malformed.
func (h *Head) onlyChunked() error {
	switch {
	case h.Has(NameContentLength):
		return errBoth
	case h.Repeated(NameTransferEncoding):
		return refuse("more than one Transfer-Encoding")
	case h.minor == 0:
		return refuse("Transfer-Encoding in HTTP/1.0")
	}
	v := h.Value(NameTransferEncoding)
	if equalFold(v, "chunked") {
		return nil
	}
	if codingsBeforeChunked(v) {
		return &Refusal{Status: http.StatusNotImplemented, Why: "unknown transfer coding"}
	}
	return refuse("malformed Transfer-Encoding")
}

// codingsBeforeChunked says whether v is a list of tokens of which the last,
// and only the last, is chunked.
func codingsBeforeChunked(v []byte) bool {
	list, ok := tokenList(nil, v)
	if !ok || len(list) == 0 {
		return false
	}
	for i, t := range list {
		if equalFold(t, "chunked") != (i == len(list)-1) || equalFold(t, "identity") {
			return false
		}
	}
	return true
}

// tokenList adds the tokens of a comma-separated list to dst. Empty members
// and everything that is no token make it malformed.
func tokenList(dst [][]byte, v []byte) (list [][]byte, ok bool) {
	for {
		comma := slices.Index(v, ',')
		member := v
		if comma >= 0 {
			member = v[:comma]
		}
		t := trimOWS(member)
		if !isToken(t) {
			return dst, false
		}
		dst = append(dst, t)
		if comma < 0 {
			return dst, true
		}
		v = v[comma+1:]
	}
}

// appendFields writes a header section, sorted by name, without its empty line
// and without the names that drop has or that begin with http.TrailerPrefix. It
// refuses what would not read back as written: names that are no tokens, values
// with control characters.
func appendFields(dst []byte, header http.Header, drop nameSet) ([]byte, error) {
	var few [fewFields]section
	for _, f := range sorted(few[:0], header) {
		if len(f.values) == 0 || strings.HasPrefix(f.name, http.TrailerPrefix) {
			continue
		}
		n := LookUpName(f.name)
		if n == NameOther && !isToken(f.name) {
			return dst, fmt.Errorf("write header: %q is not a field name", f.name)
		}
		if drop.has(n) {
			continue
		}
		for _, v := range f.values {
			if !isFieldValue(v) {
				return dst, fmt.Errorf("write header: value of %s holds a control character", f.name)
			}
			dst = appendField(dst, f.name, v)
		}
	}
	return dst, nil
}

// section is what a header has under one name.
type section struct {
	front  uint64 // the first eight bytes of the name, by which nearly all are told apart
	name   string
	values []string
}

// sorted appends what a header has to a list, and puts that in the order of the names.
func sorted(list []section, header http.Header) []section {
	for name, values := range header {
		list = append(list, section{front(name), name, values})
	}
	if len(list) > fewFields {
		slices.SortFunc(list, func(a, b section) int { return strings.Compare(a.name, b.name) })
		return list
	}
	for i := 1; i < len(list); i++ {
		for j := i; j > 0 && list[j].before(&list[j-1]); j-- {
			list[j], list[j-1] = list[j-1], list[j]
		}
	}
	return list
}

// front is the first eight bytes of a name, in the order of names.
func front(s string) (f uint64) {
	if len(s) >= 8 { // one load
		return uint64(s[0])<<56 | uint64(s[1])<<48 | uint64(s[2])<<40 | uint64(s[3])<<32 |
			uint64(s[4])<<24 | uint64(s[5])<<16 | uint64(s[6])<<8 | uint64(s[7])
	}
	for i := range len(s) {
		f |= uint64(s[i]) << (56 - 8*i)
	}
	return f
}

// fewFields is how many fields nearly every header has at most.
const fewFields = 24

func (f *section) before(other *section) bool {
	if f.front != other.front {
		return f.front < other.front
	}
	return f.name < other.name
}

// appendField writes one field whose parts are known to be good.
func appendField(dst []byte, name, value string) []byte {
	dst = append(dst, name...)
	dst = append(dst, ": "...)
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// neverTrailer are the fields that trailers must not hold, because they frame,
// route, authenticate or steer a message (RFC 9110, section 6.5.1).
var neverTrailer = setOf(NameAuthorization, NameCacheControl, NameCDNLoop, NameConnection, NameContentEncoding,
	NameContentLength, NameContentRange, NameContentType, NameCookie, NameExpect, NameForwarded, NameHost,
	NameHTTP2Settings, NameIfMatch, NameIfModifiedSince, NameIfNoneMatch, NameIfRange, NameIfUnmodifiedSince,
	NameKeepAlive, NameLocation, NameMaxForwards, NamePragma, NameProxyAuthorization, NameProxyConnection,
	NameRange, NameSetCookie, NameTE, NameTrailer, NameTransferEncoding, NameUpgrade, NameVia, NameXForwardedFor,
	NameXForwardedHost, NameXForwardedProto)

// frames are the fields that say where a message ends or whose it is.
var frames = setOf(NameContentLength, NameTransferEncoding, NameHost, NameConnection, NameTrailer, NameUpgrade)

// trailers is a parsed trailer section as a map: nil if it is empty. It refuses
// fields that frame, and drops the others that trailers must not hold.
func (h *Head) trailers() (http.Header, error) {
	if h.seen&frames != 0 {
		return nil, refuse("a trailer frames the message")
	}
	if len(h.list) == 0 {
		return nil, nil
	}
	h.canonicalNames()
	return h.header(string(h.buf[:h.size]), neverTrailer), nil
}
