package http1

import (
	"errors"
	"net"
	"os"
	"time"
)

// write sends all of bufs, in order, each part within the write deadline. An
// error is final.
func (c *conn) write(bufs [4][]byte) error {
	if c.isCut.Load() {
		return net.ErrClosed
	}
	if c.raw != nil {
		return c.raw.write(bufs)
	}
	return c.writePlain(bufs)
}

// writePlain is for any net.Conn. It gathers what is small, because over TLS
// every write is a record.
func (c *conn) writePlain(bufs [4][]byte) error {
	if len(bufs[1])+len(bufs[2])+len(bufs[3]) == 0 {
		return c.writeParts(bufs[0])
	}
	room := copyPool.Get().(*[copySize]byte)
	defer copyPool.Put(room)
	n := 0
	for _, b := range bufs {
		for len(b) > 0 {
			if n == 0 && len(b) >= copySize {
				if err := c.writeParts(b); err != nil {
					return err
				}
				break
			}
			k := copy(room[n:], b)
			n, b = n+k, b[k:]
			if n == copySize {
				if err := c.writeParts(room[:]); err != nil {
					return err
				}
				n = 0
			}
		}
	}
	return c.writeParts(room[:n])
}

// writeParts writes b in parts of which each has the time of the write deadline.
func (c *conn) writeParts(b []byte) error {
	for len(b) > 0 {
		part := b[:min(len(b), writePart)]
		_, name, err := c.clock.waitForWrite(time.Now())
		if err != nil {
			return err
		}
		if c.isCut.Load() {
			return net.ErrClosed
		}
		n, err := c.nc.Write(part)
		if err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = &deadlineError{name, err}
			}
			return err
		}
		b = b[n:]
	}
	return nil
}
