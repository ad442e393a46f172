package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/rollout"
)

// certified is a service with a certificate of its own.
func certified(t *testing.T, yaml string) selvage.Service {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	of := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{"shop.example"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	s := parse(t, yaml)
	s.TLS.Certificate = filepath.Join(t.TempDir(), "shop.pem")
	s.TLS.Key = string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
	if err := os.WriteFile(s.TLS.Certificate, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHandshakesAreTheUnitsOfACertificate(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		id, err := config.LocalRevision(parse(t, oldService), selvage.Outside{})
		if err != nil {
			t.Fatal(err)
		}
		next := rollout.Revision{ID: "new", Tenant: selvage.DefaultTenant, Service: certified(t, oldService)}
		if err := b.node.Prepare(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		turn := func(share float64, unit selvage.Unit) {
			t.Helper()
			a := rollout.Arms{Change: "c-1", Baseline: id, Canary: "new", Share: share, Unit: unit, Secret: [16]byte{1}}
			if err := b.node.Serve("test", a, nil); err != nil {
				t.Fatal(err)
			}
			b.node.registry.watch("test").turn("c-1", &b.ledger)
		}
		client := netip.MustParseAddr("192.0.2.1")
		shake := func(refused bool) (canary bool) {
			t.Helper()
			cert, ended := b.node.certificate(&tls.ClientHelloInfo{ServerName: "shop.example"}, client)
			if ended == nil {
				t.Fatal("nobody counts")
			}
			ended(refused)
			return cert != nil
		}

		turn(0.5, selvage.ByConnection)
		canaries := 0
		for range 200 {
			if shake(false) {
				canaries++
			}
		}
		if canaries < 60 || canaries > 140 {
			t.Errorf("of one client's 200 handshakes %d show the canary's certificate, with a share of a half", canaries)
		}
		b.ledger.lines = nil
		if got := b.get("/rest"); got != "200 good" {
			t.Errorf("a request: %q", got)
		}
		b.ledger.expect(t) // requests are not what is tried

		turn(1, selvage.ByConnection)
		shake(true)
		b.ledger.expect(t, "begin canary TLS handshake", "end [own 5xx] no body 0s")

		turn(0.5, selvage.ByClient) // something else is different too: a client meets one arm in everything
		first := shake(false)
		for range 20 {
			if shake(false) != first {
				t.Fatal("one client is shown both certificates")
			}
		}
	})
}

func TestAServiceWithoutItsCertificateIsNotReady(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		s := certified(t, oldService)
		s.TLS.Key = certified(t, oldService).TLS.Key
		err := b.node.Prepare(t.Context(), rollout.Revision{ID: "new", Tenant: selvage.DefaultTenant, Service: s})
		if selvage.KindOf(err) != selvage.Invalid || !strings.Contains(err.Error(), "certificate.chain and its key") || strings.Contains(err.Error(), "PRIVATE") {
			t.Errorf("with another's key: %v", err)
		}
	})
}
