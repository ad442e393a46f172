package main

import (
	"container/heap"
	"container/list"
	"hash/maphash"
	"math"
	"slices"
	"sort"
)

func pow(x, y float64) float64 { return math.Pow(x, y) }

func search(sums []float64, x float64) uint32 {
	return uint32(min(sort.SearchFloat64s(sums, x), len(sums)-1))
}

// lru keeps what was used last.
type lru struct {
	places int
	order  *list.List
	known  map[uint32]*list.Element
}

func newLRU(places int) *lru { return &lru{places, list.New(), make(map[uint32]*list.Element)} }

// ask says whether it has the object, and stores it if not.
func (l *lru) ask(k uint32) bool {
	if e := l.known[k]; e != nil {
		l.order.MoveToFront(e)
		return true
	}
	l.add(k)
	return false
}

// add stores an object and returns the one that goes for it.
func (l *lru) add(k uint32) (gone uint32, full bool) {
	l.known[k] = l.order.PushFront(k)
	if l.order.Len() <= l.places {
		return 0, false
	}
	return l.drop(l.order.Back()), true
}

func (l *lru) drop(e *list.Element) uint32 {
	k := l.order.Remove(e).(uint32)
	delete(l.known, k)
	return k
}

// tinyLFU is W-TinyLFU (Einziger, Friedman, Manes, "TinyLFU: A Highly Efficient
// Cache Admission Policy", ACM TOS 2017): a window of 1 % by recency, behind it a
// segmented LRU that lets in who was asked for more often than its victim.
type tinyLFU struct {
	window, trial, kept *lru
	sketch              sketch
}

func newTinyLFU(places int) *tinyLFU {
	window := max(places/100, 1)
	rest := places - window
	return &tinyLFU{newLRU(window), newLRU(rest), newLRU(rest * 8 / 10), newSketch(places)}
}

func (t *tinyLFU) ask(k uint32) bool {
	t.sketch.count(k)
	if e := t.window.known[k]; e != nil {
		t.window.order.MoveToFront(e)
		return true
	}
	if e := t.kept.known[k]; e != nil {
		t.kept.order.MoveToFront(e)
		return true
	}
	if e := t.trial.known[k]; e != nil {
		t.trial.drop(e)
		if back, full := t.kept.add(k); full {
			t.trial.add(back)
		}
		return true
	}
	candidate, full := t.window.add(k)
	if !full {
		return false
	}
	if t.trial.order.Len()+t.kept.order.Len() < t.trial.places {
		t.trial.add(candidate)
		return false
	}
	victims := t.trial
	if victims.order.Len() == 0 {
		victims = t.kept
	}
	victim := victims.order.Back()
	if t.sketch.seen(candidate) > t.sketch.seen(victim.Value.(uint32)) {
		victims.drop(victim)
		t.trial.add(candidate)
	}
	return false
}

// sketch is a count-min sketch of four rows whose counts are halved now and then.
type sketch struct {
	seeds  [4]maphash.Seed
	rows   [4][]uint8
	counts int
	places int
}

func newSketch(places int) sketch {
	s := sketch{places: places}
	for i := range s.rows {
		s.seeds[i], s.rows[i] = maphash.MakeSeed(), make([]uint8, 8*places)
	}
	return s
}

func (s *sketch) count(k uint32) {
	for i, row := range s.rows {
		if c := &row[maphash.Comparable(s.seeds[i], k)%uint64(len(row))]; *c < 15 {
			*c++
		}
	}
	if s.counts++; s.counts < 10*s.places {
		return
	}
	s.counts = 0
	for _, row := range s.rows {
		for i := range row {
			row[i] /= 2
		}
	}
}

func (s *sketch) seen(k uint32) uint8 {
	n := uint8(15)
	for i, row := range s.rows {
		n = min(n, row[maphash.Comparable(s.seeds[i], k)%uint64(len(row))])
	}
	return n
}

// best is how many hits the best rule would have, which knows what is to come
// (Belády): what is asked for again last goes, also if it has just come.
func best(asked []uint32, places int) int {
	again := make([]int, len(asked))
	last := make(map[uint32]int)
	for i, k := range slices.Backward(asked) {
		again[i] = len(asked) + i
		if n, ok := last[k]; ok {
			again[i] = n
		}
		last[k] = i
	}
	var stored latest
	next := make(map[uint32]int) // of what is stored; older places of stored in the heap are void
	hits := 0
	for i, k := range asked {
		if _, ok := next[k]; ok {
			hits++
		}
		next[k] = again[i]
		heap.Push(&stored, place{again[i], k})
		for len(next) > places {
			p := heap.Pop(&stored).(place)
			if next[p.object] == p.again {
				delete(next, p.object)
			}
		}
	}
	return hits
}

type place struct {
	again  int
	object uint32
}

// latest is a heap: what is asked for again last comes first.
type latest []place

func (l latest) Len() int           { return len(l) }
func (l latest) Less(i, j int) bool { return l[i].again > l[j].again }
func (l latest) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }
func (l *latest) Push(x any)        { *l = append(*l, x.(place)) }
func (l *latest) Pop() any {
	old := *l
	p := old[len(old)-1]
	*l = old[:len(old)-1]
	return p
}
