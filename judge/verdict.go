package judge

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
)

// Word is a verdict in one word.
type Word string

// The words. A verdict without traffic is to keep watching, never to undo.
const (
	Watching Word = "watching"
	Open     Word = "open" // the gate of the next share
	Held     Word = "held" // the evidence is bad or contradictory: no step
	Undone   Word = "undone"
)

// Verdict is a judgement with its numbers.
type Verdict struct {
	Word        Word
	Bad         int64 // of the canary, in the leading indicator
	Makings     int64 // of the canary
	Baseline    int64 // makings of the baseline
	Unit        string
	After       time.Duration // since the canary took its first request
	Lead        Indicator
	Rate, Base  float64 // shares of makings that were bad: canary, baseline
	Evidence    float64 // towards undo, ln
	Fingerprint string  // where one convicted
	Gate        Gate    // of the next share
	POP         selvage.POP
	First       string // the first bad canary record
}

// Verdict judges: undone as soon as the bound is reached, else what the gate
// says. elapsed is the time since the rollout's begin; odds are those of
// makings to come, next is the next position's [Schedule.Exposure]. The caller adds Unit, POP and First, which it knows.
func (p *Panel) Verdict(elapsed time.Duration, next, odds float64) Verdict {
	e := p.Evidence(elapsed)
	v := Verdict{
		Word: Watching, Unit: "makings", After: elapsed, Lead: e.Lead, Evidence: e.Most(),
		Gate: p.gate(e, next, odds),
	}
	if e.Prints > e.Indicators {
		v.Fingerprint, v.Lead = e.Print, Trap
	}
	v.Bad, v.Makings, v.Baseline = p.tally.Bad[canary][v.Lead], p.tally.N[canary], p.tally.N[baseline]
	v.Rate, v.Base = p.tally.rate(canary, v.Lead), p.tally.rate(baseline, v.Lead)
	switch {
	case e.Undo():
		v.Word = Undone
	case e.Most() >= math.Log(held):
		v.Word = Held
	case v.Gate.Open:
		v.Word = Open
	}
	return v
}

// String is the verdict in words: undone after 4 bad of 61 forwards in 1.6 s:
// origin 5xx 6.6 % against 0.1 %, evidence 4,100 to 1, POP ams, first record 01J….
func (v Verdict) String() string {
	unit := v.Unit
	if unit == "" {
		unit = "makings"
	}
	switch v.Word {
	case Open:
		return fmt.Sprintf("ε = %s after %s %s", percent(v.Gate.Epsilon), count(v.Gate.Makings), unit)
	case Undone, Held:
		return v.grave(unit)
	}
	switch {
	case v.Gate.Only:
		return fmt.Sprintf("watching: %s %s so far, about %s more without another trap show that it is rare (%s)",
			count(v.Gate.Makings), unit, count(v.Gate.More), v.Gate.Trap)
	case v.Gate.More < 0:
		return fmt.Sprintf("watching: %s %s so far; as things go, ε = %s is never shown for %s",
			count(v.Gate.Makings), unit, percent(v.Gate.Epsilon), v.Gate.Weakest)
	default:
		return fmt.Sprintf("watching: %s %s so far, about %s more for ε = %s (%s)",
			count(v.Gate.Makings), unit, count(v.Gate.More), percent(v.Gate.Epsilon), v.Gate.Weakest)
	}
}

func (v Verdict) grave(unit string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s after %s bad of %s %s in %s: %s %s against %s, evidence %s to 1", v.Word, count(v.Bad),
		count(v.Makings), unit, seconds(v.After), v.Lead, percent(v.Rate), percent(v.Base), evidenceWords(v.Evidence))
	if v.Fingerprint != "" {
		fmt.Fprintf(&b, ", fingerprint %s", v.Fingerprint)
	}
	if v.POP != "" {
		fmt.Fprintf(&b, ", POP %s", v.POP)
	}
	if v.First != "" {
		fmt.Fprintf(&b, ", first record %s", v.First)
	}
	return b.String()
}

// percent has two digits that count and no more: 6.6 %, 0.1 %, 20 %.
func percent(share float64) string {
	v := share * 100
	if v >= 10 {
		return strconv.FormatFloat(math.Round(v), 'f', -1, 64) + " %"
	}
	if v < 0.001 {
		return "0 %"
	}
	digits := 1 - int(math.Floor(math.Log10(v)))
	return trim(strconv.FormatFloat(v, 'f', min(digits, 4), 64)) + " %"
}

func trim(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// count groups thousands.
func count(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// evidenceWords is e^lnE with two digits, or as a power of ten where nobody reads digits.
func evidenceWords(lnE float64) string {
	if lnE > math.Log(1e9) {
		return "10^" + strconv.Itoa(int(min(lnE/math.Ln10, 1e6)))
	}
	v := math.Exp(lnE)
	if v < 10 {
		return trim(strconv.FormatFloat(v, 'f', 1, 64))
	}
	unit := math.Pow(10, math.Floor(math.Log10(v))-1)
	return count(int64(math.Round(v/unit) * unit))
}

func seconds(d time.Duration) string {
	if d < time.Minute {
		return trim(strconv.FormatFloat(d.Seconds(), 'f', 1, 64)) + " s"
	}
	return d.Round(time.Second).String()
}
