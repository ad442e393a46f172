package main

import (
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

func TestTheFunctionBeforeStandsInAfterARestart(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	write(t, dir, "one.wasm", string(asm.Assemble(says("one"))))
	write(t, dir, "two.wasm", string(asm.Assemble(traps)))
	shop := func(module string) string {
		return write(t, dir, "shop.yaml", "service: shop\nhosts: [\"*\"]\nfunctions: {f: {module: "+module+", on_failure: previous}}\n"+
			"routes: [{match: {path: /*}, function: f}]\n")
	}
	node := write(t, dir, "node.yaml", "name: ams-1\npop: ams\naccess_log: \"off\"\nlisten: [{address: \"127.0.0.1:0\"}]\nadmin: {address: \"off\"}\ndata: data\n")
	args := []string{"-c", node, shop("one.wasm")}
	p := serveNode(t, args...)
	g := &guarded{data: filepath.Join(dir, "data")}
	p.until("the file is in the log", func() bool { return strings.Contains(g.ask(t, 0, "changes"), "c-1 ") })
	shop("two.wasm")
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
	p.until("the change is in the log", func() bool { return g.change(t).ID != "c-1" })
	const trapped = `"text":"unreachable, in deep, trap `
	for _, when := range []string{"before the restart", "after it"} {
		// While the new one is compiled the old one answers for itself.
		p.until(when+" the new module traps and the old one answers", func() bool {
			_, text := get(t, http.DefaultClient, p.url())
			return text == "one" && strings.Contains(p.stderr.String(), trapped)
		})
		p.end()
		if when == "before the restart" {
			p = serveNode(t, args...)
		}
	}
}
