package http1

import (
	"errors"
	"io"
	"sync"
)

// inputSize is the size of a read buffer. It grows only for a head that needs it.
const inputSize = 8 << 10

var inputPool = sync.Pool{New: func() any { return new([inputSize]byte) }}

// input is what was read of a connection and not used yet. It holds a buffer
// only while there is something in it.
type input struct {
	src  io.Reader
	buf  []byte
	r, w int // what is unread is buf[r:w]
}

var errInputFull = errors.New("input buffer is full")

// bytes are the unread bytes, good until the next call of fill.
func (in *input) bytes() []byte { return in.buf[in.r:in.w] }

// discard takes n bytes away.
func (in *input) discard(n int) {
	in.r += n
	if in.r == in.w {
		in.r, in.w = 0, 0
	}
}

// room makes room for at least one more byte and returns it, nil if limit
// bytes are unread already.
func (in *input) room(limit int) []byte {
	if in.buf == nil {
		in.buf = inputPool.Get().(*[inputSize]byte)[:]
	}
	if in.w == len(in.buf) && in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.w == len(in.buf) {
		if in.w >= limit {
			return nil
		}
		larger := make([]byte, min(2*len(in.buf), limit))
		copy(larger, in.buf[:in.w])
		in.put()
		in.buf = larger
	}
	return in.buf[in.w:]
}

// filled notes that n bytes were read into the room.
func (in *input) filled(n int) { in.w += n }

// fill reads once from the source. It returns errInputFull, and reads nothing,
// where limit bytes are unread. An error that came with bytes is dropped: it
// comes again.
func (in *input) fill(limit int) (int, error) {
	room := in.room(limit)
	if room == nil {
		return 0, errInputFull
	}
	n, err := readSome(in.src, room)
	in.w += n
	return n, err
}

func readSome(src io.Reader, p []byte) (int, error) {
	n, err := src.Read(p)
	if n > 0 {
		err = nil
	}
	return n, err
}

// Read takes unread bytes first, and into a large p also what the source has
// ready, so that one write can send both on. With nothing unread and a large p
// it reads into p without a detour.
func (in *input) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if in.r == in.w {
		if len(p) >= inputSize/2 {
			return readSome(in.src, p)
		}
		if n, err := in.fill(inputSize); n == 0 {
			return 0, err
		}
	}
	n := copy(p, in.bytes())
	in.discard(n)
	if rest := p[n:]; len(rest) >= inputSize/2 {
		if src, ok := in.src.(readySource); ok {
			n += src.readReady(rest)
		}
	}
	return n, nil
}

// readySource is a source that can give what is there already, without
// waiting. What went wrong is told by the next Read.
type readySource interface{ readReady(p []byte) int }

// release gives the buffer back if nothing is unread.
func (in *input) release() {
	if in.r == in.w && in.buf != nil {
		in.put()
		in.buf, in.r, in.w = nil, 0, 0
	}
}

func (in *input) put() {
	if len(in.buf) == inputSize {
		inputPool.Put((*[inputSize]byte)(in.buf))
	}
}

// prefill takes bytes that were read already.
func (in *input) prefill(p []byte) {
	for len(p) > 0 {
		n := copy(in.room(len(p)+inputSize+len(in.bytes())), p)
		in.filled(n)
		p = p[n:]
	}
}
