package fastly

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
)

// response is an answer: an origin's, a cache's, or the guest's own.
type response struct {
	status  int
	version uint32
	header  header
	manual  bool           // the framing is that of the fields
	from    netip.AddrPort // the origin's address, if it is known
}

func responseNew(c *call) Status { return c.give(0, c.x.newResponse()) }

func responseClose(c *call) Status {
	if _, ok := handle[*response](c, 0); !ok {
		return BadHandle
	}
	c.x.handles.drop(c.u32(0))
	return OK
}

// onResponse is a function of a response's handle, which is its first parameter.
func onResponse(do func(c *call, r *response) Status) func(*call) Status {
	return func(c *call) Status {
		r, ok := handle[*response](c, 0)
		if !ok {
			return BadHandle
		}
		return do(c, r)
	}
}

// onResponseFields is one of its fields.
func onResponseFields(do func(c *call, h *header) Status) func(*call) Status {
	return onResponse(func(c *call, r *response) Status { return do(c, &r.header) })
}

func statusGet(c *call, r *response) Status {
	c.put16(1, uint16(r.status))
	return OK
}

func statusSet(c *call, r *response) Status {
	if s := c.u32(1); s < 100 || s > 999 {
		return Invalid
	}
	r.status = int(c.u32(1))
	return OK
}

func responseVersionGet(c *call, r *response) Status {
	c.put32(1, r.version)
	return OK
}

func responseVersionSet(c *call, r *response) Status {
	if c.u32(1) > http3 {
		return Invalid
	}
	r.version = c.u32(1)
	return OK
}

func responseFramingSet(c *call, r *response) Status {
	if c.u32(1) > 1 {
		return Invalid
	}
	r.manual = c.u32(1) == 1
	return OK
}

// keepaliveSet: the connection to the client is the edge's.
func keepaliveSet(c *call, _ *response) Status {
	switch c.u32(1) {
	case 0:
		return OK
	case 1:
		return Unsupported
	}
	return Invalid
}

func originAddress(c *call, r *response) Status {
	if !r.from.IsValid() {
		return None
	}
	return c.address(1, r.from.Addr())
}

func originPort(c *call, r *response) Status {
	if !r.from.IsValid() {
		return None
	}
	c.put16(1, r.from.Port())
	return OK
}

// address writes the bytes of an address to parameter i, of which guests have 16, and their number to i+1.
func (c *call) address(i int, a netip.Addr) Status {
	octets := a.Unmap().AsSlice()
	copy(c.at(c.u32(i), uint32(len(octets))), octets)
	c.put32(i+1, uint32(len(octets)))
	return OK
}

// sendDownstream answers the client: with the whole body, which goes on its
// way beside the guest, or streaming, with what the guest goes on to write.
func sendDownstream(c *call) Status {
	r, ok := handle[*response](c, 0)
	b, okBody := handle[*body](c, 1)
	streaming := c.u32(2)
	switch {
	case !ok, !okBody:
		return BadHandle
	case streaming > 1 || b.sink != nil:
		return Invalid
	case c.x.down.sent:
		return Failed
	case r.status < 200 && r.status != http.StatusEarlyHints:
		return HTTPUser
	}
	if !c.mem.HeaderBytes(r.header.size) {
		return HTTPHeadTooLarge
	}
	if r.status == http.StatusEarlyHints {
		c.waiting(func() { c.x.hints(r) }) // the answer is still to come, and libraries send it by the same handles
		return OK
	}
	c.x.handles.drop(c.u32(0))
	if streaming == 1 {
		status := OK
		c.waiting(func() { status = c.x.stream(r, b) })
		return status
	}
	c.x.handles.drop(c.u32(1))
	if c.x.takes(b) {
		c.x.send(r, b)
	} else {
		c.waiting(func() { c.x.send(r, b) })
	}
	return OK
}

// stream answers the client with what the guest goes on to write.
func (x *exchange) stream(r *response, b *body) Status {
	x.sendHead(r, b, true)
	s := x.answerTo()
	s.flush = true
	return x.beginStreaming(b, s)
}

// send answers the client with a whole body.
func (x *exchange) send(r *response, b *body) {
	x.sendHead(r, b, false)
	x.deliver(b, x.answerTo())
}

// answerTo is what the body of the answer goes to.
func (x *exchange) answerTo() *answerSink {
	s := &x.first.sink
	if x.down != &x.first.down { // it is a later request of this guest
		s = new(answerSink)
	}
	s.d, x.down.sink = x.down, s
	return s
}

// takes says whether a body is with whoever writes the answer without waiting for the client.
func (x *exchange) takes(b *body) bool { return b.inMemory() && b.size() <= x.holds }

// drop gives a body's handle back, and what it holds.
func (x *exchange) drop(n uint32, b *body) {
	x.handles.drop(n)
	b.close()
}

// hints sends an informational answer.
func (x *exchange) hints(r *response) {
	x.watch()
	h := x.down.W.Header()
	before := maps.Clone(h)
	hints := r.header.clone()
	hints.removeHops()
	hints.toHTTP(h)
	x.down.W.WriteHeader(r.status)
	clear(h)
	maps.Copy(h, before)
}

// sendHead writes the head of the final answer.
func (x *exchange) sendHead(r *response, b *body, streaming bool) {
	d := x.down
	d.sent = true
	if streaming {
		x.watch()
	}
	r.header.removeHops()
	h := d.W.Header()
	r.header.toHTTP(h)
	length, known := b.length()
	if by, ok := framedLength(&r.header); r.manual && ok {
		length, known = by, by >= 0
	} else if streaming || len(b.trailers.fields) > 0 { // trailers need a coding in chunks
		known = false
	}
	bodiless := d.R.Method == http.MethodHead || r.status == http.StatusNotModified
	if bodiless {
		if !isLength(h["Content-Length"]) {
			delete(h, "Content-Length") // it is the length that a GET would have, or missing
		}
	} else {
		delete(h, "Content-Length")
		if known && r.status != http.StatusNoContent {
			h["Content-Length"] = []string{strconv.FormatInt(length, 10)}
		}
	}
	delete(h, "Transfer-Encoding")
	d.W.WriteHeader(r.status)
	if streaming {
		_ = http.NewResponseController(d.W).Flush() // a writer that cannot flush sends it with the rest
	}
}

// beginStreaming sends what a body has and makes the rest of it go to the sink.
func (x *exchange) beginStreaming(b *body, s sink) Status {
	parts, trailers := b.parts, b.trailers
	b.parts, b.trailers = nil, header{}
	b.sink, b.pending = s, false
	if len(parts) == 0 {
		return OK
	}
	first := &body{parts: parts, trailers: trailers, held: b.held}
	if err := x.copyBody(first, s); err != nil {
		return bodyStatus(err)
	}
	b.trailers = first.trailers
	return OK
}

// copyBody copies all of a body.
func (x *exchange) copyBody(b *body, to io.Writer) error {
	var buf []byte
	for {
		if data, ok := b.take(); ok {
			if _, err := to.Write(data); err != nil {
				b.close()
				return err
			}
			continue
		}
		if len(b.parts) == 0 {
			b.pending = false
			return nil
		}
		if buf == nil {
			buf = make([]byte, chunkSize)
		}
		n, err := b.read(x.context(), buf)
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				b.close()
				return werr
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			b.close()
			return err
		}
	}
}

// deliver sends a whole body: at once if it is in memory, else beside the guest.
func (x *exchange) deliver(b *body, to *answerSink) {
	if !x.takes(b) {
		x.watch()
	}
	if b.inMemory() {
		if x.copyWhole(b, to) {
			to.d.done(x.call.mem)
		}
		return
	}
	x.context() // made here, and not by several at once
	to.flush, to.done = true, make(chan struct{})
	go func() { // settle waits for it
		defer close(to.done)
		if x.copyWhole(b, to) {
			to.d.done(nil)
		}
	}()
}

// copyWhole copies all of a body, and ends it; false if it broke off.
func (x *exchange) copyWhole(b *body, to *answerSink) bool {
	err := x.copyBody(b, to)
	if err == nil {
		err = to.finish(&b.trailers)
	}
	if err != nil {
		to.d.unbroken.Store(false)
	}
	to.close()
	return err == nil
}

// answerSink takes the body of the client's answer.
type answerSink struct {
	d     *downstream
	flush bool          // each write, because nobody knows when the next one comes
	done  chan struct{} // of a delivery; nil: the guest writes

	mu    sync.Mutex
	ended bool // guarded by mu
}

// Write waits until the client takes it.
func (s *answerSink) Write(p []byte) (int, error) {
	if s.isEnded() {
		return 0, errNoReader
	}
	n, err := s.d.W.Write(p)
	if errors.Is(err, http.ErrBodyNotAllowed) {
		return len(p), nil // as with HEAD: it is counted and not sent
	}
	if err == nil && s.flush {
		err = http.NewResponseController(s.d.W).Flush()
		if errors.Is(err, http.ErrNotSupported) {
			err = nil
		}
	}
	return n, err
}

func (s *answerSink) isEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// close ends it; false if it was ended before.
func (s *answerSink) close() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	s.ended = true
	return true
}

// finish sends the trailers.
func (s *answerSink) finish(trailers *header) error {
	if !s.close() {
		return errNoReader
	}
	if len(trailers.fields) == 0 {
		return nil
	}
	h := s.d.W.Header()
	for _, f := range trailers.fields {
		name := http.TrailerPrefix + http.CanonicalHeaderKey(f.name)
		h[name] = append(h[name], f.value)
	}
	return nil
}

// abandon breaks the answer off.
func (s *answerSink) abandon() {
	if s.done == nil && s.close() {
		s.d.unbroken.Store(false)
	}
}

func (s *answerSink) room() <-chan struct{} { return nil }

// wait waits for a delivery.
func (s *answerSink) wait() {
	if s.done != nil {
		<-s.done
	}
}

// sendDownstreamPending answers the client with what a pending request brings: 502, without
// a body, if that failed.
func sendDownstreamPending(c *call) Status {
	p, ok := handle[*pending](c, 0)
	switch {
	case !ok:
		return BadHandle
	case c.x.down.sent:
		return Failed
	}
	c.x.handles.drop(c.u32(0))
	<-p.done // its context ends with the request's
	var r *response
	var b *body
	if p.err == nil {
		r, b = c.x.received(p)
	} else {
		_ = p.Close() // it has no error
		if c.x.whole.Err() != nil {
			return errorStatus(p.err)
		}
		r, b = c.x.newResponse(), c.x.newBody()
		r.status = http.StatusBadGateway
		p.apply(&r.header, forError)
	}
	if !c.mem.HeaderBytes(r.header.size) {
		b.close()
		return HTTPHeadTooLarge
	}
	c.x.send(r, b)
	return OK
}
