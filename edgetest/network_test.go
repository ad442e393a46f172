package edgetest_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/edgetest"
	"go.uber.org/goleak"
	"golang.org/x/net/nettest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func connect(t testing.TB, n *edgetest.Network) (client, server net.Conn) {
	t.Helper()
	l, err := n.Listen("tcp", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err = n.DialFrom(t.Context(), netip.MustParseAddr("192.0.2.1"), "tcp", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	server, err = l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return client, server
}

func TestConnConformsToNetConn(t *testing.T) {
	nettest.TestConn(t, func() (c1, c2 net.Conn, stop func(), err error) {
		c1, c2 = connect(t, new(edgetest.Network))
		return c1, c2, func() { c1.Close(); c2.Close() }, nil
	})
}

func TestAddressesAreThoseOfTheScript(t *testing.T) {
	c, s := connect(t, new(edgetest.Network))
	got := s.RemoteAddr().(*net.TCPAddr).AddrPort()
	if got.Addr() != netip.MustParseAddr("192.0.2.1") || got.Port() == 0 {
		t.Errorf("the server sees the client at %v, want 192.0.2.1 with a port", got)
	}
	if got, want := c.RemoteAddr().String(), "10.0.0.1:80"; got != want {
		t.Errorf("the client sees the server at %v, want %v", got, want)
	}
	if c.LocalAddr().String() != s.RemoteAddr().String() {
		t.Errorf("the ends disagree: %v and %v", c.LocalAddr(), s.RemoteAddr())
	}
}

func TestWriterWaitsWhenTheBufferIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, s := connect(t, new(edgetest.Network))
		c.SetWriteDeadline(time.Now().Add(time.Hour))
		begin := time.Now()
		n, err := c.Write(make([]byte, edgetest.BufferSize+1))
		if n != edgetest.BufferSize || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %d, %v; want %d and a deadline", n, err, edgetest.BufferSize)
		}
		if got := time.Since(begin); got != time.Hour {
			t.Errorf("waited %v, want 1h", got)
		}
		c.Close()
		if got, err := io.Copy(io.Discard, s); got != edgetest.BufferSize || err != nil {
			t.Errorf("got %d, %v; want all that was written", got, err)
		}
	})
}

func TestHalfCloseLeavesTheOtherDirectionOpen(t *testing.T) {
	c, s := connect(t, new(edgetest.Network))
	io.WriteString(c, "question")
	c.(*edgetest.Conn).CloseWrite()
	if got, err := io.ReadAll(s); string(got) != "question" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	select {
	case <-s.(*edgetest.Conn).Gone():
		t.Error("a half-close counts as gone")
	default:
	}
	io.WriteString(s, "answer")
	s.Close()
	if got, err := io.ReadAll(c); string(got) != "answer" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("write after CloseWrite: got %v, want EPIPE", err)
	}
}

func TestResetIsSeenBehindWhatWasDelivered(t *testing.T) {
	for _, how := range []string{"Reset", "SetLinger(0)", "Close with unread bytes"} {
		c, s := connect(t, new(edgetest.Network))
		io.WriteString(s, "partial")
		switch how {
		case "Reset":
			s.(*edgetest.Conn).Reset()
		case "SetLinger(0)":
			s.(*edgetest.Conn).SetLinger(0)
			s.Close()
		default:
			io.WriteString(c, "never read")
			s.Close()
		}
		got, err := io.ReadAll(c)
		if string(got) != "partial" || !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: got %q, %v; want the delivered bytes, then ECONNRESET", how, got, err)
		}
		if _, err := c.Write([]byte("x")); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: write: got %v, want ECONNRESET", how, err)
		}
		select {
		case <-c.(*edgetest.Conn).Gone():
		default:
			t.Errorf("%s: the other end is not told", how)
		}
	}
}

func TestQuietTellsWithoutReading(t *testing.T) {
	c, s := connect(t, new(edgetest.Network))
	mine := c.(*edgetest.Conn)
	if err := mine.Quiet(); err != nil {
		t.Errorf("open and idle: %v", err)
	}
	io.WriteString(s, "x")
	if err := mine.Quiet(); err == nil {
		t.Error("bytes to read go unnoticed")
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := mine.Quiet(); err != nil {
		t.Errorf("idle again: %v", err)
	}
	s.Close()
	if err := mine.Quiet(); !errors.Is(err, io.EOF) {
		t.Errorf("closed by the other end: got %v, want EOF", err)
	}
	c.Close()
	if err := mine.Quiet(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("closed here: got %v, want net.ErrClosed", err)
	}
}

func TestFirstWriteToAClosedEndSeemsToSucceed(t *testing.T) {
	c, s := connect(t, new(edgetest.Network))
	s.Close()
	if _, err := c.Write([]byte("request")); err != nil {
		t.Errorf("first write: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("read: got %v, want EOF", err)
	}
	if _, err := c.Write([]byte("more")); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("second write: got %v, want EPIPE", err)
	}
}

func TestDialRefusedHangingAndHealed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n edgetest.Network
		at := netip.MustParseAddrPort("10.0.0.1:80")
		if _, err := n.Dial(t.Context(), "tcp", at.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("nobody listens: got %v, want ECONNREFUSED", err)
		}
		l, err := n.Listen("tcp", ":80")
		if err != nil {
			t.Fatal(err)
		}
		n.Refuse(at)
		if _, err := n.Dial(t.Context(), "tcp", at.String()); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("refused: got %v, want ECONNREFUSED", err)
		}
		n.Unreachable(at)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		begin := time.Now()
		_, err = n.Dial(ctx, "tcp", at.String())
		if nerr, ok := errors.AsType[net.Error](err); !ok || !nerr.Timeout() || time.Since(begin) != 3*time.Second {
			t.Errorf("unreachable: got %v after %v, want a timeout after 3s", err, time.Since(begin))
		}
		n.Heal(at)
		c, err := n.Dial(t.Context(), "tcp", at.String())
		if err != nil {
			t.Fatalf("healed: %v", err)
		}
		l.Close()
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("listener closed before accept: got %v, want ECONNRESET", err)
		}
		if _, err := n.Listen("tcp", ":80"); err != nil {
			t.Errorf("the address is not free again: %v", err)
		}
	})
}

func TestAnAddressIsGivenOnce(t *testing.T) {
	var n edgetest.Network
	if _, err := n.Listen("tcp", "127.0.0.1:80"); err != nil {
		t.Fatal(err)
	}
	if _, err := n.Listen("tcp", "127.0.0.1:80"); !errors.Is(err, syscall.EADDRINUSE) {
		t.Errorf("got %v, want EADDRINUSE", err)
	}
	a, err := n.Listen("tcp", "127.0.0.1:0")
	if err != nil || strings.HasSuffix(a.Addr().String(), ":0") {
		t.Errorf("port 0: got %v, %v; want a port", a.Addr(), err)
	}
}

func TestUnixSocketsAreDialledByName(t *testing.T) {
	var n edgetest.Network
	l, err := n.Listen("unix", "/run/edge.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := n.Dial(t.Context(), "unix", "/run/edge.sock")
	if err != nil {
		t.Fatal(err)
	}
	s, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	go io.WriteString(c, "hello") // ends with the read below
	b := make([]byte, 5)
	if _, err := io.ReadFull(s, b); err != nil || string(b) != "hello" {
		t.Errorf("got %q, %v", b, err)
	}
}

func TestNamesResolveFailAndHang(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var n edgetest.Network
		_, err := n.Resolve(t.Context(), "one")
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsNotFound {
			t.Errorf("unknown: got %v, want no such host", err)
		}
		n.SetHost("one", netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("10.0.0.2"))
		if got, err := n.Resolve(t.Context(), "one"); len(got) != 2 || err != nil {
			t.Errorf("got %v, %v; want two addresses", got, err)
		}
		n.FailHost("one")
		_, err = n.Resolve(t.Context(), "one")
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsTemporary {
			t.Errorf("failing: got %v, want a temporary error", err)
		}
		n.HangHost("one")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = n.Resolve(ctx, "one")
		if e, ok := errors.AsType[*net.DNSError](err); !ok || !e.IsTimeout {
			t.Errorf("hanging: got %v, want a timeout", err)
		}
	})
}
