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
	N     [2]int64
	Timed [2]int64 // those whose latency counts
	Bad   [2][Indicators]int64
}

func (t *Tally) add(o *Tally) {
	for s := range t.N {
		t.N[s] += o.N[s]
		t.Timed[s] += o.Timed[s]
		for k := range t.Bad[s] {
			t.Bad[s][k] += o.Bad[s][k]
		}
	}
}

// Rate is the share of the arm's makings that were bad in k.
func (t *Tally) rate(s side, k Indicator) float64 {
	n := t.of(s, k)
	if n <= 0 {
		return 0
	}
	return float64(t.Bad[s][k]) / float64(n)
}

// of is how many makings of the arm k looks at.
func (t *Tally) of(s side, k Indicator) int64 {
	if k.latency() {
		return t.Timed[s]
	}
	return t.N[s]
}

// cohort is what started in one epoch of one stratum. Its marks were fixed
// before it, its odds when it closed; bads that become known later are booked
// here, with these.
type cohort struct {
	epoch   uint64
	since   time.Time // open since; closed since
	marks   Marks
	pending [2]int64 // started and not ended
	tally   Tally
	share   float64    // the assignment probability
	odds    [2]float64 // canary : baseline of all makings and of the timed ones
	hits    []hit      // of fingerprints, while it is open
}

// watched says whether makings of this epoch are judged by k, and by which odds.
func (c *cohort) watched(k Indicator) (odds float64, ok bool) {
	if !k.latency() {
		return c.odds[0], true
	}
	return c.odds[1], c.odds[1] > 0
}

// settle fixes the odds by which the epoch is judged: those of its makings,
// or, where the canary made nothing, those of the assignment. Without a
// baseline there is nothing to compare with: the assignment probability would
// then count every canary bad and no baseline bad, which convicts the innocent
// at large shares (measured: see the design page).
func (c *cohort) settle() (ok bool) {
	n, timed := c.tally.N, c.tally.Timed
	if n[baseline] == 0 {
		return false
	}
	c.odds[0] = float64(n[canary]) / float64(n[baseline])
	if n[canary] == 0 {
		c.odds[0] = c.share / (1 - min(c.share, 0.999))
	}
	if timed[baseline] > 0 {
		c.odds[1] = float64(timed[canary]) / float64(timed[baseline])
	}
	return true
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
		odds, ok := c.watched(k)
		if !ok {
			continue
		}
		if d := rules[k].delta; d > 0 && c.tally.N[canary] > 0 {
			for j, m := range above {
				lnA, _ := factors(odds, rules[k].rho, rules[k].rho*m)
				p.Undo[k][j] -= float64(c.tally.N[canary]) * d * math.Expm1(lnA)
			}
		}
		for s := range c.tally.Bad {
			if n := c.tally.Bad[s][k]; n > 0 {
				p.bads(k, side(s), odds, float64(n))
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
		odds, ok := c.watched(k)
		if !ok {
			continue
		}
		for j, r := range rules[k].gate {
			lnA, lnB := factors(odds, rules[k].rho, r)
			p.Gate[k][j] += float64(c.tally.Bad[canary][k])*lnA + float64(c.tally.Bad[baseline][k])*lnB
			p.Room[k][j] -= float64(c.tally.of(canary, k)) * math.Expm1(lnA)
		}
	}
}
