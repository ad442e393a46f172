package listen

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
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// notes are what a group reported.
type notes struct {
	mu      sync.Mutex // guards what follows
	records []record.Record
	hits    map[string]int
	fails   map[string]int
}

func (n *notes) done(r *record.Record) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.records = append(n.records, *r)
}

func (n *notes) limit(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.hits[name]++
}

func (n *notes) failure(why string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fails[why]++
}

func (n *notes) count(m map[string]int, name string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return m[name]
}

// record waits for the record of the i-th request: it comes after the answer.
func (n *notes) record(t *testing.T, i int) record.Record {
	t.Helper()
	var r record.Record
	eventually(t, "a record", func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		if len(n.records) > i {
			r = n.records[i]
		}
		return len(n.records) > i
	})
	return r
}

// patience bounds every wait on real time. It is reached only by a test that fails.
const patience = time.Minute

// eventually waits for what other goroutines are about to do.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("waited in vain for %s", what)
}

// edge is a group that runs.
type edge struct {
	*Group
	*notes
	end func()
}

// start runs a group on handler after set has changed it. It ends with the test.
func start(t *testing.T, handler http.HandlerFunc, set func(*Group)) *edge {
	t.Helper()
	n := &notes{hits: map[string]int{}, fails: map[string]int{}}
	log := slog.New(slog.DiscardHandler)
	g := &Group{Handler: handler, Done: n.done, OnLimit: n.limit, OnFailed: n.failure, Log: log}
	g.HTTP1 = &http1.Server{Handler: handler, Log: log, Done: n.done}
	if set != nil {
		set(g)
	}
	g.HTTP1.Deadlines = g.Deadlines
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }() // waited for below
	end := sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(end)
	return &edge{g, n, end}
}

// listenOn opens one more listener on loopback and returns its address.
func (e *edge) listenOn(t *testing.T, l selvage.Listener, conf selvage.TLS) string {
	t.Helper()
	if l.Address == "" {
		l.Address = "127.0.0.1:0"
	}
	if err := e.Apply([]selvage.Listener{l}, conf); err != nil {
		t.Fatal(err)
	}
	return e.Addrs()[0].String()
}

// onVirtualTime runs a group with deadlines on a network in memory, where nothing but a deadline lets time go by.
func onVirtualTime(t *testing.T, waits selvage.Deadlines, handler http.HandlerFunc, test func(t *testing.T, e *edge, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var network edgetest.Network
		e := start(t, handler, func(g *Group) {
			g.Listen, g.Deadlines = network.Listen, waits
		})
		defer e.end()
		if err := e.Apply([]selvage.Listener{{Address: "192.0.2.1:80"}}, selvage.TLS{}); err != nil {
			t.Fatal(err)
		}
		test(t, e, func() net.Conn {
			c, err := network.Dial(t.Context(), "tcp", "192.0.2.1:80")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { c.Close() })
			return c
		})
	})
}

func plain(t *testing.T, e *edge) string {
	t.Helper()
	return e.listenOn(t, selvage.Listener{}, selvage.TLS{})
}

// hello answers with what the request came as.
func hello(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	_, _ = io.WriteString(w, strings.Join([]string{r.Proto, scheme, r.Method, r.Host, r.URL.Path, record.From(r.Context()).Client.Peer.Addr().String()}, " "))
}

// client returns a client of the given protocols that trusts pool.
func client(t *testing.T, pool *x509.CertPool, set func(*http.Protocols)) *http.Client {
	t.Helper()
	var p http.Protocols
	set(&p)
	tr := &http.Transport{Protocols: &p, TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "shop.example"}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func onlyHTTP1(p *http.Protocols) { p.SetHTTP1(true) }
func onlyH2(p *http.Protocols)    { p.SetHTTP2(true) }
func onlyH2C(p *http.Protocols)   { p.SetUnencryptedHTTP2(true) }

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	body, err := tryGet(c, url)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func tryGet(c *http.Client, url string) (string, error) {
	resp, err := c.Get(url)
	if err != nil {
		return "", err
	}
	body, err := io.ReadAll(resp.Body)
	return string(body), errors.Join(err, resp.Body.Close())
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience)) // so that a defect does not hang the test
	return c
}

// ca signs the certificates of the tests.
type ca struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	dir  string
}

func newCA(t *testing.T) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &ca{key: key, pool: x509.NewCertPool(), dir: t.TempDir()}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	a.pool.AddCert(a.cert)
	return a
}

// issue writes a certificate and its key under file.pem and file.key.
func (a *ca) issue(t *testing.T, file string, until time.Time, names ...string) selvage.Certificate {
	t.Helper()
	return a.issueFor(t, file, until, x509.ExtKeyUsageServerAuth, names...)
}

func (a *ca) issueFor(t *testing.T, file string, until time.Time, use x509.ExtKeyUsage, names ...string) selvage.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: file}, DNSNames: names,
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: until, ExtKeyUsage: []x509.ExtKeyUsage{use},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	c := selvage.Certificate{Certificate: filepath.Join(a.dir, file+".pem"), Key: filepath.Join(a.dir, file+".key")}
	for path, block := range map[string]*pem.Block{
		c.Certificate: {Type: "CERTIFICATE", Bytes: der}, c.Key: {Type: "EC PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func soon() time.Time { return time.Now().Add(time.Hour) }
