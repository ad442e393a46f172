package judge

import (
	"math"
	"time"
)

// Marks are what makings of one epoch are compared with. They come from what
// the baseline did before the epoch: fixed beforehand, any mark is fair to
// both arms, and a change of the whole site's speed moves both.
type Marks struct {
	Slow  [3]time.Duration // q75, q90, q99 of the baseline; all zero while too little is known
	Small int64            // an answer with a body of fewer bytes is hollow: a quarter of q05; 0: none is
}

// What a histogram has to have seen before marks are taken from it.
const enough = 100

// histogram counts values by their logarithm, 5 % a bucket, from 1 to 10^9
// (microseconds or bytes). It forgets: at 1,000 values all counts are halved, so
// that marks follow the site's speed within minutes, also where a class makes
// few. Marks that remember a slow hour are above what a slow canary does, and see
// nothing. The zero value is empty.
type histogram struct {
	n      uint32
	counts [buckets]uint32
}

const (
	buckets = 426 // ln(10^9)/ln(1.05) + one for zero
	forget  = 1000
)

var logStep = math.Log(1.05)

func (h *histogram) add(v float64) {
	i := 0
	if v >= 1 {
		i = min(1+int(math.Log(v)/logStep), buckets-1)
	}
	h.counts[i]++
	if h.n++; h.n < forget {
		return
	}
	h.n = 0
	for i := range h.counts {
		h.counts[i] /= 2
		h.n += h.counts[i]
	}
}

// quantile is the upper edge of the bucket that q falls into.
func (h *histogram) quantile(q float64) float64 {
	left := uint32(math.Ceil(q * float64(h.n)))
	for i, c := range h.counts {
		if c >= left && left > 0 {
			return h.edge(i)
		}
		left -= c
	}
	return h.edge(buckets - 1)
}

func (*histogram) edge(bucket int) float64 {
	if bucket == 0 {
		return 0
	}
	return math.Exp(float64(bucket) * logStep)
}

// marks takes the marks for the next epoch.
func marks(latency, size *histogram) Marks {
	var m Marks
	if latency.n >= enough {
		for i, q := range [...]float64{0.75, 0.90, 0.99} {
			m.Slow[i] = time.Duration(latency.quantile(q) * float64(time.Microsecond))
		}
	}
	if size.n >= enough {
		m.Small = int64(size.quantile(0.05) / 4)
	}
	return m
}

// judge adds to a making's indicators those that follow from its marks.
func (m *Marks) judge(o *Outcome, timed bool) Set {
	bad := o.Bad
	if timed {
		for i, mark := range m.Slow {
			if o.Latency > mark {
				bad = bad.With(Slow75 + Indicator(i))
			}
		}
	}
	if m.small(o) {
		bad = bad.With(Hollow)
	}
	return bad
}

func (m *Marks) small(o *Outcome) bool { return !o.NoBody && o.Bytes < m.Small }
