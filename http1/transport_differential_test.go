package http1

import (
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// seenAnswer is all that a caller can learn from a round trip.
type seenAnswer struct {
	Status   string
	Code     int
	Proto    string
	Length   int64
	Coding   []string
	Close    bool
	Header   http.Header
	Body     string
	Trailer  http.Header
	Interim  []string
	ReadFail bool
}

// echo answers in the way that the query asks for, and tells what it was asked.
func echo(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	body, _ := io.ReadAll(r.Body)
	for range queryNumber(q, "interim") {
		w.Header()["Link"] = []string{"</style.css>; rel=preload"}
		w.WriteHeader(http.StatusEarlyHints)
		w.Header().Del("Link")
	}
	if q.Has("close") {
		w.Header()["Connection"] = []string{"close"}
	}
	if q.Has("trailer") {
		w.Header()["Trailer"] = []string{"X-Sum"}
	}
	w.Header()["Set-Cookie"] = []string{"a=b", "c=d"}
	w.Header()["X-Seen"] = []string{fmt.Sprintf("%s %s %s %d %v %v", r.Method, r.RequestURI, r.Host, len(body), r.TransferEncoding, r.Trailer)}
	for _, k := range []string{"X-A", "Te", "User-Agent", "Cookie", "Content-Type"} {
		w.Header()["X-Seen-"+k] = r.Header[k]
	}
	if q.Has("length") {
		w.Header()["Content-Length"] = []string{strconv.Itoa(queryNumber(q, "size"))}
	}
	w.WriteHeader(max(queryNumber(q, "status"), 200))
	for left := queryNumber(q, "size"); left > 0; left -= 1000 {
		io.WriteString(w, strings.Repeat("x", min(left, 1000)))
		if q.Has("flush") {
			w.(http.Flusher).Flush()
		}
	}
	w.Header()["X-Sum"] = []string{"1"}
	w.Header()[http.TrailerPrefix+"X-Late"] = []string{"2"}
	if q.Has("abort") {
		panic(http.ErrAbortHandler)
	}
}

func queryNumber(q url.Values, name string) int {
	n, _ := strconv.Atoi(q.Get(name))
	return n
}

func see(t *testing.T, rt http.RoundTripper, r *http.Request) *seenAnswer {
	t.Helper()
	s := new(seenAnswer)
	r = r.WithContext(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			s.Interim = append(s.Interim, fmt.Sprint(code, h))
			return nil
		},
	}))
	resp, err := rt.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	resp.Header.Del("Date")
	resp.Header.Del("Connection") // net/http removes it, and with it the names of further hop-by-hop fields
	resp.Header.Del("Trailer")    // net/http leaves it where there are no trailers
	if resp.StatusCode == http.StatusNoContent {
		resp.ContentLength = 0 // after a HEAD net/http does not know
	}
	s.Status, s.Code, s.Proto, s.Length, s.Coding = resp.Status, resp.StatusCode, resp.Proto, resp.ContentLength, resp.TransferEncoding
	s.Close, s.Header, s.Body, s.Trailer, s.ReadFail = resp.Close, resp.Header, string(body), resp.Trailer, err != nil
	return s
}

func TestValidTrafficLooksAsThroughNetHTTP(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(echo))
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	defer server.Close()
	addr := server.Listener.Addr().String()
	theirs := &http.Transport{DisableCompression: true}
	defer theirs.CloseIdleConnections()
	ours := &Transport{MaxIdle: 4, Dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", addr)
	}}
	defer ours.Close()

	bodies := map[string]func(r *http.Request){
		"no body":    func(*http.Request) {},
		"small":      func(r *http.Request) { setBody(r, 10, 10) },
		"large":      func(r *http.Request) { setBody(r, 300<<10, 300<<10) },
		"chunked":    func(r *http.Request) { setBody(r, 100<<10, -1) },
		"trailers":   func(r *http.Request) { setBody(r, 10, -1); r.Trailer = http.Header{"X-T": {"1"}} },
		"te":         func(r *http.Request) { r.Header["Te"] = []string{"trailers"} },
		"expects":    func(r *http.Request) { setBody(r, 10, 10); r.Header["Expect"] = []string{"100-continue"} },
		"odd target": func(r *http.Request) { r.URL.RawPath, r.URL.Path = "/a%2Fb%20c", "/a/b c" },
	}
	answers := []string{"", "size=5", "size=5&length", "size=100000", "size=100000&length", "size=3000&flush", "size=3000&flush&trailer",
		"status=204", "status=304", "status=404&size=10", "status=599&size=1", "interim=2&size=3", "close&size=5", "size=5&length&close",
		"size=5000&flush&abort"}
	for _, method := range []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"} {
		for _, name := range slices.Sorted(maps.Keys(bodies)) {
			for _, answer := range answers {
				if method == http.MethodHead && strings.Contains(answer, "abort") {
					continue // whole without a body, so the next request may meet the closing connection
				}
				request := func() *http.Request {
					r := newRequest(t, method, "/p?"+answer, nil)
					r.URL.Host, r.Host = addr, "virtual.example"
					r.Header = http.Header{"User-Agent": {"test"}, "X-A": {"1", "2"}, "Cookie": {"a=b; c=d"}}
					bodies[name](r)
					return r
				}
				want, got := see(t, theirs, request()), see(t, ours, request())
				if diff := cmp.Diff(want, got); diff != "" {
					t.Errorf("%s with %s, answered with %q (-net/http +ours)\n%s", method, name, answer, diff)
				}
			}
		}
	}
}

func setBody(r *http.Request, size int, length int64) {
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("b", size))), length
}

func TestUpgradeLooksAsThroughNetHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/no" {
			w.WriteHeader(http.StatusUpgradeRequired)
			return
		}
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(rw, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nready ")
		rw.Flush()
		line, _ := rw.ReadString('\n')
		io.WriteString(rw, line)
		rw.Flush()
	}))
	defer server.Close()
	theirs := &http.Transport{DisableCompression: true}
	defer theirs.CloseIdleConnections()
	ours := &Transport{MaxIdle: 4, Dial: dialTo(server.Listener)}
	defer ours.Close()
	for _, path := range []string{"/yes", "/no"} {
		var seen [2]string
		for i, rt := range []http.RoundTripper{theirs, ours} {
			r := newRequest(t, "GET", path, nil)
			r.URL.Host = server.Listener.Addr().String()
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"echo"}, "User-Agent": {"test"}}
			resp, err := rt.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			if rw, ok := resp.Body.(io.ReadWriter); ok {
				io.WriteString(rw, "ping\n")
			}
			b, err := io.ReadAll(resp.Body)
			resp.Body.Close()
			resp.Header.Del("Date")
			seen[i] = fmt.Sprintf("%s %v %q %v", resp.Status, resp.Header, b, err)
		}
		if seen[0] != seen[1] {
			t.Errorf("%s\nnet/http: %s\nours:     %s", path, seen[0], seen[1])
		}
	}
}
