package http1

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// originConn is one connection to the origin. It belongs to one request at a
// time, or lies in the pool; it holds no buffer of its own.
type originConn struct {
	c         net.Conn
	raw       *rawExchange // nil where the portable driver is used
	peek      func() error // looks at what the kernel holds unread; nil if it cannot be asked
	direct    bool         // peek sees all that Read would give: there is no layer such as TLS between
	reused    bool         // it has carried a request before
	idleSince time.Time
	wrote     int    // bytes that the connection took of the running request's head, and of a body written with it
	cancel    func() // closes it at once; kept, so that watching a context needs no new function

	perRead    time.Duration // every Read may take so long; 0 is as expect said
	writeArmed bool          // a write deadline is set
	late       error         // what readReady met; Read tells it

	mu    sync.Mutex // guards what is below: a request's body is sent beside the answer
	by    time.Time  // when the wait for bytes ends; zero is never
	armed time.Time  // the read deadline that is set; zero is none
}

func newOriginConn(c net.Conn) *originConn {
	o := &originConn{c: c}
	o.raw = newRawExchange(c)
	inner := innermost(c)
	o.direct = inner == c
	o.peek = newPeek(inner)
	o.cancel = func() { inner.Close() }
	return o
}

// innermost is the connection below TLS. It is closed directly where a request
// is cut: a farewell that an unwilling origin does not take would delay that.
func innermost(c net.Conn) net.Conn {
	for {
		layer, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			return c
		}
		c = layer.NetConn()
	}
}

// expect bounds the wait for bytes from now on. 0 is no bound.
//
// Setting a deadline costs more than looking at the clock, and nearly all are
// put off before they pass. So one that is set already and passes earlier is
// left alone: when it passes, Read sees that it was too early and sets the
// right one. A busy connection sets one deadline for each FirstByte of time.
func (o *originConn) expect(d time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if d <= 0 {
		o.by = time.Time{}
		return
	}
	o.by = time.Now().Add(d)
	if o.armed.IsZero() || o.by.Before(o.armed) {
		o.armLocked()
	}
}

func (o *originConn) armLocked() {
	o.armed = o.by
	o.c.SetReadDeadline(o.by) // an error means that the connection is closed: the read says so
}

// early says that a passed deadline was none of this wait, and sets the one that is.
func (o *originConn) early() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.by.IsZero() && !time.Now().Before(o.by) {
		return false
	}
	o.armLocked()
	return true
}

// Read is io.Reader.
func (o *originConn) Read(p []byte) (int, error) {
	if o.late != nil {
		return 0, o.late
	}
	if o.perRead > 0 {
		o.expect(o.perRead)
	}
	for {
		n, err := o.c.Read(p)
		if n > 0 || err == nil || !errors.Is(err, os.ErrDeadlineExceeded) || !o.early() {
			return n, err
		}
	}
}

// readReady reads what is there without waiting, 0 bytes if nothing is or the
// driver cannot tell.
func (o *originConn) readReady(p []byte) int {
	if o.raw == nil || o.late != nil {
		return 0
	}
	n, err := o.raw.readReady(p)
	o.late = err
	return n
}

// exchange sends out, within bound, and reads the first bytes of the answer
// into in. It is errStale, with nothing sent, if the connection was closed or
// had something to read before.
func (o *originConn) exchange(out []byte, in *input, bound time.Duration) error {
	if o.raw != nil {
		return o.raw.exchange(o, out, in, bound)
	}
	if err := o.send(out, bound); err != nil {
		return err
	}
	_, err := in.fill(inputSize)
	return err
}

// send writes a request's head, after a look whether the connection is quiet.
func (o *originConn) send(out []byte, bound time.Duration) error {
	if err := o.quiet(); err != nil {
		return err
	}
	if len(out) <= smallWrite {
		bound = 0 // an empty send buffer takes it, so it cannot wait
	}
	n, err := o.write(out, bound)
	o.wrote += n
	return err
}

// write writes all of p within d; 0 is no bound.
func (o *originConn) write(p []byte, d time.Duration) (int, error) {
	if d != 0 || o.writeArmed {
		var by time.Time
		if o.writeArmed = d != 0; o.writeArmed {
			by = time.Now().Add(d)
		}
		o.c.SetWriteDeadline(by)
	}
	return o.c.Write(p)
}

// quiet says whether the connection is open and has nothing to read: before a
// request there is nothing that an honest origin could have sent. What lies
// there would be taken for the answer, and it may have been made by the client
// who used the connection before.
func (o *originConn) quiet() error {
	// A fresh TLS connection may hold session tickets; those are no answer.
	if o.peek != nil && (o.direct || o.reused) {
		if err := o.peek(); err != nil {
			return o.loud(err)
		}
	}
	if o.direct && o.peek != nil {
		return nil
	}
	// TLS may hold a record that the kernel gave it already. A read whose
	// deadline has passed sees it, and waits for nothing.
	o.mu.Lock()
	defer o.mu.Unlock()
	o.armed = time.Time{}
	defer o.armLocked()
	o.c.SetReadDeadline(time.Unix(1, 0))
	var one [1]byte
	n, err := o.c.Read(one[:])
	switch {
	case n > 0:
		return o.loud(errUnsolicited)
	case err != nil && !errors.Is(err, os.ErrDeadlineExceeded):
		return o.loud(err)
	}
	return nil
}

// loud is the error of a connection that was not quiet. On one that was used
// before it means no more than to take another.
func (o *originConn) loud(err error) error {
	if o.reused {
		return errStale
	}
	if err == io.EOF {
		err = net.ErrClosed
	}
	return err
}

// clearDeadlines is for an upgraded connection.
func (o *originConn) clearDeadlines() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.by, o.armed, o.perRead = time.Time{}, time.Time{}, 0
	o.c.SetDeadline(time.Time{})
}
