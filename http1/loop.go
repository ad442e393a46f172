package http1

import (
	"net/http"
	"runtime"
	"time"
)

// step is what the loop needs next.
type step uint8

const (
	needBytes step = iota
	needHandler
	needNothing // c.end says how the connection ends
)

// advance is the loop without its input and output: it looks at the bytes that
// are there, adds the answers that Hot has for them to the output, and says what
// is needed next. Both drivers stand on it.
func (c *conn) advance(now time.Time) step {
	for {
		b := c.in.bytes()
		if len(b) == 0 {
			return needBytes
		}
		if c.phase != inHead {
			if c.crlf && b[0] == '\r' {
				if c.crlf = len(b) == 1; c.crlf {
					return needBytes
				}
				if b[1] == '\n' {
					c.in.discard(2)
					continue
				}
			}
			c.begin(now)
		}
		done, err := c.s.head.parse(b, c.srv.headLimits())
		if err == nil && !done {
			return needBytes
		}
		if err == nil {
			c.s.want, err = c.s.head.demand()
		}
		if err == nil && c.s.want.framing.length > int64(c.srv.limits.Body) {
			err = tooLarge(http.StatusRequestEntityTooLarge, "body", "request body too large")
		}
		if err != nil {
			c.refuse(err.(*Refusal)) //nolint:errorlint // the parser's errors are of this type, bare
			return needNothing
		}
		c.crlf = false
		c.s.whole = now
		if !c.answerHot(now) {
			return needHandler
		}
		if c.end != goOn {
			return needNothing
		}
	}
}

// answerHot asks Hot for the request whose head is there.
func (c *conn) answerHot(now time.Time) bool {
	hot := c.srv.Hot
	h := &c.s.head
	if hot == nil || !c.plain() || c.srv.draining.Load() {
		return false
	}
	isHead := len(h.Method()) == len("HEAD")
	size := h.size
	out, body, ok := hot.Answer(now, h, &c.info, c.s.out)
	if !ok {
		return false
	}
	c.s.out = out
	c.in.discard(size)
	c.phase, c.since, c.used = idle, now, true
	if isHead {
		body = nil
	}
	if len(out)+len(body) <= cap(out) {
		c.s.out = append(out, body...)
	} else if c.flushOut(body) != nil {
		return true
	}
	c.yield()
	return true
}

// plain says whether the request in the scratch is one that Hot may answer.
func (c *conn) plain() bool {
	h, d := &c.s.head, &c.s.want
	m := h.Method()
	return (string(m) == http.MethodGet || string(m) == http.MethodHead) && h.minor == 1 && d.keepAlive &&
		!d.absolute && d.framing.kind == noBody && !d.upgrade && !h.Has(NameExpect) && !h.Has(NameContentLength)
}

// yield lets others have their turn after many pipelined requests.
func (c *conn) yield() {
	c.batch++
	if c.batch >= pipelineBatch {
		c.batch = 0
		if c.flushOut(nil) == nil {
			runtime.Gosched()
		}
	}
}

// flushOut writes the answers that wait, and a body behind them.
func (c *conn) flushOut(body []byte) error {
	if c.s == nil || len(c.s.out)+len(body) == 0 {
		return nil
	}
	err := c.write([...][]byte{c.s.out, body, nil, nil})
	c.s.out = c.s.out[:0]
	if err != nil {
		c.end = closeNow
	}
	return err
}

// loop is the driver for any net.Conn.
func (c *conn) loop() {
	for c.end == goOn {
		now := time.Now()
		switch c.advance(now) {
		case needHandler:
			c.serveRequest()
		case needBytes:
			if c.flushOut(nil) == nil && c.park() {
				c.readMore()
			}
		}
	}
}

// readMore waits for bytes of a head. An idle connection waits without a
// buffer, for its first byte.
func (c *conn) readMore() {
	var first [1]byte
	var n int
	var err error
	if c.in.buf == nil {
		if n, err = c.nc.Read(first[:]); n > 0 {
			c.in.prefill(first[:])
		}
	} else {
		room := c.in.room(int(c.srv.limits.Head) + 1)
		n, err = c.nc.Read(room)
		c.in.filled(n)
	}
	c.parked.Store(false)
	if n == 0 && err != nil {
		c.waitFailed(err)
	}
}
