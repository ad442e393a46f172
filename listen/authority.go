package listen

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	authorityYears = 10
	leafTime       = 90 * 24 * time.Hour
	leafRenew      = 30 * 24 * time.Hour // before its end
	// maxLeaves bounds the certificates that are kept; beyond it the kept ones are forgotten.
	maxLeaves = 1024
)

// authority signs certificates for development. Its key is in the data folder:
// ca.key holds it together with its certificate, ca.pem the certificate alone,
// for those who shall trust it.
type authority struct {
	path string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	leaf *ecdsa.PrivateKey // of all certificates: it lives as long as the process

	mu     sync.Mutex // guards leaves
	leaves map[string]*tls.Certificate
}

// openAuthority reads the authority in folder, or makes one.
func openAuthority(folder string, now time.Time) (*authority, error) {
	if folder == "" {
		return nil, errors.New("it needs a data folder")
	}
	secret := filepath.Join(folder, "ca.key")
	text, err := os.ReadFile(secret)
	if errors.Is(err, os.ErrNotExist) {
		text, err = makeAuthority(folder, secret, now)
	}
	if err != nil {
		return nil, err
	}
	a := &authority{path: filepath.Join(folder, "ca.pem"), leaves: map[string]*tls.Certificate{}}
	if err := a.parse(text); err != nil {
		return nil, fmt.Errorf("read %s: %w", secret, err)
	}
	if now.After(a.cert.NotAfter) {
		return nil, fmt.Errorf("%s expired on %s: remove it to have a new one made", secret, a.cert.NotAfter.UTC().Format(time.DateOnly))
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
	if have, err := os.ReadFile(a.path); err != nil || !bytes.Equal(have, public) {
		if err := writeFile(a.path, public, 0o644); err != nil {
			return nil, err
		}
	}
	if a.leaf, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	return a, nil
}

func (a *authority) parse(text []byte) error {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		var err error
		switch block.Type {
		case "EC PRIVATE KEY":
			a.key, err = x509.ParseECPrivateKey(block.Bytes)
		case "CERTIFICATE":
			a.cert, err = x509.ParseCertificate(block.Bytes)
		}
		if err != nil {
			return err
		}
	}
	if a.key == nil || a.cert == nil {
		return errors.New("it does not hold a key and its certificate")
	}
	if !a.key.PublicKey.Equal(a.cert.PublicKey) {
		return errors.New("its key and its certificate are not of each other")
	}
	return nil
}

// makeAuthority makes ca.key. Where another process is faster, it is that one's.
func makeAuthority(folder, secret string, now time.Time) ([]byte, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make data folder: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make key: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = "this machine"
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Selvage development"}, CommonName: "Selvage on " + host},
		NotBefore:             now.Add(-time.Hour),
		NotAfter:              now.AddDate(authorityYears, 0, 0),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLenZero:        true,
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	if template.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("make certificate: %w", err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encode key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: private})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	temp, err := tempFile(folder, text, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.Remove(temp) }() // a leftover harms nobody
	if err := os.Link(temp, secret); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	return os.ReadFile(secret)
}

// writeFile replaces a file as a whole.
func writeFile(path string, text []byte, mode os.FileMode) error {
	temp, err := tempFile(filepath.Dir(path), text, mode)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		return errors.Join(err, os.Remove(temp))
	}
	return nil
}

func tempFile(folder string, text []byte, mode os.FileMode) (path string, err error) {
	f, err := os.CreateTemp(folder, ".ca-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err := errors.Join(err, f.Chmod(mode), f.Sync(), f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

func serial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make serial number: %w", err)
	}
	return n, nil
}

// certificate is the one for a server name that is allowed, made now if there
// is none. Without a name, and for localhost, it is one for this machine; for a
// name that is not allowed it is nil.
func (a *authority) certificate(name string, local net.Addr, allow func(string) bool, now time.Time) (*tls.Certificate, error) {
	var ips []net.IP
	switch {
	case name == "" || name == "localhost":
		name = "localhost"
		ips = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
		if ap := addrPort(local); ap.IsValid() && !ap.Addr().IsLoopback() && !ap.Addr().IsUnspecified() {
			ips = append(ips, ap.Addr().WithZone("").AsSlice())
		}
	case allow == nil || !allow(name):
		return nil, nil
	}
	key := fmt.Sprint(name, ips)
	a.mu.Lock()
	defer a.mu.Unlock()
	if cert := a.leaves[key]; cert != nil && now.Before(cert.Leaf.NotAfter.Add(-leafRenew)) {
		return cert, nil
	}
	cert, err := a.sign(name, ips, now)
	if err != nil {
		return nil, fmt.Errorf("make certificate for %s: %w", name, err)
	}
	if len(a.leaves) >= maxLeaves {
		clear(a.leaves)
	}
	a.leaves[key] = cert
	return cert, nil
}

func (a *authority) sign(name string, ips []net.IP, now time.Time) (*tls.Certificate, error) {
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: name},
		DNSNames:    []string{name},
		IPAddresses: ips,
		NotBefore:   now.Add(-time.Hour),
		NotAfter:    now.Add(leafTime),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(name) > 64 { // a common name is not longer
		template.Subject.CommonName = ""
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter
	}
	var err error
	if template.SerialNumber, err = serial(); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &a.leaf.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der, a.cert.Raw}, PrivateKey: a.leaf, Leaf: leaf}, nil
}
