package state

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

type memoryLeases struct {
	limits Limits

	mu   sync.Mutex // guards what follows
	all  map[LeaseKey]Lease
	last Token
}

func (m *memoryLeases) Acquire(ctx context.Context, key LeaseKey, holder string, ttl time.Duration) (Lease, error) {
	if err := cmp.Or(key.check(), checkPart("holder", holder, maxName), alive(ctx)); err != nil {
		return Lease{}, err
	}
	ttl = wholeSeconds(ttl)
	m.mu.Lock()
	defer m.mu.Unlock()
	if l, ok := m.liveLocked(key); ok && l.Holder != holder {
		return Lease{}, held(l)
	}
	if len(m.all)*leaseSize > int(m.limits.Leases) {
		m.sweepLocked()
		if len(m.all)*leaseSize > int(m.limits.Leases) {
			return Lease{}, m.limits.full("leases")
		}
	}
	m.last++
	l := Lease{Key: key, Holder: holder, Token: m.last, TTL: ttl, Expires: time.Now().Add(ttl)}
	m.all[key] = l
	return l, nil
}

// leaseSize is what a lease takes, about.
const leaseSize = 512

func (m *memoryLeases) sweepLocked() {
	for key := range m.all {
		if _, ok := m.liveLocked(key); !ok {
			delete(m.all, key)
		}
	}
}

// liveLocked is the lease if somebody has it now.
func (m *memoryLeases) liveLocked(key LeaseKey) (Lease, bool) {
	l, ok := m.all[key]
	return l, ok && time.Now().Before(l.Expires)
}

func (m *memoryLeases) mineLocked(ctx context.Context, l Lease) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	if is, ok := m.liveLocked(l.Key); !ok || is.Token != l.Token {
		return lost(l)
	}
	return nil
}

func (m *memoryLeases) Renew(ctx context.Context, l Lease) (Lease, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mineLocked(ctx, l); err != nil {
		return l, err
	}
	l.Expires = time.Now().Add(l.TTL)
	m.all[l.Key] = l
	return l, nil
}

func (m *memoryLeases) Release(ctx context.Context, l Lease) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.mineLocked(ctx, l); err != nil {
		return err
	}
	delete(m.all, l.Key)
	return nil
}

func (m *memoryLeases) Get(ctx context.Context, key LeaseKey) (Lease, error) {
	if err := cmp.Or(key.check(), alive(ctx)); err != nil {
		return Lease{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	l, ok := m.liveLocked(key)
	if !ok {
		return Lease{}, noLease(key)
	}
	return l, nil
}

func held(l Lease) error {
	return selvage.Errorf(selvage.Conflict, "lease %s is held by %s", l.Key, l.Holder)
}

func lost(l Lease) error {
	return selvage.Errorf(selvage.Conflict, "lease %s is not %s's any more: %w", l.Key, l.Holder, ErrLost)
}

func noLease(key LeaseKey) error {
	return selvage.Errorf(selvage.NotFound, "nobody holds lease %s", key)
}

func wholeSeconds(d time.Duration) time.Duration {
	return max(MinLease, (d + time.Second - 1).Truncate(time.Second))
}
