package node

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// undoGrace is how long requests of a canary may go on after an undo. Then their
// functions are cut and their streams reset.
const undoGrace = 30 * time.Second

// errUndone ends a request of a canary that was undone. It is a [context.Canceled] too.
var errUndone error = undoneError{}

type undoneError struct{}

func (undoneError) Error() string { return "the change that served this request was undone" }

func (undoneError) Is(target error) bool { return target == context.Canceled }

// cut ends the requests of a canary that is not served any more. The zero value
// is ready.
type cut struct {
	mu    sync.Mutex // guards all below
	open  *cutContext
	timer *time.Timer
	over  bool
}

// join puts a request under the cut: the context that it returns ends with it, and with
// the request's own.
func (c *cut) join(ctx context.Context) *cutContext {
	j := &cutContext{Context: ctx}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		j.over = true
		return j
	}
	if j.next = c.open; j.next != nil {
		j.next.prev = j
	}
	c.open, j.joined = j, true
	return j
}

// leave takes a request out again, once or more. Its context goes on: the connection of
// one that was upgraded is none of the revision's any more.
func (c *cut) leave(j *cutContext) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !j.joined {
		return
	}
	if j.next != nil {
		j.next.prev = j.prev
	}
	if j.prev != nil {
		j.prev.next = j.next
	} else {
		c.open = j.next
	}
	j.joined, j.next, j.prev = false, nil, nil
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
	c.over = true
	var open []*cutContext
	for j := c.open; j != nil; j = j.next {
		open = append(open, j)
	}
	c.mu.Unlock()
	for _, j := range open {
		j.end()
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

// cutContext is the context of a request under a cut. It is there for every request of a
// canary, and nearly always ends with the request: so it waits for its parent only where
// somebody waits for it.
type cutContext struct {
	context.Context              // the request's own
	came            http.Header  // the fields as they came, where the request may run again on the old revision
	req             http.Request // in this context: one piece of memory with it

	joined     bool        // guarded by the cut's mu, as are the next two
	prev, next *cutContext // in the cut's list

	mu    sync.Mutex // guards what follows
	over  bool
	done  chan struct{}
	calls *cutCall
	first cutCall // most have one at the most
}

// cutCall is a function that waits for the end of a context, in a list.
type cutCall struct {
	f    func()
	stop func() bool // its waiting for the parent; true, once, if it has not run and is not to
	next *cutCall    // guarded by the context's mu
}

// end ends the context, once.
func (c *cutContext) end() {
	c.mu.Lock()
	calls := c.calls
	c.over, c.calls = true, nil
	c.mu.Unlock()
	for k := calls; k != nil; k = k.next {
		if k.stop() {
			k.f()
		}
	}
}

// Err implements context.Context.
func (c *cutContext) Err() error {
	c.mu.Lock()
	over := c.over
	c.mu.Unlock()
	if over {
		return errUndone
	}
	return c.Context.Err()
}

// Done implements context.Context.
func (c *cutContext) Done() <-chan struct{} {
	c.mu.Lock()
	first, over := c.done == nil, c.over
	if first {
		c.done = make(chan struct{})
	}
	done := c.done
	c.mu.Unlock()
	switch {
	case first && over:
		close(done)
	case first:
		c.AfterFunc(func() { close(done) })
	}
	return done
}

// AfterFunc is what package context and package http1 ask of a context. f must not wait. It waits
// for the parent, and a cut takes it from there: so it is run once at most, and takes no
// memory here. What does not wait any more stays in the list to the request's end.
func (c *cutContext) AfterFunc(f func()) (stop func() bool) {
	stop = afterEnd(c.Context, f)
	c.mu.Lock()
	over := c.over
	if !over {
		k := &c.first
		if k.f != nil {
			k = new(cutCall)
		}
		*k = cutCall{f, stop, c.calls}
		c.calls = k
	}
	c.mu.Unlock()
	if over && stop() {
		go f() // package context calls us with a lock held that f needs; nobody waits for it
	}
	return stop
}
