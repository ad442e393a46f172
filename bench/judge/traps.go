package main

import (
	"math"
	"math/rand/v2"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
)

// rule is a way to book epochs, written a second time and by itself, to show
// what the others cost: the false undos of an innocent change.
type rule struct {
	name     string
	realised bool // the share of the epoch's own makings, not of the assignment
	skip     bool // epochs without canary do not count
	carry    bool // an epoch stays open until both arms made something
	alone    bool // epochs without baseline count, with the assigned share
}

var bookings = []rule{
	{name: "assigned share, epochs without canary left out", skip: true, alone: true},
	{name: "assigned share, all epochs", alone: true},
	{name: "realised share, epochs without canary left out", realised: true, skip: true, alone: true},
	{name: "realised share, assigned where an arm is empty", realised: true, alone: true},
	{name: "epochs stay open until both arms made something (as built)", realised: true, carry: true},
}

// innocent is one hour of a change that is acceptable, with one indicator and
// epochs of 250 ms. share is the canary's as assigned and as it really gets it.
func (r rule) innocent(rng *rand.Rand, rate float64, share [2]float64, p func(time.Duration, int, bool) float64) bool {
	const epoch = 250 * time.Millisecond
	var e [5]float64
	var n, y [2]int
	for at := time.Duration(0); at < time.Hour; at += epoch {
		for range poisson(rng, rate*epoch.Seconds()) {
			arm := 0
			if rng.Float64() < share[1] {
				arm = 1
			}
			n[arm]++
			if rng.Float64() < p(at, 0, arm == 1) {
				y[arm]++
			}
		}
		empty := n[0] == 0 || n[1] == 0
		if r.carry && empty {
			continue
		}
		if (n[1] > 0 || !r.skip) && (n[0] > 0 || r.alone) {
			odds := share[0] / (1 - share[0])
			if r.realised && !empty {
				odds = float64(n[1]) / float64(n[0])
			}
			add(&e, odds, n[1], y)
		}
		n, y = [2]int{}, [2]int{}
		if mean(e) >= 1000 {
			return true
		}
	}
	return false
}

// add is the formula for ρ = 2 and δ = 0.1 %.
func add(e *[5]float64, odds float64, n int, y [2]int) {
	for j, m := range [5]float64{1.5, 3, 10, 50, 300} {
		a := m * (1 + 2*odds) / (1 + 2*m*odds)
		b := (1 + 2*odds) / (1 + 2*m*odds)
		e[j] += float64(y[1])*math.Log(a) + float64(y[0])*math.Log(b) - float64(n)*0.001*(a-1)
	}
}

func mean(e [5]float64) float64 {
	sum := 0.0
	for _, v := range e {
		sum += math.Exp(min(v, 500)) / 5
	}
	return sum
}

// retries is one hour of an innocent change under clients of which a few fail
// for reasons of their own and then try thirty times, with or without the
// bound on what one client may say.
func retries(seed uint64, bounded bool) bool {
	rng := rand.New(rand.NewPCG(seed, 5))
	b, clients := judge.NewBook(judge.Options{}), judge.NewClients(begin)
	const share = 0.05
	b.Share(begin, share)
	for i := range 36_000 {
		now := begin.Add(time.Duration(i) * slot)
		for range poisson(rng, 10) {
			client, tries := rng.Uint64N(3000), 1
			arm := selvage.Baseline
			if float64(client%1000) < 1000*share {
				arm = selvage.Canary
			}
			bad := rng.Float64() < 0.0005
			if bad {
				tries = 30
			}
			for range tries {
				if counts, _ := clients.Making(now, client); bounded && !counts {
					continue
				}
				o := judge.Outcome{NoBody: true}
				if bad {
					if _, counts := clients.Bad(now, client); counts || !bounded {
						o.Bad = o.Bad.With(judge.OriginError)
					}
				}
				b.End(now, b.Start(now, arm, "all", false), o)
			}
		}
		b.Tick(now)
		if i%10 == 0 && b.MayUndoAlone(b.Report(now.Sub(begin))) {
			return true
		}
	}
	return false
}
