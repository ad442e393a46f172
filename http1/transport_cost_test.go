package http1

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const usualAnswer = "HTTP/1.1 200 OK\r\nServer: origin\r\nDate: Sat, 21 Nov 2026 08:00:00 GMT\r\nContent-Type: text/html\r\n" +
	"Content-Length: 1024\r\nEtag: \"abc\"\r\nX-Request-Id: 1\r\n\r\n"

// roundTripAllocs is how many pieces of memory a GET with four fields and its
// answer of 1 KiB with six may cost: the answer with its response, the head's
// text, the header map (two) with its values, and the request's context watched (four).
const roundTripAllocs = 9

// cannedOrigin answers every request with the same bytes.
func cannedOrigin(t testing.TB, answer string) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bytes := []byte(answer)
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer c.Close()
				p := make([]byte, 64<<10)
				for { // a request is one write, so it is one read
					if _, err := c.Read(p); err != nil {
						return
					}
					c.Write(bytes)
				}
			}()
		}
	}()
	t.Cleanup(func() { ln.Close() })
	return ln
}

func usualRequest(t testing.TB) *http.Request {
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	r := newRequest(t, "GET", "/path/of/a/page?q=1", nil).WithContext(ctx)
	r.Header = http.Header{"User-Agent": {"test/1.0"}, "Accept": {"*/*"}, "Accept-Encoding": {"gzip"}, "Cookie": {"a=b; c=d"}}
	return r
}

func TestRoundTripStaysInItsAllocationBudget(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("counts are those of a plain build")
	}
	c := &repeatingConn{answer: usualAnswer + strings.Repeat("x", 1024)}
	tr := &Transport{MaxIdle: 1, FirstByte: time.Minute, Idle: time.Minute,
		Dial: func(context.Context) (net.Conn, error) { return c, nil }}
	defer tr.Close()
	r := usualRequest(t)
	if n := testing.AllocsPerRun(500, func() { roundTrip(t, tr, r, 1024) }); n > roundTripAllocs {
		t.Errorf("a round trip costs %v allocations, the budget is %d", n, roundTripAllocs)
	}
}

// repeatingConn answers every write with the same bytes.
type repeatingConn struct {
	cannedConn
	answer string
}

func (c *repeatingConn) Write(p []byte) (int, error) { return len(p), nil }
func (c *repeatingConn) Read(p []byte) (int, error)  { return copy(p, c.answer), nil }

func roundTrip(t testing.TB, rt http.RoundTripper, r *http.Request, want int64) {
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	n, err := io.Copy(io.Discard, resp.Body)
	resp.Body.Close()
	if n != want || err != nil {
		t.Fatalf("got %d bytes, %v", n, err)
	}
}

func BenchmarkRoundTrip(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 1 << 20} {
		answer := strings.Replace(usualAnswer, "1024", fmt.Sprint(size), 1) + strings.Repeat("x", size)
		ln := cannedOrigin(b, answer)
		for name, rt := range map[string]http.RoundTripper{
			"ours":     &Transport{MaxIdle: 8, FirstByte: time.Minute, Idle: time.Minute, Dial: dialTo(ln)},
			"portable": &Transport{MaxIdle: 8, FirstByte: time.Minute, Idle: time.Minute, Dial: dialPlain(ln)},
			"nethttp":  &http.Transport{DisableCompression: true},
		} {
			b.Run(fmt.Sprintf("%dKiB/%s", size>>10, name), func(b *testing.B) {
				r := usualRequest(b)
				r.URL.Host = ln.Addr().String()
				b.ReportAllocs()
				b.SetBytes(int64(size))
				for b.Loop() {
					roundTrip(b, rt, r, int64(size))
				}
			})
		}
	}
}

func dialPlain(ln net.Listener) func(context.Context) (net.Conn, error) {
	dial := dialTo(ln)
	return func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		return plainConn{c}, nil
	}
}
