package origin

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/spool"
)

// attempt is one try at one peer. It holds the request that is sent, which
// differs from the caller's, and is the body of the answer, so that all of it is
// one allocation.
type attempt struct {
	result
	req    http.Request
	url    url.URL
	pool   *Pool
	peer   *peer
	trial  bool // it decides whether the peer comes back
	canary bool // its failures are a canary's
	caller context.Context
	start  time.Time
	reader *spool.Reader           // the request's body, nil unless it is kept for a retry
	cancel context.CancelCauseFunc // ends the context of the call; nil without a deadline

	resp  *http.Response      // nil without an answer
	err   *selvage.ProxyError // nil with one
	src   io.ReadCloser       // the answer's body
	ended atomic.Bool         // the peer was left
}

// attempt sends the request to p and waits for the answer's head.
func (c *call) attempt(p *peer, trial bool, now time.Time) *attempt {
	a := &attempt{pool: c.pool, peer: p, trial: trial, canary: c.canary, caller: c.req.Context(), start: now}
	c.tried[c.tries] = p
	c.tries++
	dials := c.rec.Origin.Dials
	err := c.outgoing(a)
	if err == nil {
		a.resp, err = p.rt.RoundTrip(&a.req) //nolint:bodyclose // by the caller, or giveUp
	}
	took := time.Since(now)
	note := record.Attempt{Endpoint: p.addr, Start: now.Sub(c.rec.Start)}
	if err != nil {
		c.failed(a, err, took)
		note.Error, note.Reused = a.result.err, a.reused
	} else {
		a.answered(took)
		note.Status, note.FirstByte, note.Reused = a.status, took, c.rec.Origin.Dials == dials
		if r, ok := a.resp.Body.(interface{ Reused() bool }); ok {
			note.Reused = r.Reused()
		}
	}
	c.rec.Origin.Add(note)
	return a
}

// outgoing makes the attempt's request of the caller's, which stays as it is.
func (c *call) outgoing(a *attempt) error {
	if c.cancel != nil {
		a.req = *c.req.WithContext(c.ctx)
	} else {
		a.req = *c.req
	}
	e := a.peer.endpoint
	a.url = *c.req.URL
	a.url.Scheme, a.url.Host = e.key.scheme, e.authority
	a.req.URL, a.req.RequestURI = &a.url, ""
	switch {
	case c.pool.host != "":
		a.req.Host = c.pool.host
	case c.pool.byEndpoint:
		a.req.Host = e.authority
	case a.req.Host == "":
		a.req.Host = c.req.URL.Host // as a client's request has it
	}
	if c.spool == nil {
		return nil
	}
	r, err := c.spool.NewReader()
	if err != nil {
		return &http1.AnswerError{Type: selvage.ProxyInternalError, Err: errors.Join(http1.ErrRequestBody, err)}
	}
	a.reader, a.req.Body = r, r
	if e.key.protocol != selvage.HTTP1 {
		// net/http sends again by itself what a connection refused that was on its way out.
		// http1 would take it as a sign that reading the body never waits.
		kept := c.spool // the call itself is not to escape
		a.req.GetBody = func() (io.ReadCloser, error) { return kept.NewReader() }
	}
	return nil
}

// failed takes in an attempt without an answer.
func (c *call) failed(a *attempt, err error, took time.Duration) {
	if a.reader != nil {
		_ = a.reader.Close() // another one may follow
	}
	a.err = a.explain(err)
	a.result.err = a.err.Type
	if e, ok := errors.AsType[*http1.AnswerError](err); ok {
		a.sent, a.reused = e.Sent, e.Reused
	} else {
		a.sent = true // no transport of ours: be careful
	}
	switch {
	case a.caller.Err() != nil, a.result.err == selvage.RequestError, errors.Is(err, http1.ErrRequestBody), errors.Is(err, errNoUpgrade):
		a.ours = true
	case a.result.err == selvage.ConnectionLimit || a.stale() || a.result.err == selvage.ProxyInternalError:
	case a.cutShort() && (took < a.pool.set.Timeout.Total.Std()/2 || c.uploading()):
		// Others took most of the time.
	default:
		a.blame(took, a.err.Err)
	}
	a.end()
}

// uploading says whether the request's body may not have come whole yet.
func (c *call) uploading() bool {
	if c.spool != nil {
		return !c.spool.Ended()
	}
	return c.req.Body != nil && c.req.Body != http.NoBody
}

// cutShort says whether the total deadline ended the attempt.
func (a *attempt) cutShort() bool { return errors.Is(context.Cause(a.req.Context()), errTotal) }

// explain makes the pool's error of a transport's.
func (a *attempt) explain(err error) *selvage.ProxyError {
	t, why := selvage.ProxyInternalError, err
	if e, ok := errors.AsType[*http1.AnswerError](err); ok {
		t, why = e.Type, e.Err
	}
	if e, ok := errors.AsType[*selvage.ProxyError](why); ok {
		t, why = e.Type, e.Err // Dial's
	}
	switch {
	case a.caller.Err() != nil:
		why = context.Cause(a.caller)
		t = selvage.ConnectionTerminated // by the client: nobody is there to be told
		if errors.Is(a.caller.Err(), context.DeadlineExceeded) {
			t = selvage.ResponseTimeout
		}
	case a.cutShort():
		t, why = selvage.ResponseTimeout, errTotal
	case isTLSError(why): // in TLS 1.3 our certificate is refused after the handshake
		t = selvage.TLSProtocolError
	}
	return a.pool.error(t, a.peer.addr, why)
}

// answered takes in the head of an answer.
func (a *attempt) answered(took time.Duration) {
	a.status = a.resp.StatusCode
	if a.resp.Body == nil {
		a.resp.Body = http.NoBody
	}
	if failedStatus(a.status) {
		a.blame(took, errors.New(http.StatusText(a.status)))
		return
	}
	now := a.start.Add(took)
	a.peer.latency.observe(a.peer.ms(now), float64(took))
	if a.trial {
		a.peer.headCame(a.breaker())
	}
}

// blame counts a failure against the peer. That it failed fast does not make it
// a fast one: it counts as twice as slow as it was.
func (a *attempt) blame(took time.Duration, why error) {
	now, ms := a.start.Add(took), a.peer.ms(a.start.Add(took))
	if !a.canary {
		a.peer.latency.observe(ms, max(float64(took), 2*a.peer.latency.at(ms), 2*latencyFloor))
	}
	if a.peer.fail(a.breaker(), now, why.Error()) || a.trial {
		a.pool.eject(a.peer, now, a.canary)
	}
}

// breaker is the one that the attempt moves.
func (a *attempt) breaker() *breaker { return a.peer.of(a.canary) }

// giveUp ends an attempt that another one follows.
func (a *attempt) giveUp() {
	if a.resp != nil {
		a.resp.Body.Close()
	}
	if a.reader != nil {
		_ = a.reader.Close() // another one may follow
	}
	a.end()
}

// handOver gives the answer to the caller, with the attempt as its body.
func (a *attempt) handOver(req *http.Request) *http.Response {
	resp := a.resp
	resp.Request = req
	a.src = resp.Body
	switch rw, ok := resp.Body.(io.ReadWriteCloser); {
	case resp.Body == http.NoBody:
		a.complete()
	case resp.StatusCode == http.StatusSwitchingProtocols && ok:
		a.breaker().succeed()
		resp.Body = &upgraded{a, rw}
	default:
		resp.Body = a
	}
	return resp
}

// Read is io.Reader. Its errors are *selvage.ProxyError.
func (a *attempt) Read(p []byte) (int, error) {
	n, err := a.src.Read(p)
	if err == io.EOF {
		a.complete()
	} else if err != nil {
		err = a.broken(err)
	}
	return n, err
}

// WriteTo is io.WriterTo, which spares the copy through another buffer. Errors of
// w are returned as they are.
func (a *attempt) WriteTo(w io.Writer) (int64, error) {
	to, ok := a.src.(io.WriterTo)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{a})
	}
	n, err := to.WriteTo(w)
	if err == nil {
		a.complete()
	} else if _, ok := errors.AsType[*http1.AnswerError](err); ok {
		err = a.broken(err)
	}
	return n, err
}

// Close ends the answer, read to its end or not. What the client did not want to
// see whole says nothing about the endpoint.
func (a *attempt) Close() error {
	err := a.src.Close()
	a.end()
	return err
}

// complete notes that the answer came whole.
func (a *attempt) complete() {
	if !failedStatus(a.status) && !a.ended.Load() {
		a.breaker().succeed()
	}
	a.end()
}

// broken notes that it did not.
func (a *attempt) broken(err error) error {
	why := a.explain(err)
	if !a.ended.Load() && a.caller.Err() == nil {
		now := time.Now()
		if a.peer.fail(a.breaker(), now, why.Err.Error()) {
			a.pool.eject(a.peer, now, a.canary)
		}
	}
	a.end()
	return why
}

// end leaves the peer, once.
func (a *attempt) end() {
	if !a.ended.CompareAndSwap(false, true) {
		return
	}
	if a.trial {
		a.breaker().probing.Store(false)
	}
	a.peer.leave()
	if a.cancel != nil {
		a.cancel(context.Canceled)
	}
}

// upgraded is the body of an answer 101: a connection in another protocol. It is
// in flight until it is closed.
type upgraded struct {
	a  *attempt
	rw io.ReadWriteCloser
}

func (u *upgraded) Read(p []byte) (int, error) { return u.rw.Read(p) }

func (u *upgraded) Write(p []byte) (int, error) { return u.rw.Write(p) }

// CloseWrite tells the origin that no more comes.
func (u *upgraded) CloseWrite() error {
	if half, ok := u.rw.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return errors.ErrUnsupported
}

func (u *upgraded) Close() error {
	err := u.rw.Close()
	u.a.end()
	return err
}
