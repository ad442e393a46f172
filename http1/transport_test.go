package http1

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/selvage-edge/selvage"
)

// drivers are the ways in which a Transport reaches a real socket.
var drivers = []string{"tcp", "portable", "tls"}

// scripted is an origin on a real socket that does what a test says.
type scripted struct {
	t     *testing.T
	ln    net.Listener
	tls   *tls.Config
	dials atomic.Int32
	wg    sync.WaitGroup
}

// startScripted serves every connection with serve, which is told how many there were before.
func startScripted(t *testing.T, driver string, serve func(c net.Conn, n int)) (*scripted, *Transport) {
	t.Helper()
	// Registered first, so it looks when all below is closed.
	opened := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, opened) })
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &scripted{t: t, ln: ln}
	if driver == "tls" {
		s.tls = testTLS()
	}
	s.wg.Go(func() {
		for n := 0; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			if s.tls != nil {
				c = tls.Server(c, s.tls)
			}
			s.wg.Go(func() {
				defer c.Close()
				serve(c, n)
			})
		}
	})
	tr := &Transport{Dial: s.dialer(driver), MaxIdle: 16}
	t.Cleanup(func() {
		tr.Close()
		ln.Close()
		s.wg.Wait()
	})
	return s, tr
}

func (s *scripted) dialer(driver string) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		s.dials.Add(1)
		c, err := new(net.Dialer).DialContext(ctx, "tcp", s.ln.Addr().String())
		switch {
		case err != nil:
			return nil, err
		case driver == "portable":
			return plainConn{c}, nil
		case driver == "tls":
			secure := tls.Client(c, &tls.Config{InsecureSkipVerify: true})
			return secure, secure.HandshakeContext(ctx)
		}
		return c, nil
	}
}

var testTLS = sync.OnceValue(func() *tls.Config {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS()
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates}
})

// answering answers every request of a connection by a function.
func answering(answer func(n int, r *http.Request) string) func(net.Conn, int) {
	var count atomic.Int32
	return func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		for {
			r, err := http.ReadRequest(br)
			if err != nil {
				return
			}
			io.Copy(io.Discard, r.Body)
			if _, err := io.WriteString(c, answer(int(count.Add(1))-1, r)); err != nil {
				return
			}
		}
	}
}

func newRequest(t testing.TB, method, target string, body io.Reader) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://origin.example"+target, body)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// get asks for / and returns the body.
func get(t testing.TB, tr *Transport) (string, error) {
	t.Helper()
	resp, err := tr.RoundTrip(newRequest(t, "GET", "/", nil))
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return string(b), err
}

func mustGet(t testing.TB, tr *Transport, want string) {
	t.Helper()
	if got, err := get(t, tr); err != nil || got != want {
		t.Fatalf("got %q, %v, want %q", got, err, want)
	}
}

// wantType fails unless err is an AnswerError of a type.
func wantType(t testing.TB, err error, want selvage.ProxyErrorType) *AnswerError {
	t.Helper()
	e, ok := errors.AsType[*AnswerError](err)
	if !ok || e.Type != want {
		t.Fatalf("error is %v (%T), want one of type %s", err, err, want)
	}
	return e
}

func countedAnswer(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}

func TestConnectionIsUsedAgain(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			s, tr := startScripted(t, driver, answering(func(n int, _ *http.Request) string {
				switch n % 4 {
				case 1:
					return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n0\r\n\r\n"
				case 2:
					return "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"
				case 3:
					return "HTTP/1.1 304 Not Modified\r\nContent-Length: 3\r\n\r\n"
				}
				return countedAnswer("one")
			}))
			for n := range 12 {
				want := "one"
				if n%4 >= 2 {
					want = ""
				}
				mustGet(t, tr, want)
			}
			if n := s.dials.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestConnectionIsNotUsedAgain(t *testing.T) {
	for name, answer := range map[string]string{
		"closed by its field":  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
		"closed by its second": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x\r\nConnection: y, Close\r\n\r\nok",
		"malformed connection": "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: ,,\r\n\r\nok",
		"http/1.0":             "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
		"bytes behind it":      "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nbad",
		"bytes behind chunks":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nHTTP/1.1 200 OK\r\n",
	} {
		for _, driver := range drivers {
			t.Run(name+"/"+driver, func(t *testing.T) {
				s, tr := startScripted(t, driver, answering(func(int, *http.Request) string { return answer }))
				mustGet(t, tr, "ok")
				mustGet(t, tr, "ok")
				if n := s.dials.Load(); n != 2 {
					t.Errorf("%d connections, want 2", n)
				}
			})
		}
	}
}

// A malicious client gets the origin to send one answer too many, and hopes
// that the next client takes it for his own.
func TestBytesOfAnotherClientNeverAppear(t *testing.T) {
	const poison = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\npoison"
	for _, driver := range []string{"tcp", "tls"} {
		t.Run(driver, func(t *testing.T) {
			poisoned := make(chan struct{})
			s, tr := startScripted(t, driver, func(c net.Conn, n int) {
				br := bufio.NewReader(c)
				for {
					if _, err := http.ReadRequest(br); err != nil {
						return
					}
					io.WriteString(c, countedAnswer("mine"))
					if n == 0 { // later than the answer, in a write and a record of its own
						io.WriteString(c, poison)
						close(poisoned)
					}
				}
			})
			mustGet(t, tr, "mine")
			<-poisoned
			for range 3 {
				mustGet(t, tr, "mine")
			}
			if n := s.dials.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

func TestDeadConnectionIsNoticedBeforeReuse(t *testing.T) {
	for _, driver := range []string{"tcp", "tls"} {
		t.Run(driver, func(t *testing.T) {
			closed := make(chan struct{}, 8)
			s, tr := startScripted(t, driver, func(c net.Conn, _ int) {
				if r, err := http.ReadRequest(bufio.NewReader(c)); err == nil {
					io.Copy(io.Discard, r.Body)
					io.WriteString(c, countedAnswer("ok"))
				}
				c.Close()
				closed <- struct{}{}
			})
			for range 4 {
				// A POST, which nobody may send again.
				resp, err := tr.RoundTrip(newRequest(t, "POST", "/", strings.NewReader("x")))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				<-closed
			}
			if n := s.dials.Load(); n != 4 {
				t.Errorf("%d connections, want 4", n)
			}
		})
	}
}

func TestRequestIsWrittenAsItIs(t *testing.T) {
	var got string
	heads := make(chan string, 1)
	_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		for {
			var b strings.Builder
			for !strings.HasSuffix(b.String(), "\r\n\r\n") {
				c, err := br.ReadByte()
				if err != nil {
					return
				}
				b.WriteByte(c)
			}
			heads <- b.String()
			io.WriteString(c, countedAnswer(""))
		}
	})
	for name, test := range map[string]struct {
		method, target string
		header         http.Header
		want           string
	}{
		"raw path": {"GET", "/a%2Fb|c%7c/%C3%A4?q=%zz&r=a|b", nil,
			"GET /a%2Fb|c%7c/%C3%A4?q=%zz&r=a|b HTTP/1.1\r\nHost: origin.example\r\n\r\n"},
		"empty query":  {"GET", "/?", nil, "GET /? HTTP/1.1\r\nHost: origin.example\r\n\r\n"},
		"double slash": {"GET", "//x//", nil, "GET //x// HTTP/1.1\r\nHost: origin.example\r\n\r\n"},
		"no body":      {"POST", "/", nil, "POST / HTTP/1.1\r\nHost: origin.example\r\nContent-Length: 0\r\n\r\n"},
		"hop by hop": {"GET", "/", http.Header{
			"Connection": {"close, X-Hop"}, "Keep-Alive": {"1"}, "X-Hop": {"1"}, "X-End": {"1", "2"}, "Transfer-Encoding": {"chunked"},
			"Content-Length": {"7"}, "Te": {"gzip, trailers"}, "Upgrade": {"x"}, "Proxy-Connection": {"x"}, "host": {"evil"},
		}, "GET / HTTP/1.1\r\nHost: origin.example\r\nX-End: 1\r\nX-End: 2\r\nTE: trailers\r\nConnection: TE\r\n\r\n"},
		"h2c is not asked for": {"GET", "/", http.Header{
			"Connection": {"Upgrade, HTTP2-Settings"}, "Upgrade": {"h2c"}, "Http2-Settings": {"AAA"},
		}, "GET / HTTP/1.1\r\nHost: origin.example\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest(t, test.method, test.target, nil)
			r.Header = test.header
			resp, err := tr.RoundTrip(r)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if got = <-heads; got != test.want {
				t.Error(cmp.Diff(test.want, got))
			}
		})
	}
}

func TestWhatCannotBeSentIsRefused(t *testing.T) {
	tr := &Transport{Dial: func(context.Context) (net.Conn, error) {
		t.Error("it was dialled")
		return nil, io.EOF
	}}
	for name, change := range map[string]func(*http.Request){
		"line break in a value": func(r *http.Request) { r.Header["X"] = []string{"a\r\nB: c"} },
		"NUL in a value":        func(r *http.Request) { r.Header["X"] = []string{"a\x00"} },
		"space in a name":       func(r *http.Request) { r.Header["X "] = []string{"a"} },
		"line break in a name":  func(r *http.Request) { r.Header["X\r\nY"] = []string{"a"} },
		"empty name":            func(r *http.Request) { r.Header[""] = []string{"a"} },
		"space in the method":   func(r *http.Request) { r.Method = "GET /" },
		"CONNECT":               func(r *http.Request) { r.Method = "CONNECT" },
		"line break in the host": func(r *http.Request) {
			r.Host = "a\r\nb"
		},
		"slash in the host":      func(r *http.Request) { r.Host = "a/b" },
		"no host":                func(r *http.Request) { r.Host, r.URL.Host = "", "" },
		"space in the query":     func(r *http.Request) { r.URL.RawQuery = "a b" },
		"line break in the path": func(r *http.Request) { r.URL.Opaque = "/a\r\n" },
		"absolute form":          func(r *http.Request) { r.URL.Opaque = "//other.example/" },
		"path without a slash":   func(r *http.Request) { r.URL.Path = "a" },
		"length without a body":  func(r *http.Request) { r.ContentLength = 3 },
		"line break in an upgrade": func(r *http.Request) {
			r.Header["Connection"], r.Header["Upgrade"] = []string{"upgrade"}, []string{"a\r\nb"}
		},
		"bad name of a trailer": func(r *http.Request) {
			r.Body, r.ContentLength, r.Trailer = io.NopCloser(strings.NewReader("x")), -1, http.Header{"a b": nil}
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRequest(t, "GET", "/", nil)
			change(r)
			_, err := tr.RoundTrip(r)
			if e := wantType(t, err, selvage.ProxyInternalError); e.Sent {
				t.Error("Sent is set")
			}
		})
	}
}

func TestBodyIsClosedEvenIfNothingIsSent(t *testing.T) {
	for name, tr := range map[string]*Transport{
		"no connection": {Dial: func(context.Context) (net.Conn, error) { return nil, io.EOF }},
		"closed":        {Dial: func(context.Context) (net.Conn, error) { return nil, io.EOF }},
	} {
		if name == "closed" {
			tr.Close()
		}
		body := &closeCounter{Reader: strings.NewReader("x")}
		r := newRequest(t, "POST", "/", nil)
		r.Body, r.ContentLength = body, 1
		if _, err := tr.RoundTrip(r); err == nil {
			t.Errorf("%s: no error", name)
		}
		if body.closed.Load() != 1 {
			t.Errorf("%s: closed %d times, want once", name, body.closed.Load())
		}
	}
}

type closeCounter struct {
	io.Reader
	closed atomic.Int32
}

func (c *closeCounter) Close() error {
	c.closed.Add(1)
	return nil
}

func TestUpgradePassesBytesBothWays(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			_, tr := startScripted(t, driver, func(c net.Conn, _ int) {
				br := bufio.NewReader(c)
				r, err := http.ReadRequest(br)
				if err != nil || r.Header.Get("Upgrade") != "websocket" || r.Header.Get("Connection") != "Upgrade" {
					t.Errorf("request %+v, %v", r, err)
					return
				}
				// The first bytes of the new protocol come with the head.
				io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\n\r\nhello ")
				in, _ := io.ReadAll(br) // to the half-close
				c.Write(in)
			})
			r := newRequest(t, "GET", "/", nil)
			r.Header = http.Header{"Connection": {"keep-alive, Upgrade"}, "Upgrade": {"websocket"}}
			resp, err := tr.RoundTrip(r)
			if err != nil || resp.StatusCode != 101 {
				t.Fatal(resp, err)
			}
			body := resp.Body.(interface {
				io.ReadWriteCloser
				CloseWrite() error
			})
			io.WriteString(body, "world")
			if err := body.CloseWrite(); err != nil {
				t.Error(err)
			}
			if got, err := io.ReadAll(body); err != nil || string(got) != "hello world" {
				t.Errorf("got %q, %v", got, err)
			}
			body.Close()
			if tr.pool.open != 0 {
				t.Errorf("%d connections are counted, want 0", tr.pool.open)
			}
		})
	}
}

func TestRequestTrailersAreSent(t *testing.T) {
	got := make(chan *http.Request, 1)
	_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
		r, err := http.ReadRequest(bufio.NewReader(c))
		if err != nil {
			return
		}
		io.Copy(io.Discard, r.Body)
		got <- r
		io.WriteString(c, countedAnswer(""))
	})
	r := newRequest(t, "POST", "/", nil)
	pr, pw := io.Pipe()
	r.Body, r.ContentLength, r.Trailer = pr, 5, http.Header{"X-Sum": nil, "Content-Length": nil}
	go func() {
		io.WriteString(pw, "hello")
		r.Trailer["X-Sum"] = []string{"1"}
		r.Trailer["Content-Length"] = []string{"7"}
		pw.Close()
	}()
	resp, err := tr.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if diff := cmp.Diff(http.Header{"X-Sum": {"1"}}, (<-got).Trailer); diff != "" {
		t.Error(diff)
	}
}

func TestManyRequestsAtOnce(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			var limits atomic.Int32
			s, tr := startScripted(t, driver, func(c net.Conn, _ int) {
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					body, _ := io.ReadAll(r.Body)
					out := r.URL.Path + string(body)
					if len(out)%2 == 0 {
						fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(out), out)
					} else {
						io.WriteString(c, countedAnswer(out))
					}
				}
			})
			tr.MaxConns = 4
			tr.OnLimit = func(string) { limits.Add(1) }
			var wg sync.WaitGroup
			for i := range 16 {
				wg.Go(func() {
					for j := range 25 {
						path, body := fmt.Sprintf("/%d/%d", i, j), ""
						r := newRequest(t, "GET", path, nil)
						if j%3 == 0 {
							body = strings.Repeat("x", i*j*100)
							r = newRequest(t, "POST", path, io.MultiReader(strings.NewReader(body)))
						}
						resp, err := tr.RoundTrip(r)
						if err != nil {
							t.Error(err)
							return
						}
						got, err := io.ReadAll(resp.Body)
						resp.Body.Close()
						if err != nil || string(got) != path+body {
							t.Errorf("got %d bytes, %v, want %d", len(got), err, len(path+body))
						}
					}
				})
			}
			wg.Wait()
			if n := s.dials.Load(); n > 4 {
				t.Errorf("%d connections, want 4 at the most", n)
			}
			if limits.Load() == 0 {
				t.Error("the limit was never noticed")
			}
		})
	}
}
