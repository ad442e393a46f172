package http1

import (
	"container/list"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

const defaultMaxConns = 1024

var errTransportClosed = errors.New("the transport is closed")

// connPool keeps the connections of one Transport. A request takes the
// connection that was used last, so that those which are not needed grow old
// and are closed. Nobody polls: one timer runs while there is an idle connection.
type connPool struct {
	mu      sync.Mutex    // guards all below
	idle    []*originConn // the one used last is at the end, so idleSince ascends
	open    int           // connections that are open or being dialled, the idle ones too
	waiters list.List     // of *connWaiter; it is empty unless open has reached the bound and idle is empty
	sweeper *time.Timer   // nil before the first idle connection
	armed   bool          // the sweeper will run
	closed  bool
}

// connWaiter is a request that found every connection in use. It is given a
// connection, or nil as the right to dial one itself.
type connWaiter struct {
	given chan *originConn // holds one, so that the giver never waits; closed when the transport is
}

// take finds or dials a connection. Its error is an *AnswerError with Sent false.
func (t *Transport) take(ctx context.Context) (*originConn, error) {
	now := time.Now()
	p := &t.pool
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return nil, answerError(selvage.DestinationDown, errTransportClosed)
	}
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		if t.IdleTimeout <= 0 || now.Sub(c.idleSince) < t.IdleTimeout {
			p.idle[n-1] = nil
			p.idle = p.idle[:n-1]
			p.mu.Unlock()
			c.reused = true
			return c, nil
		}
		// The youngest is too old, so all are.
		old := p.idle
		p.idle = nil
		p.open -= len(old)
		defer closeAll(old)
	}
	if p.open < t.maxConns() {
		p.open++
		p.mu.Unlock()
		return t.dial(ctx)
	}
	w := &connWaiter{make(chan *originConn, 1)}
	place := p.waiters.PushBack(w)
	p.mu.Unlock()
	t.limitHit("origin_connections")
	return t.wait(ctx, w, place)
}

func (t *Transport) maxConns() int {
	if t.MaxConns <= 0 {
		return defaultMaxConns
	}
	return t.MaxConns
}

func (t *Transport) wait(ctx context.Context, w *connWaiter, place *list.Element) (*originConn, error) {
	var bound <-chan time.Time
	if t.Wait > 0 {
		timer := time.NewTimer(t.Wait)
		defer timer.Stop()
		bound = timer.C
	}
	var why error
	select {
	case c, ok := <-w.given:
		return t.granted(ctx, c, ok)
	case <-bound:
		why = errors.New("every connection stayed in use")
	case <-ctx.Done():
		why = context.Cause(ctx)
	}
	p := &t.pool
	p.mu.Lock()
	select {
	case c, ok := <-w.given: // given in the same moment: pass it on
		p.mu.Unlock()
		switch {
		case !ok:
		case c == nil:
			t.release()
		default:
			t.put(c)
		}
	default:
		p.waiters.Remove(place)
		p.mu.Unlock()
	}
	return nil, answerError(selvage.ConnectionLimit, why)
}

func (t *Transport) granted(ctx context.Context, c *originConn, ok bool) (*originConn, error) {
	switch {
	case !ok:
		return nil, answerError(selvage.DestinationDown, errTransportClosed)
	case c == nil:
		return t.dial(ctx)
	}
	c.reused = true
	return c, nil
}

// dial opens a connection for which a place is counted already.
func (t *Transport) dial(ctx context.Context) (*originConn, error) {
	nc, err := t.Dial(ctx)
	if err != nil {
		t.release()
		return nil, answerError(dialErrorType(err), err)
	}
	return newOriginConn(nc), nil
}

// release gives up the place of a connection that is no more; the first waiter may dial instead.
func (t *Transport) release() {
	p := &t.pool
	p.mu.Lock()
	defer p.mu.Unlock()
	if w := p.nextWaiterLocked(); w != nil {
		w.given <- nil
		return
	}
	p.open--
}

func (p *connPool) nextWaiterLocked() *connWaiter {
	front := p.waiters.Front()
	if front == nil {
		return nil
	}
	return p.waiters.Remove(front).(*connWaiter)
}

// put gives back a connection that may carry another request.
func (t *Transport) put(c *originConn) {
	p := &t.pool
	p.mu.Lock()
	if w := p.nextWaiterLocked(); w != nil {
		w.given <- c
		p.mu.Unlock()
		return
	}
	if p.closed || len(p.idle) >= t.MaxIdle {
		p.open--
		p.mu.Unlock()
		c.c.Close()
		return
	}
	c.idleSince = time.Now()
	p.idle = append(p.idle, c)
	if t.IdleTimeout > 0 && !p.armed {
		p.armed = true
		if p.sweeper == nil {
			p.sweeper = time.AfterFunc(t.IdleTimeout, t.sweep)
		} else {
			p.sweeper.Reset(t.IdleTimeout)
		}
	}
	p.mu.Unlock()
}

// sweep closes the connections that were idle for too long and comes again
// when the oldest of the others will be.
func (t *Transport) sweep() {
	p := &t.pool
	now := time.Now()
	p.mu.Lock()
	n := 0
	for n < len(p.idle) && now.Sub(p.idle[n].idleSince) >= t.IdleTimeout {
		n++
	}
	old := slices.Clone(p.idle[:n])
	p.idle = slices.Delete(p.idle, 0, n)
	p.open -= n
	p.armed = len(p.idle) > 0 && !p.closed
	if p.armed {
		p.sweeper.Reset(t.IdleTimeout - now.Sub(p.idle[0].idleSince))
	}
	p.mu.Unlock()
	closeAll(old)
}

// Open is the number of connections: those in use, idle and being dialled.
func (t *Transport) Open() int {
	t.pool.mu.Lock()
	defer t.pool.mu.Unlock()
	return t.pool.open
}

// CloseIdle closes the connections that carry no request.
func (t *Transport) CloseIdle() {
	p := &t.pool
	p.mu.Lock()
	old := p.idle
	p.idle = nil
	p.open -= len(old)
	p.mu.Unlock()
	closeAll(old)
}

// Close closes the idle connections and refuses new requests. Those that run
// are not cut: they end by themselves, and their connections with them.
func (t *Transport) Close() {
	p := &t.pool
	p.mu.Lock()
	p.closed = true
	if p.sweeper != nil {
		p.sweeper.Stop()
		p.armed = false
	}
	for w := p.nextWaiterLocked(); w != nil; w = p.nextWaiterLocked() {
		close(w.given)
	}
	p.mu.Unlock()
	t.CloseIdle()
}

func closeAll(conns []*originConn) {
	for _, c := range conns {
		c.c.Close()
	}
}
