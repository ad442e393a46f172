package cache

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

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
	// variants, parts, refreshes, forms, ahead, key_rules. Set it before the store is used; it may be nil and must not block.
	OnLimit func(limit string)

	limit    int64
	epoch    time.Time // what times are packed by
	flights  flights
	purges   purges
	searches searches
	overlays overlays
	rules    ruleBook
	hits     atomic.Int64
	sending  atomic.Int64 // bytes of bodies that are read and not stored any more

	mu        sync.RWMutex // guards all below
	objects   table
	slabs     *slabs
	packing   []byte                   // the record that is being made
	serials   uint64                   // the last that was given
	queries   map[Key]map[Key]struct{} // the keys for one URL that have more
	queues    queues
	used      int64 // by entries
	reserved  int64 // by bodies that are being received
	count     int
	evictions int64
}

// Stats are the numbers of a store at one moment.
type Stats struct {
	Objects   int   // stored answers
	Bytes     int64 // with all that is counted around them
	Slack     int64 // bytes of memory that is held for packed answers and has none in it; within the bound, too
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
		epoch:    time.Now(),
		objects:  newTable(),
		flights:  newFlights(),
		overlays: overlays{refill: make(chan struct{}, MaxRefills)},
	}
	s.slabs = newSlabs(s.limit)
	s.queues.entries = &s.objects
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
	stats.Slack, stats.Sending = s.slabs.slack(), s.sending.Load()
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
	copied bool       // the answer is one in the request's views
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
func (s *Store) glance(key *Key, request http.Header, t *Transport, from *views) found {
	f, _ := s.find(key, request, t, sight{views: from, only: true})
	return f
}

// lookup finds the newest answer for the key that the request's fields select
// (RFC 9111, section 4.1),
// of those that the transport uses, if there is one. Packed ones are copied into
// the views, which may be nil.
func (s *Store) lookup(key *Key, request http.Header, t *Transport, from *views) found {
	for {
		f, soft := s.find(key, request, t, sight{views: from})
		if !soft {
			return f
		}
		s.soften(key)
	}
}

// sight is how something is looked at.
type sight struct {
	views *views
	only  bool // see glance
}

// find is lookup, or, for one who only looks, glance. With soft something for the
// key was purged softly and must be made stale first.
func (s *Store) find(key *Key, request http.Header, t *Transport, look sight) (f found, soft bool) {
	var l *ledger
	if t != nil {
		l = t.ledger
	}
	hash := s.objects.hash(key)
	s.mu.RLock()
	defer s.mu.RUnlock()
	for e := s.objects.first(hash); e != nil; e = s.objects.at(e.next) {
		if e.part {
			f.parts = f.parts || s.isOf(e, key)
			continue
		}
		if f.answer != nil {
			continue // only whether there are parts is still to be known
		}
		a, v := s.seeLocked(e, key, l, look.views)
		if a == nil {
			continue
		}
		switch e.look(key, a) {
		case softPurged:
			soft = true
		case hardPurged:
			f.purged = true
			continue // it stays until another takes its place, or its turn comes
		case groupEnded:
			continue
		}
		if !t.uses(a) {
			f.refill = true
			continue // nor is this
		}
		if !f.known {
			f.known, f.latest = true, a.selectors
		}
		if selected(a.selectors, request) {
			if q := look.views.lying(); q != nil && !t.takes(q, a) {
				return found{}, soft
			}
			if v != nil {
				v.readBody(s, e)
			}
			f.answer, f.others, f.copied = a, nil, v != nil
			if !look.only {
				e.used()
				return f, soft
			}
			f.answer = a.seen(key)
			continue
		}
		if a.status == http.StatusOK && len(a.header["Etag"]) == 1 && !a.isPart() {
			if v != nil {
				v.readBody(s, e)
			}
			f.others = append(f.others, a)
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
	s.insertLocked(&key, a, uses{}, func(v *answer) bool { return selected(v.selectors, request) })
}

// uses is how what an entry holds was asked for.
type uses struct {
	proven           bool // it has been in the main queue
	frequency, asked uint32
}

// usesOf are those of an entry.
func usesOf(e *entry) uses {
	return uses{e.queue == mainQueue, e.frequency.Load(), e.asked.Load()}
}

// insertLocked puts an answer into its place, and takes out what it replaces.
func (s *Store) insertLocked(key *Key, a *answer, was uses, replaces func(*answer) bool) {
	for e := range s.ofKey(key) {
		if replaces(s.answerLocked(e)) {
			old := usesOf(e)
			was.proven = was.proven || old.proven
			was.frequency = max(was.frequency, old.frequency)
			s.dropLocked(e)
		}
	}
	if s.addLocked(key, a, was) {
		s.boundLocked(key, false, MaxVariants, "variants")
	}
}

// boundLocked drops the oldest of a key's entries, the parts or the others, where there are too many.
func (s *Store) boundLocked(key *Key, parts bool, most int, limit string) {
	n := 0
	for e := range s.ofKey(key) {
		if e.part != parts {
			continue
		}
		if n++; n > most {
			s.dropLocked(e)
			s.reached(limit)
			return
		}
	}
}

// addLocked gives an answer an entry of its own. It is false for what is larger than the store.
func (s *Store) addLocked(key *Key, a *answer, was uses) bool {
	if key.hasMore() {
		own := key.clone()
		s.addQueryLocked(own)
		s.enteredLocked(own)
	}
	e := s.objects.add(s.objects.hash(key))
	e.further = key.hasMore()
	e.frequency.Store(was.frequency)
	e.asked.Store(was.asked)
	s.holdLocked(e, key, a)
	s.queues.add(e, was.proven)
	s.count++
	if e.size > s.limit {
		s.dropLocked(e)
		return false
	}
	return true
}

// reserve takes n bytes for a body that is being received. It is refused when
// too much of the store would be taken so.
func (s *Store) reserve(n int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reserveLocked(n)
}

func (s *Store) reserveLocked(n int64) bool {
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
	for e := range s.ofKey(&key) {
		s.dropLocked(e)
	}
}

// replace puts an answer of the same body into the place of another, if that is still there.
func (s *Store) replace(key Key, old, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.ofKey(&key) {
		if !e.part && s.holdsLocked(e, old) {
			s.letGoLocked(e)
			s.holdLocked(e, &key, a)
			s.makeRoomLocked()
			return
		}
	}
}

// remove forgets one answer.
func (s *Store) remove(key Key, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.ofKey(&key) {
		if !e.part && s.holdsLocked(e, a) {
			s.dropLocked(e)
			return
		}
	}
}

// takenLocked is what counts towards the bound.
func (s *Store) takenLocked() int64 {
	return s.used + s.slabs.slack() + s.reserved + s.sending.Load()
}

// makeRoomLocked brings packed answers together and evicts until the bound holds.
func (s *Store) makeRoomLocked() {
	for {
		taken := s.takenLocked()
		if taken <= s.limit {
			return
		}
		if s.slabs.sparse() && s.slabs.compact(&s.objects) {
			continue
		}
		s.queues.share(s.limit - (taken - s.used))
		e := s.queues.victim()
		if e == nil {
			return
		}
		s.queues.asked.count(e.hash, e.frequency.Load())
		s.dropLocked(e)
		s.evictions++
	}
}

// dropLocked takes an entry out of the table and its queue.
func (s *Store) dropLocked(e *entry) {
	if e.queue == noQueue {
		return
	}
	var key Key
	further := e.further
	if further {
		key = s.keyLocked(e)
	}
	s.queues.remove(e)
	s.used -= e.size
	s.count--
	s.letGoLocked(e)
	s.objects.drop(e)
	if !further {
		return
	}
	for range s.ofKey(&key) {
		return // others are there
	}
	s.removeQueryLocked(key)
	s.leftLocked(key)
}
