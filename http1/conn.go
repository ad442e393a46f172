package http1

import (
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// conn is a client's connection. Its fields belong to the goroutine of
// ServeConn but for those that say otherwise.
type conn struct {
	srv    *Server
	nc     net.Conn
	base   context.Context // of ServeConn: its values are those of the requests
	info   ConnInfo
	remote string // info.Peer as net/http has it
	rtt    time.Duration
	raw    *rawWire // nil without the raw driver
	taken  net.Conn // what a handler took over; written before response.isTakenOver

	in    input
	s     *scratch // held while a request is read or served
	phase phase
	since time.Time // the phase began
	start time.Time // the first byte of the running request was there
	end   ending
	batch int  // answers since the last wait
	used  bool // a request was served already
	crlf  bool // the last request had a body: one CRLF behind it is let pass

	clock clock
	alarm alarm
	view  clientView
	cur   atomic.Pointer[exchange] // the request that is served, for those who watch
	// Set by whoever notices, read by the loop.
	gone, isCut, parked atomic.Bool
}

// phase is what a connection waits for.
type phase uint8

const (
	fresh   phase = iota // the first byte of its first request
	idle                 // the first byte of its next request
	inHead               // the rest of a head
	serving              // its handler
)

// ending says how a connection goes on.
type ending uint8

const (
	goOn      ending = iota
	closeNow         // nothing is left to say
	linger           // the client may still send: let it read the answer first
	abort            // the client has to notice that the answer is cut off
	takenOver        // somebody else closes it
)

// scratch is what a connection needs only while it has a request.
type scratch struct {
	head    Head
	whole   time.Time // the head was there
	want    demand
	out     []byte // heads and framing, not written yet
	pending []byte // the part of a body that is not framed yet
	tail    []byte // what ends a chunked body
}

const (
	outSize     = 8 << 10
	pendingSize = 4 << 10
)

var scratchPool = sync.Pool{New: func() any {
	return &scratch{
		head:    Head{list: make([]field, 0, 32)},
		out:     make([]byte, 0, outSize),
		pending: make([]byte, 0, pendingSize),
		tail:    make([]byte, 0, 256),
	}
}}

func newConn(ctx context.Context, s *Server, nc net.Conn, info ConnInfo) *conn {
	c := &conn{srv: s, nc: nc, base: ctx, info: info, since: time.Now()}
	c.in.src = bodySource{c}
	c.clock.nc, c.clock.waits = nc, &s.waits
	c.raw = newRawWire(c)
	return c
}

// serve runs the connection to its end.
func (c *conn) serve(prefix []byte) {
	defer c.finish()
	if len(prefix) > 0 {
		c.in.prefill(prefix)
	}
	if c.raw != nil {
		c.raw.loop()
	} else {
		c.loop()
	}
}

// begin notes that bytes of a request are there. A fresh connection's time has
// been running since it was accepted.
func (c *conn) begin(now time.Time) {
	if c.s == nil {
		c.s = scratchPool.Get().(*scratch)
	}
	if c.phase == idle {
		c.since = now
	}
	c.phase, c.start = inHead, now
	c.s.head.reset(requestHead)
}

// rest gives back what is only needed for a request.
func (c *conn) rest() {
	c.in.release()
	s := c.s
	if s == nil || c.in.buf != nil {
		return
	}
	c.s = nil
	if cap(s.head.list) > 256 || cap(s.out) > 4*outSize {
		return
	}
	s.head.buf = nil
	s.out, s.pending, s.tail = s.out[:0], s.pending[:0], s.tail[:0]
	scratchPool.Put(s)
}

// park gets ready to wait for bytes. It says no where the connection ends instead.
func (c *conn) park() bool {
	if c.phase != inHead {
		c.rest()
	}
	c.batch = 0
	c.clock.waitForHead(c.phase, c.since)
	c.parked.Store(true)
	switch {
	case c.isCut.Load():
		c.end = closeNow
	case c.phase != inHead && c.srv.draining.Load():
		c.end = closeNow
	default:
		return true
	}
	c.parked.Store(false)
	return false
}

// waitFailed decides what it means that a wait for a head ended without bytes.
func (c *conn) waitFailed(err error) {
	if !isTimeout(err) || c.isCut.Load() {
		c.end = closeNow
		return
	}
	limit, passed := c.clock.readPassed(time.Now())
	if !passed {
		return
	}
	if c.phase != inHead {
		c.srv.limitHit(limit)
		c.end = closeNow
		return
	}
	c.refuse(&Refusal{Status: http.StatusRequestTimeout, Limit: limit, Why: "request head took too long"})
}

// finish ends the connection as the loop decided.
func (c *conn) finish() {
	c.unwatch()
	c.alarm.stop()
	switch c.end {
	case takenOver:
		if c.taken != c.nc {
			_ = c.nc.Close() // it was handed over as a second descriptor
		}
		return
	case linger:
		c.linger()
	case abort:
		if t, ok := c.nc.(interface{ SetLinger(sec int) error }); ok {
			_ = t.SetLinger(0)
		}
	}
	_ = c.nc.Close()
	c.in.discard(len(c.in.bytes()))
	c.rest()
}

// linger ends our side and reads on for a while: were the connection closed
// with bytes unread, the kernel would reset it, and the client would lose an
// answer that it has not read yet (RFC 9112, section 9.6).
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || c.isCut.Load() || half.CloseWrite() != nil {
		return
	}
	_ = c.nc.SetReadDeadline(time.Now().Add(lingerTime))
	c.in.discard(len(c.in.bytes()))
	room := c.in.room(inputSize)
	for !c.isCut.Load() {
		if _, err := c.nc.Read(room); err != nil {
			return
		}
	}
}

// nudge wakes the loop where it waits for a request, so that it looks around.
func (c *conn) nudge() {
	if c.parked.Load() {
		_ = c.nc.SetReadDeadline(longAgo)
	}
}

// clientGone notes that the client closed its side or that the connection
// broke: the running request is cancelled, as net/http does it.
func (c *conn) clientGone() {
	c.gone.Store(true)
	if x := c.cur.Load(); x != nil {
		x.ctx.cancel(context.Canceled)
	}
	c.nudge()
}

// cut ends the connection from outside: what waits on it fails now. It does not
// close the file, which would wait for the loop.
func (c *conn) cut() {
	c.isCut.Store(true)
	if x := c.cur.Load(); x != nil {
		x.ctx.cancel(context.Canceled)
		if x.w.isTakenOver.Load() {
			_ = c.taken.Close()
			return
		}
	}
	_ = c.nc.SetDeadline(longAgo)
}

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// bodySource reads a request body off the connection.
type bodySource struct{ c *conn }

// Read reads once, as long as the deadlines of a body let it.
func (b bodySource) Read(p []byte) (int, error) {
	c := b.c
	c.clock.waitForBody(time.Now())
	for {
		if c.isCut.Load() {
			return 0, net.ErrClosed
		}
		n, err := c.nc.Read(p)
		if n > 0 || err == nil {
			return n, nil
		}
		if !isTimeout(err) {
			if err != io.EOF {
				c.clientGone()
			}
			return 0, err
		}
		if limit, passed := c.clock.readPassed(time.Now()); passed {
			return 0, &deadlineError{limit, err}
		}
	}
}
