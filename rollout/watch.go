package rollout

import (
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
)

// Watch counts what one node makes of one service: a run of a function, a
// forward, a collapsed flight; never an answer out of the store. Between
// rollouts it learns how the service usually is. It does no I/O and is safe for
// concurrent use; the zero value is ready.
type Watch struct {
	mu      sync.Mutex // guards what follows
	life    uint64     // grows with every rollout: makings of an earlier one are not booked
	share   float64
	book    *judge.Book
	clients *judge.Clients
	latest  time.Time // when a making began last
	rate    rate
	canary  rate     // of these, the canary's
	arms    [2]Level // since the rollout began
	usual   Level    // of the time without a rollout, the older the less
	samples samples
	harm    harm
}

// Stored ends the class of makings of what the old revision has in store. It makes the same
// again for each of them: both arms are compared in these as in any class of their own.
const Stored = " (stored)"

// Unpaired ends the class of those that the old revision did not make again: it was at it
// already, or had no room. They are no evidence, which is known before they are made.
const Unpaired = " (stored, unpaired)"

// harm is what the canary did to users, for the receipt.
type harm struct {
	Made    int64 // that ended
	Bad     int64 // of these, whoever asked for them
	Users   map[uint64]struct{}
	Stored  int64
	Rescued int64
	First   First
}

// First is the first bad making of a canary.
type First struct {
	Record string // its trace id
	Method string
	Path   string
	Class  string
	Status int
	At     time.Time
}

// What a watch keeps at most.
const (
	maxUsers   = 16_384           // clients that met a bad one; more are not told apart
	usualFor   = 10 * time.Minute // after which what is usual counts half
	usualLeast = 1000             // makings that are not forgotten
)

// Making is one that is under way. The zero making is of no rollout.
type Making struct {
	life   uint64
	ticket judge.Ticket
	client uint64
	class  string
	canary bool
	counts bool
	stored bool // of a class of its own, see [Stored]: the level before had none of these
}

// side is the arm as an index: baseline, canary.
func (m *Making) side() int {
	if m.canary {
		return 1
	}
	return 0
}

// bookLocked is the book, made at first use.
func (w *Watch) bookLocked() *judge.Book {
	if w.book == nil {
		w.book = judge.NewBook(judge.Options{})
	}
	return w.book
}

// Begin notes that a making starts, in an arm, for a client (a hash that says
// nothing of who it is). class is the route's name.
func (w *Watch) Begin(now time.Time, arm selvage.Arm, client uint64, class string) Making {
	unpaired := strings.HasSuffix(class, Unpaired)
	m := Making{
		client: client, class: class, canary: arm == selvage.Canary, counts: !unpaired,
		stored: unpaired || strings.HasSuffix(class, Stored),
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.latest = now
	w.rate.add(now)
	if m.canary {
		w.canary.add(now)
	}
	m.life = w.life
	if unpaired || w.clients == nil {
		return m
	}
	// Also where nobody gets the canary: a level that counts otherwise then is another level.
	var timed bool
	if m.counts, timed = w.clients.Making(now, client); m.counts && w.share > 0 {
		m.ticket = w.bookLocked().Start(now, arm, class, timed)
	}
	return m
}

// End notes how a making ended, and says how it was bad as far as that counts. k, if
// there is one, knows more of it: of some of them that is kept.
func (w *Watch) End(m Making, o judge.Outcome, k Known) judge.Set {
	w.mu.Lock()
	defer w.mu.Unlock()
	bad := w.endLocked(&m, o)
	if k != nil {
		w.sampleLocked(&m, bad, k)
	}
	return bad
}

func (w *Watch) endLocked(m *Making, o judge.Outcome) judge.Set {
	bad := o.Bad != 0
	if m.life != w.life {
		return o.Bad // of an earlier rollout
	}
	small := w.bookLocked().Small(m.ticket, &o)
	if m.canary {
		w.harm.Made++
		if bad || small {
			w.harm.add(m.client)
		}
	}
	if w.clients == nil {
		w.usual.add(bad)
		if !m.canary {
			w.bookLocked().Learn(m.class, o)
		}
		return o.Bad
	}
	if !m.counts {
		return o.Bad
	}
	if small {
		o.Bad = o.Bad.With(judge.Hollow)
	}
	fresh, evident := false, false
	now := w.latest // near enough where nothing depends on it but when an epoch is given up
	if o.Bad != 0 {
		now = time.Now()
		var counts bool
		if fresh, counts = w.clients.Bad(now, m.client); !counts {
			o.Bad, o.Fingerprint, o.NoBody = 0, "", o.NoBody || small
		}
		evident = counts && m.canary && w.bookLocked().Compared(now, m.ticket)
	}
	// The level is of harm that both arms share. What the comparison has as evidence against
	// the canary is not of that kind. All else is: a client's bad every ten seconds, however
	// many it has had; what one alone meets hardly moves it, and where there is nobody else it is all there is.
	if !m.stored && !evident {
		w.arms[m.side()].add(bad && fresh)
	}
	if m.ticket == (judge.Ticket{}) {
		if !m.canary {
			w.bookLocked().Learn(m.class, o)
		}
		return o.Bad
	}
	return w.bookLocked().End(now, m.ticket, o)
}

func (h *harm) add(client uint64) {
	h.Bad++
	if h.Users == nil {
		h.Users = map[uint64]struct{}{}
	}
	if len(h.Users) < maxUsers {
		h.Users[client] = struct{}{}
	}
}

// Learn lets the watch know a making from before the rollout: what it is
// compared with.
func (w *Watch) Learn(class string, o judge.Outcome) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.usual.add(o.Bad != 0)
	w.bookLocked().Learn(class, o)
}

// Stored notes that a bad answer of the canary was served out of a store: no
// making, but somebody's answer.
func (w *Watch) Stored() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.harm.Stored++
}

// Rescued notes that the old revision answered where the canary had failed.
func (w *Watch) Rescued() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.harm.Rescued++
}

// begin starts the counting for a rollout.
func (w *Watch) begin(o judge.Options, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settleLocked()
	w.book = w.bookLocked().Heir(o)
	w.clients = judge.NewClients(now)
	w.share, w.arms, w.harm, w.samples, w.canary = 0, [2]Level{}, harm{}, samples{}, rate{}
}

// restore goes on with what an earlier start of this node had counted: an error
// if it is not whole, and then nothing has changed.
func (w *Watch) restore(o judge.Options, data []byte, now time.Time) error {
	book, err := judge.Import(o, data)
	if err != nil {
		return err
	}
	w.begin(o, now)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.book = book
	w.book.Share(now, 0)
	return nil
}

// end ends the counting for a rollout: from here on the watch learns.
func (w *Watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.settleLocked()
	w.book = w.bookLocked().Heir(judge.Options{})
	w.clients, w.share = nil, 0
	w.arms, w.samples = [2]Level{}, samples{}
}

// settleLocked ends a count: what its baseline did is usual from then on.
func (w *Watch) settleLocked() {
	w.life++
	w.usual.N += w.arms[0].N
	w.usual.Bad += w.arms[0].Bad
}

// shares says which part of the units gets the canary from now on.
func (w *Watch) shares(now time.Time, f float64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if f == w.share {
		return
	}
	w.share = f
	w.bookLocked().Share(now, f)
}

// sum closes what is due and sums up; alone says that the node's own evidence
// convicts. elapsed is the time since the canary's begin.
func (w *Watch) sum(now time.Time, elapsed time.Duration) (c Count, alone bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.bookLocked()
	b.Tick(now)
	judged := b.Report(elapsed)
	return Count{
		Judged: judged, Arms: w.arms, Usual: w.usual, Rate: w.rate.now(now), Canary: w.canary.now(now),
		Made: w.harm.Made, Bad: w.harm.Bad, Users: int64(len(w.harm.Users)),
		Stored: w.harm.Stored, Rescued: w.harm.Rescued, First: w.harm.First,
	}, b.MayUndoAlone(judged)
}

// export is the state of the book, to be kept over a restart.
func (w *Watch) export() ([]byte, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.bookLocked().Export()
}

// forget makes what is usual count less, once every usualFor.
func (w *Watch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.usual.N > usualLeast {
		w.usual.N, w.usual.Bad = w.usual.N/2, w.usual.Bad/2
	}
}

// rate is an average of the last seconds.
type rate struct {
	second int64
	count  float64
	mean   float64
	known  bool
}

// rateWeight is what a second counts: about ten of them make the average.
const rateWeight = 0.1

func (r *rate) add(now time.Time) {
	r.roll(now.Unix())
	r.count++
}

func (r *rate) now(now time.Time) float64 {
	r.roll(now.Unix())
	return r.mean
}

// roll closes the seconds that are over. The first one was not seen whole.
func (r *rate) roll(second int64) {
	if r.second == 0 {
		r.second = second
		return
	}
	for range min(max(second-r.second, 0), 120) {
		if !r.known {
			r.mean, r.known = r.count, r.count > 0
		} else {
			r.mean += rateWeight * (r.count - r.mean)
		}
		r.count = 0
	}
	r.second = max(r.second, second)
}
