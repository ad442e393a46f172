package edgetest

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"sync"
	"syscall"
)

// Network is a network in memory. The zero value is an empty one, in which
// every dial is refused and no name resolves. It is safe for concurrent use.
type Network struct {
	mu        sync.Mutex
	listeners map[string]*listener    // mu; by network and address
	hosts     map[string]hostEntry    // mu; by name
	moods     map[netip.AddrPort]mood // mu; how an address takes dials
	port      uint16                  // mu; the last ephemeral port
}

type hostEntry struct {
	addrs []netip.Addr
	err   error
	hang  bool
}

type mood int

const (
	well mood = iota
	refusing
	unreachable
)

// defaultSource is where a dial comes from that does not say.
var defaultSource = netip.MustParseAddr("10.255.0.1")

// Listen announces an address: "tcp" with a host and a port, where an empty
// host is all addresses and port 0 any free one, or "unix" with a name.
func (n *Network) Listen(network, addr string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if network == "unix" {
		return n.addLocked("unix "+addr, &net.UnixAddr{Name: addr, Net: "unix"})
	}
	at, err := parseAddr(addr)
	if err != nil {
		return nil, &net.OpError{Op: "listen", Net: network, Err: err}
	}
	if at.Port() == 0 {
		at = netip.AddrPortFrom(at.Addr(), n.portLocked())
	}
	return n.addLocked("tcp "+at.String(), net.TCPAddrFromAddrPort(at))
}

func (n *Network) addLocked(key string, addr net.Addr) (net.Listener, error) {
	if n.listeners[key] != nil {
		return nil, &net.OpError{Op: "listen", Net: addr.Network(), Addr: addr, Err: os.NewSyscallError("bind", syscall.EADDRINUSE)}
	}
	if n.listeners == nil {
		n.listeners = make(map[string]*listener)
	}
	l := &listener{addr: addr}
	l.cond.L = &l.mu
	l.forget = func() {
		n.mu.Lock()
		defer n.mu.Unlock()
		delete(n.listeners, key)
	}
	n.listeners[key] = l
	return l, nil
}

func (n *Network) portLocked() uint16 {
	n.port = max(n.port+1, 40000)
	return n.port
}

// parseAddr reads host:port, where the host is an address or empty.
func parseAddr(s string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return netip.AddrPort{}, err
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return netip.AddrPort{}, fmt.Errorf("port %q: %w", port, err)
	}
	addr := netip.IPv4Unspecified()
	switch {
	case host == "localhost":
		addr = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	case host != "":
		if addr, err = netip.ParseAddr(host); err != nil {
			return netip.AddrPort{}, err
		}
	}
	return netip.AddrPortFrom(addr, uint16(p)), nil
}

// Dial connects from the network's own address, 10.255.0.1. A name is
// resolved, and its first address taken.
func (n *Network) Dial(ctx context.Context, network, addr string) (net.Conn, error) {
	return n.DialFrom(ctx, defaultSource, network, addr)
}

// DialFrom connects from an address of the caller's choice. It fails with
// ECONNREFUSED where nobody listens, and waits for ctx's end where
// [Network.Unreachable] said so.
func (n *Network) DialFrom(ctx context.Context, from netip.Addr, network, addr string) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	if network == "unix" {
		a := &net.UnixAddr{Name: addr, Net: "unix"}
		return n.connect("unix "+addr, "unix "+addr, &net.UnixAddr{Net: "unix"}, a)
	}
	at, err := n.lookup(ctx, addr)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	n.mu.Lock()
	how := n.moods[at]
	source := netip.AddrPortFrom(from, n.portLocked())
	n.mu.Unlock()
	target := net.TCPAddrFromAddrPort(at)
	switch how {
	case unreachable:
		<-ctx.Done()
		return nil, &net.OpError{Op: "dial", Net: network, Addr: target, Err: ctx.Err()}
	case refusing:
		return nil, refusal(target)
	}
	every := netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
	return n.connect("tcp "+at.String(), "tcp "+every.String(), net.TCPAddrFromAddrPort(source), target)
}

func (n *Network) connect(key, wildcard string, from, to net.Addr) (net.Conn, error) {
	n.mu.Lock()
	l := n.listeners[key]
	if l == nil {
		l = n.listeners[wildcard]
	}
	n.mu.Unlock()
	if l == nil {
		return nil, refusal(to)
	}
	client, server := Pipe(from, to)
	if !l.offer(server) {
		return nil, refusal(to)
	}
	return client, nil
}

func refusal(to net.Addr) error {
	return &net.OpError{Op: "dial", Net: to.Network(), Addr: to, Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
}

func (n *Network) lookup(ctx context.Context, addr string) (netip.AddrPort, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	if at, err := parseAddr(addr); err == nil && host != "" {
		return at, nil
	}
	addrs, err := n.Resolve(ctx, host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	return parseAddr(net.JoinHostPort(addrs[0].String(), port))
}

// Refuse makes dials to an address be refused although somebody listens there.
func (n *Network) Refuse(at netip.AddrPort) { n.setMood(at, refusing) }

// Unreachable makes dials to an address hang until their context ends.
func (n *Network) Unreachable(at netip.AddrPort) { n.setMood(at, unreachable) }

// Heal takes back [Network.Refuse] and [Network.Unreachable].
func (n *Network) Heal(at netip.AddrPort) { n.setMood(at, well) }

func (n *Network) setMood(at netip.AddrPort, m mood) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.moods == nil {
		n.moods = make(map[netip.AddrPort]mood)
	}
	n.moods[at] = m
}

// SetHost makes a name resolve to addresses, to none without any.
func (n *Network) SetHost(name string, addrs ...netip.Addr) { n.setHost(name, hostEntry{addrs: addrs}) }

// FailHost makes resolving a name fail with SERVFAIL.
func (n *Network) FailHost(name string) {
	err := &net.DNSError{Err: "server misbehaving", Name: name, Server: "edgetest", IsTemporary: true}
	n.setHost(name, hostEntry{err: err})
}

// HangHost makes resolving a name wait for its context's end.
func (n *Network) HangHost(name string) { n.setHost(name, hostEntry{hang: true}) }

func (n *Network) setHost(name string, e hostEntry) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.hosts == nil {
		n.hosts = make(map[string]hostEntry)
	}
	n.hosts[name] = e
}

// Resolve gives the addresses of a name; an address is its own. Its errors are
// *net.DNSError.
func (n *Network) Resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	n.mu.Lock()
	e := n.hosts[host]
	n.mu.Unlock()
	if e.hang {
		<-ctx.Done()
		late := errors.Is(ctx.Err(), context.DeadlineExceeded)
		return nil, &net.DNSError{Err: ctx.Err().Error(), Name: host, Server: "edgetest", IsTimeout: late, UnwrapErr: ctx.Err()}
	}
	if e.err != nil {
		return nil, e.err
	}
	if len(e.addrs) == 0 {
		return nil, &net.DNSError{Err: "no such host", Name: host, Server: "edgetest", IsNotFound: true}
	}
	return append([]netip.Addr(nil), e.addrs...), nil
}

// listener keeps connections until they are accepted.
type listener struct {
	addr   net.Addr
	forget func()
	mu     sync.Mutex
	cond   sync.Cond
	queue  []*Conn // mu
	closed bool    // mu
}

func (l *listener) offer(c *Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return false
	}
	l.queue = append(l.queue, c)
	l.cond.Signal()
	return true
}

// Accept waits for a connection or for Close.
func (l *listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !l.closed && len(l.queue) == 0 {
		l.cond.Wait()
	}
	if l.closed {
		return nil, &net.OpError{Op: "accept", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	c := l.queue[0]
	l.queue = l.queue[1:]
	return c, nil
}

// Close refuses further connections and resets those that wait.
func (l *listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return &net.OpError{Op: "close", Net: l.addr.Network(), Addr: l.addr, Err: net.ErrClosed}
	}
	l.closed = true
	waiting := l.queue
	l.queue = nil
	l.cond.Broadcast()
	l.mu.Unlock()
	for _, c := range waiting {
		c.Reset()
	}
	l.forget()
	return nil
}

func (l *listener) Addr() net.Addr { return l.addr }
