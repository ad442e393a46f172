package compute

import (
	"context"
	"sync"
	"time"

	"github.com/tetratelabs/wazero/experimental"
)

// requestContext is the context of a request in a function: the request's own,
// which also ends with the wall time and when Serve returns, and which carries
// the sandbox to host functions. A timer, and a place among those that the
// request's end is told to, are made when somebody first wants to be told of
// the end; most functions are done before anybody does.
type requestContext struct {
	context.Context                 // the request's
	engine          context.Context // of the engine's call, where that began with another request; else nil
	box             *sandbox
	deadline        time.Time

	mu     sync.Mutex
	timed  context.Context // guarded by mu; nil until somebody waits
	cancel context.CancelFunc
	ended  bool // guarded by mu: Serve has returned
}

type boxKey struct{}

// asksEngine is what the engine is told by a context: that it may take snapshots.
var asksEngine = experimental.WithSnapshotter(context.Background())

// boxOf is the sandbox of a call.
func boxOf(ctx context.Context) *sandbox { return ctx.Value(boxKey{}).(*sandbox) }

// Deadline implements [context.Context].
func (c *requestContext) Deadline() (time.Time, bool) {
	if at, ok := c.Context.Deadline(); ok && at.Before(c.deadline) {
		return at, true
	}
	return c.deadline, true
}

// Done implements [context.Context].
func (c *requestContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timed == nil {
		c.timed, c.cancel = context.WithDeadlineCause(c.Context, c.deadline, errWall)
		if c.ended {
			c.cancel()
		}
	}
	return c.timed.Done()
}

// Err implements [context.Context].
func (c *requestContext) Err() error {
	c.mu.Lock()
	timed, ended := c.timed, c.ended
	c.mu.Unlock()
	switch {
	case timed != nil:
		return timed.Err()
	case ended:
		return context.Canceled
	case c.Context.Err() != nil:
		return c.Context.Err()
	case !time.Now().Before(c.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements [context.Context]. What is derived from it is told of its
// end without a goroutine, because it finds the timed context by this.
func (c *requestContext) Value(key any) any {
	if key == (boxKey{}) {
		return c.box
	}
	if v := asksEngine.Value(key); v != nil {
		return v
	}
	c.mu.Lock()
	timed := c.timed
	c.mu.Unlock()
	if timed == nil {
		timed = c.Context
	}
	if v := timed.Value(key); v != nil || c.engine == nil {
		return v
	}
	return c.engine.Value(key)
}

// end ends it for good.
func (c *requestContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.cancel != nil {
		c.cancel()
	}
}
