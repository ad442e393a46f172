package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// reloaded signals and waits until the process says that it has taken the files.
func (p *process) reloaded() {
	p.t.Helper()
	before := strings.Count(p.stderr.String(), "msg=reloaded")
	p.signal(syscall.SIGHUP)
	p.until("the files are taken", func() bool { return strings.Count(p.stderr.String(), "msg=reloaded") > before })
}

// statusOf asks a node for its status.
func statusOf(t *testing.T, data string) client.Status {
	t.Helper()
	out, errs, status := ask(t, nil, "status", "-o", "json", "--data", data)
	var s client.Status
	if err := json.Unmarshal([]byte(out), &s); err != nil || status != 0 {
		t.Fatalf("status: %v, exit status %d, %s", err, status, errs)
	}
	return s
}

func TestWrongFileOnReloadKeepsTheOldRevision(t *testing.T) {
	t.Parallel()
	origin := newLateOrigin(t)
	dir := folder(t)
	file := service(t, dir, origin.URL, 1)
	p := serveNode(t, "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(dir, "data"), file)
	url := p.url()
	before := p.says(`service +shop .* revision (\S+)`)
	if got := statusOf(t, filepath.Join(dir, "data")).Services[0].Revision; got != before {
		t.Errorf("run says revision %s, status %s", before, got)
	}
	write(t, dir, "shop.yaml", `service: shop
hosts: ["*"]
origins: {web: {endpoints: ["`+origin.URL+`"]}}
routes:
  - {match: {path: /*}, origin: wbe}
  - {match: {path: /more}, origin: web, cash: {}}
`)
	p.signal(syscall.SIGHUP)
	p.says(`level=ERROR msg="reload refused, the old revision is kept" error=".*shop.yaml:5:\d+: .*origin \\"wbe\\" is not defined.*did you mean \\"web\\"`)
	p.says(`level=ERROR msg="reload refused, the old revision is kept" error=".*shop.yaml:6:\d+: `)
	if resp, body := get(t, http.DefaultClient, url); resp.Header.Get("X-Revision") != "1" || body != "at once" {
		t.Errorf("after a wrong file: got revision %q, %q", resp.Header.Get("X-Revision"), body)
	}
	if got := statusOf(t, filepath.Join(dir, "data")).Services[0].Revision; got != before {
		t.Errorf("after a wrong file: revision %s, want %s", got, before)
	}
	os.Remove(file)
	p.signal(syscall.SIGHUP)
	p.says(`level=ERROR msg="reload refused, the old revision is kept" error=".*shop.yaml: no such file`)
	service(t, dir, origin.URL, 2)
	p.reloaded()
	if resp, _ := get(t, http.DefaultClient, url); resp.Header.Get("X-Revision") != "2" {
		t.Errorf("after the right file: got revision %q, want 2", resp.Header.Get("X-Revision"))
	}
	p.end()
}

func TestReloadAddsAndRemovesListeners(t *testing.T) {
	t.Parallel()
	origin := newLateOrigin(t)
	dir := folder(t)
	data := filepath.Join(dir, "data")
	node := func(listen, more string) string {
		return write(t, dir, "node.yaml", "listen: "+listen+"\nadmin: {address: off}\ndata: "+data+"\n"+more)
	}
	p := serveNode(t, "-c", node(`[{address: "127.0.0.1:0"}]`, ""), service(t, dir, origin.URL, 1))
	first := p.url()
	late := origin.askLate(t, first)

	node(`[{address: "127.0.0.1:0"}, {address: "localhost:0"}]`, "")
	p.reloaded()
	both := statusOf(t, data).Listeners
	if len(both) != 2 || "http://"+both[0].Address != first {
		t.Fatalf("after one was added: got %+v, want %s and another", both, first)
	}
	second := "http://" + both[1].Address
	for _, url := range []string{first, second} {
		if _, body := get(t, http.DefaultClient, url); body != "at once" {
			t.Errorf("%s: got %q", url, body)
		}
	}

	node(`[{address: "localhost:0"}]`, "limits: {head: 16KiB}\ncache: {memory: 1MiB}\n")
	p.reloaded()
	p.says(`level=WARN msg="these settings of the node change with a restart only" settings="cache, limits"`)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	if _, body := get(t, client, second); body != "at once" {
		t.Errorf("%s: got %q", second, body)
	}
	p.until("the listener that went is closed", func() bool {
		resp, err := client.Get(first)
		if err == nil {
			resp.Body.Close()
		}
		return err != nil
	})
	close(origin.released)
	if got := <-late; got.err != nil || got.body != "late" {
		t.Errorf("a request in flight on the listener that went: got %+v", got)
	}

	// An address that cannot be had changes nothing.
	node(`[{address: "localhost:0"}, {address: "203.0.113.1:80"}]`, "")
	p.signal(syscall.SIGHUP)
	p.says(`msg="reload refused, the old revision is kept" error="listen on 203.0.113.1:80: `)
	if got := statusOf(t, data).Listeners; len(got) != 1 || "http://"+got[0].Address != second {
		t.Errorf("after a refused change: got %+v, want %s alone", got, second)
	}
	p.end()
}

// certificate writes a new one, and its key, for 127.0.0.1.
func certificate(t *testing.T, dir string, serial int64) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	of := &x509.Certificate{
		SerialNumber: big.NewInt(serial), DNSNames: []string{"shop.example"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, of, of, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, "shop.key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	write(t, dir, "shop.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
}

func TestReplacedCertificateIsServedAfterReload(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	certificate(t, dir, 1)
	node := write(t, dir, "node.yaml", `
listen: [{address: "127.0.0.1:0", tls: true}]
tls: {certificates: [{certificate: shop.pem, key: shop.key}]}
admin: {address: off}
data: data
`)
	p := serveNode(t, "-c", node, service(t, dir, newLateOrigin(t).URL, 1))
	addr := p.addr()
	client := func() *http.Client {
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "shop.example"}}
		t.Cleanup(transport.CloseIdleConnections)
		return &http.Client{Transport: transport}
	}
	serial := func(c *http.Client) int64 {
		resp, _ := get(t, c, "https://"+addr)
		return resp.TLS.PeerCertificates[0].SerialNumber.Int64()
	}
	old := client()
	if got := serial(old); got != 1 {
		t.Errorf("at first: certificate %d, want 1", got)
	}
	certificate(t, dir, 2)
	p.reloaded()
	if got := serial(client()); got != 2 {
		t.Errorf("a new handshake after the reload: certificate %d, want 2", got)
	}
	if got := serial(old); got != 1 {
		t.Errorf("an open connection after the reload: certificate %d, want that it goes on with 1", got)
	}
	write(t, dir, "shop.key", "nonsense")
	p.signal(syscall.SIGHUP)
	p.says(`msg="reload refused, the old revision is kept" error=".*node.yaml:3:\d+: `)
	if got := serial(client()); got != 2 {
		t.Errorf("after a wrong key: certificate %d, want 2", got)
	}
	p.end()
}

func TestRenamedAccessLogIsWrittenAnewAfterReload(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	log, old := filepath.Join(dir, "access.log"), filepath.Join(dir, "access.log.1")
	node := write(t, dir, "node.yaml", `
listen: [{address: "127.0.0.1:0"}]
admin: {address: off}
access_log: ./access.log
data: data
`)
	p := serveNode(t, "-c", node, service(t, dir, newLateOrigin(t).URL, 1))
	has := func(file, path string) func() bool {
		return func() bool {
			text, _ := os.ReadFile(file) // it may not be there yet
			return bytes.Contains(text, []byte(`"path":"`+path+`"`))
		}
	}
	get(t, http.DefaultClient, p.url()+"/before")
	p.until("the line is in the file", has(log, "/before"))
	if err := os.Rename(log, old); err != nil {
		t.Fatal(err)
	}
	get(t, http.DefaultClient, p.url()+"/renamed")
	p.until("the line is in the renamed file", has(old, "/renamed"))
	p.reloaded()
	p.until("there is a new file", func() bool { _, err := os.Stat(log); return err == nil })
	get(t, http.DefaultClient, p.url()+"/after")
	p.until("the line is in the new file", has(log, "/after"))
	if has(old, "/after")() {
		t.Error("the line after the reload is in the old file too")
	}
	p.end()
}
