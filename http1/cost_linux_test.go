package http1

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
)

const usualGet = "GET /path/of/a/page?q=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1.0\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip\r\nCookie: a=b; c=d\r\n\r\n"

var kib = bytes.Repeat([]byte("x"), 1024)

func usualHandler(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Type"] = []string{"text/plain"}
	h["Content-Length"] = []string{"1024"}
	_, _ = w.Write(kib)
}

func TestRequestCostsTwoSystemCalls(t *testing.T) {
	client, server := tcpPair(t)
	s := &Server{Handler: http.HandlerFunc(usualHandler)}
	s.prepare()
	c := newConn(t.Context(), s, server, testInfo)
	var wg sync.WaitGroup
	wg.Go(func() { c.serve(nil) })
	r := bufio.NewReader(client)
	const requests = 200
	for range requests {
		_, _ = io.WriteString(client, usualGet)
		a, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := io.Copy(io.Discard, a.Body); n != 1024 || err != nil {
			t.Fatal(n, err)
		}
	}
	client.Close()
	wg.Wait()
	// One more for the first wait, one for the end; a few where the client was
	// faster than the server's last look.
	if n := c.raw.calls; n < 2*requests || n > 2*requests+requests/10 {
		t.Errorf("%d system calls for %d requests, want two each", n, requests)
	}
}

// requestAllocs is how many pieces of memory a GET with five fields and its
// answer of 1 KiB may cost: the exchange, the head's text, the header map (two)
// with its values, the answer's header map (two), and the handler's own two.
const requestAllocs = 9

func TestRequestStaysInItsAllocationBudget(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("counts are those of a plain build")
	}
	c := replayConn(t, &Server{Handler: http.HandlerFunc(usualHandler)})
	if n := testing.AllocsPerRun(500, c.once); n > requestAllocs {
		t.Errorf("a request costs %v allocations, the budget is %d", n, requestAllocs)
	}
	c = replayConn(t, &Server{Handler: http.HandlerFunc(usualHandler), Hot: fixedHot{}})
	if n := testing.AllocsPerRun(500, c.once); n > 0 {
		t.Errorf("a hot answer costs %v allocations, want none", n)
	}
}

// fixedHot always has the same answer.
type fixedHot struct{}

var fixedHead = []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1024\r\n\r\n")

func (fixedHot) Answer(_ time.Time, _ *Head, _ *ConnInfo, dst []byte) (head, body []byte, ok bool) {
	return append(dst, fixedHead...), kib, true
}

// replayed drives the loop without input and output.
type replayed struct {
	c *conn
	w *memConn
}

func replayConn(t testing.TB, s *Server) *replayed {
	s.prepare()
	_, server := memPair()
	r := &replayed{w: server}
	r.c = newConn(t.Context(), s, discardConn{server}, testInfo)
	return r
}

// once is one request through the loop and the handler.
func (r *replayed) once() {
	c := r.c
	c.in.prefill([]byte(usualGet))
	if c.advance(testNow) == needHandler {
		c.serveRequest()
	}
	_ = c.flushOut(nil)
	c.rest()
}

func BenchmarkRequest(b *testing.B) {
	c := replayConn(b, &Server{Handler: http.HandlerFunc(usualHandler)})
	b.ReportAllocs()
	for b.Loop() {
		c.once()
	}
}

func BenchmarkHot(b *testing.B) {
	c := replayConn(b, &Server{Handler: http.HandlerFunc(usualHandler), Hot: fixedHot{}})
	b.ReportAllocs()
	for b.Loop() {
		c.once()
	}
}

func BenchmarkParseHead(b *testing.B) {
	var h Head
	text := []byte(usualGet)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		h.reset(requestHead)
		if done, err := h.parse(text, testLimits); !done || err != nil {
			b.Fatal(err)
		}
		if _, err := h.demand(); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkSocket is a request over a socket, on both sides.
func BenchmarkSocket(b *testing.B) {
	for _, d := range serverDrivers {
		b.Run(strings.ReplaceAll(d.name, " ", "_"), func(b *testing.B) {
			client, _ := connectTo(b, d, &Server{Handler: http.HandlerFunc(usualHandler)})
			answer := make([]byte, 64<<10)
			_, _ = io.WriteString(client, usualGet)
			n, err := io.ReadAtLeast(client, answer, 1024)
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				_, _ = io.WriteString(client, usualGet)
				if _, err := io.ReadFull(client, answer[:n]); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run("net_http", func(b *testing.B) {
		s := httptest.NewServer(http.HandlerFunc(usualHandler))
		defer s.Close()
		client := dialTest(b, s.Listener.Addr().String())
		answer := make([]byte, 64<<10)
		_, _ = io.WriteString(client, usualGet)
		n, err := io.ReadAtLeast(client, answer, 1024)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			_, _ = io.WriteString(client, usualGet)
			if _, err := io.ReadFull(client, answer[:n]); err != nil {
				b.Fatal(err)
			}
		}
		client.Close()
		runtime.KeepAlive(s)
	})
}
