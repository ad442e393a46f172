package http1

import (
	"bytes"
	"net/http"
)

// Head is a parsed head: a start line and a header section, or a header section
// alone where it holds trailers. What it gives out points into the connection's
// buffer and is good until the next byte is read.
type Head struct {
	buf    []byte // what it is parsed from; the first size bytes are the head
	size   int
	kind   headKind
	inLine bool // the start line is not through yet
	pos    int  // where the first line begins that is not through yet
	scan   int  // before here that line does not end

	method, target, reason span
	minor                  uint8 // of HTTP/1.x
	status                 int

	list        []field
	seen, twice nameSet
}

type headKind uint8

const (
	requestHead headKind = iota
	answerHead
	trailerSection
)

// span is a part of Head.buf.
type span struct{ from, to int32 }

type field struct {
	id          Name
	name, value span
}

// headLimits bound a head, in bytes and fields.
type headLimits struct{ head, target, fields int }

// maxMethod is the longest method that is looked at. No registered one is longer than 17; 77
// characters may be in one (RFC 9110, section 5.6.2), and test kits try them all at once.
const maxMethod = 128

// reset makes h ready to parse a head of a kind.
func (h *Head) reset(kind headKind) {
	list := h.list[:0]
	*h = Head{kind: kind, inLine: kind != trailerSection, list: list}
}

// parse goes on with b, which begins with the bytes that it was called with
// before. It stops at the first byte that no head could hold, looks at no byte
// twice however slowly they come, and is done when h.size is the whole head.
func (h *Head) parse(b []byte, lim headLimits) (done bool, err error) {
	h.buf = b
	for {
		end, next, err := lineEnd(b, max(h.scan, h.pos))
		if err != nil {
			return false, err
		}
		if end < 0 {
			h.scan = next
			return false, h.checkSize(len(b), lim)
		}
		line := span{int32(h.pos), int32(end)}
		h.pos, h.scan = next, next
		if err := h.checkSize(next, lim); err != nil {
			return false, err
		}
		switch {
		case h.inLine && h.kind == requestHead:
			err = h.requestLine(line, lim.target)
		case h.inLine:
			err = h.statusLine(line)
		case line.from == line.to:
			h.size = next
			return true, nil
		case len(h.list) >= lim.fields:
			err = tooLarge(http.StatusRequestHeaderFieldsTooLarge, "fields", "too many header fields")
		default:
			err = h.fieldLine(line)
		}
		if err != nil {
			return false, err
		}
		h.inLine = false
	}
}

// checkSize refuses a head of which n bytes are there and that is too large.
func (h *Head) checkSize(n int, lim headLimits) error {
	if h.inLine && h.kind == requestHead && n > lim.target+maxMethod+len("  HTTP/1.1\r\n") {
		return tooLarge(http.StatusRequestURITooLong, "target", "request line too long")
	}
	if n > lim.head {
		return tooLarge(http.StatusRequestHeaderFieldsTooLarge, "head", "head too large")
	}
	return nil
}

// requestLine is RFC 9112, section 3, with exactly one space where it has one.
func (h *Head) requestLine(line span, maxTarget int) error {
	b := h.at(line)
	first := bytes.IndexByte(b, ' ')
	if first < 0 || !isToken(b[:first]) {
		return refuse("no method")
	}
	if first > maxMethod {
		return &Refusal{Status: http.StatusNotImplemented, Why: "method too long"}
	}
	target, version, ok := bytes.Cut(b[first+1:], []byte{' '})
	if !ok || len(target) == 0 {
		return refuse("request line without three parts")
	}
	if len(target) > maxTarget {
		return tooLarge(http.StatusRequestURITooLong, "target", "request target too long")
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f || c == '#' {
			return refuse("bad character in the request target")
		}
	}
	from := line.from + int32(first) + 1
	h.method = span{line.from, line.from + int32(first)}
	h.target = span{from, from + int32(len(target))}
	return h.version(version)
}

// statusLine is RFC 9112, section 4. The space before an empty reason may be missing.
func (h *Head) statusLine(line span) error {
	b := h.at(line)
	if len(b) < len("HTTP/1.1 200") || b[8] != ' ' || len(b) > 12 && b[12] != ' ' {
		return refuse("malformed status line")
	}
	if err := h.version(b[:8]); err != nil {
		return err
	}
	for _, c := range b[9:12] {
		if c < '0' || c > '9' {
			return refuse("malformed status")
		}
		h.status = h.status*10 + int(c-'0')
	}
	if h.status < 100 || h.status > 599 {
		return refuse("status out of range")
	}
	h.reason = span{min(line.from+13, line.to), line.to}
	return nil
}

func (h *Head) version(v []byte) error {
	if len(v) != 8 || string(v[:5]) != "HTTP/" || v[6] != '.' || !isDigit(v[5]) || !isDigit(v[7]) {
		return refuse("malformed version")
	}
	if v[5] != '1' || v[7] > '1' {
		return &Refusal{Status: http.StatusHTTPVersionNotSupported, Why: "version is not HTTP/1.0 or HTTP/1.1"}
	}
	h.minor = v[7] - '0'
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

// fieldLine is RFC 9112, section 5, without folding. lineEnd has seen to control characters.
func (h *Head) fieldLine(line span) error {
	b := h.at(line)
	n := 0
	for n < len(b) && lower[b[n]] != 0 {
		n++
	}
	if n == 0 || n == len(b) || b[n] != ':' {
		return refuse("malformed field name")
	}
	from, to := n+1, len(b)
	for from < to && (b[from] == ' ' || b[from] == '\t') {
		from++
	}
	for to > from && (b[to-1] == ' ' || b[to-1] == '\t') {
		to--
	}
	id := lookUpName(b[:n])
	h.list = append(h.list, field{
		id:    id,
		name:  span{line.from, line.from + int32(n)},
		value: span{line.from + int32(from), line.from + int32(to)},
	})
	h.twice |= h.seen & (1 << id)
	h.seen |= 1 << id
	return nil
}

func (h *Head) at(s span) []byte { return h.buf[s.from:s.to] }

// Method is the request's method.
func (h *Head) Method() []byte { return h.at(h.method) }

// Target is the request target as it came.
func (h *Head) Target() []byte { return h.at(h.target) }

// Size is the size of the head in bytes, with the empty line.
func (h *Head) Size() int { return h.size }

// Has says whether there is a field of a known name.
func (h *Head) Has(n Name) bool { return h.seen.has(n) && n != NameOther }

// HasOther says whether there is a field with a name that the codec does not know.
func (h *Head) HasOther() bool { return h.seen.has(NameOther) }

// Repeated says whether a known name stands in more than one field.
func (h *Head) Repeated(n Name) bool { return h.twice.has(n) && n != NameOther }

// Value is the first field of a known name, nil if there is none.
func (h *Head) Value(n Name) []byte {
	if h.seen.has(n) {
		for i := range h.list {
			if h.list[i].id == n {
				return h.at(h.list[i].value)
			}
		}
	}
	return nil
}

// Fields calls yield for every field, in order, with names as they came.
func (h *Head) Fields(yield func(name, value []byte) bool) {
	for _, f := range h.list {
		if !yield(h.at(f.name), h.at(f.value)) {
			return
		}
	}
}

// header makes the map, with names as net/http has them, without the fields of
// drop. text is the head as a string, made after canonicalNames: all values and
// all names that are not known are parts of it, so that a header costs the map
// and one slice.
func (h *Head) header(text string, drop nameSet) http.Header {
	m := make(http.Header, len(h.list))
	values := make([]string, len(h.list))
	for i, f := range h.list {
		if f.id != NameOther && drop.has(f.id) {
			continue
		}
		key, v := canonical[f.id], text[f.value.from:f.value.to]
		if f.id == NameOther {
			key = text[f.name.from:f.name.to]
		}
		if f.id == NameOther || h.twice.has(f.id) {
			if have, ok := m[key]; ok {
				m[key] = append(have, v)
				continue
			}
		}
		values[i] = v
		m[key] = values[i : i+1 : i+1]
	}
	return m
}

// canonicalNames rewrites the names that are not known, in the buffer.
func (h *Head) canonicalNames() {
	if !h.HasOther() {
		return
	}
	for _, f := range h.list {
		if f.id == NameOther {
			canonicalize(h.at(f.name))
		}
	}
}

// Header is the header section as a map, with names as net/http has them. It
// changes the case of names in the buffer.
func (h *Head) Header() http.Header {
	h.canonicalNames()
	return h.header(string(h.buf[:h.size]), 0)
}
