package conform

import (
	"context"
	"errors"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

var coordinator = state.LeaseKey{Tenant: tenant, Name: "coordinator"}

var leaseTests = map[string]func(*testing.T, Open){
	"one holder at a time": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		_, err := leases.Get(ctx, coordinator)
		refused(t, err, selvage.NotFound, nil)
		before := time.Now()
		a := got(leases.Acquire(ctx, coordinator, "a", time.Minute))(t)
		if a.Key != coordinator || a.Holder != "a" || a.Token == 0 || a.TTL != time.Minute || a.Expires.Before(before) || a.Expires.After(time.Now().Add(time.Minute)) {
			t.Errorf("got %+v", a)
		}
		_, err = leases.Acquire(ctx, coordinator, "b", time.Minute)
		refused(t, err, selvage.Conflict, nil)
		got(leases.Acquire(ctx, state.LeaseKey{Tenant: "other", Name: coordinator.Name}, "b", time.Minute))(t)
		if is := got(leases.Get(ctx, coordinator))(t); is.Holder != "a" || is.Token != a.Token {
			t.Errorf("got %+v", is)
		}
		a2 := got(leases.Renew(ctx, a))(t)
		if a2.Token != a.Token || a2.Expires.Before(a.Expires) {
			t.Errorf("renewed %+v to %+v", a, a2)
		}
		a3 := got(leases.Renew(ctx, a2))(t)
		ok(t, leases.Release(ctx, a3))
		_, err = leases.Get(ctx, coordinator)
		refused(t, err, selvage.NotFound, nil)
		b := got(leases.Acquire(ctx, coordinator, "b", time.Minute))(t)
		if b.Token <= a.Token {
			t.Errorf("the token fell from %d to %d", a.Token, b.Token)
		}
		_, err = leases.Renew(ctx, a3)
		refused(t, err, selvage.Conflict, state.ErrLost)
		refused(t, leases.Release(ctx, a3), selvage.Conflict, state.ErrLost)
		got(leases.Renew(ctx, b))(t)
	},
	"a holder that comes again gets a greater token": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		a := got(leases.Acquire(ctx, coordinator, "a", time.Minute))(t)
		again := got(leases.Acquire(ctx, coordinator, "a", time.Minute))(t)
		if again.Token <= a.Token {
			t.Errorf("got the tokens %d, %d", a.Token, again.Token)
		}
		_, err := leases.Renew(ctx, a)
		refused(t, err, selvage.Conflict, state.ErrLost)
		got(leases.Renew(ctx, again))(t)
	},
	"a lease that is not renewed ends": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		a := got(leases.Acquire(ctx, coordinator, "a", state.MinLease))(t)
		for {
			b, err := leases.Acquire(ctx, coordinator, "b", time.Minute)
			if err == nil {
				if time.Now().Before(a.Expires) || b.Token <= a.Token {
					t.Errorf("b has %+v while a has %+v", b, a)
				}
				break
			}
			refused(t, err, selvage.Conflict, nil)
			time.Sleep(50 * time.Millisecond)
		}
		_, err := leases.Renew(ctx, a)
		refused(t, err, selvage.Conflict, state.ErrLost)
	},
	"what can never be held is invalid": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		_, err := leases.Acquire(ctx, state.LeaseKey{}, "a", time.Minute)
		refused(t, err, selvage.Invalid, nil)
		_, err = leases.Acquire(ctx, coordinator, "", time.Minute)
		refused(t, err, selvage.Invalid, nil)
		_, err = leases.Acquire(canceled(), coordinator, "a", time.Minute)
		refused(t, err, selvage.Unavailable, context.Canceled)
	},
	"tokens keep a store safe from many holders": func(t *testing.T, open Open) {
		store := open(t, state.Limits{})
		ctx, key := t.Context(), things.Key("guarded")
		var wg sync.WaitGroup
		var done atomic.Int64
		for _, holder := range []string{"a", "b", "c"} {
			wg.Go(func() {
				for range 3 {
					err := state.Hold(ctx, state.Holding{Leases: store.Leases, Key: coordinator, Holder: holder, TTL: 2 * time.Second},
						func(ctx context.Context, l state.Lease) error {
							err := increment(ctx, store.Documents, key)
							if err == nil {
								done.Add(1)
							}
							return err
						})
					if err != nil && !errors.Is(err, state.ErrLost) { // which is right where the machine stood still
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		if d := got(store.Documents.Get(ctx, key))(t); string(d.Value) != strconv.FormatInt(done.Load(), 10) {
			t.Errorf("got %s, want %d", d.Value, done.Load())
		}
	},
	"work is told that its lease is lost": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		h := state.Holding{Leases: leases, Key: coordinator, Holder: "a", TTL: state.MinLease}
		err := state.Hold(ctx, h, func(ctx context.Context, l state.Lease) error {
			got(leases.Acquire(ctx, coordinator, "a", time.Minute))(t) // another start of the same holder
			<-ctx.Done()
			return context.Cause(ctx)
		})
		if !errors.Is(err, state.ErrLost) {
			t.Errorf("got %v, want %v", err, state.ErrLost)
		}
	},
	"work is told before a lease that cannot be renewed ends": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		h := state.Holding{Leases: cutOff{leases}, Key: coordinator, Holder: "a", TTL: state.MinLease}
		err := state.Hold(ctx, h, func(ctx context.Context, l state.Lease) error {
			<-ctx.Done()
			return nil
		})
		refused(t, err, selvage.Conflict, state.ErrLost)
	},
	"a lease is renewed for as long as the work takes": func(t *testing.T, open Open) {
		ctx, leases := t.Context(), open(t, state.Limits{}).Leases
		h := state.Holding{Leases: leases, Key: coordinator, Holder: "a", TTL: state.MinLease}
		err := heldLong(ctx, t, leases, h)
		for end := time.Now().Add(time.Minute); errors.Is(err, state.ErrLost) && time.Now().Before(end); {
			err = heldLong(ctx, t, leases, h) // the machine stood still for longer than the lease: that is no renewal's fault
		}
		ok(t, err)
		got(leases.Acquire(ctx, coordinator, "b", time.Minute))(t) // given back at once
	},
}

// heldLong works under a lease for longer than it lasts, and lets another try to get it. Who
// has it is not to be without it unless he is told.
func heldLong(ctx context.Context, t *testing.T, leases state.Leases, h state.Holding) error {
	t.Helper()
	return state.Hold(ctx, h, func(ctx context.Context, l state.Lease) error {
		for time.Now().Before(l.Expires.Add(h.TTL)) {
			if b, err := leases.Acquire(ctx, h.Key, "b", time.Minute); err == nil {
				select {
				case <-ctx.Done(): // as it is when the next renewal fails
				case <-time.After(time.Minute):
					t.Error("b has the lease while a works under it")
				}
				return leases.Release(context.WithoutCancel(ctx), b)
			}
			time.Sleep(100 * time.Millisecond)
		}
		return ctx.Err()
	})
}

// cutOff are leases whose renewals do not get through.
type cutOff struct{ state.Leases }

func (cutOff) Renew(ctx context.Context, l state.Lease) (state.Lease, error) {
	<-ctx.Done()
	return l, selvage.Errorf(selvage.Unavailable, "no answer: %w", ctx.Err())
}
