package http1

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// testHot answers GET and HEAD of /hot/N with N bytes, as hotHandler does.
type testHot struct{ asked, answered atomic.Int64 }

func (h *testHot) Answer(now time.Time, head *Head, conn *ConnInfo, dst []byte) (out, body []byte, ok bool) {
	h.asked.Add(1)
	n, found := strings.CutPrefix(string(head.Target()), "/hot/")
	if !found || head.Has(NameRange) || !conn.Peer.IsValid() {
		return nil, nil, false
	}
	size, _ := strconv.Atoi(n)
	h.answered.Add(1)
	dst = append(dst, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nDate: "...)
	dst = now.UTC().AppendFormat(dst, http.TimeFormat)
	dst = fmt.Appendf(dst, "\r\nContent-Length: %d\r\n\r\n", size)
	return dst, bytes.Repeat([]byte("x"), size), true
}

func hotHandler(w http.ResponseWriter, r *http.Request) {
	size, _ := strconv.Atoi(strings.TrimPrefix(r.URL.Path, "/hot/"))
	w.Header().Set("Content-Type", "text/plain")
	w.Header().Set("Content-Length", strconv.Itoa(size))
	_, _ = w.Write(bytes.Repeat([]byte("x"), size))
}

func TestHotAnswersAreThoseOfTheHandler(t *testing.T) {
	var text strings.Builder
	for _, n := range []int{0, 1, 100, 5000, 9000, 70000, 3, 200000} {
		fmt.Fprintf(&text, "GET /hot/%d HTTP/1.1\r\nHost: x\r\nAccept: a\r\n\r\n", n)
		fmt.Fprintf(&text, "HEAD /hot/%d HTTP/1.1\r\nhost: x\r\nConnection: Keep-Alive\r\n\r\n", n)
		fmt.Fprintf(&text, "POST /hot/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello", n)
	}
	text.WriteString("GET /hot/7 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
	for _, d := range serverDrivers {
		hot := new(testHot)
		with := talk(t, d, &Server{Handler: http.HandlerFunc(hotHandler), Hot: hot}, text.String())
		without := talk(t, d, &Server{Handler: http.HandlerFunc(hotHandler)}, text.String())
		if withoutDate(with) != withoutDate(without) {
			t.Errorf("%s: answers differ: %d and %d bytes", d.name, len(with), len(without))
		}
		if a, n := hot.asked.Load(), hot.answered.Load(); a != 16 || n != 16 {
			t.Errorf("%s: hot was asked %d times and answered %d, want 16", d.name, a, n)
		}
	}
}

func TestHotIsAskedOnlyForWhatItMayAnswer(t *testing.T) {
	for _, text := range []string{
		"POST /hot/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /hot/1 HTTP/1.0\r\nHost: x\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\na",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n",
		"GET http://x/hot/1 HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /hot/%zz HTTP/1.1\r\nHost: x\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\nHost: x@y\r\n\r\n",
		"GET /hot/1 HTTP/1.1\r\n\r\n",
	} {
		hot := new(testHot)
		talk(t, serverDrivers[1], &Server{Handler: http.HandlerFunc(hotHandler), Hot: hot},
			text+"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
		if n := hot.asked.Load(); n != 0 {
			t.Errorf("hot was asked for %q", text)
		}
	}
}

func TestHotAnswersStandBeforeThePanicOfTheNextHandler(t *testing.T) {
	s := &Server{Hot: new(testHot), Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })}
	got := talk(t, serverDrivers[1], s, "GET /hot/3 HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n")
	if !strings.HasSuffix(got, "\r\n\r\nxxx") {
		t.Errorf("got %q", got)
	}
}

// countingConn counts the writes of a server.
type countingConn struct {
	*memConn
	writes atomic.Int64
}

func (c *countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.memConn.Write(p)
}

func TestPipelinedAnswersAreWrittenInBatches(t *testing.T) {
	client, server := memPair()
	counted := &countingConn{memConn: server}
	s := &Server{Handler: http.HandlerFunc(hotHandler), Hot: new(testHot)}
	one := "GET /hot/9 HTTP/1.1\r\nHost: x\r\n\r\n"
	_, _ = io.WriteString(client, strings.Repeat(one, 100))
	_ = client.CloseWrite()
	s.ServeConn(t.Context(), counted, testInfo, nil)
	got, _ := io.ReadAll(client)
	if n := bytes.Count(got, []byte("HTTP/1.1 200")); n != 100 {
		t.Fatalf("%d answers, want 100", n)
	}
	if n := counted.writes.Load(); n < 100/pipelineBatch || n > 2*100/pipelineBatch+2 {
		t.Errorf("%d writes for 100 answers, want about one for %d", n, pipelineBatch)
	}
}

func TestIdleConnectionsHoldNoBuffer(t *testing.T) {
	if raceEnabled {
		t.Skip("looks at a connection of which only time tells that it waits")
	}
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			s := &Server{Handler: http.HandlerFunc(hello)}
			client, wait := connectTo(t, d, s)
			r := bufio.NewReader(client)
			for range 3 {
				_, _ = io.WriteString(client, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab")
				if a, err := http.ReadResponse(r, nil); err != nil {
					t.Fatal(err)
				} else if _, err := io.ReadAll(a.Body); err != nil {
					t.Fatal(err)
				}
			}
			c := waitParked(t, s)
			s.mu.Lock()
			if c.in.buf != nil || c.s != nil || c.cur.Load() != nil {
				t.Errorf("a parked connection holds a buffer of %d bytes, scratch %v, exchange %v", len(c.in.buf), c.s, c.cur.Load())
			}
			s.mu.Unlock()
			client.Close()
			wait()
		})
	}
}

// waitParked waits until the only connection of s waits.
func waitParked(t *testing.T, s *Server) *conn {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(time.Millisecond) {
		s.mu.Lock()
		for c := range s.conns {
			if c.parked.Load() {
				s.mu.Unlock()
				return c
			}
		}
		s.mu.Unlock()
	}
	t.Fatal("the connection never waits")
	return nil
}
