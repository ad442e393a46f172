package node

import (
	"context"
	"errors"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// copyBuffer is what is read from an origin at once.
const copyBuffer = 64 << 10

var copyBuffers = sync.Pool{New: func() any { b := make([]byte, copyBuffer); return &b }}

// errTotal ends a request that took longer than the node's total deadline.
var errTotal = errors.New("total deadline passed")

// clientBody is a request body on its way to the origin. Its errors say that
// they are the client's, so that no stage takes them for the origin's; and it
// ends at the total deadline. That needs no timer: the deadline between two
// reads bounds how late it notices.
type clientBody struct {
	io.ReadCloser
	out   *http.Request // what is sent on
	rec   *record.Record
	total time.Duration // 0 is no bound
	w     http.ResponseWriter
}

// SetReadDeadline ends a Read that waits.
func (b *clientBody) SetReadDeadline(t time.Time) error {
	return http.NewResponseController(b.w).SetReadDeadline(t)
}

func (b *clientBody) Read(p []byte) (int, error) {
	if b.total > 0 && time.Since(b.rec.Start) > b.total {
		b.rec.LimitHit = "deadline_total"
		return 0, &selvage.ProxyError{Type: selvage.RequestError, Err: errTotal}
	}
	n, err := b.ReadCloser.Read(p)
	switch err {
	case nil:
	case io.EOF:
		dropFromTrailer(b.out.Trailer, b.out.Header)
	default:
		err = &selvage.ProxyError{Type: selvage.RequestError, Err: err}
	}
	return n, err
}

// Buffered says whether Read waits for nobody until the end of the body.
func (b *clientBody) Buffered() bool {
	inner, ok := b.ReadCloser.(interface{ Buffered() bool })
	return ok && inner.Buffered()
}

// answer sends an answer on. Whatever is read is sent at once unless the end
// is known to be near, so that events arrive when they happen.
func (x *exchange) answer(resp *http.Response) {
	stored := resp.Body
	x.deliver(resp) // first: what is closed at the end is the body that it makes
	through := false
	defer func() {
		if through && resp.Body == stored {
			x.giveBack(resp)
		}
	}()
	defer resp.Body.Close() // before that
	protocols := resp.Header["Upgrade"]
	h := x.passHeader(resp.Header)
	if resp.StatusCode == http.StatusUpgradeRequired && x.r.ProtoMajor == 1 && protocols != nil {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, protocols // RFC 9110, section 15.5.22
	}
	via(h, resp.Proto)
	x.route.policies.Response(&x.pol, h)
	x.giveCookie(h, resp.StatusCode)
	x.showArm(h)
	announced := len(resp.Trailer)
	for name := range resp.Trailer {
		h["Trailer"] = append(h["Trailer"], name)
	}
	switch {
	case x.rec.WhyBad != record.Good:
	case x.rec.Origin.Type != "" && x.rec.Origin.Fallback == "default":
		x.rec.WhyBad = record.OriginFailed // whatever the default answer's status
	case resp.StatusCode >= http.StatusInternalServerError || x.rec.Origin.Fallback == "default":
		x.rec.WhyBad = record.OriginError
	}
	x.givenAgain(resp.StatusCode)
	x.w.WriteHeader(resp.StatusCode)
	if x.rec.Function.Streams {
		_ = http.NewResponseController(x.w).Flush() // the head at once; where the client is gone, the body's first bytes find out
	}
	if err := x.copyBody(resp.Body); err != nil {
		x.broken(err)
	}
	if len(resp.Trailer) == 0 {
		through = true
		return
	}
	_ = http.NewResponseController(x.w).Flush() // a body must have begun for trailers to follow it
	prefix := http.TrailerPrefix
	if len(resp.Trailer) == announced {
		prefix = ""
	}
	for name, values := range resp.Trailer {
		h[prefix+name] = values
	}
}

// giveBack lets the cache use the memory of its answer again. Ours of HTTP/1.1 has
// written the head by now and is not to look at the header again; other servers
// may still have it.
func (x *exchange) giveBack(resp *http.Response) {
	answer, ok := resp.Body.(interface{ Recycle() })
	w, own := x.w.(interface{ SetHeader(http.Header) })
	if !ok || !own || resp.StatusCode != http.StatusOK {
		return
	}
	w.SetHeader(nil)
	answer.Recycle()
}

// passHeader makes from the header of our answer. Ours of HTTP/1.1 takes it as
// it is: an answer's header belongs to whoever got it, only its values are shared.
func (x *exchange) passHeader(from http.Header) http.Header {
	dropHopByHop(from)
	if s, ok := x.w.(interface{ SetHeader(http.Header) }); ok {
		s.SetHeader(from)
		return from
	}
	h := x.w.Header()
	maps.Copy(h, from)
	return h
}

// copyError tells which side failed.
type copyError struct {
	fromOrigin bool
	err        error
}

func (e *copyError) Error() string { return e.err.Error() }
func (e *copyError) Unwrap() error { return e.err }

func (x *exchange) copyBody(body io.Reader) error {
	if body == http.NoBody {
		return nil
	}
	buf := copyBuffers.Get().(*[]byte)
	defer copyBuffers.Put(buf)
	flusher := http.NewResponseController(x.w)
	total := x.node.settings().Deadlines.Total.Std()
	for {
		n, err := body.Read(*buf)
		if n > 0 {
			if _, werr := x.w.Write((*buf)[:n]); werr != nil {
				return &copyError{err: werr}
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return &copyError{fromOrigin: true, err: err}
		}
		if err := flusher.Flush(); err != nil {
			return &copyError{err: err}
		}
		if total > 0 && time.Since(x.rec.Start) > total {
			x.rec.LimitHit = "deadline_total"
			return &copyError{fromOrigin: true, err: errTotal}
		}
	}
}

// pastTotal says whether the total deadline has ended the request: whatever
// failed then, failed because of it.
func (x *exchange) pastTotal() bool {
	total := x.node.settings().Deadlines.Total.Std()
	return total > 0 && time.Since(x.rec.Start) >= total
}

// broken ends an answer whose head is sent in a way that the client can see:
// never with a clean end.
func (x *exchange) broken(err error) {
	rec := x.rec
	rec.Answer.Broken = true
	noteFunction(rec, err)
	ce, _ := errors.AsType[*copyError](err)
	if ce != nil && ce.fromOrigin && rec.Answer.BodyBytes == 0 {
		// A connection that closes without a byte invites the client to send
		// its request again, whatever its method.
		_ = http.NewResponseController(x.w).Flush() // it breaks off anyway
	}
	switch {
	case errors.Is(err, errTotal), x.pastTotal():
		rec.WhyBad, rec.LimitHit = record.DeadlineTotal, "deadline_total"
	case errors.Is(context.Cause(x.r.Context()), errUndone):
		rec.WhyBad, rec.Detail = record.BrokenAnswer, errUndone.Error()
	case ce != nil && ce.fromOrigin && x.r.Context().Err() == nil:
		rec.WhyBad = record.BrokenAnswer
	default:
		rec.WhyBad = record.ClientGone
	}
	panic(http.ErrAbortHandler)
}

// upgrade passes on a request to change the protocol of the connection
// (RFC 9110, section 7.8). If the origin agrees, the two connections are tied
// together until both directions have ended.
func (x *exchange) upgrade(ask string) {
	out := x.outgoing(ask)
	if x.answeredByPolicy(&out.req) {
		return
	}
	resp, err := x.forward(&out.req)
	if err != nil {
		x.fail(err)
		return
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		x.answer(resp)
		return
	}
	origin, ok := resp.Body.(io.ReadWriteCloser)
	if got := upgradeOf(resp.Header); !ok || !strings.EqualFold(got, ask) {
		resp.Body.Close()
		x.fail(&upgradeError{ask, got})
		return
	}
	x.tie(resp, origin)
}
