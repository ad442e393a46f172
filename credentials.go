package selvage

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
)

// CredentialFields are the fields of a request that say whose it is: credentials (RFC 9110,
// section 11.6.2), cookies (RFC 6265) and certificates (RFC 9440). What they select may be
// for one user alone.
func CredentialFields() []string { return credentialFields[:] }

var credentialFields = [...]string{"Authorization", "Client-Cert", "Client-Cert-Chain", "Cookie"}

// IsCredentialField says whether a field, by its canonical name, is one of [CredentialFields].
func IsCredentialField(name string) bool { return slices.Contains(credentialFields[:], name) }

// ParseAuthorities reads the certificates of a file in the textual form of RFC 7468, whose
// holders' signatures are believed. Each must be whole: one that is cut off, a key beside
// them or a file without any is an error, which does not name the file. Text between them
// is nothing, nor is a certificate in lines that begin with #. What has expired is read as the
// others are: its clients are refused by the date when they come, and a node must not depend on
// the day for whether it starts.
func ParseAuthorities(text []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	begun, n := 0, 0
	for line := range bytes.Lines(text) {
		if !bytes.HasPrefix(bytes.TrimLeft(line, " \t"), []byte("#")) {
			begun += bytes.Count(line, []byte("-----BEGIN "))
		}
	}
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		n++
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("block %d is %q, not a certificate", n, block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n, err)
		}
		pool.AddCert(cert)
	}
	switch {
	case n < begun:
		return nil, fmt.Errorf("%d of its %d blocks cannot be read; is it cut off?", begun-n, begun)
	case n == 0:
		return nil, errors.New("it has no certificate")
	}
	return pool, nil
}
