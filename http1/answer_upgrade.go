package http1

import (
	"errors"
	"io"
	"sync"
)

// upgraded is the body of an answer 101: the connection in another protocol.
// It counts as one of MaxConns until it is closed, and is closed when the
// request's context ends.
type upgraded struct {
	t    *Transport
	conn *originConn
	in   input // what came behind the head
	stop func() bool
	once sync.Once
}

var _ io.ReadWriteCloser = (*upgraded)(nil)

// switchProtocol makes the connection the body.
func (a *answer) switchProtocol() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sending != sendNone && a.sending != sendLast && a.sending != sendDone {
		return refuse("the protocol was switched before the request was through")
	}
	a.headIn = true
	u := &upgraded{t: a.t, conn: a.conn, in: a.in, stop: a.stop}
	a.conn, a.in, a.stop = nil, input{}, nil
	u.conn.clearDeadlines()
	a.resp.Body = u
	return nil
}

// Read is io.Reader. It gives what came behind the head first.
func (u *upgraded) Read(p []byte) (int, error) {
	if len(u.in.bytes()) > 0 {
		n := copy(p, u.in.bytes())
		u.in.discard(n)
		return n, nil
	}
	u.in.release()
	return u.conn.c.Read(p)
}

// Write is io.Writer.
func (u *upgraded) Write(p []byte) (int, error) { return u.conn.c.Write(p) }

// CloseWrite tells the origin that no more comes. Reading goes on.
func (u *upgraded) CloseWrite() error {
	half, ok := u.conn.c.(interface{ CloseWrite() error })
	if !ok {
		return errors.ErrUnsupported
	}
	return half.CloseWrite()
}

// Close is io.Closer.
func (u *upgraded) Close() error {
	var err error
	u.once.Do(func() {
		if u.stop != nil {
			u.stop()
		}
		err = u.conn.c.Close()
		u.t.release()
	})
	return err
}
