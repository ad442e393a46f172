package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/record"
)

// dynamicOrigins are the origins that a function has named itself. Their names end
// with its request: what one request may reach says nothing of another.
type dynamicOrigins struct {
	mu   sync.Mutex
	each map[string]*dynamicOrigin // guarded by mu
}

// dynamicOrigin is one of them. It keeps connections for who names it in the same way: see dynamicPools.
type dynamicOrigin struct {
	http.Transport
	scheme, target, host string
	between              time.Duration // of two reads of its answer; 0: no bound
	key                  string        // in dynamicPools; empty: it is in none
	used                 uint64        // guarded by dynamicPools.mu: when it was last named
}

func (d *dynamicOrigins) find(name string) http.RoundTripper {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.each[name]; o != nil {
		return o
	}
	return nil
}

// close ends the request's names. Connections stay with those that the pools have.
func (d *dynamicOrigins) close(kept *dynamicPools) {
	d.mu.Lock()
	each := d.each
	d.each = nil
	d.mu.Unlock()
	for _, o := range each {
		if !kept.has(o) {
			o.CloseIdleConnections()
		}
	}
}

// RoundTrip implements http.RoundTripper.
func (o *dynamicOrigin) RoundTrip(req *http.Request) (*http.Response, error) {
	u := *req.URL
	u.Scheme, u.Host = o.scheme, o.target
	var got atomic.Pointer[httptrace.GotConnInfo]
	out := req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { got.Store(&i) }}))
	out.Host = cmp.Or(o.host, req.Host, req.URL.Host)
	out.URL = &u
	res, err := o.Transport.RoundTrip(out)
	if i := got.Load(); i != nil {
		a := record.Attempt{Endpoint: i.Conn.RemoteAddr().String(), Reused: i.Reused}
		if err == nil {
			a.Status = res.StatusCode
		}
		record.From(req.Context()).Origin.Add(a)
	}
	if err == nil && o.between > 0 && res.StatusCode != http.StatusSwitchingProtocols {
		res.Body = newPatientBody(res.Body, o.between)
	}
	return res, err
}

// patientBody is an answer whose origin may be silent for so long and no longer.
type patientBody struct {
	io.ReadCloser
	timer *time.Timer
	most  time.Duration
	late  atomic.Bool
}

func newPatientBody(body io.ReadCloser, most time.Duration) *patientBody {
	b := &patientBody{ReadCloser: body, most: most}
	b.timer = time.AfterFunc(most, func() {
		b.late.Store(true)
		_ = body.Close() // which ends a Read that waits
	})
	b.timer.Stop() // only while somebody reads
	return b
}

// Read reads on, if the origin goes on in time.
func (b *patientBody) Read(p []byte) (int, error) {
	b.timer.Reset(b.most)
	n, err := b.ReadCloser.Read(p)
	b.timer.Stop()
	if err != nil && b.late.Load() {
		err = os.ErrDeadlineExceeded
	}
	return n, err
}

// Close closes the answer.
func (b *patientBody) Close() error {
	b.timer.Stop()
	return b.ReadCloser.Close()
}

// registerDynamic makes an origin for the call that ctx is of.
func registerDynamic(ctx context.Context, b fastly.DynamicBackend) error {
	c := callOf(ctx)
	if c == nil {
		return errors.New("there is no request to name an origin for")
	}
	o, err := c.f.reg.dynamicOrigin(c.f.rev, &b)
	if err != nil {
		return err
	}
	c.dynamic.mu.Lock()
	defer c.dynamic.mu.Unlock()
	if c.dynamic.each == nil {
		c.dynamic.each = make(map[string]*dynamicOrigin)
	}
	c.dynamic.each[b.Name] = o
	return nil
}

// dynamicOrigin is the origin that a function of the revision names so: one that has connections,
// if it was named in the very same way before.
func (reg *registry) dynamicOrigin(rev *revision, b *fastly.DynamicBackend) (*dynamicOrigin, error) {
	guard := reg.functions.dial
	key := poolKey(b)
	if b.NoPool || key == "" {
		return newDynamicOrigin(guard, b)
	}
	if o := rev.dynamic.find(key); o != nil {
		return o, nil
	}
	o, err := newDynamicOrigin(guard, b)
	if err != nil {
		return nil, err
	}
	o, dropped := rev.dynamic.keep(key, o)
	if dropped != nil {
		dropped.CloseIdleConnections()
		reg.metrics.LimitHit("function_dynamic_origins")
	}
	return o, nil
}

// poolKey is the same for what is said in the very same way. What came from the guest as it is, a digest
// of JSON does not tell apart where it is no UTF-8.
func poolKey(b *fastly.DynamicBackend) string {
	digest := digestOf(b)
	if digest == "" {
		return ""
	}
	return strings.Join([]string{digest, b.Name, b.Target, b.OverrideHost, b.SNI, b.CertificateHost}, "\x00")
}

func newDynamicOrigin(guard *guardedDial, b *fastly.DynamicBackend) (*dynamicOrigin, error) {
	settings, err := dynamicTLS(b)
	if err != nil {
		return nil, err
	}
	o := &dynamicOrigin{scheme: "http", target: b.Target, host: b.OverrideHost, between: b.BetweenBytes}
	if b.TLS {
		o.scheme = "https"
	}
	connect, keepAlive := cmp.Or(b.Connect, fastly.DefaultConnect), b.KeepAlive
	o.Transport = http.Transport{
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			ctx, cancel := context.WithTimeout(ctx, connect)
			defer cancel()
			conn, err := guard.connect(ctx, addr)
			if err == nil {
				askWhetherThere(conn, keepAlive)
			}
			return conn, err
		},
		TLSClientConfig: settings, ForceAttemptHTTP2: true, DisableCompression: true, DisableKeepAlives: b.NoPool, MaxIdleConnsPerHost: dynamicConns,
		TLSHandshakeTimeout: dynamicHandshake, IdleConnTimeout: min(cmp.Or(b.Idle, dynamicIdle), dynamicIdle),
		ResponseHeaderTimeout: cmp.Or(b.FirstByte, fastly.DefaultFirstByte), MaxResponseHeaderBytes: maxDynamicHead,
	}
	if b.HTTP2 {
		o.Protocols = new(http.Protocols)
		o.Protocols.SetHTTP2(b.TLS)
		o.Protocols.SetUnencryptedHTTP2(!b.TLS)
	}
	return o, nil
}

// askWhetherThere lets TCP ask whether the other side is there, as the function says. What
// cannot be set is left as the system has it.
func askWhetherThere(conn net.Conn, k *fastly.KeepAlive) {
	if tcp, ok := conn.(*net.TCPConn); ok && k != nil {
		_ = tcp.SetKeepAliveConfig(net.KeepAliveConfig{Enable: true, Idle: k.Time, Interval: k.Interval, Count: int(min(k.Probes, 100))})
	}
}

// dynamicHandshake is how long a dynamic origin may take for the handshake: package net/http goes
// on with that of a request that was given up.
const dynamicHandshake = 10 * time.Second

// maxDynamicHead is how many bytes the head of a dynamic origin's answer may have.
const maxDynamicHead = 256 << 10

// dynamicTLS is how a dynamic origin is verified, and what it is shown.
func dynamicTLS(b *fastly.DynamicBackend) (*tls.Config, error) {
	if !b.TLS {
		return nil, nil
	}
	host, _, err := net.SplitHostPort(b.Target)
	if err != nil {
		host = b.Target
	}
	versions := map[uint8]uint16{10: tls.VersionTLS10, 11: tls.VersionTLS11, 12: tls.VersionTLS12, 13: tls.VersionTLS13}
	conf := &tls.Config{
		CipherSuites: b.Ciphers, ServerName: cmp.Or(b.SNI, b.CertificateHost, host), MinVersion: max(versions[b.MinTLS], tls.VersionTLS12), MaxVersion: versions[b.MaxTLS],
	}
	if len(b.CA) > 0 {
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(b.CA) {
			return nil, errors.New("the authority has no certificate in PEM")
		}
	}
	if len(b.ClientCertificate) > 0 {
		pair, err := tls.X509KeyPair(b.ClientCertificate, b.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("client certificate: %w", err)
		}
		conf.Certificates = []tls.Certificate{pair}
	}
	expected := cmp.Or(b.CertificateHost, conf.ServerName)
	if b.NoSNI {
		conf.ServerName = noServerName
	}
	if expected != conf.ServerName {
		verifyAs(conf, expected)
	}
	return conf, nil
}

// noServerName is sent to nobody: package tls sends no addresses, and package net/http puts
// the host's name in where there is none.
const noServerName = "0.0.0.0"

// verifyAs lets certificates be verified for another name than the one that is sent.
func verifyAs(conf *tls.Config, name string) {
	conf.InsecureSkipVerify = true // which would be for the name that is sent: the check below takes its place
	conf.VerifyConnection = func(s tls.ConnectionState) error {
		o := x509.VerifyOptions{DNSName: name, Roots: conf.RootCAs, Intermediates: x509.NewCertPool()}
		for _, c := range s.PeerCertificates[1:] {
			o.Intermediates.AddCert(c)
		}
		if _, err := s.PeerCertificates[0].Verify(o); err != nil {
			return &tls.CertificateVerificationError{UnverifiedCertificates: s.PeerCertificates, Err: err}
		}
		return nil
	}
}

// guardedDial connects to addresses that functions may reach: a name is checked
// by what it resolves to, in the moment of dialling, so that a name which
// answers differently the next time leads nowhere else.
type guardedDial struct {
	allow   []selvage.Prefix
	own     func() []net.Addr // our listeners
	dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

var errForbidden = errors.New("functions may not reach this address")

func (g *guardedDial) connect(ctx context.Context, addr string) (net.Conn, error) {
	host, portText, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: %w", portText, err)
	}
	var addrs []netip.Addr
	if a, err := netip.ParseAddr(host); err == nil {
		addrs = []netip.Addr{a}
	} else if addrs, err = g.lookup(ctx, host); err != nil {
		return nil, err
	}
	err = fmt.Errorf("%s has no address", host)
	for _, a := range addrs {
		at := netip.AddrPortFrom(a.Unmap(), uint16(port))
		if !g.may(at) {
			err = fmt.Errorf("%s is %s: %w", host, a, errForbidden)
			continue
		}
		var conn net.Conn
		if conn, err = g.reach(ctx, at.String()); err == nil {
			return conn, nil
		}
	}
	return nil, err
}

func (g *guardedDial) lookup(ctx context.Context, host string) ([]netip.Addr, error) {
	if g.resolve != nil {
		return g.resolve(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

func (g *guardedDial) reach(ctx context.Context, addr string) (net.Conn, error) {
	if g.dial != nil {
		return g.dial(ctx, "tcp", addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

// isOurs says whether an address is this machine's.
func isOurs(a netip.Addr) bool {
	all, err := net.InterfaceAddrs()
	return err != nil || slices.ContainsFunc(all, func(have net.Addr) bool {
		prefix, err := netip.ParsePrefix(have.String())
		return err == nil && prefix.Addr().Unmap() == a
	})
}

// special are addresses that are nobody's on the internet, beside those that
// package netip knows, and those that lead on to an address within (RFC 6890).
var special = func() []netip.Prefix {
	var all []netip.Prefix
	for _, p := range []string{
		"0.0.0.0/8", "100.64.0.0/10", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "240.0.0.0/4", "::/96", "64:ff9b::/96", "64:ff9b:1::/48", "100::/64", "2001::/23", "2001:db8::/32", "2002::/16", "fec0::/10",
	} {
		all = append(all, netip.MustParsePrefix(p))
	}
	return all
}()

// may says whether functions may reach an address.
func (g *guardedDial) may(at netip.AddrPort) bool {
	a := at.Addr()
	for _, l := range g.own() {
		tcp, ok := l.(*net.TCPAddr)
		if ok && tcp.Port == int(at.Port()) && (tcp.AddrPort().Addr().Unmap() == a || tcp.IP.IsUnspecified() && isOurs(a)) {
			return false
		}
	}
	if inAny(a, g.allow) {
		return true
	}
	for _, p := range special {
		if p.Contains(a) {
			return false
		}
	}
	return a.IsGlobalUnicast() && !a.IsPrivate() && !a.IsLoopback() && !a.IsLinkLocalUnicast()
}
