package http1

import (
	"errors"
	"io"
	"maps"
	"net/http"

	"github.com/selvage-edge/selvage"
)

// startBody prepares the answer's body. What is through already gives the
// connection back before the caller has read it.
func (a *answer) startBody(f framing) {
	a.body.start(&a.in, f, a.t.headLimits())
	a.resp.Body = a
	buffered := int64(len(a.in.bytes()))
	switch {
	case a.body.through():
		a.resp.Body = http.NoBody
		a.end(buffered == 0)
		a.dropInput()
	case f.kind == counted && buffered >= f.length:
		// What follows the body was not asked for. It is not looked at.
		a.in.w = a.in.r + int(f.length)
		a.in.src = nothingMore{}
		a.end(buffered == f.length)
	default:
		a.conn.perRead = a.t.Idle
		if a.t.Idle <= 0 {
			a.conn.expect(0)
		}
	}
}

// Read is io.Reader. Its errors but io.EOF are *AnswerError.
func (a *answer) Read(p []byte) (int, error) {
	a.reading.Lock()
	defer a.reading.Unlock()
	n, err := a.read(p)
	a.quitIfClosed()
	return n, err
}

// read needs a.reading held.
func (a *answer) read(p []byte) (int, error) {
	if a.err != nil {
		return 0, a.err
	}
	n, err := a.body.Read(p)
	if err != nil {
		err = a.finishBody(err)
	}
	return n, err
}

// finishBody notes how the body ended, and lets the connection go.
func (a *answer) finishBody(err error) error {
	if err == io.EOF {
		a.addTrailers()
		a.end(len(a.in.bytes()) == 0)
	} else {
		err = a.bodyError(err)
		a.end(false)
	}
	a.err = err
	a.dropInput()
	return err
}

func (a *answer) bodyError(err error) error {
	a.mu.Lock()
	closed := a.closed
	a.mu.Unlock()
	if closed {
		return errBodyClosed
	}
	e := a.fail(err)
	e.Sent = true
	return e
}

var errBodyClosed = &AnswerError{selvage.ConnectionTerminated, true, false, errAnswerClosed}

func (a *answer) addTrailers() {
	if len(a.body.trailer) == 0 {
		return
	}
	if a.resp.Trailer == nil {
		a.resp.Trailer = a.body.trailer
		return
	}
	maps.Copy(a.resp.Trailer, a.body.trailer)
}

// WriteTo is io.WriterTo. It returns what went wrong on either side; only the
// origin's errors are *AnswerError.
func (a *answer) WriteTo(w io.Writer) (int64, error) {
	a.reading.Lock()
	defer a.reading.Unlock()
	defer a.quitIfClosed()
	total, err := a.writeBuffered(w)
	if err != nil || a.err == io.EOF {
		return total, err
	}
	if a.err != nil {
		return total, a.err
	}
	a.in.release()
	buf := copyPool.Get().(*[copySize]byte)
	defer copyPool.Put(buf)
	for {
		n, err := a.read(buf[:])
		if n > 0 {
			m, werr := w.Write(buf[:n])
			total += int64(m)
			if werr != nil {
				return total, werr
			}
		}
		if err == io.EOF {
			return total, nil
		}
		if err != nil {
			return total, err
		}
	}
}

// writeBuffered writes what there is of a counted body without copying it first.
func (a *answer) writeBuffered(w io.Writer) (int64, error) {
	b := a.in.bytes()
	if a.err != nil || a.body.kind != counted || len(b) == 0 {
		return 0, nil //nolint:nilerr // WriteTo looks at a.err itself
	}
	n, err := w.Write(b[:min(int64(len(b)), a.body.left)])
	a.in.discard(n)
	a.body.left -= int64(n)
	if err == nil && a.body.left == 0 {
		a.body.err = io.EOF
		_ = a.finishBody(io.EOF) // it is io.EOF, and WriteTo sees it in a.err
	}
	return int64(n), err
}

// Close ends the answer. If its rest was received already it is skipped, else
// the connection is closed: to read on could take for ever. Close may be called
// while Read or WriteTo runs, which then ends with an error.
func (a *answer) Close() error {
	a.mu.Lock()
	a.closed = true
	a.mu.Unlock()
	if !a.reading.TryLock() {
		a.end(false)
		return nil
	}
	defer a.reading.Unlock()
	a.quit()
	return nil
}

// quitIfClosed is what Close left to a running read.
func (a *answer) quitIfClosed() {
	a.mu.Lock()
	closed := a.closed
	a.mu.Unlock()
	if closed {
		a.quit()
	}
}

// quit skips what was received, and lets the connection go. It needs a.reading held.
func (a *answer) quit() {
	if a.err == nil {
		a.in.src = nothingMore{}
		var skipped [512]byte
		for a.body.err == nil {
			if _, err := a.body.Read(skipped[:]); err != nil {
				break
			}
		}
		a.end(a.body.through() && len(a.in.bytes()) == 0)
		a.err = errBodyClosed
	}
	a.dropInput()
}

// nothingMore stands for a connection from which no more is read.
type nothingMore struct{}

func (nothingMore) Read([]byte) (int, error) { return 0, errors.New("nothing more is read") }

// dropInput gives the read buffer back. Nothing may be read from it afterwards.
func (a *answer) dropInput() {
	a.in.discard(len(a.in.bytes()))
	a.in.release()
}

// end lets the connection go. It is kept if clean says that the answer ended
// where it should and nothing else argues against it. Only the first call counts.
func (a *answer) end(clean bool) {
	a.mu.Lock()
	c := a.conn
	a.conn = nil
	if c == nil {
		a.mu.Unlock()
		return
	}
	clean = clean && a.reusable
	if a.stop != nil && !a.stop() {
		clean = false // the context ended and closes it in this moment
	}
	if clean && a.sending == sendLast {
		// The origin answered to the last bytes of the request before the
		// goroutine that wrote them has noticed. That one lets it go.
		a.upload.inherited = c
		a.mu.Unlock()
		return
	}
	clean = clean && (a.sending == sendNone || a.sending == sendDone)
	a.mu.Unlock()
	a.t.letGo(c, clean)
	if a.upload != nil {
		a.abortSending()
	}
}

// letGo gives a connection back, or closes it.
func (t *Transport) letGo(c *originConn, clean bool) {
	if clean {
		t.put(c)
		return
	}
	c.cancel()
	t.release()
}
