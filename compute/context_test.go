package compute

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTheContextOfARequestEndsAsItsRequestDoes(t *testing.T) {
	type key struct{}
	for name, c := range map[string]struct {
		end  func(cancel context.CancelCauseFunc, r *requestContext)
		want error
		why  error
	}{
		"the wall time":     {func(context.CancelCauseFunc, *requestContext) { time.Sleep(time.Minute + 1) }, context.DeadlineExceeded, errWall},
		"the client leaves": {func(cancel context.CancelCauseFunc, _ *requestContext) { cancel(errAborted) }, context.Canceled, errAborted},
		"it is over":        {func(_ context.CancelCauseFunc, r *requestContext) { r.end() }, context.Canceled, context.Canceled},
	} {
		for _, asked := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					parent, cancel := context.WithCancelCause(context.WithValue(t.Context(), key{}, 1))
					defer cancel(nil)
					r := &requestContext{Context: parent, box: &sandbox{}, deadline: time.Now().Add(time.Minute)}
					if r.Err() != nil || boxOf(r) != r.box || r.Value(key{}) != 1 {
						t.Fatalf("got %v and %v before the end", r.Err(), r.Value(key{}))
					}
					if asked { // some wait before the end, others come later
						r.Done()
					}
					var wg sync.WaitGroup
					if asked {
						inner, stop := context.WithCancel(r)
						defer stop()
						wg.Go(func() { <-inner.Done() })
					}
					c.end(cancel, r)
					if err := r.Err(); !errors.Is(err, c.want) {
						t.Errorf("got %v, want %v", err, c.want)
					}
					<-r.Done()
					if cause := context.Cause(r); !errors.Is(cause, c.why) {
						t.Errorf("got %v as the cause, want %v", cause, c.why)
					}
					r.end()
					wg.Wait()
				})
			})
		}
	}
}
