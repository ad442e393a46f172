package functions

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// npmBuild builds one of the examples that have a compiler of their own, in a
// folder of the test's, and returns that folder. It installs nothing.
func npmBuild(t *testing.T, name string) string {
	t.Helper()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("node and npm are not here")
	}
	installed, err := filepath.Abs(filepath.Join(name, "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(installed); err != nil {
		t.Skipf("%s is not here: make examples installs it", installed)
	}
	folder := t.TempDir()
	files, err := filepath.Glob(filepath.Join(name, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := filepath.Glob(filepath.Join(name, "assembly", "*.ts"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, more...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(folder, strings.TrimPrefix(file, name))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(installed, filepath.Join(folder, "node_modules")); err != nil {
		t.Fatal(err)
	}
	build := exec.CommandContext(t.Context(), "npm", "run", "build")
	build.Dir = folder
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", name, err, out)
	}
	return folder
}

// at replaces the origin of an example's file by that of the test.
func (e *edge) at(file string) string {
	e.t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		e.t.Fatal(err)
	}
	text = []byte(strings.ReplaceAll(string(text), "http://127.0.0.1:3000", e.origin))
	if err := os.WriteFile(file, text, 0o600); err != nil {
		e.t.Fatal(err)
	}
	return file
}

// javascriptService is what its fastly.toml says, with time for a machine that is busy.
const javascriptService = `service: javascript
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN], host: keep}}
functions:
  main:
    module: bin/main.wasm
    cpu: 30s
    config: {settings: {greeting: good day}}
    secrets: {keys: {signing: key}}
    kv: [visits]
    places: {127.0.0.1: '{"city":"Bern"}', "::1": '{"city":"Bern"}'}
routes: [{match: {path: /*}, function: main}]
`

func TestAProgramInJavaScriptRuns(t *testing.T) {
	folder := npmBuild(t, "javascript")
	e := open(t)
	authority, ann := person(t, e.folder, "ann")
	log := e.serveLogged(authority, strings.ReplaceAll(javascriptService, "bin/main.wasm", filepath.Join(folder, "bin/main.wasm")))
	expect(t, "hello", e.get("/hello"), "200 hello 127.0.0.1 from javascript\n")
	expect(t, "a path of no function", e.get("/some/page?x=1"), "200 plan ")
	expect(t, "asked", e.took(), "GET shop.example/some/page")
	expect(t, "three at once", e.get("/all"), `200 ["part 1","part 2","part 3"]`)
	for _, path := range []string{"/simple", "/core"} {
		first := e.get(path)
		if !strings.HasPrefix(first, "200 made ") {
			t.Errorf("%s: got %q", path, first)
		}
		expect(t, path+" again", e.get(path), first)
	}
	e.took()
	first := e.get("/cached")
	if !strings.HasPrefix(first, "200 plan  20") { // the hook has run
		t.Errorf("/cached: got %q", first)
	}
	expect(t, "cached", e.get("/cached"), first)
	expect(t, "asked", e.took(), "GET api.internal/news")
	for n := range 3 {
		expect(t, "visits", e.get("/kv?who=ann"), fmt.Sprintf("200 ann was here %d times\n", n+1))
	}
	// The HMAC of /signed with SHA-256 and the key "key".
	expect(t, "signed", e.get("/signed"), "200 good day /signed 6d7f4d9f0dc2a9a443a467fb24a32d4aacd5311565d834577dcefdf347f2fbe2\n")
	expect(t, "made while it is sent", e.get("/count"), "200 line 0\nline 1\nline 2\nline 3\nline 4\n")
	big := strings.Repeat("some text ", 100_000)
	expect(t, "changed while it goes through", e.do("POST", "/upper", big), "200 "+strings.ToUpper(big))
	expect(t, "digest", e.do("POST", "/digest", "abc"), "200 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n")
	answers := map[string]bool{}
	for range 40 {
		answers[e.get("/limited")] = true
	}
	if !answers["200 go on\n"] || !answers["429 rest\n"] {
		t.Errorf("of 40 requests some go on and some do not: got %v", answers)
	}
	e.logged(log, "abuse: 127.0.0.1", ": GET /hello")
	expect(t, "about a client", e.get("/about"), `200 {"city":"Bern","tls":null}`)
	for _, h2 := range []bool{false, true} {
		res, said := e.overTLS("/about", h2, &ann)
		text, err := io.ReadAll(res.Body)
		var about struct {
			City string
			TLS  struct {
				JA3, JA4, Protocol string
				Hello, Certificate int
			}
		}
		if err := errors.Join(err, json.Unmarshal(text, &about)); err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		pemSize := len(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ann.Certificate[0]}))
		if a := about.TLS; about.City != "Bern" || len(a.JA3) != 32 || !strings.HasPrefix(a.JA4, "t13d") || a.Protocol != "TLSv1.3" || a.Hello != len(said.first)-5 || a.Certificate != pemSize {
			t.Errorf("about a client over TLS: %s, want a hello of %d bytes and a certificate of %d", text, len(said.first)-5, pemSize)
		}
	}
}

func TestAProgramInAssemblyScriptRuns(t *testing.T) {
	folder := npmBuild(t, "assemblyscript")
	e := open(t)
	e.serve(e.at(filepath.Join(folder, "fastly.toml")))
	for range 3 {
		expect(t, "hello", e.get("/hello"), "200 hello 127.0.0.1\n")
	}
	expect(t, "greeting", e.get("/greeting"), "200 good day\n")
	expect(t, "an origin", e.get("/page"), "200 plan gold")
	expect(t, "asked", e.took(), "GET shop.example/page")
}
