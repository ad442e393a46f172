package listen

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage/http1"
)

// wire is an accepted connection with what was read from it too early. Plain
// HTTP/1.1 does not need one: it gets the connection itself.
type wire struct {
	net.Conn
	group       *Group
	rest        []byte         // read, and to be read again
	peer, local netip.AddrPort // after the PROXY protocol
	moved       bool           // … which named others
	heard       bool           // something was read during the handshake
	until       time.Time      // when its first request must have begun; zero is no bound
	gate        *gate          // nil but during the handshake
	shown       *showing       // the certificate, where somebody asked how that ends
	tap         *tap           // nil but during the handshake

	// Of a connection that HTTP/2 is spoken on.
	tls    *tls.ConnectionState
	shake  *http1.Handshake
	used   atomic.Bool
	rtt    atomic.Int64 // nanoseconds
	rttAt  atomic.Int64 // Unix seconds of the last measurement
	closed sync.Once
	taken  bool
}

// Read gives what was read too early, then what comes.
func (w *wire) Read(p []byte) (int, error) {
	if len(w.rest) > 0 {
		n := copy(p, w.rest)
		if w.rest = w.rest[n:]; len(w.rest) == 0 {
			w.rest = nil
		}
		w.heard = true
		w.tap.take(p[:n])
		if w.gate != nil {
			return n, w.gate.enter()
		}
		return n, nil
	}
	if w.gate == nil {
		return w.Conn.Read(p)
	}
	w.gate.leave()
	n, err := w.Conn.Read(p)
	if n > 0 {
		w.heard = true
		w.tap.take(p[:n])
		if busy := w.gate.enter(); busy != nil {
			return n, busy
		}
	}
	return n, err
}

// Close closes the connection. net/http may do so more than once.
func (w *wire) Close() error {
	err := w.Conn.Close()
	if w.taken {
		w.closed.Do(w.group.h2.released)
	}
	return err
}

// RemoteAddr is the client's address as the PROXY protocol named it.
func (w *wire) RemoteAddr() net.Addr {
	if w.moved {
		return net.TCPAddrFromAddrPort(w.peer)
	}
	return w.Conn.RemoteAddr()
}

// LocalAddr is the address that the client meant.
func (w *wire) LocalAddr() net.Addr {
	if w.moved {
		return net.TCPAddrFromAddrPort(w.local)
	}
	return w.Conn.LocalAddr()
}

// roundTrip is the kernel's estimate of the round-trip time to the other end,
// asked for once a second at the most.
func (w *wire) roundTrip(now time.Time) time.Duration {
	second := now.Unix()
	if last := w.rttAt.Load(); last != second && w.rttAt.CompareAndSwap(last, second) {
		w.rtt.Store(int64(measureRTT(w.Conn)))
	}
	return time.Duration(w.rtt.Load())
}

// gate bounds the handshakes that compute. A handshake that waits for its
// client holds no place: else as many silent clients as there are places would
// keep everybody out.
type gate struct {
	group *Group
	until time.Time // zero is no bound
	held  bool
}

// enter waits for a place, as long as the handshake may take.
func (h *gate) enter() error {
	if h.held {
		return nil
	}
	g := h.group
	select {
	case g.slots <- struct{}{}:
		h.held = true
		return nil
	default:
	}
	g.limitHit("handshakes")
	var late <-chan time.Time
	if !h.until.IsZero() {
		t := time.NewTimer(time.Until(h.until))
		defer t.Stop()
		late = t.C
	}
	select {
	case g.slots <- struct{}{}:
		h.held = true
		return nil
	case <-late:
		return os.ErrDeadlineExceeded
	case <-g.quit:
		return net.ErrClosed
	}
}

func (h *gate) leave() {
	if h.held {
		h.held = false
		<-h.group.slots
	}
}
