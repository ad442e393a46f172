package http1

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"
)

// response is the http.ResponseWriter. Beside its methods it has those that
// http.ResponseController looks for, io.StringWriter and io.ReaderFrom. They may
// be called from several goroutines but for Header; after the handler has
// returned they do nothing.
type response struct {
	x       *exchange
	header  http.Header
	fields  Fields // written in place of header, if set
	isHead  bool
	noBody  bool // the status allows none
	chunked bool
	closing bool // the connection ends with this answer
	own     bool // the output holds an answer of ours instead of the handler's
	minor   uint8
	state   writeState
	status  int
	length  int64    // what the handler announced, -1 if nothing
	written int64    // by the handler
	names   []string // of announced trailers
	err     error    // why nothing more can be written
	failed  error    // how the handler ended

	mu          sync.Mutex  // held by every method
	waiting     atomic.Bool // the client waits for 100 Continue
	isTakenOver atomic.Bool
}

// writeState is how far an answer has come.
type writeState uint8

const (
	open      writeState = iota
	headed               // the fields are fixed, not yet the framing
	committed            // the whole head is in the output
	begun                // some of it was written
	finished
)

// autoLength is how long a body may be that gets its Content-Length by itself.
const autoLength = 2 << 10

var errFinished = errors.New("write answer: the handler has returned")

func (w *response) start(x *exchange) {
	w.x, w.length = x, -1
	w.minor = x.c.s.head.minor
	w.isHead = string(x.c.s.head.Method()) == http.MethodHead
	w.waiting.Store(x.c.s.want.expect)
}

// Header is the header section that WriteHeader will write. After that only
// trailers are read from it: announced ones, and http.TrailerPrefix.
func (w *response) Header() http.Header {
	if w.header == nil {
		w.header = make(http.Header, 8)
	}
	return w.header
}

// SetHeader makes h the header section, in place of what Header gave before. A
// proxy that has an answer's header already need not copy it. From here on h
// is the answer's own.
func (w *response) SetHeader(h http.Header) { w.header = h }

// Fields is a header section that is there as it is sent: AppendFields appends its
// lines. All names are tokens, no value has a control character, there is a Date, and
// none of what the server writes itself.
type Fields interface{ AppendFields(dst []byte) []byte }

// SetFields makes f the header section, in place of what Header gave before, of an answer
// with so many bytes. It must be valid until WriteHeader has returned.
func (w *response) SetFields(f Fields, length int64) { w.header, w.fields, w.length = nil, f, length }

// WriteHeader fixes status and header. A status below 200 but 101 is an interim
// answer and sent at once; HTTP/1.0 clients are sent none.
func (w *response) WriteHeader(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if status < 100 || status > 999 {
		panic(fmt.Sprintf("http1: status %d", status))
	}
	if w.check() != nil || w.state >= headed {
		return
	}
	if status < 200 && status != http.StatusSwitchingProtocols {
		w.interim(status)
		return
	}
	w.fix(status)
}

// check says why nothing can be written, nil if it can.
func (w *response) check() error {
	switch {
	case w.isTakenOver.Load():
		return http.ErrHijacked
	case w.state == finished:
		return errFinished
	}
	return w.err
}

// Write is io.Writer. It returns http.ErrContentLength, and writes nothing,
// beyond the announced length, and http.ErrBodyNotAllowed where the status has
// no body.
func (w *response) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(p)
}

// WriteString is Write.
func (w *response) WriteString(s string) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(unsafe.Slice(unsafe.StringData(s), len(s))) // which reads it and does not keep it
}

func (w *response) write(p []byte) (int, error) {
	if err := w.check(); err != nil {
		return 0, err
	}
	if w.state == open {
		w.fix(http.StatusOK)
	}
	switch {
	case w.err != nil:
		return 0, w.err
	case len(p) == 0:
		return 0, nil
	case w.noBody:
		return 0, http.ErrBodyNotAllowed
	case w.length >= 0 && int64(len(p)) > w.length-w.written:
		return 0, http.ErrContentLength
	}
	w.written += int64(len(p))
	if w.isHead {
		return len(p), nil
	}
	s := w.x.c.s
	if w.state == headed && w.length < 0 && len(s.pending)+len(p) <= autoLength {
		s.pending = append(s.pending, p...)
		return len(p), nil
	}
	if w.state == headed {
		w.commit(false)
	}
	if err := w.emit(p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// emit adds p to the body, and writes when there is enough.
func (w *response) emit(p []byte) error {
	s := w.x.c.s
	switch {
	case w.chunked && len(s.pending)+len(p) <= cap(s.pending):
		s.pending = append(s.pending, p...)
	case !w.chunked && len(s.pending) == 0 && len(s.out)+len(p) <= cap(s.out):
		s.out = append(s.out, p...)
	default:
		return w.send(p, false)
	}
	return nil
}

// send writes all that waits, then p; last ends the body.
func (w *response) send(p []byte, last bool) error {
	s := w.x.c.s
	n := len(s.pending) + len(p)
	if w.chunked && n > 0 {
		s.out = appendChunkLine(s.out, n)
		s.tail = append(s.tail, "\r\n"...)
	}
	if w.chunked && last {
		if err := w.appendEnd(); err != nil {
			return err
		}
	}
	var err error
	if n+len(s.tail) <= cap(s.out)-len(s.out) {
		s.out = append(append(append(s.out, s.pending...), p...), s.tail...)
		err = w.put([...][]byte{s.out, nil, nil, nil})
	} else {
		err = w.put([...][]byte{s.out, s.pending, p, s.tail})
	}
	s.out, s.pending, s.tail = s.out[:0], s.pending[:0], s.tail[:0]
	return err
}

// put writes and notes what came of it.
func (w *response) put(bufs [4][]byte) error {
	if len(bufs[0])+len(bufs[1])+len(bufs[2])+len(bufs[3]) == 0 {
		return nil
	}
	x := w.x
	if w.state == committed {
		w.state = begun
		x.rec.Timing.FirstByte = time.Since(x.rec.Start)
	}
	if err := x.c.write(bufs); err != nil {
		w.err = fmt.Errorf("write answer: %w", err)
		x.c.gone.Store(true)
		x.ctx.cancel(context.Canceled)
	}
	return w.err
}

// Flush sends what was written so far.
func (w *response) Flush() { _ = w.FlushError() }

// FlushError is Flush for http.ResponseController.
func (w *response) FlushError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.check(); err != nil {
		return err
	}
	if w.state == open {
		w.fix(http.StatusOK)
	}
	if w.state == headed {
		w.commit(false)
	}
	if w.err != nil {
		return w.err
	}
	return w.send(nil, false)
}

// sendContinue tells a client that waits for it to send its body.
func (w *response) sendContinue() {
	if !w.waiting.Load() {
		return // a write that waits for the client must not hold up a read
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting.Swap(false) && w.check() == nil {
		_ = w.put([...][]byte{[]byte("HTTP/1.1 100 Continue\r\n\r\n"), nil, nil, nil})
	}
}

// interim writes an interim answer (RFC 9110, section 15.2).
func (w *response) interim(status int) {
	if w.minor == 0 {
		return
	}
	if status == http.StatusContinue {
		w.waiting.Store(false)
	}
	s := w.x.c.s
	out, err := appendFields(appendStatus(s.out, status), w.header, ofConnection)
	if err != nil {
		s.out = s.out[:0]
		return // a header that cannot be written; the final answer will say so
	}
	s.out = append(out, "\r\n"...)
	_ = w.put([...][]byte{s.out, nil, nil, nil})
	s.out = s.out[:0]
}

// ReadFrom is io.ReaderFrom. It copies files by sendfile where it can.
func (w *response) ReadFrom(src io.Reader) (n int64, err error) {
	if n, done, err := w.sendFile(src); done || err != nil {
		return n, err
	}
	buf := copyPool.Get().(*[copySize]byte)
	defer copyPool.Put(buf)
	for {
		r, readErr := src.Read(buf[:])
		if r > 0 {
			written, err := w.Write(buf[:r])
			n += int64(written)
			if err != nil {
				return n, err
			}
		}
		if readErr == io.EOF {
			return n, nil
		}
		if readErr != nil {
			return n, readErr
		}
	}
}

const copySize = 32 << 10

var copyPool = sync.Pool{New: func() any { return new([copySize]byte) }}

// sendFile copies a file straight to a TCP connection. It does so only for a
// body of known length, because nothing may stand between the bytes.
func (w *response) sendFile(src io.Reader) (n int64, done bool, err error) {
	tcp, ok := w.x.c.nc.(*net.TCPConn)
	left := int64(-1)
	file := src
	if l, limited := src.(*io.LimitedReader); limited {
		file, left = l.R, l.N
	}
	if _, isFile := file.(*os.File); !isFile || !ok {
		return 0, false, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.check() == nil && w.state == open {
		w.fix(http.StatusOK)
	}
	if w.check() != nil || w.length < 0 || w.isHead || w.noBody {
		return 0, false, nil
	}
	if w.state == headed {
		w.commit(false)
	}
	if err := w.send(nil, false); err != nil {
		return 0, true, err
	}
	if left < 0 || left > w.length-w.written {
		left = w.length - w.written
	}
	for left > 0 {
		if _, _, err := w.x.c.clock.waitForWrite(time.Now()); err != nil {
			return n, true, err
		}
		part := min(left, filePart)
		m, err := tcp.ReadFrom(&io.LimitedReader{R: file, N: part})
		n, left = n+m, left-m
		w.written += m
		if err != nil {
			w.err = fmt.Errorf("write answer: %w", err)
			return n, true, w.err
		}
		if m < part {
			break
		}
	}
	if l, limited := src.(*io.LimitedReader); limited {
		l.N -= n
	}
	return n, true, nil
}

// filePart is how much of a file goes out under one write deadline.
const filePart = 256 << 10

// SetReadDeadline is for http.ResponseController: the request body's, beside the server's own.
func (w *response) SetReadDeadline(t time.Time) error { return w.x.c.clock.setRead(t) }

// SetWriteDeadline is for http.ResponseController: the answer's, beside the server's own.
func (w *response) SetWriteDeadline(t time.Time) error { return w.x.c.clock.setWrite(t) }

// EnableFullDuplex is for http.ResponseController: it always is.
func (w *response) EnableFullDuplex() error { return nil }

// Hijack is http.Hijacker: the connection is the caller's, with every byte that
// the client sent behind the request. They are read from the connection or from
// the returned reader, from either of them. An answer that was begun is sent first.
func (w *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.check(); err != nil {
		return nil, nil, err
	}
	if w.state == headed {
		w.commit(false)
	}
	if err := w.send(nil, false); err != nil {
		return nil, nil, err
	}
	nc, err := w.x.c.handOver()
	if err != nil {
		return nil, nil, fmt.Errorf("hijack: %w", err)
	}
	w.isTakenOver.Store(true)
	w.x.rec.Answer.Upgraded = true
	return nc, bufio.NewReadWriter(bufio.NewReader(nc), bufio.NewWriter(nc)), nil
}

func appendStatus(dst []byte, status int) []byte {
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(status), 10)
	dst = append(dst, ' ')
	if text := http.StatusText(status); text != "" {
		dst = append(dst, text...)
	} else {
		dst = append(dst, "status code "...)
		dst = strconv.AppendInt(dst, int64(status), 10)
	}
	return append(dst, "\r\n"...)
}
