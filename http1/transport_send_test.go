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
	"runtime"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
)

// streamed is a body of which neither the length nor a copy is known.
type streamed struct{ io.Reader }

// settle waits until no connection is in use. An answer may be through before
// the goroutine that sent the request's last bytes has noticed that they are sent.
func settle(tr *Transport) {
	for {
		tr.pool.mu.Lock()
		busy := tr.pool.open - len(tr.pool.idle)
		tr.pool.mu.Unlock()
		if busy == 0 {
			return
		}
		runtime.Gosched()
	}
}

func TestLargeBodyIsSentWhole(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 1<<16)
	for _, driver := range drivers {
		for name, body := range map[string]func() io.Reader{
			"counted":       func() io.Reader { return strings.NewReader(big) },
			"chunked":       func() io.Reader { return streamed{strings.NewReader(big)} },
			"small reads":   func() io.Reader { return streamed{&smallReads{strings.NewReader(big[:1000])}} },
			"small":         func() io.Reader { return strings.NewReader("hello") },
			"empty":         func() io.Reader { return streamed{strings.NewReader("")} },
			"full in small": func() io.Reader { return strings.NewReader(big[:maxSmallBody]) },
		} {
			t.Run(name+"/"+driver, func(t *testing.T) {
				s, tr := startScripted(t, driver, func(c net.Conn, _ int) {
					br := bufio.NewReader(c)
					for {
						r, err := http.ReadRequest(br)
						if err != nil {
							return
						}
						b, err := io.ReadAll(r.Body)
						if err != nil {
							return
						}
						io.WriteString(c, countedAnswer(string(b)))
					}
				})
				want, _ := io.ReadAll(body())
				for range 3 {
					resp, err := tr.RoundTrip(newRequest(t, "POST", "/", body()))
					if err != nil {
						t.Fatal(err)
					}
					got, err := io.ReadAll(resp.Body)
					resp.Body.Close()
					if err != nil || string(got) != string(want) {
						t.Fatalf("got %d bytes, %v, want %d", len(got), err, len(want))
					}
					settle(tr)
				}
				if n := s.dials.Load(); n != 1 {
					t.Errorf("%d connections, want 1", n)
				}
			})
		}
	}
}

func TestEarlyAnswerComesAtOnce(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			s, tr := startScripted(t, driver, func(c net.Conn, _ int) {
				br := bufio.NewReader(c)
				http.ReadRequest(br) // the head; nobody reads the body
				io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\n\r\nbig")
				io.Copy(io.Discard, br)
			})
			for range 2 {
				pr, pw := io.Pipe()
				r := newRequest(t, "POST", "/", pr)
				resp, err := tr.RoundTrip(r)
				if err != nil || resp.StatusCode != 413 {
					t.Fatal(resp, err)
				}
				if b, err := io.ReadAll(resp.Body); string(b) != "big" || err != nil {
					t.Errorf("got %q, %v", b, err)
				}
				resp.Body.Close()
				// The body was given up: its writer learns that, however late.
				for range 3 {
					if _, err := io.WriteString(pw, "more"); err != nil {
						break
					}
				}
				if _, err := io.WriteString(pw, "more"); err == nil {
					t.Error("the body is still read")
				}
			}
			if n := s.dials.Load(); n != 2 {
				t.Errorf("%d connections, want 2", n)
			}
		})
	}
}

func TestAnswerBeforeTheEndOfTheBodyIsReadWhileItIsSent(t *testing.T) {
	_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		r, err := http.ReadRequest(br)
		if err != nil {
			return
		}
		io.WriteString(c, "HTTP/1.1 200 OK\r\n\r\n")
		io.Copy(c, r.Body)
	})
	pr, pw := io.Pipe()
	resp, err := tr.RoundTrip(newRequest(t, "POST", "/", pr))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	p := make([]byte, 4)
	for range 3 {
		io.WriteString(pw, "ping")
		if _, err := io.ReadFull(resp.Body, p); err != nil || string(p) != "ping" {
			t.Fatalf("got %q, %v", p, err)
		}
	}
	pw.Close()
	if rest, err := io.ReadAll(resp.Body); len(rest) > 0 || err != nil {
		t.Errorf("the rest is %q, %v", rest, err)
	}
}

// An origin that refuses a body may close before it has read it. Writing fails
// then, and the answer is there nevertheless.
func TestAnswerIsFoundThoughWritingFailed(t *testing.T) {
	_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
		http.ReadRequest(bufio.NewReaderSize(c, 16))
		io.WriteString(c, "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig")
		c.(*net.TCPConn).CloseWrite()
		io.Copy(io.Discard, io.LimitReader(c, 1<<20))
	})
	resp, err := tr.RoundTrip(newRequest(t, "POST", "/", streamed{strings.NewReader(strings.Repeat("x", 8<<20))}))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); string(b) != "big" || err != nil {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestFailingRequestBodyIsNotTheOriginsFault(t *testing.T) {
	broken := errors.New("client is gone")
	for name, test := range map[string]struct {
		length int64
		body   io.Reader
		want   error
	}{
		"broken":       {-1, io.MultiReader(strings.NewReader("half"), &failing{broken}), broken},
		"short":        {100 << 10, strings.NewReader("half"), io.ErrUnexpectedEOF},
		"broken count": {100 << 10, io.MultiReader(strings.NewReader("half"), &failing{broken}), broken},
	} {
		t.Run(name, func(t *testing.T) {
			ended := make(chan error, 1)
			_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
				r, err := http.ReadRequest(bufio.NewReader(c))
				if err == nil {
					_, err = io.Copy(io.Discard, r.Body)
				}
				ended <- err
			})
			r := newRequest(t, "POST", "/", nil)
			r.Body, r.ContentLength = io.NopCloser(test.body), test.length
			_, err := tr.RoundTrip(r)
			wantType(t, err, selvage.ProxyInternalError)
			if !errors.Is(err, ErrRequestBody) || !errors.Is(err, test.want) {
				t.Errorf("error is %v", err)
			}
			if err := <-ended; err == nil {
				t.Error("the origin saw a whole body")
			}
		})
	}
}

func TestFailingSmallBodyIsNotSentAtAll(t *testing.T) {
	s, tr := startScripted(t, "tcp", func(net.Conn, int) {})
	r := newRequest(t, "POST", "/", nil)
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader("half")), 5
	r.GetBody = func() (io.ReadCloser, error) { return nil, errors.ErrUnsupported }
	_, err := tr.RoundTrip(r)
	if e := wantType(t, err, selvage.ProxyInternalError); e.Sent || !errors.Is(err, ErrRequestBody) {
		t.Errorf("Sent %v, error %v", e.Sent, err)
	}
	if s.dials.Load() != 0 {
		t.Error("the origin was dialled")
	}
}

type failing struct{ err error }

func (f *failing) Read([]byte) (int, error) { return 0, f.err }

func TestBodyWaitsForContinue(t *testing.T) {
	for name, test := range map[string]struct {
		first string
		sent  string
		dials int32
	}{
		"100":            {"HTTP/1.1 100 Continue\r\n\r\n", "hello", 1},
		"final answer":   {"", "", 2},
		"102, then 100":  {"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", "hello", 1},
		"100, then more": {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n", "hello", 1},
	} {
		t.Run(name, func(t *testing.T) {
			s, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
				br := bufio.NewReader(c)
				for {
					r, err := http.ReadRequest(br)
					if err != nil {
						return
					}
					if br.Buffered() > 0 || r.Header.Get("Expect") != "100-continue" {
						t.Error("the body did not wait")
					}
					io.WriteString(c, test.first)
					b := []byte{}
					if test.first != "" {
						b, _ = io.ReadAll(r.Body)
					}
					io.WriteString(c, countedAnswer(string(b)))
				}
			})
			for range 2 {
				r := newRequest(t, "POST", "/", strings.NewReader("hello"))
				r.Header["Expect"] = []string{"100-Continue"}
				resp, err := tr.RoundTrip(r)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if string(b) != test.sent || err != nil {
					t.Errorf("got %q, %v, want %q", b, err, test.sent)
				}
				settle(tr)
			}
			if n := s.dials.Load(); n != test.dials {
				t.Errorf("%d connections, want %d", n, test.dials)
			}
		})
	}
}

func TestCancelledRequestClosesItsConnection(t *testing.T) {
	for _, driver := range drivers {
		for name, part := range map[string]string{
			"before the answer": "",
			"in the head":       "HTTP/1.1 200 OK\r\nConte",
			"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello",
			"in the upgrade":    "HTTP/1.1 101 OK\r\nUpgrade: x\r\n\r\nhello",
		} {
			t.Run(name+"/"+driver, func(t *testing.T) {
				ctx, cancel := context.WithCancelCause(t.Context())
				gone := errors.New("client is gone")
				asked, closed := make(chan struct{}), make(chan error, 1)
				_, tr := startScripted(t, driver, func(c net.Conn, _ int) {
					br := bufio.NewReader(c)
					http.ReadRequest(br)
					io.WriteString(c, part)
					close(asked)
					_, err := br.ReadByte()
					closed <- err
				})
				r := newRequest(t, "GET", "/", nil).WithContext(ctx)
				r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"x"}}
				go func() { <-asked; cancel(gone) }()
				resp, err := tr.RoundTrip(r)
				if err == nil {
					_, err = io.ReadAll(resp.Body)
					resp.Body.Close()
				}
				if err == nil || name != "in the upgrade" && !errors.Is(err, gone) {
					t.Errorf("error is %v", err)
				}
				if err := <-closed; err == nil {
					t.Error("the origin read on")
				}
				if tr.pool.open != 0 {
					t.Errorf("%d connections are counted, want 0", tr.pool.open)
				}
			})
		}
	}
}

func TestResetIsReportedAsWhatItCut(t *testing.T) {
	for name, test := range map[string]struct {
		part string
		want selvage.ProxyErrorType
	}{
		"before the answer": {"", selvage.ConnectionTerminated},
		"in the head":       {"HTTP/1.1 200", selvage.ResponseIncomplete},
		"in the body":       {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", selvage.ResponseIncomplete},
		"until close":       {"HTTP/1.1 200 OK\r\n\r\nhello", selvage.ResponseIncomplete},
	} {
		t.Run(name, func(t *testing.T) {
			read := make(chan struct{}, 1)
			_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
				http.ReadRequest(bufio.NewReader(c))
				io.WriteString(c, test.part)
				if strings.Contains(test.part, "hello") {
					<-read
				}
				c.(*net.TCPConn).SetLinger(0)
			})
			resp, err := tr.RoundTrip(newRequest(t, "GET", "/", nil))
			if err == nil {
				io.ReadFull(resp.Body, make([]byte, 5))
				read <- struct{}{}
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if e, ok := errors.AsType[*AnswerError](err); name == "in the head" && ok && e.Type == selvage.ConnectionTerminated {
				return // the reset overtook the bytes
			}
			wantType(t, err, test.want)
		})
	}
}

func TestAnswerBeforeTheRequestIsRefused(t *testing.T) {
	dialled := make(chan struct{})
	_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
		io.WriteString(c, countedAnswer("early"))
		close(dialled)
		io.Copy(io.Discard, c)
	})
	dial := tr.Dial
	tr.Dial = func(ctx context.Context) (net.Conn, error) {
		c, err := dial(ctx)
		<-dialled
		return c, err
	}
	_, err := get(t, tr)
	if e := wantType(t, err, selvage.ResponseProtocolError); e.Sent || e.Reused {
		t.Errorf("Sent %v, Reused %v, want neither", e.Sent, e.Reused)
	}
}

func TestDialErrorsHaveTheirTypes(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	s, _ := startScripted(t, "tls", func(c net.Conn, _ int) { io.Copy(io.Discard, c) })
	plain, _ := startScripted(t, "tcp", func(c net.Conn, _ int) { io.WriteString(c, "hello, who is there?") })
	for name, test := range map[string]struct {
		dial func(context.Context) (net.Conn, error)
		want selvage.ProxyErrorType
	}{
		"refused": {dialTo(closed), selvage.ConnectionRefused},
		"no certificate we trust": {func(ctx context.Context) (net.Conn, error) {
			return dialTLS(ctx, s.ln)
		}, selvage.TLSCertificateError},
		"no TLS": {func(ctx context.Context) (net.Conn, error) { return dialTLS(ctx, plain.ln) }, selvage.TLSProtocolError},
		"DNS": {func(context.Context) (net.Conn, error) {
			return nil, &net.DNSError{Err: "no such host", Name: "x", IsNotFound: true}
		}, selvage.DNSError},
		"DNS timeout": {func(context.Context) (net.Conn, error) {
			return nil, &net.DNSError{Err: "timeout", Name: "x", IsTimeout: true}
		}, selvage.DNSTimeout},
		"timeout": {func(context.Context) (net.Conn, error) { return nil, context.DeadlineExceeded }, selvage.ConnectionTimeout},
		"known better": {func(context.Context) (net.Conn, error) {
			return nil, &selvage.ProxyError{Type: selvage.LoopDetected, Err: io.EOF}
		}, selvage.LoopDetected},
		"other": {func(context.Context) (net.Conn, error) { return nil, errors.New("no route") }, selvage.DestinationDown},
	} {
		t.Run(name, func(t *testing.T) {
			tr := &Transport{Dial: test.dial}
			_, err := get(t, tr)
			if e := wantType(t, err, test.want); e.Sent || e.Reused {
				t.Errorf("Sent %v, Reused %v, want neither", e.Sent, e.Reused)
			}
			if tr.pool.open != 0 {
				t.Errorf("%d connections are counted, want 0", tr.pool.open)
			}
		})
	}
}

func dialTo(ln net.Listener) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", ln.Addr().String())
	}
}

func dialTLS(ctx context.Context, ln net.Listener) (net.Conn, error) {
	c, err := dialTo(ln)(ctx)
	if err != nil {
		return nil, err
	}
	secure := tls.Client(c, &tls.Config{ServerName: "example.com"})
	if err := secure.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return secure, nil
}

func TestServerTellsWhetherABodyIsThere(t *testing.T) {
	for name, test := range map[string]struct {
		request string
		want    string
	}{
		"whole":   {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello", "true, then true"},
		"half":    {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhel", "false, then false"},
		"chunked": {"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", "false, then true"},
	} {
		t.Run(name, func(t *testing.T) {
			s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				b := r.Body.(interface{ Buffered() bool })
				first := b.Buffered()
				if name != "half" {
					io.Copy(io.Discard, r.Body)
				}
				fmt.Fprintf(w, "%v, then %v", first, b.Buffered())
			})}
			if got := talk(t, serverDrivers[0], s, test.request); !strings.HasSuffix(got, "\r\n\r\n"+test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// What a caller does with the response is nothing to the upload beside it.
func TestResponseRequestIsTheCallersToChange(t *testing.T) {
	_, tr := startScripted(t, "tcp", func(c net.Conn, _ int) {
		br := bufio.NewReader(c)
		http.ReadRequest(br)
		io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes")
		io.Copy(io.Discard, br)
	})
	pr, pw := io.Pipe()
	resp, err := tr.RoundTrip(newRequest(t, "POST", "/", pr))
	if err != nil {
		t.Fatal(err)
	}
	other := &closeCounter{Reader: strings.NewReader("")}
	resp.Request = newRequest(t, "POST", "/", other)
	resp.Body.Close()
	for err == nil { // until the right body is closed
		_, err = io.WriteString(pw, "more")
	}
	if other.closed.Load() > 0 {
		t.Error("the wrong body was closed")
	}
}
