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
	var gathered []byte
	for i, b := range bufs {
		if len(b) == 0 {
			continue
		}
		if gathered == nil {
			gathered = b[:len(b):len(b)]
			continue
		}
		if len(b) <= outSize {
			gathered = append(gathered, b...)
			bufs[i] = nil
			continue
		}
		if err := c.writeParts(gathered); err != nil {
			return err
		}
		gathered = b[:len(b):len(b)]
	}
	return c.writeParts(gathered)
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
