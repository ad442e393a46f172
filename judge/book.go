package judge

import (
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
)

// Options are fixed for a rollout. The zero value works.
type Options struct {
	Node        selvage.NodeName
	Life        uint64        // another one for every start of the node that lost its state
	Nodes       int           // in the manifest; 1 if zero
	Lost        bool          // an earlier life of this rollout was lost: the node may not undo alone
	EpochStarts int64         // an epoch closes after this many starts, 1,000 …
	EpochTime   time.Duration // … or after this long, 250 ms, and when both arms started something
	Deadline    time.Duration // a making that has not ended by then is bad: 60 s
	OnLimit     func(string)  // a limit was reached: strata, cohorts, fingerprints; may be nil
}

func (o Options) withDefaults() Options {
	o.Nodes = max(o.Nodes, 1)
	if o.EpochStarts <= 0 {
		o.EpochStarts = 1000
	}
	if o.EpochTime <= 0 {
		o.EpochTime = 250 * time.Millisecond
	}
	if o.Deadline <= 0 {
		o.Deadline = time.Minute
	}
	if o.OnLimit == nil {
		o.OnLimit = func(string) {}
	}
	return o
}

const (
	maxStrata  = 64  // node × route class, over all nodes
	maxCohorts = 256 // of one stratum that wait for makings to end; more make epochs longer
	other      = "other"
	besideFor  = 10 * time.Second // a baseline that made nothing for longer is no comparison
)

// Book is what one node counts about one rollout. Every making is booked to
// the epoch of its stratum in which it started. Here and in what follows, what a
// good making touches stands together and first: it is not in the processor's caches
// when the next one comes.
type Book struct {
	share  float64
	strata []*stratum
	index  map[string]int
	last   int // the stratum that was asked for last: most makings are of the same
	opt    Options
	prints prints
	seq    uint64
	late   restarts
}

// stratum is one class of routes on this node.
type stratum struct {
	name          string
	epoch         uint64
	beside        time.Time // when the baseline last started something
	closed        []cohort  // in the order of their epochs
	open          cohort
	latency, size histogram
	proc          process
	tally         Tally // of closed epochs
}

// Ticket says where a making is booked. The zero ticket books nothing.
type Ticket struct {
	epoch   uint64
	stratum int32
	side    side
	timed   bool
}

// Outcome is how a making ended. The first attempt counts, also where a retry
// or a rescue saved the user; a hang ends at its deadline.
type Outcome struct {
	Bad         Set
	Latency     time.Duration // head complete to first byte, without the client's reading; 0: unknown
	Bytes       int64         // of the body, unless NoBody
	NoBody      bool          // none belongs to it: HEAD, 204, 304, an error
	Fingerprint string        // of a trap, if there was one
}

// NewBook returns an empty book. The share is 0 until [Book.Share].
func NewBook(o Options) *Book {
	return &Book{opt: o.withDefaults(), index: map[string]int{}, late: newRestarts(), prints: newPrints()}
}

// Share says that from now on each unit goes to the canary with probability f.
// It closes all epochs: an epoch has one share. At 0 nothing is booked.
func (b *Book) Share(now time.Time, f float64) {
	for _, s := range b.strata {
		b.close(s, now)
	}
	b.share = min(max(f, 0), 1)
	for _, s := range b.strata {
		s.open = cohort{}
	}
}

// Start books the start of a making of a class of routes. Stored answers are
// not makings: they say nothing about who would make them now. timed is
// [Clients.Making]'s: whether its latency counts.
func (b *Book) Start(now time.Time, arm selvage.Arm, class string, timed bool) Ticket {
	if b.share <= 0 {
		return Ticket{}
	}
	at := b.stratum(class)
	s := b.strata[at]
	if s.open.epoch != 0 && b.due(s, now) {
		b.close(s, now)
	}
	if s.open.epoch == 0 {
		s.epoch++
		s.open = cohort{epoch: s.epoch, since: now, share: b.share, marks: marks(&s.latency, &s.size)}
	}
	who := baseline
	if arm == selvage.Canary {
		who = canary
	} else {
		s.beside = now
	}
	s.open.tally.N[who]++
	s.open.pending[who]++
	timed = timed && s.open.marks.Slow != [3]time.Duration{}
	if timed {
		s.open.tally.Timed[who]++
	}
	return Ticket{s.epoch, int32(at), who, timed}
}

// stratum finds a class, or makes it, or takes the last one, which is "other".
func (b *Book) stratum(class string) int {
	if b.last < len(b.strata) && b.strata[b.last].name == class {
		return b.last
	}
	if i, ok := b.index[class]; ok {
		b.last = i
		return i
	}
	limit := max(maxStrata/b.opt.Nodes, 1)
	if len(b.strata) >= limit-1 {
		b.opt.OnLimit("strata")
		if i, ok := b.index[other]; ok {
			return i
		}
		class = other
	}
	b.strata = append(b.strata, &stratum{name: class})
	b.index[class] = len(b.strata) - 1
	return len(b.strata) - 1
}

// due says that the open epoch may close: by count or by time, never by bads,
// and not while an arm is empty. Waiting for the empty arm keeps what the other
// one did in the books, and costs nothing: nobody is hurt by a canary that
// makes nothing.
func (b *Book) due(s *stratum, now time.Time) bool {
	n := s.open.tally.N
	if n[baseline] == 0 || n[canary] == 0 {
		return false
	}
	if n[baseline]+n[canary] < b.opt.EpochStarts && now.Sub(s.open.since) < b.opt.EpochTime {
		return false
	}
	if len(s.closed) >= maxCohorts {
		b.opt.OnLimit("cohorts")
		return false
	}
	return true
}

// close closes the open epoch, whatever is in it.
func (b *Book) close(s *stratum, now time.Time) {
	c := s.open
	s.open = cohort{}
	if c.epoch == 0 {
		return
	}
	if !c.settle() {
		return // a canary alone says nothing
	}
	c.since = now
	s.proc.close(&c)
	s.tally.add(&c.tally)
	for _, h := range c.hits {
		b.prints.book(h, c.odds[0])
	}
	c.hits = nil
	s.closed = append(s.closed, c)
	b.settle(s, now)
}

// End books how a making ended and says how it was bad. o.Bad holds what passed
// [Clients.Bad], which the caller asks first; latency and body are judged here.
func (b *Book) End(now time.Time, t Ticket, o Outcome) Set {
	if t.epoch == 0 || int(t.stratum) >= len(b.strata) {
		return 0
	}
	s := b.strata[t.stratum]
	if t.side == baseline {
		s.learn(&o)
	}
	c, closed := s.find(t.epoch)
	if c == nil {
		return 0 // past its deadline: it was booked then
	}
	bad := c.marks.judge(&o, t.timed)
	c.pending[t.side]--
	b.book(s, c, closed, t.side, bad)
	if i, ok := b.prints.index(o.Fingerprint); ok {
		b.hit(c, closed, hit{i, t.side})
	} else if o.Fingerprint != "" {
		b.opt.OnLimit("fingerprints")
	}
	if closed {
		b.settle(s, now)
	}
	return bad
}

// Small says whether the body of a making's answer is far smaller than its
// epoch's marks. [Book.End] then calls it [Hollow], unless it has NoBody.
func (b *Book) Small(t Ticket, o *Outcome) bool {
	if t.epoch == 0 || int(t.stratum) >= len(b.strata) {
		return false
	}
	c, _ := b.strata[t.stratum].find(t.epoch)
	return c != nil && c.marks.small(o)
}

// Compared says that the baseline makes the like of it too: what it came to is
// evidence, for or against the canary.
func (b *Book) Compared(now time.Time, t Ticket) bool {
	if t.epoch == 0 || int(t.stratum) >= len(b.strata) {
		return false
	}
	return now.Sub(b.strata[t.stratum].beside) < besideFor
}

// book counts a making's indicators, at once if its epoch is closed.
func (b *Book) book(s *stratum, c *cohort, closed bool, who side, bad Set) {
	for k := range Indicator(Indicators) {
		if !bad.Has(k) {
			continue
		}
		c.tally.Bad[who][k]++
		if closed {
			s.tally.Bad[who][k]++
			if odds, ok := c.watched(k); ok {
				s.proc.bads(k, who, odds, 1)
			}
		}
	}
}

// hit books a fingerprint, at once if its epoch is closed.
func (b *Book) hit(c *cohort, closed bool, h hit) {
	switch {
	case closed:
		b.prints.book(h, c.odds[0])
	case len(c.hits) < maxHits: // of both arms alike
		c.hits = append(c.hits, h)
	}
}

// Learn lets the marks know a making from before the rollout.
func (b *Book) Learn(class string, o Outcome) { b.strata[b.stratum(class)].learn(&o) }

func (s *stratum) learn(o *Outcome) {
	if o.Latency > 0 {
		s.latency.add(float64(o.Latency) / float64(time.Microsecond))
	}
	if !o.NoBody {
		s.size.add(float64(o.Bytes))
	}
}

func (s *stratum) find(epoch uint64) (c *cohort, closed bool) {
	if s.open.epoch == epoch {
		return &s.open, false
	}
	i, ok := slices.BinarySearchFunc(s.closed, epoch, func(c cohort, e uint64) int {
		return int(int64(c.epoch) - int64(e))
	})
	if !ok {
		return nil, true
	}
	return &s.closed[i], true
}

// Tick closes epochs that are due and ends those that have passed their deadline.
func (b *Book) Tick(now time.Time) {
	for _, s := range b.strata {
		if s.open.epoch != 0 && b.due(s, now) {
			b.close(s, now)
		}
		b.settle(s, now)
	}
}

// settle moves epochs of which everything is known to promoting. What is
// still out at the deadline is bad, in both arms.
func (b *Book) settle(s *stratum, now time.Time) {
	kept := s.closed[:0]
	for i := range s.closed {
		c := &s.closed[i]
		late := now.Sub(c.since) >= b.opt.Deadline
		if !late && (c.pending[0] > 0 || c.pending[1] > 0) {
			kept = append(kept, *c)
			continue
		}
		for who, n := range c.pending {
			if n > 0 {
				c.tally.Bad[who][OverLimit] += n
				s.tally.Bad[who][OverLimit] += n
				s.proc.bads(OverLimit, side(who), c.odds[0], float64(n))
			}
		}
		s.proc.end(c)
	}
	s.closed = kept
}
