package listen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
)

// stream is one HTTP/2 request with its answer and its record.
type stream struct {
	group *Group
	rec   record.Record
	out   answer
	body  body
	guard guard
	// The handler panicked: the answer must not look whole.
	broke bool
}

// streamContext carries a record without another allocation.
type streamContext struct {
	context.Context
	rec *record.Record
}

// Value is context.Context.
func (c *streamContext) Value(key any) any {
	switch key {
	case record.Key:
		return c.rec
	case http1.HandshakeKey:
		if w, ok := c.Context.Value(wireKey{}).(*wire); ok {
			return w.shake
		}
	}
	return c.Context.Value(key)
}

func (h *h2Server) newStream(w http.ResponseWriter, r *http.Request, now time.Time) *stream {
	x := &stream{group: h.group}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	x.rec.Start = now
	x.rec.Client.Protocol = "HTTP/2.0"
	x.rec.Request = record.Request{Method: r.Method, Host: r.Host, Path: path}
	if c, ok := r.Context().Value(wireKey{}).(*wire); ok {
		r.TLS = c.tls // net/http believes :scheme, which anybody can write
		x.rec.Client.Addr, x.rec.Client.Peer = c.peer.Addr(), c.peer
		x.rec.Client.RTT = c.roundTrip(now)
		x.rec.Client.Reused = c.used.Swap(true)
		if c.tls != nil {
			x.rec.Client.TLS = c.tls.Version
		}
	}
	x.out = answer{x: x, w: w, head: r.Method == http.MethodHead, length: -1}
	waits := &h.group.waits
	x.guard = guard{
		w: http.NewResponseController(w), start: now,
		read: later(waits.Body), write: later(waits.Write), total: later(waits.Total),
	}
	return x
}

// refuse answers a request that the handler does not see.
func (x *stream) refuse(no *refusal) {
	x.rec.Detail, x.rec.LimitHit = no.why, no.limit
	text := no.why + "\n"
	h := x.out.Header()
	h["Content-Type"] = []string{"text/plain; charset=utf-8"}
	h["Cache-Control"] = []string{"no-store"}
	h["Content-Length"] = []string{strconv.Itoa(len(text))}
	x.out.WriteHeader(no.status)
	_, _ = io.WriteString(&x.out, text) // whether the client reads it is its affair
}

// serve runs the handler.
func (x *stream) serve(r *http.Request) {
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	x.guard.begin(cancel)
	in := r.WithContext(&streamContext{ctx, &x.rec}) //nolint:contextcheck // it is the request's own with the record in it
	if r.ContentLength == 0 {
		in.Body = http.NoBody
	} else {
		x.body = body{x: x, from: r.Body, left: int64(x.group.limits.Body)}
		in.Body = &x.body
	}
	defer x.catch(in)
	x.group.Handler.ServeHTTP(&x.out, in)
	if x.rec.Answer.Status == 0 && ctx.Err() == nil {
		x.out.WriteHeader(http.StatusOK)
	}
}

// catch turns a panic of the handler into a broken answer, or into 500 if
// nothing of one was sent.
func (x *stream) catch(r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	x.broke = true
	if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return
	}
	x.group.log().LogAttrs(r.Context(), slog.LevelError, "handler panicked",
		slog.Any("panic", v), slog.String("stack", string(debug.Stack())),
		slog.String("method", r.Method), slog.String("path", x.rec.Request.Path))
	x.rec.WhyBad, x.rec.Detail = record.OwnError, fmt.Sprintf("handler panicked: %v", v)
	if x.rec.Answer.Status == 0 {
		clear(x.out.Header())
		x.out.WriteHeader(http.StatusInternalServerError)
		x.broke = false
	}
}

// finish completes the record. It says whether the stream must be reset, so
// that the client sees that the answer is not whole.
func (x *stream) finish(r *http.Request) (abort bool) {
	passed := x.guard.end()
	gone := r.Context().Err() != nil // of the stream itself: the handler's has ended by now
	rec := &x.rec
	rec.Timing.End = time.Since(rec.Start)
	rec.Request.BodyBytes = x.body.read.Load()
	x.bodyFailed()
	if passed != "" && rec.LimitHit == "" {
		rec.LimitHit = passed
	}
	if passed == limitTotal {
		rec.WhyBad, rec.Detail = record.DeadlineTotal, "the total deadline passed"
		if rec.Answer.Status == 0 && !gone {
			clear(x.out.Header())
			x.out.WriteHeader(http.StatusServiceUnavailable) // as package http1 does
			return false
		}
	}
	short := x.out.short()
	rec.Answer.Broken = rec.Answer.Status != 0 && (x.broke || gone || short)
	switch {
	case rec.WhyBad != record.Good:
	case gone:
		rec.WhyBad = record.ClientGone
	case x.broke || short:
		rec.WhyBad = record.BrokenAnswer
	}
	if short && rec.Detail == "" {
		rec.Detail = "the answer is shorter than its Content-Length"
	}
	if !gone && !x.broke && !short {
		x.guard.lastWrite(x.out.wrote)
	}
	return x.broke || short
}

// bodyFailed notes why the request body was not read to its end.
func (x *stream) bodyFailed() {
	err := x.body.failure()
	if err == nil {
		return
	}
	if x.rec.Detail == "" {
		x.rec.Detail = "read request body: " + err.Error()
	}
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok && x.rec.LimitHit == "" {
		x.rec.LimitHit = "body"
	}
}

// body is the request body as the handler reads it: within the limit, and with
// a deadline for every part. It may be read from another goroutine.
type body struct {
	x    *stream
	from io.ReadCloser
	left int64 // how much more may come; of the reader alone
	read atomic.Int64
	err  atomic.Pointer[error] // the first one but io.EOF
}

// Read is io.Reader. Beyond the limit it returns *http.MaxBytesError.
func (b *body) Read(p []byte) (int, error) {
	if err := b.failure(); err != nil {
		return 0, err
	}
	if len(p) == 0 {
		return 0, nil
	}
	if int64(len(p)) > b.left+1 {
		p = p[:b.left+1]
	}
	b.x.guard.reads()
	n, err := b.from.Read(p)
	b.x.guard.hasRead()
	if int64(n) > b.left {
		n = int(b.left)
		err = &http.MaxBytesError{Limit: int64(b.x.group.limits.Body)}
	}
	b.left -= int64(n)
	b.read.Add(int64(n))
	if err != nil && !errors.Is(err, io.EOF) {
		b.err.CompareAndSwap(nil, &err)
	}
	return n, err
}

// Close is io.Closer.
func (b *body) Close() error { return b.from.Close() }

func (b *body) failure() error {
	if err := b.err.Load(); err != nil {
		return *err
	}
	return nil
}

// answer is the ResponseWriter of a handler. It notes what is sent in the
// record and keeps the write deadline.
type answer struct {
	x      *stream
	w      http.ResponseWriter
	head   bool  // to HEAD: what is written does not count
	length int64 // Content-Length, -1 without
	wrote  int64 // of the body
}

// Header is http.ResponseWriter.
func (a *answer) Header() http.Header { return a.w.Header() }

// Unwrap lets http.ResponseController reach the stream.
func (a *answer) Unwrap() http.ResponseWriter { return a.w }

// WriteHeader is http.ResponseWriter. Interim answers go on as they come.
func (a *answer) WriteHeader(status int) {
	rec := &a.x.rec
	if status < 200 || rec.Answer.Status != 0 {
		a.w.WriteHeader(status)
		return
	}
	h := a.w.Header()
	for _, name := range []string{"Keep-Alive", "Proxy-Connection", "Transfer-Encoding", "Upgrade"} {
		delete(h, name) // of an HTTP/1.1 connection only (RFC 9113, section 8.2.2)
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // or net/http would guess one
	}
	bodiless := a.head || status == http.StatusNoContent || status == http.StatusNotModified
	if v := h["Content-Length"]; len(v) == 1 && !bodiless {
		if n, err := strconv.ParseInt(v[0], 10, 64); err == nil {
			a.length = n
		}
	}
	rec.Answer.Status = status
	rec.Timing.FirstByte = time.Since(rec.Start)
	a.w.WriteHeader(status)
}

// Write is io.Writer.
func (a *answer) Write(p []byte) (int, error) {
	if a.x.rec.Answer.Status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	a.x.guard.writes()
	n, err := a.w.Write(p)
	a.x.guard.hasWritten()
	if !a.head {
		a.wrote += int64(n)
		a.x.rec.Answer.BodyBytes += int64(n)
	}
	return n, a.failure(err)
}

// FlushError is what http.ResponseController calls.
func (a *answer) FlushError() error {
	if a.x.rec.Answer.Status == 0 {
		a.WriteHeader(http.StatusOK)
	}
	a.x.guard.writes()
	err := http.NewResponseController(a.w).Flush()
	a.x.guard.hasWritten()
	return a.failure(err)
}

// Flush is http.Flusher.
func (a *answer) Flush() { _ = a.FlushError() } // the next write has the error too

// failure says which deadline is behind an error, if one is.
func (a *answer) failure(err error) error {
	if err == nil {
		return nil
	}
	if a.x.guard.expired() == limitWrite {
		return fmt.Errorf("the client takes nothing: %w", os.ErrDeadlineExceeded)
	}
	return err
}

// short says whether the handler promised more than it wrote.
func (a *answer) short() bool { return a.length > a.wrote }
