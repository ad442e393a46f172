package cache

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// isPart says whether the answer holds a part of a representation only.
func (a *answer) isPart() bool { return a.total > 0 }

// span is what the answer holds of its representation.
func (a *answer) span() span {
	if a.isPart() {
		return a.part
	}
	return span{0, a.length}
}

// strongValidator is what tells the bytes of an answer from all others of its
// URL (RFC 9110, section 8.8.1): a strong entity tag, or else a date of change
// that lies a second before the answer at least. It is empty where there is none.
func strongValidator(h http.Header, received time.Time) string {
	if tags := h["Etag"]; len(tags) > 0 {
		if len(tags) > 1 || isWeak(tags[0]) {
			return ""
		}
		return tags[0]
	}
	modified, known := soleDate(h["Last-Modified"], received)
	made, dated := soleDate(h["Date"], received)
	if !known || !dated || made.Before(modified.Add(time.Second)) {
		return ""
	}
	return h["Last-Modified"][0]
}

// sameBytes says whether two answers are, or are parts of, one representation
// (RFC 9110, section 15.3.7.3): with the same strong validator, and of one length.
// A part without such a validator is of the same bytes as itself only.
func sameBytes(a, b *answer) bool {
	if a.mark != nil && a.mark == b.mark {
		return true
	}
	size := func(a *answer) int64 {
		if a.isPart() {
			return a.total
		}
		return a.length
	}
	v := strongValidator(a.header, a.terms.received)
	return size(a) == size(b) && v != "" && v == strongValidator(b.header, b.terms.received)
}

// least is the position of what was put together from answers that were
// requested at these: a purge that ends one of them ends the whole.
func least(first uint64, others ...uint64) uint64 {
	return slices.Min(append(others, first))
}

// stalest are the terms of what is put together from two answers: those of the
// one that is fresh for less long.
func stalest(a, b terms) terms {
	now := a.received
	if b.received.After(now) {
		now = b.received
	}
	if b.ttl(now) < a.ttl(now) {
		a, b = b, a
	}
	a.noCache = a.noCache || b.noCache
	a.neverStale = a.neverStale || b.neverStale
	a.spent = a.spent || b.spent
	a.immutable = a.immutable && b.immutable
	return a
}

// both are the groups of what was put together: what ends one part ends the whole.
func both(a, b []string) []string {
	if slices.Equal(a, b) {
		return a
	}
	all := slices.Concat(a, b)
	slices.Sort(all)
	return slices.Compact(all)
}

// asWhole is the head of the whole that the part belongs to. It has no body.
func (a *answer) asWhole() *answer {
	w := *a
	if !a.isPart() {
		return &w
	}
	w.mark = a.body
	w.body, w.length, w.part, w.total = nil, a.total, span{}, 0
	return &w
}

// joined is a whole's head once more has come that belongs to it. The fields are
// those of the newer part (RFC 9111, section 3.4).
func (a *answer) joined(newer *answer) *answer {
	w := *newer.asWhole()
	w.include(a)
	return &w
}

// include says that the bytes of an older answer are in this one, too.
func (a *answer) include(older *answer) {
	a.terms = stalest(a.terms, older.terms)
	a.position = least(a.position, older.position)
	a.softened = min(a.softened, older.softened)
	a.groups, a.tags = both(a.groups, older.groups), both(a.tags, older.tags)
	a.hadAge = true
}

// wholeHeader makes of a 206's header that of the whole, which is shorter by one
// field. It is the caller's own.
func wholeHeader(h http.Header, total int64) {
	delete(h, "Content-Range")
	h["Content-Length"] = []string{strconv.FormatInt(total, 10)}
}

// cutShort is the part that an answer becomes whose end did not come (RFC 9111,
// section 3.3): it can be completed, since its bytes are known by a strong
// validator. It is nil without one, and where nothing came.
func (a *answer) cutShort() *answer {
	b := a.body
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.status != http.StatusOK || a.length < 0 || b.start != 0 || b.size == 0 || b.size >= a.length ||
		strongValidator(a.header, a.terms.received) == "" {
		return nil
	}
	c := *a
	c.total = a.length
	if a.isPart() {
		c.total = a.total
	}
	c.part, c.length = span{a.span().start, b.size}, b.size
	c.header = maps.Clone(a.header)
	wholeHeader(c.header, c.total)
	c.body = bodyOf(b.chunks)
	c.mark = c.body
	c.forms = a.forms.like()
	return &c
}

// bodyOf is a body that is whole from its beginning.
func bodyOf(chunks [][]byte) *body {
	b := &body{chunks: chunks, ended: true}
	for _, c := range chunks {
		b.size += int64(len(c))
	}
	b.whole.Store(true)
	return b
}

// combine puts together a whole of parts of one representation, newest first. It
// is nil while something is missing. The bytes are not copied, but for where
// parts overlap.
func combine(parts []*answer) *answer {
	total := parts[0].total
	have := make([]span, len(parts))
	for i, p := range parts {
		have[i] = p.part
	}
	if len(gapsIn(span{0, total}, have, 1)) > 0 {
		return nil
	}
	w := parts[0].asWhole()
	w.mark, w.length, w.forms = nil, total, w.forms.like()
	ordered := slices.SortedStableFunc(slices.Values(parts), func(a, b *answer) int { return byStart(a.part, b.part) })
	var chunks [][]byte
	pos := int64(0)
	for _, p := range ordered {
		w.include(p)
		at := p.part.start
		for _, c := range p.body.chunks {
			next := at + int64(len(c))
			if next > pos {
				if pos > at {
					c = slices.Clone(c[pos-at:])
				}
				chunks = append(chunks, c)
				pos = next
			}
			at = next
		}
	}
	w.body = bodyOf(chunks)
	return w
}

// like are the forms of another body that is to have some where this one has.
func (f *forms) like() *forms {
	if f == nil {
		return nil
	}
	return new(forms)
}

// become makes an answer one that is a part of a whole. A part that is all of it
// stays a whole.
func (a *answer) become(part span, total int64) {
	wholeHeader(a.header, total)
	if part.length < total {
		a.part, a.total, a.mark = part, total, a.body
	}
}
