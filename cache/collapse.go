package cache

import (
	"context"
	"hash/maphash"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// What bounds flights. Their bodies are bounded by max_body and by the store.
const (
	// FlightDeadline ends a flight that goes on for longer, whoever reads it. An
	// answer that is its leader's alone has the leader's own deadlines.
	FlightDeadline = time.Hour
	// MaxRefreshes is how many fetches in the background there are at once.
	// Beyond it stale answers are used without one.
	MaxRefreshes = 256
	// RefreshJitter is the longest that a fetch in the background waits, by chance,
	// before it begins, so that what was stored together is not fetched together.
	// It is a tenth of the window in which the stale answer may be used, if that is less.
	RefreshJitter = time.Second
	// nearlyDone: an answer that nobody reads any more is fetched to its end
	// if no more bytes than this are missing.
	nearlyDone = 256 << 10
	// interimKept: so many interim answers wait for the leader to pass them on.
	interimKept = 8
)

// flight is one forward of a request whose answer may be shared. It runs in a
// goroutine of its own with a context of its own, so that the client who
// caused it (the leader) may leave. It holds on while anybody waits for it or
// reads from it.
type flight struct {
	transport *Transport
	key       Key
	exact     Key // of the leader's URL
	place     Key // where the answer is stored
	traits    traits
	req       *http.Request // what is forwarded; its header selects what is stored
	content   []byte        // of a QUERY
	position  atomic.Uint64 // of purges when it was forwarded, before that when it was made
	manner
	candidate *answer // the stored answer that is asked about or stands in for an error; may be nil
	order             // what part is asked for
	record    *record.Record
	cancel    context.CancelFunc
	deadline  *time.Timer // cancels, too
	interim   chan interim
	settled   chan struct{} // closed when the outcome is known
	outcome   outcome       // not changed after that

	// All below is guarded by flights.mu.
	holds      int  // who waits, or reads
	joinable   bool // others may come
	doom       doom // what it brings was made invalid on its way
	leaderLeft bool
	kept       bool // it holds itself, so that what it brings is stored
	refreshing bool
	hurry      chan struct{} // of a refresh: closed when somebody waits for it
	hurried    bool
}

// manner is how a flight asks.
type manner struct {
	refill   bool      // there is a stored answer that is not used any more: see MaxRefills
	anew     bool      // nobody asks whether the stored answer is still right: see [Transport.Anew]
	stripped bool      // the client's own conditions were taken away
	override *Override // the leader's; nil without one
	wishes   requestDirectives
}

// outcome is what came of a flight. Exactly one of answer, private and err is
// set, or none if the stored answer stands in for a status of failure.
type outcome struct {
	answer    *answer
	shared    bool           // the answer is for others than the leader too
	private   *http.Response // it must not be shared: the leader's alone
	err       error
	standIn   bool // the candidate is given instead
	validated bool // the answer is the candidate, which the origin confirmed
	freshened bool // stored parts were confirmed: whoever waits looks again
	why       refusal
	status    int // of the forward, 0 if there was none
	record    record.Record
}

// interim is an answer of 1xx on its way to the leader.
type interim struct {
	status int
	header textproto.MIMEHeader
}

// part is what a request plays in a flight.
type part int

const (
	noPart    part = iota // nothing is fetched for the store any more
	lookAgain             // what is stored has changed meanwhile
	leads
	waits
)

// join finds a flight for a request or starts one. alone is for a request that
// has waited for an answer it could not have: it does not wait again.
func (t *Transport) join(q *inquiry, alone bool) (*flight, part) {
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, noPart
	}
	alone = alone || t.aloneLocked(q)
	if f := t.joinableLocked(q, alone); f != nil {
		f.holds++
		f.hurryLocked()
		return f, waits
	}
	if !t.lookup(q).answer.is(q.found.answer) || t.hasWanted(q) {
		return nil, lookAgain
	}
	if q.ahead && int64(s.ahead) >= min(MaxAhead, max(1, t.store.limit/aheadShare/SliceSize)) {
		t.store.reached("ahead")
		return nil, noPart
	}
	f := t.newFlight(q, alone)
	f.holds = 1
	t.startLocked(f, !alone)
	return f, leads
}

// aloneLocked says that a request does not wait for others': what comes is seldom for it.
func (t *Transport) aloneLocked(q *inquiry) bool {
	return q.found.answer != nil && q.found.answer.terms.noCache ||
		t.store.flights.unstorables.knows(t.unstorableHash(q.key, q.traits), q.now)
}

// joinableLocked is the flight that a request may wait for; nil without one.
func (t *Transport) joinableLocked(q *inquiry, alone bool) *flight {
	for _, f := range t.store.flights.byKey[q.key] {
		if t.understands(f.transport.provenance()) && f.admits(q, alone) {
			return f
		}
	}
	return nil
}

// refreshesLocked says that what was found is being fetched already.
func (s *flights) refreshesLocked(q *inquiry) bool {
	return slices.ContainsFunc(s.byKey[q.key], func(f *flight) bool { return f.candidate.is(q.found.answer) })
}

// admits says whether a request may wait for this flight: it asks as the leader
// did, as far as one can tell before there is an answer, or may be given the
// answer that is coming.
func (f *flight) admits(q *inquiry, alone bool) bool {
	if f.want != q.want || (f.about == nil) != (q.about == nil) {
		return false
	}
	select {
	case <-f.settled:
		a := f.outcome.answer
		return selected(a.selectors, q.req.Header) && f.fate(a) == unpurged && judge(q.now, &a.terms, q.directives) == useFresh
	default:
	}
	if alone || f.traits != q.traits || !f.candidate.is(q.found.answer) || f.transport.ledger.before(&q.key, f.position.Load()) {
		return false
	}
	for _, s := range q.found.latest {
		mine, have := selecting(s.name, q.req.Header[s.name])
		theirs, had := selecting(s.name, f.req.Header[s.name])
		if mine != theirs || have != had {
			return false
		}
	}
	return true
}

// refresh fetches a stale answer anew, when it likes.
func (t *Transport) refresh(q *inquiry) {
	t.background(q, MaxRefreshes, "refreshes", func(f *flight) { f.hurry = make(chan struct{}) })
}

// background starts a fetch in the background, one for each stored answer at a time,
// where fewer than most run. It is nobody's request: it carries no credentials but those
// that the stored answer was selected by. as says how it is fetched. It says whether it did.
func (t *Transport) background(q *inquiry, most int, limit string, as func(*flight)) bool {
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.refreshesLocked(q) {
		return false
	}
	if s.refreshes >= most {
		t.store.reached(limit)
		return false
	}
	f := t.newFlight(q, false)
	selects := func(name string) bool {
		return slices.ContainsFunc(q.found.answer.selectors, func(s selector) bool { return s.name == name })
	}
	for _, name := range selvage.CredentialFields() {
		switch {
		case selects(name) || t.keys.has(name):
		case name == "Cookie":
			t.keys.onlyCookies(f.req.Header)
		default:
			delete(f.req.Header, name)
		}
	}
	f.traits = t.traitsOf(f.req.Header)
	f.holds, f.kept, f.leaderLeft, f.refreshing = 1, true, true, true
	f.record.Timing = record.Timing{} // nobody's head came before it
	as(f)
	s.refreshes++
	t.startLocked(f, true)
	return true
}

// pause lets a refresh wait for a while, by chance, unless somebody waits for it.
func (f *flight) pause(ctx context.Context) {
	if f.hurry == nil {
		return
	}
	most := min(f.candidate.terms.stale.whileRevalidate/10, RefreshJitter)
	if most <= 0 {
		return
	}
	timer := time.NewTimer(rand.N(most))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-f.hurry:
	case <-ctx.Done():
	}
}

func (f *flight) hurryLocked() {
	if f.hurry != nil && !f.hurried {
		f.hurried = true
		close(f.hurry)
	}
}

// newFlight makes a flight of a request: a GET for the whole, in a context that
// has nothing of the client's but its record's facts and, for interim answers,
// the leader's ear. conditions keeps the client's own conditions, which is right
// only where nobody else will see the answer and nothing is stored to ask about.
func (t *Transport) newFlight(q *inquiry, conditions bool) *flight {
	f := &flight{
		transport: t,
		key:       q.key.clone(),
		exact:     q.exact.clone(),
		traits:    q.traits,
		candidate: q.found.answer,
		content:   q.content,
		manner:    manner{refill: q.found.refill, override: q.override, wishes: q.directives},
		record: &record.Record{
			Start: q.rec.Start, Place: q.rec.Place, Target: q.rec.Target,
			Client: q.rec.Client, Request: q.rec.Request, Trace: q.rec.Trace,
			Timing: record.Timing{Head: q.rec.Timing.Head},
		},
		interim: make(chan interim, interimKept),
		settled: make(chan struct{}),
	}
	f.position.Store(t.store.purges.position.Load())
	ctx, cancel := context.WithCancel(record.NewContext(context.Background(), f.record))
	f.cancel, f.deadline = cancel, time.AfterFunc(FlightDeadline, cancel)
	if trace := httptrace.ContextClientTrace(q.req.Context()); trace != nil && trace.Got1xxResponse != nil {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: f.heardInterim})
	}
	f.req = q.req.Clone(ctx)
	if f.content == nil {
		f.req.Method = http.MethodGet
	}
	f.order = q.order
	if f.want == "" && !conditions {
		f.others = q.found.others
	}
	f.stripped = !conditions || f.candidate != nil || f.want != "" || f.about != nil
	if f.stripped {
		withoutConditions(f.req.Header)
	}
	if f.want != "" {
		f.req.Header["Range"] = []string{f.want}
	}
	return f
}

// heardInterim passes a 1xx on to the leader, if he listens.
func (f *flight) heardInterim(status int, h textproto.MIMEHeader) error {
	select {
	case f.interim <- interim{status, maps.Clone(h)}:
	default:
	}
	return nil
}

// closeToOthers lets nobody else in.
func (f *flight) closeToOthers() {
	s := &f.transport.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closeLocked(f)
}

// leave ends a hold. With the last one the flight is cut off, unless its answer
// is nearly there.
func (f *flight) leave(leader bool) {
	s := &f.transport.store.flights
	s.mu.Lock()
	f.holds--
	var orphan io.Closer
	if leader {
		f.leaderLeft = true
		if f.isSettled() && f.outcome.private != nil {
			orphan = f.outcome.private.Body
		}
	}
	if f.holds == 0 && !f.nearlyDone() {
		s.closeLocked(f)
		f.cancel()
	}
	s.mu.Unlock()
	if orphan != nil {
		orphan.Close()
		f.finish()
	}
}

// leaveRead ends the hold of one who has read the answer, as far as he wanted, and
// mends what the record says of it: that it was stored was known at its head for
// an answer that keeps its promises only.
func (f *flight) leaveRead(q *inquiry) {
	f.leave(false)
	c := &q.rec.Cache
	if !c.Stored {
		return
	}
	b := f.outcome.answer.body
	b.mu.Lock()
	broken := !b.whole.Load() && (b.ended || f.req.Context().Err() != nil)
	b.mu.Unlock()
	s := &f.transport.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	c.Stored = !broken && !f.isDoomedLocked()
}

// keep lets the flight go on for the store's sake when its readers leave.
func (f *flight) keep() {
	s := &f.transport.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if !f.kept {
		f.kept = true
		f.holds++
	}
}

func (f *flight) isSettled() bool {
	select {
	case <-f.settled:
		return true
	default:
		return false
	}
}

func (f *flight) nearlyDone() bool {
	if !f.isSettled() || f.outcome.answer == nil {
		return false
	}
	a := f.outcome.answer
	return a.body.whole.Load() || a.length >= 0 && a.length-a.body.arrived() <= nearlyDone
}

// settle makes the outcome known. It returns false where the answer was the
// leader's alone and he has left.
func (f *flight) settle(o outcome) bool {
	o.record = *f.record
	s := &f.transport.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	f.outcome = o
	if !o.shared {
		s.closeLocked(f)
	}
	f.transport.noteUnstorableLocked(f, &o)
	s.noteRefreshLocked(f, &o)
	close(f.settled)
	return !f.leaderLeft
}

// noteRefreshLocked counts what became of a fetch in the background.
func (s *flights) noteRefreshLocked(f *flight, o *outcome) {
	switch {
	case !f.refreshing:
	case o.err != nil || o.standIn || isFailure(o.status):
		s.refreshFailures++
	default:
		s.refreshed++
	}
}

// noteUnstorableLocked remembers whether requests should wait for each other.
// Failures and our own want of room say nothing about that.
func (t *Transport) noteUnstorableLocked(f *flight, o *outcome) {
	marks := &t.store.flights.unstorables
	hash := t.unstorableHash(f.key, f.traits)
	switch {
	case f.anew: // nobody asked
	case o.shared:
		marks.forget(hash)
	case o.err != nil, o.standIn, o.why == refuseOverwhelmed, o.why == refusePurged, isFailure(o.status), o.status == http.StatusNotModified:
	default:
		marks.remember(hash, o.why, time.Now())
	}
}

func (t *Transport) unstorableHash(k Key, traits traits) uint64 {
	var h maphash.Hash
	h.SetSeed(t.store.objects.seed)
	maphash.WriteComparable(&h, k)
	maphash.WriteComparable(&h, traits)
	return h.Sum64()
}

// commit stores what a flight brought, unless it was made invalid meanwhile.
func (f *flight) commit(a *answer, reserved int64) {
	t := f.transport
	t.store.flights.mu.Lock()
	defer t.store.flights.mu.Unlock()
	if f.isDoomedLocked() || f.fate(a).gone() || f.anew {
		t.store.release(reserved)
		t.store.abandon(a.forms)
	} else {
		t.store.put(f.place, f.req.Header, a, reserved)
	}
	t.store.flights.closeLocked(f)
}
