package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
)

// preface begins every HTTP/2 connection (RFC 9113, section 3.4).
const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// startLocked starts the accept loop of s.
func (g *Group) startLocked(s *socket) {
	g.loops.add()
	go func() { // Run waits for it by the tally
		defer g.loops.done()
		g.accept(s)
	}()
}

// accept takes connections until the listener is closed. Where the system has
// none to give, it waits a little and tries again.
func (g *Group) accept(s *socket) {
	const shortest, longest = 5 * time.Millisecond, time.Second
	wait := shortest
	for {
		c, err := s.Accept()
		switch {
		case err == nil:
			wait = shortest
			g.admit(s, c)
			continue
		case errors.Is(err, net.ErrClosed), g.closed():
			return
		}
		if wait == shortest {
			g.log().Warn("accept connection", "address", s.settings.Load().Address, "error", err)
		}
		select {
		case <-g.quit:
			return
		case <-time.After(wait):
			wait = min(2*wait, longest)
		}
	}
}

// admit starts the one goroutine of a connection, if there may be one more.
func (g *Group) admit(s *socket, c net.Conn) {
	g.stats.accepted.Add(1)
	if g.conns.add() > g.limits.Connections {
		g.conns.done()
		g.stats.refused.Add(1)
		g.limitHit("connections")
		_ = c.Close() // nothing was promised
		return
	}
	g.mu.Lock()
	if g.closed() {
		g.mu.Unlock()
		g.conns.done()
		_ = c.Close() // nothing was promised
		return
	}
	g.pending[c] = struct{}{}
	g.mu.Unlock()
	g.stats.pending.Add(1)
	go g.serve(s, c) // Run waits for it by the tally
}

// settled ends the time in which a connection has not shown what it speaks. It
// says no if the drain closed it.
func (g *Group) settled(c net.Conn) bool {
	g.stats.pending.Add(-1)
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pending, c)
	return !g.closed()
}

// serve finds out what a connection speaks, under one deadline, and hands it to
// the server of that.
func (g *Group) serve(s *socket, c net.Conn) {
	w := &wire{Conn: c, group: g, peer: addrPort(c.RemoteAddr()), local: addrPort(c.LocalAddr())}
	if d := g.waits.Head.Std(); d > 0 {
		w.until = time.Now().Add(d)
		_ = c.SetDeadline(w.until) // where that fails, so does the first read
	}
	settings := s.settings.Load()
	if !g.introduce(w, settings.ProxyProtocol) {
		g.giveUp(w)
		return
	}
	if settings.TLS {
		g.serveTLS(w, s.ask.Load())
		return
	}
	h2, ok := g.sniff(w)
	if !ok {
		g.giveUp(w)
		return
	}
	if !g.settled(c) {
		g.giveUpSettled(w)
		return
	}
	_ = c.SetDeadline(time.Time{})
	if h2 {
		g.h2.take(w, w)
		return
	}
	g.serveHTTP1(c, http1.ConnInfo{Peer: w.peer, Local: w.local}, w.rest)
}

// serveHTTP1 blocks until the connection has ended. Nothing of ours but the
// goroutine is held meanwhile.
func (g *Group) serveHTTP1(c net.Conn, info http1.ConnInfo, prefix []byte) {
	g.stats.http1.Add(1)
	defer func() {
		g.stats.http1.Add(-1)
		g.conns.done()
	}()
	g.HTTP1.ServeConn(context.Background(), c, info, prefix) // Drain ends it
}

func (g *Group) giveUp(w *wire) {
	g.settled(w.Conn)
	g.giveUpSettled(w)
}

func (g *Group) giveUpSettled(w *wire) {
	_ = w.Conn.Close() // the peer has nothing to expect
	g.conns.done()
}

// introduce reads the PROXY protocol header, if the peer has to send one.
func (g *Group) introduce(w *wire, from []selvage.Prefix) bool {
	peer := w.peer.Addr()
	if !slices.ContainsFunc(from, func(p selvage.Prefix) bool { return p.Contains(peer) }) {
		return true
	}
	buf := make([]byte, 0, 256)
	for {
		h, n, err := parseProxy(buf)
		if err == nil {
			if h.source.IsValid() {
				w.peer, w.local, w.moved = h.source, h.destination, true
			}
			w.rest = buf[n:]
			return true
		}
		if !errors.Is(err, errMore) {
			g.failed("proxy_protocol")
			return false
		}
		if len(buf) == cap(buf) {
			buf = slices.Grow(buf, len(buf))
		}
		got, err := w.Conn.Read(buf[len(buf):cap(buf)])
		if buf = buf[:len(buf)+got]; err != nil && got == 0 {
			g.readFailed(err)
			return false
		}
	}
}

// sniff reads until it is certain whether the connection begins with the
// preface of HTTP/2: most often one byte decides. What it read is in w.rest.
func (g *Group) sniff(w *wire) (h2, ok bool) {
	var small [len(preface)]byte
	for {
		n := min(len(w.rest), len(preface))
		if string(w.rest[:n]) != preface[:n] {
			return false, true
		}
		if n == len(preface) {
			return true, true
		}
		got, err := w.Conn.Read(small[:len(preface)-n])
		w.rest = append(w.rest, small[:got]...)
		if err != nil && got == 0 {
			if n > 0 && errors.Is(err, io.EOF) {
				return false, true // a P alone is for http1 to refuse
			}
			g.readFailed(err)
			return false, false
		}
	}
}

// readFailed counts a connection that did not come to its first request. One
// that sent nothing and went is nobody's failure: so load balancers look whether
// we live.
func (g *Group) readFailed(err error) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		g.limitHit("deadline_head")
		g.failed("timeout")
	}
}

// serveTLS shakes hands and goes on with what was agreed on.
func (g *Group) serveTLS(w *wire, ask *asking) {
	conf := g.conf.Load()
	if ask != nil {
		conf = ask.conf
	}
	w.gate, w.tap = &gate{group: g, until: w.until}, taps.Get().(*tap)
	tc := tls.Server(w, conf)
	err := tc.HandshakeContext(context.Background()) // the deadline ends it, without a goroutine that watches
	state, shake := tc.ConnectionState(), &http1.Handshake{}
	if err == nil {
		shake.Distrust = ask.distrust(&state)
	}
	w.gate.leave()
	w.gate = nil
	var cut bool
	shake.Hello, cut = w.tap.end()
	w.tap = nil
	w.shown.end(err)
	w.shown = nil
	if err != nil {
		g.handshakeFailed(w, err)
		g.giveUp(w)
		return
	}
	if cut {
		g.limitHit("client_hello")
	}
	if !g.settled(w.Conn) {
		g.giveUpSettled(w)
		return
	}
	_ = w.SetDeadline(time.Time{})
	if state.NegotiatedProtocol == "h2" {
		w.tls, w.shake = &state, shake
		g.h2.take(tc, w)
		return
	}
	g.serveHTTP1(tc, http1.ConnInfo{Peer: w.peer, Local: w.local, TLS: &state, Handshake: shake}, nil)
}

const notTLS = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: 48\r\n\r\n" +
	"this port speaks TLS: use https instead of http\n"

func (g *Group) handshakeFailed(w *wire, err error) {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.readFailed(err)
		return
	case errors.Is(err, io.EOF) && !w.heard:
		return // nobody said anything
	}
	if refusesClient(err) {
		g.failed("client_certificate")
		return
	}
	g.failed("handshake")
	if bad, ok := errors.AsType[tls.RecordHeaderError](err); ok && bad.Conn != nil && looksLikeHTTP(bad.RecordHeader) {
		_, _ = io.WriteString(bad.Conn, notTLS) // who speaks HTTP to this port may as well know
	}
}

func looksLikeHTTP(b [5]byte) bool {
	switch string(b[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "PATCH", "DELET":
		return true
	}
	return false
}

// addrPort is the address as numbers; invalid for a network that has none.
func addrPort(a net.Addr) netip.AddrPort {
	if t, ok := a.(*net.TCPAddr); ok {
		ap := t.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	if a == nil {
		return netip.AddrPort{}
	}
	ap, err := netip.ParseAddrPort(a.String())
	if err != nil {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
}
