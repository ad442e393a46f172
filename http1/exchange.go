package http1

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"runtime/debug"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// exchange is one request with its answer and its record. It is one piece of
// memory and never used again, because handlers keep parts of it.
type exchange struct {
	c    *conn
	rec  record.Record
	req  http.Request
	url  url.URL
	ctx  requestContext
	body requestBody
	w    response
	// The names of the fields as they came, if somebody wants them.
	names string
}

// serveRequest runs the handler for the request whose head was read.
func (c *conn) serveRequest() {
	if c.flushOut(nil) != nil {
		return
	}
	x := c.newExchange()
	if x == nil {
		return
	}
	c.phase = serving
	c.cur.Store(x)
	finished := false
	defer func() {
		if !finished { // runtime.Goexit in a handler
			c.end = abort
		}
	}()
	x.handle()
	end := x.finish()
	c.cur.Store(nil)
	x.ctx.cancel(context.Canceled)
	if c.srv.Done != nil {
		c.srv.Done(&x.rec)
	}
	c.phase, c.since, c.used = idle, x.rec.Start.Add(x.rec.Timing.End), true
	c.crlf = c.s.want.framing.kind != noBody
	if c.end == goOn {
		c.end = end
	}
	finished = true
	c.yield()
}

// newExchange makes the request from the head in the scratch and takes the head
// off the input. It returns nil where net/url refuses the target.
func (c *conn) newExchange() *exchange {
	h, d := &c.s.head, &c.s.want
	x := &exchange{c: c}
	if keep := c.srv.KeepNames; keep != nil && keep() {
		x.names = h.names()
	}
	h.canonicalNames()
	text := string(h.buf[:h.size])
	target := text[h.target.from:h.target.to]
	if !plainTarget(&x.url, target) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			c.refuse(refuse("malformed request target"))
			return nil
		}
		x.url = *u
	}
	c.clock.begin(after(c.start, c.srv.waits.total))
	x.ctx.x = x
	x.w.start(x)
	c.in.discard(h.size)
	x.req = http.Request{
		Method: method(text[h.method.from:h.method.to]), URL: &x.url, RequestURI: target,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: int(h.minor),
		Host:       text[d.host.from:d.host.to],
		RemoteAddr: c.remoteAddr(), TLS: c.info.TLS,
		Body: http.NoBody, ContentLength: d.framing.length,
	}
	drop := setOf(NameHost, NameTransferEncoding)
	if h.minor == 0 {
		x.req.Proto = "HTTP/1.0"
	}
	if d.h2c {
		drop |= setOf(NameUpgrade, NameHTTP2Settings)
	}
	if d.framing.kind != noBody {
		x.body.start(x, d.framing)
		x.req.Body = &x.body
	}
	if d.framing.kind == chunked {
		drop |= setOf(NameTrailer)
		x.req.TransferEncoding = []string{"chunked"}
		x.req.Trailer = h.trailerNames()
	}
	x.req.Header = h.header(text, drop)
	x.req = *x.req.WithContext(&x.ctx)
	x.fillRecord(h.size)
	return x
}

// fillRecord notes what is known when the head is there.
func (x *exchange) fillRecord(headBytes int) {
	c, r := x.c, &x.rec
	r.Start = c.start
	r.Timing.Head = c.s.whole.Sub(c.start)
	c.describe(&r.Client)
	r.Client.Protocol = x.req.Proto
	path, _, _ := strings.Cut(x.req.RequestURI, "?")
	if c.s.want.absolute {
		path = x.url.EscapedPath()
	}
	r.Request = record.Request{Method: x.req.Method, Host: x.req.Host, Path: path, HeadBytes: int64(headBytes)}
}

// describe notes who asks.
func (c *conn) describe(r *record.Client) {
	if !c.used {
		c.rtt = c.measureRTT()
	}
	*r = record.Client{Addr: c.info.Peer.Addr().Unmap(), Peer: c.info.Peer, RTT: c.rtt, Reused: c.used}
	if c.info.TLS != nil {
		r.TLS = c.info.TLS.Version
	}
}

func (c *conn) remoteAddr() string {
	if c.remote == "" {
		c.remote = c.info.Peer.String()
		if !c.info.Peer.IsValid() {
			c.remote = c.nc.RemoteAddr().String()
		}
	}
	return c.remote
}

// handle calls the handler and catches its panic.
func (x *exchange) handle() {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if err, ok := v.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			x.w.fail(errAborted)
			return
		}
		x.c.srv.log().LogAttrs(&x.ctx, slog.LevelError, "handler panicked",
			slog.Any("panic", v), slog.String("stack", string(debug.Stack())),
			slog.String("method", x.req.Method), slog.String("path", x.rec.Request.Path))
		x.rec.WhyBad, x.rec.Detail = record.OwnError, fmt.Sprintf("handler panicked: %v", v)
		x.w.fail(errPanicked)
	}()
	x.c.srv.Handler.ServeHTTP(&x.w, &x.req)
}

var (
	errAborted  = errors.New("handler aborted the answer")
	errPanicked = errors.New("handler panicked")
)

// finish ends the answer, then the request body, and completes the record. It
// says how the connection goes on.
func (x *exchange) finish() ending {
	r := &x.rec
	end := x.w.finish()
	r.Timing.End = time.Since(r.Start)
	if x.body.x != nil {
		if end != takenOver {
			x.c.view.forget()
			if !x.body.end(end == goOn) && end != abort {
				end = linger
			}
		}
		x.body.fill(r)
	}
	if end == goOn || end == closeNow {
		if !x.c.stopPeek() {
			end = closeNow
		}
		if end == closeNow && len(x.c.in.bytes()) > 0 {
			end = linger
		}
	}
	return end
}

// method is the name of a method that many requests have, so that a record that
// is kept does not keep the head.
func method(s string) string {
	switch s {
	case http.MethodGet:
		return http.MethodGet
	case http.MethodHead:
		return http.MethodHead
	case http.MethodPost:
		return http.MethodPost
	case http.MethodPut:
		return http.MethodPut
	case http.MethodPatch:
		return http.MethodPatch
	case http.MethodDelete:
		return http.MethodDelete
	case http.MethodOptions:
		return http.MethodOptions
	}
	return s
}

// trailerNames is what net/http has in Request.Trailer before the trailers are
// there: the announced names, without values.
func (h *Head) trailerNames() http.Header {
	if !h.Has(NameTrailer) {
		return nil
	}
	t := make(http.Header)
	for _, f := range h.list {
		if f.id != NameTrailer {
			continue
		}
		list, _ := tokenList(nil, h.at(f.value))
		for _, name := range list {
			t[http.CanonicalHeaderKey(string(name))] = nil
		}
	}
	return t
}

// plainTarget fills u from a target in origin form that holds nothing to
// unescape. It is what url.ParseRequestURI makes of it, without its cost.
func plainTarget(u *url.URL, target string) bool {
	if target[0] != '/' {
		return false
	}
	for i := range len(target) {
		c := target[i]
		if c == '?' {
			if i+1 == len(target) {
				return false
			}
			u.Path, u.RawQuery = target[:i], target[i+1:]
			return true
		}
		if !plainPath[c] {
			return false
		}
	}
	u.Path = target
	return true
}

// plainPath are the characters that stand in a path for themselves.
var plainPath = newPlainPath()

func newPlainPath() (t [256]bool) {
	for _, c := range []byte("/-_.~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}
