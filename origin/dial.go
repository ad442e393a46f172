package origin

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"syscall"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
)

// newTransport makes the connections to one address of the endpoint.
func (e *endpoint) newTransport(addr string) transport {
	if e.key.protocol != selvage.HTTP1 {
		return newH2Transport(e, addr)
	}
	return &http1.Transport{
		Dial:        func(ctx context.Context) (net.Conn, error) { return e.dial(ctx, addr) },
		MaxConns:    e.key.conns.Max,
		Wait:        e.key.connect.Std(),
		MaxIdle:     e.key.conns.Idle,
		IdleTimeout: e.key.conns.IdleTimeout.Std(),
		FirstByte:   e.key.firstByte.Std(),
		Idle:        e.key.idle.Std(),
		OnLimit:     e.reg.limitHit,
	}
}

// dial connects, with TLS where the endpoint has it, within the connect timeout.
// Its errors are *selvage.ProxyError.
func (e *endpoint) dial(ctx context.Context, addr string) (net.Conn, error) {
	if d := e.key.connect.Std(); d > 0 {
		limited, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		ctx = limited
	}
	record.From(ctx).Origin.Dials++ // http1 dials on the request's own goroutine
	c, err := e.reg.dial(ctx, addr)
	if err != nil {
		return nil, dialError(addr, err)
	}
	if e.tls == nil {
		return c, nil
	}
	wire := &wire{Conn: c}
	secure := &closedConn{Conn: tls.Client(wire, e.tls), wire: wire}
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, dialError(addr, err)
	}
	return secure, nil
}

// closedConn is TLS that ends only where the origin said that it does. crypto/tls
// takes a connection that was cut between two records for one that was closed,
// and an answer that has no length would be whole wherever somebody cut it (RFC
// 9112, section 9.8).
type closedConn struct {
	*tls.Conn
	wire *wire
}

func (c *closedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if err == io.EOF && c.wire.ended.Load() {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

// wire is what TLS goes over. After a closure alert TLS does not read on, so the
// end is seen here only where there was none.
type wire struct {
	net.Conn
	ended atomic.Bool
}

func (w *wire) Read(p []byte) (int, error) {
	n, err := w.Conn.Read(p)
	if err == io.EOF {
		w.ended.Store(true)
	}
	return n, err
}

func dialError(addr string, err error) error {
	return &selvage.ProxyError{Type: dialErrorType(err), Endpoint: addr, Err: err}
}

// dialErrorType says in the words of RFC 9209 why there is no connection.
func dialErrorType(err error) selvage.ProxyErrorType {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case isCertificateError(err):
		return selvage.TLSCertificateError
	case isTLSError(err):
		return selvage.TLSProtocolError
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded), timeout != nil && timeout.Timeout():
		return selvage.ConnectionTimeout
	case errors.Is(err, syscall.ECONNREFUSED):
		return selvage.ConnectionRefused
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH), errors.Is(err, syscall.EADDRNOTAVAIL):
		return selvage.DestinationUnroutable
	case errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.EACCES), errors.Is(err, syscall.EPERM):
		return selvage.ProxyInternalError // nothing that the origin could do anything about
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, context.Canceled):
		return selvage.ConnectionTerminated
	}
	return selvage.DestinationDown
}

// isCertificateError says whether we refuse the origin's certificate.
func isCertificateError(err error) bool {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return true
	}
	_, authority := errors.AsType[x509.UnknownAuthorityError](err)
	_, host := errors.AsType[x509.HostnameError](err)
	_, invalid := errors.AsType[x509.CertificateInvalidError](err)
	return authority || host || invalid
}

// isTLSError says whether the handshake failed, on either side: the origin's
// refusal of our certificate is its alert, in TLS 1.3 only after the handshake.
func isTLSError(err error) bool {
	if _, ok := errors.AsType[tls.RecordHeaderError](err); ok || errors.Is(err, errNotH2) {
		return true
	}
	if _, ok := errors.AsType[tls.AlertError](err); ok {
		return true
	}
	if e, ok := errors.AsType[*net.OpError](err); ok && (e.Op == "remote error" || e.Op == "local error") {
		return true // crypto/tls has no exported type for alerts over TCP
	}
	return false
}
