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

// Gate judges the gate with this ε. odds are canary : baseline of the makings to
// come, for the prediction. A node that was not heard holds nothing up: it
// adds no makings.
func (p *Panel) Gate(epsilon, odds float64, elapsed time.Duration) Gate {
	return p.gate(p.Evidence(elapsed), epsilon, odds)
}

func (p *Panel) gate(e Evidence, epsilon, odds float64) Gate {
	g := Gate{Epsilon: epsilon, Proof: math.Inf(1), Makings: p.tally.N[canary]}
	for k := range Indicator(Indicators) {
		if v := p.merged.proof(k, epsilon); v < g.Proof {
			g.Proof, g.Weakest = v, k
		}
		if m := p.more(k, epsilon, odds); m < 0 || g.More >= 0 && m > g.More {
			g.More = m
		}
	}
	g.Open = g.Proof >= math.Log(1/Beta) && e.Most() < math.Log(held)
	return g
}

// more predicts how many canary makings the gate needs still, if the canary
// goes on to be bad as often as the baseline is.
func (p *Panel) more(k Indicator, epsilon, odds float64) int64 {
	if p.merged.proof(k, epsilon) >= math.Log(1/Beta) {
		return 0
	}
	rate := 0.5 / float64(p.tally.N[baseline]+1)
	if p.tally.N[baseline] > 0 {
		rate += p.tally.rate(baseline, k)
	}
	odds = max(odds, 1e-6)
	least := math.Inf(1)
	for j, r := range rules[k].gate {
		lnA, lnB := factors(odds, rules[k].rho, r)
		growth := rate*lnA + rate/odds*lnB - epsilon*rules[k].wide*math.Expm1(lnA)
		if growth <= 0 {
			continue
		}
		have := p.merged.Gate[k][j] + epsilon*rules[k].wide*p.merged.Room[k][j]
		least = min(least, math.Ceil((-math.Log(Beta*rules[k].part[j])-have)/growth))
	}
	if least > 1e15 {
		return -1
	}
	return max(int64(least), 1)
}
