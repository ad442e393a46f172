//go:build unix && !linux

package http1

import (
	"io"
	"net"
	"syscall"
	"time"
)

// rawExchange is the driver for TCP on Linux; elsewhere there is only the portable one.
type rawExchange struct{}

func (*rawExchange) readReady([]byte) (int, error) { return 0, nil }

func newRawExchange(net.Conn) *rawExchange { return nil }

func (*rawExchange) exchange(*originConn, []byte, *input, time.Duration) error {
	panic("http1: the Linux driver was used elsewhere")
}

// newPeek looks at a socket without waiting. The result of the function is nil
// if it is open and has nothing to read. A connection in memory says so itself.
func newPeek(c net.Conn) func() error {
	if q, ok := c.(interface{ Quiet() error }); ok {
		return q.Quiet
	}
	sc, ok := c.(syscall.Conn)
	if !ok {
		return nil
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		return nil
	}
	return func() error {
		var seen error
		err := rc.Control(func(fd uintptr) {
			var one [1]byte
			n, _, e := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
			switch {
			case e == syscall.EAGAIN || e == syscall.EINTR:
			case e != nil:
				seen = e
			case n == 0:
				seen = io.EOF
			default:
				seen = errUnsolicited
			}
		})
		if err != nil {
			return err
		}
		return seen
	}
}
