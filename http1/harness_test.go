package http1

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// patience bounds every wait on real time. It is reached only by a test that fails.
const patience = time.Minute

// pipe is one direction of a connection in memory: 64 KiB that are written but
// not read, an end, and a reset.
type pipe struct {
	mu     sync.Mutex
	change *sync.Cond
	data   []byte
	ended  bool
	broken bool
	dead   [2]time.Time // reader's and writer's deadline
	timers [2]*time.Timer
}

const pipeSize = 64 << 10

func newPipe() *pipe {
	p := new(pipe)
	p.change = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) setDeadline(side int, t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.dead[side] = t
	if p.timers[side] != nil {
		p.timers[side].Stop()
	}
	if !t.IsZero() {
		p.timers[side] = time.AfterFunc(time.Until(t), func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			p.change.Broadcast()
		})
	}
	p.change.Broadcast()
}

func (p *pipe) passed(side int) bool {
	return !p.dead[side].IsZero() && !time.Now().Before(p.dead[side])
}

func (p *pipe) read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for {
		switch {
		case p.broken:
			return 0, errors.New("connection reset")
		case p.passed(0):
			return 0, os.ErrDeadlineExceeded
		case len(p.data) > 0:
			n := copy(b, p.data)
			p.data = p.data[n:]
			p.change.Broadcast()
			return n, nil
		case p.ended:
			return 0, io.EOF
		}
		p.change.Wait()
	}
}

func (p *pipe) write(b []byte) (n int, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n < len(b) {
		switch {
		case p.broken || p.ended:
			return n, errors.New("broken pipe")
		case p.passed(1):
			return n, os.ErrDeadlineExceeded
		case len(p.data) < pipeSize:
			k := min(len(b)-n, pipeSize-len(p.data))
			p.data = append(p.data, b[n:n+k]...)
			n += k
			p.change.Broadcast()
			continue
		}
		p.change.Wait()
	}
	return n, nil
}

func (p *pipe) end(broken bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = true
	p.broken = p.broken || broken
	p.change.Broadcast()
}

// memConn is one end of a connection in memory.
type memConn struct{ in, out *pipe }

func memPair() (client, server *memConn) {
	a, b := newPipe(), newPipe()
	return &memConn{a, b}, &memConn{b, a}
}

func (c *memConn) Read(p []byte) (int, error)  { return c.in.read(p) }
func (c *memConn) Write(p []byte) (int, error) { return c.out.write(p) }
func (c *memConn) CloseWrite() error           { c.out.end(false); return nil }
func (c *memConn) Close() error {
	c.out.end(false)
	c.in.end(true)
	c.SetDeadline(time.Time{})
	return nil
}
func (c *memConn) LocalAddr() net.Addr  { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 1), Port: 80} }
func (c *memConn) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 2), Port: 1024} }
func (c *memConn) SetDeadline(t time.Time) error {
	return errors.Join(c.SetReadDeadline(t), c.SetWriteDeadline(t))
}
func (c *memConn) SetReadDeadline(t time.Time) error  { c.in.setDeadline(0, t); return nil }
func (c *memConn) SetWriteDeadline(t time.Time) error { c.out.setDeadline(1, t); return nil }

// plainConn hides that a connection is a socket, so that the driver for any
// net.Conn takes it.
type plainConn struct{ net.Conn }

func (c plainConn) CloseWrite() error { return c.Conn.(*net.TCPConn).CloseWrite() }

// serverDriver is a way to connect a client to a server.
type serverDriver struct {
	name string
	pair func(t testing.TB) (client, server net.Conn)
}

var serverDrivers = []serverDriver{
	{"memory", func(testing.TB) (net.Conn, net.Conn) { c, s := memPair(); return c, s }},
	{"socket", tcpPair},
	{"plain socket", func(t testing.TB) (net.Conn, net.Conn) {
		c, s := tcpPair(t)
		return c, plainConn{s}
	}},
	{"tls", func(t testing.TB) (net.Conn, net.Conn) {
		c, s := tcpPair(t)
		return tls.Client(c, &tls.Config{InsecureSkipVerify: true}), tls.Server(s, testTLS())
	}},
}

func tcpPair(t testing.TB) (client, server net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

// records collects what a server's Done is given.
type records struct {
	mu   sync.Mutex
	list []record.Record
}

func (r *records) done(rec *record.Record) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, *rec)
}

func (r *records) all() []record.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]record.Record(nil), r.list...)
}

// limitCounts counts what a server's OnLimit is given.
type limitCounts struct {
	mu sync.Mutex
	m  map[string]int
}

func (l *limitCounts) hit(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.m == nil {
		l.m = make(map[string]int)
	}
	l.m[name]++
}

func (l *limitCounts) of(name string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.m[name]
}

var testInfo = ConnInfo{
	Peer:  netip.MustParseAddrPort("192.0.2.2:1024"),
	Local: netip.MustParseAddrPort("192.0.2.1:80"),
}

// connect serves one connection. wait ends when the server is through with it.
func connectTo(t testing.TB, d serverDriver, s *Server) (client net.Conn, wait func()) {
	t.Helper()
	client, server := d.pair(t)
	var wg sync.WaitGroup
	wg.Go(func() { s.ServeConn(context.Background(), server, testInfo, nil) })
	t.Cleanup(func() { client.Close() })
	return client, wg.Wait
}

// talk sends text and reads what comes until the server closes the connection.
func talk(t testing.TB, d serverDriver, s *Server, text string) string {
	t.Helper()
	client, wait := connectTo(t, d, s)
	_ = client.SetDeadline(time.Now().Add(patience))
	go func() { _, _ = io.WriteString(client, text) }()
	answer, err := io.ReadAll(client)
	if err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("read answer: %v", err)
	}
	client.Close()
	wait()
	return string(answer)
}

// discardConn takes every write at once.
type discardConn struct{ net.Conn }

func (discardConn) Write(p []byte) (int, error)      { return len(p), nil }
func (discardConn) SetWriteDeadline(time.Time) error { return nil }

var testNow = time.Unix(1_800_000_000, 0)

func dialTest(t testing.TB, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	return c
}
