package listen

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
)

// shake shakes hands and returns the name of the certificate that was shown.
func shake(addr, name string, conf *tls.Config) (string, error) {
	if conf == nil {
		conf = &tls.Config{InsecureSkipVerify: true} // the test looks at the certificate itself
	}
	conf.ServerName = name
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: patience}, "tcp", addr, conf)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func shown(t *testing.T, addr, name string) string {
	t.Helper()
	got, err := shake(addr, name, nil)
	if err != nil {
		t.Fatalf("handshake for %q: %v", name, err)
	}
	return got
}

func TestServerNameChoosesTheCertificate(t *testing.T) {
	a := newCA(t)
	e := start(t, hello, nil)
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{
		a.issue(t, "first", soon(), "first.example"),
		a.issue(t, "star", soon(), "*.shop.example"),
		a.issue(t, "api", soon(), "api.shop.example", "Other.Example"),
	}})
	for name, want := range map[string]string{
		"first.example":       "first",
		"a.shop.example":      "star",
		"A.SHOP.example":      "star",
		"api.shop.example":    "api",
		"other.example":       "api",
		"a.b.shop.example":    "first",
		"shop.example":        "first",
		"nobody.example":      "first",
		"":                    "first",
		"xn--bcher-kva.de":    "first",
		"api.shop.example.de": "first",
	} {
		if got := shown(t, addr, name); got != want {
			t.Errorf("%q is shown the certificate %q, want %q", name, got, want)
		}
	}
}

func TestBothProtocolsAreAgreedOnOverTLS(t *testing.T) {
	a := newCA(t)
	e := start(t, hello, nil)
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}})
	for proto, set := range map[string]func(*http.Protocols){"HTTP/1.1": onlyHTTP1, "HTTP/2.0": onlyH2} {
		if got := get(t, client(t, a.pool, set), "https://"+addr+"/"); !strings.HasPrefix(got, proto+" https GET") {
			t.Errorf("got %q, want %s", got, proto)
		}
	}
	for i := range 2 {
		if r := e.record(t, i); r.Client.TLS != tls.VersionTLS13 {
			t.Errorf("the record of %s has TLS %x", r.Client.Protocol, r.Client.TLS)
		}
	}
}

func TestLowestVersionIsKept(t *testing.T) {
	a := newCA(t)
	conf := selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}}
	e := start(t, hello, nil)
	addr := e.listenOn(t, selvage.Listener{TLS: true}, conf)
	old := func() error {
		_, err := shake(addr, "shop.example", &tls.Config{RootCAs: a.pool, MaxVersion: tls.VersionTLS12})
		return err
	}
	if err := old(); err != nil {
		t.Fatalf("TLS 1.2: %v", err)
	}
	if _, err := shake(addr, "shop.example", &tls.Config{RootCAs: a.pool, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11}); err == nil {
		t.Error("TLS 1.1 was taken")
	}
	conf.MinVersion = "1.3"
	e.listenOn(t, selvage.Listener{TLS: true}, conf)
	if err := old(); err == nil {
		t.Error("TLS 1.2 was taken, though 1.3 is the lowest")
	}
	eventually(t, "two failures", func() bool { return e.count(e.fails, "handshake") == 2 })
}

func TestNewCertificatesAreUsedWithoutARestart(t *testing.T) {
	a := newCA(t)
	cert := a.issue(t, "shop", soon(), "shop.example")
	conf := selvage.TLS{Certificates: []selvage.Certificate{cert}}
	var log syncBuffer
	e := start(t, hello, func(g *Group) { g.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	addr := e.listenOn(t, selvage.Listener{TLS: true}, conf)
	lives := client(t, a.pool, onlyHTTP1)
	get(t, lives, "https://"+addr)

	serialOf := func() string {
		t.Helper()
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: a.pool, ServerName: "shop.example"})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	first := serialOf()
	a.issue(t, "shop", soon(), "shop.example")
	e.certs.check() // as Run does every ten seconds
	second := serialOf()
	if second == first {
		t.Error("the changed files were not noticed")
	}
	e.certs.check()
	if n := strings.Count(log.String(), "read again"); n != 1 {
		t.Errorf("read again %d times, want once: %s", n, log.String())
	}

	if err := os.WriteFile(cert.Key, []byte("nothing of a key"), 0o600); err != nil {
		t.Fatal(err)
	}
	e.certs.check()
	e.certs.check()
	if got := serialOf(); got != second {
		t.Error("the old certificate is gone, though the new one cannot be read")
	}
	if n := strings.Count(log.String(), "the old ones stay"); n != 1 {
		t.Errorf("reported %d times, want once: %s", n, log.String())
	}
	if err := e.Apply([]selvage.Listener{{Address: "127.0.0.1:0", TLS: true}}, conf); err == nil || !strings.Contains(err.Error(), cert.Key) {
		t.Errorf("a reload with a broken key: %v, want an error that names the file", err)
	}
	get(t, lives, "https://"+addr) // the connection of before
	if n := e.Stats().Accepted; n != 4 {
		t.Errorf("%d connections, want 4: the first one was used again", n)
	}
}

type syncBuffer struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func TestAllMistakesOfCertificatesAreNamed(t *testing.T) {
	a := newCA(t)
	good, other := a.issue(t, "good", soon(), "a.example"), a.issue(t, "other", soon(), "b.example")
	e := start(t, hello, nil)
	err := e.Apply([]selvage.Listener{{Address: "127.0.0.1:0", TLS: true}}, selvage.TLS{Certificates: []selvage.Certificate{
		good,
		{Certificate: good.Certificate, Key: other.Key},
		{Certificate: a.dir + "/missing.pem", Key: good.Key},
		{Certificate: good.Key, Key: good.Key},
	}})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{
		"load certificate " + good.Certificate + " with key " + other.Key + ": tls: private key does not match public key",
		"load certificate " + a.dir + "/missing.pem with key " + good.Key + ": open",
		"load certificate " + good.Key + " with key " + good.Key + ": ",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if len(e.Addrs()) != 0 {
		t.Errorf("listening on %v in spite of it", e.Addrs())
	}
}

func TestExpiredCertificateIsServedWithAWarning(t *testing.T) {
	a := newCA(t)
	var log syncBuffer
	e := start(t, hello, func(g *Group) { g.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{
		a.issue(t, "old", time.Now().Add(-time.Hour), "shop.example"),
	}})
	if got := shown(t, addr, "shop.example"); got != "old" {
		t.Errorf("shown %q", got)
	}
	if !strings.Contains(log.String(), "expired on") {
		t.Errorf("no warning: %s", log.String())
	}
}

func TestHandshakesThatComputeAreLimited(t *testing.T) {
	computing, goOn := make(chan struct{}), make(chan struct{})
	e := start(t, hello, func(g *Group) {
		g.Limits.Handshakes = 1
		g.Data = t.TempDir()
		g.AllowName = func(string) bool {
			computing <- struct{}{}
			<-goOn
			return true
		}
	})
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Development: true})

	// Those that wait for their clients hold no place.
	for range 3 {
		c := dial(t, addr)
		_, _ = io.WriteString(c, "\x16\x03\x01\x02\x00\x01")
	}
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			if _, err := shake(addr, "shop.example", nil); err != nil {
				t.Errorf("handshake: %v", err)
			}
		})
	}
	<-computing
	eventually(t, "the second handshake to wait", func() bool { return e.count(e.hits, "handshakes") > 0 })
	select {
	case <-computing:
		t.Error("two handshakes compute at once")
	default:
	}
	goOn <- struct{}{}
	<-computing
	goOn <- struct{}{}
	wg.Wait()
}

func TestSlowHandshakeIsGoneAfterTheHeadDeadline(t *testing.T) {
	a := newCA(t)
	conf := selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}}
	synctest.Test(t, func(t *testing.T) {
		l := &pipes{queue{conns: make(chan net.Conn), closed: make(chan struct{})}}
		e := start(t, hello, func(g *Group) {
			g.Listen = func(string, string) (net.Listener, error) { return l, nil }
		})
		defer e.end()
		if err := e.Apply([]selvage.Listener{{Address: ":1", TLS: true}}, conf); err != nil {
			t.Fatal(err)
		}
		c := l.dial()
		defer c.Close()
		begin := time.Now()
		for _, b := range []byte("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") {
			if _, err := c.Write([]byte{b}); err != nil {
				break
			}
			time.Sleep(time.Second)
		}
		if n, err := c.Read(make([]byte, 1)); n != 0 || err == nil {
			t.Errorf("got %d bytes, %v; want the connection closed", n, err)
		}
		if took := time.Since(begin); took > 11*time.Second {
			t.Errorf("closed after %v of virtual time, want 10s", took)
		}
		synctest.Wait()
		if e.count(e.hits, "deadline_head") != 1 {
			t.Errorf("limits %v, want deadline_head once", e.hits)
		}
	})
}

func TestWhoSpeaksHTTPToTLSIsToldSo(t *testing.T) {
	a := newCA(t)
	e := start(t, hello, nil)
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}})
	resp, err := client(t, nil, onlyHTTP1).Get("http://" + addr)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if resp.StatusCode != 400 || err != nil || !strings.Contains(string(text), "https") {
		t.Errorf("%d %q, %v; want 400 with a hint", resp.StatusCode, text, err)
	}
}

func TestDevelopmentAuthoritySignsForOurNames(t *testing.T) {
	data := t.TempDir() + "/data"
	set := func(g *Group) {
		g.Data = data
		g.AllowName = func(name string) bool { return name == "shop.example" }
	}
	e := start(t, hello, set)
	if e.CAPath() != "" {
		t.Errorf("CAPath is %q before there is an authority", e.CAPath())
	}
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Development: true})
	public, err := os.ReadFile(e.CAPath())
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(public) {
		t.Fatalf("%s holds no certificate", e.CAPath())
	}
	if strings.Contains(string(public), "PRIVATE") {
		t.Fatalf("%s holds a private key", e.CAPath())
	}
	trust := func() *tls.Config { return &tls.Config{RootCAs: pool} }
	for _, name := range []string{"shop.example", "SHOP.example", "localhost", "127.0.0.1"} {
		if _, err := shake(addr, name, trust()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := shake(addr, "evil.example", trust()); err == nil {
		t.Error("a certificate was made for a name that is not ours")
	}
	info, err := os.Stat(data + "/ca.key")
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("ca.key: %v, %v; want 0600", info.Mode(), err)
	}

	again := start(t, hello, set)
	addr = again.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Development: true})
	if _, err := shake(addr, "shop.example", trust()); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	again.listenOn(t, selvage.Listener{}, selvage.TLS{})
	if again.CAPath() != "" {
		t.Error("the authority outlived its setting")
	}
}

func TestDevelopmentCertificatesAreRenewedAndBounded(t *testing.T) {
	now := time.Now()
	a, err := openAuthority(t.TempDir(), now)
	if err != nil {
		t.Fatal(err)
	}
	all := func(string) bool { return true }
	sign := func(name string, now time.Time) *tls.Certificate {
		t.Helper()
		c, err := a.certificate(name, nil, all, now)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := sign("a.example", now)
	if sign("a.example", now.Add(59*24*time.Hour)) != first {
		t.Error("a certificate was made again without need")
	}
	later := sign("a.example", now.Add(61*24*time.Hour))
	if later == first || later.Leaf.NotAfter.Sub(first.Leaf.NotAfter) != 61*24*time.Hour {
		t.Errorf("after 61 days the certificate ends on %v, want a new one", later.Leaf.NotAfter)
	}
	clear(a.leaves)
	for i := range maxLeaves {
		a.leaves[string(rune(i+1000))] = first
	}
	sign("b.example", now)
	if n := len(a.leaves); n != 1 {
		t.Errorf("%d certificates are kept beyond the bound", n)
	}
}

func TestAuthorityThatCannotBeUsedIsAnError(t *testing.T) {
	if _, err := openAuthority("", time.Now()); err == nil {
		t.Error("no data folder was no error")
	}
	dir := t.TempDir()
	for _, text := range []string{"", "-----BEGIN EC PRIVATE KEY-----\nAAAA\n-----END EC PRIVATE KEY-----\n"} {
		if err := os.WriteFile(dir+"/ca.key", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := openAuthority(dir, time.Now()); err == nil || !strings.Contains(err.Error(), dir+"/ca.key") {
			t.Errorf("%q: %v, want an error that names the file", text, err)
		}
	}
	other := t.TempDir()
	if _, err := openAuthority(other, time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := openAuthority(other, time.Now().AddDate(11, 0, 0)); err == nil || !strings.Contains(err.Error(), "remove it") {
		t.Errorf("an expired authority: %v, want an error that says what to do", err)
	}
}

func TestTwoProcessesMakeOneAuthority(t *testing.T) {
	dir := t.TempDir()
	var wg sync.WaitGroup
	var all [4]*authority
	for i := range all {
		wg.Go(func() {
			a, err := openAuthority(dir, time.Now())
			if err != nil {
				t.Error(err)
				return
			}
			all[i] = a
		})
	}
	wg.Wait()
	for _, a := range all[1:] {
		if a == nil || !a.cert.Equal(all[0].cert) {
			t.Fatal("there are two authorities")
		}
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 2 {
		t.Errorf("%v, %v; want ca.key and ca.pem alone", left, err)
	}
}

// Whoever chose a certificate learns how its handshake ended: only a client that says so, or cannot use it, has refused it.
func TestARefusedCertificateIsToldFromALostConnection(t *testing.T) {
	a := newCA(t)
	load := func(c selvage.Certificate) *tls.Certificate {
		pair, err := tls.LoadX509KeyPair(c.Certificate, c.Key)
		if err != nil {
			t.Fatal(err)
		}
		return &pair
	}
	good, expired := load(a.issue(t, "good", soon(), "shop.example")), load(a.issue(t, "expired", time.Now().Add(-time.Hour), "shop.example"))
	var shows *tls.Certificate // changed between handshakes
	told := make(chan bool, 1)
	e := start(t, hello, func(g *Group) {
		g.Certificate = func(hello *tls.ClientHelloInfo, client netip.Addr) (*tls.Certificate, func(bool)) {
			if hello.ServerName != "shop.example" || !client.IsLoopback() {
				return nil, nil
			}
			return shows, func(refused bool) { told <- refused }
		}
	})
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "file", soon(), "file.example")}})
	if got := shown(t, addr, "file.example"); got != "file" {
		t.Errorf("another name is shown %q", got)
	}
	for _, c := range []struct {
		name    string
		shows   *tls.Certificate
		client  *tls.Config
		refused bool
	}{
		{"taken", good, &tls.Config{RootCAs: a.pool}, false},
		{"taken over TLS 1.2", good, &tls.Config{RootCAs: a.pool, MaxVersion: tls.VersionTLS12}, false},
		{"of an unknown authority", good, &tls.Config{RootCAs: x509.NewCertPool()}, true},
		{"expired", expired, &tls.Config{RootCAs: a.pool}, true},
		{"expired, over TLS 1.2", expired, &tls.Config{RootCAs: a.pool, MaxVersion: tls.VersionTLS12}, true},
		{"of a kind that the client has not", good, &tls.Config{RootCAs: a.pool, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}}, true},
		{"of the files", nil, &tls.Config{InsecureSkipVerify: true}, false},
	} {
		shows = c.shows
		_, err := shake(addr, "shop.example", c.client)
		if got := <-told; got != c.refused || (err != nil) != c.refused {
			t.Errorf("a certificate %s: refused %t (the client says %v), want %t", c.name, got, err, c.refused)
		}
	}
	shows = good
	raw, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	lost := tls.Client(&closing{Conn: raw}, &tls.Config{RootCAs: a.pool, ServerName: "shop.example"})
	if err := lost.Handshake(); err == nil {
		t.Error("a connection that broke off was good")
	}
	if <-told {
		t.Error("a connection that broke off is a refusal")
	}
}

// closing is a connection that is closed instead of being read.
type closing struct{ net.Conn }

func (c *closing) Read([]byte) (int, error) { c.Close(); return 0, io.EOF }
