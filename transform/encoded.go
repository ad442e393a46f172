package transform

import (
	"errors"
	"io"
	"net/http"
	"sync"
)

// errClosed is what a closed body is read with.
var errClosed = errors.New("read changed answer: the body is closed")

// guard lets one goroutine close a body while another reads it: what the
// reader works with is given back by whoever is the last.
type guard struct {
	mu      sync.Mutex // guards all below
	reading bool
	closed  bool
	free    func() // gives back what is lent; nil once it was
}

// enter begins a read.
func (g *guard) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.closed {
		return false
	}
	g.reading = true
	return true
}

// leave ends a read; with done nothing of what is lent is needed any more.
func (g *guard) leave(done bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reading = false
	if done || g.closed {
		g.freeLocked()
	}
}

func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if !g.reading {
		g.freeLocked()
	}
}

func (g *guard) freeLocked() {
	if g.free != nil {
		g.free()
		g.free = nil
	}
}

// encodedBody is a body that is compressed while it is read.
type encodedBody struct {
	src    *source
	enc    *encoder
	timely bool // what was read goes out before the next read
	err    error
	broken bool // the encoder failed
	guard  guard
}

func newEncodedBody(res *http.Response, m *Memory, e *encoder) *encodedBody {
	b := &encodedBody{src: newSource(res), enc: e, timely: e.kind.purpose() == streaming}
	b.guard.free = func() { m.giveBack(e, !b.broken) }
	return b
}

// Read implements io.Reader.
func (b *encodedBody) Read(p []byte) (n int, err error) {
	if !b.guard.enter() {
		return 0, errClosed
	}
	finished := true // also when a library panics
	defer func() { b.guard.leave(finished) }()
	if b.enc == nil {
		return 0, b.err
	}
	if len(p) == 0 {
		finished = false
		return 0, nil
	}
	b.broken = true // until we are through
	for b.enc.out.empty() && b.err == nil {
		b.err = b.step()
	}
	b.broken = b.err != nil && b.err != io.EOF
	n = b.enc.out.take(p)
	if b.err != nil && b.enc.out.empty() {
		b.enc = nil
		return n, b.err
	}
	finished = false
	return n, nil
}

// step reads a piece and compresses it. An end that is none is not written: the
// client must see that something is missing.
func (b *encodedBody) step() error {
	e := b.enc
	n, err := b.src.Read(e.in)
	if n > 0 {
		if _, werr := e.to.Write(e.in[:n]); werr != nil {
			return werr
		}
	}
	switch {
	case err == io.EOF:
		if cerr := e.to.Close(); cerr != nil {
			return cerr
		}
		return io.EOF
	case err != nil:
		// What came goes out before the break, as it does with a body that nobody changed.
		if ferr := e.to.Flush(); ferr != nil {
			return errors.Join(err, ferr)
		}
		return err
	case b.timely || b.src.waits():
		return e.to.Flush()
	}
	return nil
}

// Close implements io.Closer. It may be called while another goroutine reads.
func (b *encodedBody) Close() error {
	err := b.src.Close()
	b.guard.close()
	return err
}
