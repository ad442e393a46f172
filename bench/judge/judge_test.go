package main

import (
	"testing"
	"time"

	"github.com/selvage-edge/selvage/judge"
)

// The seeds are fixed: what these tests hold does not change by chance.

func undone(rs []result) int { return count(rs, func(r result) bool { return r.undone }) }

// The bound is α for a change for ever; α·runs + 1 leaves room for nothing more.
func TestInnocentChangesAreNotUndone(t *testing.T) {
	const runs = 24
	b := bench{seed: 7, runs: runs}
	for name, bad := range map[string]func(time.Duration, int, bool) float64{
		"healthy, 0.1 %": rates(0.001, 0.001),
		"healthy, 1 %":   rates(0.01, 0.01),
		"at the edge":    rates(0.01, 0.021),
	} {
		rs := b.play(runs, settings{rate: 200, classes: 4, fixed: 0.05, length: 10 * time.Minute, look: 10, bad: bad, kind: judge.OriginError})
		if n := undone(rs); float64(n) > judge.Alpha*runs {
			t.Errorf("%s: %d of %d undone", name, n, runs)
		}
	}
}

func TestOutageOfBothArmsUndoesNothing(t *testing.T) {
	b := bench{seed: 3}
	for _, fixed := range []float64{0.01, 0.5} {
		rs := b.play(10, settings{rate: 100, pops: 3, classes: 4, fixed: fixed, length: 14 * time.Minute, look: 10, bad: outage(0.001), kind: judge.OriginError})
		if n := undone(rs); n > 0 {
			t.Errorf("share %v: %d of 10 undone", fixed, n)
		}
	}
}

func TestBadChangesHurtFewByTheSchedule(t *testing.T) {
	b := bench{seed: 5}
	for _, tc := range []struct {
		p1   float64
		bads float64
		time time.Duration
	}{{1, 7, 3 * time.Second}, {0.05, 12, 60 * time.Second}, {0.01, 60, 110 * time.Second}} {
		for _, pops := range []int{1, 3} {
			rs := b.play(12, settings{rate: 1000, pops: pops, classes: 4, length: 5 * time.Minute, bad: rates(0.001, tc.p1), kind: judge.OriginError})
			if undone(rs) < 12 || of(rs, bads) > tc.bads || of(rs, at) > tc.time.Seconds() {
				t.Errorf("p1 = %v, %d POPs: %d of 12 undone, median %v bads in %v s; want at most %v in %v",
					tc.p1, pops, undone(rs), of(rs, bads), of(rs, at), tc.bads, tc.time)
			}
		}
	}
}

func TestSlowChangesAreUndone(t *testing.T) {
	b := bench{seed: 6}
	for slow, most := range map[float64]float64{10: 6, 3: 20, 2: 45} {
		rs := b.play(8, settings{rate: 1000, pops: 3, classes: 4, length: 5 * time.Minute, bad: rates(0.001, 0.001), kind: judge.OriginError, slow: slow})
		if undone(rs) < 8 || of(rs, at) > most {
			t.Errorf("× %v: %d of 8 undone, after %v s; want at most %v", slow, undone(rs), of(rs, at), most)
		}
	}
}

func TestFewMakingsConvictAtOnePercent(t *testing.T) {
	b := bench{seed: 8}
	for p1, most := range map[float64]float64{1: 6, 0.5: 14, 0.05: 200, 0.025: 500} {
		rs := b.play(12, settings{rate: 1000, fixed: 0.01, length: 10 * time.Minute, bad: rates(0.001, p1), kind: judge.OriginError})
		if got := of(rs, func(r result) float64 { return float64(r.verdict.Makings) }); undone(rs) < 12 || got > most {
			t.Errorf("p1 = %v: %d of 12 undone after %v makings; want at most %v", p1, undone(rs), got, most)
		}
	}
}

func TestHealthyChangeIsThereSoon(t *testing.T) {
	b := bench{seed: 9}
	for rate, most := range map[float64]float64{1000: 75, 100: 200} {
		for _, pops := range []int{1, 3} {
			rs := b.play(8, settings{rate: rate, pops: pops, classes: 4, length: 10 * time.Minute, bad: rates(0.001, 0.001), kind: judge.OriginError})
			var to []float64
			for _, r := range rs {
				to = append(to, r.at.Seconds())
			}
			if n := undone(rs); n > 0 || median(to) > most {
				t.Errorf("%v rps, %d POPs: %d undone, 95 %% after %v s; want at most %v", rate, pops, n, median(to), most)
			}
		}
	}
}

func TestOtherBookingsFallIntoTheirTraps(t *testing.T) {
	flap := func(at time.Duration, _ int, _ bool) float64 {
		if at%(10*time.Second) < time.Second {
			return 0.5
		}
		return 0.001
	}
	b := bench{seed: 2}
	for i, r := range bookings {
		n := 0
		for run := range 4 {
			if r.innocent(b.rng(run), 10, [2]float64{0.05, 0.05}, flap) {
				n++
			}
		}
		if trap := i == 0; trap != (n > 0) {
			t.Errorf("%s: %d of 4 undone", r.name, n)
		}
	}
}

func TestAnchorsDoWhatTheirDocumentsSay(t *testing.T) {
	b := bench{seed: 1}
	for i, want := range []time.Duration{6 * time.Minute, 20 * time.Minute, time.Hour} {
		at, undone := anchors[i](&arms{rate: 1000, share: onePercent, bad: rates(0.001, 1)}, b.rng(i), 3*time.Hour)
		if !undone || at != want {
			t.Errorf("anchor %d: %v after %v, want %v", i, undone, at, want)
		}
		if _, undone := anchors[i](&arms{rate: 1000, share: onePercent, bad: rates(0, 0)}, b.rng(i), 3*time.Hour); undone {
			t.Errorf("anchor %d undoes a change without a single bad", i)
		}
	}
}
