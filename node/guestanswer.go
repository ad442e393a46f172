package node

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

// How much of a function's answer waits here for the client. Until held bytes
// are there, the function has ended, or it flushes, nothing is sent on: a
// function that fails by then has hurt nobody.
const (
	answerHeld   = 16 << 10
	answerBuffer = 64 << 10
)

// cutGrace is how long an answer that was cut waits for its function to end, so
// that what is said of it is why: a limit, or a trap. As a rule that is at once,
// and on a busy machine when the function gets its turn.
const cutGrace = 20 * time.Second

var errUnfinished = errors.New("the function did not finish its answer")

// guestAnswer is what a function writes its answer to, and the answer's body.
type guestAnswer struct {
	req  *http.Request
	body *guestBody

	mu      sync.Mutex
	changed sync.Cond   // of all below
	header  http.Header // the head's before WriteHeader, and after it trailers; nil if nothing is in it
	sent    http.Header // the head's; nil before WriteHeader
	trailer http.Header
	status  int
	data    []byte
	usage   compute.Usage
	res     http.Response // see response
	err     error         // why it ended; set with ended
	ready   bool          // the head may be sent on
	ended   bool          // the function has ended
	cut     bool          // what follows is not written any more
	late    bool          // it was cut and the function has not ended within cutGrace
	closed  bool          // nobody reads
	noBody  bool
}

func (w *guestAnswer) begin(req *http.Request, body *guestBody) {
	w.req, w.body, w.changed.L = req, body, &w.mu
}

// Header implements http.ResponseWriter. What it gave before WriteHeader is the
// sent head's: trailers belong into what it gives after that.
func (w *guestAnswer) Header() http.Header {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.header == nil {
		w.header = make(http.Header)
	}
	return w.header
}

// WriteHeader implements http.ResponseWriter.
func (w *guestAnswer) WriteHeader(status int) {
	if status >= 100 && status < 200 && status != http.StatusSwitchingProtocols {
		if trace := httptrace.ContextClientTrace(w.req.Context()); trace != nil && trace.Got1xxResponse != nil {
			_ = trace.Got1xxResponse(status, textproto.MIMEHeader(w.Header().Clone())) // it refuses none
		}
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.headLocked(status)
}

func (w *guestAnswer) headLocked(status int) {
	if w.sent != nil {
		return
	}
	if w.status, w.sent, w.header = status, w.header, nil; w.sent == nil {
		w.sent = make(http.Header)
	}
	w.noBody = w.req.Method == http.MethodHead || status == http.StatusNoContent || status == http.StatusNotModified
}

// Write implements http.ResponseWriter. It waits while the client does not read.
func (w *guestAnswer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.headLocked(http.StatusOK)
	if w.noBody {
		return 0, http.ErrBodyNotAllowed
	}
	n := 0
	for n < len(p) {
		for len(w.data) >= answerBuffer && !w.cut && !w.closed {
			w.changed.Wait()
		}
		if w.cut {
			return n, os.ErrDeadlineExceeded
		}
		if w.closed {
			return n, io.ErrClosedPipe
		}
		k := min(len(p)-n, answerBuffer-len(w.data))
		w.data = append(w.data, p[n:n+k]...)
		n += k
		w.ready = w.ready || len(w.data) >= answerHeld
		w.changed.Broadcast()
	}
	return n, nil
}

// FlushError is for http.ResponseController.
func (w *guestAnswer) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.headLocked(http.StatusOK)
	w.ready = true
	w.changed.Broadcast()
	return nil
}

// SetWriteDeadline is for http.ResponseController. One in the past breaks the
// answer off; no other is of use here, since clients have the server's own.
func (w *guestAnswer) SetWriteDeadline(t time.Time) error {
	if t.IsZero() || time.Until(t) > 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.cut && !w.ended {
		time.AfterFunc(cutGrace, func() {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.late = true
			w.changed.Broadcast()
		})
	}
	w.cut = true
	w.changed.Broadcast()
	return nil
}

// SetReadDeadline is for http.ResponseController: one in the past ends the body of the request.
func (w *guestAnswer) SetReadDeadline(t time.Time) error {
	if w.body != nil && !t.IsZero() && time.Until(t) <= 0 {
		w.body.cut()
	}
	return nil
}

// finish notes that the function has ended, or that it has ended its answer and goes on
// to another request. Only the first call counts.
func (w *guestAnswer) finish(err error, usage compute.Usage) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.ended {
		return // its sandbox has gone on to other requests
	}
	switch {
	case err == nil && w.sent == nil:
		err = errNoAnswer
	case err == nil && w.cut:
		err = errUnfinished
	}
	if err != nil && !w.ready && w.body != nil {
		w.body.gone.Store(true) // what answers instead has it, and a program that goes on does not get it first
	}
	w.trailersLocked()
	w.usage, w.err, w.ended = usage, err, true
	w.changed.Broadcast()
}

// wait waits until the head may be sent on, or the function has ended without it.
func (w *guestAnswer) wait() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.ready && !w.ended {
		w.changed.Wait()
	}
	if !w.ready && w.err != nil {
		return w.err
	}
	if w.ready && w.sent == nil {
		return errNoAnswer
	}
	return nil
}

// used is what it took, once the function has ended.
func (w *guestAnswer) used() (compute.Usage, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.usage, w.ended
}

// complete says whether all of the answer was read, or written.
func (w *guestAnswer) complete() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended || w.closed && w.ready
}

// response is the answer, once wait has said that there is one.
func (w *guestAnswer) response() *http.Response {
	w.mu.Lock()
	defer w.mu.Unlock()
	res := &w.res
	*res = http.Response{
		StatusCode: w.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: w.sent,
		ContentLength: -1, Body: w, Request: w.req,
	}
	for name := range w.sent {
		if strings.HasPrefix(name, http.TrailerPrefix) {
			delete(w.sent, name)
		}
	}
	if n, err := strconv.ParseInt(w.sent.Get("Content-Length"), 10, 64); err == nil && n >= 0 {
		res.ContentLength = n
	}
	if !w.ended || w.err != nil || len(w.header) > 0 {
		w.trailer = make(http.Header)
		res.Trailer = w.trailer
	}
	if !w.ended || w.err != nil {
		return res
	}
	w.trailersLocked()
	if len(w.trailer) == 0 {
		res.Trailer = nil
		if !w.noBody && res.ContentLength < 0 {
			res.ContentLength = int64(len(w.data))
			w.sent["Content-Length"] = []string{strconv.Itoa(len(w.data))}
		}
	}
	return res
}

// trailersLocked gives whoever has the answer the trailers that the function wrote.
func (w *guestAnswer) trailersLocked() {
	for name, values := range w.header {
		if name, ok := strings.CutPrefix(name, http.TrailerPrefix); ok && w.trailer != nil {
			w.trailer[name] = values
		}
	}
}

// Read is the answer's body.
func (w *guestAnswer) Read(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.data) == 0 && !w.ended && !w.closed && !w.late {
		w.changed.Wait()
	}
	switch {
	case len(w.data) > 0:
		n := copy(p, w.data)
		w.data = w.data[n:]
		if len(w.data) == 0 {
			w.data = nil
			if w.ended && w.err == nil {
				return n, io.EOF // whoever reads need not ask again, nor send what there is before the end
			}
		}
		w.changed.Broadcast()
		return n, nil
	case w.closed:
		return 0, http.ErrBodyReadAfterClose
	case !w.ended: // it was cut
		return 0, errUnfinished
	case w.err != nil:
		return 0, w.err
	}
	return 0, io.EOF
}

// Close implements io.Closer: nobody reads any more, and what is left of the
// request's body is the server's.
func (w *guestAnswer) Close() error {
	w.mu.Lock()
	w.closed = true
	w.changed.Broadcast()
	w.mu.Unlock()
	if w.body != nil {
		w.body.end()
	}
	return nil
}

// guestBody is the body of the request on its way into a function. It belongs
// to the request: after that it gives nothing.
type guestBody struct {
	io.ReadCloser
	touched atomic.Bool
	gone    atomic.Bool
	mu      sync.Mutex // held to read
}

// guestBodyOf is the body of a request; nil without one.
func guestBodyOf(req *http.Request) *guestBody {
	if req.Body == nil || req.Body == http.NoBody {
		return nil
	}
	return &guestBody{ReadCloser: req.Body}
}

// Read implements io.Reader.
func (b *guestBody) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.gone.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	b.touched.Store(true)
	return b.ReadCloser.Read(p)
}

// Close implements io.Closer. The rest of the body is the server's to drain.
func (b *guestBody) Close() error { return nil }

// cut ends a Read that waits.
func (b *guestBody) cut() {
	if d, ok := b.ReadCloser.(interface{ SetReadDeadline(time.Time) error }); ok {
		_ = d.SetReadDeadline(time.Unix(1, 0)) // what has no deadlines is in memory
	}
}

// end takes the body away, and waits for a Read that is under way.
func (b *guestBody) end() {
	b.gone.Store(true)
	if !b.mu.TryLock() {
		b.cut()
		b.mu.Lock()
	}
	b.mu.Unlock()
}
