package cache

import (
	"hash/maphash"
	"io"
	"net/http"
	"net/url"
	"time"
)

// changes counts, by a hash of the path, how often something was made invalid.
type changes [256]uint32

func (s *Store) changeSlot(k *Key) uint8 { return uint8(maphash.Comparable(s.objects.seed, k.path())) }

// posted is a POST whose answer may be stored as one to GET: the origin says how long
// it is fresh, and by a Content-Location that it is what a GET of the same URL would
// bring (RFC 9110, section 9.3.3; RFC 9111, section 4).
type posted struct {
	t         *Transport
	q         *inquiry
	requested time.Time
	position  uint64
	changes   uint32 // of the path, when it was sent, and those that it made itself
	answer    *answer
	reserved  int64
	body      []byte
	src       io.ReadCloser
}

// newPost notes what has to be known before a POST is sent, nil for one whose answer
// is never stored.
func (t *Transport) newPost(q *inquiry) *posted {
	if q.req.Method != http.MethodPost || bypass(q.req.Header) != "" || q.directives.noStore || t.store.searches.keyed(q.exact) != q.exact {
		return nil
	}
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	q.post = &posted{t: t, q: q, requested: time.Now(), position: t.store.purges.position.Load(), changes: s.changes[t.store.changeSlot(&q.exact)]}
	return q.post
}

// hear judges the head of the answer, as it came.
func (p *posted) hear(res *http.Response) {
	t, q, received := p.t, p.q, time.Now()
	h := res.Header
	if res.StatusCode != http.StatusOK || !p.isItself(h["Content-Location"]) || res.ContentLength < 0 ||
		len(h["Content-Encoding"])+len(h[noVarySearch])+len(res.Trailer)+len(h["Trailer"]) > 0 {
		return
	}
	tags, ok := tagsOf(h, t.tags)
	fields := storedHeader(h, received)
	surrogate := t.takeOurs(fields)
	x := exchange{
		authorization: q.traits.authorization, cookie: q.traits.cookie, certificate: q.traits.certificate, status: res.StatusCode, header: fields,
		length: res.ContentLength, position: p.position, surrogate: surrogate, tags: tags, manyTags: !ok,
	}
	if lifetime, _ := explicitLifetime(fields, control(fields, surrogate), received); lifetime == 0 {
		return
	}
	a, why := t.newAnswer(q.req.Header, &x, h, p.requested, received)
	if why != storeIt || !t.store.reserve(chunkCost(res.ContentLength)) {
		return
	}
	p.reserved, a.length, p.answer = chunkCost(res.ContentLength), res.ContentLength, a
	p.body = make([]byte, 0, res.ContentLength)
	if t.scope.Coder != nil {
		a.forms = new(forms)
	}
	q.rec.Cache.Stored = true
}

// isItself says whether a Content-Location names the URL of the request.
func (p *posted) isItself(lines []string) bool {
	if len(lines) != 1 {
		return false
	}
	target := keyOf(&p.t.scope, p.q.req)
	base, err := url.Parse(target.Scheme + "://" + target.Host + target.Path)
	if err != nil {
		return false
	}
	if target.HasQuery {
		base.RawQuery = target.Query
	}
	u, err := base.Parse(lines[0])
	return err == nil && keyOfURL(&p.t.scope, u.Scheme, u.Host, u) == target
}

// keep lets the body be kept while the client reads it. own are the keys that the
// answer itself has ended.
func (p *posted) keep(res *http.Response, own []Key) {
	if p == nil || p.answer == nil {
		return
	}
	p.src, res.Body = res.Body, p
	for _, k := range own {
		if p.t.store.changeSlot(&k) == p.t.store.changeSlot(&p.q.exact) {
			p.changes++
		}
	}
}

// Read implements io.Reader.
func (p *posted) Read(b []byte) (int, error) {
	n, err := p.src.Read(b)
	if p.answer != nil && len(p.body)+n <= cap(p.body) {
		p.body = append(p.body, b[:n]...)
	} else if p.answer != nil {
		p.drop()
	}
	if err == io.EOF && p.answer != nil && int64(len(p.body)) == p.answer.length {
		p.commit()
	}
	return n, err
}

// Close implements io.Closer. A client that has all of it need not have seen the end.
func (p *posted) Close() error {
	switch {
	case p.answer == nil:
	case int64(len(p.body)) == p.answer.length:
		p.commit()
	default:
		p.drop()
	}
	return p.src.Close()
}

// commit stores the answer, unless anything else on its path was changed meanwhile.
func (p *posted) commit() {
	a, s := p.answer, &p.t.store.flights
	p.answer = nil
	a.body = bodyOf([][]byte{p.body})
	s.mu.Lock()
	defer s.mu.Unlock()
	fate, _ := p.t.ledger.fate(&p.q.exact, a)
	if s.closed || s.changes[p.t.store.changeSlot(&p.q.exact)] != p.changes || fate != unpurged {
		p.q.rec.Cache.Stored = false
		p.t.store.release(p.reserved)
		return
	}
	p.t.store.put(p.q.exact, p.q.req.Header, a, p.reserved)
}

func (p *posted) drop() {
	p.answer, p.q.rec.Cache.Stored = nil, false
	p.t.store.release(p.reserved)
}
