package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/telemetry"
)

// authority is one of the tests' own.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t}
	a.cert, a.key, a.pem, _ = a.sign(&x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// sign makes a certificate: its own, if it has none yet.
func (a *authority) sign(of *x509.Certificate) (cert *x509.Certificate, key *ecdsa.PrivateKey, certPEM, keyPEM []byte) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	of.SerialNumber, of.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: "test"}
	of.NotBefore, of.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = of, key
	}
	der, err := x509.CreateCertificate(rand.Reader, of, parent, key.Public(), signer)
	if err != nil {
		a.t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})
}

// dynamicBed is a server with TLS, and a call of a function that may name it.
type dynamicBed struct {
	server *httptest.Server
	ca     *authority
	guard  guardedDial
	rev    revision
	call   *call
}

// newDynamicBed serves TLS as origin.example; a client has to show a certificate of the authority.
func newDynamicBed(t *testing.T) *dynamicBed {
	t.Helper()
	b := &dynamicBed{ca: newAuthority(t)}
	_, _, certPEM, keyPEM := b.ca.sign(&x509.Certificate{DNSNames: []string{"origin.example"}})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/never":
			<-stop
		case "/half":
			fmt.Fprint(w, "half")
			_ = http.NewResponseController(w).Flush()
			<-stop
		default:
			fmt.Fprintf(w, "%s %x %s %d", r.TLS.ServerName, r.TLS.Version, r.Host, len(r.TLS.PeerCertificates))
		}
	}))
	b.server.Config.ErrorLog = nil
	clients := x509.NewCertPool()
	clients.AddCert(b.ca.cert)
	b.server.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: clients}
	b.server.StartTLS()
	t.Cleanup(func() { close(stop); b.server.Close() })
	loopback := selvage.Prefix{}
	if err := loopback.UnmarshalText([]byte("127.0.0.0/8")); err != nil {
		t.Fatal(err)
	}
	b.guard = guardedDial{allow: []selvage.Prefix{loopback}, own: func() []net.Addr { return nil }}
	b.call = &call{f: &function{reg: &registry{functions: &functions{dial: &b.guard}}, rev: &b.rev}}
	t.Cleanup(b.rev.dynamic.close)
	return b
}

// ask names an origin and asks it for a path.
func (b *dynamicBed) ask(t *testing.T, path string, d fastly.DynamicBackend) (string, error) {
	t.Helper()
	d.Name, d.Target, d.TLS = "d", b.server.Listener.Addr().String(), true
	if err := registerDynamic(context.WithValue(t.Context(), callKey{}, b.call), d); err != nil {
		return "", err
	}
	req := httptest.NewRequest(http.MethodGet, "http://asked.example"+path, nil).WithContext(t.Context())
	req.RequestURI = ""
	res, err := b.call.dynamic.find("d").RoundTrip(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return string(text), err
}

func TestDynamicOriginsAreVerifiedAsTheFunctionSays(t *testing.T) {
	b := newDynamicBed(t)
	other := newAuthority(t)
	_, _, certPEM, keyPEM := b.ca.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	_, _, strangePEM, strangeKey := other.sign(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	for name, tc := range map[string]struct {
		of   fastly.DynamicBackend
		want string // the server's answer; else what the error says
	}{
		"the certificate's name is sent too": {fastly.DynamicBackend{CA: b.ca.pem, CertificateHost: "origin.example"}, "origin.example 304 asked.example 0"},
		"another name is sent":               {fastly.DynamicBackend{CA: b.ca.pem, CertificateHost: "origin.example", SNI: "front.example"}, "front.example 304 asked.example 0"},
		"no name is sent":                    {fastly.DynamicBackend{CA: b.ca.pem, CertificateHost: "origin.example", NoSNI: true}, " 304 asked.example 0"},
		"no name is sent, and it is another": {fastly.DynamicBackend{CA: b.ca.pem, CertificateHost: "other.example", NoSNI: true}, "not other.example"},
		"the name that is sent is verified":  {fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example"}, "origin.example 304 asked.example 0"},
		"a host of the function's":           {fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example", Backend: fastly.Backend{OverrideHost: "inner"}}, "origin.example 304 inner 0"},
		"no newer TLS than 1.2":              {fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example", Backend: fastly.Backend{MaxTLS: 12}}, "origin.example 303 asked.example 0"},
		"a client's certificate": {
			fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example", ClientCertificate: certPEM, ClientKey: keyPEM}, "origin.example 304 asked.example 1",
		},
		"the wrong name, with another sent": {fastly.DynamicBackend{CA: b.ca.pem, CertificateHost: "other.example", SNI: "origin.example"}, "not other.example"},
		"the wrong name":                    {fastly.DynamicBackend{CA: b.ca.pem, CertificateHost: "other.example"}, "not other.example"},
		"nobody's authority":                {fastly.DynamicBackend{SNI: "origin.example"}, "unknown authority"},
		"nobody's authority, by its name":   {fastly.DynamicBackend{CertificateHost: "origin.example", SNI: "front.example"}, "unknown authority"},
		"another authority, by its name":    {fastly.DynamicBackend{CA: other.pem, CertificateHost: "origin.example", SNI: "front.example"}, "unknown authority"},
		"an authority that is none":         {fastly.DynamicBackend{CA: []byte("x"), SNI: "origin.example"}, "no certificate in PEM"},
		"a key of somebody else":            {fastly.DynamicBackend{CA: b.ca.pem, ClientCertificate: certPEM, ClientKey: strangeKey}, "client certificate"},
		"a stranger's certificate": {
			// TLS 1.2, where the client learns of it in the handshake.
			fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example", ClientCertificate: strangePEM, ClientKey: strangeKey, Backend: fastly.Backend{MaxTLS: 12}}, "remote error: tls",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := b.ask(t, "/", tc.of)
			if err != nil {
				got = err.Error()
			}
			if got != tc.want && (err == nil || !strings.Contains(got, tc.want)) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestDynamicOriginsThatAreSlowOrForbiddenAreErrors(t *testing.T) {
	b := newDynamicBed(t)
	of := fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example"}
	of.FirstByte = 50 * time.Millisecond
	if _, err := b.ask(t, "/never", of); err == nil || !strings.Contains(err.Error(), "timeout awaiting response headers") {
		t.Errorf("no first byte: got %v", err)
	}
	of.FirstByte, of.BetweenBytes = 0, time.Second
	if text, err := b.ask(t, "/half", of); text != "half" || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("no second byte: got %q, %v", text, err)
	}
	b.guard.allow = nil
	if _, err := b.ask(t, "/", of); !errors.Is(err, errForbidden) {
		t.Errorf("an address of this machine: got %v", err)
	}
}

// An origin that is never done with the handshake holds a request for so long, and no longer.
func TestADynamicOriginThatDoesNotShakeHandsIsLeft(t *testing.T) {
	t.Run("", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			b := &dynamicBed{server: &httptest.Server{Listener: nowhere{}}}
			b.guard = guardedDial{own: func() []net.Addr { return nil }, dial: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				t.Cleanup(func() { theirs.Close() })
				return ours, nil
			}}
			b.call = &call{f: &function{reg: &registry{functions: &functions{dial: &b.guard}}, rev: &b.rev}}
			began := time.Now()
			if _, err := b.ask(t, "/", fastly.DynamicBackend{}); err == nil || !strings.Contains(err.Error(), "TLS handshake timeout") || time.Since(began) != dynamicHandshake {
				t.Errorf("after %v: %v", time.Since(began), err)
			}
		})
	})
}

// nowhere is a listener that only has an address, of the internet.
type nowhere struct{ net.Listener }

func (nowhere) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(1, 1, 1, 1), Port: 443} }

// Connections are closed when the revision goes.
func TestConnectionsOfDynamicOriginsEnd(t *testing.T) {
	b := newDynamicBed(t)
	_, _, certPEM, keyPEM := b.ca.sign(&x509.Certificate{DNSNames: []string{"origin.example"}})
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	b.server.Close()
	b.server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Proto)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	ended := make(chan struct{}, 10)
	b.server.Config.ConnState = func(_ net.Conn, s http.ConnState) {
		if s == http.StateClosed {
			ended <- struct{}{}
		}
	}
	b.server.TLS, b.server.EnableHTTP2 = &tls.Config{Certificates: []tls.Certificate{pair}}, true
	b.server.StartTLS()
	t.Cleanup(b.server.Close)
	d := fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example"}
	d.Name, d.Target, d.TLS = "d", b.server.Listener.Addr().String(), true
	if err := registerDynamic(context.WithValue(t.Context(), callKey{}, b.call), d); err != nil {
		t.Fatal(err)
	}
	req := httptest.NewRequest(http.MethodGet, "http://asked.example/", nil).WithContext(t.Context())
	req.RequestURI = ""
	res, err := b.call.dynamic.find("d").RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	if res.Proto != "HTTP/2.0" {
		t.Fatalf("the origin speaks %s", res.Proto)
	}
	if err := res.Body.Close(); err != nil {
		t.Fatal(err)
	}
	b.rev.dynamic.close()
	waitForEnd(t, ended, "its connection")
}

// waitForEnd waits until a connection has ended.
func waitForEnd(t *testing.T, ended <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatalf("%s is still open", what)
	}
}

// What is made for gRPC speaks HTTP/2 and nothing else, also without TLS.
func TestADynamicOriginForGRPCSpeaksHTTP2(t *testing.T) {
	b := newDynamicBed(t)
	for _, tc := range []struct {
		h2c  bool
		want string
	}{{true, "HTTP/2.0"}, {false, ""}} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.Proto) }))
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetHTTP1(!tc.h2c)
		s.Config.Protocols.SetUnencryptedHTTP2(tc.h2c)
		s.Start()
		d := fastly.DynamicBackend{Name: "d", Target: s.Listener.Addr().String(), HTTP2: true}
		if err := registerDynamic(context.WithValue(t.Context(), callKey{}, b.call), d); err != nil {
			t.Fatal(err)
		}
		var rec record.Record
		req := httptest.NewRequest(http.MethodGet, "http://asked.example/", nil).WithContext(record.NewContext(t.Context(), &rec))
		req.RequestURI = ""
		res, err := b.call.dynamic.find("d").RoundTrip(req)
		switch {
		case tc.want == "" && err == nil:
			t.Error("an origin of HTTP/1 has answered")
		case tc.want != "" && err != nil:
			t.Error(err)
		case err == nil:
			if kept := rec.Origin.Kept(); len(kept) != 1 || kept[0].Endpoint != d.Target {
				t.Errorf("the record says %+v, want one attempt at %s", kept, d.Target)
			}
			text, _ := io.ReadAll(res.Body)
			if string(text) != tc.want {
				t.Errorf("the origin was spoken to in %s, want %s", text, tc.want)
			}
		}
		if res != nil {
			res.Body.Close()
		}
		b.rev.dynamic.close()
		s.Close()
	}
}

// What is named in the very same way has the connections of the request before; each new
// connection is checked, and nothing else is shared.
func TestConnectionsOfDynamicOriginsAreForWhoNamesThemInTheSameWay(t *testing.T) {
	b := newDynamicBed(t)
	var dials atomic.Int64
	b.guard.dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		dials.Add(1)
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	of := fastly.DynamicBackend{CA: b.ca.pem, SNI: "origin.example"}
	ask := func(what string, want int64, d fastly.DynamicBackend) {
		t.Helper()
		b.call.dynamic.close(&b.rev.dynamic) // it is another request's
		if _, err := b.ask(t, "/", d); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if got := dials.Load(); got != want {
			t.Errorf("%s: %d connections were made, want %d", what, got, want)
		}
	}
	ask("the first", 1, of)
	ask("the second", 1, of)
	other := of
	other.FirstByte = time.Second
	ask("another time", 2, other)
	alone := of
	alone.NoPool = true
	ask("a connection for each request", 3, alone)
	ask("a connection for each request", 4, alone)
	before := b.call.f
	b.call.f = &function{reg: before.reg, rev: new(revision)}
	t.Cleanup(b.call.f.rev.dynamic.close)
	ask("another service", 5, of)
	b.call.f = before
	b.rev.dynamic.close()
	b.guard.allow = nil
	if _, err := b.ask(t, "/", of); !errors.Is(err, errForbidden) {
		t.Errorf("a new connection is checked: got %v", err)
	}
}

func TestTheLongestUnusedDynamicOriginGoes(t *testing.T) {
	b := newDynamicBed(t)
	b.call.f.reg.metrics = telemetry.NewMetrics(telemetry.Gauges{})
	name := func(n int) string {
		t.Helper()
		d := fastly.DynamicBackend{Name: strconv.Itoa(n), Target: "origin.example"}
		if err := registerDynamic(context.WithValue(t.Context(), callKey{}, b.call), d); err != nil {
			t.Fatal(err)
		}
		return poolKey(&d)
	}
	first, second := name(0), name(1)
	for n := range maxDynamicPools - 2 {
		name(2 + n)
	}
	name(0)
	name(maxDynamicPools)
	if b.rev.dynamic.find(first) == nil || b.rev.dynamic.find(second) != nil || len(b.rev.dynamic.each) != maxDynamicPools {
		t.Errorf("%d are kept, the one that was used again among them: %v", len(b.rev.dynamic.each), b.rev.dynamic.find(first) != nil)
	}
}

// One that went while a request had it keeps no connection behind that request.
func TestConnectionsOfADynamicOriginThatWentEndWithItsRequest(t *testing.T) {
	b := newDynamicBed(t)
	b.call.f.reg.metrics = telemetry.NewMetrics(telemetry.Gauges{})
	ended := make(chan struct{}, 10)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "here") }))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			ended <- struct{}{}
		}
	}
	s.Start()
	t.Cleanup(s.Close)
	for n := range maxDynamicPools + 1 {
		d := fastly.DynamicBackend{Name: strconv.Itoa(n), Target: s.Listener.Addr().String()}
		if err := registerDynamic(context.WithValue(t.Context(), callKey{}, b.call), d); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"0", "1"} { // the first one went
		req := httptest.NewRequest(http.MethodGet, "http://asked.example/", nil).WithContext(t.Context())
		req.RequestURI = ""
		res, err := b.call.dynamic.find(name).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			t.Error(err)
		}
		_ = res.Body.Close()
	}
	b.call.dynamic.close(&b.rev.dynamic)
	waitForEnd(t, ended, "the connection of the one that went")
	select {
	case <-ended:
		t.Error("the connection of one that is kept was closed")
	default:
	}
	b.rev.dynamic.close()
	waitForEnd(t, ended, "the connection of a revision that went")
}

func TestPoolsTellApartWhatIsNoUTF8(t *testing.T) {
	a, b := poolKey(&fastly.DynamicBackend{SNI: "a\xff"}), poolKey(&fastly.DynamicBackend{SNI: "a\xfe"})
	if a == b {
		t.Errorf("both are %q", a)
	}
}
