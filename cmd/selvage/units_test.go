package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// weighed is a node whose service has two endpoints, of which the second one gets
// nothing until the weights say so.
func weighed(t *testing.T, second http.HandlerFunc) *guarded {
	t.Helper()
	return guardedBy(t, second, "", func(g *guarded, isNext bool) string {
		weight := 0
		if isNext {
			weight = 1
		}
		return fmt.Sprintf("origins: {web: {endpoints: [%q, %q], weights: {%q: %d}}}\n", g.old.URL, g.next.URL, g.next.URL, weight)
	})
}

func TestWeightsThatSendToABadEndpointAreUndoneByThemselves(t *testing.T) {
	t.Parallel()
	g := weighed(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	next := filepath.Join(g.dir, "next.yaml")
	if out := g.ask(t, 0, "plan", next); !strings.Contains(out, "weights."+g.next.URL+" 0 -> 1") {
		t.Errorf("plan said\n%s", out)
	}
	stop := g.visit(t)
	r := rolloutIn(t, g.ask(t, 1, "deploy", next, "-o", "json"))
	stop()
	if r.Change.Kind != "weight" || r.Change.State != client.Undone || r.Receipt == nil || r.Receipt.Served == 0 {
		t.Errorf("it was %+v, %+v", r.Change, r.Receipt)
	}
	for range 10 {
		if _, body := get(t, http.DefaultClient, g.p.url()+"/"); body != "old" {
			t.Fatalf("after the undo: %q", body)
		}
	}
	g.p.end()
}

func TestWeightsThatSendToAGoodEndpointArePromoted(t *testing.T) {
	t.Parallel()
	g := weighed(t, isNext)
	g.visit(t)
	r := rolloutIn(t, g.ask(t, 0, "deploy", "--break-glass", filepath.Join(g.dir, "next.yaml"), "-o", "json"))
	if r.Change.Kind != "weight" || r.Change.State != client.Promoted {
		t.Errorf("it was %+v", r.Change)
	}
	before := g.fromNext.Load()
	g.p.until("the second endpoint gets its part", func() bool { return g.fromNext.Load() > before+20 })
	g.p.end()
}

// issuer is an authority that the clients of a test trust.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newIssuer(t *testing.T) *issuer {
	t.Helper()
	i := &issuer{pool: x509.NewCertPool()}
	_, i.cert, i.key = i.make(t, &x509.Certificate{Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true, NotAfter: time.Now().Add(time.Hour)})
	i.pool.AddCert(i.cert)
	return i
}

func (i *issuer) make(t *testing.T, of *x509.Certificate) (der []byte, cert *x509.Certificate, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of.SerialNumber = big.NewInt(time.Now().UnixNano())
	of.NotBefore = time.Now().Add(-2 * time.Hour)
	parent, signer := i.cert, i.key
	if parent == nil {
		parent, signer = of, key
	}
	if der, err = x509.CreateCertificate(rand.Reader, of, parent, key.Public(), signer); err != nil {
		t.Fatal(err)
	}
	if cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return der, cert, key
}

// files writes a certificate and its key.
func (i *issuer) files(t *testing.T, dir, file, name string, until time.Time) {
	t.Helper()
	der, _, key := i.make(t, &x509.Certificate{DNSNames: []string{name}, NotAfter: until})
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, file+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	write(t, dir, file+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
}

// shaken is a node whose service has a certificate, and clients that look at it.
type shaken struct {
	*guarded
	issuer *issuer

	mu      sync.Mutex
	serials map[string]int // guarded by mu: how often each was accepted
	refused atomic.Int64
}

// shakenNode serves with the certificate old.pem; next.yaml has next.pem.
func shakenNode(t *testing.T, name string, until time.Time) *shaken {
	t.Helper()
	s := &shaken{issuer: newIssuer(t), serials: map[string]int{}}
	node := `listen: [{address: "127.0.0.1:0", tls: true, proxy_protocol: [127.0.0.0/8]}]
tls: {certificates: [{certificate: other.pem, key: other.key}]}
secrets: {shop-next: {file: next.key, services: [shop]}}
`
	s.guarded = guardedBy(t, isNext, node, func(g *guarded, isNext bool) string {
		origins := fmt.Sprintf("origins: {web: {endpoints: [%q]}}\n", g.old.URL)
		if !isNext {
			s.issuer.files(t, g.dir, "old", "shop.example", time.Now().Add(time.Hour))
			s.issuer.files(t, g.dir, "other", "other.example", time.Now().Add(time.Hour))
			return origins + "certificate: {chain: old.pem, key: old.key}\n"
		}
		s.issuer.files(t, g.dir, "next", name, until)
		return origins + "certificate: {chain: next.pem, key: \"${secret:shop-next}\"}\n"
	})
	return s
}

// shake lets many clients shake hands and ask for a page until the test ends or stop is called.
func (s *shaken) shake(t *testing.T) (stop func()) {
	t.Helper()
	addr := s.p.addr()
	return visitors(t, func(ctx context.Context, address string) {
		serial, err := s.one(ctx, addr, address)
		s.mu.Lock()
		defer s.mu.Unlock()
		if serial != "" {
			s.serials[serial]++
		}
		if err != nil {
			s.refused.Add(1)
		}
	})
}

// one is a client with an address of its own, as the PROXY protocol says it.
func (s *shaken) one(ctx context.Context, addr, address string) (serial string, err error) {
	var d net.Dialer
	raw, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer raw.Close()
	defer context.AfterFunc(ctx, func() { raw.Close() })()
	if _, err := fmt.Fprintf(raw, "PROXY TCP4 %s 127.0.0.1 4711 443\r\n", address); err != nil {
		return "", err
	}
	c := tls.Client(raw, &tls.Config{RootCAs: s.issuer.pool, ServerName: "shop.example"})
	if err := c.HandshakeContext(ctx); err != nil {
		return "", err
	}
	serial = c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"); err != nil {
		return serial, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		return serial, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return serial, err
}

// A certificate of another name, or one that has expired, is refused by the few clients
// that are shown it, and undone by that.
func TestABadCertificateIsUndoneByItself(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		why, name string
		until     time.Duration
	}{
		{"wrong name", "shop.exmaple", time.Hour},
		{"expired", "shop.example", -time.Hour},
	} {
		t.Run(tc.why, func(t *testing.T) {
			s := shakenNode(t, tc.name, time.Now().Add(tc.until))
			next := filepath.Join(s.dir, "next.yaml")
			if out := s.ask(t, 0, "plan", next); !strings.Contains(out, "another certificate is shown") {
				t.Errorf("plan said\n%s", out)
			}
			stop := s.shake(t)
			s.p.until("clients come in", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.serials) > 0 })
			r := rolloutIn(t, s.ask(t, 1, "deploy", next, "-o", "json"))
			stop()
			if r.Change.Kind != "certificate" || r.Change.State != client.Undone || r.Unit != "handshakes" || r.Receipt == nil || r.Receipt.Served == 0 || r.Receipt.First != nil {
				t.Errorf("it was %+v, %+v", r.Change, r.Receipt)
			}
			if !strings.Contains(r.Change.Words, "handshakes") || !strings.Contains(r.Change.Words, "certificate refused") {
				t.Errorf("in words: %s", r.Change.Words)
			}
			for i := range 10 {
				if _, err := s.one(t.Context(), s.p.addr(), fmt.Sprintf("10.0.%d.%d", i>>8&255, i&255)); err != nil {
					t.Fatalf("after the undo: %v", err)
				}
			}
			t.Logf("%s; %d handshakes were refused", r.Change.Words, s.refused.Load())
			s.p.end()
		})
	}
}

func TestAGoodCertificateIsPromoted(t *testing.T) {
	t.Parallel()
	s := shakenNode(t, "shop.example", time.Now().Add(time.Hour))
	stop := s.shake(t)
	r := rolloutIn(t, s.ask(t, 0, "deploy", "--break-glass", filepath.Join(s.dir, "next.yaml"), "-o", "json"))
	s.p.until("both certificates were shown", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return len(s.serials) == 2 })
	stop()
	if r.Change.Kind != "certificate" || r.Change.State != client.Promoted || s.refused.Load() > 4 {
		t.Errorf("it was %+v; %d handshakes failed", r.Change, s.refused.Load()) // four are cut by the end
	}
	s.p.end()
}
