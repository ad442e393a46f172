package judge

import "math"

// A fingerprint names a defect: the kind of a trap and the innermost functions.
// Each is an e-process of its own, without the floor δ, because a defect that
// the baseline does not have needs no floor; the i-th to appear counts
// 6/(π² i²). The alternatives are the large ones only: what matters is how few
// hits convict.
const (
	maxPrints = 64 // later ones count as traps only
	maxHits   = 64 // of one open epoch
	rhoPrint  = 2
)

var abovePrint = [...]float64{10, 50, 300}

// PrintEvidence is ln E of one fingerprint.
type PrintEvidence [len(abovePrint)]float64

type hit struct {
	print int
	side  side
}

// prints are the fingerprints of a node, by order of appearance.
type prints struct {
	order map[string]int
	proc  []PrintEvidence
	hits  [][2]int64
}

func newPrints() prints { return prints{order: map[string]int{}} }

// index finds a fingerprint or gives it the next place.
func (p *prints) index(name string) (int, bool) {
	if name == "" {
		return 0, false
	}
	i, ok := p.order[name]
	if ok {
		return i, true
	}
	if len(p.proc) >= maxPrints {
		return 0, false
	}
	i = len(p.proc)
	p.order[name] = i
	p.proc = append(p.proc, PrintEvidence{})
	p.hits = append(p.hits, [2]int64{})
	return i, true
}

func (p *prints) book(h hit, odds float64) {
	p.hits[h.print][h.side]++
	for j, m := range abovePrint {
		lnA, lnB := factors(odds, rhoPrint, rhoPrint*m)
		if h.side == canary {
			p.proc[h.print][j] += lnA
		} else {
			p.proc[h.print][j] += lnB
		}
	}
}

// weigh is ln of the mixture of processes in their order of appearance, and
// which says most, -1 if there is none.
func weigh(proc []PrintEvidence) (lnE float64, lead int) {
	lnE, most, lead := nothing, math.Inf(-1), -1
	for i := range proc {
		e := meanExp(proc[i][:]) + math.Log(part(i+1))
		lnE = addExp(lnE, e)
		if e > most {
			most, lead = e, i
		}
	}
	return lnE, lead
}
