package http1

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// requestContext is the context of a request, a part of the exchange. It ends
// when the handler has returned, when the client is gone and when the total
// deadline passes. Nobody watches for the latter two before a handler asks.
type requestContext struct {
	x *exchange

	mu      sync.Mutex // guards what follows
	watched bool       // the connection looks out for the end
	done    chan struct{}
	err     error
	calls   *call
	first   call // most have one at the most
}

// call is a function that waits for the end of a context, in a list.
type call struct {
	f    func()
	next *call
}

// Deadline is when the request and its answer have to be through.
func (r *requestContext) Deadline() (time.Time, bool) {
	if total := r.x.c.srv.waits.total; total > 0 && !r.x.w.isTakenOver.Load() {
		return r.x.rec.Start.Add(total), true
	}
	return time.Time{}, false
}

// Done is closed when the request ends. The first call makes the connection
// look out for it.
func (r *requestContext) Done() <-chan struct{} {
	r.watch()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
		if r.err != nil {
			close(r.done)
		}
	}
	return r.done
}

// watch makes the connection look out for the end of the request, once.
func (r *requestContext) watch() {
	r.mu.Lock()
	begin := !r.watched && r.err == nil
	r.watched = true
	r.mu.Unlock()
	if begin {
		r.x.lookOut()
	}
}

// Err is nil until the request ends.
func (r *requestContext) Err() error {
	r.watch() // who only asks now and then wants to know as well
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// Value knows the record, the local address and the handshake, and what the
// connection's context knows.
func (r *requestContext) Value(key any) any {
	switch key {
	case record.Key:
		return &r.x.rec
	case http.LocalAddrContextKey:
		return r.x.c.nc.LocalAddr()
	case HandshakeKey:
		return r.x.c.info.Handshake
	case fieldNamesKey{}:
		return &r.x.names
	}
	return r.x.c.base.Value(key)
}

// AfterFunc lets package context derive contexts without a goroutine for each.
func (r *requestContext) AfterFunc(f func()) (stop func() bool) {
	r.watch()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err != nil {
		go f() // package context calls us with a lock held that f needs; nobody waits for it
		return func() bool { return false }
	}
	c := &r.first
	if c.f != nil {
		c = new(call)
	}
	c.f, c.next = f, r.calls
	r.calls = c
	return func() bool { return r.forget(c) }
}

// forget takes a call off the list and says whether it was still there.
func (r *requestContext) forget(c *call) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for p := &r.calls; *p != nil; p = &(*p).next {
		if *p == c {
			*p = c.next
			return true
		}
	}
	return false
}

// cancel ends the context, once.
func (r *requestContext) cancel(err error) {
	r.mu.Lock()
	if r.err != nil {
		r.mu.Unlock()
		return
	}
	r.err = err
	if r.done != nil {
		close(r.done)
	}
	calls := r.calls
	r.calls = nil
	r.mu.Unlock()
	for c := calls; c != nil; c = c.next {
		c.f()
	}
}

// lookOut makes the connection watch for what ends the request early.
func (x *exchange) lookOut() {
	c := x.c
	c.alarm.guard(c, x)
	c.watchClient(x)
	if c.gone.Load() || c.isCut.Load() {
		x.ctx.cancel(context.Canceled)
	}
}

// alarm ends requests at their total deadline. Like the clock it is lazy: it is
// set once in a total time and looks then whose turn it is.
type alarm struct {
	mu    sync.Mutex // guards what follows
	timer *time.Timer
	set   bool
}

// guard makes sure that the alarm rings at the deadline of x or before.
func (a *alarm) guard(c *conn, x *exchange) {
	if c.srv.waits.total <= 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.set {
		return
	}
	a.set = true
	left := time.Until(x.rec.Start.Add(c.srv.waits.total))
	if a.timer == nil {
		a.timer = time.AfterFunc(left, func() { a.ring(c) })
	} else {
		a.timer.Reset(left)
	}
}

// ring cancels the running request if its time is over.
func (a *alarm) ring(c *conn) {
	a.mu.Lock()
	a.set = false
	x := c.cur.Load()
	if x == nil || x.w.isTakenOver.Load() {
		a.mu.Unlock()
		return
	}
	left := time.Until(x.rec.Start.Add(c.srv.waits.total))
	if left > 0 {
		a.set = true
		a.timer.Reset(left)
		a.mu.Unlock()
		return
	}
	a.mu.Unlock()
	x.ctx.cancel(context.DeadlineExceeded)
}

func (a *alarm) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.timer != nil {
		a.timer.Stop()
	}
}

// ended is Err without a question to the connection.
func (r *requestContext) ended() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}
