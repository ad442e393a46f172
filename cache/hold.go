package cache

import (
	"encoding/binary"
	"iter"
)

// Costs of an entry beside its record, in bytes: itself, and its place in Go's table of hashes,
// which may be half empty.
const (
	costEntry = 80
	costIndex = 40
)

// isOf says whether an entry is one of the key's.
func (s *Store) isOf(e *entry, key *Key) bool {
	if e.where == (spot{}) {
		return s.objects.open[e.self].key == *key
	}
	record := s.slabs.at(e.where)
	u := unpacker{record[4:]}
	return u.isKey(key, u.uint())
}

// ofKey gives the entries of a key, the newest first. The one that it has given may
// be dropped meanwhile.
func (s *Store) ofKey(key *Key) iter.Seq[*entry] {
	return func(yield func(*entry) bool) {
		e := s.objects.first(s.objects.hash(key))
		for e != nil {
			next := s.objects.at(e.next)
			if s.isOf(e, key) && !yield(e) {
				return
			}
			e = next
		}
	}
}

// keyLocked is the key of an entry.
func (s *Store) keyLocked(e *entry) Key {
	if e.where == (spot{}) {
		return s.objects.open[e.self].key
	}
	u := unpacker{s.slabs.at(e.where)[4:]}
	bits := u.uint()
	return u.key(bits)
}

// answerLocked is the answer of an entry, in memory of its own where it is packed.
func (s *Store) answerLocked(e *entry) *answer {
	if e.where == (spot{}) {
		return s.objects.open[e.self].answer
	}
	key := s.keyLocked(e)
	return s.unpackLocked(e, &key, new(view))
}

func (s *Store) unpackLocked(e *entry, key *Key, v *view) *answer {
	v.read(s, e, key, nil)
	v.readBody(s, e)
	return &v.answer
}

// holdLocked puts an answer into an entry. What it held before has been let go.
func (s *Store) holdLocked(e *entry, key *Key, a *answer) {
	s.serials++
	e.serial, e.part = s.serials, a.isPart()
	e.checked.Store(a.position)
	s.keepLocked(e, key, a)
}

// keepLocked is holdLocked for what is the same answer as before, packed where it can be.
func (s *Store) keepLocked(e *entry, key *Key, a *answer) {
	if record := s.pack(key, a); record != nil {
		if where, ok := s.slabs.add(e.self, record); ok {
			e.where = where
			s.moveFormsLocked(a.forms, e)
			s.resizeLocked(e, costEntry+costIndex+queryCost(key)+recordHead+int64(len(record)))
			return
		}
		s.reached("memory")
	}
	if a.serial != 0 && a.serial != e.serial {
		other := *a
		other.serial = 0
		a = &other
	}
	s.objects.open[e.self] = &open{key.clone(), a}
	a.body.keptBy(&s.sending)
	s.moveFormsLocked(a.forms, e)
	s.resizeLocked(e, a.size(*key))
}

// letGoLocked makes an entry hold nothing.
func (s *Store) letGoLocked(e *entry) {
	if e.where != (spot{}) {
		s.slabs.drop(e.where)
		e.where = spot{}
		return
	}
	o := s.objects.open[e.self]
	delete(s.objects.open, e.self)
	s.moveFormsLocked(o.answer.forms, nil)
	o.answer.body.left(&s.sending)
}

// openLocked makes a packed answer one that may be added to.
func (s *Store) openLocked(e *entry) *answer {
	if e.where == (spot{}) {
		return s.objects.open[e.self].answer
	}
	key := s.keyLocked(e)
	a := s.unpackLocked(e, &key, new(view))
	a.forms.unpack()
	s.letGoLocked(e)
	s.objects.open[e.self] = &open{key, a}
	a.body.keptBy(&s.sending)
	s.moveFormsLocked(a.forms, e)
	s.resizeLocked(e, a.size(key))
	return a
}

// repackLocked packs an open answer, if that can be done now.
func (s *Store) repackLocked(e *entry) {
	if o := s.objects.open[e.self]; o != nil && s.packs(o.answer) {
		delete(s.objects.open, e.self)
		o.answer.body.left(&s.sending)
		s.keepLocked(e, &o.key, o.answer)
	}
}

// resizeLocked notes what an entry takes.
func (s *Store) resizeLocked(e *entry, size int64) {
	more := size - e.size
	e.size = size
	s.used += more
	if e.queue != noQueue {
		s.queues.named(e.queue).bytes += more
	}
}

// holdsLocked says whether an entry holds this answer still.
func (s *Store) holdsLocked(e *entry, a *answer) bool {
	if e.where == (spot{}) {
		return s.objects.open[e.self].answer.is(a)
	}
	return a != nil && a.serial == e.serial
}

// hasMore says whether there is more in a key than a URL. Such keys are in further tables.
func (k *Key) hasMore() bool { return k.Fields != "" || k.Content != "" || k.Overlay != 0 }

func queryCost(k *Key) int64 {
	if !k.hasMore() {
		return 0
	}
	return costQuery + 2*int64(len(k.Path)+len(k.Query)+len(k.Fields)+len(k.Content))
}

// views are the copies that one request looks at, one after the other.
type views struct {
	all  []*view
	used int
	// asTheyLie is set where the request wants only what Transport.takes says.
	asTheyLie *inquiry
}

// lying is the request that wants answers as they lie, nil for none.
func (v *views) lying() *inquiry {
	if v == nil {
		return nil
	}
	return v.asTheyLie
}

// next is a copy that is not used yet. A nil views makes new ones.
func (v *views) next() *view {
	if v == nil {
		return new(view)
	}
	if v.used == len(v.all) {
		v.all = append(v.all, new(view))
	}
	v.used++
	return v.all[v.used-1]
}

// seeLocked is the answer of an entry, without its body where it is packed; nil if the entry is another
// key's. l is as in view.read.
func (s *Store) seeLocked(e *entry, key *Key, l *ledger, from *views) (*answer, *view) {
	if e.where == (spot{}) {
		if o := s.objects.open[e.self]; o.key == *key {
			return o.answer, nil
		}
		return nil, nil
	}
	record := s.slabs.at(e.where)
	u := unpacker{record[4:binary.LittleEndian.Uint32(record)]}
	if !u.isKey(key, u.uint()) {
		return nil, nil
	}
	v := from.next()
	v.asItLies = from.lying() != nil
	v.read(s, e, key, l)
	return &v.answer, v
}
