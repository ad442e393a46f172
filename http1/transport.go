package http1

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

const (
	defaultMaxHead  = 64 << 10
	maxAnswerFields = 256
	maxInterim      = 8           // interim answers to one request
	maxSmallBody    = 64 << 10    // a request body up to here is written with the head, if that cannot block
	continueWait    = time.Second // for 100 or a final answer; then the body is sent (RFC 9110, section 10.1.1)
	smallWrite      = 4 << 10     // what a socket's empty send buffer takes without waiting, on every system
	maxKeptDraft    = 16 << 10    // a larger request buffer is left to the collector
)

// Transport speaks HTTP/1.1 to one endpoint over a bounded pool of connections.
// It is an http.RoundTripper, safe for concurrent use, and starts nothing
// before its first request. Its fields must not change afterwards.
//
// It is not a client: it follows no redirects, adds no User-Agent and no
// Accept-Encoding, decompresses nothing, and does not try again. The names and
// the order of a request's values are sent as they are, the hop-by-hop fields
// (RFC 9110, section 7.6.1) are its own.
//
// Trailers follow net/http: the keys of Request.Trailer are announced and sent
// with the values that they have when the body ends; Response.Trailer is filled
// when the answer's body was read to io.EOF. Interim answers go to the
// httptrace.ClientTrace of the request's context. An answer 101 comes with a
// Body that is an io.ReadWriteCloser with CloseWrite.
//
// The body of an answer must be read to its end or closed. It is an
// io.WriterTo, so that io.Copy needs no buffer of its own.
type Transport struct {
	// Dial opens a connection, with TLS if there is any. It should not outlast its context.
	Dial func(ctx context.Context) (net.Conn, error)
	// MaxConns bounds the connections, those in use, idle and being dialled together. 0 is 1024.
	// Beyond it requests wait, first come, first served.
	MaxConns int
	// Wait is how long a request waits for one of MaxConns. 0 is no bound but its context.
	Wait time.Duration
	// MaxIdle is how many connections are kept open without a request. 0 keeps none.
	MaxIdle int
	// IdleTimeout is how long they are kept. 0 is no bound.
	IdleTimeout time.Duration
	// FirstByte is how long an answer's head may take to be there whole, from the end of the
	// request. 0 is no bound.
	FirstByte time.Duration
	// Idle is how long the next byte of an answer's body may take, and how long the origin may
	// take no byte of a request's body. 0 is no bound.
	Idle time.Duration
	// MaxHead bounds an answer's head, and its trailers, in bytes. 0 is 64 KiB.
	MaxHead int
	// OnLimit is told the name of each limit that is reached: origin_connections, origin_head,
	// origin_interim. It may be nil.
	OnLimit func(limit string)

	pool connPool
}

func (t *Transport) limitHit(limit string) {
	if t.OnLimit != nil {
		t.OnLimit(limit)
	}
}

func (t *Transport) headLimits() headLimits {
	if t.MaxHead > 0 {
		return headLimits{head: t.MaxHead, fields: maxAnswerFields}
	}
	return headLimits{head: defaultMaxHead, fields: maxAnswerFields}
}

// draft is what a request needs until its answer's head is there.
type draft struct {
	out  []byte
	head Head
}

var draftPool = sync.Pool{New: func() any { return new(draft) }}

func (s *draft) free() {
	s.head.buf = nil
	if cap(s.out) <= maxKeptDraft {
		draftPool.Put(s)
	}
}

// RoundTrip is http.RoundTripper. Its errors, and those of the answer's body,
// are *AnswerError. The request's body is always closed, maybe after RoundTrip
// has returned.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	s := draftPool.Get().(*draft)
	defer s.free()
	a := &answer{t: t, req: req, resp: http.Response{Request: req}}
	out, err := a.compose(s.out[:0])
	s.out = out
	if err != nil {
		a.closeRequestBody()
		return nil, err
	}
	for {
		if err := req.Context().Err(); err != nil {
			a.closeRequestBody()
			return nil, a.fail(err)
		}
		c, err := t.take(req.Context())
		if err != nil {
			a.closeRequestBody()
			return nil, err
		}
		err = a.exchange(c, s)
		if errors.Is(err, errStale) {
			continue // nothing of the request was sent
		}
		if err != nil {
			if a.upload == nil {
				a.closeRequestBody()
			}
			return nil, err
		}
		return &a.resp, nil
	}
}

// exchange sends the request on c and reads the answer as far as its head.
// After an error c is closed.
func (a *answer) exchange(c *originConn, s *draft) error {
	a.conn = c
	a.in = input{src: c}
	a.stop = watch(a.req.Context(), c.cancel)
	c.wrote, c.perRead = 0, 0
	var err error
	if a.streams() {
		c.expect(0)
		if err = c.send(s.out, a.t.Idle); err == nil {
			a.startSending()
		}
	} else {
		c.expect(a.t.FirstByte)
		err = c.exchange(s.out, &a.in, a.t.FirstByte)
	}
	if err != nil && c.reused && c.wrote == 0 && !isTimeout(err) {
		a.end(false)
		return errStale
	}
	if err == nil || c.wrote > 0 {
		// An origin that refuses a body answers and closes before it has read it, so that
		// writing fails and the answer is there nevertheless.
		if e := a.readHeads(&s.head); err == nil || e == nil {
			err = e
		}
	}
	if err == nil {
		err = a.finishHead(&s.head)
	}
	if err != nil {
		err = a.fail(err)
		a.end(false)
	}
	return err
}

// watch calls f when ctx is done, until it is stopped. A context that can do
// so itself is asked, which spares the general way's allocations.
func watch(ctx context.Context, f func()) (stop func() bool) {
	if w, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return w.AfterFunc(f)
	}
	if ctx.Done() == nil {
		return nil
	}
	return context.AfterFunc(ctx, f)
}

// unsendable is the error of a request that cannot be sent as it is.
func unsendable(err error) *AnswerError { return answerError(selvage.ProxyInternalError, err) }
