package fastly

import (
	"container/list"
	"slices"
	"strings"
	"sync"
	"time"
)

// Objects is where the caches of guests keep what they store: in memory,
// bounded, the longest unused going first. It collapses: of several guests that
// miss the same object, one is obliged to bring it and the others wait. All
// functions of a service share one. Its zero value works, and it is safe for
// concurrent use.
//
// A purge marks what is there, and is remembered: an object whose bringing
// began before a purge that matches it is not stored.
type Objects struct {
	// Bytes is what all objects may take. Default [DefaultObjectBytes].
	Bytes int64
	// ObjectBytes is what one may take. Default [DefaultObject].
	ObjectBytes int64
	// OnLimit is told of what was not stored, or had to go. May be nil.
	OnLimit func(limit string)

	mu      sync.Mutex
	records map[string]*record              // guarded by mu
	tags    map[string]map[*object]struct{} // guarded by mu
	recent  list.List                       // guarded by mu: *object, the last used first
	used    int64                           // guarded by mu
	loose   int64                           // guarded by mu: of what is being written and not, or no longer, stored
	purges  []purge                         // guarded by mu: the last ones, in order
	purged  uint64                          // guarded by mu: how many purges there were
	floor   uint64                          // guarded by mu: purges up to here are forgotten, and match everything
}

// The defaults of [Objects].
const (
	DefaultObjectBytes = 256 << 20
	DefaultObject      = 64 << 20
)

// The limits that [Objects.OnLimit] is told of.
const (
	LimitObjects = "function_cache_bytes"
	LimitObject  = "function_cache_object_bytes"
)

const (
	// maxPurges is how many purges are remembered one by one.
	maxPurges = 4096
	// maxVariants is how many variants a key may have.
	maxVariants = 32
	// objectOverhead is what an object takes beside its bytes.
	objectOverhead = 512
)

// purge is one purge of a key; an empty key is all.
type purge struct {
	at  uint64
	key string
}

// record is what there is for one key.
type record struct {
	variants []*object          // the newest first
	flights  map[string]*flight // by the variant that is being brought
}

// flight is an object that somebody is obliged to bring.
type flight struct {
	done   chan struct{} // closed when the rest is set
	result *object       // nil: it was given up, or must not be shared
	stale  bool          // the result is the old one, because bringing failed
	pass   bool          // nobody needs to wait: the answers are not cacheable
	began  uint64        // how many purges there had been
}

// meta is what is known of an object beside its content.
type meta struct {
	maxAge, initialAge, edgeMaxAge     time.Duration
	staleWhileRevalidate, staleIfError time.Duration
	vary, keys                         []string
	length                             int64 // negative: nobody said
	user                               []byte
	sensitive                          bool
	head                               *response // of the HTTP cache
	pass                               bool      // a note that answers are not cacheable
}

func (m *meta) size() int64 {
	n := len(m.user) + objectOverhead
	if m.head != nil {
		n += m.head.header.size + len(m.head.header.fields)*textOverhead
	}
	for _, list := range [][]string{m.keys, m.vary} {
		for _, k := range list {
			n += len(k) + textOverhead
		}
	}
	return int64(n)
}

// size is what the object takes beside its content.
func (o *object) size() int64 { return o.meta.size() + int64(len(o.key)+len(o.variant)) }

// object is one stored thing.
type object struct {
	meta
	key     string
	variant string // what the request's fields were that it varies by
	since   time.Time
	content *content

	place *list.Element // guarded by Objects.mu; nil: not stored any more
	soft  time.Time     // guarded by Objects.mu: of a soft purge; zero: none
	hits  uint64        // guarded by Objects.mu
}

// freshness is what an object is good for.
type freshness struct {
	age                    time.Duration
	fresh, usable, ifError bool
}

// freshnessLocked looks at an object. A soft purge makes it stale from then on. One of the
// core cache can be used all the same for as long as it would have been fresh, as on Fastly;
// an answer only as long as its directives let it.
func (o *object) freshnessLocked(now time.Time) freshness {
	f := freshness{age: o.initialAge + now.Sub(o.since)}
	stale := f.age - o.maxAge
	within := stale < 0 && o.head == nil
	if !o.soft.IsZero() {
		stale = max(stale, now.Sub(o.soft))
	}
	f.fresh = stale < 0
	f.usable = f.fresh || within || stale < o.staleWhileRevalidate
	f.ifError = f.usable || stale < o.staleIfError
	return f
}

// variantOf is what a request's fields say to a list of names.
func variantOf(vary []string, request *header) string {
	if len(vary) == 0 {
		return ""
	}
	var b strings.Builder
	for _, name := range vary {
		b.WriteString(name + "\x00" + strings.Join(request.values(name), "\x01") + "\x00")
	}
	return b.String()
}

// findLocked is the newest object that fits a request, and the variant that the request is of.
func (s *Objects) findLocked(key string, request *header) (o *object, variant string) {
	r := s.records[key]
	if r == nil || len(r.variants) == 0 {
		return nil, ""
	}
	for _, o := range r.variants {
		if o.variant == variantOf(o.vary, request) {
			return o, o.variant
		}
	}
	return nil, variantOf(r.variants[0].vary, request)
}

// usedLocked notes that an object was used.
func (s *Objects) usedLocked(o *object) {
	if o.place != nil {
		s.recent.MoveToFront(o.place)
		o.hits++
	}
}

// recordLocked is the record of a key, which is made if need be.
func (s *Objects) recordLocked(key string) *record {
	if s.records == nil {
		s.records = map[string]*record{}
	}
	r := s.records[key]
	if r == nil {
		r = &record{flights: map[string]*flight{}}
		s.records[key] = r
	}
	return r
}

// tidyLocked forgets a record that has nothing.
func (s *Objects) tidyLocked(key string) {
	if r := s.records[key]; r != nil && len(r.variants) == 0 && len(r.flights) == 0 {
		delete(s.records, key)
	}
}

// storeLocked stores an object in the place of the one of its variant.
func (s *Objects) storeLocked(o *object) {
	r := s.recordLocked(o.key)
	for _, old := range slices.Clone(r.variants) {
		if old.variant == o.variant {
			s.removeLocked(old)
		}
	}
	r = s.recordLocked(o.key)
	if len(r.variants) >= maxVariants {
		s.removeLocked(r.variants[len(r.variants)-1])
	}
	r.variants = append([]*object{o}, r.variants...)
	o.place = s.recent.PushFront(o)
	if s.tags == nil {
		s.tags = map[string]map[*object]struct{}{}
	}
	for _, k := range o.keys {
		if s.tags[k] == nil {
			s.tags[k] = map[*object]struct{}{}
		}
		s.tags[k][o] = struct{}{}
	}
	s.growLocked(o, o.size()+o.content.attach(o))
}

// removeLocked forgets an object. Whoever reads it reads on.
func (s *Objects) removeLocked(o *object) {
	if o.place == nil {
		return
	}
	s.recent.Remove(o.place)
	o.place = nil
	s.used -= o.size() + o.content.detach(o)
	for _, k := range o.keys {
		delete(s.tags[k], o)
		if len(s.tags[k]) == 0 {
			delete(s.tags, k)
		}
	}
	if r := s.records[o.key]; r != nil {
		r.variants = slices.DeleteFunc(r.variants, func(v *object) bool { return v == o })
	}
	s.tidyLocked(o.key)
	o.content.orphanLocked()
}

// growLocked counts bytes of an object, and makes room for them.
func (s *Objects) growLocked(o *object, n int64) {
	s.used += n
	most := s.Bytes
	if most <= 0 {
		most = DefaultObjectBytes
	}
	for s.used > most {
		last := s.recent.Back()
		if last == nil {
			return
		}
		s.limit(LimitObjects)
		s.removeLocked(last.Value.(*object))
		if last.Value == any(o) {
			return
		}
	}
}

func (s *Objects) limit(name string) {
	if s.OnLimit != nil {
		s.OnLimit(name)
	}
}

// Purge makes what carries a key unusable, or stale if the purge is soft. It
// says how many objects it found.
func (s *Objects) Purge(key string, soft bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	found := s.tags[key]
	n := len(found)
	for o := range found {
		s.endLocked(o, soft)
	}
	if !soft {
		s.rememberLocked(key)
	}
	return n
}

// endLocked makes an object unusable, or stale if the purge is soft.
func (s *Objects) endLocked(o *object, soft bool) {
	if soft {
		o.soft = time.Now()
	} else {
		s.removeLocked(o)
	}
}

// PurgeURL makes unusable, or stale, what the HTTP cache has of a URL under the key
// that is suggested for it.
func (s *Objects) PurgeURL(uri string, soft bool) {
	key := httpPlace(httpKey(uri))
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := s.records[key]; r != nil {
		for _, o := range slices.Clone(r.variants) {
			s.endLocked(o, soft)
		}
	}
	if !soft {
		s.rememberLocked(key)
	}
}

// PurgeAll makes everything unusable, or stale if the purge is soft.
func (s *Objects) PurgeAll(soft bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := s.recent.Front(); e != nil; {
		next := e.Next()
		s.endLocked(e.Value.(*object), soft)
		e = next
	}
	if !soft {
		s.purged++
		s.purges, s.floor = nil, s.purged
	}
}

// rememberLocked remembers a purge for what is on its way.
func (s *Objects) rememberLocked(key string) {
	s.purged++
	s.purges = append(s.purges, purge{s.purged, key})
	if len(s.purges) > maxPurges {
		s.floor = s.purges[0].at
		s.purges = slices.Clone(s.purges[1:])
	}
}

// purgedSinceLocked says whether a purge since then matches an object. Places have
// a byte in them that no key of a guest's has.
func (s *Objects) purgedSinceLocked(began uint64, o *object) bool {
	if began < s.floor {
		return true // it may, and nobody remembers
	}
	for i := len(s.purges) - 1; i >= 0 && s.purges[i].at > began; i-- {
		if key := s.purges[i].key; key == o.key || slices.Contains(o.keys, key) {
			return true
		}
	}
	return false
}

// most is how large an object may get.
func (s *Objects) most() int64 {
	if s.ObjectBytes > 0 {
		return s.ObjectBytes
	}
	return DefaultObject
}
