package http1

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// steered does what the query says, with the writer's whole interface.
func steered(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	h := w.Header()
	h.Set("Content-Type", "text/plain")
	h["X-Many"] = []string{"b", "a"}
	h.Set("X-Request", fmt.Sprintf("%s %s %s %s %d %v", r.Method, r.Host, r.RequestURI, r.Proto, r.ContentLength, r.TransferEncoding))
	h.Set("X-Cookie", strings.Join(r.Header["Cookie"], "|"))
	var body []byte
	if q.Has("read") {
		body, _ = io.ReadAll(r.Body)
		h.Set("X-Sum", r.Trailer.Get("X-Sum"))
	}
	size, _ := strconv.Atoi(q.Get("size"))
	body = append(body, strings.Repeat("0123456789", size/10)...)
	if q.Has("length") {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	if q.Has("close") {
		h.Set("Connection", "close")
	}
	if q.Has("trailer") {
		h.Set("Trailer", "X-After")
	}
	if q.Has("early") {
		w.WriteHeader(http.StatusEarlyHints)
	}
	if status, err := strconv.Atoi(q.Get("status")); err == nil {
		w.WriteHeader(status)
		h.Set("X-Late", "not sent")
	}
	if q.Has("flush") {
		w.(http.Flusher).Flush()
	}
	for len(body) > 0 {
		n := min(len(body), 700)
		if _, err := w.Write(body[:n]); err != nil {
			break
		}
		body = body[n:]
	}
	h.Set("X-After", "after")
}

type servedAnswer struct {
	Status          string
	Interim         int
	Header, Trailer http.Header
	Length          int64
	Coding          []string
	Close           bool
	Body            string
}

// readAnswers reads the answers to requests of methods and how the connection goes on.
func readAnswers(t *testing.T, r *bufio.Reader, methods []string) (list []servedAnswer) {
	t.Helper()
	for _, m := range methods {
		interim := 0
		for {
			a, err := http.ReadResponse(r, &http.Request{Method: m})
			if err != nil {
				return append(list, servedAnswer{Status: "none"})
			}
			if a.StatusCode/100 == 1 {
				interim++
				continue
			}
			body, err := io.ReadAll(a.Body)
			if err != nil {
				t.Errorf("body of the answer to %s: %v", m, err)
			}
			a.Header.Del("Date")
			a.Header.Del("Connection")
			a.Header.Del("Trailer")
			if a.StatusCode == http.StatusNotModified {
				a.Header.Del("Content-Type") // net/http takes it away; a proxy has no reason to
			}
			if m == http.MethodHead {
				a.Header.Del("Content-Length") // we know it where net/http has stopped counting
				a.ContentLength = 0
			}
			list = append(list, servedAnswer{a.Status, interim, a.Header, a.Trailer, a.ContentLength, a.TransferEncoding, a.Close, string(body)})
			break
		}
	}
	return list
}

func TestValidRequestsAreAnsweredAsByNetHTTP(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(steered))
	defer s.Close()
	ours := &Server{Handler: http.HandlerFunc(steered)}
	heads := []string{
		"GET %s HTTP/1.1\r\nHost: x.example\r\nCookie: a\r\nCookie: b\r\n\r\n",
		"HEAD %s HTTP/1.1\r\nHost: x.example\r\n\r\n",
		"GET %s HTTP/1.0\r\n\r\n",
		"GET %s HTTP/1.0\r\nHost: x.example\r\nConnection: keep-alive\r\n\r\n",
		"GET %s HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n",
		"POST %s HTTP/1.1\r\nHost: x.example\r\nContent-Length: 5\r\n\r\nhello",
		"PUT %s HTTP/1.1\r\nHost: x.example\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n3\r\n wo\r\n0\r\nX-Sum: 8\r\n\r\n",
		"GET http://x.example%s HTTP/1.1\r\nHost: x.example\r\n\r\n",
	}
	queries := []string{
		"", "read", "size=10", "size=1000&length", "size=10000", "size=100000&length", "size=10&flush", "size=2000&read",
		"size=300000&flush&length", "status=204", "status=304", "status=404&size=20", "status=500&size=20&flush", "status=299",
		"close&size=20", "trailer&size=20", "trailer&flush", "trailer&size=20000&read", "early&size=20", "early&read&status=201",
	}
	const probe = "GET /probe HTTP/1.1\r\nHost: x.example\r\nConnection: close\r\n\r\n"
	for _, head := range heads {
		method, _, _ := strings.Cut(head, " ")
		for _, q := range queries {
			if strings.Contains(head, "HTTP/1.0") && (strings.Contains(q, "early") || strings.Contains(q, "trailer")) {
				continue // net/http sends interim answers to HTTP/1.0, and knows no length beside trailers
			}
			text := fmt.Sprintf(head, "/a/b?"+q)
			std := dialTest(t, s.Listener.Addr().String())
			_ = std.SetDeadline(time.Now().Add(patience))
			_, _ = io.WriteString(std, text+probe)
			want := readAnswers(t, bufio.NewReader(std), []string{method, "GET"})
			std.Close()
			for _, d := range serverDrivers {
				client, wait := connectTo(t, d, ours)
				_ = client.SetDeadline(time.Now().Add(patience))
				_, _ = io.WriteString(client, text+probe)
				got := readAnswers(t, bufio.NewReader(client), []string{method, "GET"})
				client.Close()
				wait()
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s: %q is answered differently (-net/http +ours)\n%s", d.name, text, diff)
				}
			}
		}
	}
}
