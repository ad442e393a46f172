package origin

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	budgetSeconds = 10 // the window
	budgetAlways  = 3  // retries a window that need no share
)

// budget bounds the retries of a pool to a share of its requests in the last ten
// seconds, so that an origin in trouble is not given a multiple of its load by
// those who want to help. Counting a request takes one atomic addition; only
// retries, which are rare by definition, take the lock.
type budget struct {
	share float64

	mu      sync.Mutex // held to begin a second and to decide on a retry
	seconds [budgetSeconds]second
}

// second counts what happened in one second.
type second struct {
	when     atomic.Int64 // Unix seconds
	requests atomic.Int64
	retries  int64 // guarded by budget.mu
}

// request counts a request that came in.
func (b *budget) request(now time.Time) {
	s := b.second(now)
	s.requests.Add(1)
}

func (b *budget) second(now time.Time) *second {
	when := now.Unix()
	s := &b.seconds[when%budgetSeconds]
	if s.when.Load() == when {
		return s
	}
	b.mu.Lock()
	b.beginLocked(s, when)
	b.mu.Unlock()
	return s
}

func (b *budget) beginLocked(s *second, when int64) {
	if s.when.Load() < when {
		s.requests.Store(0)
		s.retries = 0
		s.when.Store(when)
	}
}

// retry says whether one more retry is within the budget, and if so counts it.
func (b *budget) retry(now time.Time) bool {
	when := now.Unix()
	b.mu.Lock()
	defer b.mu.Unlock()
	var requests, retries int64
	for i := range b.seconds {
		if s := &b.seconds[i]; s.when.Load() > when-budgetSeconds {
			requests += s.requests.Load()
			retries += s.retries
		}
	}
	if retries >= max(budgetAlways, int64(b.share*float64(requests))) {
		return false
	}
	s := &b.seconds[when%budgetSeconds]
	b.beginLocked(s, when)
	s.retries++
	return true
}
