// Package fallback is the failure ladder: what a client gets when an origin
// has no answer for it.
//
// Look at [New] first: it wraps the transport that may fail. A failure is an
// error of that transport, or one of the statuses 500, 502, 503 and 504.
//
// It promises that the first rung which has an answer gives it, that the
// record says which one it was, and that a failed answer's body is closed. The
// rung stale is the cache's, which stands behind this transport and has tried
// it before a failure comes here.
//
// It refuses to stand in for a client that has gone away or has sent half a
// request, for the 504 that a client asked for with only-if-cached, and where the
// revision itself has failed and another one can be asked.
package fallback

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"mime"
	"net/http"
	"path/filepath"
	"strconv"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// New returns a transport that answers by the rungs where next fails. Without a
// rung of its own to try it is next itself.
func New(rungs []selvage.Rung, next http.RoundTripper) http.RoundTripper {
	for _, rung := range rungs {
		if rung.Default != nil {
			return &ladder{next: next, fixed: compile(rung.Default)}
		}
	}
	return next
}

// ladder tries next, then the fixed answer. A fixed answer cannot fail, so
// there is never a rung below it.
type ladder struct {
	next  http.RoundTripper
	fixed fixed
}

// RoundTrip implements http.RoundTripper.
func (l *ladder) RoundTrip(req *http.Request) (*http.Response, error) {
	res, err := l.next.RoundTrip(req)
	if err == nil && !isFailure(res.StatusCode) || req.Context().Err() != nil || isClients(err) {
		return res, err
	}
	rec := record.From(req.Context())
	if rec.Target.Rescuable && selvage.OwnFault(err) {
		return nil, err // the old revision has a better answer
	}
	if err == nil {
		if rec.Cache.Detail == "only-if-cached" && rec.Cache.Fwd == "" {
			return res, nil
		}
		res.Body.Close()
	}
	rec.Origin.Fallback = "default"
	return l.fixed.answer(req), nil
}

// isClients says whether an error is the client's own: its request had no proper end.
func isClients(err error) bool {
	pe, ok := errors.AsType[*selvage.ProxyError](err)
	return ok && pe.Type == selvage.RequestError
}

// isFailure says whether a status means that the origin failed.
func isFailure(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// fixed is a default answer, ready to be given.
type fixed struct {
	status int
	header http.Header
	body   []byte
}

// compile makes a default answer ready. Nobody between us and the client may
// store it, unless its own fields say so: it must be gone when the failure is.
func compile(d *selvage.DefaultAnswer) fixed {
	f := fixed{
		status: cmp.Or(d.Status, http.StatusServiceUnavailable),
		header: make(http.Header, len(d.Headers)+3),
		body:   d.Content,
	}
	if d.File == "" {
		f.body = []byte(d.Body)
	}
	for name, value := range d.Headers {
		f.header.Set(name, value)
	}
	if f.header.Get("Cache-Control") == "" {
		f.header.Set("Cache-Control", "no-store")
	}
	if f.status == http.StatusNoContent || f.status == http.StatusNotModified {
		f.body = nil
		return f
	}
	if f.header.Get("Content-Type") == "" && len(f.body) > 0 {
		f.header.Set("Content-Type", cmp.Or(mime.TypeByExtension(filepath.Ext(d.File)), http.DetectContentType(f.body)))
	}
	f.header.Set("Content-Length", strconv.Itoa(len(f.body)))
	return f
}

// answer is a new answer with a header of its own.
func (f *fixed) answer(req *http.Request) *http.Response {
	res := &http.Response{
		StatusCode: f.status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: f.header.Clone(), ContentLength: int64(len(f.body)), Body: http.NoBody, Request: req,
	}
	if req.Method != http.MethodHead && len(f.body) > 0 {
		res.Body = body{bytes.NewReader(f.body)}
	}
	return res
}

// body is a fixed answer's body. The reader's WriteTo makes it one write.
type body struct{ *bytes.Reader }

// Close implements io.Closer.
func (body) Close() error { return nil }

var _ io.WriterTo = body{}
