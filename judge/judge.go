// Package judge holds the statistics by which a change is judged: numbers in,
// verdict out.
//
// Look at [Book] first: one node's counts about one rollout, from which it may
// undo alone. A [Panel] puts the reports of all nodes together and gives the
// [Verdict]. [Cusum] is the same arithmetic for what is always watched,
// [Attribute] names a suspect among records, [Schedule] says which share comes next.
//
// It promises that a change whose rates are acceptable (at most ρ times the
// baseline's plus δ, whatever the baseline does meanwhile) is undone with a
// chance of at most [Alpha], however often and by however many one looks, that
// late, lost and doubled reports do no harm, and that every number stays
// finite. doc/design/002-judging.md has the formulas and why they hold.
//
// It refuses to do I/O or to read a clock: times and counts are arguments.
// Nothing in it is safe for concurrent use.
package judge

import (
	"math"
	"strings"
)

// The bounds of errors, and the evidence that reaches them.
const (
	Alpha = 1e-3 // the chance of ever undoing an acceptable change
	Beta  = 0.02 // the chance that one gate opens for a change that is bad by its ε

	held = 20 // evidence towards undo from which on no gate opens
)

// Indicator is one way in which a making can be bad.
type Indicator uint8

// The indicators. A making may be bad in several.
const (
	Trap        Indicator = iota // the guest trapped
	OverLimit                    // it met its CPU or time limit, or its deadline
	OwnError                     // an answer of 5xx of our own
	OriginError                  // the origin answered 5xx, or not at all
	Slow75                       // slower than the baseline's q75, as it was before the epoch
	Slow90                       // q90
	Slow99                       // q99
	Hollow                       // the body is empty or far smaller than the baseline's, or it sends the client where it already is

	Indicators = 8 // how many there are
)

// Set is a set of indicators.
type Set uint8

// With is the set and k.
func (s Set) With(k Indicator) Set { return s | 1<<k }

// Has says whether k is in the set.
func (s Set) Has(k Indicator) bool { return s>>k&1 == 1 }

// String lists the set's indicators: origin 5xx, slower than q75.
func (s Set) String() string {
	var names []string
	for k := range Indicator(Indicators) {
		if s.Has(k) {
			names = append(names, k.String())
		}
	}
	return strings.Join(names, ", ")
}

// The grids: how many alternatives each process averages over.
const (
	undos = 5
	gates = 3
)

// rule is what is tolerated of an indicator and what it counts.
type rule struct {
	name   string
	weight float64        // of the undo average; they sum to 1
	rho    float64        // the canary may be bad this many times as often as the baseline …
	delta  float64        // … and this much, as a share of makings
	gate   [gates]float64 // the ratios canary : baseline that promoting looks for …
	part   [gates]float64 // … and what each counts; they sum to 1
	wide   float64        // its gate's ε is so many times that of the share
}

// above are the undo alternatives as multiples of ρ. Without one near 1,
// medium shifts would never be seen; without a large one, total failures late.
var above = [undos]float64{1.5, 3, 10, 50, 300}

// calm are the ratios for errors: few, half as many, as many. With none at all
// instead of few, one bad of a healthy canary would cost hundreds of makings. Latency
// needs them closer together: the healthy ratio is 1, and with ρ = 1.25 a grid
// of ρ/2 and less would never open a gate.
var (
	calm, calmParts   = [gates]float64{0.1, 0.5, 1}, [gates]float64{0.7, 0.15, 0.15}
	quick, quickParts = [gates]float64{0.3, 0.75, 1}, [gates]float64{0.4, 0.3, 0.3}
)

// rules is indexed by Indicator. The weights were chosen in the simulation:
// what fails outright gets most, so that three bads suffice at a share of 1 %;
// latency moves thousands of makings at once and can afford little. Its gates
// are three times as wide: a quarter of all makings exceeds q75 anyhow, and with the
// errors' ε it would be what every early gate waits for.
var rules = [Indicators]rule{
	Trap:        {"trap", 0.18, 2, 1e-3, calm, calmParts, 1},
	OverLimit:   {"limit reached", 0.13, 2, 1e-3, calm, calmParts, 1},
	OwnError:    {"own 5xx", 0.18, 2, 1e-3, calm, calmParts, 1},
	OriginError: {"origin 5xx", 0.26, 2, 1e-3, calm, calmParts, 1},
	Slow75:      {"slower than q75", 0.04, 1.25, 0, quick, quickParts, 3},
	Slow90:      {"slower than q90", 0.04, 1.5, 0, quick, quickParts, 3},
	Slow99:      {"slower than q99", 0.04, 2, 0, quick, quickParts, 3},
	Hollow:      {"empty or looping", 0.13, 2, 1e-3, calm, calmParts, 1},
}

// String is the indicator in words.
func (k Indicator) String() string {
	if int(k) >= len(rules) {
		return "unknown"
	}
	return rules[k].name
}

// Weight is the indicator's part of the average, of 1.
func (k Indicator) Weight() float64 { return rules[k].weight }

func (k Indicator) latency() bool { return k == Slow75 || k == Slow90 || k == Slow99 }

// factors are ln A and ln B: what one bad of the canary and one of the baseline
// say for the ratio r against the tolerated ratio rho, with odds = n_c/n_b.
// The form needs no 1-θ, which would lose its digits at large shares.
func factors(odds, rho, r float64) (lnA, lnB float64) {
	lnB = math.Log1p(rho*odds) - math.Log1p(r*odds)
	return math.Log(r/rho) + lnB, lnB
}

// nothing is the logarithm of a chance that is none. It is finite, as everything
// in a report has to be.
const nothing = -1e18

// addExp is ln(e^a + e^b).
func addExp(a, b float64) float64 {
	if a < b {
		a, b = b, a
	}
	return a + math.Log1p(math.Exp(b-a))
}

// meanExp is the logarithm of the mean of e^x.
func meanExp(x []float64) float64 {
	sum := nothing * 1.0
	for _, v := range x {
		sum = addExp(sum, v)
	}
	return sum - math.Log(float64(len(x)))
}

// part is the i-th part of 1, i from 1: the parts 6/(π² i²) sum to 1.
func part(i int) float64 { return 6 / (math.Pi * math.Pi * float64(i) * float64(i)) }
