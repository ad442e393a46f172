package fastly

import (
	"net/http"
	"slices"
	"strings"
)

const (
	maxFieldName   = 1<<16 - 1 // bytes of a field's name
	maxHeaderBytes = 128 << 10 // of all fields of one message
)

// header is the fields of a message, in the order in which they were put there. Names are in lower case.
type header struct {
	fields []field
	size   int
}

type field struct{ name, value string }

// fieldOverhead is what a field takes beside its bytes.
const fieldOverhead = 4

// fromHTTP is the fields of a message of net/http. The order of their names is
// the alphabet's: net/http does not keep any.
func fromHTTP(h http.Header, host string) header {
	var out header
	out.fields = make([]field, 0, len(h)+1)
	if host != "" {
		out.append("host", host)
	}
	var some [16]string
	names := some[:0]
	for name := range h {
		if name != "Host" || host == "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range h[name] {
			out.append(lower(name), v)
		}
	}
	return out
}

// lower is a name in lower case. Those that nearly every message has are known.
func lower(name string) string {
	if known, ok := lowered[name]; ok {
		return known
	}
	return strings.ToLower(name)
}

// lowered are names as net/http writes them.
var lowered = func() map[string]string {
	known := make(map[string]string)
	for _, name := range []string{
		"accept", "accept-encoding", "accept-language", "accept-ranges", "age", "authorization", "cache-control", "cdn-loop", "connection",
		"content-encoding", "content-length", "content-type", "cookie", "date", "etag", "expires", "forwarded", "host", "if-modified-since", "if-none-match",
		"last-modified", "location", "origin", "priority", "range", "referer", "server", "set-cookie", "traceparent", "tracestate", "transfer-encoding",
		"upgrade-insecure-requests", "user-agent", "vary", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto",
	} {
		known[http.CanonicalHeaderKey(name)] = name
	}
	return known
}()

// toHTTP puts the fields into a header of net/http.
func (h *header) toHTTP(out http.Header) {
	for _, f := range h.fields {
		name := http.CanonicalHeaderKey(f.name)
		out[name] = append(out[name], f.value)
	}
}

func (h *header) append(name, value string) {
	h.fields = append(h.fields, field{name, value})
	h.size += len(name) + len(value) + fieldOverhead
}

// get is the first value of a name.
func (h *header) get(name string) (string, bool) {
	for _, f := range h.fields {
		if f.name == name {
			return f.value, true
		}
	}
	return "", false
}

// values are all values of a name.
func (h *header) values(name string) []string {
	var out []string
	for _, f := range h.fields {
		if f.name == name {
			out = append(out, f.value)
		}
	}
	return out
}

// names are the names, each once, in the order in which they came.
func (h *header) names() []string {
	out := make([]string, 0, len(h.fields))
	seen := make(map[string]bool, len(h.fields))
	for _, f := range h.fields {
		if !seen[f.name] {
			seen[f.name] = true
			out = append(out, f.name)
		}
	}
	return out
}

// remove removes all of a name; false if there was none.
func (h *header) remove(name string) bool {
	before := len(h.fields)
	if _, ok := h.get(name); !ok {
		return false
	}
	h.fields = slices.DeleteFunc(h.fields, func(f field) bool {
		if f.name == name {
			h.size -= len(f.name) + len(f.value) + fieldOverhead
		}
		return f.name == name
	})
	return len(h.fields) != before
}

// set replaces the values of a name, at the place of the first.
func (h *header) set(name string, values ...string) {
	place := slices.IndexFunc(h.fields, func(f field) bool { return f.name == name })
	h.remove(name)
	if place < 0 {
		place = len(h.fields)
	}
	added := make([]field, 0, len(values))
	for _, v := range values {
		added = append(added, field{name, v})
		h.size += len(name) + len(v) + fieldOverhead
	}
	h.fields = slices.Insert(h.fields, place, added...) // at once: there may be thousands, before thousands
}

// removeHops removes what is for one connection only (RFC 9110, section 7.6.1):
// connections are the edge's.
func (h *header) removeHops() {
	var named map[string]bool // at once: there may be thousands of names, and of fields
	for _, list := range h.values("connection") {
		for name := range strings.SplitSeq(list, ",") {
			if named == nil {
				named = make(map[string]bool)
			}
			named[strings.ToLower(strings.TrimSpace(name))] = true
		}
	}
	h.fields = slices.DeleteFunc(h.fields, func(f field) bool {
		hop := named[f.name]
		switch f.name {
		case "connection", "keep-alive", "proxy-connection", "upgrade":
			hop = true
		}
		if hop {
			h.size -= len(f.name) + len(f.value) + fieldOverhead
		}
		return hop
	})
}

// clone is a copy that can be changed.
func (h *header) clone() header { return header{slices.Clone(h.fields), h.size} }

// replace puts the fields of another header in, all of a name for all of that
// name, at the place of its first. It takes the time of both, not their product.
func (h *header) replace(by *header) {
	values := make(map[string][]string, len(by.fields))
	for _, f := range by.fields {
		values[f.name] = append(values[f.name], f.value)
	}
	before, done := h.fields, make(map[string]bool, len(values))
	*h = header{fields: make([]field, 0, len(before)+len(by.fields))}
	for _, list := range [][]field{before, by.fields} {
		for _, f := range list {
			all, replaced := values[f.name]
			switch {
			case !replaced:
				h.append(f.name, f.value)
			case !done[f.name]:
				done[f.name] = true
				for _, v := range all {
					h.append(f.name, v)
				}
			}
		}
	}
}

// copyOf is a copy of the fields of a message, counted as kept.
func (c *call) copyOf(h *header) (header, Status) {
	if !c.keep(len(h.fields) * textOverhead) {
		return header{}, LimitExceeded
	}
	return h.clone(), OK
}

// fieldName is the name that the parameters 1 and 2 name, in lower case.
func (c *call) fieldName() (string, Status) {
	if c.u32(2) > maxFieldName {
		return "", Invalid
	}
	b := c.bytes(1)
	if c.bad {
		return "", Invalid
	}
	name := strings.ToLower(string(b))
	if !isToken(name) {
		return "", HTTPInvalid
	}
	return name, OK
}

// fieldValue is the value that the parameters 3 and 4 name.
func (c *call) fieldValue() (string, Status) {
	if c.u32(4) > maxHeaderBytes {
		return "", HTTPHeadTooLarge
	}
	v := string(c.bytes(3))
	if c.bad {
		return "", Invalid
	}
	if !isFieldValue(v) {
		return "", HTTPInvalid
	}
	return v, OK
}

// isToken says that a name is one of RFC 9110, section 5.6.2.
func isToken(s string) bool {
	for i := range len(s) {
		b := s[i]
		alnum := b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
		if !alnum && !strings.ContainsRune("!#$%&'*+-.^_`|~", rune(b)) {
			return false
		}
	}
	return s != ""
}

// isFieldValue says that no control character but the tab is in it (RFC 9110, section 5.5).
func isFieldValue(s string) bool {
	for i := range len(s) {
		if b := s[i]; b < ' ' && b != '\t' || b == 0x7f {
			return false
		}
	}
	return true
}

// The functions that requests, responses and trailers share. The first
// parameter is the handle, which the caller has looked at.

func (c *call) headerNames(h *header) Status { return c.list(1, h.names()) }

func (c *call) headerValue(h *header) Status {
	name, status := c.fieldName()
	if status != OK {
		return status
	}
	v, ok := h.get(name)
	if !ok {
		return Invalid // so it is there: an absent field is an invalid argument
	}
	return answer(c, 3, v)
}

func (c *call) headerValues(h *header) Status {
	name, status := c.fieldName()
	if status != OK {
		return status
	}
	return c.list(3, h.values(name))
}

// headerValuesSet replaces a field by values that each end with a zero.
func (c *call) headerValuesSet(h *header) Status {
	name, status := c.fieldName()
	if status != OK {
		return status
	}
	if c.u32(4) > maxHeaderBytes {
		return HTTPHeadTooLarge
	}
	all := string(c.bytes(3))
	if c.bad {
		return Invalid
	}
	values := strings.Split(all, "\x00")
	values = values[:len(values)-1] // what no zero ends is no value
	for _, v := range values {
		if !isFieldValue(v) {
			return HTTPInvalid
		}
	}
	if h.size+len(all)+len(values)*(len(name)+fieldOverhead) > maxHeaderBytes {
		return HTTPHeadTooLarge
	}
	if !c.keep(len(all) + len(values)*textOverhead) {
		return LimitExceeded
	}
	h.set(name, values...)
	return OK
}

func (c *call) headerInsert(h *header) Status {
	name, value, status := c.pair(h)
	if status == OK {
		h.set(name, value)
	}
	return status
}

func (c *call) headerAppend(h *header) Status {
	name, value, status := c.pair(h)
	if status == OK {
		h.append(name, value)
	}
	return status
}

// pair is the field of an insertion, which must have room.
func (c *call) pair(h *header) (name, value string, status Status) {
	if name, status = c.fieldName(); status != OK {
		return "", "", status
	}
	if value, status = c.fieldValue(); status != OK {
		return "", "", status
	}
	if h.size+len(name)+len(value)+fieldOverhead > maxHeaderBytes {
		c.mem.Hit(LimitFields)
		return "", "", HTTPHeadTooLarge
	}
	if !c.keep(len(name) + len(value)) {
		return "", "", LimitExceeded
	}
	return name, value, OK
}

func (c *call) headerRemove(h *header) Status {
	name, status := c.fieldName()
	if status != OK {
		return status
	}
	if !h.remove(name) {
		return Invalid
	}
	return OK
}
