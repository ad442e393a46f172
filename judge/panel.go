package judge

import (
	"maps"
	"math"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
)

// Panel puts the reports of a rollout's nodes together. It keeps the latest of
// every life of a node: the order in which reports come, and how often, changes
// nothing, and a new panel that has heard all nodes knows what the old one knew.
type Panel struct {
	nodes  int
	lives  map[life]*heard
	first  map[selvage.NodeName]uint64 // the oldest life that is kept by itself
	past   process                     // of older lives
	count  map[selvage.NodeName]int
	order  map[string]int // of fingerprints
	late   restarts
	merged process
	tally  Tally
	old    Tally
}

type life struct {
	node selvage.NodeName
	life uint64
}

type heard struct {
	report Report
	before [Indicators][undos]float64 // ln E at the first hearing: later processes begin after it
}

// maxLives is how many lives of one node a panel keeps apart.
const maxLives = 4

// NewPanel is for as many nodes as the rollout's manifest has; it hears no others
// once it has heard so many.
func NewPanel(nodes int) *Panel {
	return &Panel{
		nodes: max(nodes, 1), lives: map[life]*heard{}, first: map[selvage.NodeName]uint64{},
		count: map[selvage.NodeName]int{}, order: map[string]int{}, late: newRestarts(),
	}
}

// Hear takes a report. It says whether it was news.
func (p *Panel) Hear(r Report) bool {
	if !r.sane() || r.Life < p.first[r.Node] {
		return false
	}
	if _, known := p.count[r.Node]; !known && len(p.count) >= p.nodes {
		return false
	}
	at := life{r.Node, r.Life}
	h, ok := p.lives[at]
	if !ok {
		h = &heard{before: r.Undo}
		p.lives[at] = h
		p.count[r.Node]++
	} else if r.Seq <= h.report.Seq {
		return false
	}
	h.report = r
	for _, name := range slices.Sorted(maps.Keys(r.Prints)) {
		if _, ok := p.order[name]; !ok && len(p.order) < maxPrints {
			p.order[name] = len(p.order)
		}
	}
	p.forget(r.Node)
	return true
}

// forget adds up the oldest life of a node that has too many.
func (p *Panel) forget(node selvage.NodeName) {
	if p.count[node] <= maxLives {
		return
	}
	oldest := uint64(math.MaxUint64)
	for at := range p.lives {
		if at.node == node {
			oldest = min(oldest, at.life)
		}
	}
	r := &p.lives[life{node, oldest}].report
	p.past.add(&process{r.Undo, r.Gate, r.Room})
	p.old.add(&r.Tally)
	delete(p.lives, life{node, oldest})
	p.count[node]--
	p.first[node] = oldest + 1
}

// Evidence is what is known towards undo, as natural logarithms: of the indicators
// and of the fingerprints. Each bounds its false alarms by α.
type Evidence struct {
	Indicators float64
	Lead       Indicator // the one that says most
	Prints     float64
	Print      string // the fingerprint that says most; empty if there is none
	Accused    string // the one with most hits of those that speak against the canary, however little
	Hits       int64  // the canary's, of all those
}

// Most is the larger of the two.
func (e Evidence) Most() float64 { return max(e.Indicators, e.Prints) }

// Undo says that the bound is reached.
func (e Evidence) Undo() bool { return e.Most() >= math.Log(1/Alpha) }

// Evidence adds up what was heard: one half all nodes merged, one half the mean
// of each by itself. elapsed is the time since the rollout's begin.
func (p *Panel) Evidence(elapsed time.Duration) Evidence {
	p.merged, p.tally = p.past, p.old
	joined := p.past.Undo // without what was before the first hearing
	alone := make(map[selvage.NodeName]float64, p.nodes)
	prints := make([]PrintEvidence, len(p.order))
	alonePrints := nothing * 1.0
	for at, h := range p.lives {
		r := &h.report
		p.merged.add(&process{r.Undo, r.Gate, r.Room})
		p.tally.add(&r.Tally)
		for k := range joined {
			for j := range joined[k] {
				joined[k][j] += r.Undo[k][j] - h.before[k][j]
			}
		}
		for name, e := range r.Prints {
			if i, ok := p.order[name]; ok {
				prints[i].add(&e)
			}
		}
		if !r.Lost && at.life >= p.newest(at.node) {
			alone[at.node] = r.Alone
			alonePrints = addExp(alonePrints, r.AlonePrints)
		}
	}
	return p.weigh(elapsed, &joined, alone, prints, alonePrints)
}

func (p *Panel) newest(node selvage.NodeName) uint64 {
	var newest uint64
	for at := range p.lives {
		if at.node == node {
			newest = max(newest, at.life)
		}
	}
	return newest
}

func (p *Panel) weigh(elapsed time.Duration, joined *[Indicators][undos]float64,
	alone map[selvage.NodeName]float64, prints []PrintEvidence, alonePrints float64,
) Evidence {
	var out Evidence
	p.late.follow(joined, elapsed)
	all := p.late
	all.Seen = p.merged.Undo
	merged, lead := all.evidence()
	mean := nothing * 1.0
	for _, e := range alone {
		mean = addExp(mean, e)
	}
	n := math.Log(float64(p.nodes))
	mergedPrints, print := weigh(prints)
	if p.nodes == 1 && len(p.lives) == 1 {
		out.Indicators, out.Prints = merged, mergedPrints
	} else {
		out.Indicators = addExp(merged, mean-n) - math.Ln2
		out.Prints = addExp(mergedPrints, alonePrints-n) - math.Ln2
	}
	out.Lead = lead
	var most int64
	for name, i := range p.order {
		if i == print {
			out.Print = name
		}
		if e := &prints[i]; e.accuses() {
			n := e.Hits[canary]
			out.Hits += n
			if n > most || n == most && name < out.Accused {
				most, out.Accused = n, name
			}
		}
	}
	return out
}

// Tally is what all nodes counted, as of the last [Panel.Evidence].
func (p *Panel) Tally() Tally { return p.tally }
