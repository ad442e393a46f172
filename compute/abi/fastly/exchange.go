package fastly

import (
	"context"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is what one request's guest sees and holds. The guest's calls come
// one after the other; what goes on beside them has its own locks.
type exchange struct {
	whole   context.Context // of the request; it ends with the wall time
	inner   context.Context // what context gives; nil until it was asked for
	cancel  context.CancelFunc
	abi     *ABI
	request *Request
	fetch   func(backend string, r *http.Request) (*http.Response, error)
	holds   int // bytes of the answer that its writer takes without waiting

	handles handles
	first   [16]any // the first handles, for speed
	held    holding
	down    *downstream
	call    call // of the function that is running; made once, for speed
	dynamic map[string]DynamicBackend

	work sync.WaitGroup // fetches and deliveries

	current atomic.Pointer[downstream] // is down, for who watches the context
	unwatch func() bool                // nil: nobody watches; false: it has begun to cut
	cutDone chan struct{}
}

// downstream is the client's side of a request.
type downstream struct {
	Downstream
	client   *clientBody
	handle   uint32 // of the request
	taken    bool   // the guest has its handles
	sent     bool   // the final answer's head
	unbroken atomic.Bool
	sink     *answerSink
}

func begin(ctx context.Context, a *ABI, d Downstream) *exchange {
	x := &exchange{abi: a, whole: ctx}
	x.handles.items = x.first[:0]
	x.attach(d)
	return x
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

// attach makes d the client's side.
func (x *exchange) attach(d Downstream) {
	x.down = &downstream{Downstream: d, client: newClientBody(d)}
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

// end closes everything. What is on its way to the client goes on until the
// request's context ends.
func (x *exchange) end() {
	if x.down.sink != nil {
		x.down.sink.abandon()
	}
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
	x.handles = handles{}
}

// settle waits until the answer is with the client, and says how it went.
func (x *exchange) settle() {
	d := x.down
	if d.sink != nil {
		d.sink.wait()
	}
	whole := d.unbroken.Load()
	if !whole {
		// What is not whole must not look whole: nothing more is written, not even the end.
		_ = http.NewResponseController(d.W).SetWriteDeadline(longAgo)
	}
	if d.Done != nil {
		d.Done(whole)
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

func newClientBody(d Downstream) *clientBody {
	return &clientBody{r: d.R.Body, w: d.W}
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
