// Package listen is where clients come in: sockets, the PROXY protocol, TLS
// with its certificates, the choice of HTTP/1.1 or HTTP/2, and the drain.
//
// Look at [Group] first: it owns the listeners of a node. HTTP/1.1 goes to our
// own server in package http1, on the plain connection where there is no TLS;
// HTTP/2 goes to net/http, over TLS by ALPN and without TLS by its preface.
//
// It promises that listeners are changed all or not at all and without dropping
// a connection, that whoever sends nothing is gone after one deadline, and that
// an HTTP/2 request which could be read in two ways once it is translated to
// HTTP/1.1 is refused. It refuses the upgrade to h2c, TLS early data, HTTP/2
// push, and a PROXY protocol header from anybody but those who must send one.
package listen

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
)

// Group owns the listeners of a node. Handler and HTTP1 must be set; all other
// fields work as they are. No field may change after the first Apply.
//
// Apply opens the listeners, Run serves them, Drain ends them gently.
type Group struct {
	// Handler answers HTTP/2 requests. Their contexts carry a record.
	Handler http.Handler
	// HTTP1 serves HTTP/1.1 connections, and is drained with the group.
	HTTP1 *http1.Server
	// Limits bound connections, handshakes and HTTP/2 requests. A zero field
	// stands for its documented default.
	Limits selvage.Limits
	// Deadlines bound how long a client may take. All zero stands for the
	// documented defaults; beside a field that is set, 0 is no bound.
	Deadlines selvage.Deadlines
	// Data is the folder of the development authority.
	Data string
	// Log takes what happens to listeners and certificates, and the panics of
	// handlers. nil is slog.Default.
	Log *slog.Logger
	// AllowName says for which server names the development authority makes
	// certificates. nil is for none but the machine's own.
	AllowName func(name string) bool
	// Certificate chooses for a client before the files do; nil leaves a handshake to them. ended, which
	// may be nil beside either, is called once when the handshake is over: refused says that the certificate was the reason.
	Certificate func(hello *tls.ClientHelloInfo, client netip.Addr) (cert *tls.Certificate, ended func(refused bool))
	// Done is called once for every HTTP/2 request when its handler has
	// returned, the refused ones too.
	Done func(*record.Record)
	// OnLimit is called when a limit was hit that no record tells of:
	// connections, handshakes, client_hello, streams, deadline_head.
	OnLimit func(limit string)
	// OnFailed is called for a connection that ended before its first request:
	// proxy_protocol, handshake, client_certificate, timeout.
	OnFailed func(why string)
	// Listen opens a socket. nil is the system's.
	Listen func(network, addr string) (net.Listener, error)
	// Opened are listeners that somebody opened before us, by the address of
	// the configuration. Apply takes from them before it opens one.
	Opened map[string]net.Listener

	once   sync.Once
	limits selvage.Limits
	waits  selvage.Deadlines
	h2     *h2Server
	slots  chan struct{} // one per handshake that computes
	quit   chan struct{} // closed when the drain begins
	stop   func()        // closes quit
	certs  certificates
	conf   atomic.Pointer[tls.Config]
	stats  counters
	conns  tally // accepted and not closed
	loops  tally // accept loops

	mu      sync.Mutex // guards what follows; changes of listeners hold change too
	sockets map[string]*socket
	order   []string // the addresses as configured
	serving bool
	pending map[net.Conn]struct{} // before their first byte of HTTP
	change  sync.Mutex            // one Apply at a time; taken before mu
}

// socket is one listener, under the settings of the last Apply.
type socket struct {
	net.Listener
	settings atomic.Pointer[selvage.Listener]
	ask      atomic.Pointer[asking] // nil: for no certificates
	stamp    stamp                  // of its authorities; guarded by Group.change
}

func (g *Group) prepare() {
	g.once.Do(func() {
		g.limits, g.waits = g.Limits.OrDefaults(), g.Deadlines.OrDefaults()
		g.slots = make(chan struct{}, g.limits.Handshakes)
		g.quit = make(chan struct{})
		g.stop = sync.OnceFunc(func() { close(g.quit) })
		g.sockets = map[string]*socket{}
		g.pending = map[net.Conn]struct{}{}
		g.certs = certificates{data: g.Data, allow: g.AllowName, log: g.log(), first: g.Certificate}
		g.h2 = newHTTP2(g)
	})
}

// Apply makes the listeners and the certificates those of the configuration:
// it opens what is new, keeps what stays by its address, and closes what went,
// whose connections live on. If anything of it cannot be done, nothing is
// changed, and the error names the address or the file. Certificates are read
// again in any case.
func (g *Group) Apply(listeners []selvage.Listener, t selvage.TLS) error {
	g.prepare()
	g.change.Lock()
	defer g.change.Unlock()
	for i, l := range listeners {
		if slices.ContainsFunc(listeners[:i], func(o selvage.Listener) bool { return o.Address == l.Address }) {
			return fmt.Errorf("listen on %s: named twice", l.Address)
		}
		if l.TLS && len(t.Certificates) == 0 && !t.Development {
			return fmt.Errorf("listen on %s: tls needs a certificate: name one in tls.certificates, or set tls.development", l.Address)
		}
	}
	commit, err := g.certs.load(t, time.Now())
	if err != nil {
		return err
	}
	asks, err := g.asks(listeners, lowestTLS(t.MinVersion))
	if err != nil {
		return err
	}
	fresh, err := g.open(listeners)
	if err != nil {
		return err
	}
	commit()
	g.setTLS(lowestTLS(t.MinVersion))
	return g.replace(listeners, fresh, asks)
}

// open opens the listeners that are not there yet, all or none.
func (g *Group) open(listeners []selvage.Listener) (map[string]net.Listener, error) {
	fresh := map[string]net.Listener{}
	for _, l := range listeners {
		g.mu.Lock()
		_, have := g.sockets[l.Address]
		g.mu.Unlock()
		if have {
			continue
		}
		ln, err := g.listen(l.Address)
		if err != nil {
			for address, ln := range fresh {
				if g.Opened[address] != ln { // those that we were given stay for the next try
					_ = ln.Close() // it never accepted anything
				}
			}
			return nil, fmt.Errorf("listen on %s: %w", l.Address, err)
		}
		fresh[l.Address] = ln
	}
	return fresh, nil
}

func (g *Group) listen(address string) (net.Listener, error) {
	if ln := g.Opened[address]; ln != nil {
		return ln, nil
	}
	if g.Listen != nil {
		return g.Listen("tcp", address)
	}
	var lc net.ListenConfig
	lc.SetMultipathTCP(false) // its sockets tell us less and cost more
	ln, err := lc.Listen(context.Background(), "tcp", address)
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // the address is in our own words
	}
	return ln, err
}

// replace puts the listeners in place and closes those that went.
func (g *Group) replace(listeners []selvage.Listener, fresh map[string]net.Listener, asks map[string]asked) error {
	g.mu.Lock()
	if g.closed() {
		g.mu.Unlock()
		for _, ln := range fresh {
			_ = ln.Close() // it never accepted anything
		}
		return errors.New("listen: draining")
	}
	old := g.sockets
	g.sockets, g.order = map[string]*socket{}, nil
	for _, l := range listeners {
		s := old[l.Address]
		if s == nil {
			s = &socket{Listener: fresh[l.Address]}
			delete(g.Opened, l.Address)
		}
		delete(old, l.Address)
		s.settings.Store(&l)
		s.ask.Store(asks[l.Address].ask)
		s.stamp = asks[l.Address].at
		g.sockets[l.Address], g.order = s, append(g.order, l.Address)
		if g.serving && fresh[l.Address] != nil {
			g.startLocked(s)
		}
	}
	g.mu.Unlock()
	for address, s := range old {
		if err := s.Close(); err != nil {
			g.log().Warn("close listener", "address", address, "error", err)
		}
	}
	return nil
}

// setTLS keeps the configuration while it can: the keys of session tickets live in it.
func (g *Group) setTLS(lowest uint16) {
	if c := g.conf.Load(); c == nil || c.MinVersion != lowest {
		g.conf.Store(g.newTLS(lowest))
	}
}

func (g *Group) newTLS(lowest uint16) *tls.Config {
	return &tls.Config{MinVersion: lowest, GetCertificate: g.certs.choose, NextProtos: []string{"h2", "http/1.1"}}
}

// lowestTLS is a version as the configuration names it.
func lowestTLS(version string) uint16 {
	if version == "1.3" {
		return tls.VersionTLS13
	}
	return tls.VersionTLS12
}

// Addrs are the addresses that the listeners are bound to, in the order of the
// configuration.
func (g *Group) Addrs() []net.Addr {
	g.mu.Lock()
	defer g.mu.Unlock()
	addrs := make([]net.Addr, 0, len(g.order))
	for _, address := range g.order {
		addrs = append(addrs, g.sockets[address].Addr())
	}
	return addrs
}

// CAPath is the file with the development authority's certificate, for
// `curl --cacert`. It is empty without one.
func (g *Group) CAPath() string {
	g.prepare()
	return g.certs.authorityPath()
}

// Run serves the listeners, and reads certificates again when their files
// change, until ctx ends. Then it cuts what is still open, so call Drain first,
// and waits for all of it.
func (g *Group) Run(ctx context.Context) error {
	g.prepare()
	g.mu.Lock()
	g.serving = true
	if !g.closed() {
		for _, s := range g.sockets {
			g.startLocked(s) //nolint:contextcheck // connections may outlive ctx by as long as a drain takes
		}
	}
	g.mu.Unlock()
	served := make(chan error, 1)
	go func() { served <- g.h2.serve() }() // waited for below
	every := time.NewTicker(certificateCheck)
	defer every.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-every.C:
			g.certs.check()
			g.checkAuthorities()
		}
	}
	_ = g.Drain(ctx) // ctx has ended, so it cuts, and only says so
	g.loops.wait()
	g.conns.wait()
	if err := <-served; err != nil {
		return fmt.Errorf("serve HTTP/2: %w", err)
	}
	return nil
}

// Drain takes no new connections, asks the open ones to go when their requests
// are answered, waits for that, and cuts them when ctx ends. It returns ctx's
// error if it had to.
func (g *Group) Drain(ctx context.Context) error {
	g.prepare()
	g.mu.Lock()
	g.stop()
	sockets := g.sockets
	g.sockets, g.order = map[string]*socket{}, nil
	pending := make([]net.Conn, 0, len(g.pending))
	for c := range g.pending {
		pending = append(pending, c)
	}
	g.mu.Unlock()
	for address, s := range sockets {
		if err := s.Close(); err != nil {
			g.log().Warn("close listener", "address", address, "error", err)
		}
	}
	for _, c := range pending {
		_ = c.Close() // it has not asked for anything yet
	}
	var wg sync.WaitGroup
	var errs [2]error
	wg.Go(func() { errs[0] = g.HTTP1.Drain(ctx) })
	wg.Go(func() { errs[1] = g.h2.drain(ctx) })
	wg.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// closed says whether the drain has begun.
func (g *Group) closed() bool {
	select {
	case <-g.quit:
		return true
	default:
		return false
	}
}

func (g *Group) log() *slog.Logger {
	if g.Log != nil {
		return g.Log
	}
	return slog.Default()
}

func (g *Group) limitHit(limit string) {
	if g.OnLimit != nil {
		g.OnLimit(limit)
	}
}

func (g *Group) failed(why string) {
	if g.OnFailed != nil {
		g.OnFailed(why)
	}
}
