package fastly

import (
	"context"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

// exchange is what one request's guest sees and holds. The guest's calls come
// one after the other; what goes on beside them has its own locks.
type exchange struct {
	whole  context.Context // of the request; it ends with the wall time
	inner  context.Context // what context gives; nil until it was asked for
	cancel context.CancelFunc
	abi    *ABI
	fetch  func(backend string, r *http.Request) (*http.Response, error)
	holds  int // bytes of the answer that its writer takes without waiting

	handles handles
	opened  map[opened]uint32
	earlier uint32 // the last handle of the requests before
	texts   int    // bytes of fields and secrets that the guest had kept, in all
	first   firsts // what nearly every request needs: one piece of memory, for speed
	held    holding
	down    *downstream
	call    call // of the function that is running; made once, for speed
	dynamic map[string]DynamicBackend
	waits   *promise // the request that the guest waits for, until it took it or gave it up; nil: none

	kvTurn chan struct{} // as many as run; nil: none was begun

	work sync.WaitGroup // fetches and deliveries

	current atomic.Pointer[downstream] // is down, for who watches the context
	unwatch func() bool                // nil: nobody watches; false: it has begun to cut
	cutDone chan struct{}
}

// firsts are the first of things that there may be more of. They are used once, and never
// given back: what goes on beside the guest may still hold them.
type firsts struct {
	handles  [16]any
	bodies   [2]body
	bodied   int // how many of them are in use
	down     downstream
	sink     answerSink
	request  request
	response response
	answered bool // response is in use
}

// newBody is an empty body.
func (x *exchange) newBody() *body {
	var b *body
	if f := &x.first; f.bodied < len(f.bodies) {
		b = &f.bodies[f.bodied]
		f.bodied++
	} else {
		b = new(body)
	}
	b.held = &x.held
	return b
}

// newResponse is an answer that says nothing yet.
func (x *exchange) newResponse() *response {
	var r *response
	if f := &x.first; !f.answered {
		r, f.answered = &f.response, true
	} else {
		r = new(response)
	}
	r.status, r.version = 200, http11
	return r
}

// downstream is the client's side of a request.
type downstream struct {
	*compute.Invocation
	request  *Request // zero if the node says nothing
	client   clientBody
	handle   uint32 // of the request
	taken    bool   // the guest has its handles
	sent     bool   // the final answer's head
	givenUp  bool   // the guest has waited for another request before it sent that
	unbroken atomic.Bool
	told     atomic.Bool // its Done
	sink     *answerSink
}

// done tells the node that nothing more is written to the answer, once. by is nil where
// the guest goes on beside it.
func (d *downstream) done(by meter) {
	if d.request.Done == nil || !d.told.CompareAndSwap(false, true) {
		return
	}
	cpu := time.Duration(0)
	if by != nil {
		cpu = by.CPU()
	}
	d.request.Done(cpu)
}

// context is the request's, and ends with the exchange too. It is made when
// something first waits: most answers are complete before anything does.
func (x *exchange) context() context.Context {
	if x.inner == nil {
		x.inner, x.cancel = context.WithCancel(x.whole)
	}
	return x.inner
}

// watch lets the end of the request end reads and writes that wait for the
// client. It is called by the guest's calls, before the first of those.
func (x *exchange) watch() {
	if x.unwatch == nil {
		x.cutDone = make(chan struct{})
		x.unwatch = context.AfterFunc(x.whole, x.cut)
	}
}

// attach makes a request the one that the guest is in.
func (x *exchange) attach(ctx context.Context, in *compute.Invocation) {
	x.whole, x.inner, x.cancel = ctx, nil, nil
	x.fetch, x.holds = in.Fetch, in.Holds
	d := &x.first.down
	if x.down != nil { // it is a later request of this guest
		d = new(downstream)
	}
	d.Invocation, d.client.r, d.client.w = in, in.R.Body, in.W
	x.down = d
	if x.down.request, _ = in.Extra.(*Request); x.down.request == nil {
		x.down.request = &noRequest
	}
	x.down.unbroken.Store(true)
	x.current.Store(x.down)
}

// cut ends reads and writes that wait for the client.
func (x *exchange) cut() {
	defer close(x.cutDone)
	d := x.current.Load()
	d.client.cut()
	_ = http.NewResponseController(d.W).SetWriteDeadline(longAgo) // a writer without deadlines waits for nobody
}

var longAgo = time.Unix(1, 0)

// noRequest is what a node says that says nothing.
var noRequest Request

// end closes everything that the guest has open of its request. What is on its
// way to the client goes on until the request's context ends.
func (x *exchange) end() {
	x.abandon()
	for _, item := range x.handles.items {
		if b, ok := item.(*body); ok {
			b.close()
		}
	}
	x.settle()
	for _, item := range x.handles.items {
		if c, ok := item.(io.Closer); ok {
			_ = c.Close() // caches' transactions, pending requests
		}
	}
	if x.cancel != nil {
		x.cancel()
	}
	x.work.Wait()
	if x.unwatch != nil && !x.unwatch() {
		<-x.cutDone // nothing touches the connection after this
	}
	x.unwatch = nil
}

// turn ends the guest's request and puts it into the next. What it has open
// of the service it keeps, and nothing else.
func (x *exchange) turn(c *call, f *Following) {
	x.end()
	kept := slices.Collect(maps.Values(x.opened))
	for n := x.earlier + 1; n <= uint32(len(x.handles.items)); n++ {
		if !slices.Contains(kept, n) {
			x.handles.drop(n)
		}
	}
	x.earlier = uint32(len(x.handles.items))
	x.dynamic, x.texts, x.waits = nil, 0, nil
	ctx := c.mem.Turn(c.ctx, f.Invocation.R.Context(), f.Invocation)
	f.Begin()
	x.attach(ctx, f.Invocation)
}

// abandon ends an answer that the guest did not.
func (x *exchange) abandon() {
	if x.down.sink != nil {
		x.down.sink.abandon()
	}
}

// settle waits until the answer is with the client.
func (x *exchange) settle() {
	d := x.down
	if d.sink != nil {
		d.sink.wait()
	}
	if !d.unbroken.Load() {
		// What is not whole must not look whole: nothing more is written, not even the end.
		_ = http.NewResponseController(d.W).SetWriteDeadline(longAgo)
	}
}

// clientBody is the body of the client's request. Closing it ends a Read that
// waits; it is the server's to drain it.
type clientBody struct {
	r       io.ReadCloser
	w       http.ResponseWriter
	reading atomic.Bool
	closed  atomic.Bool
}

// Read reads the body.
func (c *clientBody) Read(p []byte) (int, error) {
	if c.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	if c.r == nil {
		return 0, io.EOF
	}
	c.reading.Store(true)
	defer c.reading.Store(false)
	if c.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	return c.r.Read(p)
}

// Close ends a Read that waits.
func (c *clientBody) Close() error {
	c.cut()
	return nil
}

func (c *clientBody) cut() {
	c.closed.Store(true)
	if c.reading.Load() {
		_ = http.NewResponseController(c.w).SetReadDeadline(longAgo) // a body without deadlines is in memory
	}
}
