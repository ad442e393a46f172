package cache

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// hit answers from the store. With a detail the stored answer is stale.
func (t *Transport) hit(q *inquiry, detail string) *http.Response {
	t.store.hits.Add(1)
	q.hitBy(q.found.answer, detail)
	res := t.respond(q, q.found.answer, nil, true)
	if r, ok := res.Body.(*reader); ok && q.lone && q.form == "" {
		r.visit = q.visit
	}
	return res
}

// hitBy notes that a stored answer is given. With a detail it is stale.
func (q *inquiry) hitBy(a *answer, detail string) {
	c := &q.rec.Cache
	c.Hit, c.Fwd, c.FwdStatus = true, "", 0
	c.TTL, c.HasTTL = a.terms.ttl(q.now), true
	c.Stale, c.Detail = detail != "", detail
}

// freshOrMaxStale is the detail of a hit by an answer that is good for the request.
func freshOrMaxStale(a *answer, q *inquiry) string {
	if a.terms.ttl(q.now) > 0 {
		return ""
	}
	return detailMaxStale
}

// refused notes that the request is refused because nothing is stored.
func (q *inquiry) refused() {
	q.rec.Cache.Fwd, q.rec.Cache.Detail = "", detailOnlyIfCached
}

// standIn answers with what is stored because the origin failed.
func (t *Transport) standIn(q *inquiry) *http.Response {
	q.now = time.Now()
	c := &q.rec.Cache
	c.TTL, c.HasTTL = q.found.answer.terms.ttl(q.now), true
	c.Stale, c.Detail = c.TTL <= 0, detailIfError
	q.rec.Origin.Fallback = "stale"
	return t.respond(q, q.found.answer, nil, true)
}

// notCached is the answer to only-if-cached where nothing is stored (RFC 9111, section 5.2.1.7).
func (t *Transport) notCached(q *inquiry) *http.Response {
	q.refused()
	return bodyless(q.req, http.StatusGatewayTimeout, http.Header{
		"Content-Length": {"0"},
		"Cache-Status":   {t.status(q, http.StatusGatewayTimeout)},
	})
}

// respond answers a request with a stored answer, or one that is coming in by a
// flight: with all of it, or with what the request's conditions and range leave.
// With aged it says how old it is, as what the origin did not send for this
// request must.
func (t *Transport) respond(q *inquiry, a *answer, f *flight, aged bool) *http.Response {
	m := t.headOf(q, a, aged)
	b := t.coded(q, a, &m.res)
	if b == nil {
		b = a.body
	}
	p := q.wanted(a, &m.res)
	t.retell(q, a, m)
	if !p.whole && f != nil {
		f.keep()
	}
	if m.res.Body == http.NoBody {
		if f != nil {
			f.leave(false)
		}
		return &m.res
	}
	m.reader = reader{b: b, pos: p.part.start, end: -1, res: &m.res}
	if !b.whole.Load() { // else nobody waits; and a context that nobody asks need not look out
		m.reader.gone = q.req.Context().Done()
	}
	m.reader.sent = &t.store.sending
	b.opened(m.reader.sent)
	if p.whole {
		m.announce(b)
	} else {
		m.reader.end = p.part.start + p.part.length
	}
	if f != nil {
		m.reader.done = func() { f.leaveRead(q) }
	}
	m.res.Body = &m.reader
	if p.several != nil {
		m.severalParts(p.several, a)
	}
	return &m.res
}

// severalParts makes the body one of several parts.
func (m *made) severalParts(parts []span, a *answer) {
	m.res.Body = severalBody{severalOf(&m.res, parts, a, func(s span) io.Reader {
		return &reader{b: m.reader.b, gone: m.reader.gone, pos: s.start, end: s.end(), res: &m.res}
	}), &m.reader}
}

// headOf is an answer's head, before what the request's conditions and range make of it.
func (t *Transport) headOf(q *inquiry, a *answer, aged bool) *made {
	m, h := q.memory(a)
	if aged {
		m.age[0] = shared(strconv.AppendInt(m.ageText[:0], seconds(a.terms.age(q.now)), 10))
		h["Age"] = m.age[:]
	}
	m.status[0] = shared(t.appendStatus(m.statusText[:0], q, a.status))
	if upstream := h["Cache-Status"]; len(upstream) > 0 {
		h["Cache-Status"] = append(slices.Clip(upstream), m.status[0])
	} else {
		h["Cache-Status"] = m.status[:]
	}
	m.res = http.Response{
		StatusCode: a.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, ContentLength: a.length, Request: q.req,
	}
	return m
}

// memory is what the answer is made in, and its header, which is the request's own.
func (q *inquiry) memory(a *answer) (*made, http.Header) {
	switch {
	case !q.lone:
		h := make(http.Header, len(a.header)+3)
		maps.Copy(h, a.header)
		return new(made), h
	case q.found.copied:
		return &q.visit.made, a.header
	case q.visit.header == nil:
		q.visit.header = make(http.Header, len(a.header)+3)
	}
	clear(q.visit.header)
	maps.Copy(q.visit.header, a.header)
	return &q.visit.made, q.visit.header
}

// retell says in Cache-Status what the origin answered, where the client is
// answered with another status than the stored one.
func (t *Transport) retell(q *inquiry, a *answer, m *made) {
	if q.rec.Cache.Fwd == "" || m.res.StatusCode == a.status && q.rec.Cache.FwdStatus == a.status {
		return
	}
	all := slices.Clone(m.res.Header["Cache-Status"])
	all[len(all)-1] = t.status(q, m.res.StatusCode)
	m.res.Header["Cache-Status"] = all
}

// portion is what of an answer's body is sent.
type portion struct {
	whole   bool
	part    span
	several []span
}

// wanted makes of a whole answer what the request wants of it: nothing but the
// head, 304, 206 or 416. It sets http.NoBody where no body is to follow.
func (q *inquiry) wanted(a *answer, res *http.Response) portion {
	h := res.Header
	received := a.terms.received
	if isNotModified(q.req.Header, a.status, a.header, received) {
		res.StatusCode, res.ContentLength, res.Body = http.StatusNotModified, 0, http.NoBody
		onlyMetadata(h)
		return portion{}
	}
	if q.req.Method == http.MethodHead {
		res.Body = http.NoBody
		return portion{}
	}
	if !q.partial || a.status != http.StatusOK || a.length < 0 {
		return portion{whole: true}
	}
	part, several, v := wantedRange(q.req.Header, a.header, a.length, received)
	if v == severalParts && !ascend(several) && a.body != nil && !a.body.whole.Load() {
		return portion{whole: true} // what is coming in can be read once only, from front to back
	}
	switch v {
	case onePart:
		res.StatusCode, res.ContentLength = http.StatusPartialContent, part.length
		h["Content-Range"] = []string{contentRange(part, a.length)}
		h["Content-Length"] = []string{strconv.FormatInt(part.length, 10)}
		return portion{part: part}
	case severalParts:
		res.StatusCode = http.StatusPartialContent
		return portion{several: several}
	case unsatisfiable:
		res.StatusCode, res.ContentLength, res.Body = http.StatusRequestedRangeNotSatisfiable, 0, http.NoBody
		onlyMetadata(h)
		for _, name := range [...]string{"Cache-Control", "Expires", "Etag", "Last-Modified"} {
			delete(h, name) // they speak of the whole, not of this refusal
		}
		h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(a.length, 10)}
		h["Content-Length"] = []string{"0"}
		return portion{}
	}
	return portion{whole: true}
}

// onlyMetadata leaves of a header what a 304 has (RFC 9110, section 15.4.5).
func onlyMetadata(h http.Header) {
	for _, name := range [...]string{
		"Content-Length", "Content-Type", "Content-Encoding", "Content-Language", "Content-Range", "Accept-Ranges",
	} {
		delete(h, name)
	}
	if len(h["Etag"]) > 0 {
		delete(h, "Last-Modified")
	}
}

// handOver gives the leader the answer that is his alone, as it came. The
// client's leaving ends the forward from now on.
func (t *Transport) handOver(q *inquiry, f *flight) *http.Response {
	o := &f.outcome
	res := o.private
	res.Request = q.req
	q.rec.Cache.Detail = cmp.Or(string(o.why), q.found.why())
	if q.req.Context().Err() == nil && f.stripped && isNotModified(q.req.Header, res.StatusCode, res.Header, time.Now()) {
		res.Body.Close()
		f.finish()
		onlyMetadata(res.Header)
		addStatus(res.Header, t.status(q, http.StatusNotModified))
		return bodyless(q.req, http.StatusNotModified, res.Header)
	}
	addStatus(res.Header, t.status(q, res.StatusCode))
	f.deadline.Stop()
	res.Body = &handedBody{
		ReadCloser: res.Body,
		stop:       context.AfterFunc(q.req.Context(), f.cancel),
		flight:     f,
		inquiry:    q,
	}
	return res
}

// handedBody is the body of an answer that is its leader's alone.
type handedBody struct {
	io.ReadCloser
	stop    func() bool
	flight  *flight
	inquiry *inquiry
}

// Close ends the flight, and notes what became of it at the origin after the head.
func (b *handedBody) Close() error {
	err := b.ReadCloser.Close()
	b.stop()
	b.inquiry.rec.Origin = b.flight.record.Origin
	b.flight.finish()
	return err
}

// addStatus adds our member to Cache-Status, behind those of the caches beyond us.
func addStatus(h http.Header, member string) {
	h["Cache-Status"] = append(slices.Clip(h["Cache-Status"]), member)
}

// bodyless is an answer without a body.
func bodyless(req *http.Request, status int, h http.Header) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: http.NoBody, Request: req,
	}
}
