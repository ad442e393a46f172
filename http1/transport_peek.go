package http1

import (
	"net"
	"syscall"
)

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
		if err := rc.Control(func(fd uintptr) { seen = peekSocket(fd) }); err != nil {
			return err
		}
		return seen
	}
}
