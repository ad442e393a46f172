package http1

import (
	"io"
	"net"
	"os"
	"syscall"
	"time"
	"unsafe"
)

// rawWire is the driver for TCP on linux. The whole keep-alive loop runs inside
// one Read callback of the connection's syscall.RawConn: after a read that did
// not fill its buffer the callback says "not yet", and the goroutine waits
// without the read that would only learn that there is nothing. So a request
// costs two system calls, as in an event loop.
//
// While the callback runs nobody else may read the connection. So a request
// whose body is not there yet, or that offers an upgrade, is served outside.
type rawWire struct {
	c         *conn
	tcp       *net.TCPConn
	rc        syscall.RawConn
	readTurn  func(fd uintptr) bool
	writeTurn func(fd uintptr) bool

	inside  bool // the read callback runs
	drained bool // the last read left nothing
	// watched says that the watcher tells when the client ends its side. Without
	// it the loop reads although it is drained: the kernel tells of bytes and of
	// the end behind them at once, and not of the end again.
	watched bool
	err     error

	pending  [4][]byte // what writeTurn writes
	iov      [4]syscall.Iovec
	blocked  bool // the client has not taken anything since the deadline was set
	deadline string
	werr     error

	calls int // system calls, for the tests
}

// newRawWire is the raw driver for c, nil if it is no TCP connection.
func newRawWire(c *conn) *rawWire {
	tcp, ok := c.nc.(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	w := &rawWire{c: c, tcp: tcp, rc: rc}
	w.readTurn, w.writeTurn = w.turn, w.writeReady
	return w
}

// loop is the driver: it goes round once for every wait that failed and every
// request that is served outside of the callback.
func (w *rawWire) loop() {
	c := w.c
	for c.end == goOn {
		w.err = nil
		err := w.rc.Read(w.readTurn)
		c.parked.Store(false)
		w.inside = false
		switch {
		case err != nil:
			c.waitFailed(err)
		case w.err != nil:
			c.end = closeNow
		case c.end == goOn:
			c.serveRequest()
		}
	}
}

// turn runs the loop as far as it goes. It returns false to wait for bytes, and
// true where the loop has to go on outside or ends.
func (w *rawWire) turn(fd uintptr) bool {
	c := w.c
	c.parked.Store(false)
	w.inside = true
	for {
		now := time.Now()
		switch c.advance(now) {
		case needNothing:
			return true
		case needHandler:
			if c.needsWire() {
				w.drained = false
				return true
			}
			c.serveRequest()
			if c.end != goOn {
				return true
			}
			continue
		}
		if c.flushOut(nil) != nil {
			return true
		}
		if w.drained && w.isWatched() {
			w.drained = false
			if !c.park() {
				return true
			}
			if !c.gone.Load() {
				return false
			}
			c.parked.Store(false) // the end of the connection was told already and is not told again
		}
		if !w.read(fd) {
			return !c.park()
		}
		if w.err != nil {
			return true
		}
	}
}

// isWatched sees to it that the end of a connection that is kept is told.
func (w *rawWire) isWatched() bool {
	if !w.watched {
		w.watched = w.c.watchSocket()
	}
	return w.watched
}

// read reads once. It says no where nothing is there.
func (w *rawWire) read(fd uintptr) bool {
	in := &w.c.in
	room := in.room(int(w.c.srv.limits.Head) + 1)
	for {
		n, errno := sysRead(fd, room)
		w.calls++
		switch {
		case errno == syscall.EINTR:
			continue
		case errno == syscall.EAGAIN:
			w.drained = false
			return false
		case errno != 0:
			w.err = errno
		case n == 0:
			w.err = io.EOF
		default:
			in.filled(n)
			w.drained = n < len(room)
		}
		return true
	}
}

// needsWire says whether the request in the scratch cannot be served while the
// callback runs.
func (c *conn) needsWire() bool {
	d := &c.s.want
	switch d.framing.kind {
	case chunked:
		return true
	case counted:
		if d.framing.length > int64(len(c.in.bytes())-c.s.head.size) {
			return true
		}
	}
	return d.upgrade || d.expect
}

// write sends all of bufs with as few system calls as the socket lets it.
func (w *rawWire) write(bufs [4][]byte) error {
	w.pending, w.werr, w.blocked = bufs, nil, false
	defer func() { w.pending, w.iov = [4][]byte{}, [4]syscall.Iovec{} }()
	for {
		err := w.rc.Write(w.writeTurn)
		if err == nil {
			return w.werr
		}
		if !isTimeout(err) || w.c.isCut.Load() {
			return err
		}
		if w.blocked {
			return &deadlineError{w.deadline, err}
		}
		// A deadline of an earlier answer, or one that the handler set.
		until, name, err := w.c.clock.waitForWrite(time.Now())
		if err != nil {
			return err
		}
		if !until.IsZero() && !time.Now().Before(until) {
			return &deadlineError{name, os.ErrDeadlineExceeded}
		}
	}
}

// writeReady writes until all is written or the socket is full.
func (w *rawWire) writeReady(fd uintptr) bool {
	for {
		n, errno := w.writeOnce(fd)
		w.calls++
		switch errno {
		case 0:
			w.blocked = false
			if w.took(n) {
				return true
			}
		case syscall.EINTR:
		case syscall.EAGAIN:
			if !w.blocked {
				w.blocked = true
				_, w.deadline, w.werr = w.c.clock.waitForWrite(time.Now())
			}
			if w.c.isCut.Load() {
				w.werr = net.ErrClosed
			}
			return w.werr != nil
		default:
			w.werr = errno
			return true
		}
	}
}

// writeOnce is one system call.
func (w *rawWire) writeOnce(fd uintptr) (int, syscall.Errno) {
	count, only := 0, 0
	for i, b := range w.pending {
		if len(b) > 0 {
			w.iov[count].Base = unsafe.SliceData(b)
			w.iov[count].SetLen(len(b))
			count, only = count+1, i
		}
	}
	if count == 0 {
		return 0, 0
	}
	if count == 1 {
		return sysWrite(fd, w.pending[only])
	}
	return sysWritev(fd, w.iov[:count])
}

// took notes that n bytes were written and says whether that was all.
func (w *rawWire) took(n int) bool {
	all := true
	for i, b := range w.pending {
		k := min(n, len(b))
		w.pending[i] = b[k:]
		n -= k
		all = all && k == len(b)
	}
	return all
}

// handOver is the connection for somebody else. Inside of the callback, which
// keeps the connection's reading side to itself, it is a second descriptor of
// the same socket.
func (w *rawWire) handOver() (net.Conn, error) {
	if !w.inside {
		return w.tcp, nil
	}
	f, err := w.tcp.File()
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return net.FileConn(f)
}

func sysRead(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_READ, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), e
}

func sysWrite(fd uintptr, p []byte) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITE, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)))
	return int(n), e
}

func sysWritev(fd uintptr, iov []syscall.Iovec) (int, syscall.Errno) {
	n, _, e := syscall.RawSyscall(syscall.SYS_WRITEV, fd, uintptr(unsafe.Pointer(unsafe.SliceData(iov))), uintptr(len(iov)))
	return int(n), e
}

// measureRTT asks the kernel for the smoothed round trip time.
func (c *conn) measureRTT() time.Duration {
	tcp := socketOf(c.nc)
	if tcp == nil {
		return 0
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return 0
	}
	var info syscall.TCPInfo
	size := uint32(unsafe.Sizeof(info))
	err = rc.Control(func(fd uintptr) {
		_, _, e := syscall.RawSyscall6(syscall.SYS_GETSOCKOPT, fd, syscall.IPPROTO_TCP, syscall.TCP_INFO,
			uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
		if e != 0 {
			info.Rtt = 0
		}
	})
	if err != nil {
		return 0
	}
	return time.Duration(info.Rtt) * time.Microsecond
}
