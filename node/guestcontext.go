package node

import (
	"context"
	"sync"
	"time"
)

// turnContext is the context of a function's turn: the values of its request, and
// its call. It ends with the turn and with the node, and with the request as long as
// the answer is not complete: what goes on behind that is the function's own.
// Whoever only asks now and then whether it has ended looks for himself; the request
// and the node are made to tell of their ends when somebody first waits, and
// most functions are done before anybody does.
type turnContext struct {
	request context.Context
	t       *guestTurn

	mu     sync.Mutex              // guards all below
	told   context.Context         // nil until somebody waits, or it was seen to have ended
	cancel context.CancelCauseFunc // set with told
	over   bool
	stop   [2]func() bool // both set with told, but where that had ended by then
}

func (c *turnContext) begin(request context.Context, t *guestTurn) {
	c.request, c.t = request, t
}

// Deadline implements [context.Context].
func (*turnContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done implements [context.Context].
func (c *turnContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.toldLocked().Done()
}

// Err implements [context.Context].
func (c *turnContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.told == nil && !c.over && c.cause() == nil {
		return nil
	}
	return c.toldLocked().Err()
}

// Value implements [context.Context].
func (c *turnContext) Value(key any) any {
	if key == (callKey{}) {
		return c.t.c
	}
	c.mu.Lock()
	from := c.told
	c.mu.Unlock()
	switch {
	case from != nil:
		return from.Value(key)
	case c.request.Err() != nil: // its end is not ours, and package context looks for its cause
		return context.WithoutCancel(c.request).Value(key)
	}
	return c.request.Value(key)
}

// cause is why the turn ought to end now; nil if it goes on.
func (c *turnContext) cause() error {
	select {
	case <-c.t.f.reg.functions.ended:
		return errNodeEnds
	default:
	}
	if c.request.Err() != nil && !c.t.w.complete() {
		return context.Cause(c.request)
	}
	return nil
}

// toldLocked is a context that is told of the end.
func (c *turnContext) toldLocked() context.Context {
	if c.told != nil {
		return c.told
	}
	var cancel context.CancelCauseFunc
	c.told, cancel = context.WithCancelCause(context.WithoutCancel(c.request))
	c.cancel = cancel
	if c.over {
		cancel(nil)
		return c.told
	}
	if cause := c.cause(); cause != nil {
		cancel(cause)
		return c.told
	}
	c.stop[0] = c.t.f.reg.functions.atEnd(func() { cancel(errNodeEnds) })
	c.stop[1] = context.AfterFunc(c.request, func() {
		if !c.t.w.complete() {
			cancel(context.Cause(c.request))
		}
	})
	return c.told
}

// end ends it for good.
func (c *turnContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	if c.told == nil {
		return
	}
	for _, stop := range c.stop {
		if stop != nil {
			stop()
		}
	}
	c.cancel(nil)
}
