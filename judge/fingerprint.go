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

// A trap is rare if its rate is shown to be below one in rareIn of the canary's makings:
// "at least that often" is refuted by an e-process of the canary alone, with these
// alternatives as parts of the rate, and what each counts.
const rareIn = 1000

var (
	rarer     = [...]float64{0.2, 0.5}
	rarerPart = [len(rarer)]float64{0.7, 0.3}
)

// PrintEvidence is what is known of one fingerprint.
type PrintEvidence struct {
	Undo [len(abovePrint)]float64 // ln E
	Hits [2]int64                 // baseline, canary
}

type hit struct {
	print int
	side  side
}

// prints are the fingerprints of a node, by order of appearance.
type prints struct {
	order map[string]int
	proc  []PrintEvidence
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
	return i, true
}

func (p *prints) book(h hit, odds float64) {
	e := &p.proc[h.print]
	e.Hits[h.side]++
	for j, m := range abovePrint {
		lnA, lnB := factors(odds, rhoPrint, rhoPrint*m)
		if h.side == canary {
			e.Undo[j] += lnA
		} else {
			e.Undo[j] += lnB
		}
	}
}

func (e *PrintEvidence) add(o *PrintEvidence) {
	for j := range e.Undo {
		e.Undo[j] += o.Undo[j]
	}
	for s := range e.Hits {
		e.Hits[s] += o.Hits[s]
	}
}

func (e *PrintEvidence) sane() bool {
	return sane(e.Undo[:]...) && min(e.Hits[0], e.Hits[1]) >= 0 && max(e.Hits[0], e.Hits[1]) <= 1<<60
}

// accuses says that it speaks against the canary, however little: one hit that the
// baseline has none of does.
func (e *PrintEvidence) accuses() bool { return e.Hits[canary] > 0 && meanExp(e.Undo[:]) > 0 }

// weigh is ln of the mixture of processes in their order of appearance, and
// which says most, -1 if there is none.
func weigh(proc []PrintEvidence) (lnE float64, lead int) {
	lnE, most, lead := nothing, math.Inf(-1), -1
	for i := range proc {
		e := meanExp(proc[i].Undo[:]) + math.Log(part(i+1))
		lnE = addExp(lnE, e)
		if e > most {
			most, lead = e, i
		}
	}
	return lnE, lead
}

// rare is ln E' against "the canary traps so at least once in [rareIn]", after so many hits in so
// many makings, and how many more without a hit show it. What is still under way is
// taken as good: a thousandth of a hit each.
func rare(hits, makings int64) (lnE float64, more int64) {
	bound, left := math.Log(1/Beta), math.Inf(1)
	lnE = nothing
	for j, r := range rarer {
		have := float64(hits)*math.Log(r) + float64(makings)/rareIn*(1-r) + math.Log(rarerPart[j])
		lnE = addExp(lnE, have)
		left = min(left, math.Ceil((bound-have)*rareIn/(1-r)))
	}
	return lnE, int64(min(max(left, 0), 1e15))
}
