package cache

import (
	"hash/maphash"
	"iter"
	"maps"
)

// table finds objects by the hashes of their keys. A key is compared, and lies in
// memory, in the object only: in a Go map of keys it would lie there once more,
// with the map's free places.
type table struct {
	seed   maphash.Seed
	byHash map[uint64]*object
}

// object is all that is stored for one key.
type object struct {
	key      Key // never changes
	hash     uint64
	next     *object  // another one whose key has the same hash
	variants []*entry // the newest first
	parts    []*entry // of answers that are not there as a whole; the newest first
}

func newTable() table {
	return table{maphash.MakeSeed(), make(map[uint64]*object)}
}

// find is the object of a key, nil if there is none.
func (t *table) find(key *Key) *object {
	o := t.byHash[maphash.Comparable(t.seed, *key)]
	for o != nil && o.key != *key {
		o = o.next
	}
	return o
}

// add makes the object of a key that has none.
func (t *table) add(key Key) *object {
	o := &object{key: key.clone(), hash: maphash.Comparable(t.seed, key)}
	o.next = t.byHash[o.hash]
	t.byHash[o.hash] = o
	return o
}

// drop takes an object out.
func (t *table) drop(o *object) {
	first := t.byHash[o.hash]
	switch {
	case first == o && o.next == nil:
		delete(t.byHash, o.hash)
	case first == o:
		t.byHash[o.hash] = o.next
	default:
		for p := first; p != nil; p = p.next {
			if p.next == o {
				p.next = o.next
				return
			}
		}
	}
}

// all gives every object. The one that it has given may be dropped meanwhile.
func (t *table) all() iter.Seq[*object] {
	return func(yield func(*object) bool) {
		for o := range maps.Values(t.byHash) {
			for o != nil {
				next := o.next
				if !yield(o) {
					return
				}
				o = next
			}
		}
	}
}
