package http1

import (
	"bytes"
	"net"
	"time"
)

// handOver prepares the connection for somebody else: no deadline, no watching,
// and what was read already is read again.
func (c *conn) handOver() (net.Conn, error) {
	c.stopPeek()
	c.unwatch()
	nc := c.nc
	if c.raw != nil {
		var err error
		if nc, err = c.raw.handOver(); err != nil {
			return nil, err
		}
	}
	c.taken = nc
	c.clock.disarm()
	if err := c.clock.setWrite(time.Time{}); err != nil {
		return nil, err
	}
	if unread := c.in.bytes(); len(unread) > 0 {
		nc = &unreadConn{Conn: nc, unread: bytes.Clone(unread)}
		c.in.discard(len(unread))
	}
	c.end = takenOver
	return nc, nil
}

// unreadConn is a connection with bytes that were read and given back.
type unreadConn struct {
	net.Conn
	unread []byte
}

// Read gives the bytes first.
func (u *unreadConn) Read(p []byte) (int, error) {
	if len(u.unread) > 0 {
		n := copy(p, u.unread)
		u.unread = u.unread[n:]
		return n, nil
	}
	return u.Conn.Read(p)
}

// CloseWrite ends our side, where the connection can.
func (u *unreadConn) CloseWrite() error {
	if half, ok := u.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return net.ErrClosed
}

// NetConn is the connection underneath, of which the first bytes are missing.
func (u *unreadConn) NetConn() net.Conn { return u.Conn }
