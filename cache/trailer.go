package cache

import (
	"net/http"
	"slices"
)

// Trailers are stored with the body, apart from the header, into which they are never
// merged (RFC 9111, section 3.1; RFC 9110, section 6.5.1). They go with the whole
// body as it came: what else is made of it (a part, another coding, a whole put
// together from parts) has none, since they may speak of just those bytes.

// storedTrailer is what is kept of an answer's trailers, in memory of its own.
func (a *answer) storedTrailer(res *http.Response) http.Header {
	if len(res.Trailer) == 0 || a.isPart() {
		return nil
	}
	named := connectionNamed(res.Header["Connection"])
	kept := make(http.Header, len(res.Trailer))
	for name, lines := range res.Trailer {
		// A cookie in this place nobody sets for all on purpose.
		if len(lines) > 0 && name != "Set-Cookie" && !slices.Contains(notStored[:], name) && !slices.Contains(named, name) {
			kept[once(name)] = clones(lines)
		}
	}
	return kept
}

// announce notes which fields are to follow.
func (b *body) announce(trailer http.Header) {
	if len(trailer) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trailer = make(http.Header, len(trailer))
	for name := range trailer {
		b.trailer[name] = nil
	}
}

// trailerCost is what the trailers take in memory.
func (b *body) trailerCost() (n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.trailer) > 0 {
		n = costMap + costSlot*int64(max(0, len(b.trailer)-8))
	}
	for name, lines := range b.trailer {
		n += int64(len(name))
		for _, line := range lines {
			n += 16 + int64(len(line))
		}
	}
	return n
}

// announce says which fields follow the whole body. Its length is not said then:
// behind a Content-Length nothing can follow in HTTP/1.1.
func (m *made) announce(b *body) {
	if !b.whole.Load() {
		b.mu.Lock()
		defer b.mu.Unlock()
	}
	if len(b.trailer) == 0 {
		return
	}
	m.res.Trailer = make(http.Header, len(b.trailer))
	for name := range b.trailer {
		m.res.Trailer[name] = nil
	}
	m.res.ContentLength = -1
	delete(m.res.Header, "Content-Length")
}
