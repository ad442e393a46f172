package listen

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
)

// file writes the authority's certificate.
func (a *ca) file(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// client issues a certificate for a client.
func (a *ca) client(t *testing.T, name string, until time.Time) tls.Certificate {
	t.Helper()
	files := a.issueFor(t, name, until, x509.ExtKeyUsageClientAuth)
	pair, err := tls.LoadX509KeyPair(files.Certificate, files.Key)
	if err != nil {
		t.Fatal(err)
	}
	return pair
}

// asks is an edge whose listener asks for certificates of clients.
type asks struct {
	*edge
	servers *ca
	addr    string
	seen    chan string // of each request: whose certificate it came with, and what is thought of it
	log     syncBuffer
	tls     selvage.TLS
}

func askFor(t *testing.T, c selvage.ClientCertificates) *asks {
	t.Helper()
	e := &asks{servers: newCA(t), seen: make(chan string, 10)}
	handler := func(_ http.ResponseWriter, r *http.Request) {
		who := "nobody"
		if len(r.TLS.PeerCertificates) > 0 {
			who = r.TLS.PeerCertificates[0].Subject.CommonName
		}
		switch why := http1.HandshakeOf(r.Context()).Distrust; {
		case why != nil:
			who += ", " + why.Error()
		case len(r.TLS.VerifiedChains) > 0:
			who += ", believed"
		}
		e.seen <- who
	}
	e.edge = start(t, handler, func(g *Group) { g.Log = slog.New(slog.NewTextHandler(&e.log, nil)) })
	e.tls = selvage.TLS{Certificates: []selvage.Certificate{e.servers.issue(t, "shop", soon(), "shop.example")}}
	e.addr = e.listenOn(t, selvage.Listener{TLS: true, ClientCertificates: &c}, e.tls)
	return e
}

// as asks once with a certificate, and says what the edge saw; an error if it let nobody in.
func (e *asks) as(t *testing.T, set func(*http.Protocols), version uint16, certs ...tls.Certificate) (string, error) {
	t.Helper()
	c := client(t, e.servers.pool, set)
	conf := c.Transport.(*http.Transport).TLSClientConfig
	conf.MaxVersion = version
	conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // also what the server did not ask for
		if len(certs) == 0 {
			return &tls.Certificate{}, nil
		}
		return &certs[0], nil
	}
	if _, err := tryGet(c, "https://"+e.addr); err != nil {
		return "", err
	}
	return <-e.seen, nil
}

func TestRequiredCertificatesLetNobodyElseIn(t *testing.T) {
	ours, others := newCA(t), newCA(t)
	e := askFor(t, selvage.ClientCertificates{Authorities: ours.file(t, "ca.pem"), Mode: "require"})
	refused := 0
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, set := range []func(*http.Protocols){onlyHTTP1, onlyH2} {
			if got, err := e.as(t, set, version, ours.client(t, "ann", soon())); err != nil || got != "ann, believed" {
				t.Errorf("ann: %q, %v", got, err)
			}
			for name, certs := range map[string][]tls.Certificate{
				"nobody": nil, "a stranger": {others.client(t, "bob", soon())}, "one of yesterday": {ours.client(t, "eve", time.Now().Add(-time.Hour))},
			} {
				if got, err := e.as(t, set, version, certs...); err == nil {
					t.Errorf("%s is let in: %s", name, got)
				}
				refused++
			}
		}
	}
	server := ours.issue(t, "a server", soon(), "shop.example")
	if pair, err := tls.LoadX509KeyPair(server.Certificate, server.Key); err != nil {
		t.Fatal(err)
	} else if got, err := e.as(t, onlyHTTP1, 0, pair); err == nil {
		t.Errorf("a certificate that is not for clients is let in: %s", got)
	}
	// A client tries again where a connection ends before its first answer, so some are counted twice.
	eventually(t, "the refusals", func() bool { return e.count(e.fails, "client_certificate") > refused })
	if n := e.count(e.fails, "handshake"); n != 0 {
		t.Errorf("%d other handshakes failed", n)
	}
}

func TestRequestedCertificatesAreToldAndLetIn(t *testing.T) {
	ours, others := newCA(t), newCA(t)
	e := askFor(t, selvage.ClientCertificates{Authorities: ours.file(t, "ca.pem"), Mode: selvage.CertificateRequested})
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, set := range []func(*http.Protocols){onlyHTTP1, onlyH2} {
			for _, c := range []struct {
				certs []tls.Certificate
				want  string
			}{
				{nil, "nobody"},
				{[]tls.Certificate{ours.client(t, "ann", soon())}, "ann, believed"},
				{[]tls.Certificate{others.client(t, "bob", soon())}, "bob, x509: certificate signed by unknown authority"},
				{[]tls.Certificate{ours.client(t, "eve", time.Now().Add(-time.Hour))}, "eve, x509: certificate has expired"},
			} {
				if got, err := e.as(t, set, version, c.certs...); err != nil || !strings.HasPrefix(got, c.want) {
					t.Errorf("got %q, %v; want %q", got, err, c.want)
				}
			}
		}
	}
}

// A session of before is a handshake without certificates: it must not outlive who is believed.
func TestAuthoritiesChangeWithoutARestart(t *testing.T) {
	old, next := newCA(t), newCA(t)
	file := old.file(t, "ca.pem")
	e := askFor(t, selvage.ClientCertificates{Authorities: file, Mode: "require"})
	ann, bob := old.client(t, "ann", soon()), next.client(t, "bob", soon())
	sessions := tls.NewLRUClientSessionCache(10)
	ask := func(cert tls.Certificate) error {
		c := client(t, e.servers.pool, onlyHTTP1)
		conf := c.Transport.(*http.Transport).TLSClientConfig
		conf.Certificates, conf.ClientSessionCache = []tls.Certificate{cert}, sessions
		_, err := tryGet(c, "https://"+e.addr)
		return err
	}
	if err := errors.Join(ask(ann), ask(ann)); err != nil { // the second time by its session
		t.Fatal(err)
	}
	before := e.askingOf("127.0.0.1:0")
	e.checkAuthorities()
	if err := e.Apply([]selvage.Listener{{Address: "127.0.0.1:0", TLS: true, ClientCertificates: &selvage.ClientCertificates{Authorities: file, Mode: "require"}}}, e.tls); err != nil {
		t.Fatal(err)
	}
	if e.askingOf("127.0.0.1:0") != before {
		t.Error("what did not change was made anew: sessions ended")
	}
	if err := os.WriteFile(file, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.checkAuthorities()
	e.checkAuthorities()
	if err := ask(ann); err != nil {
		t.Errorf("after a file that cannot be read: %v", err)
	}
	if n := strings.Count(e.log.String(), "the old ones stay"); n != 1 {
		t.Errorf("reported %d times, want once: %s", n, e.log.String())
	}
	if err := os.Rename(next.file(t, "ca.pem"), file); err != nil {
		t.Fatal(err)
	}
	e.checkAuthorities()
	if err := ask(ann); err == nil {
		t.Error("ann is let in by her session")
	}
	if err := ask(bob); err != nil {
		t.Errorf("bob: %v", err)
	}
	if err := e.Apply([]selvage.Listener{{Address: "127.0.0.1:0", TLS: true}}, e.tls); err != nil {
		t.Fatal(err)
	}
	if err := ask(ann); err != nil {
		t.Errorf("after nobody is asked any more: %v", err)
	}
}

// A file that changes between its being read and the end of the same change is read again.
func TestAuthoritiesThatChangeWhileTheyAreReadAreReadAgain(t *testing.T) {
	old, next := newCA(t), newCA(t)
	file := old.file(t, "ca.pem")
	e := start(t, hello, func(g *Group) {
		g.Listen = func(network, addr string) (net.Listener, error) { // after the file was read
			now, later := next.file(t, "ca.pem"), time.Now().Add(time.Second) // file systems' clocks are coarse
			if err := errors.Join(os.Chtimes(now, later, later), os.Rename(now, file)); err != nil {
				t.Error(err)
			}
			return net.Listen(network, addr)
		}
	})
	certs := selvage.TLS{Certificates: []selvage.Certificate{old.issue(t, "shop", soon(), "shop.example")}}
	e.listenOn(t, selvage.Listener{TLS: true, ClientCertificates: &selvage.ClientCertificates{Authorities: file}}, certs)
	e.checkAuthorities()
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got := e.askingOf("127.0.0.1:0").text; got != string(want) {
		t.Errorf("the authorities of before are still believed:\n%s", got)
	}
}

func TestAuthoritiesThatCannotBeReadAreNamed(t *testing.T) {
	a := newCA(t)
	certs := selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}}
	e := start(t, hello, nil)
	empty := filepath.Join(a.dir, "empty.pem")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken := filepath.Join(a.dir, "broken.pem")
	if err := os.WriteFile(broken, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("no")}), 0o600); err != nil {
		t.Fatal(err)
	}
	var listeners []selvage.Listener
	for i, file := range []string{empty, broken, certs.Certificates[0].Key, filepath.Join(a.dir, "missing.pem")} {
		listeners = append(listeners, selvage.Listener{Address: "127.0.0.1:" + string(rune('1'+i)), TLS: true, ClientCertificates: &selvage.ClientCertificates{Authorities: file}})
	}
	err := e.Apply(listeners, certs)
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"listen on 127.0.0.1:1: read authorities of clients: " + empty + ": it has no certificate",
		"listen on 127.0.0.1:2: read authorities of clients: " + broken + ": certificate 1: ",
		"listen on 127.0.0.1:3: read authorities of clients: " + certs.Certificates[0].Key + `: block 1 is "EC PRIVATE KEY", not a certificate`,
		"listen on 127.0.0.1:4: read authorities of clients: open " + filepath.Join(a.dir, "missing.pem"),
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if len(e.Addrs()) != 0 {
		t.Errorf("listening on %v in spite of it", e.Addrs())
	}
}
