package node

import (
	"context"
	"errors"
	"sync"
	"time"
)

// undoGrace is how long requests of a canary may go on after an undo. Then their
// functions are cut and their streams reset.
const undoGrace = 30 * time.Second

// errUndone ends a request of a canary that was undone.
var errUndone = errors.New("the change that served this request was undone")

// cut ends the requests of a canary that is not served any more. The zero value
// is ready.
type cut struct {
	mu    sync.Mutex // guards all below
	open  map[*exchange]context.CancelCauseFunc
	timer *time.Timer
	over  bool
}

// join puts a request under the cut. The context that it returns ends with it.
func (c *cut) join(x *exchange, ctx context.Context) context.Context {
	ctx, cancel := context.WithCancelCause(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		cancel(errUndone)
	}
	if c.open == nil {
		c.open = make(map[*exchange]context.CancelCauseFunc)
	}
	c.open[x] = cancel
	return ctx
}

// leave takes a request out again. Its context goes on: the connection of one
// that was upgraded is none of the revision's any more.
func (c *cut) leave(x *exchange) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.open, x)
}

// begin lets the grace run, once.
func (c *cut) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer == nil && !c.over {
		c.timer = time.AfterFunc(undoGrace, c.end)
	}
}

// end cuts what is open, and what comes.
func (c *cut) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, cancel := range c.open {
		cancel(errUndone)
	}
}

// ended says whether the cut was made.
func (c *cut) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.over
}

// stop ends the grace without a cut: the node ends.
func (c *cut) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.timer != nil {
		c.timer.Stop()
	}
	c.over = true
}
