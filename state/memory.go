package state

import (
	"context"
	"sync"
	"time"
)

// Memory makes a store that forgets with its process. It has the promises of
// the durable one but that, starts nothing, and reads the time by time.Now: in
// a synctest bubble a day's lease takes microseconds.
func Memory(limits Limits) Store {
	limits = limits.withDefaults()
	feeds := &memoryFeeds{limits: limits, changed: newSignal(), feeds: map[FeedKey]*memoryFeed{}}
	queues := &memoryQueues{limits: limits, changed: newSignal(), queues: map[QueueKey]*memoryQueue{}, streams: feeds.count}
	feeds.others = queues.count
	return Store{
		Documents: &memoryDocuments{limits: limits, changed: newSignal(), all: map[DocumentKey]memoryDocument{}},
		Blobs:     &memoryBlobs{limits: limits, all: map[BlobKey][]byte{}},
		Feeds:     feeds,
		Receipts:  feeds,
		Queues:    queues,
		Leases:    &memoryLeases{limits: limits, all: map[LeaseKey]Lease{}},
	}
}

// overhead is what a stored thing takes beside its bytes, about.
const overhead = 64

// signal wakes everybody who waits.
type signal struct {
	mu sync.Mutex
	ch chan struct{} // guarded by mu; closed by the next wake
}

func newSignal() *signal { return &signal{ch: make(chan struct{})} }

// next is closed by the next wake. Take it before looking for what to wait for.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ch
}

func (s *signal) wake() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.ch)
	s.ch = make(chan struct{})
}

// remembered are the ids of a feed or a queue, each for a time.
type remembered struct {
	at    map[string]seen
	order []seen // the oldest first
}

type seen struct {
	id       string
	position uint64
	time     time.Time
}

// find forgets what is older than the window, then looks.
func (r *remembered) find(id string, now time.Time, window time.Duration) (uint64, bool) {
	for len(r.order) > 0 && now.Sub(r.order[0].time) >= window {
		delete(r.at, r.order[0].id)
		r.order = r.order[1:]
	}
	s, ok := r.at[id]
	return s.position, ok && id != ""
}

func (r *remembered) add(id string, position uint64, now time.Time) {
	if id == "" {
		return
	}
	if r.at == nil {
		r.at = map[string]seen{}
	}
	s := seen{id, position, now}
	r.at[id] = s
	r.order = append(r.order, s)
}

// wait ends with true when something changed or the time is up, with false when ctx ended.
func wait(ctx context.Context, changed <-chan struct{}, most time.Duration) bool {
	if ctx.Err() != nil {
		return false
	}
	timer := time.NewTimer(most)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	return true
}
