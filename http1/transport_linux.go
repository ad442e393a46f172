package http1

import (
	"io"
	"net"
	"syscall"
	"time"
	"unsafe"
)

// rawExchange is the driver for TCP on Linux. A request is written and the
// first bytes of its answer are read in one callback of the runtime's poller:
// a look, a write, and a read when there is something to read. net.Conn would
// try to read once more before it waits.
//
// The system calls do not block, so they need not be announced to the scheduler.
type rawExchange struct {
	rc   syscall.RawConn
	step func(fd uintptr) bool
	take func(fd uintptr)

	// The running exchange.
	out    []byte // what is to be written
	in     *input
	looked bool // the connection was quiet, and out was written as far as wrote says
	wrote  int
	err    error

	// The running readReady.
	into []byte
	took int
}

func newRawExchange(c net.Conn) *rawExchange {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return nil
	}
	rc, err := tcp.SyscallConn()
	if err != nil {
		return nil
	}
	x := &rawExchange{rc: rc}
	x.step, x.take = x.run, x.takeReady
	return x
}

func (x *rawExchange) exchange(o *originConn, out []byte, in *input, bound time.Duration) error {
	x.out, x.in, x.looked, x.wrote, x.err = out, in, false, 0, nil
	defer func() { x.out, x.in = nil, nil }()
	for {
		err := x.rc.Read(x.step)
		o.wrote = x.wrote
		switch {
		case err != nil && isTimeout(err) && o.early():
			continue
		case err != nil:
			return err
		case x.err != nil && x.wrote == 0 && !x.looked:
			return o.loud(x.err)
		case x.err != nil:
			return x.err
		case x.wrote < len(out):
			// The send buffer is full. Waiting for it is the portable driver's.
			n, err := o.write(out[x.wrote:], bound)
			x.wrote += n
			if err != nil {
				o.wrote = x.wrote
				return err
			}
			continue
		}
		return nil
	}
}

// run is called with the descriptor, first after the poller forgot what it
// knew of it. What it forgot, the look finds: an end or bytes that came while
// the connection was idle. All that comes later wakes it again. So it may wait
// after the write without having tried to read.
func (x *rawExchange) run(fd uintptr) (done bool) {
	if !x.looked {
		if x.err = peekSocket(fd); x.err != nil {
			return true
		}
		x.looked = true
		n, errno := sendSocket(fd, x.out)
		switch {
		case errno == syscall.EAGAIN || errno == 0 && n < len(x.out):
			x.wrote = n
			return true
		case errno != 0:
			x.err = errno
			return true
		}
		x.wrote = n
		return false
	}
	n, errno := recvSocket(fd, x.in.room(inputSize), 0)
	switch {
	case errno == syscall.EAGAIN:
		return false
	case errno != 0:
		x.err = errno
	case n == 0:
		x.err = io.EOF
	default:
		x.in.filled(n)
	}
	return true
}

// readReady reads once without waiting. It is 0 and nil if nothing is there.
func (x *rawExchange) readReady(p []byte) (int, error) {
	x.into, x.took, x.err = p, 0, nil
	if err := x.rc.Control(x.take); err != nil {
		x.err = err
	}
	x.into = nil
	return x.took, x.err
}

func (x *rawExchange) takeReady(fd uintptr) {
	n, errno := recvSocket(fd, x.into, syscall.MSG_DONTWAIT)
	switch {
	case errno == syscall.EAGAIN:
	case errno != 0:
		x.err = errno
	case n == 0:
		x.err = io.EOF
	default:
		x.took = n
	}
}

func peekSocket(fd uintptr) error {
	var one [1]byte
	n, errno := recvSocket(fd, one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case errno == syscall.EAGAIN:
		return nil
	case errno != 0:
		return errno
	case n == 0:
		return io.EOF
	}
	return errUnsolicited
}

func recvSocket(fd uintptr, p []byte, flags uintptr) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_RECVFROM, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), flags, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}

func sendSocket(fd uintptr, p []byte) (int, syscall.Errno) {
	for {
		n, _, errno := syscall.RawSyscall6(syscall.SYS_SENDTO, fd, uintptr(unsafe.Pointer(unsafe.SliceData(p))), uintptr(len(p)), syscall.MSG_NOSIGNAL, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case syscall.EINTR:
		default:
			return 0, errno
		}
	}
}
