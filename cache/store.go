package cache

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/selvage-edge/selvage"
)

// What bounds the store besides its bytes.
const (
	// MaxVariants is how many answers are stored for one URL. Beyond it the oldest goes.
	MaxVariants = 32
	// largestShare: one body takes at most this part of the store.
	largestShare = 4
	// receivingShare: bodies that are being received take at most this part.
	receivingShare = 2
	// bytesPerCount: so many bytes of the store give the sketch of what was asked for one place.
	bytesPerCount = 512
)

// Store keeps answers in memory, within a bound in bytes that counts what Go
// needs around them. One store serves all services of a node and outlives
// revisions. It is safe for concurrent use.
type Store struct {
	// OnLimit is told the name of a limit that was reached: memory, max_body,
	// variants, parts, refreshes, forms, key_rules. Set it before the store is used; it may be nil and must not block.
	OnLimit func(limit string)

	limit    int64
	flights  flights
	purges   purges
	searches searches
	overlays overlays
	rules    ruleBook
	hits     atomic.Int64
	sending  atomic.Int64 // bytes of bodies that are read and not stored any more

	mu        sync.RWMutex // guards all below
	objects   table
	queries   map[Key]map[Key]struct{} // the keys for one URL that have more
	queues    queues
	used      int64 // by entries
	reserved  int64 // by bodies that are being received
	count     int
	evictions int64
}

// entry is the place of an answer in the store.
type entry struct {
	object       *object // where it is listed, or was last
	answer       *answer
	checked      atomic.Uint64 // position up to which no purge concerns the answer
	size         int64
	frequency    atomic.Uint32
	asked        atomic.Uint32 // how often since its answer came
	queue        *queue
	newer, older *entry
}

// Stats are the numbers of a store at one moment.
type Stats struct {
	Objects   int   // stored answers
	Bytes     int64 // with all that is counted around them
	Receiving int64 // bytes reserved for bodies that are being received
	Sending   int64 // bytes of answers that are being sent and are not stored any more
	Flights   int   // forwards that are under way, or whose bodies are
	Hits      int64 // answers given without asking an origin
	Evictions int64 // answers that had to go to keep the bound
	// Fetches in the background for stale answers: those under way, those that
	// brought an answer, and those that brought none or a failure.
	Refreshing                 int
	Refreshed, RefreshFailures int64
}

// NewStore returns an empty store that takes at most limit bytes of memory. It
// starts nothing. [Store.Close] ends what requests have started.
func NewStore(limit selvage.ByteSize) *Store {
	asked := newSketch(int(min(int64(limit)/bytesPerCount, 1<<24)))
	s := &Store{
		limit:    max(0, int64(limit)-int64(len(asked.counts))),
		objects:  newTable(),
		flights:  newFlights(),
		overlays: overlays{refill: make(chan struct{}, MaxRefills)},
	}
	s.queues.smallShare = s.limit / 10
	s.queues.mainShare = s.limit - s.queues.smallShare
	s.queues.asked = asked
	return s
}

// Stats returns the store's numbers.
func (s *Store) Stats() Stats {
	var stats Stats
	s.flights.stats(&stats)
	s.mu.RLock()
	defer s.mu.RUnlock()
	stats.Objects, stats.Bytes, stats.Receiving = s.count, s.used, s.reserved
	stats.Sending = s.sending.Load()
	stats.Hits, stats.Evictions = s.hits.Load(), s.evictions
	return stats
}

// Close cuts off the fetches that are under way, also those that answers are
// being read from, and waits for their end. After it nothing is fetched for the
// store any more: requests go past it.
func (s *Store) Close() { s.flights.close() }

func (s *Store) reached(limit string) {
	if s.OnLimit != nil {
		s.OnLimit(limit)
	}
}

// found is what the store has for a request.
type found struct {
	answer *answer    // nil if none is selected by the request's fields
	known  bool       // there is something for the key
	latest []selector // what the newest answer for the key was selected by
	parts  bool       // there are parts for the key
	others []*answer  // those with entity tags that other fields select, where none is selected
	purged bool       // there was something, and it was purged
	refill bool       // there was something that a revision made whose answers are not used
}

// why is the word for what was not used, if it needs one.
func (f *found) why() string {
	if f.purged && f.answer == nil {
		return detailPurged
	}
	return ""
}

// glance is lookup for who only looks: no use is counted, and what was purged
// softly is made stale for him alone.
func (s *Store) glance(key *Key, request http.Header, t *Transport) found {
	f, _ := s.find(key, request, t, true)
	return f
}

// lookup finds the newest answer for the key that the request's fields select
// (RFC 9111, section 4.1),
// of those that the transport uses, if there is one.
func (s *Store) lookup(key *Key, request http.Header, t *Transport) found {
	for {
		f, soft := s.find(key, request, t, false)
		if !soft {
			return f
		}
		s.soften(key)
	}
}

// find is lookup, or, for one who only looks, glance. With soft something for the
// key was purged softly and must be made stale first.
func (s *Store) find(key *Key, request http.Header, t *Transport, looks bool) (f found, soft bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.objects.find(key)
	if o == nil {
		return found{}, false
	}
	f.parts = len(o.parts) > 0
	for _, e := range o.variants {
		switch e.look(key) {
		case softPurged:
			soft = true
		case hardPurged:
			f.purged = true
			continue // it stays until another takes its place, or its turn comes
		case groupEnded:
			continue
		}
		if !t.uses(e.answer) {
			f.refill = true
			continue // nor is this
		}
		if !f.known {
			f.known, f.latest = true, e.answer.selectors
		}
		if selected(e.answer.selectors, request) {
			f.answer, f.others = e.answer, nil
			if looks {
				f.answer = e.seen(key)
			} else {
				e.used()
			}
			return f, soft
		}
		if e.answer.status == http.StatusOK && len(e.answer.header["Etag"]) == 1 && !e.answer.isPart() {
			f.others = append(f.others, e.answer)
		}
	}
	return f, soft
}

// put stores an answer with its whole body. It takes the place of all that the
// request which it answers would have been given. reserved is given back.
func (s *Store) put(key Key, request http.Header, a *answer, reserved int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= reserved
	key, ok := s.placeLocked(key)
	switch {
	case !ok:
		s.moveFormsLocked(a.forms, nil)
	case a.isPart():
		s.putPartLocked(key, request, a)
	default:
		s.putWholeLocked(key, request, a)
	}
	s.makeRoomLocked()
}

func (s *Store) putWholeLocked(key Key, request http.Header, a *answer) {
	e := new(entry)
	e.holds(a)
	s.insertLocked(&key, e, false, func(v *answer) bool { return selected(v.selectors, request) })
}

// insertLocked puts an entry into its place, and takes out what it replaces.
// proven says that it has been in the main queue.
func (s *Store) insertLocked(key *Key, e *entry, proven bool, replaces func(*answer) bool) {
	if o := s.objects.find(key); o != nil {
		for _, v := range slices.Concat(o.variants, o.parts) {
			if replaces(v.answer) {
				proven = proven || v.queue == &s.queues.main
				e.frequency.Store(max(e.frequency.Load(), v.frequency.Load()))
				s.dropLocked(v)
			}
		}
	}
	o := s.addLocked(key, e, proven)
	if o == nil {
		return
	}
	o.variants = slices.Insert(o.variants, 0, e)
	if len(o.variants) > MaxVariants {
		s.dropLocked(o.variants[MaxVariants])
		s.reached("variants")
	}
}

// addLocked finds a new entry its queue and its object, in whose lists it must be
// put. It is nil for what is larger than the store.
func (s *Store) addLocked(key *Key, e *entry, proven bool) *object {
	if e.size = e.answer.size(*key); e.size > s.limit {
		s.moveFormsLocked(e.answer.forms, nil)
		return nil
	}
	s.moveFormsLocked(e.answer.forms, e)
	o := s.objects.find(key)
	if o == nil {
		o = s.objects.add(*key)
		s.addQueryLocked(o.key)
		s.enteredLocked(o.key)
	}
	e.object = o
	e.answer.body.keptBy(&s.sending)
	s.queues.add(e, proven)
	s.used += e.size
	s.count++
	return o
}

// reserve takes n bytes for a body that is being received. It is refused when
// too much of the store would be taken so.
func (s *Store) reserve(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserved+n > s.limit/receivingShare {
		return false
	}
	s.reserved += n
	s.makeRoomLocked()
	if s.takenLocked() > s.limit { // by what is being sent
		s.reserved -= n
		return false
	}
	return true
}

// release gives back what was reserved for a body that is not stored.
func (s *Store) release(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reserved -= n
}

// removeAll forgets all that is stored for a URL.
func (s *Store) removeAll(url Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(url)
	for k := range s.queries[url] {
		s.removeLocked(k)
	}
}

func (s *Store) removeLocked(key Key) {
	if o := s.objects.find(&key); o != nil {
		for _, e := range slices.Concat(o.variants, o.parts) {
			s.dropLocked(e)
		}
	}
}

// replace puts an answer of the same body into the place of another, if that is still there.
func (s *Store) replace(key Key, old, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	size := a.size(key)
	o := s.objects.find(&key)
	if o == nil {
		return
	}
	for _, e := range o.variants {
		if e.answer == old {
			more := size - e.size
			e.holds(a)
			e.size = size
			e.queue.bytes += more
			s.used += more
			s.makeRoomLocked()
			return
		}
	}
}

// remove forgets one answer.
func (s *Store) remove(key Key, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if o := s.objects.find(&key); o != nil {
		if i := slices.IndexFunc(o.variants, func(e *entry) bool { return e.answer == a }); i >= 0 {
			s.dropLocked(o.variants[i])
		}
	}
}

// takenLocked is what counts towards the bound.
func (s *Store) takenLocked() int64 { return s.used + s.reserved + s.sending.Load() }

// makeRoomLocked evicts until the bound holds.
func (s *Store) makeRoomLocked() {
	for s.takenLocked() > s.limit {
		e := s.queues.victim()
		if e == nil {
			return
		}
		s.queues.asked.count(e.object.hash, e.frequency.Load())
		s.dropLocked(e)
		s.evictions++
	}
}

// dropLocked takes an entry out of the table and its queue.
func (s *Store) dropLocked(e *entry) {
	if e.queue == nil {
		return
	}
	e.queue.remove(e)
	s.moveFormsLocked(e.answer.forms, nil)
	e.answer.body.left(&s.sending)
	s.used -= e.size
	s.count--
	o := e.object
	list := &o.variants
	if e.answer.isPart() {
		list = &o.parts
	}
	*list = slices.DeleteFunc(*list, func(v *entry) bool { return v == e })
	if len(o.variants)+len(o.parts) == 0 {
		s.objects.drop(o)
		s.removeQueryLocked(o.key)
		s.leftLocked(o.key)
	}
}
