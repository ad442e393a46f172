package cache

import (
	"cmp"
	"context"
	"io"
	"maps"
	"net/http"
	"time"
)

// run is a flight from its forward to the last byte of its answer.
func (f *flight) run() {
	ctx := f.req.Context()
	f.pause(ctx)
	requested := time.Now()
	res, asked, err := f.forward(ctx, !f.anew)
	var old *answer
	if err == nil && asked && res.StatusCode == http.StatusNotModified {
		old = f.meant(res.Header)
	}
	if err == nil && asked && res.StatusCode == http.StatusNotModified && old == nil {
		// It speaks of something else than what is stored: ask for the whole.
		res.Body.Close()
		requested = time.Now()
		res, asked, err = f.forward(ctx, false)
	}
	received := time.Now()
	switch {
	case err != nil:
		f.settle(outcome{err: err, standIn: f.hasStandIn(received)})
		f.finish()
	case isFailure(res.StatusCode) && f.hasStandIn(received):
		res.Body.Close()
		f.settle(outcome{standIn: true, status: res.StatusCode})
		f.finish()
	case asked && res.StatusCode == http.StatusNotModified && f.about != nil:
		res.Body.Close()
		f.confirmedParts(res, requested, received)
		f.finish()
	case asked && res.StatusCode == http.StatusNotModified:
		res.Body.Close()
		f.confirmed(old, res, requested, received)
		f.finish()
	default:
		f.arrived(ctx, res, requested, received)
	}
}

// hasStandIn says whether the stored answer may be given instead of an error.
func (f *flight) hasStandIn(now time.Time) bool {
	return f.candidate != nil && standsIn(now, &f.candidate.terms, f.wishes) && !f.fate(f.candidate).gone()
}

// forward sends the request on, asking whether the stored answer is still
// right where there is one that can be asked about.
func (f *flight) forward(ctx context.Context, ask bool) (res *http.Response, asked bool, err error) {
	f.position.Store(f.transport.store.purges.position.Load()) // before it is asked, and before it is looked at what was purged
	stored := cmp.Or(f.candidate, f.about)
	if !ask || stored != nil && f.fate(stored).gone() {
		stored = nil
	}
	req := f.req
	askOthers := ask && stored == nil && len(f.others) > 0
	if stored != nil || f.content != nil || askOthers {
		req = req.WithContext(ctx)
	}
	if stored != nil {
		req.Header = maps.Clone(req.Header)
		asked = askWhether(req.Header, stored.header)
	}
	if askOthers {
		req.Header = maps.Clone(req.Header)
		req.Header[ifNoneMatch] = []string{tagsOfAll(f.others)}
		asked = true
	}
	if f.content != nil {
		withContent(req, f.content)
	}
	done, err := f.turn(ctx)
	if err != nil {
		return nil, false, err
	}
	defer done()
	res, err = f.transport.next.RoundTrip(req)
	return res, asked, err
}

// exchange is what the rules for storing look at.
func (f *flight) exchange(status int, h http.Header) exchange {
	return exchange{
		authorization: f.traits.authorization,
		cookie:        f.traits.cookie,
		certificate:   f.traits.certificate,
		status:        status,
		header:        h,
		length:        -1,
		position:      f.position.Load(),
		override:      f.override,
	}
}

// confirmed takes a 304: the stored answer goes on, with the fields and from
// the moment of the 304 (RFC 9111, section 4.3.4).
func (f *flight) confirmed(old *answer, res *http.Response, requested, received time.Time) {
	t := f.transport
	tags, ok := tagsOf(res.Header, t.tags)
	if ok && len(tags) == 0 {
		tags = old.tags
	}
	surrogate := t.takeOurs(res.Header)
	if len(surrogate) == 0 {
		surrogate = old.surrogate
	}
	h := updated(old.header, storedHeader(res.Header, received))
	x := f.exchange(old.status, h)
	// The body was stored from a request without credentials, and is the same.
	x.cookie, x.surrogate, x.tags, x.manyTags = false, surrogate, tags, !ok
	a, why := t.newAnswer(f.req.Header, &x, res.Header, requested, received)
	a.body, a.length, a.forms, a.search = old.body, old.length, old.forms, readNoVarySearch(h[noVarySearch])
	if f.key.Overlay != 0 && a.forms != nil || !old.is(f.candidate) {
		a.forms = old.forms.like() // what is stored there keeps its own
	}
	if place, ok := f.placeFor(old.status, h); why == storeIt && (!ok || place != f.key) {
		why = refuseSearch
	} else {
		f.place = place
	}
	f.settle(outcome{
		answer: a, shared: why == storeIt && judge(received, &a.terms, requestDirectives{}) == useFresh,
		validated: true, why: why, status: res.StatusCode,
	})
	switch {
	case why == storeIt:
		f.commit(a, 0)
	case why == refuseAuthorized, !old.is(f.candidate):
		// What is stored stays as it is: this 304 is for one user's eyes.
	default:
		t.store.remove(f.key, old)
	}
}

// arrived takes the head of any other answer, and its body where it is stored.
func (f *flight) arrived(ctx context.Context, res *http.Response, requested, received time.Time) {
	t := f.transport
	tags, ok := tagsOf(res.Header, t.tags)
	surrogate := t.takeOurs(res.Header)
	x := f.exchange(res.StatusCode, res.Header)
	x.surrogate, x.tags, x.manyTags = surrogate, tags, !ok
	x.length = res.ContentLength
	part, total, isPart := partOf(res)
	if isPart = isPart && f.want != ""; isPart {
		x.status, x.length = http.StatusOK, part.length // what is said of the whole, is said of its parts
	}
	a, why := t.newAnswer(f.req.Header, &x, res.Header, requested, received)
	a.body, a.length = new(body), x.length
	a.body.keptBy(&t.store.sending)
	if t.scope.Coder != nil {
		a.forms = new(forms)
	}
	filling := filler{flight: f, answer: a, body: a.body, src: res.Body}
	place, ok := f.placeFor(res.StatusCode, res.Header)
	a.search = readNoVarySearch(res.Header[noVarySearch])
	if f.place = place; why == storeIt && (!ok || isPart && place != f.key) {
		why = refuseSearch
	}
	if f.want != "" && x.status != http.StatusOK {
		why = refuseStatus // 416, and whatever else was said to this range
	}
	if why == storeIt && f.fate(a).gone() {
		why = refusePurged
	}
	if why == storeIt && x.length != 0 && !filling.grow() {
		why = refuseOverwhelmed
	}
	if why == refuseTooLarge {
		t.store.reached("max_body")
	}
	if why != storeIt {
		if !f.settle(outcome{private: res, why: why, status: res.StatusCode}) {
			res.Body.Close()
			f.finish()
		}
		return
	}
	a.header = storedHeader(res.Header, received)
	if isPart {
		a.become(part, total)
	} else {
		a.body.announce(res.Trailer)
	}
	f.settle(outcome{
		answer: a, shared: judge(received, &a.terms, requestDirectives{}) == useFresh, status: res.StatusCode,
	})
	filling.run(ctx, res)
	f.finish()
}

// newAnswer judges an answer and reckons its terms. request is the header that
// selected it, origin the one that came, x.header what is to be stored. The
// answer is of use to its leader even if it is refused.
func (t *Transport) newAnswer(request http.Header, x *exchange, origin http.Header, requested, received time.Time) (*answer, refusal) {
	d := x.override.terms(control(x.header, x.surrogate))
	x.tags, x.manyTags = x.override.allTags(x)
	lifetime, from, why := storable(x, d, t.rules, received)
	if why == storeIt && x.manyTags {
		t.store.reached("tags")
		why = refuseTags
	}
	names, _ := varyNames(x.header["Vary"])
	_, hadAge := ageValue(origin["Age"])
	return &answer{
		status: x.status,
		header: x.header,
		terms: terms{
			received:   received,
			initialAge: initialAge(origin, requested, received),
			lifetime:   lifetime,
			source:     from,
			noCache:    d.noCache,
			immutable:  d.immutable,
			neverStale: neverStale(d),
			stale:      windows(d, t.rules.stale, lifetime),
		},
		selectors: selectorsOf(names, request),
		tags:      x.tags,
		groups:    groupNames(x.header[cacheGroups]),
		ledger:    t.ledger,
		from:      t.provenance(),
		revision:  t.scope.Revision,
		keys:      t.keys,
		position:  x.position,
		surrogate: clones(x.surrogate),
		hadAge:    hadAge,
	}, why
}

// takeOurs takes away what is between the origin and us: the fields with tags, and
// Surrogate-Control, whose lines it returns.
func (t *Transport) takeOurs(h http.Header) (surrogate []string) {
	for _, name := range t.ours {
		delete(h, name)
	}
	surrogate = h[surrogateControl]
	delete(h, surrogateControl)
	return surrogate
}

// filler fills a flight's body from its source.
type filler struct {
	flight   *flight
	answer   *answer
	body     *body // the answer's; it outlives the filler
	src      io.ReadCloser
	reserved int64
	window   bool // the body is too large to be kept
}

// run reads the source to its end, and stores the answer if all of it came.
func (w *filler) run(ctx context.Context, res *http.Response) {
	defer w.src.Close()
	err := w.fill(ctx)
	if err == nil && w.answer.length >= 0 && w.body.size != w.answer.length {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		w.flight.closeToOthers() // first: who comes after the break begins anew
	}
	w.body.end(err, w.answer.storedTrailer(res))
	t := w.flight.transport
	defer w.body.left(&t.store.sending)
	if w.body.whole.Load() && w.body.size <= t.rules.maxBody {
		w.flight.commit(w.answer.completed(w.body.size), w.reserved)
	} else if cut := w.answer.cutShort(); err != nil && cut != nil {
		t.store.abandon(w.answer.forms)
		w.flight.commit(cut, w.reserved)
	} else {
		t.store.release(w.reserved)
		t.store.abandon(w.answer.forms)
	}
}

// fill reads until the source ends. It returns nil at its regular end.
func (w *filler) fill(ctx context.Context) error {
	var past [1]byte
	for {
		p := w.body.free()
		switch {
		case len(p) > 0:
		case w.answer.length >= 0 && w.body.size >= w.answer.length:
			p = past[:] // only the end may come
		case !w.window && w.grow():
			continue
		default:
			if !w.window {
				w.toWindow()
			}
			if !w.body.recycle(ctx) {
				return context.Cause(ctx)
			}
			continue
		}
		n, err := w.src.Read(p)
		if n > 0 && &p[0] == &past[0] {
			return io.ErrUnexpectedEOF // more came than was announced
		}
		if n > 0 {
			w.body.publish(n)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// grow adds a chunk, if there is room for it.
func (w *filler) grow() bool {
	t := w.flight.transport
	size := int64(firstChunk)
	if n := len(w.body.chunks); n > 0 {
		size = min(2*int64(cap(w.body.chunks[n-1])), maxChunk)
	}
	if w.answer.length >= 0 {
		size = min(maxChunk, w.answer.length-w.body.size)
	}
	if w.body.size > t.rules.maxBody {
		return false
	}
	if !t.store.reserve(chunkCost(size)) {
		t.store.reached("memory")
		return false
	}
	w.reserved += chunkCost(size)
	w.body.addChunk(int(size))
	return true
}

// toWindow gives up to store the body. Those who read it go on; nobody else comes.
func (w *filler) toWindow() {
	w.window = true
	f := w.flight
	if w.body.size > f.transport.rules.maxBody {
		f.transport.store.reached("max_body")
	}
	s := &f.transport.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(f)
	if f.kept {
		f.kept = false
		f.holds--
	}
	if f.holds == 0 {
		f.cancel()
	}
}
