package rollout

import (
	"strconv"
	"time"

	"github.com/selvage-edge/selvage/judge"
)

// Facts are what is known of a making beside how it ended, to say afterwards
// where the bad ones were.
type Facts struct {
	Record   string // trace id
	Method   string
	Path     string // without the query
	Endpoint string // of the origin, or the function
	Protocol string
	Status   int
}

// samples are the last bad makings, and some good ones.
type samples struct {
	bad, good   []judge.Sample
	nextB, next int
	skip        int
}

// What is kept: the bads of one node's rollout, and goods, one of goodsPer.
const (
	maxBads  = 256
	maxGoods = 1024
	goodsPer = 8
)

// Sample keeps what is known of a making that ended, if it is one to be kept.
// bad is what [Watch.End] said.
func (w *Watch) Sample(m Making, bad judge.Set, f Facts) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.clients == nil || m.life != w.life {
		return
	}
	if bad != 0 && m.canary && w.harm.First.Record == "" {
		w.harm.First = First{f.Record, f.Method, f.Path, m.class, f.Status, time.Now()}
	}
	w.samples.add(m.class, bad != 0, f)
}

func (s *samples) add(class string, bad bool, f Facts) {
	if !bad {
		if s.skip++; s.skip < goodsPer {
			return
		}
		s.skip = 0
	}
	v := judge.Sample{Bad: bad, Weight: goodsPer}
	v.Values[judge.ByRoute] = class
	v.Values[judge.ByMethod] = f.Method
	v.Values[judge.ByEndpoint] = f.Endpoint
	v.Values[judge.ByProtocol] = f.Protocol
	if f.Status > 0 {
		v.Values[judge.ByStatus] = strconv.Itoa(f.Status)
	}
	if bad {
		s.bad, s.nextB = keep(s.bad, s.nextB, maxBads, v)
	} else {
		s.good, s.next = keep(s.good, s.next, maxGoods, v)
	}
}

// keep writes into a ring.
func keep(ring []judge.Sample, at, most int, v judge.Sample) ([]judge.Sample, int) {
	if len(ring) < most {
		return append(ring, v), at
	}
	ring[at] = v
	return ring, (at + 1) % most
}

// recent are the samples that are kept.
func (w *Watch) recent() []judge.Sample {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]judge.Sample, 0, len(w.samples.bad)+len(w.samples.good))
	return append(append(out, w.samples.bad...), w.samples.good...)
}
