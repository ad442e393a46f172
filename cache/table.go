package cache

import (
	"hash/maphash"
	"iter"
	"sync/atomic"
)

// number is that of an entry. 0 is none.
type number uint32

// entry is the place of an answer in the store. It has no pointers, so that the
// collector does not look at a million of them: entries name each other by their numbers.
type entry struct {
	hash         uint64        // of its key
	serial       uint64        // of what it holds: never the same again
	checked      atomic.Uint64 // position up to which no purge concerns the answer
	size         int64
	where        spot // of the answer's record; nowhere for an open one
	self         number
	next         number // with the same hash: of the same key those that are older, or of another
	newer, older number // in its queue
	frequency    atomic.Uint32
	asked        atomic.Uint32 // how often since its answer came
	queue        queueName
	further      bool // there is more in its key than a URL: see addQueryLocked
	part         bool // it holds a part of an answer that is not there as a whole
}

// open is an answer that is not packed, with its key.
type open struct {
	key    Key
	answer *answer
}

// entriesAtOnce is for how many entries memory is taken at a time.
const entriesAtOnce = 1024

// table finds entries by the hashes of their keys.
type table struct {
	seed   maphash.Seed
	byHash map[uint64]number // the first of each
	blocks []*[entriesAtOnce]entry
	used   number // the highest number that was ever given
	free   number // the first of those that are not used, by their next
	open   map[number]*open
}

func newTable() table {
	return table{seed: maphash.MakeSeed(), byHash: make(map[uint64]number), open: make(map[number]*open)}
}

func (t *table) hash(key *Key) uint64 { return maphash.Comparable(t.seed, *key) }

// at is the entry of a number, nil for 0.
func (t *table) at(n number) *entry {
	if n == 0 {
		return nil
	}
	return &t.blocks[n/entriesAtOnce][n%entriesAtOnce]
}

// first is the newest entry with a hash. Others follow by next.
func (t *table) first(hash uint64) *entry { return t.at(t.byHash[hash]) }

// add makes a new entry with a hash, before all others.
func (t *table) add(hash uint64) *entry {
	n := t.free
	if n != 0 {
		t.free = t.at(n).next
	} else {
		t.used++
		n = t.used
		if int(n/entriesAtOnce) == len(t.blocks) {
			t.blocks = append(t.blocks, new([entriesAtOnce]entry))
		}
	}
	e := t.at(n)
	e.hash, e.self, e.next = hash, n, t.byHash[hash]
	t.byHash[hash] = n
	return e
}

// drop takes an entry out.
func (t *table) drop(e *entry) {
	if first := t.byHash[e.hash]; first != e.self {
		before := t.at(first)
		for before.next != e.self {
			before = t.at(before.next)
		}
		before.next = e.next
	} else if e.next != 0 {
		t.byHash[e.hash] = e.next
	} else {
		delete(t.byHash, e.hash)
	}
	n := e.self
	e.hash, e.serial, e.size, e.where, e.self, e.next, e.part, e.further = 0, 0, 0, spot{}, 0, t.free, false, false
	e.checked.Store(0)
	e.frequency.Store(0)
	e.asked.Store(0)
	t.free = n
}

// all gives every entry. The one that it has given may be dropped meanwhile.
func (t *table) all() iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		for n := number(1); n <= t.used; n++ {
			if e := t.at(n); e.self != 0 && !yield(e) {
				return
			}
		}
	}
}
