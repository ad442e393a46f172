package cache

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Layer says where the answers of one revision are stored. The zero value is the
// store itself; [Store.Overlay] puts an overlay of the revision's own over it, as
// long as the revision is on trial: it then reads what others have stored where
// the same made it, nobody else reads what it stores, and [Store.Merge] or
// [Store.Drop] ends that. All bytes count in the store's one bound.
type Layer struct{ now atomic.Pointer[overlay] }

// overlay is a part of the store under keys of its own.
type overlay struct{ id uint32 }

// id is the layer of the keys by which the revision's answers are stored.
func (l *Layer) id() uint32 {
	if l == nil {
		return 0
	}
	if o := l.now.Load(); o != nil {
		return o.id
	}
	return 0
}

// author is what makes answers: a function, an origin and what the request to it
// is made of, and the rules by which answers are stored. Routes of several
// revisions that are the same in all of it are one author.
type author struct {
	making string
	// life is in every answer. Another one makes all answers of the author unusable.
	life atomic.Uint64
}

// maxAuthors is how many authors of a store are known. Routes that come back after
// so many others do not use what they stored.
const maxAuthors = 4096

// What bounds what follows on a change.
const (
	// MaxRefills is how many fetches there are at once for what is stored and is
	// not to be used any more: after an undo, for all that the undone revision
	// made. Others wait, each with all who ask for the same.
	MaxRefills = 64
	// layerBatch is how many keys are moved or dropped at a time.
	layerBatch = 256
	// mergedLayers: of so many merged layers it is known where what is still on its way belongs.
	mergedLayers = 64
)

// overlays are the layers of a store, and who made what is in it.
type overlays struct {
	last   atomic.Uint32
	lives  atomic.Uint64
	refill chan struct{} // holds one for each fetch

	// Guarded by Store.mu.
	keys   map[uint32]map[Key]struct{} // of the open layers
	merged []uint32                    // the last ones

	mu      sync.Mutex // guards all below
	authors map[string]*author
	ring    []string
	next    int
}

// author finds or makes one.
func (o *overlays) author(making string) *author {
	if making == "" {
		return new(author) // life 0: nobody tells them apart
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	m := o.authors[making]
	if m != nil {
		return m
	}
	if o.authors == nil {
		o.authors = make(map[string]*author)
	}
	if len(o.ring) < maxAuthors {
		o.ring = append(o.ring, making)
	} else {
		delete(o.authors, o.ring[o.next])
		o.ring[o.next] = making
		o.next = (o.next + 1) % maxAuthors
	}
	m = &author{making: making}
	m.life.Store(o.lives.Add(1))
	o.authors[making] = m
	return m
}

// Condemn makes all answers that these makings brought unusable, without a
// fetch: an undo says so of what nothing that goes on has in common with what
// was undone.
func (s *Store) Condemn(makings []string) {
	o := &s.overlays
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, making := range makings {
		if m := o.authors[making]; m != nil {
			m.life.Store(o.lives.Add(1))
		}
	}
}

// provenance says in an answer who made it.
type provenance struct {
	life     uint64
	deployed bool
}

// provenance is that of the transport's answers.
func (t *Transport) provenance() provenance {
	return provenance{t.author.life.Load(), t.scope.Layer != nil}
}

// uses says whether the transport gives what another may have made. What came by
// a deployment stays with those whose rules are the same, so that an undo takes
// back what the undone revision made; the revisions of files use each other's, as
// a reload must not empty the cache.
func (t *Transport) uses(a *answer) bool {
	return t == nil || t.understands(a.from)
}

// and adds to good that the transport uses the answer.
func (t *Transport) and(good func(*answer) bool) func(*answer) bool {
	return func(a *answer) bool { return t.uses(a) && good(a) }
}

func (t *Transport) understands(from provenance) bool {
	return from.life == t.author.life.Load() || !from.deployed && t.scope.Layer == nil
}

// lookup finds what is stored for the inquiry: in the revision's own layer, and
// under it.
func (t *Transport) lookup(q *inquiry) found {
	look := t.store.lookup
	if q.looks {
		look = t.store.glance
	}
	f := look(&q.key, q.req.Header, t, q.views)
	if q.key.Overlay == 0 || f.answer != nil {
		return f
	}
	base := q.exact
	base.Overlay = 0
	base = t.store.searches.keyed(base)
	below := look(&base, q.req.Header, t, q.views)
	if below.answer == nil && f.known {
		below.known, below.latest = true, f.latest
	}
	below.refill, below.parts = below.refill || f.refill, f.parts
	return below
}

// Overlay gives a layer an overlay of its own, empty. One that it has is dropped.
func (s *Store) Overlay(l *Layer) {
	s.Drop(l)
	o := &overlay{s.overlays.last.Add(1)}
	s.mu.Lock()
	if s.overlays.keys == nil {
		s.overlays.keys = make(map[uint32]map[Key]struct{})
	}
	s.overlays.keys[o.id] = make(map[Key]struct{})
	s.mu.Unlock()
	l.now.Store(o)
}

// Drop forgets what is in the layer's overlay. What requests that still run
// bring for it is not stored.
func (s *Store) Drop(l *Layer) {
	id := l.id()
	for s.dropSome(id) {
	}
}

// dropSome says whether there is more.
func (s *Store) dropSome(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := s.overlays.keys[id]
	n := 0
	for k := range keys {
		if n++; n > layerBatch {
			return true
		}
		s.removeLocked(k)
		delete(keys, k)
	}
	delete(s.overlays.keys, id)
	return false
}

// Merge puts what is in the layer's overlay into the places of what is under it.
func (s *Store) Merge(l *Layer) {
	id := l.id()
	if id == 0 {
		return
	}
	for s.mergeSome(id) {
	}
	l.now.Store(nil)
}

// mergeSome says whether there is more.
func (s *Store) mergeSome(id uint32) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys, ok := s.overlays.keys[id]
	if !ok {
		return false // it was dropped
	}
	n := 0
	for k := range keys {
		if n++; n > layerBatch {
			return true
		}
		s.mergeLocked(k)
		delete(keys, k)
	}
	delete(s.overlays.keys, id)
	if s.overlays.merged = append(s.overlays.merged, id); len(s.overlays.merged) > mergedLayers {
		s.overlays.merged = slices.Delete(s.overlays.merged, 0, 1)
	}
	return false
}

// mergeLocked moves what is stored for a key under the layer's own. Parts of an
// answer are forgotten.
func (s *Store) mergeLocked(key Key) {
	to := key
	to.Overlay = 0
	var wholes []*entry
	for e := range s.ofKey(&key) {
		if e.part {
			s.dropLocked(e)
		} else {
			wholes = append(wholes, e)
		}
	}
	for _, e := range slices.Backward(wholes) {
		a, was := s.answerLocked(e), usesOf(e)
		s.dropLocked(e)
		s.insertLocked(&to, a, was, func(v *answer) bool { return slices.Equal(v.selectors, a.selectors) })
	}
}

// placeLocked is where an answer for the key is to be put. It is false where the
// layer was dropped meanwhile.
func (s *Store) placeLocked(key Key) (Key, bool) {
	if key.Overlay == 0 {
		return key, true
	}
	if _, open := s.overlays.keys[key.Overlay]; open {
		return key, true
	}
	merged := slices.Contains(s.overlays.merged, key.Overlay)
	key.Overlay = 0
	return key, merged
}

// enteredLocked notes that something is stored for the key.
func (s *Store) enteredLocked(key Key) {
	if key.Overlay != 0 {
		s.overlays.keys[key.Overlay][key] = struct{}{}
	}
}

// leftLocked notes that nothing is stored for the key any more.
func (s *Store) leftLocked(key Key) {
	if key.Overlay != 0 {
		delete(s.overlays.keys[key.Overlay], key)
	}
}

// layers are those in which something may be stored.
func (s *Store) layers() []uint32 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return slices.AppendSeq([]uint32{0}, maps.Keys(s.overlays.keys))
}

// turn waits until the flight may ask the origin. One for what is stored and may
// not be used any more waits until few others do so.
func (f *flight) turn(ctx context.Context) (done func(), err error) {
	if !f.refill {
		return func() {}, nil
	}
	slots := f.transport.store.overlays.refill
	select {
	case slots <- struct{}{}:
	default:
		f.transport.store.reached("refills")
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	return func() { <-slots }, nil
}
