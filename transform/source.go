package transform

import (
	"io"
	"net/http"

	"github.com/klauspost/compress/zstd"
)

// maxEmptyReads is how often in a row a body may give neither bytes nor an error.
const maxEmptyReads = 100

// source is the body of an answer before it is changed.
type source struct {
	io.ReadCloser
	res       *http.Response
	left      int64  // what is still to come of it, where told
	told      bool   // somebody has said how long it is
	unchanged bool   // it goes out as it is
	count     int64  // what was read
	head      []byte // what was read ahead
	headErr   error  // and what came with it
	err       error  // how it ended; nil as long as it has not
}

func newSource(res *http.Response) *source {
	return &source{ReadCloser: res.Body, res: res, left: res.ContentLength, told: res.ContentLength >= 0}
}

// Read implements io.Reader. The end comes only if all of the body did: the
// client cannot know any more how long it was to be.
func (s *source) Read(p []byte) (n int, err error) {
	if len(s.head) > 0 {
		n = copy(p, s.head)
		s.head = s.head[n:]
		return n, nil
	}
	if s.headErr != nil {
		return 0, s.headErr
	}
	return s.readOn(p)
}

// readOn reads from the body itself.
func (s *source) readOn(p []byte) (n int, err error) {
	defer func() {
		if err != nil {
			s.err = err
		}
	}()
	for range maxEmptyReads {
		if n, err = s.ReadCloser.Read(p); n > 0 || err != nil || len(p) == 0 {
			break
		}
	}
	if n == 0 && err == nil && len(p) > 0 {
		return 0, io.ErrNoProgress
	}
	s.count += int64(n)
	s.left -= int64(n)
	if s.told && (s.left < 0 || err == io.EOF && s.left > 0) {
		return n, io.ErrUnexpectedEOF
	}
	if err == io.EOF && !s.unchanged {
		dropDigests(s.res.Trailer) // they came with the end
	}
	return n, err
}

// waits says whether the next read may have to wait for somebody. A body whose
// length is known is taken to exist already, and a body may say itself that it is at hand.
func (s *source) waits() bool {
	return !s.told && !s.Buffered()
}

// Buffered says whether Read waits for nobody until the end of the body.
func (s *source) Buffered() bool {
	b, ok := s.ReadCloser.(interface{ Buffered() bool })
	return ok && b.Buffered()
}

// peekWindow reads ahead, as little as tells how much the body's decoder must
// remember: it is told at the beginning. A negative window says that there are no bytes at all.
func (s *source) peekWindow(c Coding) (window int64, why string) {
	head := make([]byte, 0, zstd.HeaderMaxSize)
	for {
		n, err := s.readOn(head[len(head):cap(head)])
		head = head[:len(head)+n]
		s.head, s.headErr = head, err
		if len(head) == 0 && err == io.EOF {
			return -1, ""
		}
		window, known := windowOf(c, head)
		switch {
		case known && window < 0:
			return 0, WhyBroken
		case known && window > maxWindow && c == Zstd:
			return 0, WhyWindow
		case known:
			return window, ""
		case err != nil, len(head) == cap(head):
			return 0, WhyBroken
		}
	}
}

// windowOf is how far back a decoder must remember, in bytes, negative where
// the stream does not begin as its coding must. It is not known while there is too little of it.
func windowOf(c Coding, head []byte) (window int64, known bool) {
	switch c {
	case Gzip:
		if len(head) < 2 {
			return 0, false
		}
		if head[0] != 0x1f || head[1] != 0x8b {
			return -1, true
		}
		return 32 << 10, true
	case Brotli:
		if len(head) < 1 {
			return 0, false
		}
		return brotliWindow(head[0]), true
	default:
		var h zstd.Header
		switch err := h.Decode(head); {
		case err == io.ErrUnexpectedEOF:
			return 0, false
		case err != nil, h.DictionaryID != 0:
			return -1, true
		case h.Skippable:
			return maxWindow, true // the frame behind it is too far away
		case h.SingleSegment:
			return int64(min(h.FrameContentSize, maxWindow+1)), true
		}
		return int64(min(h.WindowSize, maxWindow+1)), true
	}
}

// brotliWindow reads WBITS (RFC 7932, section 9.1), which is in the first byte.
func brotliWindow(b byte) int64 {
	bits := 16
	if b&1 != 0 {
		switch n, m := int(b>>1&7), int(b>>4&7); {
		case n != 0:
			bits = 17 + n
		case m == 0:
			bits = 17
		case m == 1:
			return -1 // reserved
		default:
			bits = 8 + m
		}
	}
	return 1 << bits
}
