package fastly

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
)

// maxBuffered is how many bytes of bodies a request may hold in the host's
// memory: what the guest wrote and nobody took yet. Default 64 MiB.
const maxBuffered = 64 << 20

// chunkSize is how much is read at once to see whether a body is ready.
const chunkSize = 32 << 10

// body is the body of a message. It is read from its front; it is written to
// at its end, or given on to a sink once it is being sent.
type body struct {
	parts    []part
	trailers header
	pending  bool     // trailers are known at the end of the parts only
	sink     sink     // not nil: a streaming body, which can be written and not read
	held     *holding // counts what the parts hold in memory
}

// part is a piece of a body: bytes, or a stream.
type part struct {
	data   []byte
	stream *stream
}

// partSize is the size of one in bytes.
const partSize = 32

// sink is where a streaming body goes.
type sink interface {
	// Write blocks until there is room.
	Write(p []byte) (int, error)
	// finish ends the body as it should end.
	finish(trailers *header) error
	// abandon ends it so that its reader learns that it is not whole.
	abandon()
	// room is closed when a write would not wait.
	room() <-chan struct{}
}

// holding counts the bytes that a request's bodies hold in memory.
type holding struct {
	mu   sync.Mutex
	used int64 // guarded by mu
}

// take counts n bytes more; false if they are too many.
func (h *holding) take(n int) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.used+int64(n) > maxBuffered {
		return false
	}
	h.used += int64(n)
	return true
}

func (h *holding) release(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.used -= int64(n)
}

// stream is a body that comes from outside. A read that was begun to see
// whether there is something goes on while the guest runs.
type stream struct {
	r       io.ReadCloser
	left    int64              // bytes that are said to come; negative: nobody said
	trailer func() http.Header // at the end; nil: none
	feeds   []*pipe            // of the request that it answers: it may end only after they have

	// The read that is under way, or its result.
	begun bool
	done  chan struct{} // closed when chunk and err are set
	chunk []byte
	err   error
}

// begin begins a read and returns what is closed at its end.
func (s *stream) begin() <-chan struct{} {
	if !s.begun {
		s.begun, s.done = true, make(chan struct{})
		go func() { // read or close waits for it
			buf := make([]byte, chunkSize)
			n, err := s.r.Read(buf)
			s.chunk, s.err = buf[:n], err
			close(s.done)
		}()
	}
	return s.done
}

// read reads what a read that was begun has brought, or else by itself.
func (s *stream) read(ctx context.Context, p []byte) (int, error) {
	if !s.begun {
		n, err := s.r.Read(p)
		s.count(n)
		return n, err
	}
	select {
	case <-s.done:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	n := copy(p, s.chunk)
	s.chunk = s.chunk[n:]
	s.count(n)
	if len(s.chunk) > 0 {
		return n, nil
	}
	if s.err == nil {
		s.begun = false
	}
	return n, s.err
}

func (s *stream) count(n int) {
	if s.left >= 0 {
		s.left = max(s.left-int64(n), 0)
	}
}

// close closes the stream and waits for a read that is under way.
func (s *stream) close() {
	_ = s.r.Close() // a body that is not wanted any more
	if s.begun {
		<-s.done
	}
}

// read reads from the front; io.EOF after the last part.
func (b *body) read(ctx context.Context, p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for len(b.parts) > 0 {
		front := &b.parts[0]
		if front.stream == nil {
			n := copy(p, front.data)
			front.data = front.data[n:]
			b.held.release(n)
			if len(front.data) == 0 {
				b.parts = b.parts[1:]
			}
			if n > 0 {
				return n, nil
			}
			continue
		}
		n, err := front.stream.read(ctx, p)
		if errors.Is(err, io.EOF) {
			b.passed(front.stream)
			err = nil
		}
		if n > 0 || err != nil {
			return n, err
		}
	}
	b.pending = false
	return 0, io.EOF
}

// feeds are the pipes that may have to end before the body does.
func (b *body) feeds() (all []*pipe) {
	for _, p := range b.parts {
		if p.stream != nil {
			all = append(all, p.stream.feeds...)
		}
	}
	return all
}

// take takes the first part if it is in memory.
func (b *body) take() ([]byte, bool) {
	if len(b.parts) == 0 || b.parts[0].stream != nil {
		return nil, false
	}
	data := b.parts[0].data
	b.parts = b.parts[1:]
	b.held.release(len(data))
	return data, true
}

// passed goes behind a stream that ended, and learns its trailers.
func (b *body) passed(s *stream) {
	if s.trailer != nil {
		t := fromHTTP(s.trailer(), "")
		for _, f := range t.fields {
			b.trailers.append(f.name, f.value)
		}
	}
	s.close()
	b.parts = b.parts[1:]
}

// length is how long the body is, if that is known.
func (b *body) length() (int64, bool) {
	var n int64
	for _, p := range b.parts {
		switch {
		case p.stream == nil:
			n += int64(len(p.data))
		case p.stream.left < 0:
			return 0, false
		default:
			n += p.stream.left
		}
	}
	return n, true
}

// inMemory says whether nothing of the body is still to come.
func (b *body) inMemory() bool {
	return !slices.ContainsFunc(b.parts, func(p part) bool { return p.stream != nil })
}

// size is how many bytes of it are in memory.
func (b *body) size() int {
	n := 0
	for _, p := range b.parts {
		n += len(p.data)
	}
	return n
}

// ready is closed when a read would not wait. It may be nil: there is nothing to wait for.
func (b *body) ready() <-chan struct{} {
	if b.sink != nil {
		return b.sink.room()
	}
	if len(b.parts) == 0 || b.parts[0].stream == nil {
		return nil
	}
	return b.parts[0].stream.begin()
}

// push copies bytes to the end, or to the front; false if they are too many.
func (b *body) push(p []byte, front bool) bool {
	if len(p) == 0 {
		return true
	}
	if !b.held.take(len(p)) {
		return false
	}
	last := len(b.parts) - 1
	switch {
	case front:
		b.parts = append([]part{{data: append([]byte(nil), p...)}}, b.parts...)
	case last >= 0 && b.parts[last].stream == nil && len(b.parts[last].data)+len(p) <= chunkSize:
		b.parts[last].data = append(b.parts[last].data, p...)
	default:
		b.parts = append(b.parts, part{data: append([]byte(nil), p...)})
	}
	return true
}

// close gives back what the body holds. A streaming body that was not finished
// is abandoned.
func (b *body) close() {
	if b.sink != nil {
		b.sink.abandon()
		b.sink = nil
	}
	for _, p := range b.parts {
		if p.stream != nil {
			p.stream.close()
		} else {
			b.held.release(len(p.data))
		}
	}
	b.parts = nil
}

// reader reads a body for somebody else than the guest: an origin, the client.
// Its Read and its Close may be called at once.
type reader struct {
	streams []*stream     // of the body, to end a Read that waits
	trailer func(*header) // told at the end; nil: nobody wants them

	mu sync.Mutex
	b  *body // guarded by mu
}

func newReader(b *body, trailer func(*header)) *reader {
	r := &reader{b: b, trailer: trailer}
	for _, p := range b.parts {
		if p.stream != nil {
			r.streams = append(r.streams, p.stream)
		}
	}
	return r
}

// Read reads the body.
func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, err := r.b.read(context.Background(), p)
	if errors.Is(err, io.EOF) && r.trailer != nil {
		r.trailer(&r.b.trailers)
		r.trailer = nil
	}
	return n, err
}

// Close closes the body, under a Read too.
func (r *reader) Close() error {
	for _, s := range r.streams {
		_ = s.r.Close() // which ends a Read that waits
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.b.close()
	return nil
}
