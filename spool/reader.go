package spool

import (
	"fmt"
	"io"
)

// Reader reads a body from its start. It may be closed by another goroutine
// than the one that reads.
type Reader struct {
	s      *Spool
	off    int64
	closed bool // guarded by s.mu
}

// Read gives out what is kept, then what the source has next. It ends as the
// source ended. It fails with [ErrOverflowed] if another reader went on beyond
// what is kept, and with [ErrClosed] after Close.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	return r.read(p)
}

// Buffered says whether Read waits for nobody until the end: because the source
// ended and all of it is kept, or because the source says the same of itself.
func (r *Reader) Buffered() bool {
	s := r.s
	s.mu.Lock()
	ended := s.err != nil && !s.overflowed
	s.mu.Unlock()
	if ended {
		return true
	}
	b, ok := s.src.(interface{ Buffered() bool })
	return ok && b.Buffered()
}

// readOn is Read without copying out what is kept already: it moves on to the end.
func (r *Reader) readOn(p []byte) (int, error) {
	r.s.mu.Lock()
	if !r.s.overflowed {
		r.off = r.s.size
	}
	r.s.mu.Unlock()
	return r.read(p)
}

func (r *Reader) read(p []byte) (int, error) {
	s := r.s
	s.mu.Lock()
	for {
		switch {
		case r.closed:
			s.mu.Unlock()
			return 0, ErrClosed
		case r.off < s.size && s.overflowed:
			s.mu.Unlock()
			return 0, ErrOverflowed
		case r.off < int64(len(s.memory)):
			n := copy(p, s.memory[r.off:])
			s.mu.Unlock()
			r.off += int64(n)
			return n, nil
		case r.off < s.size:
			p = p[:min(int64(len(p)), s.size-r.off)]
			file, at := s.file, r.off-int64(len(s.memory))
			s.mu.Unlock()
			n, err := file.ReadAt(p, at)
			r.off += int64(n)
			if err != nil {
				return n, fmt.Errorf("read spool file: %w", err)
			}
			return n, nil
		case s.err != nil:
			err := s.err
			s.mu.Unlock()
			return 0, err
		case !s.turn:
			return r.take(p)
		}
		s.changed.Wait()
	}
}

// take reads the source, for all readers. It is called with s.mu held and the
// turn free, and releases the lock.
//
// As long as something can be kept, a turn reads no more than that: a reader
// that was given up in the middle of its turn then leaves nothing out for the
// next one. Only the turn that reads beyond the limits has the bytes alone.
func (r *Reader) take(p []byte) (int, error) {
	s := r.s
	s.turn = true
	inMemory := s.opt.Memory - s.size
	keeping := s.opt.Memory + s.opt.Disk - s.size
	// Nobody will read from the start again once there is one reader and the
	// spool is closed: then nothing more needs to be kept.
	alone := s.closed && s.open == 1
	s.mu.Unlock()

	room := keeping
	if inMemory > 0 {
		room = inMemory
	}
	if room > 0 && !alone {
		p = p[:min(int64(len(p)), room)]
	}
	n, err := s.src.Read(p)
	if s.sum != nil {
		s.sum.Write(p[:n])
	}
	kept := keeping > 0 && !alone
	if kept && inMemory <= 0 && n > 0 {
		if werr := s.keep(p[:n], -inMemory); werr != nil {
			n, err = 0, werr
		}
	}
	r.endTurn(p[:n], err, kept && inMemory > 0, kept)
	if n > 0 {
		return n, nil // the error is everybody's, and next
	}
	return 0, err
}

// endTurn makes known what a turn read.
func (r *Reader) endTurn(got []byte, err error, inMemory, kept bool) {
	s := r.s
	s.mu.Lock()
	s.turn = false
	if inMemory {
		s.growLocked(len(got))
		s.memory = append(s.memory, got...)
	}
	s.size += int64(len(got))
	r.off = s.size
	if !kept && len(got) > 0 {
		s.overflowed = true
		s.memory = nil
	}
	if err != nil {
		s.err = err
		if err == io.EOF && s.sum != nil {
			s.sum.Sum(s.digest[:0])
		}
	}
	gone := s.closed && s.open == 0
	file := s.file
	s.mu.Unlock()
	s.changed.Broadcast()
	if gone && file != nil {
		file.Close()
	}
}

// Close ends the reader. A Read that waits for another reader's turn returns; one
// that is inside the source's Read returns when that does.
func (r *Reader) Close() error { return r.s.leave(r) }

// growLocked makes room for n more bytes in memory. It doubles as append does,
// but not beyond the limit.
func (s *Spool) growLocked(n int) {
	need := len(s.memory) + n
	if need <= cap(s.memory) {
		return
	}
	grown := int(min(s.opt.Memory, int64(max(2*cap(s.memory), need))))
	s.memory = append(make([]byte, 0, grown), s.memory...)
}
