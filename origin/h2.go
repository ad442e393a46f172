package origin

import (
	"context"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
)

// h2Transport speaks HTTP/2 to one address, by net/http: over TLS, or without by
// prior knowledge (RFC 9113, section 3.3). Its limits and its errors are those of
// http1.Transport.
type h2Transport struct {
	e      *endpoint
	addr   string
	std    *http.Transport
	open   atomic.Int64
	places chan struct{} // holds one for each connection
	closed atomic.Bool
}

const (
	h2Ping        = 15 * time.Second // a connection that is silent for so long is asked whether it lives
	h2PingTimeout = 10 * time.Second
	maxAnswerHead = 64 << 10
)

func newH2Transport(e *endpoint, addr string) *h2Transport {
	t := &h2Transport{e: e, addr: addr, places: make(chan struct{}, e.key.conns.Max)}
	var speaks http.Protocols
	speaks.SetHTTP2(e.tls != nil)
	speaks.SetUnencryptedHTTP2(e.tls == nil)
	t.std = &http.Transport{
		Protocols:              &speaks,
		DialContext:            func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx) },
		TLSClientConfig:        e.tls,
		TLSHandshakeTimeout:    e.key.connect.Std(),
		ResponseHeaderTimeout:  e.key.firstByte.Std(),
		IdleConnTimeout:        e.key.conns.IdleTimeout.Std(),
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: maxAnswerHead,
		DisableCompression:     true,
		HTTP2:                  &http.HTTP2Config{SendPingTimeout: h2Ping, PingTimeout: h2PingTimeout},
	}
	return t
}

func (t *h2Transport) Open() int { return int(t.open.Load()) }

func (t *h2Transport) CloseIdle() { t.std.CloseIdleConnections() }

func (t *h2Transport) Close() {
	t.closed.Store(true)
	t.std.CloseIdleConnections()
}

// dial opens a connection, TLS aside, when there is a place for it.
func (t *h2Transport) dial(ctx context.Context) (net.Conn, error) {
	if d := t.e.key.connect.Std(); d > 0 {
		limited, cancel := context.WithTimeout(ctx, d)
		defer cancel()
		ctx = limited
	}
	select {
	case t.places <- struct{}{}:
	default:
		t.e.reg.limitHit("origin_connections")
		select {
		case t.places <- struct{}{}:
		case <-ctx.Done():
			return nil, &selvage.ProxyError{Type: selvage.ConnectionLimit, Endpoint: t.addr, Err: errors.New("every connection stayed in use")}
		}
	}
	c, err := t.e.reg.dial(ctx, t.addr)
	if err != nil {
		<-t.places
		return nil, dialError(t.addr, err)
	}
	t.open.Add(1)
	return &countedConn{Conn: c, t: t}, nil
}

// countedConn gives its place back when it is closed.
type countedConn struct {
	net.Conn
	t    *h2Transport
	gone atomic.Bool
}

func (c *countedConn) Close() error {
	if c.gone.CompareAndSwap(false, true) {
		c.t.open.Add(-1)
		<-c.t.places
	}
	return c.Conn.Close()
}

var (
	errIdle       = errors.New("no byte came for too long")
	errNoUpgrade  = errors.New("HTTP/2 has no Upgrade")
	errH2Closed   = errors.New("the transport is closed")
	errNotReading = errors.New("the answer was closed")
)

// RoundTrip is as that of http1.Transport.
func (t *h2Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if t.closed.Load() || req.Header["Upgrade"] != nil {
		if req.Body != nil {
			req.Body.Close()
		}
		if t.closed.Load() {
			return nil, &http1.AnswerError{Type: selvage.DestinationDown, Err: errH2Closed}
		}
		return nil, &http1.AnswerError{Type: selvage.UpgradeFailed, Err: errNoUpgrade}
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	x := &h2Exchange{cancel: cancel, ctx: ctx, outer: req.Context(), idle: t.e.key.idle.Std()}
	out := req.WithContext(httptrace.WithClientTrace(ctx, x.trace()))
	if _, ok := out.Header["User-Agent"]; !ok {
		// net/http would add its own.
		out.Header = maps.Clone(out.Header)
		if out.Header == nil {
			out.Header = make(http.Header)
		}
		out.Header["User-Agent"] = nil
	}
	resp, err := t.std.RoundTrip(out)
	if err != nil {
		err = x.fail(err)
		cancel(errNotReading)
		return nil, err
	}
	x.src = resp.Body
	if x.idle > 0 {
		x.timer = time.AfterFunc(x.idle, func() { cancel(errIdle) })
		x.timer.Stop() // it runs while somebody waits in Read: a slow client is not the origin's fault
	}
	resp.Body = x
	return resp, nil
}

// h2Exchange is one request, and the body of its answer.
type h2Exchange struct {
	ctx, outer context.Context
	cancel     context.CancelCauseFunc
	idle       time.Duration
	timer      *time.Timer // for the next byte of the body
	src        io.ReadCloser
	began      bool

	sent, reused atomic.Bool
}

// trace notes what net/http tells of a request. It is called from goroutines of net/http too.
func (x *h2Exchange) trace() *httptrace.ClientTrace {
	return &httptrace.ClientTrace{
		GotConn:          func(i httptrace.GotConnInfo) { x.reused.Store(i.Reused) },
		WroteHeaderField: func(string, []string) { x.sent.Store(true) },
	}
}

// Reused says whether the connection had carried a request before.
func (x *h2Exchange) Reused() bool { return x.reused.Load() }

func (x *h2Exchange) Read(p []byte) (int, error) {
	if x.timer != nil {
		x.timer.Reset(x.idle)
	}
	n, err := x.src.Read(p)
	if x.timer != nil {
		x.timer.Stop()
	}
	if err == nil {
		return n, nil
	}
	if err != io.EOF {
		x.began = true
		err = x.fail(err)
	}
	x.cancel(errNotReading)
	return n, err
}

func (x *h2Exchange) Close() error {
	x.cancel(errNotReading)
	return x.src.Close()
}

// fail says what an error of net/http means.
func (x *h2Exchange) fail(err error) *http1.AnswerError {
	e := &http1.AnswerError{Sent: x.sent.Load(), Reused: x.reused.Load(), Err: err}
	switch known, ok := errors.AsType[*selvage.ProxyError](err); {
	case ok && known.Type == selvage.RequestError:
		e.Type = known.Type // the request's body said so, not the connection
	case ok:
		e.Type, e.Sent, e.Reused = known.Type, false, false
	case x.outer.Err() != nil:
		e.Type, e.Err = selvage.ConnectionTerminated, context.Cause(x.outer)
	case errors.Is(context.Cause(x.ctx), errIdle):
		e.Type, e.Err = selvage.ResponseTimeout, errIdle
	default:
		e.Type = x.errorType(err)
	}
	return e
}

func (x *h2Exchange) errorType(err error) selvage.ProxyErrorType {
	timeout, _ := errors.AsType[net.Error](err)
	switch {
	case isCertificateError(err):
		return selvage.TLSCertificateError
	case isTLSError(err):
		return selvage.TLSProtocolError
	case timeout != nil && timeout.Timeout() && !x.sent.Load():
		return selvage.ConnectionTimeout
	case timeout != nil && timeout.Timeout():
		return selvage.ResponseTimeout
	// net/http exports none of its HTTP/2 errors.
	case strings.Contains(err.Error(), "request header list larger"): // than the origin takes: nothing was sent
		return selvage.RequestError
	case strings.Contains(err.Error(), "header list larger"):
		return selvage.ResponseHeadTooLarge
	case x.began:
		return selvage.ResponseIncomplete
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE),
		strings.Contains(err.Error(), "GOAWAY"), strings.Contains(err.Error(), "connection lost"), strings.Contains(err.Error(), "client conn"):
		return selvage.ConnectionTerminated
	}
	return selvage.ResponseProtocolError
}
