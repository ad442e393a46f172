package functions

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5" //nolint:gosec // of a fingerprint
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

const tourNode = `name: edge-1
listen:
  - {address: "127.0.0.1:0"}
  - {address: "localhost:0", tls: true, client_certificates: {authorities: CLIENTS, mode: request}}
tls: {development: true}
admin: {address: "off"}
access_log: "off"
function_log: LOG
`

const tourService = `service: tour
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions:
  main:
    module: tour.wasm
    cpu: 60s
    config: {settings: {greeting: good day}}
    secrets: {keys: {signing: key}}
    kv: [visits]
    places: {192.0.2.1: '{"city":"Bern","country_code":"CH"}'}
routes: [{match: {path: /*}, function: main}]
`

// person makes an authority of clients, whose file it returns, and a certificate of one.
func person(t *testing.T, folder, name string) (authority string, cert tls.Certificate) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, key, by *ecdsa.PrivateKey) []byte {
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, by)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	var keys [2]*ecdsa.PrivateKey
	for i := range keys {
		var err error
		if keys[i], err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
			t.Fatal(err)
		}
	}
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name}, NotBefore: ca.NotBefore, NotAfter: ca.NotAfter,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	authority = filepath.Join(folder, name+"-ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: sign(ca, ca, keys[0], keys[0])})
	if err := os.WriteFile(authority, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return authority, tls.Certificate{Certificate: [][]byte{sign(leaf, ca, keys[1], keys[0])}, PrivateKey: keys[1]}
}

// speaking is a connection that keeps what was first said on it.
type speaking struct {
	net.Conn
	first []byte
}

func (s *speaking) Write(p []byte) (int, error) {
	if s.first == nil {
		s.first = append([]byte(nil), p...)
	}
	return s.Conn.Write(p)
}

// TestAFunctionInGoUsesAllThatItFinds goes from client to origin through the real
// program with a function that Go's own compiler made.
func TestAFunctionInGoUsesAllThatItFinds(t *testing.T) {
	e := openWith(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/upper" {
			shop(w, r)
			return
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		_, _ = io.WriteString(w, strings.ToUpper(string(body)))
	})
	goBuild(t, filepath.Join(e.folder, "tour.wasm"), "./examples/functions/testdata/tour", "GOOS=wasip1", "GOARCH=wasm")
	authority, ann := person(t, e.folder, "ann")
	_, bob := person(t, e.folder, "bob")
	log := e.serveLogged(authority, tourService)

	expect(t, "two requests at once", e.get("/fetch"), "200 part 0, part 1, ")
	expect(t, "no such origin", e.get("/nobody"), "200 ask nobody: the service has no origin of this name, or the function may not ask it")
	expect(t, "kept", e.get("/cache", "X-Name", "ann"), "200 kept ann")
	expect(t, "found", e.get("/cache", "X-Name", "bob"), "200 found ann")
	for n := range 3 {
		expect(t, "visits", e.get("/kv"), fmt.Sprintf("200 %d", n+1))
	}
	// The HMAC of "good day" with SHA-256 and the key "key".
	expect(t, "signed", e.get("/signed"), "200 good day 1b901a6ccc17b835a92cb415474185e4385804a9c4a349fa1403ad7fdefc12d5")
	expect(t, "a body both ways", e.do("POST", "/through", strings.Repeat("some text ", 50_000)),
		fmt.Sprintf("200 500000 %x", sha256.Sum256([]byte(strings.Repeat("SOME TEXT ", 50_000)))))
	var place map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(e.get("/geo"), "200 ")), &place); err != nil || place["city"] != "Bern" || place["country_code"] != "CH" {
		t.Errorf("the place is %v, %v", place, err)
	}
	expect(t, "log", e.get("/log", "X-Name", "ann"), "200 12")
	e.logged(log, "orders: order of\nann", ": out", ": err")

	for _, h2 := range []bool{false, true} {
		e.shakes(h2, "nobody", nil, 5)
		e.shakes(h2, "ann", &ann, 0)
		e.shakes(h2, "bob", &bob, 4)
	}
}

// serveLogged runs the edge on a service, with TLS that asks for certificates and
// with a log of what functions write, whose file it returns.
func (e *edge) serveLogged(authority, service string) (log string) {
	e.t.Helper()
	log = filepath.Join(e.folder, "functions.log")
	replace := strings.NewReplacer("CLIENTS", authority, "LOG", log, "ORIGIN", e.origin)
	var files []string
	for i, text := range []string{tourNode, service} {
		files = append(files, filepath.Join(e.folder, []string{"node.yaml", "service.yaml"}[i]))
		if err := os.WriteFile(files[i], []byte(replace.Replace(text)), 0o600); err != nil {
			e.t.Fatal(err)
		}
	}
	building.Do(func() { goBuild(e.t, program, "./cmd/selvage") })
	e.run(program, "run", "--data", filepath.Join(e.folder, "data"), "-c", files[0], files[1])
	return log
}

// overTLS asks for a path of the edge's listener with TLS.
func (e *edge) overTLS(path string, h2 bool, cert *tls.Certificate) (res *http.Response, said *speaking) {
	e.t.Helper()
	tr := &http.Transport{
		Protocols: new(http.Protocols),
		TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, // its authority was made a moment ago
			GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				if cert == nil {
					return &tls.Certificate{}, nil
				}
				return cert, nil // also where it is not of the authorities that the edge names
			},
		},
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			c, err := new(net.Dialer).DialContext(ctx, network, strings.TrimPrefix(e.secure, "https://"))
			said = &speaking{Conn: c}
			return said, err
		},
	}
	e.t.Cleanup(tr.CloseIdleConnections)
	tr.Protocols.SetHTTP1(!h2)
	tr.Protocols.SetHTTP2(h2)
	res, err := (&http.Client{Transport: tr}).Get("https://shop.example" + path)
	if err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() { res.Body.Close() })
	return res, said
}

// shakes asks over TLS, and looks at what the function was told of it.
func (e *edge) shakes(h2 bool, who string, cert *tls.Certificate, verdict int) {
	e.t.Helper()
	res, said := e.overTLS("/tls", h2, cert)
	text, err := io.ReadAll(res.Body)
	f := strings.Fields(string(text))
	if err != nil || res.StatusCode != 200 || len(f) != 5 {
		e.t.Fatalf("%s: %d %q, %v", who, res.StatusCode, text, err)
	}
	if f[0] != hex.EncodeToString(said.first[5:]) {
		e.t.Errorf("%s: the hello is %.40s…, want %.40x…", who, f[0], said.first[5:])
	}
	alpn := map[bool]string{true: "h2", false: "00"}[h2] // over HTTP/1.1 it names no protocol
	if !strings.HasPrefix(f[1], "t13d") || f[1][8:10] != alpn || len(f[1]) != 36 || len(f[2]) != 2*md5.Size {
		e.t.Errorf("%s: JA4 %s, JA3 %s", who, f[1], f[2])
	}
	shown := 0
	if cert != nil {
		shown = len(cert.Certificate[0])
	}
	if got, want := f[3]+" "+f[4], fmt.Sprint(verdict, " ", shown); got != want {
		e.t.Errorf("%s: verdict and length of the certificate are %s, want %s", who, got, want)
	}
}

// logged waits until what a function wrote is in the function log, which is within a quarter of a second.
func (e *edge) logged(file string, wants ...string) {
	e.t.Helper()
	var got string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		text, err := os.ReadFile(file)
		if err != nil {
			e.t.Fatal(err)
		}
		got = ""
		for line := range strings.Lines(string(text)) {
			var l struct {
				Service, Function, Node, Endpoint, Text string
				Trace                                   string `json:"trace_id"`
			}
			if err := json.Unmarshal([]byte(line), &l); err != nil || l.Service == "" || l.Function != "main" || l.Node != "edge-1" || len(l.Trace) != 32 {
				continue // half a line, or nothing of the function's
			}
			got += l.Endpoint + ": " + l.Text + ", "
		}
		if !slices.ContainsFunc(wants, func(want string) bool { return !strings.Contains(got, want+", ") }) {
			return
		}
	}
	e.t.Errorf("the log has %q, want each of %q", got, wants)
}
