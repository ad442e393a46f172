package main

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"
)

// The rules of others with the values that their documentation shows. They
// judge error rates only here, which is what they are compared in.
//
//   - Flagger: a check a minute, at least 99 % success in it, rolled back in the
//     check after the fifth failed one; 10 % steps to 50 %.
//   - Argo Rollouts: a measurement every five minutes, at least 95 %, aborted
//     when more than three failed; 20 % steps of ten minutes.
//   - Kayenta: three runs of an hour with a point a minute, the canary beside a
//     baseline of the same size, Mann-Whitney with 98 % confidence and 0.25
//     tolerance, one metric, which fails the run.
type anchor func(a *arms, rng *rand.Rand, length time.Duration) (at time.Duration, undone bool)

// arms says what each arm gets in a minute. share is the canary's, by minutes in which it grew.
type arms struct {
	rate  float64 // a second
	share func(minute int) float64
	bad   func(at time.Duration, pop int, canary bool) float64
	hurt  float64 // bads of the canary so far
}

// minute draws one minute of an arm: makings and bads.
func (a *arms) minute(rng *rand.Rand, m int, share float64, canary bool) (n, bad float64) {
	p := a.bad(time.Duration(m)*time.Minute+30*time.Second, 0, canary)
	n = float64(poisson(rng, a.rate*60*share))
	bad = min(float64(poisson(rng, n*p)), n)
	if p == 1 {
		bad = n
	}
	if canary {
		a.hurt += bad
	}
	return n, bad
}

func flagger(a *arms, rng *rand.Rand, length time.Duration) (time.Duration, bool) {
	failed := 0
	for m := range int(length / time.Minute) {
		n, bad := a.minute(rng, m, a.share(m-failed), true) // a failed check stays at its weight
		if failed >= 5 {
			return time.Duration(m+1) * time.Minute, true
		}
		if n > 0 && 1-bad/n < 0.99 {
			failed++
		}
	}
	return length, false
}

func argo(a *arms, rng *rand.Rand, length time.Duration) (time.Duration, bool) {
	failed, n, bad := 0, 0.0, 0.0
	for m := range int(length / time.Minute) {
		dn, db := a.minute(rng, m, a.share(m), true)
		n, bad = n+dn, bad+db
		if m%5 != 4 {
			continue
		}
		if n > 0 && 1-bad/n < 0.95 {
			failed++
		}
		if failed > 3 {
			return time.Duration(m+1) * time.Minute, true
		}
		n, bad = 0, 0
	}
	return length, false
}

func kayenta(a *arms, rng *rand.Rand, length time.Duration) (time.Duration, bool) {
	var canary, control []float64
	for m := range int(length / time.Minute) {
		for _, arm := range []bool{true, false} {
			n, bad := a.minute(rng, m, a.share(m), arm)
			if arm {
				canary = append(canary, bad/max(n, 1))
			} else {
				control = append(control, bad/max(n, 1))
			}
		}
		if m%60 != 59 {
			continue
		}
		if high(canary, control) {
			return time.Duration(m+1) * time.Minute, true
		}
		canary, control = nil, nil
	}
	return length, false
}

// high is Kayenta's classification of an increase: the lower end of the
// confidence interval of the shift lies above a quarter of its estimate.
func high(canary, control []float64) bool {
	var shifts []float64
	for _, x := range canary {
		for _, y := range control {
			shifts = append(shifts, x-y)
		}
	}
	slices.Sort(shifts)
	n, m := float64(len(canary)), float64(len(control))
	const z = 2.326 // 98 %, two-sided
	at := int(n*m/2 - z*math.Sqrt(n*m*(n+m+1)/12))
	lower, estimate := shifts[max(at, 0)], shifts[len(shifts)/2]
	return lower > 0.25*math.Abs(estimate)
}

// onePercent is a share that does not grow.
func onePercent(int) float64 { return 0.01 }

// steps is a share that grows by step every so many minutes.
func steps(step, most float64, minutes int) func(int) float64 {
	return func(m int) float64 { return min(step*float64(1+m/minutes), most) }
}
