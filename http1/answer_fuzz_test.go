package http1

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// cannedConn answers everything with the same bytes, in small pieces, and then ends.
type cannedConn struct {
	net.Conn
	rest  []byte
	piece int
}

func (c *cannedConn) Read(p []byte) (int, error) {
	if len(c.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, c.rest[:min(c.piece, len(c.rest))])
	c.rest = c.rest[n:]
	return n, nil
}

func (c *cannedConn) Write(p []byte) (int, error)        { return len(p), nil }
func (c *cannedConn) Close() error                       { return nil }
func (c *cannedConn) Quiet() error                       { return nil }
func (c *cannedConn) SetDeadline(t time.Time) error      { return nil }
func (c *cannedConn) SetReadDeadline(t time.Time) error  { return nil }
func (c *cannedConn) SetWriteDeadline(t time.Time) error { return nil }

// FuzzAnswer holds the answer reader against net/http's: what it accepts, in
// whatever pieces it comes, is the same answer there, and a connection that it
// keeps was read exactly as far as the answer goes.
func FuzzAnswer(f *testing.F) {
	for _, m := range malformedAnswers {
		if len(m.answer) < 1000 {
			f.Add([]byte(m.answer), uint8(7), false)
		}
	}
	for _, s := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\nhello",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
		"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP/1.0 404 Not Found\r\n\r\nuntil the end",
		"HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\nContent-Length: 7\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
	} {
		f.Add([]byte(s), uint8(1), false)
		f.Add([]byte(s), uint8(255), true)
	}
	f.Fuzz(func(t *testing.T, data []byte, piece uint8, head bool) {
		method := http.MethodGet
		if head {
			method = http.MethodHead
		}
		c := &cannedConn{rest: data, piece: int(piece) + 1}
		tr := &Transport{MaxIdle: 1, MaxHead: 4 << 10, Dial: func(context.Context) (net.Conn, error) { return c, nil }}
		req, _ := http.NewRequest(method, "http://origin.example/", nil)
		resp, err := tr.RoundTrip(req)
		if err != nil {
			return
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			return
		}
		compareWithNetHTTP(t, data, req, resp, body, len(data)-len(c.rest), len(tr.pool.idle) > 0)
	})
}

func compareWithNetHTTP(t *testing.T, data []byte, req *http.Request, got *http.Response, gotBody []byte, consumed int, kept bool) {
	src := bytes.NewReader(data)
	br := bufio.NewReader(src)
	want, err := http.ReadResponse(br, req)
	for err == nil && want.StatusCode < 200 {
		want, err = http.ReadResponse(br, req)
	}
	if err != nil {
		t.Fatalf("net/http refuses it: %v", err)
	}
	body, err := io.ReadAll(want.Body)
	if err != nil {
		t.Fatalf("net/http refuses the body: %v", err)
	}
	if got.StatusCode != want.StatusCode || got.Proto != want.Proto || !bytes.Equal(gotBody, body) {
		t.Fatalf("got %d %s %q, net/http has %d %s %q", got.StatusCode, got.Proto, gotBody, want.StatusCode, want.Proto, body)
	}
	want.Header.Del("Trailer")
	want.Header.Del("Connection")
	got.Header.Del("Connection")
	if want.StatusCode == http.StatusNoContent {
		want.Header.Del("Content-Length")
	}
	if diff := cmp.Diff(want.Header, got.Header); diff != "" {
		t.Fatalf("header (-net/http +ours)\n%s", diff)
	}
	for k, v := range got.Trailer {
		if len(v) > 0 && !cmp.Equal(v, want.Trailer[k]) {
			t.Fatalf("trailer %s is %q, net/http has %q", k, v, want.Trailer[k])
		}
	}
	if theirs := len(data) - br.Buffered() - src.Len(); kept && consumed != theirs {
		t.Fatalf("the connection is kept after %d bytes, net/http read %d", consumed, theirs)
	}
}

// FuzzTarget holds the request target against net/url: what it lets through
// means the same there, and is one word.
func FuzzTarget(f *testing.F) {
	for _, s := range []string{"/", "/a%2fb", "/a|b?c|d", "//x", "/%", "/a?", "*", "/ä", "http://x/y"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, target string) {
		req, err := http.NewRequest(http.MethodGet, "http://origin.example/", nil)
		if err != nil {
			t.Fatal(err)
		}
		u, err := req.URL.Parse(target)
		if err != nil {
			return
		}
		got, err := appendTarget(nil, u, http.MethodGet)
		if err != nil {
			return
		}
		if bytes.ContainsAny(got, " \r\n\t\x00#") {
			t.Fatalf("%q became %q", target, got)
		}
		back, err := req.URL.Parse("http://origin.example" + string(got))
		if u.Opaque != "" {
			return // sent as it is
		}
		if err != nil || back.Path != u.Path && u.Path != "" || back.RawQuery != u.RawQuery {
			t.Fatalf("%q became %q, which is %v, %v", target, got, back, err)
		}
	})
}
