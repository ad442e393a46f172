package judge

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// play drives one book through slots of 100 ms. pc and pb say how often a
// making of a stratum is bad at a time.
type play struct {
	rng    *rand.Rand
	book   *Book
	now    time.Time
	rate   float64 // requests a second, per stratum
	share  float64
	strata []string
	k      Indicator
	late   time.Duration // makings end after up to so long
	out    []waiting
}

type waiting struct {
	at time.Time
	t  Ticket
	o  Outcome
}

var begin = time.Date(2026, 11, 21, 8, 0, 0, 0, time.UTC)

func newPlay(seed uint64, share, rate float64) *play {
	p := &play{
		rng: rand.New(rand.NewPCG(seed, 7)), book: NewBook(Options{}), now: begin,
		rate: rate, share: share, strata: []string{"all"}, k: OriginError,
	}
	p.book.Share(p.now, share)
	return p
}

func arm(canary bool) selvage.Arm {
	if canary {
		return selvage.Canary
	}
	return selvage.Baseline
}

// step plays one slot; bad says how likely a making is bad.
func (p *play) step(bad func(stratum int, canary bool) float64) {
	const slot = 100 * time.Millisecond
	for s, name := range p.strata {
		for range poisson(p.rng, p.rate*slot.Seconds()) {
			c := p.rng.Float64() < p.share
			t := p.book.Start(p.now, arm(c), name, true)
			var o Outcome
			if p.rng.Float64() < bad(s, c) {
				o.Bad = o.Bad.With(p.k)
			}
			o.NoBody = true
			if p.late == 0 {
				p.book.End(p.now, t, o)
				continue
			}
			p.out = append(p.out, waiting{p.now.Add(time.Duration(p.rng.Float64() * float64(p.late))), t, o})
		}
	}
	p.now = p.now.Add(slot)
	kept := p.out[:0]
	for _, w := range p.out {
		if w.at.After(p.now) {
			kept = append(kept, w)
			continue
		}
		p.book.End(p.now, w.t, w.o)
	}
	p.out = kept
	p.book.Tick(p.now)
}

// evidence is the node's own.
func (p *play) evidence() float64 { return p.book.Report(p.now.Sub(begin)).Alone }

func (p *play) undone() bool { return p.evidence() >= math.Log(1/Alpha) }

func poisson(rng *rand.Rand, mean float64) int {
	if mean > 50 {
		return max(0, int(mean+math.Sqrt(mean)*rng.NormFloat64()+0.5))
	}
	n, l := 0, math.Exp(-mean)
	for x := rng.Float64(); x > l; x *= rng.Float64() {
		n++
	}
	return n
}

// convictions counts runs that are undone within a number of slots.
func convictions(runs, slots int, share, rate float64, setup func(*play), bad func(slot, stratum int, canary bool) float64) int {
	n := 0
	for run := range runs {
		p := newPlay(uint64(run)+1, share, rate)
		if setup != nil {
			setup(p)
		}
		for slot := range slots {
			p.step(func(s int, c bool) float64 { return bad(slot, s, c) })
			if p.undone() {
				n++
				break
			}
		}
	}
	return n
}

func same(p float64) func(int, int, bool) float64 {
	return func(int, int, bool) float64 { return p }
}

func TestWeightsSumToOne(t *testing.T) {
	sum := 0.0
	for k := range Indicator(Indicators) {
		sum += k.Weight()
	}
	if math.Abs(sum-1) > 1e-12 {
		t.Errorf("the weights sum to %v", sum)
	}
}

func TestPartsSumToAtMostOne(t *testing.T) {
	sum := 0.0
	for i := range 100_000 {
		sum += part(i + 1)
	}
	if sum > 1 || sum < 0.9999 {
		t.Errorf("the parts sum to %v", sum)
	}
}

// The proof's two steps, for every alternative: what a bad of the canary gains
// is what the baseline's bads cost, and the compensator removes the rest.
func TestFactorsBalanceAtTheTolerance(t *testing.T) {
	for _, odds := range []float64{1e-6, 1e-3, 0.01, 1, 19, 1e6} {
		for k := range Indicator(Indicators) {
			for _, m := range above {
				rho := rules[k].rho
				lnA, lnB := factors(odds, rho, rho*m)
				gain, cost := odds*rho*math.Expm1(lnA), -math.Expm1(lnB)
				if math.Abs(gain/cost-1) > 1e-6 {
					t.Errorf("odds %v, %v, r=%v: gain %v, cost %v", odds, k, rho*m, gain, cost)
				}
			}
		}
	}
}

// The exact expectation of E over binomial bads, at and inside the tolerance.
func TestExpectationIsAtMostOne(t *testing.T) {
	for _, nc := range []int{1, 3, 20} {
		for _, nb := range []int{1, 30, 400} {
			for _, pb := range []float64{0, 0.001, 0.02, 0.3} {
				for _, m := range above {
					pc := min(2*pb+1e-3, 1)
					lnA, lnB := factors(float64(nc)/float64(nb), 2, 2*m)
					e := float64(nc)*math.Log1p(pc*math.Expm1(lnA)) + float64(nb)*math.Log1p(pb*math.Expm1(lnB)) -
						float64(nc)*1e-3*math.Expm1(lnA)
					if e > 1e-9 {
						t.Errorf("n_c=%d n_b=%d p_b=%v r=%v: E is e^%v", nc, nb, pb, 2*m, e)
					}
				}
			}
		}
	}
}

func TestHealthyChangeIsNotUndone(t *testing.T) {
	for _, p0 := range []float64{0.001, 0.01, 0.2} {
		if n := convictions(60, 600, 0.05, 200, nil, same(p0)); n > 0 {
			t.Errorf("p0=%v: %d of 60 healthy changes undone", p0, n)
		}
	}
}

// Trap 1. An outage that comes and goes falls mostly into times in which the
// canary makes nothing. Were these left out, what the canary got of the
// outage would look like its own.
func TestTrap1EpochsWithoutCanaryCount(t *testing.T) {
	flap := func(slot, _ int, _ bool) float64 {
		if slot%50 < 5 {
			return 1
		}
		return 0.001
	}
	if n := convictions(60, 1500, 0.002, 100, nil, flap); n > 0 {
		t.Errorf("%d of 60 innocent changes undone", n)
	}
	p := newPlay(3, 0.002, 100)
	for p.book.strata == nil || p.book.strata[0].open.tally.N[canary] == 0 {
		p.step(func(int, bool) float64 { return 0.5 })
	}
	want := p.book.strata[0].tally
	before := p.book.strata[0].open.tally
	want.add(&before)
	p.book.Share(p.now, 0.004)
	if got := p.book.strata[0].tally; got != want || before.N[baseline] == 0 {
		t.Errorf("booked %+v, want %+v", got, want)
	}
	// An epoch that ends with no canary at all speaks for the canary.
	tk := p.book.Start(p.now, selvage.Baseline, "all", true)
	p.book.End(p.now, tk, Outcome{Bad: Set(0).With(OriginError), NoBody: true})
	was := p.book.strata[0].proc.Undo[OriginError][4]
	p.book.Share(p.now, 0.004)
	if now := p.book.strata[0].proc.Undo[OriginError][4]; now >= was {
		t.Errorf("a baseline bad alone moved ln E from %v to %v", was, now)
	}
}

// Trap 2. A heavy client's arm makes five times its share. The realised share
// knows, the assignment probability does not; where an arm is empty there is
// only the latter, and a canary without a baseline is not convicted at all.
func TestTrap2RealisedShareCountsNotTheAssigned(t *testing.T) {
	innocent := 0
	for run := range 40 {
		p := newPlay(uint64(run), 0.05, 100)
		p.book.Share(p.now, 0.01) // assigned one, got five
		for range 600 {
			p.step(func(int, bool) float64 { return 0.05 })
		}
		if p.undone() {
			innocent++
		}
	}
	if innocent > 0 {
		t.Errorf("%d of 40 innocent changes undone", innocent)
	}
	c := cohort{share: 0.25}
	c.tally.N = [2]int64{0, 7}
	if c.settle() {
		t.Errorf("without a baseline the odds are %v", c.odds)
	}
	c.tally.N = [2]int64{10, 0}
	if !c.settle() || math.Abs(c.odds[0]-1./3) > 1e-12 {
		t.Errorf("without canary: odds %v, want those of the assignment", c.odds)
	}
	c.tally.N = [2]int64{10, 5}
	if !c.settle() || c.odds[0] != 0.5 {
		t.Errorf("odds %v, want 0.5", c.odds)
	}
	// 95 % canary, few requests: epochs without a baseline are frequent.
	if n := convictions(40, 3000, 0.95, 5, nil, same(0.2)); n > 0 {
		t.Errorf("%d of 40 innocent changes undone at 95 %%", n)
	}
}

// Trap 3. A change that is three times as bad as the baseline must be seen: the
// grid has a value near the tolerance.
func TestTrap3MediumShiftsAreSeen(t *testing.T) {
	bad := func(_, _ int, c bool) float64 {
		if c {
			return 0.16
		}
		return 0.05
	}
	if n := convictions(20, 3000, 0.5, 100, nil, bad); n < 20 {
		t.Errorf("%d of 20 changes of 3.2 times the baseline's errors undone", n)
	}
	if above[0] > 1.6 {
		t.Errorf("the smallest alternative is %v times the tolerance", above[0])
	}
}

// Trap 4. A cold canary is slow at first: what it does before the clock starts
// is not booked, and marks come from the baseline as it was before.
func TestTrap4NothingIsBookedBeforeTheShareIsSet(t *testing.T) {
	b := NewBook(Options{})
	tk := b.Start(begin, selvage.Canary, "all", true)
	b.End(begin, tk, Outcome{Bad: Set(0).With(Trap), Latency: time.Hour})
	if r := b.Report(0); r.Tally != (Tally{}) || tk != (Ticket{}) {
		t.Errorf("booked %+v", r.Tally)
	}
	for range 200 {
		b.Learn("all", Outcome{Latency: 10 * time.Millisecond, Bytes: 1000})
	}
	b.Share(begin, 0.5)
	tk = b.Start(begin, selvage.Canary, "all", true)
	if bad := b.End(begin, tk, Outcome{Latency: 20 * time.Millisecond, Bytes: 100}); bad != Set(0).With(Slow75).With(Slow90).With(Slow99).With(Hollow) {
		t.Errorf("got %v", bad)
	}
}

// Trap 5. The canary sits where the errors are: pooled, its rate is ten times the
// baseline's; stratum by stratum it is the same.
func TestTrap5PooledStrataConvictTheInnocent(t *testing.T) {
	pooled, product := 0, 0
	for run := range 30 {
		for _, split := range []bool{false, true} {
			p := newPlay(uint64(run), 0, 0)
			p.book.Share(p.now, 0.2)
			for range 600 {
				for pop, share := range []float64{0.01, 0.6} {
					name := "all"
					if split {
						name = []string{"good", "poor"}[pop]
					}
					for range poisson(p.rng, 10) {
						c := p.rng.Float64() < share
						tk := p.book.Start(p.now, arm(c), name, true)
						o := Outcome{NoBody: true}
						if p.rng.Float64() < []float64{0.001, 0.05}[pop] {
							o.Bad = o.Bad.With(OriginError)
						}
						p.book.End(p.now, tk, o)
					}
				}
				p.now = p.now.Add(100 * time.Millisecond)
				p.book.Tick(p.now)
				if p.undone() {
					if split {
						product++
					} else {
						pooled++
					}
					break
				}
			}
		}
	}
	if product > 0 {
		t.Errorf("product over strata: %d of 30 innocent changes undone", product)
	}
	if pooled == 0 {
		t.Error("pooled strata undid nothing: the test does not show the trap")
	}
}

// Trap 6. A canary that is denied the lane is slower by what the lane saves. The
// books cannot know; where both arms take the same path, nothing is seen.
func TestTrap6BothArmsOnTheSamePathLookAlike(t *testing.T) {
	undone := func(extra time.Duration) bool {
		p := newPlay(11, 0, 0)
		for range 500 {
			p.book.Learn("all", Outcome{Latency: latency(p.rng), Bytes: 10})
		}
		p.book.Share(p.now, 0.1)
		for range 1200 {
			for range poisson(p.rng, 20) {
				c := p.rng.Float64() < 0.1
				tk := p.book.Start(p.now, arm(c), "all", true)
				l := latency(p.rng)
				if c {
					l += extra
				}
				p.book.End(p.now, tk, Outcome{Latency: l, Bytes: 10})
			}
			p.now = p.now.Add(100 * time.Millisecond)
			p.book.Tick(p.now)
			if p.undone() {
				return true
			}
		}
		return false
	}
	if undone(0) {
		t.Error("the same path: undone")
	}
	if !undone(5 * time.Millisecond) {
		t.Error("another path, 5 ms longer: not seen, so the test shows nothing")
	}
}

func latency(rng *rand.Rand) time.Duration {
	return time.Duration(5e6 * math.Exp(0.5*rng.NormFloat64()))
}

// Counting at the end convicted innocents: a slow making that started at a small
// share would be counted at a large one. Here the share doubles while slow
// requests are out, and errors are slow.
func TestMakingsBelongToTheEpochOfTheirStart(t *testing.T) {
	n := 0
	for run := range 40 {
		p := newPlay(uint64(run), 0.01, 200)
		p.late = 5 * time.Second
		for slot := range 900 {
			if slot%100 == 99 {
				p.share = min(p.share*2, 0.5)
				p.book.Share(p.now, p.share)
			}
			p.step(func(int, bool) float64 { return 0.05 })
			if p.undone() {
				n++
				break
			}
		}
	}
	if n > 0 {
		t.Errorf("%d of 40 innocent changes undone", n)
	}
	b := NewBook(Options{})
	b.Share(begin, 0.1)
	early := b.Start(begin, selvage.Canary, "all", true)
	b.Start(begin, selvage.Baseline, "all", true)
	b.Share(begin.Add(time.Second), 0.9)
	b.End(begin.Add(2*time.Second), early, Outcome{Bad: Set(0).With(Trap), NoBody: true})
	if got := b.strata[0].closed[0]; got.tally.Bad[canary][Trap] != 1 || got.odds[0] != 1 {
		t.Errorf("the bad went elsewhere: %+v", got)
	}
}

func TestSharedOutageUndoesNothing(t *testing.T) {
	outage := func(slot, _ int, _ bool) float64 {
		if slot > 100 && slot < 1300 {
			return 1
		}
		return 0.001
	}
	for _, share := range []float64{0.002, 0.05, 0.5, 0.95} {
		if n := convictions(10, 1500, share, 100, nil, outage); n > 0 {
			t.Errorf("share %v: %d of 10 innocent changes undone", share, n)
		}
	}
}

// What spent its evidence in an outage is judged again afterwards.
func TestChangeThatTurnsBadAfterAnOutageIsUndone(t *testing.T) {
	bad := func(slot, _ int, c bool) float64 {
		switch {
		case slot < 600:
			return 1
		case c && slot > 1200:
			return 1
		}
		return 0.001
	}
	if n := convictions(10, 1500, 0.05, 100, nil, bad); n < 10 {
		t.Errorf("%d of 10 undone", n)
	}
}

func TestEpochsNeverCloseOnBads(t *testing.T) {
	closings := func(p float64) int {
		pl := newPlay(5, 0.1, 100)
		for range 300 {
			pl.step(func(int, bool) float64 { return p })
		}
		return int(pl.book.strata[0].epoch)
	}
	if good, bad := closings(0), closings(1); good != bad || good < 10 {
		t.Errorf("%d epochs without bads, %d with", good, bad)
	}
}

func TestTotalFailureIsConvictedByThreeBadsAtOnePercent(t *testing.T) {
	b := NewBook(Options{})
	b.Share(begin, 0.01)
	now := begin
	for i := 1; i <= 4; i++ {
		for range 99 {
			b.End(now, b.Start(now, selvage.Baseline, "all", true), Outcome{NoBody: true})
		}
		b.End(now, b.Start(now, selvage.Canary, "all", true), Outcome{Bad: Set(0).With(OriginError), NoBody: true})
		now = now.Add(300 * time.Millisecond)
		b.Tick(now)
		if b.MayUndoAlone(b.Report(now.Sub(begin))) {
			if i > 3 {
				t.Errorf("convicted after %d bads", i)
			}
			return
		}
	}
	t.Error("not convicted after 4 bads")
}

func TestStrataAreAtMostSixtyFour(t *testing.T) {
	for _, nodes := range []int{1, 3, 100} {
		b := NewBook(Options{Nodes: nodes})
		b.Share(begin, 0.5)
		for i := range 200 {
			b.Start(begin, selvage.Canary, string(rune('a'+i)), true)
		}
		if got := len(b.strata) * min(nodes, maxStrata); got > maxStrata {
			t.Errorf("%d nodes have %d strata", nodes, got)
		}
		if _, ok := b.index[other]; !ok {
			t.Errorf("%d nodes: nothing went to other", nodes)
		}
	}
}
