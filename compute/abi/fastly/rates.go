package fastly

import (
	"sync"
	"time"
)

// Rates counts for edge rate limiting: rate counters and penalty boxes, which
// all requests of a service on this node share. Its zero value works. What is
// the longest unused goes first when there are too many.
type Rates struct {
	// Most is how many entries there may be, in all counters and boxes. Default 65,536.
	Most int

	mu       sync.Mutex
	counters map[rateKey]*rateCount // guarded by mu
	boxes    map[rateKey]time.Time  // guarded by mu: until when
}

// DefaultRates is how many entries [Rates] has if nobody says.
const DefaultRates = 65536

// rateKey is an entry of a counter or a box.
type rateKey struct{ name, entry string }

// rateSeconds is how long counts are kept.
const rateSeconds = 60

// rateCount is what was counted in each of the last seconds.
type rateCount struct {
	buckets [rateSeconds]uint32
	last    int64 // the second of the newest bucket
}

// forward empties the buckets of the seconds that passed without a count.
func (r *rateCount) forward(second int64) {
	for s := max(r.last+1, second-rateSeconds+1); s <= second; s++ {
		r.buckets[s%rateSeconds] = 0
	}
	r.last = max(r.last, second)
}

// sum is what was counted in the last n seconds, the running one among them.
func (r *rateCount) sum(second int64, n int64) uint64 {
	r.forward(second)
	var out uint64
	for i := range n {
		out += uint64(r.buckets[(r.last-i)%rateSeconds])
	}
	return out
}

func (r *Rates) most() int {
	if r.Most > 0 {
		return r.Most
	}
	return DefaultRates
}

// add counts.
func (r *Rates) add(k rateKey, delta uint32, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.counters == nil {
		r.counters = map[rateKey]*rateCount{}
	}
	count := r.counters[k]
	if count == nil {
		r.roomLocked(now)
		count = &rateCount{last: now.Unix()}
		r.counters[k] = count
	}
	count.forward(now.Unix())
	b := &count.buckets[count.last%rateSeconds]
	if sum := uint64(*b) + uint64(delta); sum <= 1<<32-1 {
		*b = uint32(sum)
	} else {
		*b = 1<<32 - 1
	}
}

// roomLocked makes room for one more: what no count of it could tell any more, else any.
func (r *Rates) roomLocked(now time.Time) {
	if len(r.counters)+len(r.boxes) < r.most() {
		return
	}
	for k, count := range r.counters {
		if now.Unix()-count.last >= rateSeconds {
			delete(r.counters, k)
		}
	}
	for k, until := range r.boxes {
		if !now.Before(until) {
			delete(r.boxes, k)
		}
	}
	for k := range r.counters {
		if len(r.counters)+len(r.boxes) < r.most() {
			return
		}
		delete(r.counters, k)
	}
	for k := range r.boxes {
		if len(r.boxes) < r.most() {
			return
		}
		delete(r.boxes, k)
	}
}

// count is what was counted in the last n seconds.
func (r *Rates) count(k rateKey, n int64, now time.Time) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if count := r.counters[k]; count != nil {
		return count.sum(now.Unix(), n)
	}
	return 0
}

// box puts an entry into a penalty box.
func (r *Rates) box(k rateKey, ttl time.Duration, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.boxes == nil {
		r.boxes = map[rateKey]time.Time{}
	}
	if _, ok := r.boxes[k]; !ok {
		r.roomLocked(now)
	}
	r.boxes[k] = now.Add(ttl)
}

// boxed says whether an entry is in a penalty box.
func (r *Rates) boxed(k rateKey, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	until, ok := r.boxes[k]
	return ok && now.Before(until)
}

// The bounds of a penalty, in seconds.
const (
	minPenalty = 60
	maxPenalty = 3600
)

// validWindow says whether a rate may be asked for so many seconds.
func validWindow(n uint32) bool { return n == 1 || n == 10 || n == 60 }

// onRate is a function of a counter or box in parameters 0 and 1 and an entry in 2 and 3.
func onRate(do func(c *call, r *Rates, k rateKey) Status) func(*call) Status {
	return func(c *call) Status {
		r := c.x.abi.options.Rates
		if r == nil {
			return Unsupported
		}
		k := rateKey{c.short(0, 2*maxKey), c.short(2, 2*maxKey)}
		if c.bad || k.name == "" || k.entry == "" || len(k.name)+len(k.entry) > 2*maxKey {
			return Invalid
		}
		return do(c, r, k)
	}
}

func rateIncrement(c *call, r *Rates, k rateKey) Status {
	r.add(k, c.u32(4), time.Now())
	return OK
}

func rateLookup(c *call, r *Rates, k rateKey) Status {
	window := c.u32(4)
	if !validWindow(window) {
		return Invalid
	}
	c.put32(5, uint32(min(r.count(k, int64(window), time.Now())/uint64(window), 1<<32-1)))
	return OK
}

func rateCountLookup(c *call, r *Rates, k rateKey) Status {
	duration := c.u32(4)
	if duration < 10 || duration > 60 || duration%10 != 0 {
		return Invalid
	}
	c.put32(5, uint32(min(r.count(k, int64(duration), time.Now()), 1<<32-1)))
	return OK
}

func boxAdd(c *call, r *Rates, k rateKey) Status {
	ttl := c.u32(4)
	if ttl < minPenalty || ttl > maxPenalty {
		return Invalid
	}
	r.box(k, seconds(ttl/60*60), time.Now()) // whole minutes, as there
	return OK
}

func boxHas(c *call, r *Rates, k rateKey) Status {
	c.putBool(4, r.boxed(k, time.Now()))
	return OK
}

// checkRate counts, and puts whoever is over the limit into a penalty box. The
// parameters from 4 on: delta, window, limit, box (2), ttl, and where the verdict is to be put.
func checkRate(c *call, r *Rates, k rateKey) Status {
	delta, window, limit, ttl := c.u32(4), c.u32(5), c.u32(6), c.u32(9)
	box := rateKey{c.short(7, maxKey), k.entry}
	c.at(c.u32(10), 4)
	if c.bad || !validWindow(window) || ttl < minPenalty || ttl > maxPenalty || box.name == "" || len(box.name) > maxKey {
		return Invalid
	}
	now := time.Now()
	r.add(k, delta, now)
	blocked := r.boxed(box, now)
	if r.count(k, int64(window), now)/uint64(window) > uint64(limit) {
		r.box(box, seconds(ttl/60*60), now)
		blocked = true
	}
	c.putBool(10, blocked)
	return OK
}
