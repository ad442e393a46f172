package judge

import (
	"math/rand/v2"
	"testing"
	"time"
)

func binomial(rng *rand.Rand, n int, p float64) int64 {
	var y int64
	for range n {
		if rng.Float64() < p {
			y++
		}
	}
	return y
}

func TestLevelAlarmsSoonAndNotForNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	var c Cusum
	for range 20_000 {
		c.Level(50, binomial(rng, 50, 0.01), 0.01)
		if c.Alarm() {
			t.Fatal("an alarm at the tolerated level")
		}
	}
	looks := 0
	for ; !c.Alarm(); looks++ {
		c.Level(50, binomial(rng, 50, 0.2), 0.01)
	}
	if looks > 4 {
		t.Errorf("twenty times the level is seen after %d looks of 50", looks)
	}
	if c.N != int64(looks)*50 {
		t.Errorf("%d makings since the level left, %d were made", c.N, looks*50)
	}
}

func TestPeersExcuseWhatAllHave(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 1))
	var all, one Cusum
	for range 3000 {
		all.Peers(OriginError, 20, binomial(rng, 20, 0.5), 60, binomial(rng, 60, 0.5))
		if all.Alarm() {
			t.Fatal("an outage of all endpoints ejects one of them")
		}
	}
	looks := 0
	for ; !one.Alarm(); looks++ {
		one.Peers(OriginError, 20, binomial(rng, 20, 0.5), 60, binomial(rng, 60, 0.01))
	}
	if looks > 5 {
		t.Errorf("an endpoint that fails half is seen after %d looks of 20", looks)
	}
	before := one
	one.Peers(OriginError, 20, 20, 0, 0)
	if one != before {
		t.Error("without peers there is nothing to compare with")
	}
}

func TestReadmissionNeedsATrial(t *testing.T) {
	trial := func(n, bad int64) bool {
		v := Tally{N: [2]int64{10_000, n}}
		v.Bad[baseline][OriginError], v.Bad[canary][OriginError] = 10, bad
		return Readmit(OriginError, 0.05, v)
	}
	if trial(0, 0) || trial(20, 0) || trial(200, 40) || !trial(150, 0) {
		t.Errorf("0: %v, 20: %v, 200 with 40 bad: %v, 150: %v", trial(0, 0), trial(20, 0), trial(200, 40), trial(150, 0))
	}
}

// shared plays makings of both arms together, 100 a tenth of a second.
func shared(level func(at time.Duration, back time.Duration) float64) (seen []Advice) {
	s, rng := NewShared(100_000, 100), rand.New(rand.NewPCG(3, 1))
	back := time.Duration(-1)
	for slot := range 9000 {
		at := time.Duration(slot) * 100 * time.Millisecond
		a := s.Add(begin.Add(at), 100, binomial(rng, 100, level(at, back)))
		if a == StepBack {
			back = at
		}
		if len(seen) == 0 || seen[len(seen)-1] != a {
			seen = append(seen, a)
		}
	}
	return seen
}

func TestSharedHarmThatFollowsTheShareIsUndone(t *testing.T) {
	seen := shared(func(at, back time.Duration) float64 {
		if at > time.Minute && back < 0 {
			return 0.3
		}
		return 0.001
	})
	want := []Advice{GoOn, StepBack, Freeze, UndoIt}
	if len(seen) != len(want) || seen[3] != UndoIt {
		t.Errorf("got %v, want %v", seen, want)
	}
}

func TestOutageOfTenMinutesIsNotTheChangesFault(t *testing.T) {
	seen := shared(func(at, _ time.Duration) float64 {
		if at > time.Minute && at < 11*time.Minute {
			return 1
		}
		return 0.001
	})
	want := []Advice{GoOn, StepBack, Freeze, Innocent, GoOn}
	if len(seen) != len(want) {
		t.Fatalf("got %v, want %v", seen, want)
	}
	for i := range want {
		if seen[i] != want[i] {
			t.Errorf("got %v, want %v", seen, want)
		}
	}
}

func TestCrashAtOnceIsEvidenceByItself(t *testing.T) {
	bound := 6.907755278982137 // ln 1000
	if e := Crashes(1, 5*time.Second); e < bound {
		t.Errorf("a crash after 5 s: e^%v", e)
	}
	if e := Crashes(1, time.Hour); e >= bound {
		t.Errorf("a crash after an hour: e^%v", e)
	}
	if e := Crashes(0, 24*time.Hour); e > 0 {
		t.Errorf("no crash in a day: e^%v", e)
	}
}

func TestOneClientIsNotMany(t *testing.T) {
	c := NewClients(begin)
	counted := 0
	for i := range 1000 {
		if _, counts := c.Bad(begin.Add(time.Duration(i)*again), 7); counts {
			counted++
		}
	}
	if counted != badsPerClient {
		t.Errorf("%d bads of one client count, want %d", counted, badsPerClient)
	}
	c = NewClients(begin)
	for _, tc := range []struct {
		at            time.Duration
		fresh, counts bool
	}{{0, true, true}, {again - 1, false, false}, {again, false, false}, {2 * again, true, true}, {3 * again, true, false}} {
		if fresh, counts := c.Bad(begin.Add(tc.at), 1); fresh != tc.fresh || counts != tc.counts {
			t.Errorf("a bad after %v is fresh %v, counts %v", tc.at, fresh, counts)
		}
	}
	for i := range uint64(maxClients + 10) {
		c.Bad(begin, i)
	}
	if len(c.bads) != maxClients || c.Dropped() == 0 {
		t.Errorf("%d clients are kept, %d dropped", len(c.bads), c.Dropped())
	}
}

func TestWhatAClientAsksForAfterABadAnswerDoesNotCount(t *testing.T) {
	c := NewClients(begin)
	for i := range badsPerClient {
		now := begin.Add(time.Duration(i) * again)
		if counts, timed := c.Making(now, 3); !counts || !timed {
			t.Fatalf("%v: counts %v, timed %v", now.Sub(begin), counts, timed)
		}
		if _, counts := c.Bad(now, 3); !counts {
			t.Fatalf("%v: the bad does not count", now.Sub(begin))
		}
		for _, after := range []time.Duration{0, time.Second, again - 1} {
			if counts, timed := c.Making(now.Add(after), 3); counts || timed {
				t.Errorf("%v after a bad one: counts %v, timed %v", after, counts, timed)
			}
		}
		if counts, _ := c.Making(now, 4); !counts {
			t.Error("another client's making does not count")
		}
	}
	now := begin.Add(time.Hour)
	counts, _ := c.Making(now, 3)
	if fresh, bad := c.Bad(now, 3); !counts || !fresh || bad {
		t.Errorf("an hour later its making counts %v, its bad is fresh %v and counts %v", counts, fresh, bad)
	}
	if counts, _ := c.Making(now, 3); counts {
		t.Error("what follows a bad one that does not count does count")
	}
}

func TestMakingsOfOneClientAreBounded(t *testing.T) {
	c := NewClients(begin)
	counts, timed := 0, 0
	for range 5000 {
		a, b := c.Making(begin, 3)
		if a {
			counts++
		}
		if b {
			timed++
		}
	}
	if counts != mostMakings || timed != timedMakings {
		t.Errorf("%d count and %d are timed", counts, timed)
	}
	if a, b := c.Making(begin.Add(again), 3); !a || !b {
		t.Error("ten seconds later nothing counts")
	}
}

func TestScheduleSpreadsFastFromATinyShare(t *testing.T) {
	for _, tc := range []struct {
		rate float64
		undo time.Duration
		want float64
	}{{1000, time.Second, 0.002}, {100_000, time.Second, 0.0005}, {1, time.Second, 0.10}, {0, time.Second, 0.10}} {
		if got := FirstShare(tc.rate, tc.undo); got != tc.want {
			t.Errorf("%v: %v, want %v", tc.rate, got, tc.want)
		}
	}
	for _, pops := range []int{0, 1, 2, 3, 30} {
		s := Schedule{First: 0.002, POPs: pops}
		p, steps := s.Start(), 0
		for {
			next, done := s.Next(p)
			if done {
				break
			}
			if next.Share < p.Share || next.POPs < p.POPs || next.Share > 2.2*p.Share {
				t.Fatalf("from %v to %v", p, next)
			}
			if got := s.Back(next); got != p {
				t.Errorf("%d POPs: back from %v is %v, want %v", pops, next, got, p)
			}
			if Epsilon(s.Exposure(next)) > Epsilon(s.Exposure(p)) {
				t.Errorf("the gate of %v is coarser than that of %v", next, p)
			}
			p, steps = next, steps+1
		}
		if p.Share != 1-HoldBack || p.POPs != max(pops, 1) || steps > 11 {
			t.Errorf("%d POPs: ends at %v after %d steps", pops, p, steps)
		}
	}
	if !Quiet(-1, 1000) || !Quiet(1000, 1) || Quiet(1000, 100) {
		t.Error("quiet is when a gate needs over two minutes")
	}
}
