package functions

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAGoProgramServesSeveralRequestsInOneSandbox(t *testing.T) {
	e := open(t)
	goBuild(t, filepath.Join(e.folder, "counter.wasm"), "./examples/functions/testdata/counter", "GOOS=wasip1", "GOARCH=wasm")
	file := filepath.Join(e.folder, "service.yaml")
	text := `service: counter
hosts: ["*"]
functions:
  alone: {module: counter.wasm, cpu: 10s}
  many: {module: counter.wasm, cpu: 10s, sandboxes: 1, reuse: 3}
routes: [{match: {path: /alone}, function: alone}, {match: {path: /*}, function: many}]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.serve(file)
	for i, want := range []string{"200 1", "200 2", "200 3", "200 1", "200 2"} {
		if got := e.get("/many"); got != want {
			t.Errorf("request %d: got %q, want %q", i+1, got, want)
		}
		if got := e.get("/alone"); got != "200 1" {
			t.Errorf("without reuse: got %q", got)
		}
	}
}
