// Package spool reads a request body once and gives it out as often as it is
// needed: to a second try after the first one failed, or to whoever replays a
// captured request.
//
// Look at [Spool] first. What was read is kept in memory up to a limit and then,
// if a folder is named, in a file there; a [Reader] replays what is kept and
// then follows the source, so nothing waits for the end of a body before its
// first byte is sent on. The SHA-256 of the whole is known at its end.
//
// It promises that every reader sees the same bytes and the same end, which may
// be the source's error; that what is kept never exceeds the limits; and that
// the file has no name and is gone with its last user. It starts no goroutine:
// whoever reads at the end of what is kept reads the source for all.
//
// It refuses to hold a body that is longer than the limits. Such a body still
// streams through to the reader that is furthest, but can no longer be given
// out again, and says so: [ErrOverflowed].
package spool

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"sync"
)

// ErrOverflowed says that a body is longer than what is kept of it, so that it
// cannot be read from the start again.
var ErrOverflowed = errors.New("body is longer than what is kept of it")

// ErrClosed says that the spool, or the reader, was closed.
var ErrClosed = errors.New("spool is closed")

// Options are the limits of a [Spool]. The zero value keeps nothing.
type Options struct {
	// Bytes kept in memory.
	Memory int64
	// The folder of the file that takes what is beyond Memory. Empty: nothing goes to disk.
	Folder string
	// Bytes kept in the file.
	Disk int64
	// Whether the SHA-256 is computed. A retry does not need it, and it is the dearest part.
	Digest bool
}

// Spool reads a source once and keeps it to be read again. Its methods and its
// readers may be used by several goroutines.
type Spool struct {
	src    io.ReadCloser
	opt    Options
	create func(folder string) (*os.File, error)

	// Only the reader whose turn it is touches these.
	sum  hash.Hash
	file *os.File // set once, then only read at

	mu         sync.Mutex // guards the fields below
	changed    sync.Cond  // a turn ended, or a reader was closed
	turn       bool       // somebody reads the source
	memory     []byte     // the first bytes
	size       int64      // bytes read from the source
	overflowed bool       // bytes were read that are not kept
	err        error      // how the source ended
	digest     [sha256.Size]byte
	open       int  // readers
	closed     bool // no more readers will be made
}

// New returns a spool of src. It reads nothing yet. The source is closed when
// the spool is closed and its last reader is.
func New(src io.ReadCloser, o Options) *Spool {
	s := &Spool{src: src, opt: o, create: createUnlinked}
	s.changed.L = &s.mu
	if o.Folder == "" {
		s.opt.Disk = 0
	}
	if o.Digest {
		s.sum = sha256.New()
	}
	return s
}

// NewReader returns a reader from the start of the body. It fails with
// [ErrOverflowed] once the body has outgrown the limits and with [ErrClosed]
// once the spool is closed.
func (s *Spool) NewReader() (*Reader, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
		return nil, ErrClosed
	case s.overflowed:
		return nil, ErrOverflowed
	}
	s.open++
	return &Reader{s: s}, nil
}

// Overflowed says whether the body has outgrown the limits.
func (s *Spool) Overflowed() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.overflowed
}

// Size is the number of bytes that were read from the source until now.
func (s *Spool) Size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.size
}

// Ended says whether the source was read to its end, good or bad.
func (s *Spool) Ended() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

// Digest is the SHA-256 of the whole body. It is known when the source ended
// without an error and [Options.Digest] was set.
func (s *Spool) Digest() (digest [sha256.Size]byte, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.digest, s.err == io.EOF && s.sum != nil
}

// Fill reads the source to its end before anybody else needs it. It fails with
// the source's error, with [ErrOverflowed] as soon as the body is longer than
// the limits, and with the disk's error when that is full.
func (s *Spool) Fill() error {
	r, err := s.NewReader()
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // the source's last error is Close's to tell
	buf := make([]byte, 32<<10)
	for {
		switch _, err := r.readOn(buf); {
		case err == io.EOF:
			return nil
		case err != nil:
			return err
		case s.Overflowed():
			return ErrOverflowed
		}
	}
}

// Close says that no more readers will be made. Readers that are open go on;
// with the last of them what is kept is dropped and the source is closed, whose
// error Close returns if it was the last.
func (s *Spool) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	last := s.open == 0
	s.mu.Unlock()
	if last {
		return s.release()
	}
	return nil
}

// leave takes away a reader, once.
func (s *Spool) leave(r *Reader) error {
	s.mu.Lock()
	if r.closed {
		s.mu.Unlock()
		return nil
	}
	r.closed = true
	s.open--
	last := s.closed && s.open == 0
	s.mu.Unlock()
	s.changed.Broadcast()
	if last {
		return s.release()
	}
	return nil
}

// release closes what the last user leaves behind. A reader that was closed in
// the middle of its turn may still be inside the source's Read, as with any
// body that is closed while it is read; the file is then its turn's to close.
func (s *Spool) release() error {
	s.mu.Lock()
	s.memory = nil
	file := s.file
	if s.turn {
		file = nil
	}
	s.mu.Unlock()
	if file != nil {
		file.Close()
	}
	return s.src.Close()
}

func createUnlinked(folder string) (*os.File, error) {
	f, err := os.CreateTemp(folder, "spool-*") // with permissions 0600
	if err != nil {
		return nil, err
	}
	if err := os.Remove(f.Name()); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// keep writes what lies beyond memory to the file. Only the turn calls it.
func (s *Spool) keep(p []byte, at int64) error {
	if s.file == nil {
		f, err := s.create(s.opt.Folder)
		if err != nil {
			return fmt.Errorf("create spool file: %w", err)
		}
		s.mu.Lock()
		s.file = f
		s.mu.Unlock()
	}
	if _, err := s.file.WriteAt(p, at); err != nil {
		return fmt.Errorf("write spool file: %w", err)
	}
	return nil
}
