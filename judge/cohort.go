package judge

import (
	"math"
	"time"
)

// side is an arm as an index.
type side uint8

const (
	baseline side = iota
	canary
)

// Tally counts makings and bads, by arm: baseline first, then canary.
type Tally struct {
	N   [2]int64
	Bad [2][Indicators]int64
}

func (t *Tally) add(o *Tally) {
	for s := range t.N {
		t.N[s] += o.N[s]
		for k := range t.Bad[s] {
			t.Bad[s][k] += o.Bad[s][k]
		}
	}
}

// Rate is the share of the arm's makings that were bad in k.
func (t *Tally) rate(s side, k Indicator) float64 {
	if t.N[s] <= 0 {
		return 0
	}
	return float64(t.Bad[s][k]) / float64(t.N[s])
}

// cohort is what started in one epoch of one stratum. Its marks were fixed
// before it, its odds when it closed; bads that become known later are booked
// here, with these.
type cohort struct {
	epoch   uint64
	since   time.Time // open since; closed since
	share   float64   // the assignment probability
	odds    float64   // canary : baseline, 0 while it is open
	tally   Tally
	pending [2]int64 // started and not ended
	marks   Marks
	hits    []hit // of fingerprints, while it is open
}

// watched says whether makings of this epoch are judged by k.
func (c *cohort) watched(k Indicator) bool {
	return !k.latency() || c.marks.Slow != [3]time.Duration{}
}

// realised is the odds by which an epoch is judged: those of its makings, or,
// where the canary made nothing, those of the assignment. Without a baseline
// there is nothing to compare with: the assignment probability would then
// count every canary bad and no baseline bad, which convicts the innocent at
// large shares (measured: see the design page).
func (c *cohort) realised() (odds float64, ok bool) {
	switch {
	case c.tally.N[baseline] == 0:
		return 0, false
	case c.tally.N[canary] == 0:
		return c.share / (1 - min(c.share, 0.999)), true
	}
	return float64(c.tally.N[canary]) / float64(c.tally.N[baseline]), true
}

// process is a stratum's evidence: logarithms, cumulative, never reset.
type process struct {
	Undo [Indicators][undos]float64 // ln E
	Gate [Indicators][gates]float64 // ln E' without ε
	Room [Indicators][gates]float64 // what ε counts in it: n_c (1 − A')
}

func (p *process) add(o *process) {
	for k := range Indicators {
		for j := range undos {
			p.Undo[k][j] += o.Undo[k][j]
		}
		for j := range gates {
			p.Gate[k][j] += o.Gate[k][j]
			p.Room[k][j] += o.Room[k][j]
		}
	}
}

// bads books n bads towards undo.
func (p *process) bads(k Indicator, s side, odds, n float64) {
	for j, m := range above {
		lnA, lnB := factors(odds, rules[k].rho, rules[k].rho*m)
		if s == canary {
			p.Undo[k][j] += n * lnA
		} else {
			p.Undo[k][j] += n * lnB
		}
	}
}

// close books what is known of an epoch at its close: the compensator of all
// that started, and the bads so far.
func (p *process) close(c *cohort) {
	for k := range Indicator(Indicators) {
		if d := rules[k].delta; d > 0 && c.tally.N[canary] > 0 {
			for j, m := range above {
				lnA, _ := factors(c.odds, rules[k].rho, rules[k].rho*m)
				p.Undo[k][j] -= float64(c.tally.N[canary]) * d * math.Expm1(lnA)
			}
		}
		for s := range c.tally.Bad {
			if n := c.tally.Bad[s][k]; n > 0 {
				p.bads(k, side(s), c.odds, float64(n))
			}
		}
	}
}

// end books an epoch of which everything is known towards promoting.
func (p *process) end(c *cohort) {
	if c.tally.N[canary] == 0 {
		return // the baseline's bads alone would speak for the canary
	}
	for k := range Indicator(Indicators) {
		if !c.watched(k) {
			continue
		}
		for j, r := range rules[k].gate {
			lnA, lnB := factors(c.odds, rules[k].rho, r)
			p.Gate[k][j] += float64(c.tally.Bad[canary][k])*lnA + float64(c.tally.Bad[baseline][k])*lnB
			p.Room[k][j] -= float64(c.tally.N[canary]) * math.Expm1(lnA)
		}
	}
}
