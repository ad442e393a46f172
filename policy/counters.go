package policy

import (
	"hash/maphash"
	"runtime"
	"sync"
	"sync/atomic"
	"weak"

	"github.com/selvage-edge/selvage"
)

// Limits holds the counters of all limits. They outlive revisions: a limit of
// the same tenant, service, route and kind of key is the same limit, also when
// its rate was changed, so that neither a reload nor a canary doubles it. The
// counters of a limit that no revision has any more go with the last one. The
// zero value is ready for use.
type Limits struct {
	// Keys is how many clients or header values one limit tells apart, 65536 if it is 0.
	// A key takes 16 bytes, in steps of 2 KiB as they are needed.
	//
	// Beyond that a new key takes over the place and the used-up allowance of
	// the one that has used least, as in the Space-Saving algorithm (Metwally,
	// Agrawal and El Abbadi 2005). So no key ever gets back more than it had:
	// a flood of keys can make a limit stricter for others, but resets nobody's.
	Keys int
	// OnLimit, if set, is called with "rate_keys" when that happened.
	OnLimit func(limit string)

	mu   sync.Mutex                         // guards byID
	byID map[limitID]weak.Pointer[counters] // weak: the chains that use them own them
}

// limitID is the identity of a limit.
type limitID struct {
	tenant  selvage.Tenant
	service selvage.ServiceName
	route   string
	per     selvage.LimitKey
}

// acquire finds the counters of a limit, or makes them.
func (l *Limits) acquire(id limitID) *counters {
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.byID[id].Value(); c != nil {
		return c
	}
	keys := l.Keys
	if keys <= 0 {
		keys = 1 << 16
	}
	c := &counters{seed: maphash.MakeSeed(), onFull: l.OnLimit}
	if id.per != selvage.PerRoute {
		c.pages = make([]atomic.Pointer[page], max(1, keys/(ways*setsPerPage)))
	}
	if l.byID == nil {
		l.byID = map[limitID]weak.Pointer[counters]{}
	}
	l.byID[id] = weak.Make(c)
	runtime.AddCleanup(c, l.forget, id)
	return c
}

// forget removes an entry whose counters are gone, unless there are new ones.
func (l *Limits) forget(id limitID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byID[id].Value() == nil {
		delete(l.byID, id)
	}
}

// A set is where a key may stand, two cache lines; a page is what is allocated at once.
const (
	ways        = 8
	setsPerPage = 16
)

// counters are the moments of one limit by key: a set-associative table in
// which a key is found without a lock. Keys are their hashes under a secret
// seed; that two of 65536 share one is as likely as 1 in 2³².
type counters struct {
	seed   maphash.Seed
	one    atomic.Int64 // of a limit per route
	pages  []atomic.Pointer[page]
	onFull func(limit string)
}

type page struct {
	mu   sync.Mutex // held while a key comes in; keys change under it only
	sets [setsPerPage]set
}

type set struct {
	keys    [ways]atomic.Uint64 // 0: free
	moments [ways]atomic.Int64
}

// moment is the moment of a key.
func (c *counters) moment(key uint64, now int64) *atomic.Int64 {
	key = max(key, 1)
	p := c.page(int(key >> 32 % uint64(len(c.pages))))
	s := &p.sets[key%setsPerPage]
	for i := range s.keys {
		if s.keys[i].Load() == key {
			return &s.moments[i]
		}
	}
	m, full := p.add(s, key, now)
	if full && c.onFull != nil {
		c.onFull("rate_keys")
	}
	return m
}

func (c *counters) page(i int) *page {
	if p := c.pages[i].Load(); p != nil {
		return p
	}
	c.pages[i].CompareAndSwap(nil, new(page))
	return c.pages[i].Load()
}

// add gives key the place of the key with the least moment, which it keeps.
// full says that this moment was still ahead. A request of the old key that
// has its place already in hand then counts for the new one: too strict, never too lax.
func (p *page) add(s *set, key uint64, now int64) (m *atomic.Int64, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	least := 0
	for i := range s.keys {
		if s.keys[i].Load() == key {
			return &s.moments[i], false
		}
		if s.moments[i].Load() < s.moments[least].Load() {
			least = i
		}
	}
	full = s.keys[least].Load() != 0 && s.moments[least].Load() > now
	s.keys[least].Store(key)
	return &s.moments[least], full
}
