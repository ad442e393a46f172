package cache

// Eviction is S3-FIFO (Yang et al., "FIFO queues are all you need for cache
// eviction", SOSP 2023): what is new waits in a small queue and leaves by it
// unless it is asked for again meanwhile; what is asked for again stays in the main
// queue until nobody does; what left the small queue is remembered for a while by
// its hash alone, and goes to the main queue when it comes back. A scan of
// things that are asked for once passes through a tenth of the memory.

// maxFrequency is how far uses are counted.
const maxFrequency = 3

// queue is a list of entries in the order in which they came, with their bytes.
type queue struct {
	newest, oldest *entry
	bytes          int64
}

func (q *queue) push(e *entry) {
	e.queue, e.older, e.newer = q, q.newest, nil
	if q.newest != nil {
		q.newest.newer = e
	} else {
		q.oldest = e
	}
	q.newest = e
	q.bytes += e.size
}

func (q *queue) remove(e *entry) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		q.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		q.oldest = e.newer
	}
	e.queue, e.older, e.newer = nil, nil, nil
	q.bytes -= e.size
}

// queues orders the entries for eviction.
type queues struct {
	small, main queue
	smallShare  int64 // bytes beyond which the small queue gives first
	ghosts      ghosts
}

// add puts a new entry into its queue. proven says that what it replaces was in the main one.
func (q *queues) add(e *entry, hash uint64, proven bool) {
	if q.ghosts.forget(hash) || proven {
		q.main.push(e)
	} else {
		q.small.push(e)
	}
}

// victim is the entry to be evicted next, nil if there is none. It stays in its queue.
func (q *queues) victim() *entry {
	for {
		if e := q.small.oldest; e != nil && (q.small.bytes > q.smallShare || q.main.oldest == nil) {
			if e.frequency.Load() <= 1 {
				return e
			}
			e.frequency.Store(0)
			q.small.remove(e)
			q.main.push(e)
			continue
		}
		e := q.main.oldest
		if e == nil || e.frequency.Load() == 0 {
			return e
		}
		e.frequency.Add(^uint32(0))
		q.main.remove(e)
		q.main.push(e)
	}
}

// used counts a use. It is called under the reading lock, by many at once: a
// count that gets lost does not matter.
func (e *entry) used() {
	e.asked.Add(1)
	if n := e.frequency.Load(); n < maxFrequency {
		e.frequency.CompareAndSwap(n, n+1)
	}
}

// ghosts remembers the hashes of what was evicted, the last ones only.
type ghosts struct {
	ring  []uint64
	next  int
	known map[uint64]struct{}
}

func (g *ghosts) remember(hash uint64) {
	if _, ok := g.known[hash]; ok {
		return
	}
	delete(g.known, g.ring[g.next])
	g.ring[g.next] = hash
	g.next = (g.next + 1) % len(g.ring)
	g.known[hash] = struct{}{}
}

func (g *ghosts) forget(hash uint64) bool {
	_, ok := g.known[hash]
	delete(g.known, hash)
	return ok
}
