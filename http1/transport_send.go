package http1

import (
	"fmt"
	"io"
	"sync"
	"time"
)

// sendState is how far a request's body is that is sent beside the answer.
type sendState uint8

const (
	sendNone    sendState = iota // there is none
	sendHeld                     // it waits for 100
	sendRunning                  // it is on its way
	sendLast                     // its last bytes are being written
	sendDone                     // it was written whole
	sendFailed                   // it was not, and will not be
)

// upload is a request's body that is sent beside the answer.
type upload struct {
	conn      *originConn
	cont      chan struct{} // closed when the origin wants the body
	aborted   chan struct{} // closed when nobody wants it any more
	inherited *originConn   // to be let go after the last bytes; guarded by answer.mu
	inBody    bool          // it waits for the body's reader; guarded by answer.mu
	cause     error         // why it failed, if the origin is not to blame, or did not take it; guarded by answer.mu
	closeBody sync.Once
}

// streams says whether the request's body is sent beside the answer.
func (a *answer) streams() bool { return a.length != 0 && !a.composed }

// startSending begins to send the body. Its goroutine ends when the body is
// sent, or else when end has closed the connection and the body: nobody
// waits for it, since a body's reader may take its time to see that.
func (a *answer) startSending() {
	u := &upload{conn: a.conn, aborted: make(chan struct{})}
	a.upload, a.sending = u, sendRunning
	if a.expects {
		u.cont, a.sending = make(chan struct{}), sendHeld
	}
	go a.send(u)
}

func (a *answer) send(u *upload) {
	defer a.closeUpload(u)
	if a.expects && !a.awaitContinue(u) {
		return
	}
	err := a.sendBody(u)
	if c := a.sent(u, err); c != nil {
		a.t.letGo(c, err == nil)
	}
}

// sent notes that sending has ended. It returns the connection if that was
// left to the sender to let go.
func (a *answer) sent(u *upload, err error) *originConn {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.sending = sendDone
	if err != nil {
		a.sending = sendFailed
	}
	if !a.headIn && u.inherited == nil {
		// Whether all was sent or the origin takes no more: now it is to answer.
		u.conn.expect(a.t.FirstByte)
	}
	return u.inherited
}

// awaitContinue waits until the body may be sent. An origin that does not know
// of 100 says nothing, so the wait ends by itself (RFC 9110, section 10.1.1).
func (a *answer) awaitContinue(u *upload) bool {
	timer := time.NewTimer(continueWait)
	defer timer.Stop()
	select {
	case <-u.cont:
	case <-timer.C:
	case <-u.aborted:
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sending != sendHeld {
		return a.sending == sendRunning
	}
	a.sending = sendRunning
	return true
}

// mayContinue is called on an answer 100.
func (a *answer) mayContinue() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sending == sendHeld {
		a.sending = sendRunning
		close(a.upload.cont)
	}
}

// noteHead is called on the head of the final answer. Who has it without
// having asked for the body does not want the body; and since we announced
// one, the connection cannot carry another request.
func (a *answer) noteHead() {
	if a.upload == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.headIn = true
	if a.sending == sendHeld {
		a.sending = sendFailed
		close(a.upload.aborted)
	}
}

// sendCause is why the body could not be sent, nil if it was or the answer tells more.
func (a *answer) sendCause() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.upload == nil {
		return nil
	}
	return a.upload.cause
}

// abortSending makes the sending goroutine end. The connection was closed before.
func (a *answer) abortSending() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sending != sendHeld && a.sending != sendRunning && a.sending != sendLast {
		return
	}
	a.sending = sendFailed
	close(a.upload.aborted)
	if a.upload.inBody {
		// Close is the way to end a Read, but may wait for that Read itself. It
		// ends with it at the latest.
		go a.closeUpload(a.upload)
	}
}

func (a *answer) closeUpload(u *upload) { u.closeBody.Do(a.closeRequestBody) }

func (a *answer) closeRequestBody() {
	if b := a.req.Body; b != nil && !a.composed {
		b.Close()
	}
}

// chunkFront is the room for a chunk's line in front of its data.
const chunkFront = 8

// sendBody copies the body to the connection, a write for every read.
func (a *answer) sendBody(u *upload) error {
	buf := copyPool.Get().(*[copySize]byte)
	defer copyPool.Put(buf)
	left := a.length
	for {
		room := buf[chunkFront : copySize-len("\r\n"+lastChunk)]
		if left > 0 {
			room = room[:min(int64(len(room)), left)]
		}
		n, err := a.readRequestBody(u, room)
		if err != nil && err != io.EOF {
			return a.blameBody(u, err)
		}
		end := err == io.EOF
		out := room[:n]
		if left > 0 {
			if left -= int64(n); left == 0 {
				end = true // what a body has beyond its length is not sent
			} else if end {
				return a.blameBody(u, io.ErrUnexpectedEOF)
			}
		} else if out, err = a.chunk(buf, n, end); err != nil {
			return a.blameBody(u, err)
		}
		if err := a.writePart(u, out, end); err != nil || end {
			return err
		}
	}
}

// readRequestBody reads from the request's body, and is io.ErrClosedPipe when nobody wants more.
func (a *answer) readRequestBody(u *upload, p []byte) (int, error) {
	a.mu.Lock()
	u.inBody = a.sending == sendRunning
	wanted := u.inBody
	a.mu.Unlock()
	if !wanted {
		return 0, io.ErrClosedPipe
	}
	n, err := a.req.Body.Read(p)
	a.mu.Lock()
	u.inBody = false
	a.mu.Unlock()
	return n, err
}

// chunk frames the n bytes of data in buf, and adds the end of the body if this is it.
func (a *answer) chunk(buf *[copySize]byte, n int, end bool) ([]byte, error) {
	from, to := chunkFront, chunkFront+n
	if n > 0 {
		var line [chunkFront]byte
		front := appendChunkLine(line[:0], n)
		from -= len(front)
		copy(buf[from:], front)
		to += copy(buf[to:], "\r\n")
	}
	out := buf[from:to]
	if !end {
		return out, nil
	}
	trailer := a.req.Trailer
	if len(trailer) == 0 {
		return append(out, lastChunk...), nil
	}
	out, err := appendFields(append(out, "0\r\n"...), trailer, neverTrailer)
	return append(out, "\r\n"...), err
}

// writePart writes to the connection, within Transport.Idle.
func (a *answer) writePart(u *upload, p []byte, end bool) error {
	if len(p) == 0 {
		return nil
	}
	if end {
		a.mu.Lock()
		if a.sending == sendRunning {
			a.sending = sendLast
		}
		a.mu.Unlock()
	}
	_, err := u.conn.write(p, a.t.Idle)
	if err != nil && isTimeout(err) {
		_ = a.blame(u, fmt.Errorf("send the request body: %w", err))
	}
	return err
}

// blameBody ends the request because its body cannot be had.
func (a *answer) blameBody(u *upload, err error) error {
	return a.blame(u, unsendable(fmt.Errorf("%w: %w", ErrRequestBody, err)))
}

// blame notes why the body could not be sent, and closes the connection so
// that nobody waits for an answer.
func (a *answer) blame(u *upload, err error) error {
	a.mu.Lock()
	if a.sending == sendRunning || a.sending == sendLast {
		u.cause = err
	}
	a.mu.Unlock()
	u.conn.cancel()
	return err
}
