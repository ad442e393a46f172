package listen

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

func TestPlainListenerSpeaksBothProtocols(t *testing.T) {
	e := start(t, hello, nil)
	addr := plain(t, e)
	want := " http GET " + addr + " /x 127.0.0.1"
	if got := get(t, client(t, nil, onlyHTTP1), "http://"+addr+"/x"); got != "HTTP/1.1"+want {
		t.Errorf("over HTTP/1.1: %q", got)
	}
	if got := get(t, client(t, nil, onlyH2C), "http://"+addr+"/x"); got != "HTTP/2.0"+want {
		t.Errorf("over HTTP/2: %q", got)
	}
}

// The plain connection itself must come to http1: its fast driver needs it.
func TestFirstByteDecidesTheProtocol(t *testing.T) {
	e := start(t, hello, nil)
	addr := plain(t, e)
	for _, first := range []string{"G", "P", "PR", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"} {
		c := dial(t, addr)
		_, _ = io.WriteString(c, first)
		if first[0] == 'P' {
			time.Sleep(20 * time.Millisecond) // so that it is read alone
		}
		rest := "ET / HTTP/1.1\r\nHost: a.example\r\n\r\n"
		want := "HTTP/1.1 200 OK"
		switch first {
		case "P":
			rest = "OST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\n\r\n"
		case "PR":
			rest = "OPFIND / HTTP/1.1\r\nHost: a.example\r\n\r\n"
		case "G":
		default:
			rest, want = "X\r\n\r\n", "HTTP/1.1 505 HTTP Version Not Supported"
		}
		_, _ = io.WriteString(c, rest)
		line, err := bufio.NewReader(c).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Errorf("%q and %q: %q, %v; want %s", first, rest, line, err, want)
		}
	}
}

func TestUpgradeToH2CIsNotTaken(t *testing.T) {
	e := start(t, hello, nil)
	c := dial(t, plain(t, e))
	_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n")
	line, err := bufio.NewReader(c).ReadString('\n')
	if err != nil || strings.TrimSpace(line) != "HTTP/1.1 200 OK" {
		t.Errorf("%q, %v; want 200 over HTTP/1.1", line, err)
	}
}

func TestBindFailureChangesNothing(t *testing.T) {
	e := start(t, hello, nil)
	first := plain(t, e)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	other := free.Addr().String()
	_ = free.Close()

	err = e.Apply([]selvage.Listener{{Address: other}, {Address: taken.Addr().String()}}, selvage.TLS{})
	if err == nil || !strings.HasPrefix(err.Error(), "listen on "+taken.Addr().String()+": ") {
		t.Fatalf("error %v, want one that names %s", err, taken.Addr())
	}
	if got := e.Addrs(); len(got) != 1 || got[0].String() != first {
		t.Errorf("listening on %v, want still on %s", got, first)
	}
	get(t, client(t, nil, onlyHTTP1), "http://"+first)
	if c, err := net.Dial("tcp", other); err == nil {
		_ = c.Close()
		t.Errorf("%s is open, though nothing was to change", other)
	}
	for _, bad := range [][]selvage.Listener{
		{{Address: "127.0.0.1:0"}, {Address: "127.0.0.1:0"}},
		{{Address: "127.0.0.1:0", TLS: true}},
		{{Address: "nowhere"}},
	} {
		if err := e.Apply(bad, selvage.TLS{}); err == nil || !strings.HasPrefix(err.Error(), "listen on "+bad[0].Address) {
			t.Errorf("%+v: error %v, want one that names the address", bad, err)
		}
	}
}

func TestConnectionsLiveOnWhenTheirListenerGoes(t *testing.T) {
	e := start(t, hello, nil)
	old := plain(t, e)
	c := dial(t, old)
	r := bufio.NewReader(c)
	ask := func() {
		t.Helper()
		_, _ = io.WriteString(c, "GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
		resp, err := http.ReadResponse(r, nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%v, %v", resp, err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
	}
	ask()
	if err := e.Apply([]selvage.Listener{{Address: "localhost:0"}, {Address: "127.0.0.1:0"}}, selvage.TLS{}); err != nil {
		t.Fatal(err)
	}
	if got := e.Addrs(); len(got) != 2 || got[1].String() != old {
		t.Fatalf("listening on %v, want the old one kept as the second", got)
	}
	ask()
	if err := e.Apply([]selvage.Listener{{Address: "localhost:0"}}, selvage.TLS{}); err != nil {
		t.Fatal(err)
	}
	ask()
	if c, err := net.Dial("tcp", old); err == nil {
		_ = c.Close()
		t.Errorf("%s still takes connections", old)
	}
}

func TestListenersThatWereOpenAreUsed(t *testing.T) {
	given, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := start(t, hello, func(g *Group) {
		g.Opened = map[string]net.Listener{":443": given}
		g.Listen = func(_, addr string) (net.Listener, error) { return nil, errors.New("nothing else is opened") }
	})
	if err := e.Apply([]selvage.Listener{{Address: ":443"}, {Address: ":80"}}, selvage.TLS{}); err == nil {
		t.Fatal("a listener that cannot be opened was no error")
	}
	if err := e.Apply([]selvage.Listener{{Address: ":443"}}, selvage.TLS{}); err != nil {
		t.Fatal(err)
	}
	get(t, client(t, nil, onlyHTTP1), "http://"+given.Addr().String())
}

func TestConnectionsBeyondTheLimitAreClosedAtOnce(t *testing.T) {
	e := start(t, hello, func(g *Group) { g.Limits.Connections = 2 })
	addr := plain(t, e)
	first, second := dial(t, addr), dial(t, addr)
	eventually(t, "two connections", func() bool { return e.Stats().Pending == 2 })
	third := dial(t, addr)
	if n, err := third.Read(make([]byte, 1)); n != 0 || err == nil {
		t.Errorf("the third connection got %d bytes, %v; want it closed", n, err)
	}
	if s := e.Stats(); s.Accepted != 3 || s.Refused != 1 || e.count(e.hits, "connections") != 1 {
		t.Errorf("stats %+v, limits %v; want one refused of three", s, e.hits)
	}
	_ = first.Close()
	again := client(t, nil, onlyHTTP1) // the place is free a moment after it is counted so
	eventually(t, "the place of the first", func() bool { _, err := tryGet(again, "http://"+addr); return err == nil })
	_ = second.Close()
}

func TestConnectionsAreCountedByProtocol(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-leave
	}, nil)
	addr := plain(t, e)
	var wg sync.WaitGroup
	for _, set := range []func(*http.Protocols){onlyHTTP1, onlyH2C} {
		c := client(t, nil, set)
		wg.Go(func() { _, _ = tryGet(c, "http://"+addr) })
		<-inside
	}
	if s := e.Stats(); s.HTTP1 != 1 || s.HTTP2 != 1 || s.Pending != 0 {
		t.Errorf("%+v, want one of each", s)
	}
	close(leave)
	wg.Wait()
	e.end()
	if s := e.Stats(); s.HTTP1 != 0 || s.HTTP2 != 0 || s.Pending != 0 {
		t.Errorf("%+v at the end, want none", s)
	}
}

func TestDrainAnswersWhatIsUnderWay(t *testing.T) {
	inside, leave := make(chan struct{}, 2), make(chan struct{})
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-leave
		_, _ = io.WriteString(w, "whole")
	}, nil)
	addr := plain(t, e)
	silent := dial(t, addr)
	eventually(t, "the silent connection", func() bool { return e.Stats().Pending == 1 })
	var wg sync.WaitGroup
	for _, set := range []func(*http.Protocols){onlyHTTP1, onlyH2C} {
		c := client(t, nil, set)
		wg.Go(func() {
			if got, err := tryGet(c, "http://"+addr); got != "whole" || err != nil {
				t.Errorf("got %q, %v; want the whole answer", got, err)
			}
		})
		<-inside
	}
	drained := make(chan error, 1)
	go func() { drained <- e.Drain(context.Background()) }() // waited for below
	if _, err := silent.Read(make([]byte, 1)); err == nil {
		t.Error("the silent connection was not closed")
	}
	if c, err := net.Dial("tcp", addr); err == nil {
		_ = c.Close()
		t.Error("a new connection was taken")
	}
	if err := e.Apply([]selvage.Listener{{Address: "127.0.0.1:0"}}, selvage.TLS{}); err == nil {
		t.Error("a listener was opened during the drain")
	}
	select {
	case err := <-drained:
		t.Fatalf("the drain ended (%v) before the requests", err)
	default:
	}
	close(leave)
	wg.Wait()
	if err := <-drained; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestDrainCutsWhatTakesTooLong(t *testing.T) {
	inside := make(chan struct{}, 2)
	e := start(t, func(w http.ResponseWriter, r *http.Request) {
		inside <- struct{}{}
		<-r.Context().Done()
	}, nil)
	addr := plain(t, e)
	var wg sync.WaitGroup
	for _, set := range []func(*http.Protocols){onlyHTTP1, onlyH2C} {
		c := client(t, nil, set)
		wg.Go(func() {
			if got, err := tryGet(c, "http://"+addr); err == nil {
				t.Errorf("got %q, want an error", got)
			}
		})
		<-inside
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if err := e.Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("drain: %v, want that the deadline passed", err)
	}
	wg.Wait()
}

// pipes is a listener of connections in memory.
type pipes struct {
	queue
}

func (p *pipes) dial() net.Conn {
	c, s := net.Pipe()
	p.conns <- s
	return c
}

func TestSilentClientIsGoneAfterTheHeadDeadline(t *testing.T) {
	for _, first := range []string{"", "PRI * HT", "PROXY TCP4 1", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0cshort"} {
		synctest.Test(t, func(t *testing.T) {
			l := &pipes{queue{conns: make(chan net.Conn), closed: make(chan struct{})}}
			e := start(t, hello, func(g *Group) {
				g.Listen = func(string, string) (net.Listener, error) { return l, nil }
			})
			defer e.end()
			var from []selvage.Prefix
			if strings.Contains(first, "P4") || strings.Contains(first, "QUIT") {
				from = []selvage.Prefix{{}}
				if err := from[0].UnmarshalText([]byte("192.0.2.1")); err != nil {
					t.Fatal(err)
				}
			}
			if err := e.Apply([]selvage.Listener{{Address: ":1", ProxyProtocol: from}}, selvage.TLS{}); err != nil {
				t.Fatal(err)
			}
			server := l.dial
			if from != nil {
				server = func() net.Conn {
					c, s := net.Pipe()
					l.conns <- named{s}
					return c
				}
			}
			c := server()
			begin := time.Now()
			if first != "" {
				_, _ = io.WriteString(c, first)
			}
			if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
				t.Errorf("%q: got %d bytes, %v; want the connection closed", first, n, err)
			}
			if took := time.Since(begin); took != 10*time.Second {
				t.Errorf("%q: closed after %v of virtual time, want 10s", first, took)
			}
			synctest.Wait()
			if e.count(e.hits, "deadline_head") != 1 || e.count(e.fails, "timeout") != 1 {
				t.Errorf("%q: limits %v, failures %v; want the deadline counted once", first, e.hits, e.fails)
			}
			_ = c.Close()
		})
	}
}

// named is a connection from 192.0.2.1.
type named struct{ net.Conn }

func (named) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 7} }

func TestClientThatSaysNothingAndGoesIsNoFailure(t *testing.T) {
	e := start(t, hello, nil)
	_ = dial(t, plain(t, e)).Close()
	eventually(t, "the connection to come and go", func() bool { s := e.Stats(); return s.Accepted == 1 && s.Pending == 0 })
	if len(e.fails) != 0 || len(e.hits) != 0 {
		t.Errorf("failures %v, limits %v; want none", e.fails, e.hits)
	}
}

// tired is a listener that has no connection to give at first.
type tired struct {
	net.Listener
	mu    sync.Mutex // guards fails
	fails int
}

func (l *tired) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails > 0 {
		l.fails--
		return nil, errors.New("too many open files")
	}
	return l.Listener.Accept()
}

func TestAcceptGoesOnAfterFailures(t *testing.T) {
	e := start(t, hello, func(g *Group) {
		g.Listen = func(network, addr string) (net.Listener, error) {
			l, err := net.Listen(network, addr)
			return &tired{Listener: l, fails: 3}, err
		}
	})
	get(t, client(t, nil, onlyHTTP1), "http://"+plain(t, e))
}

func TestAddressesAreInTheOrderOfTheConfiguration(t *testing.T) {
	e := start(t, hello, func(g *Group) {
		g.Listen = func(network, addr string) (net.Listener, error) {
			return &addressed{queue{conns: make(chan net.Conn), closed: make(chan struct{})}, addr}, nil
		}
	})
	want := []string{"c:1", "a:1", "b:1"}
	for range 3 {
		var list []selvage.Listener
		for _, a := range want {
			list = append(list, selvage.Listener{Address: a})
		}
		if err := e.Apply(list, selvage.TLS{}); err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, a := range e.Addrs() {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
		want = append(want[1:], want[0])
	}
}

type addressed struct {
	queue
	addr string
}

func (a *addressed) Addr() net.Addr { return a }
func (*addressed) Network() string  { return "tcp" }
func (a *addressed) String() string { return a.addr }
