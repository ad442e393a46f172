package fastly

import (
	"compress/gzip"
	"context"
	"encoding/binary"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// pending is a request that is on its way.
type pending struct {
	done   chan struct{} // closed when resp and err are set
	resp   *http.Response
	err    error
	cancel context.CancelFunc
	gunzip bool
	head   bool // the request's method is HEAD
	aside  aside
	fields []pendingField
	feeds  []*pipe // that its body is made of, which end after it has: see stream
}

// pendingField is a change to the fields of an answer that has not come.
type pendingField struct {
	kind        uint32
	change      func(h *header, name, value string)
	name, value string
}

// apply makes the changes that the guest asked for before the answer came, for
// an answer of a kind.
func (p *pending) apply(h *header, kind uint32) {
	for _, f := range p.fields {
		if f.kind == forAny || f.kind == kind {
			f.change(h, f.name, f.value)
		}
	}
}

// The kinds of answers that a change is for: any, the origin's, or the one that the client
// gets in its place where it is sent on unseen.
const (
	forAny uint32 = iota
	forResponse
	forError
)

// maxPendingFields is how many changes wait for one answer.
const maxPendingFields = 256

// pendingChange notes a change of an answer to come; its kind is in parameter i.
func pendingChange(i int, change func(h *header, name, value string)) func(*call) Status {
	return onPending(func(c *call, p *pending) Status {
		name, status := c.fieldName()
		value := ""
		if status == OK && i > 3 {
			value, status = c.fieldValue()
		}
		switch {
		case status != OK:
			return status
		case c.u32(i) > forError:
			return Invalid
		case len(p.fields) >= maxPendingFields, !c.keep(len(name) + len(value)):
			return LimitExceeded
		}
		p.fields = append(p.fields, pendingField{c.u32(i), change, name, value})
		return OK
	})
}

func (p *pending) ready() <-chan struct{} { return p.done }

// Close gives the request up.
func (p *pending) Close() error {
	p.cancel()
	<-p.done
	if p.resp != nil {
		_ = p.resp.Body.Close() // nobody wants it
	}
	return nil
}

type asideKey struct{}

// aside is what goes with a request beside it.
type aside struct {
	override CacheOverride
	from     netip.AddrPort // set before Fetch returns
	cache    string         // as is from
}

// OverrideOf is what the guest wants of the cache for a request that Fetch got.
// Its zero value is nothing.
func OverrideOf(ctx context.Context) CacheOverride {
	if a, ok := ctx.Value(asideKey{}).(*aside); ok {
		return a.override
	}
	return CacheOverride{}
}

// AnsweredFrom tells the guest which address a request that Fetch got was
// answered from. It is called before Fetch returns, or not at all.
func AnsweredFrom(ctx context.Context, origin netip.AddrPort) {
	if a, ok := ctx.Value(asideKey{}).(*aside); ok {
		a.from = origin
	}
}

// AnsweredByCache tells the guest that a cache was asked for a request that Fetch got, and
// whether it had the answer: as Fastly does, in X-Cache. It is called before Fetch returns, or not at all.
func AnsweredByCache(ctx context.Context, hit bool) {
	if a, ok := ctx.Value(asideKey{}).(*aside); ok {
		if a.cache = "MISS"; hit {
			a.cache = "HIT"
		}
	}
}

// sendOptions are how a request is sent.
type sendOptions struct {
	streaming bool // the guest goes on to write its body
	uncached  bool // the guest looks after the cache by itself
}

// start sends the request, body and backend of the first four parameters.
func (c *call) start(o sendOptions) (*pending, Status, error) {
	r, ok := handle[*request](c, 0)
	b, okBody := handle[*body](c, 1)
	if !ok || !okBody || b.sink != nil {
		return nil, BadHandle, nil
	}
	backend := c.short(2, maxBackendText)
	if c.bad {
		return nil, Invalid, nil
	}
	c.x.handles.drop(c.u32(0)) // sent or not, it is the host's now
	if !o.streaming {
		c.x.handles.drop(c.u32(1))
	}
	p, status, err := c.x.start(c.mem, r, b, outgoing{backend, o})
	if status != OK && o.streaming {
		c.x.drop(c.u32(1), b)
	} else if status != OK {
		b.close()
	}
	return p, status, err
}

// outgoing is where a request goes, and how.
type outgoing struct {
	backend string
	sendOptions
}

// start sends a request.
func (x *exchange) start(mem program, r *request, b *body, to outgoing) (*pending, Status, error) {
	u, err := url.Parse(r.uri())
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, HTTPUser, errURI
	}
	if !x.hasBackend(to.backend) || x.fetch == nil {
		return nil, Invalid, ErrNoBackend
	}
	if err := mem.CountFetch(); err != nil {
		return nil, LimitExceeded, err
	}
	p := &pending{done: make(chan struct{}), gunzip: r.gunzip, head: r.method == http.MethodHead, aside: aside{override: r.override}}
	p.aside.override.Pass = r.override.Pass || to.uncached
	var ctx context.Context
	ctx, p.cancel = context.WithCancel(context.WithValue(x.context(), asideKey{}, &p.aside))
	out := (&http.Request{Method: r.method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}}).
		WithContext(ctx)
	p.feeds = x.outgoing(out, r, b, to.streaming)
	x.work.Go(func() {
		defer close(p.done)
		p.resp, p.err = x.fetch(to.backend, out) //nolint:bodyclose // the guest's body closes it, or Close
		if p.err == nil && p.resp.Body == nil {
			p.resp.Body = http.NoBody
		}
		if p.err != nil && out.Body != nil {
			_ = out.Body.Close() // a Fetch that fails early may have left it
		}
	})
	return p, OK, nil
}

// outgoing fills in the fields and the body, and says which pipes that is made of.
func (x *exchange) outgoing(out *http.Request, r *request, b *body, streaming bool) []*pipe {
	h := r.header()
	h.removeHops()
	h.toHTTP(out.Header)
	out.Host = out.URL.Host
	if host := out.Header.Get("Host"); host != "" {
		out.Host = host
	}
	delete(out.Header, "Host")
	length, known := b.length()
	if streaming {
		known = false
	}
	if by, ok := framedLength(h); r.manual && ok {
		length, known = by, by >= 0
	}
	delete(out.Header, "Content-Length")
	delete(out.Header, "Transfer-Encoding")
	trailer := func(t *header) {
		if len(t.fields) > 0 {
			t.toHTTP(out.Trailer)
		}
	}
	if streaming || b.pending || len(b.trailers.fields) > 0 {
		out.Trailer = http.Header{}
		b.trailers.toHTTP(out.Trailer)
		known = known && len(b.trailers.fields) == 0
	} else {
		trailer = nil
	}
	switch {
	case known && length == 0:
		b.close()
		return nil
	case known:
		out.ContentLength = length
	default:
		out.ContentLength = -1
	}
	feeds := b.feeds()
	if !streaming {
		out.Body = newReader(b, trailer)
		return feeds
	}
	p := newPipe(func(t *header) { t.toHTTP(out.Trailer) })
	first := newReader(&body{parts: b.parts, held: b.held}, nil)
	b.parts, b.trailers, b.sink, b.pending = nil, header{}, p, false
	context.AfterFunc(out.Context(), func() { _ = p.Close() })
	out.Body = &joined{first: first, then: p}
	return append(feeds, p)
}

// joined is what a streaming body had, and then what the guest writes.
type joined struct {
	first *reader
	ended bool
	then  *pipe
}

// Read reads one after the other.
func (j *joined) Read(p []byte) (int, error) {
	if !j.ended {
		n, err := j.first.Read(p)
		if n > 0 || err != io.EOF {
			return n, err
		}
		j.ended = true
	}
	return j.then.Read(p)
}

// Close closes both.
func (j *joined) Close() error {
	_ = j.first.Close() // it has no error
	return j.then.Close()
}

// take gives the guest the answer of a request that is done: a response and a
// body, to the parameters from i on.
func (c *call) take(p *pending, i int) (Status, error) {
	if p.err != nil {
		return errorStatus(p.err), p.err
	}
	r, body := c.x.received(p)
	if status := c.give2(i, r, body); status != OK {
		body.close()
		return status, nil
	}
	return OK, nil
}

// received is the answer of an origin.
func (x *exchange) received(p *pending) (*response, *body) {
	resp := p.resp
	r := &response{status: resp.StatusCode, version: protocol(resp.ProtoMajor, resp.ProtoMinor), header: fromHTTP(resp.Header, "")}
	if p.aside.override.Pass {
		r.from = p.aside.from // else a cache answers for the origin, as far as the guest can tell
	} else if p.aside.cache != "" {
		r.header.set("x-cache", p.aside.cache)
	}
	length := resp.ContentLength
	if p.head {
		length = 0
	}
	p.apply(&r.header, forResponse)
	return r, x.originBody(p, r, length)
}

// originBody is the body of an origin's answer.
func (x *exchange) originBody(p *pending, r *response, length int64) *body {
	resp := p.resp
	var rc io.ReadCloser = cancelled{resp.Body, p.cancel}
	if coding, _ := r.header.get("content-encoding"); p.gunzip && (strings.EqualFold(coding, "gzip") || strings.EqualFold(coding, "x-gzip")) {
		r.header.remove("content-encoding")
		r.header.remove("content-length")
		rc, length = &gunzipped{from: rc}, -1
	}
	s := &stream{r: rc, left: length, trailer: func() http.Header { return resp.Trailer }, feeds: p.feeds}
	return &body{parts: []part{{stream: s}}, pending: true, held: &x.held}
}

// cancelled is a body whose request ends with it.
type cancelled struct {
	io.ReadCloser
	cancel context.CancelFunc
}

// Close ends the request.
func (c cancelled) Close() error {
	c.cancel()
	return c.ReadCloser.Close()
}

// gunzipped undoes gzip.
type gunzipped struct {
	from io.ReadCloser
	z    *gzip.Reader
}

// Read reads what was compressed.
func (g *gunzipped) Read(p []byte) (int, error) {
	if g.z == nil {
		z, err := gzip.NewReader(g.from)
		if err != nil {
			return 0, err
		}
		g.z = z
	}
	return g.z.Read(p)
}

// Close closes what it reads from.
func (g *gunzipped) Close() error { return g.from.Close() }

// sendAndWait answers with the response to a request, in the parameters from i on.
// The error's detail goes to the parameter detail; negative: nobody wants it.
func sendAndWait(o sendOptions, detail, i int) func(*call) Status {
	return func(c *call) Status {
		p, status, err := c.start(o)
		if status == OK {
			status, err = c.wait(p, i)
		}
		c.detail(detail, status, err)
		return status
	}
}

// wait waits for an answer and gives it to the guest.
func (c *call) wait(p *pending, i int) (Status, error) {
	select {
	case <-p.done:
	case <-c.ctx.Done():
		<-p.done // its context is this one's child
	}
	status, err := c.take(p, i)
	if status != OK {
		_ = p.Close()
	}
	return status, err
}

// sendAsync answers with the handle of a pending request, in parameter i.
func sendAsync(o sendOptions, i int) func(*call) Status {
	return func(c *call) Status {
		o := o
		if i == 5 { // the second version, which can say so and leaves caching to the guest
			o.streaming = c.u32(4) == 1
		}
		p, status, _ := c.start(o)
		if status != OK {
			return status
		}
		if status = c.give(i, p); status != OK {
			_ = p.Close()
		}
		return status
	}
}

// onPending is a function of a pending request's handle.
func onPending(do func(c *call, p *pending) Status) func(*call) Status {
	return func(c *call) Status {
		p, ok := handle[*pending](c, 0)
		if !ok {
			return BadHandle
		}
		return do(c, p)
	}
}

// pendingWait waits for a pending request.
func pendingWait(detail, i int) func(*call) Status {
	return onPending(func(c *call, p *pending) Status {
		c.x.handles.drop(c.u32(0))
		status, err := c.wait(p, i)
		c.detail(detail, status, err)
		return status
	})
}

// pendingPoll looks whether it is done: parameter i says so.
func pendingPoll(detail, i int) func(*call) Status {
	return onPending(func(c *call, p *pending) Status {
		c.at(c.u32(i), 4)
		if c.bad {
			return Invalid
		}
		if !isReady(p) {
			c.putBool(i, false)
			c.put32(i+1, invalidHandle)
			c.put32(i+2, invalidHandle)
			c.detail(detail, OK, nil)
			return OK
		}
		c.x.handles.drop(c.u32(0))
		c.putBool(i, true)
		status, err := c.wait(p, i+1)
		c.detail(detail, status, err)
		return status
	})
}

// pendingSelect waits for the first of several: parameter i says which. If that one
// failed it is said with invalid handles, and why in the detail: a status that is an error
// says nothing of which it was, and programs in Rust end with it.
func pendingSelect(detail, i int) func(*call) Status {
	return func(c *call) Status {
		c.at(c.u32(i), 4)
		all, status := items[*pending](c, 0)
		if c.bad || status != OK {
			return max(status, Invalid)
		}
		k, ok := waitAny(c.ctx, all)
		if !ok {
			return Failed
		}
		c.x.handles.drop(fields(c.bytes4(0, k)).u32(0))
		c.put32(i, uint32(k))
		status, err := c.wait(all[k], i+1)
		c.detail(detail, status, err)
		if err != nil {
			c.put32(i+1, invalidHandle)
			c.put32(i+2, invalidHandle)
			return OK
		}
		return status
	}
}

// bytes4 is the k-th word at the address in parameter i.
func (c *call) bytes4(i, k int) []byte { return c.at(c.u32(i)+uint32(k)*4, 4) }

// detail writes what is known of an error (20 bytes: tag, mask, details) to the
// address in parameter i.
func (c *call) detail(i int, status Status, err error) {
	if i < 0 {
		return
	}
	if b := c.at(c.u32(i), 20); b != nil {
		tag, mask, rcode, alert := detailOf(status, err)
		binary.LittleEndian.PutUint32(b, tag)
		binary.LittleEndian.PutUint32(b[4:], mask)
		binary.LittleEndian.PutUint16(b[8:], rcode)
		binary.LittleEndian.PutUint16(b[10:], 0)
		b[12], b[13] = alert, 0
		binary.LittleEndian.PutUint32(b[16:], 0)
	}
}
