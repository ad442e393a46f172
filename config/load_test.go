package config

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

// certificate writes a certificate and its key, both PEM.
func certificate(t *testing.T, folder string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(folder, "cert.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, filepath.Join(folder, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})))
}

const fileService = `service: files
hosts: [files.example]
owner: "${env:SELVAGE_TEST_OWNER} and ${file:owner.txt}"
origins:
  web:
    endpoints: [https://a.example]
    tls: {ca: cert.pem, certificate: ./cert.pem, key: key.pem}
  static: {folder: ./public}
routes:
  - match: {path: /}
    origin: web
    on_failure: [{default: {file: sorry.html}}]
  - match: {path: /*}
    origin: static
`

func TestRelativeFilesAreThoseBesideTheFile(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	write(t, filepath.Join(dir, "sorry.html"), "<p>sorry")
	write(t, filepath.Join(dir, "owner.txt"), "top-secret-owner\r\n")
	write(t, filepath.Join(dir, "public", "index.html"), "hello")
	service := write(t, filepath.Join(dir, "files.yaml"), fileService)
	node := write(t, filepath.Join(dir, "node.yaml"), "tls: {certificates: [{certificate: cert.pem, key: key.pem}]}\ndata: data\naccess_log: ./a.log\n")
	t.Setenv("SELVAGE_TEST_OWNER", "secret-me")

	l, err := Load(node, []string{service})
	if err != nil {
		t.Fatal(err)
	}
	s := l.Services[0]
	want := []string{
		filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "public"),
		filepath.Join(dir, "sorry.html"), "<p>sorry", "secret-me and top-secret-owner", filepath.Join(dir, "data"), filepath.Join(dir, "a.log"),
	}
	got := []string{
		s.Origins["web"].TLS.CA, s.Origins["web"].TLS.Key, s.Origins["static"].Folder, s.Routes[0].OnFailure[0].Default.File,
		string(s.Routes[0].OnFailure[0].Default.Content), s.Owner, l.Node.Data, l.Node.AccessLog,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("paths and contents (-want +got):\n%s", diff)
	}
	for _, name := range []string{"node.yaml", "files.yaml", "owner.txt", "sorry.html", "cert.pem", "key.pem"} {
		if !slices.Contains(l.Read, filepath.Join(dir, name)) {
			t.Errorf("%s is not among the files that matter: %v", name, l.Read)
		}
	}

	shown := string(l.Show())
	if strings.Contains(shown, "secret-me") || strings.Contains(shown, "top-secret-owner") {
		t.Errorf("a value from outside is shown:\n%s", shown)
	}
	if !strings.Contains(shown, `owner: "${env:SELVAGE_TEST_OWNER} and ${file:owner.txt}"`) {
		t.Errorf("where the value comes from is not shown:\n%s", shown)
	}
	_, second, _ := strings.Cut(shown, "---\n")
	again, err := ParseService(filepath.Join(dir, "again.yaml"), []byte(second))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(s, again, samePrefix); diff != "" {
		t.Errorf("shown and read again it is another:\n%s", diff)
	}
}

func TestFilesThatCannotBeReadAreMistakes(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	write(t, filepath.Join(dir, "public"), "not a folder")
	write(t, filepath.Join(dir, "owner.txt"), "me")
	write(t, filepath.Join(dir, "sorry.html"), strings.Repeat("x", maxFile+1))
	write(t, filepath.Join(dir, "cert.pem"), "no PEM")
	if err := os.Remove(filepath.Join(dir, "key.pem")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SELVAGE_TEST_OWNER", "x")
	service := write(t, filepath.Join(dir, "files.yaml"), fileService)
	_, err := Load(filepath.Join(dir, "none.yaml"), []string{service, dir})
	if err == nil {
		t.Fatal("no mistake")
	}
	want := `$/none.yaml: there is no such file
$/files.yaml:7:15: origin "web": file "$/cert.pem" has no certificate
     7 |     tls: {ca: cert.pem, certificate: ./cert.pem, key: key.pem}
       |               ^ write a PEM file
$/files.yaml:7:55: origin "web": file "$/key.pem": there is no such file
     7 |     tls: {ca: cert.pem, certificate: ./cert.pem, key: key.pem}
       |                                                       ^
$/files.yaml:8:20: origin "static": folder "$/public": it is not a folder
     8 |   static: {folder: ./public}
       |                    ^
$/files.yaml:12:35: route "/": file "$/sorry.html": it has 1048577B, the limit is 1MiB
    12 |     on_failure: [{default: {file: sorry.html}}]
       |                                   ^
$: it is a folder`
	if got := strings.ReplaceAll(err.Error(), dir, "$"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestAuthoritiesOfClientsAreLookedAt(t *testing.T) {
	dir := t.TempDir()
	certificate(t, dir)
	write(t, filepath.Join(dir, "no.pem"), "no PEM")
	node := func(file string) string {
		return write(t, filepath.Join(dir, "node.yaml"), "listen: [{address: ':443', tls: true, client_certificates: {authorities: "+file+"}}]\ntls: {development: true}\n")
	}
	service := write(t, filepath.Join(dir, "service.yaml"), "service: a\nhosts: [a.example]\nroutes: [{match: {path: /}, redirect: {to: /x}}]\n")
	c, err := Load(node("cert.pem"), []string{service})
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Node.Listen[0].ClientCertificates; got.Authorities != filepath.Join(dir, "cert.pem") || got.Mode != "require" {
		t.Errorf("got %+v, want the file with its folder, and require", got)
	}
	if _, err = Load(node("no.pem"), []string{service}); err == nil || !strings.Contains(err.Error(), `file "`+filepath.Join(dir, "no.pem")+`": it has no certificate`) {
		t.Errorf("got %v", err)
	}
}

func TestServicesOfOneProcessShareNoHost(t *testing.T) {
	dir := t.TempDir()
	file := func(name string) string {
		return write(t, filepath.Join(dir, name+".yaml"), "service: "+name+"\nhosts: ["+name+".example, shared.example]\nroutes: [{match: {path: /}, redirect: {to: /x}}]\n")
	}
	a, b := file("a"), file("b")
	_, err := Load("", []string{a, b, a})
	want := `$/b.yaml:2:20: host "shared.example" belongs to service "a" already
     2 | hosts: [b.example, shared.example]
       |                    ^
$/a.yaml:1:10: another service has the name "a" too
     1 | service: a
       |          ^
$/a.yaml:2:9: host "a.example" belongs to service "a" already
     2 | hosts: [a.example, shared.example]
       |         ^
$/a.yaml:2:20: host "shared.example" belongs to service "a" already
     2 | hosts: [a.example, shared.example]
       |                    ^`
	if err == nil || strings.ReplaceAll(err.Error(), dir, "$") != want {
		t.Errorf("got:\n%v\nwant:\n%s", err, want)
	}
	l, err := Load("", []string{a})
	if err != nil || len(l.Services) != 1 || l.Node.Admin.Address != "127.0.0.1:9440" {
		t.Errorf("alone: %+v, %v", l, err)
	}
}

func TestMistakesAreMachineReadable(t *testing.T) {
	_, err := ParseService("shop.yaml", []byte("service: shop\nhosts: [Shop.example]\nroutes: [{match: {path: /}, redirect: {to: /x}}]\n"))
	problems, ok := errors.AsType[selvage.Problems](err)
	if !ok {
		t.Fatalf("got %T", err)
	}
	got, err := json.Marshal(problems)
	want := `[{"file":"shop.yaml","line":2,"column":9,"path":"hosts[0]","message":"\"Shop.example\" is not a host name","hint":"did you mean \"shop.example\"?","excerpt":"     2 | hosts: [Shop.example]\n       |         ^"}]`
	if err != nil || string(got) != want {
		t.Errorf("got  %s, %v\nwant %s", got, err, want)
	}
}

func TestQuickServesEverythingFromOneOrigin(t *testing.T) {
	s, err := Quick("http://127.0.0.1:3000")
	if err != nil {
		t.Fatal(err)
	}
	want := `service: quick
tier: 2
hosts: ["*"]
origins:
  web:
    endpoints: ["http://127.0.0.1:3000"]
`
	if got := string(ShowService(s)); !strings.HasPrefix(strings.ReplaceAll(got, "[http://127.0.0.1:3000]", `["http://127.0.0.1:3000"]`), want) {
		t.Errorf("got:\n%s", got)
	}
	r := s.Routes[0]
	if len(s.Routes) != 1 || r.Match.Path != "/*" || r.Cache == nil || len(r.OnFailure) != 1 || !r.OnFailure[0].Stale {
		t.Errorf("routes are %+v", s.Routes)
	}
	for url, want := range map[string]string{
		"127.0.0.1:3000":        `--origin: endpoint "127.0.0.1:3000" is not an http or https URL (did you mean "http://127.0.0.1:3000"?)`,
		"localhost:3000":        `--origin: endpoint "localhost:3000" is not an http or https URL (did you mean "http://localhost:3000"?)`,
		"http://a/b":            `--origin: endpoint "http://a/b" has a path (put the path before the request's with rewrite of the route)`,
		"http://${env:HOME}":    `--origin: endpoint "http://${env:HOME}" is not an http or https URL (write a URL such as http://10.0.0.1:8080)`,
		"\" ]\n# x":             "--origin: endpoint \"\\\" ]\\n# x\" is not an http or https URL (write a URL such as http://10.0.0.1:8080)",
		"ftp://a":               `--origin: endpoint "ftp://a" is not an http or https URL (write a URL such as http://10.0.0.1:8080)`,
		"http://user:pw@a":      `--origin: endpoint "http://user:pw@a" has a user (set Authorization with headers.request.set of the route)`,
		"http://a:99999":        `--origin: endpoint "http://a:99999" has no valid host and port`,
		"http://\u00e9.example": `--origin: endpoint "http://é.example" has no valid host and port`,
	} {
		if _, err := Quick(url); err == nil || err.Error() != want {
			t.Errorf("Quick(%q):\ngot  %v\nwant %s", url, err, want)
		}
	}
}

func TestTheNearestFileIsFound(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(dir, "xdg"))
	t.Chdir(filepath.Dir(write(t, filepath.Join(dir, "cwd", "x"), "")))
	if got := FindService(); strings.HasPrefix(got, dir) || got == "selvage.yaml" {
		t.Errorf("without a file: %q", got)
	}
	far := write(t, filepath.Join(dir, "xdg", "selvage", "selvage.yaml"), "")
	node := write(t, filepath.Join(dir, "xdg", "selvage", "node.yaml"), "")
	if got := FindService(); got != far {
		t.Errorf("got %q, want %q", got, far)
	}
	if got := FindNode(); got != node {
		t.Errorf("got %q, want %q", got, node)
	}
	write(t, filepath.Join(dir, "cwd", "selvage.yaml"), "")
	if got := FindService(); got != "selvage.yaml" {
		t.Errorf("got %q", got)
	}
}

func TestTheRevisionKnowsWhatTheDefaultAnswerHeld(t *testing.T) {
	dir := t.TempDir()
	text := "service: a\nhosts: [a]\norigins: {w: {endpoints: [http://a:1]}}\nroutes: [{match: {path: /}, origin: w, on_failure: [{default: {file: x/sorry.html}}]}]\n"
	revision := func(folder, content string) selvage.RevisionID {
		write(t, filepath.Join(dir, folder, "x", "sorry.html"), content)
		s, err := ParseService(filepath.Join(dir, folder, "a.yaml"), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return Revision(s)
	}
	one, other, moved := revision("1", "sorry"), revision("1", "so sorry"), revision("2", "sorry")
	if one == other {
		t.Errorf("two contents have the revision %s", one)
	}
	if one != moved {
		t.Errorf("in another folder it is %s, not %s", moved, one)
	}
	if len(one) != 16 {
		t.Errorf("%q has not 16 digits", one)
	}
}

// TestTheCanonicalFormStays: another form would make every revision a new one.
func TestTheCanonicalFormStays(t *testing.T) {
	_, err := ParseService("a.yaml", []byte("service: a\nhosts: [b, a]\norigins: {w: {folder: /}}\nroutes: [{match: {path: /<&}, redirect: {to: /x}}, {match: {path: /}, origin: w, cache: {}}]\n"))
	if err == nil {
		t.Fatal("the path /<& is taken")
	}
	s, err := ParseService("a.yaml", []byte("service: a\nowner: <&é\nhosts: [b, a]\norigins: {w: {folder: /}}\nroutes: [{match: {path: /}, origin: w, cache: {}, limit: {rate: 5/s}}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"service":"a","owner":"<&é","tier":2,"hosts":["b","a"],"origins":{"w":{"folder":"/","host":"keep","protocol":"http1",` +
		`"eject":{"failures":5,"for":"5s"},"timeout":{"connect":"1s","first_byte":"30s","idle":"1m","total":"1m"},` +
		`"retry":{"attempts":3,"statuses":[502,503,504],"backoff":"25ms","budget":"10%","body":"1MiB"},` +
		`"connections":{"max":1024,"idle":128,"idle_timeout":"1m","resolve":"10s"}}},` +
		`"routes":[{"match":{"path":"/"},"origin":"w","limit":{"rate":"5/s","per":"client"},` +
		`"cache":{"ttl":"0s","stale_while_revalidate":"0s","stale_if_error":"0s","max_body":"64MiB","tags":{"header":"Surrogate-Key"},"show_key":false},"log":"all"}]}`
	if got := string(Canonical(s)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAProgramInTheServiceFilesPlaceIsToldWhereItBelongs(t *testing.T) {
	for _, size := range []int{8, 2 << 20} { // the larger one is more than a service file may have
		file := filepath.Join(t.TempDir(), "main.wasm")
		module := append([]byte("\x00asm\x01\x00\x00\x00"), make([]byte, size-8)...)
		if err := os.WriteFile(file, module, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Load("", []string{file}); err == nil || !strings.Contains(err.Error(), "selvage run --function") {
			t.Errorf("%d bytes: got %v; want what to do with a program", size, err)
		}
	}
}
