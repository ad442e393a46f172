package functions

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// prying says clean or dirty, by whether it finds anything in its memory, its
// globals or its size that was not there when it began, then its own request, which it
// leaves everywhere: in memory, in pages that it grows, and in globals.
const prying = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req uri_get $uri i32,i32,i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 2 8
global $secret i64 0
global $dirt i32 0
data 1024 "clean dirty "
func $scan i32 locals=i32
	loop
		local.get 0 / i64.load / i64.const 0 / i64.ne / global.get $dirt / i32.add / global.set $dirt
		local.get 0 / i32.const 8 / i32.add / local.tee 0
		memory.size / i32.const 16 / i32.shl / i32.lt_u / br_if 0
	end
endfunc
func $leave locals=i32
	i32.const 2048 / local.set 0
	loop
		local.get 0 / global.get $secret / i64.store
		local.get 0 / i32.const 8 / i32.add / local.tee 0
		memory.size / i32.const 16 / i32.shl / i32.lt_u / br_if 0
	end
endfunc
func $_start export=_start locals=i32
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 2048 / call $scan
	global.get $secret / i64.const 0 / i64.ne / global.get $dirt / i32.add / global.set $dirt
	memory.size / i32.const 2 / i32.ne / global.get $dirt / i32.add / global.set $dirt
	i32.const 2 / memory.grow / drop
	i32.const 131072 / call $scan
	i32.const 0 / i32.load / i32.const 2048 / i32.const 1000 / i32.const 16 / call $uri / drop
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 12 / i32.load
	i32.const 1024 / global.get $dirt / i32.const 0 / i32.ne / i32.const 6 / i32.mul / i32.add
	i32.const 6 / i32.const 0 / i32.const 20 / call $write / drop
	i32.const 12 / i32.load / i32.const 2048 / i32.const 16 / i32.load / i32.const 0 / i32.const 20 / call $write / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
	i32.const 2068 / i64.load / global.set $secret
	call $leave
endfunc
`

func TestNothingOfAnotherRequestIsReadThroughTheEdge(t *testing.T) {
	e := open(t)
	file := filepath.Join(e.folder, "service.yaml")
	for name, data := range map[string][]byte{
		filepath.Join(e.folder, "prying.wasm"): asm.Assemble(prying),
		file: []byte(`service: prying
hosts: ["*"]
functions: {one: {module: prying.wasm, sandboxes: 3, cpu: 10s}, two: {module: prying.wasm, sandboxes: 2, cpu: 10s}}
routes: [{match: {path: /one/*}, function: one}, {match: {path: /two/*}, function: two}]
`),
	} {
		if err := os.WriteFile(name, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	e.serve(file)
	const clients, each = 8, 1250
	var wg sync.WaitGroup
	for range clients {
		wg.Go(func() {
			for range each {
				path := fmt.Sprintf("/%s/%016x", []string{"one", "two"}[rand.IntN(2)], rand.Uint64())
				if got := e.get(path); got != "200 clean http://shop.example"+path {
					t.Errorf("%s: got %q", path, got)
					return
				}
			}
		})
	}
	wg.Wait()
}
