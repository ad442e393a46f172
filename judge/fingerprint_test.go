package judge

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

func TestATrapIsRareWhenMakingsShowIt(t *testing.T) {
	for hits, want := range map[int64]int64{1: 7348, 2: 9360, 3: 11372} {
		_, need := rare(hits, 0)
		if need != want {
			t.Errorf("%d hits: %d makings are needed, want %d", hits, need, want)
		}
		before, left := rare(hits, need-1)
		after, none := rare(hits, need)
		if left != 1 || none != 0 || after < math.Log(1/Beta) || before >= after {
			t.Errorf("%d hits in %d makings: ln E' %v with %d to come, then %v with %d", hits, need-1, before, left, after, none)
		}
	}
	if lnE, more := rare(math.MaxInt64>>3, math.MaxInt64>>3); !sane(lnE) || more < 0 {
		t.Errorf("huge counts: ln E' %v, %d more", lnE, more)
	}
}

// What traps on one making in 1,000 is convicted at its 20th at even shares. Before that it is
// shown to be rare with a chance of at most β, however often one looks.
func TestATrapOnOneInAThousandIsConvictedBeforeItCountsAsRare(t *testing.T) {
	const runs = 2000
	rng, passed := rand.New(rand.NewPCG(1, 9)), 0
	for range runs {
		for hits, n := int64(1), int64(rng.ExpFloat64()*rareIn); hits < 20; hits++ {
			gap := int64(rng.ExpFloat64() * rareIn)
			if lnE, _ := rare(hits, n+gap); lnE >= math.Log(1/Beta) {
				passed++
				break
			}
			n += gap
		}
	}
	if passed > Beta*runs {
		t.Errorf("%d of %d got past one half, want at most %v", passed, runs, Beta*runs)
	}
}

func TestOneTrapOfTheCanaryKeepsTheLastGateShutUntilItIsRare(t *testing.T) {
	b := node("n", 1)
	for range 500 {
		b.Learn("all", Outcome{Latency: time.Millisecond, NoBody: true})
	}
	b.Share(begin, 0.5)
	now := begin
	fillOn := func(makings int) { // of each arm
		for range makings / 500 {
			now = now.Add(time.Second)
			for range 500 {
				end(b, now, selvage.Baseline, false)
				end(b, now, selvage.Canary, false)
			}
			b.Tick(now.Add(500 * time.Millisecond))
		}
	}
	hit := func(a selvage.Arm) {
		b.End(now, b.Start(now, a, "all", true), Outcome{NoBody: true, Bad: Set(0).With(Trap), Fingerprint: "unreachable in cart"})
	}
	gates := func() (half, last Verdict) {
		p := NewPanel(1)
		p.Hear(b.Report(0))
		return p.Verdict(0, 0.5, 1), p.Verdict(0, 0.95, 1)
	}
	fillOn(2000)
	if half, last := gates(); half.Word != Open || last.Word != Open {
		t.Fatalf("without a trap: %s; %s", half, last)
	}
	hit(selvage.Canary)
	fillOn(1000)
	half, last := gates()
	if half.Word != Open || last.Word != Watching || last.Gate.Trap != "unreachable in cart" || !last.Gate.Only || last.Gate.Weakest != Trap {
		t.Errorf("after one trap: %s; %+v", half, last.Gate)
	}
	if want := "another trap show that it is rare (unreachable in cart)"; !strings.HasSuffix(last.String(), want) {
		t.Errorf("it says %q, want it to end in %q", last, want)
	}
	more := last.Gate.More
	fillOn(int(more) - 500)
	if _, last := gates(); last.Word != Watching {
		t.Errorf("500 makings before it is rare: %s", last)
	}
	fillOn(1000)
	if _, last := gates(); last.Word != Open || last.Gate.Trap != "" {
		t.Errorf("after %d makings without another: %s, %+v", more+500, last, last.Gate)
	}
	hit(selvage.Canary)
	hit(selvage.Canary)
	fillOn(500)
	if _, last := gates(); last.Word != Watching {
		t.Errorf("after two more traps: %s", last)
	}
	for range 3 {
		hit(selvage.Baseline)
	}
	fillOn(500)
	if _, last := gates(); last.Word != Open {
		t.Errorf("the baseline traps as often: %s, %+v", last, last.Gate)
	}
}
