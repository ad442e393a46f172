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

// peekSocket looks at a socket without waiting. It is nil if that is open and
// has nothing to read.
func peekSocket(fd uintptr) error {
	var one [1]byte
	n, _, err := syscall.Recvfrom(int(fd), one[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
	switch {
	case err == syscall.EAGAIN || err == syscall.EINTR:
		return nil
	case err != nil:
		return err
	case n == 0:
		return io.EOF
	}
	return errUnsolicited
}
