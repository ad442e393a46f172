package judge

import (
	"math"
	"time"
)

// Cusum watches for ever: M = max(M, 1)·L, where L is an e-process's increment.
// It forgets good times, so that it sees a change soon whenever it comes, and
// pays with a weaker promise: false alarms are at least [AlarmAt] looks apart
// on average, and never excluded. The zero value is ready.
type Cusum struct {
	M [undos]float64 // ln
	// What was counted since the level was last as it should be.
	N, Bad int64
}

// AlarmAt is the evidence at which a Cusum raises an alarm.
const AlarmAt = 1e6

// beyond are the one-arm alternatives, as multiples of the tolerated level.
var beyond = [undos]float64{1.5, 2, 4, 10, 50}

// Level adds makings of which bad were bad, against a level that is tolerated:
// the burn of an error budget, or what was before a change.
func (c *Cusum) Level(n, bad int64, tolerated float64) {
	tolerated = min(max(tolerated, 1e-6), 1)
	for j, r := range beyond {
		r = min(r, 1/tolerated)
		c.M[j] = max(c.M[j], 0) + float64(bad)*math.Log(r) - float64(n)*tolerated*(r-1)
	}
	c.count(n, bad)
}

// Peers adds makings of this one beside those of its peers in the same time:
// an endpoint beside the other endpoints, a POP beside the other POPs.
func (c *Cusum) Peers(k Indicator, n, bad, peersN, peersBad int64) {
	if n <= 0 || peersN <= 0 {
		return
	}
	odds, rule := float64(n)/float64(peersN), &rules[k]
	for j, m := range above {
		lnA, lnB := factors(odds, rule.rho, rule.rho*m)
		c.M[j] = max(c.M[j], 0) + float64(bad)*lnA + float64(peersBad)*lnB - float64(n)*rule.delta*math.Expm1(lnA)
	}
	c.count(n, bad)
}

func (c *Cusum) count(n, bad int64) {
	if meanExp(c.M[:]) <= 0 {
		c.N, c.Bad = 0, 0
		return
	}
	c.N += n
	c.Bad += bad
}

// Evidence is ln of the evidence for an alarm.
func (c *Cusum) Evidence() float64 { return meanExp(c.M[:]) }

// Alarm says that the evidence has reached [AlarmAt].
func (c *Cusum) Alarm() bool { return c.Evidence() >= math.Log(AlarmAt) }

// Readmit says whether what was taken out may come back a step: its makings
// since then, on trial, speak against being as bad as peers·ρ + ε. It is the
// gate of a promotion, and with doubling shares it is slow start.
func Readmit(k Indicator, epsilon float64, trial Tally) bool {
	c := cohort{tally: trial}
	if !c.settle() || trial.N[canary] == 0 {
		return false
	}
	var p process
	p.end(&c)
	return p.proof(k, epsilon) >= math.Log(1/Beta)
}

// Advice is what to do about harm that both arms share.
type Advice uint8

// The advice, in the order in which it may come.
const (
	GoOn     Advice = iota
	StepBack        // once: freeze the schedule and take the share one step back
	Freeze          // no step is taken, the two-arm evidence goes on
	Innocent        // the level did not follow the share: freeze until it is back, then go on
	UndoIt          // the level followed the share down
)

// Shared watches both arms together for harm that the comparison of the arms
// excuses: memory, a crash, a collector's pause, an origin that drowns.
type Shared struct {
	tolerated float64
	cusum     Cusum
	advice    Advice
	back      time.Time
	middle    float64
	low       [2]float64 // ln E against "still elevated"
}

const (
	settling  = time.Second      // makings that were under way when the share changed
	following = 30 * time.Second // an outage that ends within this time of the step back costs an innocent change
)

// NewShared takes the level from before the change: of n makings, bad were bad.
func NewShared(n, bad int64) *Shared {
	level := (float64(bad) + 1) / (float64(n) + 2)
	return &Shared{tolerated: min(rules[OriginError].rho*level+rules[OriginError].delta, 1)}
}

// Add adds what both arms made since the last call.
func (s *Shared) Add(now time.Time, n, bad int64) Advice {
	switch s.advice {
	case GoOn:
		s.cusum.Level(n, bad, s.tolerated)
		if s.cusum.Alarm() {
			level := float64(s.cusum.Bad) / float64(max(s.cusum.N, 1))
			s.middle = math.Sqrt(s.tolerated * max(level, s.tolerated))
			s.advice, s.back, s.low = Freeze, now, [2]float64{}
			return StepBack
		}
	case Freeze:
		if now.Sub(s.back) < settling {
			break
		}
		switch {
		case s.follows(n, bad):
			s.advice = UndoIt
		case now.Sub(s.back) >= following:
			s.advice, s.low = Innocent, [2]float64{}
		}
	case Innocent:
		if s.follows(n, bad) {
			s.advice, s.cusum = GoOn, Cusum{}
		}
	}
	return s.advice
}

// follows is an e-process against "the level is still above the middle between
// what is tolerated and what the alarm saw". As in a Cusum, bad times are forgotten.
func (s *Shared) follows(n, bad int64) bool {
	for j, r := range [...]float64{0.05, 0.5} {
		s.low[j] = max(s.low[j], 0) + float64(bad)*math.Log(r) + float64(n)*s.middle*(1-r)
	}
	return meanExp(s.low[:]) >= math.Log(1/Alpha)
}

// crashes are the alternatives to one unclean end a day, as multiples.
var crashes = [...]float64{1e2, 1e3, 1e4, 1e5}

// Crashes is ln of the evidence of unclean ends of nodes that had the canary,
// over the time they had it, against one a day and node. One within seconds
// convicts by itself; one after an hour does not.
func Crashes(ends int, exposure time.Duration) float64 {
	var e [len(crashes)]float64
	usual := max(exposure, 0).Hours() / 24
	for j, r := range crashes {
		e[j] = float64(max(ends, 0))*math.Log(r) - usual*(r-1)
	}
	return meanExp(e[:])
}
