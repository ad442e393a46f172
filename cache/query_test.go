package cache

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/selvage-edge/selvage"
)

// asks makes a QUERY.
func asks(t *testing.T, body string, fields ...string) *http.Request {
	req := get(t, "http://shop.example/search", fields...)
	req.Method, req.Body, req.ContentLength = methodQuery, io.NopCloser(strings.NewReader(body)), int64(len(body))
	return req
}

// echoing answers with the body of the request.
func echoing(fields string) *script {
	return &script{answer: func(req *http.Request) (*http.Response, error) {
		body := []byte("none")
		if req.Body != nil {
			var err error
			if body, err = io.ReadAll(req.Body); err != nil {
				return nil, err
			}
		}
		if req.Header.Get("If-None-Match") != "" {
			return reply(req, 304, fields, ""), nil
		}
		return reply(req, 200, fields, req.Method+" "+string(body)), nil
	}}
}

func TestQueryIsToldFromOthersByItsContent(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, echoing(""))
		const miss, hit = "selvage; fwd=uri-miss; stored", "selvage; hit; ttl=60"
		for _, want := range []string{miss, hit} {
			expect(t, e.do(asks(t, "a")), 200, "QUERY a", want)
			expect(t, e.do(asks(t, "b")), 200, "QUERY b", want)
			expect(t, e.do(asks(t, "")), 200, "QUERY ", want)
			expect(t, e.do(asks(t, "a", "Content-Type", "text/plain")), 200, "QUERY a", want)
			expect(t, e.do(asks(t, "a", "Content-Type", "text/plain", "Content-Language", "de")), 200, "QUERY a", want)
			expect(t, e.get("/search"), 200, "GET none", want)
			settled()
		}
		// What changes the URL ends them all.
		req := get(t, "http://shop.example/search")
		req.Method = http.MethodPost
		e.do(req)
		if got := e.store.Stats().Objects; got != 0 || len(e.store.queries) != 0 {
			t.Errorf("%d answers are stored and %d indexed, want none", got, len(e.store.queries))
		}
		expect(t, e.do(asks(t, "a")), 200, "QUERY a", miss)
		settled()
		e.store.check(t)
	})
}

func TestQueryIsAskedAgainWithItsBody(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, selvage.Cache{}, echoing("Cache-Control: no-cache\nEtag: \"a\""))
		e.do(asks(t, "a"))
		settled()
		expect(t, e.do(asks(t, "a")), 200, "QUERY a", "selvage; fwd=stale; fwd-status=304")
		if last := e.origin.last(); last.Method != methodQuery || last.ContentLength != 1 {
			t.Errorf("asked again with %s and %d bytes", last.Method, last.ContentLength)
		}
	})
}

func TestQueryOfTooManyBytesGoesByWhole(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		e := newEdge(t, oneMinute, echoing(""))
		long := strings.Repeat("x", maxQuery+1)
		for _, length := range []int64{maxQuery + 1, -1} {
			req := asks(t, long)
			req.ContentLength = length
			expect(t, e.do(req), 200, "QUERY "+long, "selvage; fwd=bypass; detail=query-size")
		}
		exact := strings.Repeat("x", maxQuery)
		req := asks(t, exact)
		req.ContentLength = -1
		expect(t, e.do(req), 200, "QUERY "+exact, "selvage; fwd=uri-miss; stored")
	})
}

func TestQueryThatBreaksOffIsNotSent(t *testing.T) {
	broken := errors.New("the client has gone")
	e := newEdge(t, oneMinute, echoing(""))
	req := asks(t, "")
	req.Body, req.ContentLength = io.NopCloser(io.MultiReader(strings.NewReader("a"), iotest.ErrReader(broken))), 5
	if r := e.do(req); !errors.Is(r.err, broken) || e.origin.count() != 0 {
		t.Errorf("got %v, and the origin was asked %d times", r.err, e.origin.count())
	}
}

func TestQueriesOnTheirWayAreDoomedWithTheirURL(t *testing.T) {
	onVirtualTime(t, func(t *testing.T) {
		release := make(chan struct{})
		e := newEdge(t, oneMinute, &script{answer: func(req *http.Request) (*http.Response, error) {
			if req.Method == methodQuery {
				<-release
			}
			return reply(req, 200, "", "x"), nil
		}})
		first := e.begin(asks(t, "a"))
		settled()
		req := get(t, "http://shop.example/search")
		req.Method = http.MethodPut
		e.do(req)
		close(release)
		<-first
		settled()
		if got := e.store.Stats().Objects; got != 0 {
			t.Errorf("%d answers are stored, want none", got)
		}
	})
}
