package cache

import "math/bits"

// Eviction is of the W-TinyLFU family (Einziger, Friedman, Manes, "TinyLFU: A Highly
// Efficient Cache Admission Policy", ACM TOS 2017) on queues that no hit reorders, as
// in S3-FIFO (Yang et al., SOSP 2023): what is new passes through a small queue; at
// its end it takes the place of what would leave the main queue if it was asked for
// more often, by its size, and leaves if not. The main queue is a clock: what was used
// since it came by goes round again. How often something was asked for is
// remembered also when it is gone, in a sketch that forgets by halves. So a scan of
// things that are asked for once passes through a small part of the memory, and
// what comes back is known. bench/store has the hit ratios that this was chosen by.

// maxFrequency is how far the uses of an entry are counted between two looks at it.
const maxFrequency = 15

// queueName says in which queue an entry is.
type queueName uint8

const (
	noQueue queueName = iota
	smallQueue
	mainQueue
)

// queue is a list of entries in the order in which they came, with their bytes.
type queue struct {
	newest, oldest number
	bytes          int64
}

// queues orders the entries for eviction.
type queues struct {
	entries    *table
	small      queue
	main       queue
	smallShare int64 // bytes beyond which the small queue gives first
	mainShare  int64 // bytes up to which the main queue takes what the small one gives
	asked      sketch
}

// share says how many bytes there are for both queues, without gaps and what is on
// its way: with shares of more the main queue would never be full, and take everything.
func (q *queues) share(room int64) {
	q.smallShare = room / 10
	q.mainShare = room - q.smallShare
}

func (q *queues) named(n queueName) *queue {
	if n == mainQueue {
		return &q.main
	}
	return &q.small
}

func (q *queues) push(name queueName, e *entry) {
	l := q.named(name)
	e.queue, e.older, e.newer = name, l.newest, 0
	if newest := q.entries.at(l.newest); newest != nil {
		newest.newer = e.self
	} else {
		l.oldest = e.self
	}
	l.newest = e.self
	l.bytes += e.size
}

func (q *queues) remove(e *entry) {
	l := q.named(e.queue)
	if newer := q.entries.at(e.newer); newer != nil {
		newer.older = e.older
	} else {
		l.newest = e.older
	}
	if older := q.entries.at(e.older); older != nil {
		older.newer = e.newer
	} else {
		l.oldest = e.newer
	}
	e.queue, e.older, e.newer = noQueue, 0, 0
	l.bytes -= e.size
}

// add puts a new entry into its queue. proven says that what it replaces was in the main one.
func (q *queues) add(e *entry, proven bool) {
	q.asked.count(e.hash, 1)
	if proven {
		q.push(mainQueue, e)
	} else {
		q.push(smallQueue, e)
	}
}

// victim is the entry to be evicted next, nil if there is none. It stays in its queue.
func (q *queues) victim() *entry {
	for {
		candidate := q.entries.at(q.small.oldest)
		if candidate == nil || q.small.bytes <= q.smallShare {
			if v := q.leaving(); v != nil {
				return v
			}
			return candidate
		}
		if q.main.bytes+candidate.size > q.mainShare {
			v := q.leaving()
			if v == nil {
				return candidate
			}
			if q.worthMore(candidate, v) {
				return v
			}
			q.remove(v) // the next one is compared with another
			q.push(mainQueue, v)
			return candidate
		}
		q.remove(candidate)
		q.push(mainQueue, candidate)
	}
}

// leaving is the entry that would leave the main queue next: the oldest that was
// not used since it was last looked at.
func (q *queues) leaving() *entry {
	for {
		e := q.entries.at(q.main.oldest)
		if e == nil {
			return nil
		}
		n := e.frequency.Swap(0)
		if n == 0 {
			return e
		}
		q.asked.count(e.hash, n)
		q.remove(e)
		q.push(mainQueue, e)
	}
}

// worthMore says whether a was asked for more often than b, for each of its bytes: a
// large one takes the place of several like b.
func (q *queues) worthMore(a, b *entry) bool {
	n := q.asked.seen(a.hash) + int64(a.frequency.Load())
	m := q.asked.seen(b.hash)
	return n*max(b.size, 1) > m*max(a.size, 1)
}

// used counts a use. It is called under the reading lock, by many at once: a
// count that gets lost does not matter.
func (e *entry) used() {
	e.asked.Add(1)
	if n := e.frequency.Load(); n < maxFrequency {
		e.frequency.CompareAndSwap(n, n+1)
	}
}

// sketch counts how often things were asked for, about and by their hashes alone
// (a count-min sketch with conservative update). When two and a half times
// its width was counted, every count is halved: what was asked for long ago is forgotten.
type sketch struct {
	counts []uint8 // four rows of a power of two
	mask   uint64
	added  int
}

const sketchRows = 4

func newSketch(width int) sketch {
	width = 1 << bits.Len(uint(max(width, 16)-1))
	return sketch{counts: make([]uint8, sketchRows*width), mask: uint64(width - 1)}
}

// at is where the hash is counted in a row.
func (s *sketch) at(hash uint64, row uint64) *uint8 {
	h := (hash>>32|1)*row + hash // a hash of its own for each row (Kirsch and Mitzenmacher, 2006)
	return &s.counts[row*(s.mask+1)+h&s.mask]
}

func (s *sketch) seen(hash uint64) int64 {
	least := *s.at(hash, 0)
	for row := uint64(1); row < sketchRows; row++ {
		least = min(least, *s.at(hash, row))
	}
	return int64(least)
}

// count notes n uses.
func (s *sketch) count(hash uint64, n uint32) {
	to := uint8(min(s.seen(hash)+int64(n), 255))
	for row := range uint64(sketchRows) {
		c := s.at(hash, row)
		*c = max(*c, to)
	}
	if s.added += int(n); 2*s.added < 5*int(s.mask+1) {
		return
	}
	s.added = 0
	for i := range s.counts {
		s.counts[i] /= 2
	}
}
