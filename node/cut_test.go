package node

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

func TestCutEndsWhatIsUnderItAndNothingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cut
		inside, left := c.join(t.Context()), c.join(t.Context())
		derived, cancel := context.WithCancel(inside)
		defer cancel()
		var told, untold atomic.Int32
		inside.AfterFunc(func() { told.Add(1) })
		inside.AfterFunc(func() { told.Add(1) })
		stop := inside.AfterFunc(func() { untold.Add(1) })
		left.AfterFunc(func() { untold.Add(1) })
		if !stop() || stop() {
			t.Error("a call is stopped once, and the stop says so")
		}
		c.leave(left)
		c.leave(left)
		c.end()
		<-inside.Done()
		<-derived.Done()
		synctest.Wait()
		if told.Load() != 2 || untold.Load() != 0 {
			t.Errorf("%d calls of what was cut, want 2; %d others", told.Load(), untold.Load())
		}
		for _, ctx := range []context.Context{inside, derived, c.join(t.Context())} {
			if !errors.Is(context.Cause(ctx), errUndone) || !errors.Is(ctx.Err(), context.Canceled) {
				t.Errorf("%T ended by %v because of %v", ctx, ctx.Err(), context.Cause(ctx))
			}
		}
		if left.Err() != nil {
			t.Errorf("who has left ended by %v", left.Err())
		}
	})
}

func TestWhatIsUnderACutEndsWithItsRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var c cut
		request, end := context.WithCancel(t.Context())
		under := c.join(request)
		var told atomic.Int32
		under.AfterFunc(func() { told.Add(1) })
		done := under.Done()
		end()
		<-done
		c.end() // does not tell twice
		synctest.Wait()
		if told.Load() != 1 {
			t.Errorf("told %d times, want once", told.Load())
		}
	})
}
