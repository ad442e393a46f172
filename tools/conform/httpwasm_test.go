package conform

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// httpWasmCases is how many cases the kit of http-wasm has at the revision that
// doc/rationale.md names.
const httpWasmCases = 35

// TestHTTPWasm runs the technology compatibility kit of http-wasm: its guest as
// a function in front of its origin, over HTTP/1.1 and HTTP/2. The kit is at no
// module proxy, so SELVAGE_HTTP_WASM names a checkout of http-wasm-host-go, whose
// folder tck it is.
func TestHTTPWasm(t *testing.T) {
	kit := os.Getenv("SELVAGE_HTTP_WASM")
	if kit == "" {
		t.Skip("SELVAGE_HTTP_WASM names no checkout of github.com/http-wasm/http-wasm-host-go")
	}
	dir, origin := t.TempDir(), freeAddress(t)
	write(t, dir, "go.mod", fmt.Sprintf("module kit\n\ngo 1.26\n\nrequire github.com/http-wasm/http-wasm-host-go v0.0.0\n\nreplace github.com/http-wasm/http-wasm-host-go => %s\n", kit))
	write(t, dir, "kit_test.go", httpWasmRunner)
	e := startService(t, fmt.Sprintf(`
service: conform
hosts: ["*"]
origins: {web: {endpoints: [%q]}}
functions: {kit: {module: %q, cpu: 10s}}
routes:
  - {match: {path: /*, methods: [TRACE]}, function: kit, origin: web}
  - {match: {path: /*}, function: kit, origin: web}
`, "http://"+origin, filepath.Join(kit, "tck", "tck.wasm")))
	cmd := exec.Command("go", "test", "-count=1", "-v", ".")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=-mod=mod", "GOWORK=off", "KIT_ORIGIN="+origin, "KIT_PLAIN=http://"+e.plain, "KIT_TLS=https://"+e.tls)
	out, err := cmd.CombinedOutput()
	for _, protocol := range []string{"HTTP1", "HTTP2"} {
		passed := strings.Count(string(out), "--- PASS: TestKit/"+protocol+"/")
		t.Logf("%s: %d of %d cases passed", protocol, passed, httpWasmCases)
		if passed != httpWasmCases {
			t.Errorf("%s: %d cases passed, want %d", protocol, passed, httpWasmCases)
		}
	}
	if err != nil {
		t.Errorf("the kit: %v\n%s", err, out)
	}
}

// httpWasmRunner runs the kit in a module of its own.
const httpWasmRunner = `package kit

import (
	"crypto/tls"
	"net/http"
	"os"
	"testing"

	"github.com/http-wasm/http-wasm-host-go/tck"
)

func TestKit(t *testing.T) {
	origin := tck.StartBackend(os.Getenv("KIT_ORIGIN"))
	t.Cleanup(origin.Close)
	t.Run("HTTP1", func(t *testing.T) { tck.Run(t, new(http.Client), os.Getenv("KIT_PLAIN")) })
	t.Run("HTTP2", func(t *testing.T) {
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
		tck.Run(t, &http.Client{Transport: transport}, os.Getenv("KIT_TLS"))
	})
}
`
