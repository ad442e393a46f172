// Command judge simulates the whole judging of changes and writes the table.
//
// Look at main for the rows, at world.go for what is simulated, at anchors.go
// for the rules of others and where they come from.
//
// It promises the same figures for the same seed: all chance comes from it. It
// refuses to say how a network behaves: latencies are lognormal, failures
// independent.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage/judge"
)

func main() {
	seed := flag.Uint64("seed", 1, "of all chance")
	runs := flag.Int("runs", 1000, "of the rows that count false undos; the others take a tenth")
	out := flag.String("o", "", "file to write; standard output if empty")
	flag.Parse()
	b := bench{seed: *seed, runs: max(*runs, 10)}
	b.table()
	if *out == "" {
		fmt.Print(b.text.String())
		return
	}
	if err := os.WriteFile(*out, []byte(b.text.String()), 0o644); err != nil {
		fmt.Fprintln(os.Stderr, "judge:", err)
		os.Exit(1)
	}
}

// bench makes the table.
type bench struct {
	seed uint64
	runs int
	text strings.Builder
}

func (b *bench) table() {
	b.printf("# Judging, simulated\n\n`go run ./bench/judge -seed %d -runs %d`. Settings: 20 ms median latency (lognormal, σ 0.6), ", b.seed, b.runs)
	b.printf("reports and looks every 100 ms (false undos: every second), undo in force 100 ms after the decision, ")
	b.printf("epochs of 250 ms, all eight indicators, four route classes in each POP, p0 = 0.1 %% errors unless said. ")
	b.printf("Medians of %d runs, of 1,000 rps in all POPs together unless said.\n\n", b.few())
	b.falseUndos()
	b.fixed()
	b.scheduled()
	b.convict()
	b.traps()
	b.printf("%s\n", sources)
}

func (b *bench) printf(format string, args ...any) { fmt.Fprintf(&b.text, format, args...) }

func (b *bench) few() int { return max(b.runs/10, 10) }

// many plays runs with as many goroutines as there are cores, in order.
func many[T any](runs int, one func(i int) T) []T {
	out := make([]T, runs)
	var wg sync.WaitGroup
	for c := range runtime.NumCPU() {
		wg.Go(func() {
			for i := c; i < runs; i += runtime.NumCPU() {
				out[i] = one(i)
			}
		})
	}
	wg.Wait()
	return out
}

func (b *bench) play(runs int, s settings) []result {
	return many(runs, func(i int) result { return run(s, b.seed*1_000_003+uint64(i)) })
}

func (b *bench) rng(i int) *rand.Rand { return rand.New(rand.NewPCG(b.seed, uint64(i))) }

var anchors = []anchor{flagger, argo, kayenta}

func (b *bench) falseUndos() {
	b.printf("## False undos: share of %d innocent changes at a fixed 1 %% canary, 1 h, 100 rps\n\n", b.runs)
	b.printf("| what | ours | Flagger docs | Argo docs | Kayenta docs |\n|---|---|---|---|---|\n")
	for _, row := range []struct {
		name string
		bad  func(time.Duration, int, bool) float64
	}{
		{"healthy, p0 = 0.1 %", rates(0.001, 0.001)},
		{"healthy, p0 = 1 %", rates(0.01, 0.01)},
		{"at the edge of what is tolerated: 2.1 % against 1 %", rates(0.01, 0.021)},
		{"an outage of 10 min in both arms", outage(0.001)},
	} {
		b.printf("| %s | %s", row.name, b.share(b.play(b.runs, settings{
			rate: 100, classes: 4, fixed: 0.01, length: time.Hour, look: 10, bad: row.bad, kind: judge.OriginError,
		}), func(r result) bool { return r.undone }))
		for _, a := range anchors {
			got := many(b.runs, func(i int) bool {
				_, undone := a(&arms{rate: 100, share: onePercent, bad: row.bad}, b.rng(i), time.Hour)
				return undone
			})
			b.printf(" | %.3g", float64(count(got, func(v bool) bool { return v }))/float64(b.runs))
		}
		b.printf(" |\n")
	}
	b.printf("\n")
}

func (b *bench) share(rs []result, is func(result) bool) string {
	n := count(rs, is)
	if n == 0 {
		return fmt.Sprintf("0 of %d", len(rs))
	}
	return fmt.Sprintf("%.3g", float64(n)/float64(len(rs)))
}

func count[T any](x []T, is func(T) bool) int {
	n := 0
	for _, v := range x {
		if is(v) {
			n++
		}
	}
	return n
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return -1
	}
	slices.Sort(x)
	return x[len(x)/2]
}

// of is the median of something of the runs that are undone.
func of(rs []result, what func(result) float64) float64 {
	var x []float64
	for _, r := range rs {
		if r.undone {
			x = append(x, what(r))
		}
	}
	return median(x)
}

func bads(r result) float64 { return float64(r.bads) }
func at(r result) float64   { return r.at.Seconds() }

func (b *bench) fixed() {
	b.printf("## A bad change at a fixed 1 %% canary, 1,000 rps: time to undone / bads served (undone of all)\n\n")
	b.printf("| p1 | ours | Flagger docs | Argo docs | Kayenta docs |\n|---|---|---|---|---|\n")
	for _, p1 := range []float64{1, 0.05, 0.025, 0.01} {
		rs := b.play(b.few(), settings{rate: 1000, classes: 4, fixed: 0.01, length: time.Hour, bad: rates(0.001, p1), kind: judge.OriginError})
		b.printf("| %g %% | %.1f s / %.0f (%d of %d)", p1*100, of(rs, at), of(rs, bads), count(rs, func(r result) bool { return r.undone }), len(rs))
		for _, a := range anchors {
			b.printf(" | %s", b.anchored(a, onePercent, p1, 3*time.Hour))
		}
		b.printf(" |\n")
	}
	b.printf("\n")
}

// anchored plays an anchor against a change that is bad with p1.
func (b *bench) anchored(a anchor, share func(int) float64, p1 float64, length time.Duration) string {
	var times, served []float64
	for i := range b.few() {
		w := &arms{rate: 1000, share: share, bad: rates(0.001, p1)}
		if at, undone := a(w, b.rng(i), length); undone {
			times, served = append(times, at.Minutes()), append(served, w.hurt)
		}
	}
	if len(times) == 0 {
		return fmt.Sprintf("never in %.0f h", length.Hours())
	}
	return fmt.Sprintf("%.0f min / %.0f (%d of %d)", median(times), median(served), len(times), b.few())
}

func (b *bench) scheduled() {
	b.printf("## By the schedule: bads served / time to undone; healthy: time to 95 %%\n\n")
	b.printf("| what | ours, one POP | ours, three POPs | Flagger docs, 10 %% steps | Argo docs, 20 %% steps |\n|---|---|---|---|---|\n")
	for _, p1 := range []float64{1, 0.05, 0.01} {
		b.printf("| p1 = %g %%", p1*100)
		for _, pops := range []int{1, 3} {
			rs := b.play(b.few(), settings{rate: 1000, pops: pops, classes: 4, length: 20 * time.Minute, bad: rates(0.001, p1), kind: judge.OriginError})
			b.printf(" | %.0f / %.1f s (%d of %d)", of(rs, bads), of(rs, at), count(rs, func(r result) bool { return r.undone }), len(rs))
		}
		b.printf(" | %s | %s |\n", b.anchored(flagger, steps(0.1, 0.5, 1), p1, time.Hour), b.anchored(argo, steps(0.2, 1, 10), p1, time.Hour))
	}
	for _, slow := range []float64{10, 3, 2, 1.5} {
		b.printf("| latency × %g", slow)
		for _, pops := range []int{1, 3} {
			rs := b.play(b.few(), settings{rate: 1000, pops: pops, classes: 4, length: 20 * time.Minute, bad: rates(0.001, 0.001), kind: judge.OriginError, slow: slow})
			b.printf(" | %.0f slow / %.1f s (%d of %d)", of(rs, func(r result) float64 { return float64(r.makings) }), of(rs, at),
				count(rs, func(r result) bool { return r.undone }), len(rs))
		}
		b.printf(" | not compared | not compared |\n")
	}
	b.rareTrap()
	for _, rate := range []float64{1000, 100, 10} {
		b.healthy(fmt.Sprintf("healthy, %g rps", rate), settings{rate: rate, bad: rates(0.001, 0.001), kind: judge.OriginError})
	}
	b.healthy("healthy, 1000 rps, both trap on 1 in 20,000", settings{rate: 1000, bad: rates(0.00005, 0.00005), kind: judge.Trap, print: "trap"})
	b.healthy("1000 rps, the new one alone traps on 1 in 20,000", settings{rate: 1000, bad: rates(0, 0.00005), kind: judge.Trap, print: "trap"})
	b.printf("\n\"Quiet\" counts runs in which some step was predicted to need over two minutes and the rollout would change to quiet mode. The others' times of healthy changes are the sums of their documented steps.\n\n")
}

// rareTrap counts those that are undone before they are promoted: the others did not trap until then.
func (b *bench) rareTrap() {
	b.printf("| a trap on 1 in 1,000")
	for _, pops := range []int{1, 3} {
		rs := b.play(b.few(), settings{rate: 1000, pops: pops, classes: 4, length: 20 * time.Minute, bad: rates(0, 0.001), kind: judge.Trap, print: "trap"})
		let := count(rs, func(r result) bool { return !r.undone })
		unseen := count(rs, func(r result) bool { return !r.undone && r.bads == 0 })
		b.printf(" | %.0f / %.1f s (%d of %d); to 95 %%: %d, of these %d without one trap", of(rs, bads), of(rs, at), len(rs)-let, len(rs), let, unseen)
	}
	b.printf(" | not compared | not compared |\n")
}

// healthy is a row of what is to be promoted.
func (b *bench) healthy(name string, s settings) {
	b.printf("| %s", name)
	s.classes, s.length = 4, 30*time.Minute
	for _, pops := range []int{1, 3} {
		s.pops = pops
		rs := b.play(b.few(), s)
		var to []float64
		for _, r := range rs {
			to = append(to, r.at.Seconds())
		}
		b.printf(" | %.0f s; undone %d, quiet %d of %d", median(to), count(rs, func(r result) bool { return r.undone }),
			count(rs, func(r result) bool { return r.quiet }), len(rs))
	}
	b.printf(" | 6 min | 40 min |\n")
}

func (b *bench) convict() {
	b.printf("## Canary makings booked when convicted, at a fixed 1 %% share\n\n| change | one POP, one class | three POPs, four classes |\n|---|---|---|\n")
	row := func(name string, p1, slow float64) {
		b.printf("| %s", name)
		for _, shape := range [][2]int{{1, 1}, {3, 4}} {
			rs := b.play(b.few(), settings{
				rate: 1000, pops: shape[0], classes: shape[1], fixed: 0.01, length: time.Hour, bad: rates(0.001, p1),
				kind: judge.OriginError, slow: slow,
			})
			b.printf(" | %.0f", of(rs, func(r result) float64 { return float64(r.verdict.Makings) }))
		}
		b.printf(" |\n")
	}
	for _, p1 := range []float64{1, 0.5, 0.05, 0.025, 0.01} {
		row(fmt.Sprintf("errors, p1 = %g %%", p1*100), p1, 1)
	}
	for _, slow := range []float64{10, 3, 2, 1.5} {
		row(fmt.Sprintf("latency × %g", slow), 0.001, slow)
	}
	b.printf("\nHits of one fingerprint until undone, a trap on 1 in 1,000 (median):")
	for _, f := range []float64{0.001, 0.01, 0.25, 0.5} {
		rs := b.play(b.few(), settings{rate: 1000, fixed: f, length: time.Hour, bad: rates(0, 0.001), kind: judge.Trap, print: "trap"})
		b.printf(" %.0f at a share of %g %%;", of(rs, bads), f*100)
	}
	b.printf("\n\n")
}

func (b *bench) traps() {
	flap := func(at time.Duration, _ int, _ bool) float64 {
		if at%(10*time.Second) < time.Second {
			return 0.5
		}
		return 0.001
	}
	ten, edge := rates(0.1, 0.1), rates(0.05, 0.1)
	b.printf("## What other bookings cost: false undos of %d innocent changes in 1 h, one indicator\n\n", b.few())
	b.printf("| booking | 10 rps, 5 %%, every 10 s an outage of 1 s | 100 rps, assigned 1 %%, got 5 %%, p0 = 10 %% | 5 rps, 95 %%, 10 %% against 5 %%, the edge |\n|---|---|---|---|\n")
	for _, r := range bookings {
		b.printf("| %s", r.name)
		for c, f := range []func(rng *rand.Rand) bool{
			func(rng *rand.Rand) bool { return r.innocent(rng, 10, [2]float64{0.05, 0.05}, flap) },
			func(rng *rand.Rand) bool { return r.innocent(rng, 100, [2]float64{0.01, 0.05}, ten) },
			func(rng *rand.Rand) bool { return r.innocent(rng, 5, [2]float64{0.95, 0.95}, edge) },
		} {
			got := many(b.few(), func(i int) bool { return f(b.rng(i + 1000*c)) })
			b.printf(" | %d", count(got, func(v bool) bool { return v }))
		}
		b.printf(" |\n")
	}
	yes := func(v bool) bool { return v }
	raw := many(b.few(), func(i int) bool { return retries(b.seed+uint64(i), false) })
	bound := many(b.few(), func(i int) bool { return retries(b.seed+uint64(i), true) })
	b.printf("\nClients that try a failed request 30 times: %d of %d innocent changes undone if all count, %d with the bound on one client.\n\n",
		count(raw, yes), len(raw), count(bound, yes))
}

const sources = `## Where the anchors' values come from

- Flagger: [progressive delivery with Istio](https://docs.flagger.app/tutorials/istio-progressive-delivery): interval 1 m,
  threshold 5, stepWeight 10, maxWeight 50, request-success-rate at least 99. The rollback comes with the check after the
  fifth failed one. [How it works](https://docs.flagger.app/usage/how-it-works) shows threshold 10 and stepWeight 5, which is slower.
- Argo Rollouts: [analysis](https://argo-rollouts.readthedocs.io/en/stable/features/analysis/), the first example: interval
  5 m, successCondition result >= 0.95, failureLimit 3, steps of 20 % with pauses of 10 m. The example's analysis begins
  at 40 %; here from the first step, which is kinder. A run fails when more than failureLimit measurements failed.
- Kayenta: [best practices](https://spinnaker.io/docs/guides/user/canary/best-practices/): lifetime 3 h, interval 1 h, a baseline
  of the same size; [the judge](https://github.com/spinnaker/kayenta/blob/master/kayenta-judge/src/main/scala/com/netflix/kayenta/judge/NetflixACAJudge.scala):
  Mann-Whitney with tolerance 0.25 and confidence 0.98, effect size 1; direction increase, a point a minute.`
