package state

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

// Token orders the holders of a lease: a later one has a greater token, for
// ever. Whoever is written to under a lease remembers the greatest that it saw
// and refuses smaller ones.
type Token uint64

// Lease is the right of one holder, for a time.
type Lease struct {
	Key    LeaseKey
	Holder string
	Token  Token
	TTL    time.Duration
	// Expires is when the holder must have stopped, by its own clock: counted from before it
	// asked, so that nobody else has the lease earlier. Get leaves it as the store estimates it.
	Expires time.Time
}

// Leases give a name to one holder at a time. The store's clock decides; those
// of the holders need not agree with it.
type Leases interface {
	// Acquire takes a lease that nobody has: Conflict if somebody has it. A holder that has it
	// gets it anew with a greater token (it was restarted) and loses the old one. The time is
	// rounded up to whole seconds.
	Acquire(ctx context.Context, key LeaseKey, holder string, ttl time.Duration) (Lease, error)
	// Renew begins the lease's time again, with the same token: ErrLost if it is not the holder's any more.
	Renew(ctx context.Context, l Lease) (Lease, error)
	// Release gives a lease back: ErrLost if it is not the holder's any more.
	Release(ctx context.Context, l Lease) error
	// Get says who holds a lease: NotFound if nobody does.
	Get(ctx context.Context, key LeaseKey) (Lease, error)
}

// Holding is what [Hold] needs.
type Holding struct {
	Leases Leases
	Key    LeaseKey
	Holder string // of one process, and of one start of it
	TTL    time.Duration
}

// Hold waits for a lease and calls work while it has it, renewing it three
// times in its time. work's context ends with the cause [ErrLost] as soon as the
// lease is lost, or may be because it could not be renewed: work must return
// without doing anything more. When work returns the lease is released. Hold
// returns work's error, and ErrLost if the lease was lost and work had none.
func Hold(ctx context.Context, h Holding, work func(context.Context, Lease) error) error {
	lease, err := h.acquire(ctx)
	if err != nil {
		return fmt.Errorf("hold lease %s: %w", h.Key, err)
	}
	held, lost := context.WithCancelCause(ctx)
	var keeper sync.WaitGroup
	last := lease
	keeper.Go(func() { last = h.keep(held, lease, lost) })
	err = work(held, lease)
	isLost := errors.Is(context.Cause(held), ErrLost)
	lost(nil)
	keeper.Wait()
	if isLost {
		if err == nil {
			err = selvage.Errorf(selvage.Conflict, "hold lease %s: %w", h.Key, ErrLost)
		}
		return err
	}
	// The work is done, and the lease ends by itself if it cannot be given back.
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if e := h.Leases.Release(release, last); e != nil && err == nil && !errors.Is(e, ErrLost) {
		err = fmt.Errorf("release lease %s: %w", h.Key, e)
	}
	return err
}

// acquire asks for the lease until it is free.
func (h Holding) acquire(ctx context.Context) (Lease, error) {
	for {
		lease, err := h.Leases.Acquire(ctx, h.Key, h.Holder, h.TTL)
		if kind := selvage.KindOf(err); err == nil || kind != selvage.Conflict && kind != selvage.Unavailable || errors.Is(err, ErrClosed) {
			return lease, err
		}
		if sleep(ctx, h.TTL/4) != nil {
			return Lease{}, ended(ctx)
		}
	}
}

// keep renews the lease until ctx ends, and gives the last one.
func (h Holding) keep(ctx context.Context, lease Lease, lost context.CancelCauseFunc) Lease {
	for {
		if sleep(ctx, min(h.TTL/3, time.Until(lease.Expires))) != nil {
			return lease
		}
		if !time.Now().Before(lease.Expires) {
			lost(ErrLost)
			return lease
		}
		attempt, cancel := context.WithDeadline(ctx, lease.Expires)
		next, err := h.Leases.Renew(attempt, lease)
		cancel()
		switch {
		case err == nil:
			lease = next
		case ctx.Err() != nil:
			return lease
		case errors.Is(err, ErrLost):
			lost(ErrLost)
			return lease
		}
	}
}

// sleep waits unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
