package cache

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
)

// The sizes of a body's chunks, in bytes. A body whose length is known has
// chunks of just that length in all; others begin small and double.
const (
	firstChunk = 4 << 10
	maxChunk   = 64 << 10
)

// errTooSlow breaks the answer of a reader that fell a whole window behind the
// fastest one of a body that is too large to be kept.
var errTooSlow = errors.New("read shared answer: too far behind the others")

// body is the bytes of an answer, read by many while one writer appends.
//
// As long as everything is kept, readers do not hold each other: each goes its
// own way through the chunks. When there is no more room the writer goes over
// to a window: it drops the oldest chunk for each new one, and waits only for the
// fastest reader. Whoever is still in a dropped chunk is broken off.
type body struct {
	whole   atomic.Bool  // the body is complete: chunks and size are final and read without mu
	holders atomic.Int32 // see opened

	mu       sync.Mutex // guards all below
	chunks   [][]byte   // all but the last are full
	start    int64      // where chunks[0] stands in the body; above 0 in a window only
	size     int64      // bytes that have come, the dropped ones too
	ended    bool
	err      error       // why it broke off
	trailer  http.Header // fields that came after the end; before it, those that were announced, without values
	furthest int64       // the position of the fastest reader
	grown    chan struct{}
	taken    chan struct{}
}

// publish counts in n bytes that the writer has put behind the last chunk's length.
func (b *body) publish(n int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := &b.chunks[len(b.chunks)-1]
	*last = (*last)[:len(*last)+n]
	b.size += int64(n)
	b.wakeReadersLocked()
}

// addChunk gives the writer a new chunk to fill.
func (b *body) addChunk(size int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.chunks = append(b.chunks, make([]byte, 0, size))
}

// free is the part of the last chunk that the writer may fill. Only the writer calls it.
func (b *body) free() []byte {
	if len(b.chunks) == 0 {
		return nil
	}
	last := b.chunks[len(b.chunks)-1]
	return last[len(last):cap(last)]
}

// recycle drops the oldest chunk to make room for a new one, as soon as the
// fastest reader is through with it and past the middle of the window. It
// returns false when ctx ends first.
func (b *body) recycle(ctx context.Context) bool {
	for {
		wait := b.tryRecycle()
		if wait == nil {
			return true
		}
		select {
		case <-wait:
		case <-ctx.Done():
			return false
		}
	}
}

// tryRecycle recycles at once, or returns what to wait for.
func (b *body) tryRecycle() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	oldest := int64(len(b.chunks[0]))
	if b.furthest < b.start+max(oldest, (b.size-b.start)/2) {
		if b.taken == nil {
			b.taken = make(chan struct{})
		}
		return b.taken
	}
	// The bytes are not used again: a reader may still be writing from them.
	size := cap(b.chunks[0])
	b.start += oldest
	copy(b.chunks, b.chunks[1:])
	b.chunks[len(b.chunks)-1] = make([]byte, 0, size)
	b.wakeReadersLocked()
	return nil
}

// end says that nothing more comes, and why if it should have. A body that is
// to be kept gives back what its last chunk has too much.
func (b *body) end(err error, trailer http.Header) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.ended, b.err, b.trailer = true, err, trailer // whole readers see them without mu
	if n := len(b.chunks); n > 0 && cap(b.chunks[n-1])-len(b.chunks[n-1]) > len(b.chunks[n-1])/8 {
		b.chunks[n-1] = append(make([]byte, 0, len(b.chunks[n-1])), b.chunks[n-1]...)
	}
	if err == nil && b.start == 0 {
		b.whole.Store(true)
	}
	b.wakeReadersLocked()
}

func (b *body) wakeReadersLocked() {
	if b.grown != nil {
		close(b.grown)
		b.grown = nil
	}
}

// kept is how many bytes of memory the chunks take.
func (b *body) kept() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	var n int64
	for _, c := range b.chunks {
		n += chunkCost(int64(cap(c)))
	}
	return n
}

// oneKeeper stands in holders for one who counts the bytes in the store's bound: an
// entry, or the flight that brings them. Readers count one each.
const oneKeeper = 1 << 24

// opened notes a reader. While only readers hold a body, since its entry was dropped,
// its bytes count among those that are being sent. Until it has ended it has a keeper.
func (b *body) opened(sending *atomic.Int64) {
	if b.holders.Add(1) == 1 {
		sending.Add(b.kept())
	}
}

// closed is the end of what opened began.
func (b *body) closed(sending *atomic.Int64) {
	if b.holders.Add(-1) == 0 {
		sending.Add(-b.kept())
	}
}

// keptBy notes that the bytes are counted by one more.
func (b *body) keptBy(sending *atomic.Int64) {
	if n := b.holders.Add(oneKeeper); n > oneKeeper && n < 2*oneKeeper {
		sending.Add(-b.kept())
	}
}

// left notes that one counts them no longer.
func (b *body) left(sending *atomic.Int64) {
	if n := b.holders.Add(-oneKeeper); n > 0 && n < oneKeeper {
		sending.Add(b.kept())
	}
}

// arrived is how much has come so far.
func (b *body) arrived() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.size
}

// reader reads a body, or a part of it, once. It is an answer's Body.
type reader struct {
	b    *body
	gone <-chan struct{} // closed when the client is
	pos  int64
	end  int64 // where it stops, -1 for the body's own end
	res  *http.Response
	done func()        // once, at Close
	sent *atomic.Int64 // of the store, where it is noted who reads; nil from Close on
	cur  []byte        // what was taken from the body and not yet read
	at   int           // the chunk of pos, a hint for whole bodies
	from int64         // where that chunk begins
	// visit is what is left to the next request by Recycle, nil for nothing.
	visit *visit
}

// next takes the bytes that follow, waiting for them. They may be read without a lock for ever.
func (r *reader) next() ([]byte, error) {
	if r.end >= 0 && r.pos >= r.end {
		return nil, io.EOF
	}
	if r.b.whole.Load() {
		return r.nextWhole()
	}
	for {
		p, wait, err := r.nextGrowing()
		if wait == nil {
			return p, err
		}
		select {
		case <-wait:
		case <-r.gone:
			return nil, context.Canceled
		}
	}
}

// nextWhole is next for a body that does not change any more.
func (r *reader) nextWhole() ([]byte, error) {
	for r.at < len(r.b.chunks) {
		c := r.b.chunks[r.at]
		if r.pos < r.from+int64(len(c)) {
			return r.take(c[r.pos-r.from:]), nil
		}
		r.from += int64(len(c))
		r.at++
	}
	r.ended()
	return nil, io.EOF
}

// ended gives the answer the fields that come after its body. A part has none.
func (r *reader) ended() {
	if r.end < 0 && len(r.b.trailer) > 0 {
		r.res.Trailer = r.b.trailer.Clone()
	}
}

// nextGrowing is next for a body that grows: what is there, or what to wait for.
func (r *reader) nextGrowing() (p []byte, wait <-chan struct{}, err error) {
	b := r.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if r.pos < b.start {
		return nil, nil, errTooSlow
	}
	at := b.start
	for _, c := range b.chunks {
		if r.pos < at+int64(len(c)) {
			p = r.take(c[r.pos-at:])
			break
		}
		at += int64(len(c))
	}
	if r.pos > b.furthest {
		b.furthest = r.pos
		if b.taken != nil {
			close(b.taken)
			b.taken = nil
		}
	}
	switch {
	case p != nil:
		return p, nil, nil
	case b.ended && b.err == nil:
		r.ended()
		return nil, nil, io.EOF
	case b.ended:
		return nil, nil, b.err
	}
	if b.grown == nil {
		b.grown = make(chan struct{})
	}
	return nil, b.grown, nil
}

// take moves the reader over p, or as much of it as its part has.
func (r *reader) take(p []byte) []byte {
	if r.end >= 0 {
		p = p[:min(int64(len(p)), r.end-r.pos)]
	}
	r.pos += int64(len(p))
	return p
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if len(r.cur) == 0 {
		var err error
		if r.cur, err = r.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, r.cur)
	r.cur = r.cur[n:]
	return n, nil
}

// WriteTo implements io.WriterTo: it writes the stored bytes where they are.
func (r *reader) WriteTo(w io.Writer) (written int64, err error) {
	for {
		if len(r.cur) == 0 {
			if r.cur, err = r.next(); errors.Is(err, io.EOF) {
				return written, nil
			} else if err != nil {
				return written, err
			}
		}
		n, err := w.Write(r.cur)
		written += int64(n)
		r.cur = r.cur[n:]
		if err != nil {
			return written, err
		}
	}
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.sent != nil {
		r.b.closed(r.sent)
		r.sent = nil
	}
	if r.done != nil {
		r.done()
		r.done = nil
	}
	return nil
}
