package edgetest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"
)

// BufferSize is how many bytes a connection holds in each direction before
// its writer waits.
const BufferSize = 64 << 10

// link is the two ends of a connection under one lock. Nobody waits with the
// lock held but in cond, which releases it.
type link struct {
	mu   sync.Mutex
	cond sync.Cond
	ends [2]end // mu
}

// end is what one side of a link knows.
type end struct {
	in       []byte // received and not yet read
	unread   int    // where in begins
	fin      bool   // the other side sends no more
	reset    bool   // the other side has reset the connection
	closed   bool   // this side closed
	finished bool   // this side sends no more
	abort    bool   // Close resets
	read     deadline
	write    deadline
	gone     chan struct{}
}

func (e *end) buffered() int { return len(e.in) - e.unread }

// take moves received bytes to p.
func (e *end) take(p []byte) int {
	n := copy(p, e.in[e.unread:])
	e.unread += n
	if e.unread == len(e.in) {
		e.in, e.unread = e.in[:0], 0
	}
	return n
}

// put appends what has room.
func (e *end) put(p []byte) int {
	n := min(len(p), BufferSize-e.buffered())
	if e.unread > 0 && len(e.in)+n > cap(e.in) {
		e.in = e.in[:copy(e.in, e.in[e.unread:])]
		e.unread = 0
	}
	e.in = append(e.in, p[:n]...)
	return n
}

func (e *end) drop() { e.in, e.unread = nil, 0 }

// leave tells this side that the other has gone for good.
func (e *end) leave() {
	select {
	case <-e.gone:
	default:
		close(e.gone)
	}
}

type deadline struct {
	at    time.Time
	timer *time.Timer
}

func (d *deadline) passed() bool { return !d.at.IsZero() && !time.Now().Before(d.at) }

func (d *deadline) stop() {
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// Conn is one end of a connection in memory. It behaves as a TCP connection
// of Linux does, latency aside: what was delivered before a reset can still be
// read; closing with unread bytes resets; the first write to an end that has
// closed seems to succeed.
type Conn struct {
	link          *link
	side          int
	local, remote net.Addr
}

// Pipe is a connection between two addresses that no listener knows of.
func Pipe(a, b net.Addr) (*Conn, *Conn) {
	l := new(link)
	l.cond.L = &l.mu
	l.ends[0].gone = make(chan struct{})
	l.ends[1].gone = make(chan struct{})
	return &Conn{l, 0, a, b}, &Conn{l, 1, b, a}
}

func (c *Conn) mine() *end   { return &c.link.ends[c.side] }
func (c *Conn) theirs() *end { return &c.link.ends[1-c.side] }

// Read waits for bytes, the other end's close, a reset or the deadline.
func (c *Conn) Read(p []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	me := c.mine()
	for {
		switch {
		case me.closed:
			return 0, c.fault("read", net.ErrClosed)
		case me.read.passed():
			return 0, c.fault("read", os.ErrDeadlineExceeded)
		case len(p) == 0:
			return 0, nil
		case me.buffered() > 0:
			n := me.take(p)
			c.link.cond.Broadcast()
			return n, nil
		case me.fin:
			return 0, io.EOF
		case me.reset:
			return 0, c.fault("read", os.NewSyscallError("read", syscall.ECONNRESET))
		}
		c.link.cond.Wait()
	}
}

// Write waits until all of p is in the other end's buffer.
func (c *Conn) Write(p []byte) (int, error) {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	me, peer := c.mine(), c.theirs()
	for n := 0; ; {
		switch {
		case me.closed:
			return n, c.fault("write", net.ErrClosed)
		case me.write.passed():
			return n, c.fault("write", os.ErrDeadlineExceeded)
		case me.finished, me.reset && me.fin:
			return n, c.fault("write", os.NewSyscallError("write", syscall.EPIPE))
		case me.reset:
			return n, c.fault("write", os.NewSyscallError("write", syscall.ECONNRESET))
		case peer.closed:
			// It goes out, and is answered by a reset.
			me.reset = true
			c.link.cond.Broadcast()
			return len(p), nil
		}
		if k := peer.put(p[n:]); k > 0 {
			n += k
			c.link.cond.Broadcast()
		}
		if n == len(p) {
			return n, nil
		}
		c.link.cond.Wait()
	}
}

// Close ends both directions. The other end reads what was delivered, then
// io.EOF; with bytes unread here, or after SetLinger(0), it finds a reset.
func (c *Conn) Close() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.mine().closed {
		return c.fault("close", net.ErrClosed)
	}
	c.closeLocked(c.mine().abort || c.mine().buffered() > 0)
	return nil
}

// end is Close where closed already is as good.
func (c *Conn) end() { _ = c.Close() }

// Reset ends both directions at once: the other end reads what was delivered,
// then finds ECONNRESET. It is SetLinger(0) and Close.
func (c *Conn) Reset() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if !c.mine().closed {
		c.closeLocked(true)
	}
}

func (c *Conn) closeLocked(reset bool) {
	me, peer := c.mine(), c.theirs()
	me.closed = true
	me.drop()
	me.read.stop()
	me.write.stop()
	if reset {
		peer.reset = true
	} else {
		peer.fin = true
	}
	peer.leave()
	me.leave()
	c.link.cond.Broadcast()
}

// CloseWrite ends this direction: the other end reads io.EOF behind what was
// delivered, and may go on writing.
func (c *Conn) CloseWrite() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	if c.mine().closed {
		return c.fault("close", net.ErrClosed)
	}
	c.mine().finished = true
	c.theirs().fin = true
	c.link.cond.Broadcast()
	return nil
}

// SetLinger with 0 makes Close reset the connection; other values are ignored.
func (c *Conn) SetLinger(seconds int) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.mine().abort = seconds == 0
	return nil
}

// Gone is closed when the connection has ended, by either end. A half-close
// does not end it.
func (c *Conn) Gone() <-chan struct{} { return c.mine().gone }

// Quiet is nil while the connection is open and has nothing to read. It does
// not wait.
func (c *Conn) Quiet() error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	switch me := c.mine(); {
	case me.closed:
		return c.fault("look", net.ErrClosed)
	case me.buffered() > 0:
		return c.fault("look", errors.New("there are bytes to read"))
	case me.fin:
		return io.EOF
	case me.reset:
		return c.fault("look", os.NewSyscallError("look", syscall.ECONNRESET))
	}
	return nil
}

// LocalAddr is this end's address, for TCP a *net.TCPAddr.
func (c *Conn) LocalAddr() net.Addr { return c.local }

// RemoteAddr is the other end's address, for TCP a *net.TCPAddr.
func (c *Conn) RemoteAddr() net.Addr { return c.remote }

// SetDeadline bounds reads and writes, those that wait already too.
func (c *Conn) SetDeadline(t time.Time) error { return c.bound(t, true, true) }

// SetReadDeadline bounds reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.bound(t, true, false) }

// SetWriteDeadline bounds writes.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.bound(t, false, true) }

func (c *Conn) bound(t time.Time, read, write bool) error {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	me := c.mine()
	if me.closed {
		return c.fault("set", net.ErrClosed)
	}
	if read {
		c.setLocked(&me.read, t)
	}
	if write {
		c.setLocked(&me.write, t)
	}
	return nil
}

func (c *Conn) setLocked(d *deadline, t time.Time) {
	d.stop()
	d.at = t
	if wait := time.Until(t); !t.IsZero() && wait > 0 {
		d.timer = time.AfterFunc(wait, c.wake)
	}
	c.link.cond.Broadcast()
}

func (c *Conn) wake() {
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	c.link.cond.Broadcast()
}

func (c *Conn) fault(op string, err error) error {
	return &net.OpError{Op: op, Net: c.local.Network(), Source: c.local, Addr: c.remote, Err: err}
}
