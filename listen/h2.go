package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

const (
	// uploadPerConn bounds the bytes of request bodies that wait for handlers on a connection.
	uploadPerConn = 1 << 20
	// uploadPerStream bounds them on a stream, so that one that is not read does not stop the others.
	uploadPerStream = 512 << 10
	// readFrame is the largest frame that is read; each connection keeps a buffer of that size.
	readFrame = 16 << 10
	// headGrace is by how much a head may be longer than its limit and still be
	// answered and recorded by us. Beyond it net/http answers 431 by itself.
	headGrace = 32 << 10
	// fieldOverhead is what a field counts beyond its bytes (RFC 9113, section 6.5.2).
	fieldOverhead = 32
)

// h2Server is net/http's server as the server of connections that were accepted,
// and encrypted where they are, before it sees them.
type h2Server struct {
	group *Group
	srv   *http.Server
	queue queue
	// Requests whose handlers run. They may outlive their connection.
	requests tally
}

type wireKey struct{}

func newHTTP2(g *Group) *h2Server {
	h := &h2Server{group: g, queue: queue{conns: make(chan net.Conn), closed: make(chan struct{})}}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	h.srv = &http.Server{
		Handler:        h,
		Protocols:      &protocols,
		IdleTimeout:    g.waits.Idle.Std(),
		MaxHeaderBytes: int(g.limits.Head) + headGrace + fieldOverhead*g.limits.Fields,
		// Every request is ours, OPTIONS * too.
		DisableGeneralOptionsHandler: true,
		ErrorLog:                     slog.NewLogLogger(g.log().Handler(), slog.LevelDebug),
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          g.limits.Streams,
			MaxReceiveBufferPerConnection: uploadPerConn,
			MaxReceiveBufferPerStream:     uploadPerStream,
			MaxReadFrameSize:              readFrame,
			WriteByteTimeout:              g.waits.Write.Std(),
			CountError:                    h.countError,
		},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if tc, ok := c.(*tls.Conn); ok {
				c = tc.NetConn()
			}
			return context.WithValue(ctx, wireKey{}, c)
		},
	}
	return h
}

// countError is told of every offence of a client, as in conn_PROTOCOL_ERROR_ and
// its name in net/http. Those that mean too many streams are counted.
func (h *h2Server) countError(name string) {
	for _, s := range []string{"_over_max_streams", "_over_max_streams_race", "_too_many_early_resets"} {
		if strings.HasSuffix(name, s) {
			h.group.limitHit("streams")
		}
	}
}

// take hands over a connection. It ends with w's Close.
func (h *h2Server) take(c net.Conn, w *wire) {
	w.taken = true
	h.group.stats.http2.Add(1)
	select {
	case h.queue.conns <- c:
	case <-h.queue.closed:
		_ = c.Close() // the drain was faster
	}
}

// released is called once when a connection that was taken is closed.
func (h *h2Server) released() {
	h.group.stats.http2.Add(-1)
	h.group.conns.done()
}

// serve takes connections until the drain begins, and returns when the last is
// closed and the last handler has returned.
func (h *h2Server) serve() error {
	if err := h.srv.Serve(&h.queue); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	h.group.conns.wait()
	h.requests.wait()
	return nil
}

// drain sends GOAWAY, waits for the requests, and cuts them when ctx ends.
func (h *h2Server) drain(ctx context.Context) error {
	err := h.srv.Shutdown(ctx)
	_ = h.queue.Close() // it never fails
	if err != nil {
		_ = h.srv.Close() // what is left is cut
		return context.Cause(ctx)
	}
	return nil
}

// queue is the listener of a server whose connections others accept.
type queue struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

// Accept is net.Listener.
func (q *queue) Accept() (net.Conn, error) {
	select {
	case c := <-q.conns:
		return c, nil
	case <-q.closed:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener.
func (q *queue) Close() error {
	q.once.Do(func() { close(q.closed) })
	return nil
}

// Addr is net.Listener.
func (q *queue) Addr() net.Addr { return &net.TCPAddr{} }

// ServeHTTP serves one request: it makes the record, refuses what package
// http1 would refuse, and keeps the deadlines and the limits.
func (h *h2Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.requests.add()
	defer h.requests.done()
	x := h.newStream(w, r, time.Now())
	size, no := examine(r, &h.group.limits)
	x.rec.Request.HeadBytes = size
	if no != nil {
		x.refuse(no)
	} else {
		x.serve(r)
	}
	abort := x.finish(r)
	if h.group.Done != nil {
		h.group.Done(&x.rec)
	}
	if abort {
		panic(http.ErrAbortHandler)
	}
}

// later is the wait of a deadline, 0 if it has none.
func later(d selvage.Duration) time.Duration { return max(d.Std(), 0) }
