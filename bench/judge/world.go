package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
)

// slot is the simulation's clock: nodes report and the panel looks once a slot.
const slot = 100 * time.Millisecond

// settings say what is simulated. Rates are of all POPs together.
type settings struct {
	rate    float64 // requests that make something, a second
	pops    int     // one node each
	classes int     // of routes
	fixed   float64 // the share, for ever; 0: by the schedule
	length  time.Duration
	look    int // slots from one look of the panel to the next; 1 if zero
	bad     func(at time.Duration, pop int, canary bool) float64
	kind    judge.Indicator
	slow    float64 // the canary's latency is this many times the baseline's; 1 if zero
	print   string  // of what is bad
}

// result is how a change fared.
type result struct {
	undone  bool
	at      time.Duration // undone, or at 95 %, or the end
	bads    int           // served by the canary
	makings int           // of the canary
	quiet   bool          // a step was predicted to need over two minutes
	verdict judge.Verdict
}

// propagation is how long it takes until an undo holds everywhere.
const propagation = slot

// world is one run.
type world struct {
	settings
	rng     *rand.Rand
	nodes   []*judge.Book
	panel   *judge.Panel
	plan    judge.Schedule
	at      judge.Position
	stepped time.Duration
	wheel   [64][]making // that end so many slots from now
	names   []string
	out     result
}

type making struct {
	pop    int
	ticket judge.Ticket
	out    judge.Outcome
}

var begin = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// median20 is the median latency; the deviation of its logarithm is 0.6.
const median20 = 20 * time.Millisecond

func (w *world) latency() time.Duration {
	return time.Duration(float64(median20) * math.Exp(0.6*w.rng.NormFloat64()))
}

// run plays one change from its beginning.
func run(s settings, seed uint64) result {
	s.pops, s.classes, s.look = max(s.pops, 1), max(s.classes, 1), max(s.look, 1)
	if s.slow == 0 {
		s.slow = 1
	}
	w := &world{settings: s, rng: rand.New(rand.NewPCG(seed, 20261121)), panel: judge.NewPanel(s.pops)}
	for c := range s.classes {
		w.names = append(w.names, fmt.Sprint("class", c))
	}
	w.plan = judge.Schedule{First: judge.FirstShare(s.rate/float64(s.pops), judge.UndoTime), POPs: s.pops}
	w.at = w.plan.Start()
	if s.fixed > 0 {
		w.at = judge.Position{Share: s.fixed, POPs: s.pops}
	}
	for pop := range s.pops {
		b := judge.NewBook(judge.Options{Node: selvage.NodeName(fmt.Sprint("n", pop)), Nodes: s.pops})
		for _, name := range w.names {
			for range 500 {
				b.Learn(name, judge.Outcome{Latency: w.latency(), Bytes: 5000})
			}
		}
		w.nodes = append(w.nodes, b)
	}
	w.share(0)
	w.play()
	return w.out
}

// share tells the nodes the position.
func (w *world) share(at time.Duration) {
	for pop, b := range w.nodes {
		f := w.at.Share
		if pop >= w.at.POPs {
			f = 0
		}
		b.Share(begin.Add(at), f)
	}
	w.stepped = at
}

func (w *world) play() {
	effect := time.Duration(-1)
	for i := 0; ; i++ {
		at := time.Duration(i) * slot
		if at >= w.length || effect >= 0 && at >= effect {
			w.out.at = at
			return
		}
		w.serve(i, at)
		if effect >= 0 || i%w.look != 0 {
			continue
		}
		next, done := w.plan.Next(w.at)
		v := w.judge(at+slot, next)
		switch {
		case v.Word == judge.Undone:
			w.out.undone, w.out.verdict = true, v
			effect = at + slot + propagation
		case w.fixed > 0:
		case done:
			w.out.at = at
			return
		case v.Word == judge.Open && at-w.stepped >= judge.StepEvery:
			w.at = next
			w.share(at + slot)
		}
	}
}

// judge lets every node report and the panel look.
func (w *world) judge(at time.Duration, next judge.Position) judge.Verdict {
	for _, b := range w.nodes {
		b.Tick(begin.Add(at))
		w.panel.Hear(b.Report(at))
	}
	f := w.at.Share
	v := w.panel.Verdict(at, w.plan.Exposure(next), f/(1-min(f, 0.99)))
	rate := w.rate * f * float64(w.at.POPs) / float64(w.pops)
	if w.fixed == 0 && v.Word == judge.Watching && judge.Quiet(v.Gate.More, rate) {
		w.out.quiet = true
	}
	return v
}

// serve starts a slot's makings and ends those that are due.
func (w *world) serve(i int, at time.Duration) {
	now := begin.Add(at)
	for pop, b := range w.nodes {
		share := w.at.Share
		if pop >= w.at.POPs {
			share = 0
		}
		for range poisson(w.rng, w.rate/float64(w.pops)*slot.Seconds()) {
			canary := w.rng.Float64() < share
			arm := selvage.Baseline
			if canary {
				arm = selvage.Canary
				w.out.makings++
			}
			m := making{pop: pop, ticket: b.Start(now, arm, w.names[w.rng.IntN(len(w.names))], true)}
			m.out = w.outcome(at, pop, canary)
			later := min(1+int(m.out.Latency/slot), len(w.wheel)-1)
			due := (i + later) % len(w.wheel)
			w.wheel[due] = append(w.wheel[due], m)
		}
	}
	due := &w.wheel[(i+1)%len(w.wheel)]
	for _, m := range *due {
		w.nodes[m.pop].End(now.Add(slot), m.ticket, m.out)
	}
	*due = (*due)[:0]
}

func (w *world) outcome(at time.Duration, pop int, canary bool) judge.Outcome {
	o := judge.Outcome{Latency: w.latency(), Bytes: 5000}
	if canary {
		o.Latency = time.Duration(float64(o.Latency) * w.slow)
	}
	if w.rng.Float64() < w.bad(at, pop, canary) {
		o.Bad, o.NoBody = o.Bad.With(w.kind), true
		o.Fingerprint = w.print
		if canary {
			w.out.bads++
		}
	}
	return o
}

func poisson(rng *rand.Rand, mean float64) int {
	if mean > 60 {
		return max(0, int(mean+math.Sqrt(mean)*rng.NormFloat64()+0.5))
	}
	n, l := 0, math.Exp(-mean)
	for x := rng.Float64(); x > l; x *= rng.Float64() {
		n++
	}
	return n
}

// rates are a baseline at p0 and a canary at p1.
func rates(p0, p1 float64) func(time.Duration, int, bool) float64 {
	return func(_ time.Duration, _ int, canary bool) float64 {
		if canary {
			return p1
		}
		return p0
	}
}

// outage is a healthy change at p0 with all requests failing from the second
// minute on for ten minutes.
func outage(p0 float64) func(time.Duration, int, bool) float64 {
	return func(at time.Duration, _ int, _ bool) float64 {
		if at > 2*time.Minute && at < 12*time.Minute {
			return 1
		}
		return p0
	}
}
