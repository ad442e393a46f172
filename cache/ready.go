package cache

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/selvage-edge/selvage/record"
)

// Ready is a hit that is written as it lies in its record: no header is made of the
// stored one. It is for one goroutine, until Close.
type Ready struct {
	t     *Transport
	visit *visit // nil once it is closed
}

// Ready is the answer to a GET without a body, where a fresh one is stored that can
// be written as it lies; nil in all other cases, of which nothing is noted: then
// RoundTrip is to be asked, and may still have a hit. u is the whole URL by which
// answers are keyed, h the header as it would go across, but without the fields of
// [Scope.Added]. They must not change until Close.
func (t *Transport) Ready(rec *record.Record, h http.Header, u *url.URL) *Ready {
	if !t.readies || len(h["Range"]) > 0 || isConditional(h) {
		return nil
	}
	v := visits.Get().(*visit)
	v.request = http.Request{Method: http.MethodGet, URL: u, Header: h, Body: http.NoBody}
	q := t.inquire(v, &v.request, rec, keyOfURL(&t.scope, u.Scheme, u.Host, u))
	q.lone = true
	v.views.asTheyLie = q
	if q.enter() == nil && q.fwd == "" {
		q.key = t.store.searches.keyed(q.exact)
		q.found = t.lookup(q)
	}
	if q.found.answer == nil {
		v.leave()
		return nil
	}
	t.store.hits.Add(1)
	q.hitBy(q.found.answer, "")
	q.found.answer.body.opened(&t.store.sending)
	v.ready = Ready{t, v}
	return &v.ready
}

// isConditional says whether a request has a condition that the cache may answer.
func isConditional(h http.Header) bool {
	return len(h[ifNoneMatch])+len(h[ifModifiedSince]) > 0
}

// takes says whether an answer that was found is one to be written as it lies.
func (t *Transport) takes(q *inquiry, a *answer) bool {
	return a.wire != nil && judge(q.now, &a.terms, q.directives) == useFresh &&
		!slices.ContainsFunc(a.selectors, func(s selector) bool { return slices.Contains(t.scope.Added, s.name) })
}

// readies says whether answers of this transport may be written as they lie.
func (s *Scope) readies(keys *keyRules) bool {
	return s.Coder == nil && (keys == nil || !slices.ContainsFunc(keys.headers, func(name string) bool { return slices.Contains(s.Added, name) }))
}

// Len is the length of the body.
func (r *Ready) Len() int64 { return r.visit.inquiry.found.answer.length }

// Body is the whole body. It is not to be changed, nor kept after Close.
func (r *Ready) Body() []byte {
	if chunks := r.visit.inquiry.found.answer.body.chunks; len(chunks) > 0 {
		return chunks[0]
	}
	return nil
}

// AppendFields appends the header's lines with Age and Cache-Status, but without
// Content-Length. All names are tokens, no value has a control character, and
// there is a Date.
func (r *Ready) AppendFields(b []byte) []byte {
	q := &r.visit.inquiry
	a := q.found.answer
	u := unpacker{a.wire}
	fields := u.uint()
	u.uint()
	for range fields {
		n := u.b[0]
		u.b = u.b[1:]
		var own []byte
		if n == 0 {
			own = u.bytes()
		}
		for range u.uint() {
			value := u.bytes()
			if n == contentLengthNumber {
				continue
			}
			if n > 0 {
				b = append(b, fieldBeginnings[n-1]...)
			} else {
				b = append(append(b, own...), ": "...)
			}
			b = append(append(b, value...), "\r\n"...)
		}
	}
	b = strconv.AppendInt(append(b, "Age: "...), seconds(a.terms.age(q.now)), 10)
	b = append(b, "\r\nCache-Status: "...)
	return append(r.t.appendStatus(b, q, a.status), "\r\n"...)
}

// Close gives the memory to the next request. Nothing of the answer may be used any more.
func (r *Ready) Close() {
	v := r.visit
	if v == nil {
		return
	}
	v.inquiry.found.answer.body.closed(&r.t.store.sending)
	v.ready = Ready{}
	v.leave()
}

var (
	contentLengthNumber = fieldNumbers["Content-Length"]
	fieldBeginnings     = beginningsOf(fieldNames[:])
)

// beginningsOf are the lines of fields up to their values.
func beginningsOf(names []string) []string {
	all := make([]string, len(names))
	for i, name := range names {
		all[i] = name + ": "
	}
	return all
}

// isReady says whether the answer can be written as it lies: whole and plain, with
// a header that needs nothing but to be sent. What other caches and proxies said of
// it would have to be put together with what we say. Fields of a connection are not
// stored, nor is a length that is not the body's; both stay forbidden here, since what
// is written so goes past all that would notice.
func (a *answer) isReady() bool {
	if a.status != http.StatusOK || a.length != a.body.size || len(a.header["Date"]) != 1 {
		return false
	}
	for name, lines := range a.header {
		switch name {
		case "Via", "Cache-Status":
			return false
		}
		if name == "" || !isTokens(name) || slices.Contains(notStored[:], name) ||
			slices.ContainsFunc(lines, hasControl) {
			return false
		}
	}
	return true
}

// hasControl says whether a value has a character that cannot stand in a field.
func hasControl(s string) bool {
	for i := range len(s) {
		if c := s[i]; c < ' ' && c != '\t' || c == 0x7f {
			return true
		}
	}
	return false
}
