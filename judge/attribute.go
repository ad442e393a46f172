package judge

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Dimension is one thing that the hurt requests may have in common.
type Dimension uint8

// The dimensions.
const (
	ByChange Dimension = iota
	ByRevision
	ByPOP
	ByNode
	ByZone
	ByRoute
	ByMethod
	ByEndpoint
	ByRTT
	ByNetwork
	ByDevice
	ByProtocol
	ByStatus

	dimensions = 13
)

var dimensionNames = [dimensions]string{
	"change", "revision", "POP", "node", "zone", "route", "method", "origin endpoint",
	"RTT", "network", "device", "protocol", "status",
}

// String is the dimension in words.
func (d Dimension) String() string {
	if int(d) >= len(dimensionNames) {
		return "unknown"
	}
	return dimensionNames[d]
}

// Sample is one record of a ring. A bad one stands for itself, a good one for as
// many as it was drawn from.
type Sample struct {
	Bad    bool
	Weight float64            // of a good one; 1 if it is not positive
	Values [dimensions]string // an empty value says nothing
}

// Condition is one value of one dimension.
type Condition struct {
	Dimension Dimension
	Value     string
}

// Suspect is a group of requests that are bad more often than all are.
type Suspect struct {
	Where    []Condition
	Score    float64 // log-likelihood ratio less ln of how many groups were looked at
	Bad, All float64 // requests, weighted
	Aliases  [][]Condition
}

// The bounds of the search.
const (
	beam      = 50  // pairs that triples are tried from
	finalists = 100 // groups that are compared for aliases
	alias     = 0.9 // Jaccard index from which on two groups are the same
	fewest    = 3   // bads that a group needs
)

// item is a value of a dimension; 0 is none.
type item uint32

// group is up to three items in the order of their dimensions.
type group [3]item

type score struct {
	group    group
	bad, all float64
	value    float64
}

// scan is the samples with their values as numbers.
type scan struct {
	samples  []Sample
	rows     [][dimensions]item
	names    [dimensions][]string
	bad, all float64
}

// Attribute names what the bad samples have in common: values of one
// dimension, pairs, and triples out of the best pairs. It returns at most top
// suspects, the likeliest first. It names; it does not decide.
func Attribute(samples []Sample, top int) []Suspect {
	s := newScan(samples)
	if s.bad == 0 || s.bad == s.all {
		return nil
	}
	singles := s.rank(s.count(func(row *[dimensions]item, add func(group)) {
		for _, a := range row {
			if a != 0 {
				add(group{a})
			}
		}
	}))
	pairs := s.rank(s.count(func(row *[dimensions]item, add func(group)) {
		for i, a := range row {
			for _, b := range row[i+1:] {
				if a != 0 && b != 0 {
					add(group{a, b})
				}
			}
		}
	}))
	best := pairs[:min(len(pairs), beam)]
	triples := s.rank(s.count(func(row *[dimensions]item, add func(group)) { s.extend(best, row, add) }))
	all := slices.Concat(singles, pairs, triples)
	slices.SortStableFunc(all, func(x, y score) int { return cmp.Compare(y.value, x.value) })
	return s.collapse(all[:min(len(all), finalists)], top)
}

func newScan(samples []Sample) *scan {
	s := &scan{samples: samples, rows: make([][dimensions]item, len(samples))}
	var seen [dimensions]map[string]item
	for d := range seen {
		seen[d] = map[string]item{}
	}
	for i := range samples {
		for d, v := range samples[i].Values {
			if v == "" {
				continue
			}
			it, ok := seen[d][v]
			if !ok {
				s.names[d] = append(s.names[d], v)
				it = item(d)<<24 | item(len(s.names[d]))
				seen[d][v] = it
			}
			s.rows[i][d] = it
		}
		w := s.weight(i)
		s.all += w
		if samples[i].Bad {
			s.bad += w
		}
	}
	return s
}

func (s *scan) weight(i int) float64 {
	w := s.samples[i].Weight
	if s.samples[i].Bad || !(w > 0) || math.IsInf(w, 1) {
		return 1
	}
	return w
}

// count counts groups: those of the bads are found, the goods are looked up.
func (s *scan) count(groups func(row *[dimensions]item, add func(group))) map[group]*score {
	found := map[group]*score{}
	for _, bads := range []bool{true, false} {
		for i := range s.rows {
			if s.samples[i].Bad != bads {
				continue
			}
			w := s.weight(i)
			groups(&s.rows[i], func(g group) {
				c := found[g]
				if c == nil && bads {
					c = &score{group: g}
					found[g] = c
				}
				if c == nil {
					return
				}
				c.all += w
				if bads {
					c.bad += w
				}
			})
		}
	}
	return found
}

// extend adds each other item of the row to each of the pairs that it is in.
func (*scan) extend(pairs []score, row *[dimensions]item, add func(group)) {
	var done []group
	for i := range pairs {
		a, b := pairs[i].group[0], pairs[i].group[1]
		if row[a>>24] != a || row[b>>24] != b {
			continue
		}
		for _, c := range row {
			if c == 0 || c == a || c == b {
				continue
			}
			g := group{a, b, c}
			slices.Sort(g[:])
			if !slices.Contains(done, g) {
				done = append(done, g)
				add(g)
			}
		}
	}
}

// rank scores groups, the best first.
func (s *scan) rank(found map[group]*score) []score {
	var out []score
	for _, c := range found {
		expected := c.all * s.bad / s.all
		if c.bad < fewest || c.bad <= expected {
			continue
		}
		c.value = c.bad*math.Log(c.bad/expected) - math.Log(float64(len(found)))
		if rest := s.bad - c.bad; rest > 0 {
			c.value += rest * math.Log(rest/(s.bad-expected))
		}
		out = append(out, *c)
	}
	slices.SortFunc(out, func(x, y score) int {
		return cmp.Or(cmp.Compare(y.value, x.value), slices.Compare(x.group[:], y.group[:]))
	})
	return out
}

// collapse puts groups of nearly the same samples together under the best one.
func (s *scan) collapse(all []score, top int) []Suspect {
	var out []Suspect
	var sets [][]uint64
	for _, c := range all {
		set := s.members(c.group)
		same := slices.IndexFunc(sets, func(o []uint64) bool { return s.jaccard(set, o) >= alias })
		if same >= 0 {
			out[same].Aliases = append(out[same].Aliases, s.conditions(c.group))
			continue
		}
		if len(out) < top {
			out = append(out, Suspect{Where: s.conditions(c.group), Score: c.value, Bad: c.bad, All: c.all})
			sets = append(sets, set)
		}
	}
	return out
}

func (s *scan) members(g group) []uint64 {
	set := make([]uint64, (len(s.rows)+63)/64)
	for i := range s.rows {
		if s.rows[i][g[0]>>24] == g[0] && (g[1] == 0 || s.rows[i][g[1]>>24] == g[1]) && (g[2] == 0 || s.rows[i][g[2]>>24] == g[2]) {
			set[i/64] |= 1 << (i % 64)
		}
	}
	return set
}

func (s *scan) jaccard(x, y []uint64) float64 {
	var both, either float64
	for i := range x {
		for w := x[i] | y[i]; w != 0; w &= w - 1 {
			at := bits.TrailingZeros64(w)
			weight := s.weight(i*64 + at)
			either += weight
			if x[i]&y[i]>>at&1 == 1 {
				both += weight
			}
		}
	}
	return both / max(either, 1e-300)
}

func (s *scan) conditions(g group) []Condition {
	var out []Condition
	for _, it := range g {
		if it != 0 {
			out = append(out, Condition{Dimension(it >> 24), s.names[it>>24][it&0xffffff-1]})
		}
	}
	return out
}
