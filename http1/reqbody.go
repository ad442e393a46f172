package http1

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"sync"
	"sync/atomic"

	"github.com/selvage-edge/selvage/record"
)

// requestBody is the body that a handler reads. Handlers may read it while they
// write the answer, and from another goroutine.
type requestBody struct {
	x *exchange

	mu     sync.Mutex // guards what follows, and is held while a read waits
	r      bodyReader
	read   int64
	limit  int64
	closed bool
	err    error // the first that was not io.EOF

	over   atomic.Bool  // the last byte was read
	status atomic.Int32 // what the client is answered if there is no answer yet and the body was no body; 0 if it was
}

func (b *requestBody) start(x *exchange, f framing) {
	b.x, b.limit = x, int64(x.c.srv.limits.Body)
	b.r.start(&x.c.in, f, x.c.srv.headLimits())
}

// Read is io.Reader. The first one sends 100 Continue if the client waits for
// it. Beyond the limit it returns *http.MaxBytesError.
func (b *requestBody) Read(p []byte) (int, error) {
	b.x.w.sendContinue()
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.readLocked(p)
}

func (b *requestBody) readLocked(p []byte) (int, error) {
	if b.isTooLarge() {
		return 0, b.err
	}
	if room := b.limit - b.read; int64(len(p)) > room+1 {
		p = p[:room+1]
	}
	n, err := b.r.Read(p)
	b.read += int64(n)
	if b.read > b.limit {
		n -= int(b.read - b.limit)
		b.read = b.limit
		b.err = &http.MaxBytesError{Limit: b.limit}
		b.status.Store(http.StatusRequestEntityTooLarge)
		return n, b.err
	}
	switch {
	case err == io.EOF:
		b.throughLocked()
	case err != nil && b.err == nil:
		b.err = err
		if bad, ok := errors.AsType[*Refusal](err); ok {
			b.status.Store(int32(bad.Status))
		} else if late, ok := errors.AsType[*deadlineError](err); ok && late.limit == phaseLimit[serving] {
			b.status.Store(http.StatusRequestTimeout)
		}
	}
	return n, err
}

func (b *requestBody) isTooLarge() bool { return b.status.Load() == http.StatusRequestEntityTooLarge }

// Buffered says whether Read waits for nobody until the end of the body. The
// transport then sends it with the request's head, without a goroutine.
func (b *requestBody) Buffered() bool {
	if !b.mu.TryLock() {
		return false // a read waits
	}
	defer b.mu.Unlock()
	return b.r.through() || b.r.kind == counted && b.r.err == nil && b.r.left <= int64(len(b.r.in.bytes()))
}

// throughLocked is called when the last byte was read.
func (b *requestBody) throughLocked() {
	if b.r.trailer != nil {
		if b.x.req.Trailer == nil {
			b.x.req.Trailer = make(http.Header, len(b.r.trailer))
		}
		maps.Copy(b.x.req.Trailer, b.r.trailer)
		b.r.trailer = nil
	}
	b.over.Store(true)
	b.x.c.view.bodyOver(b.x.c)
}

// Close is io.Closer. It reads nothing; what is left is the server's.
func (b *requestBody) Close() error {
	if !b.mu.TryLock() {
		return nil // a read is on its way; the server ends it
	}
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

// leftMuch says whether more is left of the body than the server would read
// only to keep the connection, or whether it may never come.
func (b *requestBody) leftMuch() bool {
	if b.over.Load() || b.x == nil {
		return false
	}
	if !b.mu.TryLock() {
		return true // somebody is waiting for it
	}
	defer b.mu.Unlock()
	return b.err != nil || b.r.err != nil || b.r.kind == counted && b.r.left > maxDrain
}

// end takes the body from the handler and reads what is left of it, if it is
// not too much. It says whether the connection's next byte is that of a request.
func (b *requestBody) end(drain bool) (reusable bool) {
	if !b.mu.TryLock() {
		// The handler has returned and left somebody reading.
		b.x.c.clock.interrupt()
		b.mu.Lock()
	}
	defer b.mu.Unlock()
	b.closed = true
	if b.r.through() {
		return true
	}
	if !drain || b.err != nil || b.r.err != nil {
		return false
	}
	room := make([]byte, 8<<10)
	for left := int64(maxDrain); left > 0; {
		n, err := b.readLocked(room)
		left -= int64(n)
		if err != nil {
			return err == io.EOF
		}
	}
	return false
}

// fill notes in the record what became of the body.
func (b *requestBody) fill(r *record.Record) {
	if !b.mu.TryLock() {
		return // the connection was taken over, and somebody still reads
	}
	defer b.mu.Unlock()
	r.Request.BodyBytes = b.read
	limit, why := "", ""
	if b.err != nil {
		why = "read request body: " + b.err.Error()
	}
	if b.isTooLarge() {
		limit = "body"
	} else if late, ok := errors.AsType[*deadlineError](b.err); ok {
		limit = late.limit
	} else if bad, ok := errors.AsType[*Refusal](b.err); ok {
		limit = bad.Limit
	} else if b.err != nil && r.WhyBad == record.Good {
		r.WhyBad = record.ClientGone
	}
	if r.Detail == "" {
		r.Detail = why
	}
	if limit != "" {
		b.x.limitHit(limit)
	}
}

// limitHit notes a limit in the record, from which it is counted.
func (x *exchange) limitHit(limit string) {
	if x.rec.LimitHit == "" {
		x.rec.LimitHit = limit
	}
	x.c.srv.recordedLimit(limit)
}
