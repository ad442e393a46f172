package judge

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

// fill books slots of half a second: base and canary makings with so many bads.
func fill(b *Book, slots, nb, nc, bb, bc int) {
	for s := range slots {
		now := begin.Add(time.Duration(s) * 500 * time.Millisecond)
		for i := range max(nb, nc) {
			if i < nb {
				end(b, now, selvage.Baseline, i < bb)
			}
			if i < nc {
				end(b, now, selvage.Canary, i < bc)
			}
		}
		b.Tick(now.Add(400 * time.Millisecond))
	}
}

func end(b *Book, now time.Time, a selvage.Arm, bad bool) {
	o := Outcome{NoBody: true}
	if bad {
		o.Bad = o.Bad.With(OriginError)
	}
	b.End(now, b.Start(now, a, "all", true), o)
}

func node(name string, nodes int) *Book {
	b := NewBook(Options{Node: selvage.NodeName(name), Nodes: nodes})
	b.Share(begin, 0.1)
	return b
}

// reports are those of three nodes over time, with the true evidence at the end.
func reports() (all []Report, latest []Report) {
	for i, bads := range []int{0, 1, 2} {
		b := node(fmt.Sprint("n", i), 3)
		for range 5 {
			fill(b, 4, 90, 10, 1, bads)
			all = append(all, b.Report(time.Minute))
		}
		latest = append(latest, all[len(all)-1])
	}
	return all, latest
}

func TestLateLostAndDoubledReportsChangeNothing(t *testing.T) {
	all, latest := reports()
	want := NewPanel(3)
	for _, r := range latest {
		want.Hear(r)
	}
	e := want.Evidence(0)
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(seed, 0))
		p := NewPanel(3)
		said := append(append([]Report{}, all...), latest...)
		for _, i := range rng.Perm(len(said)) {
			if said[i].Seq < 5 && rng.IntN(3) == 0 {
				continue // lost
			}
			p.Hear(said[i])
			p.Evidence(0)
		}
		if got := p.Evidence(0); math.Abs(got.Indicators-e.Indicators) > 1e-9 || got.Lead != e.Lead {
			t.Errorf("seed %d: %+v, want %+v", seed, got, e)
		}
	}
}

func TestNewCoordinatorKnowsWhatTheOldOneKnew(t *testing.T) {
	_, latest := reports()
	old, next := NewPanel(3), NewPanel(3)
	for _, r := range latest {
		old.Hear(r)
		next.Hear(r)
	}
	old.Evidence(0)
	for m := range 20 {
		old.Evidence(time.Duration(m) * time.Minute)
	}
	a, b := old.Evidence(20*time.Minute), next.Evidence(20*time.Minute)
	if math.Abs(a.Indicators-b.Indicators) > 0.01 {
		t.Errorf("old %v, new %v", a, b)
	}
}

func TestNodeAloneNeedsTwiceTheNodesOverAlpha(t *testing.T) {
	for _, nodes := range []int{1, 3, 30} {
		b := node("n", nodes)
		bound := math.Log(1 / Alpha)
		if nodes > 1 {
			bound = math.Log(2 * float64(nodes) / Alpha)
		}
		for slot := range 20 {
			now := begin.Add(time.Duration(slot) * 500 * time.Millisecond)
			for range 99 {
				end(b, now, selvage.Baseline, false)
			}
			end(b, now, selvage.Canary, true)
			b.Tick(now.Add(400 * time.Millisecond))
			alone := b.Report(0).Alone
			if got := b.MayUndoAlone(b.Report(0)); got != (alone >= bound) {
				t.Fatalf("%d nodes: E = e^%.2f, may undo alone: %v", nodes, alone, got)
			}
			p := NewPanel(nodes)
			p.Hear(b.Report(0))
			if b.MayUndoAlone(b.Report(0)) && !p.Evidence(0).Undo() {
				t.Fatalf("%d nodes: the node undoes alone, the panel would not", nodes)
			}
			if b.MayUndoAlone(b.Report(0)) {
				if slot+1 > 5 {
					t.Errorf("%d nodes: %d bads", nodes, slot+1)
				}
				break
			}
		}
	}
}

func TestEvidenceSurvivesARestart(t *testing.T) {
	b := node("n", 1)
	fill(b, 5, 99, 1, 0, 1)
	b.hit(&cohort{odds: [2]float64{0.01, 0}}, true, hit{0, canary}.of(b, "trap cart"))
	want := b.Report(time.Minute)
	data, err := b.Export()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Import(Options{Node: "n"}, data)
	if err != nil {
		t.Fatal(err)
	}
	got := again.Report(time.Minute)
	if got.Seq <= want.Seq {
		t.Errorf("the sequence went from %d to %d: nobody would listen", want.Seq, got.Seq)
	}
	got.Seq = want.Seq
	got.Class = want.Class
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("want -, got +:\n%s", diff)
	}
	if !again.MayUndoAlone(again.Report(time.Minute)) {
		t.Error("the evidence is there and it may not undo")
	}
	lost := NewBook(Options{Node: "n", Life: 1, Lost: true})
	lost.Share(begin, 0.1)
	fill(lost, 5, 99, 1, 0, 1)
	if lost.MayUndoAlone(lost.Report(time.Minute)) {
		t.Error("a node that lost its state undoes alone")
	}
	one, two := NewPanel(2), NewPanel(2)
	r := lost.Report(time.Minute)
	two.Hear(r)
	r.Lost = false
	one.Hear(r)
	if a, b := one.Evidence(0).Indicators, two.Evidence(0).Indicators; b >= a {
		t.Errorf("what a lost node says alone counts: e^%v with it, e^%v without", a, b)
	}
}

func (h hit) of(b *Book, name string) hit {
	h.print, _ = b.prints.index(name)
	return h
}

// A node that lost its state must not take what it said against undoing back.
func TestNewLifeAddsToTheOldOne(t *testing.T) {
	p := NewPanel(1)
	b := node("n", 1)
	fill(b, 20, 90, 10, 30, 0)
	p.Hear(b.Report(0))
	before := p.Evidence(0)
	for l := range uint64(10) {
		fresh := NewBook(Options{Node: "n", Life: l + 1})
		fresh.Share(begin, 0.1)
		fill(fresh, 1, 90, 10, 0, 0)
		p.Hear(fresh.Report(0))
	}
	after := p.Evidence(0)
	if p.Tally().N[baseline] != 20*90+10*90 {
		t.Errorf("the tally is %v", p.Tally().N)
	}
	if p.merged.Undo[OriginError][0] > -10 {
		t.Errorf("what the first life said is gone: %v, before %v, now %v", p.merged.Undo[OriginError], before, after)
	}
	if p.Hear(b.Report(0)) {
		t.Error("a life that was added up is heard again")
	}
}

func TestPanelHearsOnlyItsNodes(t *testing.T) {
	p := NewPanel(2)
	for i, want := range []bool{true, true, false} {
		if got := p.Hear(node(fmt.Sprint("n", i), 2).Report(0)); got != want {
			t.Errorf("node %d: %v", i, got)
		}
	}
	r := node("n0", 2).Report(0)
	r.Seq, r.Alone = 99, math.NaN()
	if p.Hear(r) {
		t.Error("a report that is no number was heard")
	}
}

func TestFingerprintIsUndoneAtTheHitsOfItsShare(t *testing.T) {
	for share, want := range map[float64]int{0.001: 2, 0.01: 3, 0.25: 9, 0.5: 20} {
		var p prints
		p.order = map[string]int{}
		i, _ := p.index("trap cart")
		for n := 1; ; n++ {
			p.book(hit{i, canary}, share/(1-share))
			if e, _ := weigh(p.proc); e >= math.Log(1/Alpha) {
				if n != want {
					t.Errorf("share %v: undone at hit %d, want %d", share, n, want)
				}
				break
			}
		}
	}
}

func TestFingerprintsAreBoundedAndTheBaselinesAreNoEvidence(t *testing.T) {
	reached := 0
	b := NewBook(Options{OnLimit: func(limit string) {
		if limit == "fingerprints" {
			reached++
		}
	}})
	b.Share(begin, 0.1)
	now := begin
	for i := range 200 {
		b.End(now, b.Start(now, selvage.Baseline, "all", true), Outcome{NoBody: true, Fingerprint: fmt.Sprint("old", i)})
	}
	if got := len(b.Report(0).Prints); got != maxPrints || reached != 200-maxPrints {
		t.Errorf("%d fingerprints are kept, want %d; the limit was told %d times", got, maxPrints, reached)
	}
	if e, _ := weigh(b.prints.proc); e > 0 {
		t.Errorf("the baseline's traps are evidence e^%v", e)
	}
}

func TestGateNamesWhatItSawAndWhatItNeeds(t *testing.T) {
	b := node("n", 1)
	for range 500 {
		b.Learn("all", Outcome{Latency: time.Millisecond, NoBody: true})
	}
	for slot := range 400 {
		p := NewPanel(1)
		p.Hear(b.Report(0))
		v := p.Verdict(0, 0.05, 0.1)
		if v.Word == Open {
			if v.Gate.Makings < 60 || v.Gate.Makings > 160 {
				t.Errorf("the gate of 5 %% opened after %d makings", v.Gate.Makings)
			}
			if want := fmt.Sprintf("ε = 5 %% after %d makings", v.Gate.Makings); v.String() != want {
				t.Errorf("it says %q, want %q", v, want)
			}
			return
		}
		if v.Word != Watching || v.Gate.More <= 0 || !strings.Contains(v.String(), "more for ε = 5 %") {
			t.Fatalf("slot %d: %+v: %s", slot, v, v)
		}
		fill(b, 1, 40, 4, 0, 0)
	}
	t.Error("the gate never opened")
}

func TestGateStaysShutForABadChange(t *testing.T) {
	opened := 0
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 3))
		p, pn := process{}, NewPanel(1)
		pn.count["n"] = 1
		for range 400 {
			c := cohort{share: 0.1, tally: Tally{N: [2]int64{90, 10}}}
			for range 90 {
				if rng.Float64() < 0.01 {
					c.tally.Bad[baseline][OriginError]++
				}
			}
			for range 10 {
				if rng.Float64() < 2*0.01+0.05 {
					c.tally.Bad[canary][OriginError]++
				}
			}
			c.settle()
			p.end(&c)
			if p.proof(OriginError, 0.05) >= math.Log(1/Beta) {
				opened++
				break
			}
		}
	}
	if opened > 10 { // 2 % of 200 is 4
		t.Errorf("the gate opened for %d of 200 bad changes", opened)
	}
}

// A gate that is nearly open does not open while the evidence towards undo is 20.
func TestNoGateOpensAgainstEvidenceToUndo(t *testing.T) {
	b := node("n", 1)
	fill(b, 60, 90, 10, 0, 0)
	p := NewPanel(1)
	r := b.Report(0)
	for k := range Indicators {
		r.Gate[k] = [gates]float64{9, 9, 9}
	}
	r.Undo[Trap] = [undos]float64{6, 6, 6, 6, 6}
	p.Hear(r)
	v := p.Verdict(0, 0.5, 1)
	if v.Word != Held || v.Gate.Open {
		t.Errorf("%s: %s", v.Word, v)
	}
}

func TestPromotingWaitsForTheEndOfAnEpoch(t *testing.T) {
	b := node("n", 1)
	hangs := b.Start(begin, selvage.Canary, "all", true)
	fill(b, 2, 90, 10, 0, 0)
	gate := func() float64 { return b.Report(0).Room[OriginError][0] }
	some := gate()
	if some <= 0 || some > 11 {
		t.Errorf("room %v: the epoch of the hanging one counts before it ended", some)
	}
	b.Tick(begin.Add(2 * time.Minute))
	if gate() <= some {
		t.Error("past its deadline the epoch still does not count")
	}
	if got := b.Report(0).Tally.Bad[canary][OverLimit]; got != 1 {
		t.Errorf("%d of 1 hangs are bad", got)
	}
	if b.End(begin.Add(3*time.Minute), hangs, Outcome{Bad: Set(0).With(Trap)}) != 0 {
		t.Error("what is past its deadline is booked twice")
	}
}

func TestLackOfTrafficIsNeitherUndoneNorPromoted(t *testing.T) {
	p := NewPanel(1)
	p.Hear(node("n", 1).Report(24 * time.Hour))
	v := p.Verdict(24*time.Hour, 0.02, 0.01)
	if v.Word != Watching {
		t.Errorf("%s: %s", v.Word, v)
	}
}

func TestVerdictIsSaidInWordsWithItsNumbers(t *testing.T) {
	v := Verdict{
		Word: Undone, Bad: 4, Makings: 61, Unit: "forwards", After: 1600 * time.Millisecond, Lead: OriginError,
		Rate: 4. / 61, Base: 0.001, Evidence: math.Log(4123), POP: "ams", First: "01JABC",
	}
	want := "undone after 4 bad of 61 forwards in 1.6 s: origin 5xx 6.6 % against 0.1 %, evidence 4,100 to 1, POP ams, first record 01JABC"
	if got := v.String(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	v.Fingerprint, v.Word, v.Evidence, v.After = "unreachable cart.total", Held, 90, 90*time.Second
	if got := v.String(); !strings.Contains(got, "held after") || !strings.Contains(got, "10^39 to 1") || !strings.Contains(got, "1m30s") ||
		!strings.Contains(got, "fingerprint unreachable cart.total") {
		t.Error(got)
	}
}

func FuzzImport(f *testing.F) {
	b := node("n", 1)
	fill(b, 3, 90, 10, 1, 1)
	data, err := b.Export()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"Strata":[{"Name":"x","Proc":{"Undo":[[1e30,1e30]]}}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := Import(Options{Node: "n"}, data)
		if err != nil {
			return
		}
		b.Share(begin, 0.1)
		fill(b, 2, 5, 5, 1, 5)
		r := b.Report(time.Minute)
		p := NewPanel(1)
		p.Hear(r)
		v := p.Verdict(time.Minute, 0.02, 0.1)
		if math.IsNaN(v.Evidence) || math.IsInf(v.Evidence, 0) || math.IsNaN(v.Gate.Proof) || math.IsInf(v.Gate.Proof, 0) {
			t.Errorf("%+v", v)
		}
		if _, err := b.Export(); err != nil {
			t.Error(err)
		}
		_ = v.String()
	})
}

func FuzzArithmeticStaysFinite(f *testing.F) {
	f.Add(int64(1), int64(1), int64(1), int64(1), 0.5)
	f.Add(int64(math.MaxInt64), int64(1), int64(math.MaxInt64), int64(0), 1e-300)
	f.Add(int64(1), int64(math.MaxInt64), int64(0), int64(math.MaxInt64), 1.0)
	f.Fuzz(func(t *testing.T, nb, nc, bb, bc int64, share float64) {
		c := cohort{share: share}
		c.tally.N, c.tally.Timed = [2]int64{max(nb, 0), max(nc, 0)}, [2]int64{max(nb, 0), max(nc, 0)}
		for k := range Indicators {
			c.tally.Bad[baseline][k], c.tally.Bad[canary][k] = min(max(bb, 0), max(nb, 0)), min(max(bc, 0), max(nc, 0))
		}
		if !(share >= 0 && share <= 1) || !c.settle() {
			return
		}
		var p process
		p.close(&c)
		p.end(&c)
		late := newRestarts()
		late.follow(&p.Undo, time.Hour)
		e, _ := late.evidence()
		if !p.sane() || !sane(e) {
			t.Errorf("%+v: %+v, ln E %v", c, p, e)
		}
		for k := range Indicator(Indicators) {
			if v := p.proof(k, 0.05); !sane(v) {
				t.Errorf("%+v: ln E' %v", c, v)
			}
		}
		var cu Cusum
		cu.Level(max(nc, 0), c.tally.Bad[canary][0], share)
		cu.Peers(Trap, max(nc, 0), c.tally.Bad[canary][0], max(nb, 0), c.tally.Bad[baseline][0])
		if !sane(cu.M[:]...) {
			t.Errorf("%+v", cu)
		}
	})
}
