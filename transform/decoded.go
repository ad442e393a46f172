package transform

import (
	"errors"
	"fmt"
	"io"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// decoderCost is what a decoder takes beside its window, in bytes.
const decoderCost = 1 << 20

var errMore = errors.New("bytes follow the end of the coding")

// decodedBody is a body whose coding is taken away while it is read.
type decodedBody struct {
	src   *source
	from  io.Reader
	max   int64
	made  int64
	err   error
	guard guard
}

// newDecodedBody makes a body that decodes. Its memory is taken already.
func newDecodedBody(c Coding, src *source, window int64, d *Decompress) *decodedBody {
	b := &decodedBody{src: src, max: d.max}
	end := func() {}
	switch c {
	case Gzip:
		b.from = &lateGzip{src: src}
	case Brotli:
		b.from = brotli.NewReader(src)
	case Zstd:
		r, err := zstd.NewReader(src, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(uint64(max(window, 1<<10))))
		if err != nil {
			b.err = err
		} else {
			b.from, end = r, r.Close
		}
	}
	b.guard.free = func() {
		end()
		d.memory.release(window + decoderCost)
	}
	return b
}

// lateGzip reads the header when it is asked for bytes, not when it is made.
type lateGzip struct {
	src io.Reader
	r   *gzip.Reader
}

// Read implements io.Reader.
func (l *lateGzip) Read(p []byte) (int, error) {
	if l.r == nil {
		r, err := gzip.NewReader(l.src)
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return 0, err
		}
		l.r = r
	}
	return l.r.Read(p)
}

// Read implements io.Reader.
func (b *decodedBody) Read(p []byte) (n int, err error) {
	if !b.guard.enter() {
		return 0, errClosed
	}
	done := true // also when a library panics
	defer func() { b.guard.leave(done) }()
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		done = false
		return 0, nil
	}
	for range maxEmptyReads {
		if n, err = b.from.Read(p); n > 0 || err != nil {
			break
		}
	}
	if n == 0 && err == nil {
		err = io.ErrNoProgress
	}
	if err == io.EOF {
		err = b.atEnd()
	}
	b.made += int64(n)
	if err == nil || err == io.EOF {
		if b.made > b.max || b.made > ratioFrom && b.made/maxRatio > b.src.count {
			n, err = 0, ErrBomb
		}
	}
	switch {
	case err == nil:
		done = false
		return n, nil
	case err != io.EOF && !errors.Is(err, ErrBomb):
		err = fmt.Errorf("decode answer: %w", err)
	}
	b.from, b.err = nil, err
	return n, err
}

// atEnd looks at how the source ended when the coding has: a decoder may take a
// break at a good place for the end, and does not ask whether more follows.
func (b *decodedBody) atEnd() error {
	if b.src.err == nil {
		var more [1]byte
		if n, _ := b.src.Read(more[:]); n > 0 {
			return errMore
		}
	}
	return b.src.err
}

// Close implements io.Closer. It may be called while another goroutine reads.
func (b *decodedBody) Close() error {
	err := b.src.Close()
	b.guard.close()
	return err
}
