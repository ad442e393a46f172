package fastly

import (
	"context"
	"errors"
	"io"
	"slices"
)

func bodyNew(c *call) Status { return c.give(0, c.x.newBody()) }

// onBody is a function of a body's handle, which is its first parameter.
func onBody(do func(c *call, b *body) Status) func(*call) Status {
	return func(c *call) Status {
		b, ok := handle[*body](c, 0)
		if !ok {
			return BadHandle
		}
		return do(c, b)
	}
}

// bodyStatus is what a guest is told of a body that cannot be read or written.
func bodyStatus(err error) Status {
	var status Status
	switch {
	case errors.As(err, &status):
		return status
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errAbandoned):
		return HTTPIncomplete
	}
	return Failed
}

func bodyRead(c *call, b *body) Status {
	if b.sink != nil {
		return BadHandle
	}
	c.at(c.u32(3), 4)
	buf := c.bytes(1)
	if c.bad {
		return Invalid
	}
	n, err := b.read(c.ctx, buf)
	if err != nil && n == 0 && !errors.Is(err, io.EOF) {
		return bodyStatus(err)
	}
	c.put32(3, uint32(n))
	return OK
}

// The ends of a body that can be written to.
const (
	endBack = iota
	endFront
)

func bodyWrite(c *call, b *body) Status {
	p, end := c.bytes(1), c.u32(3)
	c.at(c.u32(4), 4)
	switch {
	case c.bad, end > endFront:
		return Invalid
	case b.sink != nil && end == endFront:
		return BadHandle // what was sent cannot be preceded
	case b.sink != nil:
		var err error
		c.waiting(func() { _, err = b.sink.Write(p) })
		if err != nil {
			return bodyStatus(err)
		}
	case !b.push(p, end == endFront):
		c.mem.Hit(LimitBodies)
		return LimitExceeded
	case end == endFront:
		c.allParts(b) // which were moved
	}
	c.put32(4, uint32(len(p)))
	return OK
}

// bodyAppend moves all of one body to the end of another.
func bodyAppend(c *call) Status {
	to, ok := handle[*body](c, 0)
	from, okFrom := handle[*body](c, 1)
	if !ok || !okFrom || from.sink != nil {
		return BadHandle
	}
	if to == from {
		return Invalid
	}
	if p, ok := to.sink.(*pipe); ok && slices.Contains(from.feeds(), p) {
		return Invalid // an answer to what is to be written: a circle, which has no end
	}
	c.x.handles.drop(c.u32(1))
	if to.sink == nil {
		to.parts = append(to.parts, from.parts...)
		to.pending = to.pending || from.pending
	} else if err := c.x.copyBody(from, to.sink); err != nil {
		return bodyStatus(err)
	}
	for _, f := range from.trailers.fields {
		to.trailers.append(f.name, f.value)
	}
	return OK
}

func bodyClose(c *call, b *body) Status {
	c.x.handles.drop(c.u32(0))
	s := b.sink
	switch {
	case s == nil && b.inMemory():
		b.close()
		return OK
	case s == nil:
		c.waiting(b.close) // for a read that is under way
		return OK
	}
	b.sink = nil
	if err := s.finish(&b.trailers); err != nil {
		return bodyStatus(err)
	}
	if a, ok := s.(*answerSink); ok {
		a.d.done(c.mem)
	}
	return OK
}

func bodyAbandon(c *call, b *body) Status {
	c.x.drop(c.u32(0), b)
	return OK
}

func bodyKnownLength(c *call, b *body) Status {
	n, ok := b.length()
	c.allParts(b)
	if !ok || b.sink != nil {
		return None
	}
	c.put64(1, uint64(n))
	return OK
}

// allParts lets the guest pay for a look at all parts of a body: it may have made many.
func (c *call) allParts(b *body) { c.touched += uint64(len(b.parts)) * partSize }

func trailerAppend(c *call, b *body) Status { return c.headerAppend(&b.trailers) }

// onTrailers is a function that reads trailers, which are known at the end of the body.
func onTrailers(do func(c *call, h *header) Status) func(*call) Status {
	return onBody(func(c *call, b *body) Status {
		switch {
		case b.sink != nil:
			return Invalid
		case b.pending:
			return Again
		}
		return do(c, &b.trailers)
	})
}

// item is something that async_io waits for.
type item interface {
	// ready is closed when the item's own action would not wait; nil: it would not now.
	ready() <-chan struct{}
}

// isReady says whether an item's action would not wait.
func isReady(it item) bool {
	ch := it.ready()
	if ch == nil {
		return true
	}
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func asyncIsReady(c *call) Status {
	it, ok := handle[item](c, 0)
	if !ok {
		return BadHandle
	}
	c.putBool(1, isReady(it))
	return OK
}

// maxSelect is how many handles a guest may wait for at once.
const maxSelect = 1024

// items are the items whose handles are at the parameters i (address) and i+1 (their number).
func items[T any](c *call, i int) ([]T, Status) {
	n := c.u32(i + 1)
	if n == 0 || n > maxSelect {
		return nil, Invalid
	}
	list := fields(c.at(c.u32(i), n*4))
	if c.bad {
		return nil, Invalid
	}
	out := make([]T, n)
	for k := range out {
		v, ok := c.x.handles.item(list.u32(k * 4)).(T)
		if !ok {
			return nil, BadHandle
		}
		out[k] = v
	}
	return out, OK
}

// noneReady is the index that says that the time was over.
const noneReady = invalidHandle

// asyncSelect waits until one of several items is ready.
func asyncSelect(c *call) Status {
	c.at(c.u32(3), 4)
	if c.u32(1) == 0 && c.u32(2) != 0 && !c.bad { // nothing but the time to wait for
		ctx, cancel := c.deadline(c.u32(2))
		defer cancel()
		<-ctx.Done()
		return c.slept(3)
	}
	all, status := items[item](c, 0)
	if c.bad || status != OK {
		return max(status, Invalid)
	}
	ctx, cancel := c.deadline(c.u32(2))
	defer cancel()
	k, ok := waitAny(ctx, all)
	if !ok {
		return c.slept(3)
	}
	c.put32(3, uint32(k))
	return OK
}

// slept is the answer after a wait that brought nothing: the time was over, or the request is.
func (c *call) slept(i int) Status {
	if c.ctx.Err() != nil {
		return Failed
	}
	c.put32(i, noneReady)
	return OK
}

// waitAny is the index of the first item that is ready, waiting for one; false after the context's end.
func waitAny[T item](ctx context.Context, all []T) (int, bool) {
	won := make(chan int, len(all))
	over, stop := context.WithCancel(ctx)
	defer stop()
	for k, it := range all {
		if isReady(it) {
			return k, true
		}
	}
	for k, it := range all {
		ch := it.ready()
		go func() { // ends with over, at the latest when this function returns
			if ch != nil {
				select {
				case <-ch:
				case <-over.Done():
					return
				}
			}
			won <- k
		}()
	}
	select {
	case k := <-won:
		return k, true
	case <-over.Done():
		return 0, false
	}
}
