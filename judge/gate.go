package judge

import (
	"math"
	"time"
)

// Gate says what is known towards promoting.
type Gate struct {
	Epsilon float64
	Open    bool
	Proof   float64   // ln E' of the weakest indicator
	Weakest Indicator // the one the gate waits for
	Makings int64     // of the canary, so far
	More    int64     // canary makings that the gate needs still, as things go; -1: as things go it never opens
	// Short is how many a canary that had been as bad as the baseline from the start would need still;
	// -1 as for More. At 0 it is not for want of makings that the gate is closed.
	Short int64
	// Trap is a fingerprint that speaks against the canary and that is not shown to be rare. It keeps gates
	// beyond one half shut: at even shares it is told apart with few hits, and hardly beyond.
	Trap string
	Only bool // nothing else keeps it shut: Proof and More are of the trap
}

// Epsilon is how much worse a change must be to be kept from the next position:
// the more it is exposed, as a share of all POPs' units, the finer.
func Epsilon(next float64) float64 {
	switch {
	case next <= 0.02:
		return 0.20
	case next <= 0.10:
		return 0.05
	case next <= 0.25:
		return 0.02
	case next <= 0.50:
		return 0.01
	}
	return 0.005
}

// proof is ln E' of one indicator against "at least ρ times as bad and ε more".
func (p *process) proof(k Indicator, epsilon float64) float64 {
	sum := nothing * 1.0
	for j, part := range rules[k].part {
		sum = addExp(sum, math.Log(part)+p.Gate[k][j]+epsilon*rules[k].wide*p.Room[k][j])
	}
	return sum
}

// Gate judges the gate of a position with this [Schedule.Exposure]. odds are canary : baseline of the makings to
// come, for the prediction. A node that was not heard holds nothing up: it
// adds no makings.
func (p *Panel) Gate(next, odds float64, elapsed time.Duration) Gate {
	return p.gate(p.Evidence(elapsed), next, odds)
}

func (p *Panel) gate(e Evidence, next, odds float64) Gate {
	epsilon := Epsilon(next)
	g := Gate{Epsilon: epsilon, Proof: math.Inf(1), Makings: p.tally.N[canary]}
	for k := range Indicator(Indicators) {
		if v := p.merged.proof(k, epsilon); v < g.Proof {
			g.Proof, g.Weakest = v, k
		}
		more, all := p.more(k, epsilon, odds)
		g.More, g.Short = later(g.More, more), later(g.Short, all)
	}
	g.Open = g.Proof >= math.Log(1/Beta) && e.Most() < math.Log(held)
	if next > 0.5 && e.Hits > 0 {
		g.trapped(e)
	}
	return g
}

// trapped shuts the gate if the trap that is accused is not shown to be rare. Makings show it, and
// time does not, so that a stray trap of a good change is made up for and one in a thousand is not.
func (g *Gate) trapped(e Evidence) {
	proof, more := rare(e.Hits, g.Makings)
	if proof >= math.Log(1/Beta) {
		return
	}
	g.Trap = e.Accused
	if g.Open {
		g.Open, g.Only = false, true
		g.Proof, g.More, g.Weakest = proof, more, Trap
	}
}

// later is the larger of two predictions; -1 is never.
func later(a, b int64) int64 {
	if a < 0 || b < 0 {
		return -1
	}
	return max(a, b)
}

// more predicts how many canary makings the gate needs still, if the canary
// goes on to be bad as often as the baseline is, and how many if it had been no worse so far.
func (p *Panel) more(k Indicator, epsilon, odds float64) (more, short int64) {
	if p.merged.proof(k, epsilon) >= math.Log(1/Beta) {
		return 0, 0
	}
	rate := 0.5 / float64(p.tally.N[baseline]+1)
	if p.tally.N[baseline] > 0 {
		rate += p.tally.rate(baseline, k)
	}
	odds = max(odds, 1e-6)
	left, all := math.Inf(1), math.Inf(1)
	for j, r := range rules[k].gate {
		lnA, lnB := factors(odds, rules[k].rho, r)
		growth := rate*lnA + rate/odds*lnB - epsilon*rules[k].wide*math.Expm1(lnA)
		if growth <= 0 {
			continue
		}
		bound := -math.Log(Beta * rules[k].part[j])
		have := p.merged.Gate[k][j] + epsilon*rules[k].wide*p.merged.Room[k][j]
		left, all = min(left, math.Ceil((bound-have)/growth)), min(all, math.Ceil(bound/growth))
	}
	if left > 1e15 {
		return -1, -1
	}
	return max(int64(left), 1), max(int64(all)-p.tally.of(canary, k), 0)
}
