package http1

import (
	"io"
	"net/http"
)

// bodyReader reads one body and not a byte more. After io.EOF the trailers are
// there, and the connection's next byte belongs to the next head.
type bodyReader struct {
	in      *input
	kind    bodyKind
	left    int64 // of a counted body
	chunks  chunkScan
	limits  headLimits // of the trailers
	trailer http.Header
	err     error // what every further Read returns; io.EOF when it is through
}

// start makes b ready to read a body from in.
func (b *bodyReader) start(in *input, f framing, lim headLimits) {
	*b = bodyReader{in: in, kind: f.kind, limits: lim}
	switch f.kind {
	case noBody:
		b.err = io.EOF
	case counted:
		b.left = f.length
		if b.left == 0 {
			b.err = io.EOF
		}
	}
}

// through says that the whole body was read, trailers too.
func (b *bodyReader) through() bool { return b.err == io.EOF }

// Read is io.Reader. A body that ends early gives io.ErrUnexpectedEOF, a
// malformed one a *Refusal; both stay.
func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	if len(p) == 0 {
		return 0, nil
	}
	switch b.kind {
	case counted:
		return b.readCounted(p)
	case chunked:
		return b.readChunked(p)
	}
	n, err := b.in.Read(p)
	if err != nil && !isTimeout(err) {
		b.err = err
	}
	return n, err
}

func (b *bodyReader) readCounted(p []byte) (int, error) {
	n, err := b.in.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	if b.left == 0 {
		b.err = io.EOF
		return n, io.EOF
	}
	return n, b.failed(err)
}

// readChunked gives data of as many chunks as are there, and looks behind the
// last data for the end if that is there too, so that a reader who knows the
// length learns it in time.
func (b *bodyReader) readChunked(p []byte) (int, error) {
	total := 0
	for {
		if b.chunks.left == 0 {
			ok, err := b.nextChunk(total == 0)
			if err != nil || !ok {
				return total, err
			}
		}
		if total == len(p) || total > 0 && b.in.r == b.in.w {
			return total, nil
		}
		n, err := b.in.Read(p[total : total+int(min(int64(len(p)-total), b.chunks.left))])
		b.chunks.took(n)
		total += n
		if err != nil {
			return total, b.failed(err)
		}
	}
}

// nextChunk goes to the next data. Without wait it does so only with what was
// read already. The end of the body is io.EOF.
func (b *bodyReader) nextChunk(wait bool) (ok bool, err error) {
	for !b.chunks.last {
		used, err := b.chunks.line(b.in.bytes())
		if err != nil {
			b.err = err
			return false, err
		}
		if used > 0 {
			b.in.discard(used)
			if b.chunks.left > 0 {
				return true, nil
			}
			continue
		}
		if !wait {
			return false, nil
		}
		if _, err := b.in.fill(inputSize); err != nil {
			return false, b.failed(err)
		}
	}
	return false, b.readTrailers(wait)
}

// readTrailers reads the trailer section behind the last chunk.
func (b *bodyReader) readTrailers(wait bool) error {
	var h Head
	h.reset(trailerSection)
	for {
		done, err := h.parse(b.in.bytes(), b.limits)
		if err == nil && done {
			b.trailer, err = h.trailers()
		}
		switch {
		case err != nil:
			b.err = err
			return err
		case done:
			b.in.discard(h.size)
			b.err = io.EOF
			return io.EOF
		case !wait:
			return nil
		}
		if _, err := b.in.fill(b.limits.head + 1); err != nil {
			return b.failed(err)
		}
	}
}

// failed turns the end of the connection into the early end of a body. A
// passed deadline may be put off, so it does not stay.
func (b *bodyReader) failed(err error) error {
	if err == nil {
		return nil
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	if !isTimeout(err) {
		b.err = err
	}
	return err
}

// isTimeout says whether a deadline passed.
func isTimeout(err error) bool {
	t, ok := err.(interface{ Timeout() bool })
	return ok && t.Timeout()
}
