package rollout

import (
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
)

var failed = judge.Set(0).With(judge.OriginError)

func make1(w *Watch, arm selvage.Arm, client uint64, o judge.Outcome) {
	w.End(w.Begin(time.Now(), arm, client, "route"), o, nil)
}

func TestAWatchConvictsACanaryThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.begin(judge.Options{Nodes: 1}, time.Now())
		w.shares(time.Now(), 0.01)
		for i := range uint64(400) {
			make1(&w, selvage.Baseline, i, judge.Outcome{Latency: time.Millisecond, Bytes: 10})
			if i%100 == 0 {
				m := w.Begin(time.Now(), selvage.Canary, 1000+i, "route")
				w.End(m, judge.Outcome{Bad: failed, NoBody: true}, &Facts{Method: "GET", Status: 500})
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(time.Second)
		got, alone := w.sum(time.Now(), time.Second)
		if !alone || got.Judged.Tally.N != [2]int64{400, 4} || got.Users != 4 || got.First.Record != strings.Repeat("0", 32) {
			t.Errorf("got %+v", got)
		}
	})
}

func TestOneClientIsNotMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.begin(judge.Options{}, time.Now())
		w.shares(time.Now(), 0.5)
		for i := range uint64(200) {
			make1(&w, selvage.Baseline, i, judge.Outcome{})
			make1(&w, selvage.Canary, 7, judge.Outcome{Bad: failed})
		}
		time.Sleep(time.Second)
		got, alone := w.sum(time.Now(), time.Second)
		if n := got.Judged.Tally.Bad[1][judge.OriginError]; n != 1 || alone || got.Bad != 200 || got.Users != 1 {
			t.Errorf("one client's 200 bads count as %d; got %+v", n, got)
		}
	})
}

func TestAMakingWithoutACounterpartIsHarmAndNoEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.begin(judge.Options{}, time.Now())
		w.shares(time.Now(), 0.5)
		for i := range uint64(100) {
			w.End(w.Begin(time.Now(), selvage.Baseline, i, "route"+Stored), judge.Outcome{}, nil)
			w.End(w.Begin(time.Now(), selvage.Canary, i, "route"+Unpaired), judge.Outcome{Bad: failed}, &Facts{Method: "GET"})
		}
		time.Sleep(time.Second)
		got, alone := w.sum(time.Now(), time.Second)
		if alone || got.Judged.Tally.N[1] != 0 || got.Arms != [2]Level{} || got.Bad != 100 || got.First.Class != "route" {
			t.Errorf("got %+v", got)
		}
	})
}

// Forty clients on each side; the canary sends its own round and round, twenty
// times at every attempt.
func TestTurnsOfALoopDoNotHideIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		w.begin(judge.Options{Nodes: 1}, time.Now())
		w.shares(time.Now(), 0.5)
		for i := range uint64(40) {
			make1(&w, selvage.Baseline, i, judge.Outcome{Bytes: 100})
			for range 20 {
				make1(&w, selvage.Canary, 100+i, judge.Outcome{Bad: judge.Set(0).With(judge.Hollow), NoBody: true})
			}
			time.Sleep(10 * time.Millisecond)
		}
		time.Sleep(time.Second)
		got, alone := w.sum(time.Now(), time.Second)
		if !alone || got.Judged.Tally.N != [2]int64{40, 40} || got.Judged.Tally.Bad[1][judge.Hollow] != 40 || got.Bad != 800 {
			t.Errorf("alone %v, got %+v", alone, got)
		}
	})
}

func TestEmptyBodiesOfOneClientAreNotMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		for i := range uint64(500) {
			make1(&w, selvage.Baseline, i, judge.Outcome{Bytes: 1000})
		}
		w.begin(judge.Options{Nodes: 1}, time.Now())
		w.shares(time.Now(), 0.5)
		var all []Making
		for i := range uint64(50) {
			make1(&w, selvage.Baseline, i, judge.Outcome{Bytes: 1000})
			all = append(all, w.Begin(time.Now(), selvage.Canary, 777, "route")) // all under way before the first ends
		}
		for _, m := range all {
			w.End(m, judge.Outcome{Bytes: 3}, nil)
		}
		time.Sleep(time.Second)
		got, alone := w.sum(time.Now(), time.Second)
		if n := got.Judged.Tally.Bad[1][judge.Hollow]; n != 1 || alone || got.Bad != 50 || got.Users != 1 {
			t.Errorf("one client's 50 empty bodies count as %d, alone %v; got %+v", n, alone, got)
		}
	})
}

func TestMakingsOfAnEarlierRolloutAreNotBooked(t *testing.T) {
	var w Watch
	w.begin(judge.Options{}, time.Now())
	w.shares(time.Now(), 0.5)
	old := w.Begin(time.Now(), selvage.Canary, 1, "route")
	w.end()
	w.begin(judge.Options{}, time.Now())
	w.shares(time.Now(), 0.5)
	w.End(old, judge.Outcome{Bad: failed}, nil)
	if got, _ := w.sum(time.Now(), 0); got.Bad != 0 || got.Arms != [2]Level{} {
		t.Errorf("got %+v", got)
	}
}

func TestAWatchLearnsBeforeARollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w Watch
		for i := range uint64(500) {
			o := judge.Outcome{Latency: time.Duration(1+i%10) * time.Millisecond, Bytes: 1000}
			if i%100 == 0 {
				o.Bad = failed
			}
			make1(&w, selvage.Baseline, i, o)
			time.Sleep(10 * time.Millisecond)
		}
		got, _ := w.sum(time.Now(), 0)
		if got.Usual != (Level{500, 5}) || got.Rate < 99 || got.Rate > 101 {
			t.Errorf("usual %+v at %.1f/s, want 5 of 500 at 100/s", got.Usual, got.Rate)
		}
		w.begin(judge.Options{}, time.Now())
		w.shares(time.Now(), 0.5)
		m := w.Begin(time.Now(), selvage.Canary, 1, "route")
		if bad := w.End(m, judge.Outcome{Latency: 30 * time.Millisecond, Bytes: 1000}, nil); !bad.Has(judge.Slow99) {
			t.Errorf("30 ms are not slow where 10 ms are the most: %v", bad)
		}
	})
}

func TestAWatchGoesOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w, after Watch
		w.begin(judge.Options{Node: "n", Life: 1}, time.Now())
		w.shares(time.Now(), 0.1)
		for i := range uint64(20) {
			for k := range uint64(9) {
				make1(&w, selvage.Baseline, k<<8|i, judge.Outcome{})
			}
			make1(&w, selvage.Canary, 1<<20|i, judge.Outcome{Bad: failed})
		}
		time.Sleep(time.Second)
		want, _ := w.sum(time.Now(), time.Second)
		data, err := w.export()
		if err != nil {
			t.Fatal(err)
		}
		if err := after.restore(judge.Options{Node: "n", Life: 1}, data, time.Now()); err != nil {
			t.Fatal(err)
		}
		got, alone := after.sum(time.Now(), time.Second)
		if got.Judged.Tally != want.Judged.Tally || got.Judged.Seq <= want.Judged.Seq || !alone {
			t.Errorf("got %+v, want the tally of %+v", got.Judged, want.Judged)
		}
		if err := after.restore(judge.Options{}, data[:len(data)/2], time.Now()); err == nil {
			t.Error("half a state was taken")
		}
	})
}

func TestAWatchIsSafeForManyAtOnce(t *testing.T) {
	var w Watch
	w.begin(judge.Options{}, time.Now())
	var wg sync.WaitGroup
	for g := range uint64(4) {
		wg.Go(func() {
			for i := range uint64(500) {
				w.shares(time.Now(), 0.1+0.1*float64(i%2))
				m := w.Begin(time.Now(), selvage.Baseline, g<<32|i, "route")
				w.End(m, judge.Outcome{}, &Facts{})
				w.sum(time.Now(), 0)
			}
		})
	}
	wg.Wait()
	if got, _ := w.sum(time.Now(), 0); got.Arms[0].N != 2000 {
		t.Errorf("%d makings of 2000", got.Arms[0].N)
	}
}

// BenchmarkMaking is what one making costs on the request path.
func BenchmarkMaking(b *testing.B) {
	var w Watch
	w.begin(judge.Options{}, time.Now())
	w.shares(time.Now(), 0.01)
	known := &Facts{Method: "GET", Status: 200}
	b.RunParallel(func(pb *testing.PB) {
		for i := uint64(0); pb.Next(); i++ {
			arm := selvage.Baseline
			if i%100 == 0 {
				arm = selvage.Canary
			}
			m := w.Begin(time.Now(), arm, i%10_000, "route")
			w.End(m, judge.Outcome{Latency: time.Millisecond, Bytes: 1000}, known)
		}
	})
}
