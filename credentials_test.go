package selvage_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
)

// authority makes a PEM certificate that is good until then, and its key.
func authority(t testing.TB, until time.Time) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "people"}, NotBefore: until.AddDate(-1, 0, 0), NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	asPEM := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return asPEM("CERTIFICATE", der), asPEM("PRIVATE KEY", secret)
}

func TestAuthoritiesAreReadWholeOrNotAtAll(t *testing.T) {
	whole, key := authority(t, time.Now().AddDate(1, 0, 0))
	expired, _ := authority(t, time.Now().AddDate(-1, 0, 0))
	half := whole[:len(whole)/2]
	for _, test := range []struct{ name, text, want string }{
		{"one", whole, ""},
		{"two, with words between them", whole + "\nthe others\n" + expired, ""},
		{"one that is taken out", whole + "# " + strings.ReplaceAll(strings.TrimSpace(expired), "\n", "\n# ") + "\n", ""},
		{"lines that end as on Windows", strings.ReplaceAll(whole+expired, "\n", "\r\n"), ""},
		{"the same twice", whole + whole, ""},
		{"an expired one", expired, ""},
		{"nothing", "", "it has no certificate"},
		{"junk", "no PEM \x00\xff", "it has no certificate"},
		{"half a one", half, "1 of its 1 blocks cannot be read; is it cut off?"},
		{"half a one behind a whole one", whole + half, "1 of its 2 blocks cannot be read; is it cut off?"},
		{"half a one before a whole one", half + "\n" + whole, "of its 2 blocks cannot be read; is it cut off?"},
		{"one behind a mark of the byte order", "\ufeff" + whole + expired, "1 of its 2 blocks cannot be read"},
		{"two in one line", strings.TrimSpace(whole) + expired + whole, "of its 3 blocks cannot be read"},
		{"one with what it is trusted for", strings.ReplaceAll(whole, "CERTIFICATE", "TRUSTED CERTIFICATE"), `block 1 is "TRUSTED CERTIFICATE", not a certificate`},
		{"a key", key, `block 1 is "PRIVATE KEY", not a certificate`},
		{"a key behind a whole one", whole + key, `block 2 is "PRIVATE KEY", not a certificate`},
		{"what is no certificate inside", "-----BEGIN CERTIFICATE-----\nbm8=\n-----END CERTIFICATE-----\n", "certificate 1: x509: "},
	} {
		pool, err := selvage.ParseAuthorities([]byte(test.text))
		switch {
		case test.want == "" && (err != nil || pool == nil):
			t.Errorf("%s: got %v", test.name, err)
		case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: got %v, want %s", test.name, err, test.want)
		}
	}
}

func FuzzAuthoritiesAreReadWholeOrNotAtAll(f *testing.F) {
	whole, key := authority(f, time.Now().AddDate(1, 0, 0))
	for _, seed := range []string{whole, whole + key, whole[:90], "", "-----BEGIN -----END"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		pool, err := selvage.ParseAuthorities([]byte(text))
		if err == nil && pool.Equal(x509.NewCertPool()) {
			t.Error("nobody is believed, and there is no error")
		}
	})
}
