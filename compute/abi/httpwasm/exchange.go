package httpwasm

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"

	"github.com/selvage-edge/selvage/compute"
)

// exchange is a request and its answer, as one guest has them.
type exchange struct {
	abi      *ABI
	in       *compute.Invocation
	g        *compute.Guest
	features features
	after    bool  // the origin was asked
	sent     bool  // the answer is with the client
	kept     int64 // bytes of bodies
	added    int   // bytes of fields

	r       *http.Request // as it will be sent on
	lost    bool          // some of its body was read, and not kept
	early   []byte        // what was read of its body, where it is buffered
	written *[]byte       // the guest's own body of the request; nil without one

	status  int         // of the answer, as the guest set it; 0: it did not
	header  http.Header // of the answer
	trailer http.Header
	body    *[]byte // the guest's own body of the answer; nil without one
	// answered says that the guest wrote a status or a body once the origin had been asked.
	answered, overwritten bool

	answer *http.Response // the origin's; nil without one
	whole  []byte         // the body of it, where it is buffered
	unread []byte         // what the guest has not read of that
}

func begin(a *ABI, in *compute.Invocation) *exchange {
	in.Header() // which completes it
	r := in.R.Clone(in.R.Context())
	if r.URL == nil {
		r.URL = new(url.URL)
	}
	if r.Header == nil {
		r.Header = make(http.Header)
	}
	return &exchange{abi: a, in: in, r: r, header: make(http.Header), trailer: make(http.Header)}
}

// keep counts what is kept of bodies.
func (x *exchange) keep(n int) error {
	if x.kept += int64(n); x.kept > x.abi.options.BodyBytes {
		return x.g.Limit(LimitBodies, "more than %d KiB of bodies are to be kept", x.abi.options.BodyBytes>>10)
	}
	return nil
}

// next asks the origin. An error that is not a limit's is nothing of the guest's.
func (x *exchange) next(ctx context.Context) error {
	x.after = true
	if x.in.Origin == "" {
		return &compute.Failed{Err: errNoOrigin}
	}
	var err error
	x.g.Wait(func() { x.answer, err = x.g.Fetch(x.in.Origin, x.outgoing(ctx)) }) //nolint:bodyclose // End does
	if err != nil {
		x.answer = nil
		return &compute.Failed{Err: err}
	}
	if !x.has(bufferResponse) {
		x.take()
		return x.stream(ctx)
	}
	x.g.Wait(func() { err = x.buffer() })
	if err != nil {
		_ = x.answer.Body.Close() // what it gave was not enough
		x.answer, x.whole = nil, nil
		return err
	}
	x.take()
	return nil
}

var errNoOrigin = errors.New("the function lets the request go on, and there is no origin behind it: name one on its route")

// outgoing is the request as it goes on.
func (x *exchange) outgoing(ctx context.Context) *http.Request {
	out := x.r.WithContext(ctx)
	out.Header.Del("Content-Length") // the body says it
	switch {
	case x.written != nil:
		out.ContentLength = int64(len(*x.written))
		out.Body = io.NopCloser(&bytesReader{*x.written})
	case len(x.early) > 0:
		out.Body = io.NopCloser(io.MultiReader(&bytesReader{x.early}, x.r.Body))
	}
	if x.lost && x.written == nil {
		out.ContentLength = -1 // of what is left
	}
	if out.ContentLength == 0 {
		out.Body = http.NoBody
	}
	return out
}

// bytesReader reads bytes.
type bytesReader struct{ left []byte }

func (r *bytesReader) Read(p []byte) (int, error) {
	if len(r.left) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.left)
	r.left = r.left[n:]
	return n, nil
}

// take adds the origin's answer to what the guest wrote.
func (x *exchange) take() {
	for name, values := range x.answer.Header {
		x.header[name] = append(slices.Clip(x.header[name]), values...)
	}
	if x.status == 0 {
		x.status = x.answer.StatusCode
	}
}

// buffer reads the whole answer.
func (x *exchange) buffer() error {
	buf := make([]byte, 32<<10)
	for {
		n, err := x.answer.Body.Read(buf)
		if limit := x.keep(n); limit != nil {
			return limit
		}
		x.whole = append(x.whole, buf[:n]...)
		if errors.Is(err, io.EOF) {
			x.unread = x.whole
			for name, values := range x.answer.Trailer {
				x.trailer[name] = append(slices.Clip(x.trailer[name]), values...)
			}
			return nil
		}
		if err != nil {
			return &compute.Failed{Err: err}
		}
	}
}

// held is how large an answer may be that is not sent on piece by piece: what
// happens in handle_response may then still take its place.
const held = 16 << 10

// stream sends the origin's answer on as it comes.
func (x *exchange) stream(ctx context.Context) error {
	x.sent = true
	if err := x.head(x.body == nil); err != nil || x.body != nil {
		if err == nil {
			err = x.write(*x.body)
		}
		return err
	}
	w := http.NewResponseController(x.in.W)
	small := x.answer.ContentLength >= 0 && x.answer.ContentLength <= held
	var err error
	x.g.Wait(func() {
		buf := make([]byte, 32<<10)
		for err == nil {
			var n int
			n, err = x.answer.Body.Read(buf)
			if n > 0 && x.write(buf[:n]) != nil {
				return // nobody reads
			}
			if n > 0 && !small && err == nil {
				err = w.Flush()
			}
		}
	})
	if err != nil && !errors.Is(err, io.EOF) && ctx.Err() == nil {
		return &compute.Failed{Err: err} // the answer breaks off: there is no other behind its head
	}
	x.addTrailers(x.answer.Trailer)
	x.addTrailers(x.trailer)
	return nil
}

// head writes the head of the answer. The length is the origin's if its body is sent.
func (x *exchange) head(originBody bool) error {
	h, size := x.in.W.Header(), 0
	if !originBody {
		delete(x.header, "Content-Length")
		if x.body != nil {
			x.header["Content-Length"] = []string{strconv.Itoa(len(*x.body))}
		}
	} else if x.answer != nil {
		x.oneLength()
	}
	for name, values := range x.header {
		for _, v := range values {
			size += len(name) + len(v)
		}
		h[name] = values
	}
	if !x.g.HeaderBytes(size) {
		return x.g.Limit(compute.LimitHeaderBytes, "the answer's fields have %d bytes, %d are allowed", size, x.g.Limits().HeaderBytes)
	}
	x.in.W.WriteHeader(x.statusCode())
	return nil
}

// oneLength leaves the origin's length alone.
func (x *exchange) oneLength() {
	if values, ok := x.answer.Header["Content-Length"]; ok {
		x.header["Content-Length"] = values
	} else {
		delete(x.header, "Content-Length")
	}
}

func (x *exchange) statusCode() int {
	if x.status == 0 {
		return http.StatusOK
	}
	return x.status
}

// send sends an answer that nothing was sent of.
func (x *exchange) send() error {
	x.sent = true
	var body []byte
	switch {
	case x.body != nil:
		body = *x.body
	case x.answer != nil:
		body = x.whole
	}
	if err := x.head(x.body == nil && x.answer != nil); err != nil {
		return err
	}
	var err error
	x.g.Wait(func() { err = x.write(body) })
	x.g.Check()
	if err == nil {
		x.addTrailers(x.trailer)
	}
	return nil
}

// write writes a part of the answer's body. An answer that has none takes it for none.
func (x *exchange) write(p []byte) error {
	_, err := x.in.W.Write(p)
	if errors.Is(err, http.ErrBodyNotAllowed) {
		return nil
	}
	return err
}

func (x *exchange) addTrailers(t http.Header) {
	for name, values := range t {
		x.in.W.Header()[http.TrailerPrefix+name] = values
	}
}
