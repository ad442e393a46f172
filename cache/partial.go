package cache

import (
	"io"
	"net/http"
	"strconv"
	"time"
)

// fwdPartial is for requests of which a part only is stored (RFC 9211, section 2.2).
const fwdPartial = "partial"

// maxPartTries is how often a request looks again at parts that change while it looks.
const maxPartTries = 4

// piecewise says whether a request for which no whole answer is stored is looked
// at by parts.
func (q *inquiry) piecewise() bool {
	return q.req.Method == http.MethodGet && q.found.answer == nil && (q.partial || q.found.parts) && !q.directives.noStore
}

// good says whether a stored part may be used for the request.
func (q *inquiry) good(a *answer) bool {
	v := judge(q.now, &a.terms, q.directives)
	return v == useFresh || v == useAllowedStale
}

// byParts answers a request from stored parts, and asks the origin for no more
// than what is missing, slice by slice. It is not ok where that cannot be done:
// then the request goes its ordinary way.
func (t *Transport) byParts(q *inquiry) (res *http.Response, ok bool, err error) {
	for range maxPartTries {
		s, sub, todo := t.decideByParts(q)
		switch todo {
		case answerFresh:
			return t.stitchedHit(q, s.head), true, nil
		case refuseNotCached:
			return t.notCached(q), true, nil
		case passBy:
			return nil, false, nil
		}
		f, part := t.joinPiece(sub)
		switch part {
		case noPart:
			return nil, false, nil
		case lookAgain:
			continue
		}
		res, next, err := t.awaitPiece(q, sub, f, part == leads)
		switch next {
		case done:
			return res, true, err
		case goAlone:
			q.rec.Cache.Collapsed = false
			return nil, false, nil
		}
		q.now = time.Now()
	}
	q.rec.Cache.Collapsed = false
	return nil, false, nil
}

// decideByParts says what to do with a request that is looked at by parts: answer
// it from them, refuse it, fetch what sub asks for, or not look at parts (passBy).
func (t *Transport) decideByParts(q *inquiry) (s stitches, sub *inquiry, todo course) {
	s = t.stitches(q, q.good)
	sub, ok := t.missing(q, &s)
	switch {
	case !ok:
		return s, nil, passBy
	case sub == nil:
		return s, nil, answerFresh
	case q.directives.onlyIfCached:
		return s, sub, refuseNotCached
	}
	if _, known := t.knownUnstorable(q); known {
		return s, nil, passBy
	}
	return s, sub, fetch
}

// missing is what has to be asked of the origin before an answer can begin, nil
// for nothing. It is not ok where parts are of no use for the request.
func (t *Transport) missing(q *inquiry, s *stitches) (sub *inquiry, ok bool) {
	slice := min(SliceSize, t.rules.maxBody)
	next := *q
	next.found, next.order = found{}, order{wantAt: -1, whole: s.head}
	switch {
	case slice <= 0:
		return nil, false
	case s.head == nil:
		return q.first(slice)
	case !q.partial && s.head.length > t.rules.maxBody:
		return nil, false
	}
	next.fwd = fwdPartial
	needed := q.needs(s.head)
	if !q.good(s.head) {
		if strongValidator(s.head.header, s.head.terms.received) != "" {
			next.about, next.fwd = s.head, fwdStale
		}
		next.whole, s.spans = nil, nil
	}
	gap, more, ok := firstGap(needed, s.spans)
	switch {
	case ok && next.whole != nil && strongValidator(s.head.header, s.head.terms.received) == "":
		return q.first(slice) // nothing can be added to it
	case !q.partial && (more > maxGaps || next.whole == nil):
		return nil, false
	case !ok && next.whole != nil:
		return nil, true
	case !ok:
		gap = span{0, min(slice, s.head.length)} // only the head is needed: it is to be asked about
	case q.partial:
		gap = sliceAround(gap.start, s.head.length, s.spans, slice)
	}
	next.want, next.wantAt = rangeField(gap), gap.start
	return &next, true
}

// first is what is asked for where nothing is stored that more could be added to.
func (q *inquiry) first(slice int64) (sub *inquiry, ok bool) {
	if !q.partial {
		return nil, false
	}
	next := *q
	next.found, next.order = found{}, order{want: firstSlice(q.req.Header["Range"], slice), wantAt: -1}
	return &next, next.want != ""
}

// firstGap is the first of what is needed that is not there, and how many gaps
// there are, counted no farther than matters.
func firstGap(needed, have []span) (first span, gaps int, ok bool) {
	for _, n := range needed {
		for _, gap := range gapsIn(n, have, maxGaps+1) {
			if gaps++; gaps == 1 {
				first = gap
			}
		}
	}
	return first, gaps, gaps > 0
}

// needs are the parts of a whole that the answer to the request is made of.
func (q *inquiry) needs(whole *answer) []span {
	if isNotModified(q.req.Header, whole.status, whole.header, whole.terms.received) {
		return nil
	}
	all := []span{{0, whole.length}}
	if !q.partial {
		return all
	}
	one, several, v := wantedRange(q.req.Header, whole.header, whole.length, whole.terms.received)
	switch v {
	case onePart:
		return []span{one}
	case severalParts:
		return several
	case unsatisfiable:
		return nil
	}
	return all
}

// knownUnstorable says whether the last answer for the request's key was for its
// client alone, and why.
func (t *Transport) knownUnstorable(q *inquiry) (why refusal, known bool) {
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	hash := t.unstorableHash(q.key, q.traits)
	return s.unstorables.known[hash].why, s.unstorables.knows(hash, q.now)
}

// hasWanted says whether what a forward for a part is to bring has come meanwhile.
func (t *Transport) hasWanted(q *inquiry) bool {
	return q.whole != nil && q.about == nil && t.store.piece(&q.key, q.req.Header, q.whole, q.wantAt, t.and(q.good)) != nil
}

// joinPiece finds a flight for a part, or starts one. What it brings is stored
// even if nobody waits for its end: it is a slice at most, or what completes an answer.
func (t *Transport) joinPiece(sub *inquiry) (*flight, part) {
	f, part := t.join(sub, false)
	if part == leads || part == waits {
		f.keep()
	}
	return f, part
}

// awaitPiece waits for the first forward of a request that is answered by parts.
func (t *Transport) awaitPiece(q, sub *inquiry, f *flight, leader bool) (*http.Response, afterwards, error) {
	if err := f.wait(q.req.Context(), leader); err != nil {
		f.leave(leader)
		return nil, done, err
	}
	o := &f.outcome
	failed := o.err != nil || isFailure(o.status)
	if leader {
		q.rec.Origin, q.rec.Detail, q.rec.LimitHit = o.record.Origin, o.record.Detail, o.record.LimitHit
	}
	c := &q.rec.Cache
	c.Fwd, c.FwdStatus, c.Collapsed = sub.fwd, o.status, !leader
	if failed {
		if res := t.stitchedStandIn(q); res != nil {
			f.leave(leader)
			return res, done, nil
		}
	}
	switch {
	case o.err != nil:
		f.leave(leader)
		return nil, done, o.err
	case o.freshened:
		f.leave(leader)
		return nil, tryNext, nil
	case o.why == refusePurged:
		f.leave(leader) // what was purged meanwhile is asked for anew
		return nil, tryNext, nil
	case o.private != nil && leader && (o.status != http.StatusPartialContent || q.asked(sub.want)):
		return t.handOver(q, f), done, nil
	case o.private != nil, o.answer == nil:
		c.Detail = string(o.why)
		f.leave(leader)
		return nil, goAlone, nil
	case !leader && (!o.shared || !selected(o.answer.selectors, q.req.Header)):
		f.leave(false)
		return nil, goAlone, nil
	case !leader && f.fate(o.answer) != unpurged:
		f.leave(false)
		return nil, tryNext, nil
	}
	q.now = time.Now()
	c.Stored, c.Detail = leader && !o.validated, string(o.why)
	if !o.answer.isPart() {
		return t.respond(q, o.answer, f, !leader || o.answer.hadAge), done, nil
	}
	return t.respondWith(q, sub, f, leader)
}

// asked says whether the request is for just this range, with nothing that depends
// on what there is.
func (q *inquiry) asked(want string) bool {
	h := q.req.Header
	return len(h["Range"]) == 1 && h["Range"][0] == want && len(h["If-Range"])+len(h[ifNoneMatch])+len(h[ifModifiedSince]) == 0
}

// respondWith answers with a part that is coming, and those that are stored.
func (t *Transport) respondWith(q, sub *inquiry, f *flight, leader bool) (*http.Response, afterwards, error) {
	came, stored := f.outcome.answer, sub.whole
	head, aged := came.asWhole(), !leader || came.hadAge
	next := goAlone
	var fits bool
	switch needed := q.needs(head); {
	case stored != nil && sameBytes(stored, came):
		head, aged = stored.joined(came), true
		fits = came.part.holds(sub.wantAt)
	case stored != nil:
		// The origin has something else by now: what is stored is of no use.
		t.store.dropParts(q.key, q.req.Header, stored)
		fits = q.partial && came.begins(needed)
		if q.partial {
			next = tryNext
		}
	default:
		fits = came.begins(needed)
	}
	if !fits {
		f.leave(false)
		return nil, next, nil
	}
	return t.stitched(q, head, f, aged), done, nil
}

// begins says whether an answer that is made of these parts of the whole can begin
// with the one that came. Without a strong validator nothing can be added to it.
func (a *answer) begins(needed []span) bool {
	if len(needed) == 0 || !a.part.holds(needed[0].start) {
		return len(needed) == 0
	}
	_, _, more := firstGap(needed, []span{a.part})
	return !more || strongValidator(a.header, a.terms.received) != ""
}

// stitchedHit answers from stored parts alone.
func (t *Transport) stitchedHit(q *inquiry, head *answer) *http.Response {
	detail := freshOrMaxStale(head, q)
	if c := &q.rec.Cache; c.Fwd == fwdStale && c.FwdStatus == http.StatusNotModified { // it was confirmed
		if c.Stale = detail != ""; c.Stale {
			c.Detail = detail
		}
	} else {
		t.store.hits.Add(1)
		q.hitBy(head, detail)
	}
	return t.stitched(q, head, nil, true)
}

// stitchedStandIn answers from stored parts because the origin failed, nil where
// they do not hold all that is needed, or must not be used.
func (t *Transport) stitchedStandIn(q *inquiry) *http.Response {
	q.now = time.Now()
	s := t.stitches(q, func(a *answer) bool { return standsIn(q.now, &a.terms, q.directives) })
	if s.head == nil {
		return nil
	}
	if _, _, missing := firstGap(q.needs(s.head), s.spans); missing || len(s.spans) == 0 {
		return nil
	}
	c := &q.rec.Cache
	c.TTL, c.HasTTL = s.head.terms.ttl(q.now), true
	c.Stale, c.Detail = c.TTL <= 0, detailIfError
	q.rec.Origin.Fallback = "stale"
	q.standsIn = true
	return t.stitched(q, s.head, nil, true)
}

// stitched makes an answer of a whole whose parts are stored, or come by the
// flight, or are fetched when their turn comes.
func (t *Transport) stitched(q *inquiry, head *answer, f *flight, aged bool) *http.Response {
	m := t.headOf(q, head, aged)
	p := q.wanted(head, &m.res)
	t.retell(q, head, m)
	src := &source{t: t, q: q, head: head, flight: f, gone: q.req.Context().Done()}
	if m.res.Body == http.NoBody {
		_ = src.Close()
		return &m.res
	}
	switch {
	case p.several != nil:
		m.res.Body = severalBody{severalOf(&m.res, p.several, head, func(s span) io.Reader { return src.open(s) }), src}
	case p.whole:
		m.res.Body = src.open(span{0, head.length})
	default:
		m.res.Body = src.open(p.part)
	}
	return &m.res
}

// confirmedParts takes a 304 that speaks of stored parts.
func (f *flight) confirmedParts(res *http.Response, requested, received time.Time) {
	t := f.transport
	tags, ok := tagsOf(res.Header, t.tags)
	surrogate := t.takeOurs(res.Header)
	if len(surrogate) == 0 {
		surrogate = f.about.surrogate
	}
	h := updated(f.about.header, storedHeader(res.Header, received))
	h["Content-Length"] = []string{strconv.FormatInt(f.about.length, 10)}
	x := f.exchange(f.about.status, h)
	x.cookie, x.surrogate, x.tags, x.manyTags = false, surrogate, tags, !ok
	a, why := t.newAnswer(f.req.Header, &x, res.Header, requested, received)
	a.groups = groupNames(res.Header[cacheGroups])
	a.length, a.mark, a.search = f.about.length, f.about.mark, readNoVarySearch(h[noVarySearch])
	place, ok := f.placeFor(f.about.status, h)
	if why == storeIt && (!ok || place != f.key) {
		why = refuseSearch
	}
	t.store.flights.mu.Lock()
	switch {
	case why == storeIt && !f.isDoomedLocked() && !f.fate(f.about).gone():
		t.store.freshen(f.key, f.req.Header, a)
	case why != refuseAuthorized:
		t.store.dropParts(f.key, f.req.Header, f.about)
	}
	t.store.flights.mu.Unlock()
	f.settle(outcome{freshened: true, why: why, status: res.StatusCode})
}
