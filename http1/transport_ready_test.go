package http1

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// serveOnce answers every connection with the bytes that end writes.
func serveOnce(t *testing.T, answer func(c *net.TCPConn)) *Transport {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Read(make([]byte, 4096))
			answer(c.(*net.TCPConn))
			c.Close()
		}
	}()
	tr := &Transport{Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
	}}
	t.Cleanup(func() { tr.Close(); l.Close(); <-ended })
	return tr
}

func getReady(t *testing.T, tr *Transport) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), "GET", "http://origin/", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

// TestResetIsNoCleanEnd: what was read ahead without waiting may meet the
// reset that Read would have met. A body that only the end delimits must not
// look whole then.
func TestResetIsNoCleanEnd(t *testing.T) {
	read := make(chan struct{})
	tr := serveOnce(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nbegin")
		<-read // the head is there, and the reset comes behind it
		_ = c.SetLinger(0)
	})
	for range 20 {
		resp := getReady(t, tr)
		read <- struct{}{}
		buf := make([]byte, 64<<10)
		var err error
		for err == nil {
			_, err = resp.Body.Read(buf)
		}
		if err == io.EOF {
			t.Fatal("an answer that was reset ended cleanly")
		}
		resp.Body.Close()
	}
}

// TestReadyBytesAreTheBody: reading ahead neither loses nor doubles a byte,
// however the answer is cut into packets.
func TestReadyBytesAreTheBody(t *testing.T) {
	body := strings.Repeat("0123456789abcdef-", 20_000)
	tr := serveOnce(t, func(c *net.TCPConn) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 340000\r\nConnection: close\r\n\r\n")
		for i := 0; i < len(body); i += 7919 {
			_, _ = io.WriteString(c, body[i:min(i+7919, len(body))])
		}
	})
	for _, size := range []int{100, 5_000, 20_000, 64 << 10, 1 << 20} {
		resp := getReady(t, tr)
		var got strings.Builder
		buf := make([]byte, size)
		for {
			n, err := resp.Body.Read(buf)
			got.Write(buf[:n])
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		if got.String() != body {
			t.Errorf("read by %d bytes: %d bytes, not the body of %d", size, got.Len(), len(body))
		}
	}
}
