package judge

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
)

// Report is what a node says about a rollout: cumulative, so that the latest
// is all that counts.
type Report struct {
	Node        selvage.NodeName
	Life        uint64 // grows with every start that lost its state
	Seq         uint64 // grows with every report of a life
	Lost        bool   // an earlier life was lost: what this one says alone does not count
	Undo        [Indicators][undos]float64
	Gate        [Indicators][gates]float64
	Room        [Indicators][gates]float64
	Alone       float64                  // ln E of this node by itself
	Prints      map[string]PrintEvidence `json:",omitempty"`
	AlonePrints float64                  // ln E of its fingerprints by themselves
	Tally       Tally
	Class       string // the class with most canary bads
}

// Report sums up the node, for the panel. elapsed is the time since the
// rollout's begin.
func (b *Book) Report(elapsed time.Duration) Report {
	b.seq++
	r := Report{Node: b.opt.Node, Life: b.opt.Life, Seq: b.seq, Lost: b.opt.Lost}
	var sum process
	var most int64
	for _, s := range b.strata {
		sum.add(&s.proc)
		r.Tally.add(&s.tally)
		var n int64
		for _, v := range s.tally.Bad[canary] {
			n += v
		}
		if n > most {
			most, r.Class = n, s.name
		}
	}
	r.Undo, r.Gate, r.Room = sum.Undo, sum.Gate, sum.Room
	b.late.follow(&sum.Undo, elapsed)
	r.Alone, _ = b.late.evidence()
	r.AlonePrints, _ = weigh(b.prints.proc)
	for name, i := range b.prints.order {
		if r.Prints == nil {
			r.Prints = make(map[string]PrintEvidence, len(b.prints.order))
		}
		r.Prints[name] = b.prints.proc[i]
	}
	return r
}

// MayUndoAlone says whether the node's own evidence, of the book's last report, convicts
// without any other: 2N/α, because the average gives one node 1/(2N). A node that lost
// its state must not.
func (b *Book) MayUndoAlone(r Report) bool {
	if b.opt.Lost {
		return false
	}
	bound := math.Log(2 * float64(b.opt.Nodes) / Alpha)
	if b.opt.Nodes == 1 {
		bound = math.Log(1 / Alpha) // alone and merged are the same
	}
	return max(r.Alone, r.AlonePrints) >= bound
}

// state is what survives a restart. Makings that were under way are lost in
// both arms alike.
type state struct {
	Seq    uint64
	Share  float64
	Late   restarts
	Strata []stratumState
	Prints []printState
}

type stratumState struct {
	Name  string
	Epoch uint64
	Proc  process
	Tally Tally
}

type printState struct {
	Name string
	Proc [len(abovePrint)]float64
	Hits [2]int64
}

// Export is the book's state, to be kept over a restart of the node.
func (b *Book) Export() ([]byte, error) {
	st := state{Seq: b.seq, Share: b.share, Late: b.late}
	for _, s := range b.strata {
		st.Strata = append(st.Strata, stratumState{s.name, s.epoch, s.proc, s.tally})
	}
	for name, i := range b.prints.order {
		st.Prints = append(st.Prints, printState{name, b.prints.proc[i].Undo, b.prints.proc[i].Hits})
	}
	slices.SortFunc(st.Prints, func(x, y printState) int { return cmp.Compare(b.prints.order[x.Name], b.prints.order[y.Name]) })
	return json.Marshal(st)
}

// Import makes a book of what [Book.Export] wrote. It starts with no epoch
// open and the share it had. A state that is not whole is refused: the node
// then takes a new life and does not undo alone again in this rollout.
func Import(o Options, data []byte) (*Book, error) {
	var st state
	if err := json.Unmarshal(data, &st); err != nil {
		return nil, fmt.Errorf("read judging state: %w", err)
	}
	b := NewBook(o)
	if len(st.Strata) > maxStrata || len(st.Prints) > maxPrints {
		return nil, errors.New("read judging state: it has more than its limits allow")
	}
	if !(st.Share >= 0 && st.Share <= 1) || st.Late.Slot < 0 || !st.Late.sane() || st.Seq > 1<<62 {
		return nil, errors.New("read judging state: it is damaged")
	}
	b.seq, b.share, b.late = st.Seq+1, st.Share, st.Late
	for _, s := range st.Strata {
		if _, twice := b.index[s.Name]; twice || !s.Proc.sane() || !s.Tally.sane() || s.Epoch > 1<<62 {
			return nil, fmt.Errorf("read judging state: class %q is damaged", s.Name)
		}
		b.index[s.Name] = len(b.strata)
		b.strata = append(b.strata, &stratum{name: s.Name, epoch: s.Epoch, proc: s.Proc, tally: s.Tally})
	}
	for _, p := range st.Prints {
		i, ok := b.prints.index(p.Name)
		e := PrintEvidence{p.Proc, p.Hits}
		if !ok || i != len(b.prints.proc)-1 || !e.sane() {
			return nil, fmt.Errorf("read judging state: fingerprint %q is damaged", p.Name)
		}
		b.prints.proc[i] = e
	}
	return b, nil
}

// sane says that numbers are finite and of a size that makings can have.
func sane(x ...float64) bool {
	for _, v := range x {
		if !(math.Abs(v) <= 1e30) {
			return false
		}
	}
	return true
}

func (p *process) sane() bool {
	for k := range Indicators {
		if !sane(p.Undo[k][:]...) || !sane(p.Gate[k][:]...) || !sane(p.Room[k][:]...) {
			return false
		}
	}
	return true
}

func (r *restarts) sane() bool {
	for k := range Indicators {
		if !sane(r.Sum[k][:]...) || !sane(r.Seen[k][:]...) {
			return false
		}
	}
	return true
}

func (t *Tally) sane() bool {
	for s := range t.N {
		if t.N[s] < 0 || t.N[s] > 1<<60 {
			return false
		}
		for _, v := range t.Bad[s] {
			if v < 0 || v > t.N[s] {
				return false
			}
		}
	}
	return true
}

// sane says that a report can be counted.
func (r *Report) sane() bool {
	p := process{r.Undo, r.Gate, r.Room}
	if !p.sane() || !r.Tally.sane() || !sane(r.Alone, r.AlonePrints) || len(r.Prints) > maxPrints {
		return false
	}
	for _, e := range r.Prints {
		if !e.sane() {
			return false
		}
	}
	return true
}
