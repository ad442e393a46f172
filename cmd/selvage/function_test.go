package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// says is a program for Fastly Compute that answers with a text.
func says(text string) string {
	return fmt.Sprintf(`
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 1
data 1024 %q
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 12 / i32.load / i32.const 1024 / i32.const %d / i32.const 0 / i32.const 16 / call $write / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
endfunc
`, text, len(text))
}

// traps is one that prints something and then does what it must not.
const traps = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import wasi_snapshot_preview1 fd_write $print i32,i32,i32,i32 -> i32
memory 1
data 100 "half a line"
data 200 "d\x00\x00\x00\x0b\x00\x00\x00"
func $deep
	unreachable
endfunc
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 2 / i32.const 200 / i32.const 1 / i32.const 8 / call $print / drop
	call $deep
endfunc
`

// module puts a program in the place of another, as a compiler's last step.
func module(t *testing.T, dir, text string) string {
	t.Helper()
	return write(t, dir, "main.wasm", string(asm.Assemble(text)))
}

func TestAFunctionIsSwappedOnSaveAndSaysHowItTraps(t *testing.T) {
	t.Parallel()
	dir := folder(t)
	file := module(t, dir, says("one"))
	p := serveNode(t, "--function", file, "--watch", "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(dir, "data"))
	answers := func(want string) func() bool {
		return func() bool {
			_, text := get(t, http.DefaultClient, p.url())
			return strings.HasPrefix(text, want)
		}
	}
	if !answers("one")() {
		t.Error("the program does not answer")
	}
	module(t, dir, says("another"))
	p.until("the new one answers", answers("another"))
	module(t, dir, traps)
	p.until("the one that traps is asked", answers("the function that answers here failed"))
	p.says(`"function":"main","text":"half a line","trace_id":"[0-9a-f]{32}"`)
	p.says(`"function":"main","text":"unreachable, in deep, trap [0-9a-f]{16}","trace_id":"[0-9a-f]{32}"`)
	p.says(`"function":"main","text":"\\tdeep","trace_id":"[0-9a-f]{32}"`)
	p.says(`"function":"main","text":"\\t_start","trace_id":"[0-9a-f]{32}"`)
	if err := os.WriteFile(file, []byte("no program"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.says(`reload refused`)
	module(t, dir, says("the last"))
	p.until("it answers after a build that failed", answers("the last"))
	p.end()
}

func TestAFunctionDoesNotPaintTheTerminal(t *testing.T) {
	t.Parallel()
	got := string(beside("f ", []byte("a\tb\x1b[2Jc\r\n\xffd")))
	if want := "f a\tb?[2Jc\nf \uFFFDd\n"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
