package cache

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// script is an origin that answers as it is told and remembers what it was asked.
type script struct {
	answer func(req *http.Request) (*http.Response, error)

	mu    sync.Mutex // guards asked
	asked []*http.Request
}

func (s *script) RoundTrip(req *http.Request) (*http.Response, error) {
	s.mu.Lock()
	s.asked = append(s.asked, req)
	s.mu.Unlock()
	if err := req.Context().Err(); err != nil {
		return nil, err
	}
	return s.answer(req)
}

func (s *script) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.asked)
}

// last is the request that was asked last.
func (s *script) last() *http.Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked[len(s.asked)-1]
}

var errOrigin = errors.New("origin is down")

// reply is an answer with a body of known length, dated now.
func reply(req *http.Request, status int, fields, body string) *http.Response {
	h := head(fields)
	if h.Get("Date") == "" {
		h.Set("Date", httpDate(time.Now()))
	}
	res := &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: h, Request: req,
		ContentLength: int64(len(body)), Body: io.NopCloser(strings.NewReader(body)),
	}
	switch {
	case status == http.StatusNoContent, status == http.StatusNotModified:
		res.ContentLength, res.Body = 0, http.NoBody
		return res
	case req.Method == http.MethodHead:
		res.Body = http.NoBody
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	return res
}

// always answers each request alike.
func always(status int, fields, body string) *script {
	return &script{answer: func(req *http.Request) (*http.Response, error) {
		return reply(req, status, fields, body), nil
	}}
}

// edge is a cache in front of a script.
type edge struct {
	*Transport
	t      *testing.T
	origin *script
	// asLies lets every other hit be written as it lies, where it can be.
	asLies bool
	turns  atomic.Int64
}

func newEdge(t *testing.T, policy selvage.Cache, origin *script) *edge {
	scope := shop
	scope.Policy = policy
	return newEdgeFor(t, scope, origin)
}

func newEdgeFor(t *testing.T, scope Scope, origin *script) *edge {
	store := NewStore(8 << 20)
	t.Cleanup(store.Close)
	return &edge{Transport: NewTransport(store, scope, origin), t: t, origin: origin}
}

// result is an answer that was read to its end.
type result struct {
	status int
	header http.Header
	body   string
	err    error // of the round trip, or of reading
	rec    *record.Record
}

func (r result) cacheStatus() string { return r.header.Get("Cache-Status") }

// do sends a request and reads its answer.
func (e *edge) do(req *http.Request) result {
	rec := &record.Record{Start: time.Now()}
	if e.asLies && e.turns.Add(1)%2 == 0 && req.Method == http.MethodGet {
		if r := e.Ready(rec, req.Header, req.URL); r != nil {
			defer r.Close()
			return result{200, head(strings.TrimSuffix(strings.ReplaceAll(string(r.AppendFields(nil)), "\r\n", "\n"), "\n")), string(r.Body()), nil, rec}
		}
	}
	res, err := e.RoundTrip(req.WithContext(record.NewContext(req.Context(), rec)))
	if err != nil {
		return result{err: err, rec: rec}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return result{res.StatusCode, res.Header, string(body), err, rec}
}

// get asks for a path.
func (e *edge) get(path string, fields ...string) result {
	return e.do(get(e.t, "http://shop.example"+path, fields...))
}

// settled waits until nothing moves any more: what a flight stores is stored.
func settled() { synctest.Wait() }

// expect checks an answer's status, body and Cache-Status.
func expect(t *testing.T, got result, status int, body, cacheStatus string) {
	t.Helper()
	if got.err != nil {
		t.Fatalf("got error %v, want %d %q", got.err, status, body)
	}
	if got.status != status || got.body != body || got.cacheStatus() != cacheStatus {
		t.Errorf("got %d %q with Cache-Status %q\nwant %d %q with %q",
			got.status, got.body, got.cacheStatus(), status, body, cacheStatus)
	}
}

// onVirtualTime runs a test in a bubble, after whose end nothing of it runs.
func onVirtualTime(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	synctest.Test(t, f)
}

// slowBody is an answer's body that comes when it is told to.
type slowBody struct {
	parts  chan string // closed at the end
	broken error       // what comes at the end, nil for io.EOF
	closed chan struct{}
	once   sync.Once
	ctx    <-chan struct{}
	rest   string
}

func newSlowBody(req *http.Request) *slowBody {
	return &slowBody{parts: make(chan string), closed: make(chan struct{}), ctx: req.Context().Done()}
}

func (b *slowBody) Read(p []byte) (int, error) {
	if b.rest == "" {
		select {
		case s, ok := <-b.parts:
			if !ok && b.broken != nil {
				return 0, b.broken
			}
			if !ok {
				return 0, io.EOF
			}
			b.rest = s
		case <-b.ctx:
			return 0, errors.New("canceled")
		}
	}
	n := copy(p, b.rest)
	b.rest = b.rest[n:]
	return n, nil
}

func (b *slowBody) Close() error {
	b.once.Do(func() { close(b.closed) })
	return nil
}

func (b *slowBody) isClosed() bool {
	select {
	case <-b.closed:
		return true
	default:
		return false
	}
}
