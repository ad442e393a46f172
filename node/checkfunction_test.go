package node

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/selvage-edge/selvage/config"
)

func TestModulesThatCannotRunAreRefusedByName(t *testing.T) {
	good := asm.Assemble("memory 1\nfunc $_start export=_start\nendfunc")
	for want, c := range map[string]struct {
		kind   string
		module []byte
	}{
		"it is not a module of WebAssembly":      {"auto", []byte("\x00asm\x0d\x00\x01\x00component")},
		"check module":                           {"wasi", []byte("\x00asm\x0d\x00\x01\x00component")},
		"the module is cut off":                  {"auto", append([]byte("\x00asm\x01\x00\x00\x00"), 1, 99, 0)},
		"check module: ":                         {"wasi", good[:len(good)-3]},
		"no function _start":                     {"auto", asm.Assemble("memory 1\nfunc $a export=a\nendfunc")},
		"exports no function handle_request":     {"http-wasm", good},
		"does not have: env.fly":                 {"auto", asm.Assemble("import env fly $fly\nmemory 1\nfunc $_start export=_start\nendfunc")},
		"does not have: http_handler.fly":        {"auto", asm.Assemble("import http_handler fly $fly\nmemory 1\nfunc $_start export=_start\nendfunc")},
		"memory limit: the module needs 256 MiB": {"auto", asm.Assemble("memory 4096\nfunc $_start export=_start\nendfunc")},
		"fd_write as a function of another type": {"wasi", asm.Assemble("import wasi_snapshot_preview1 fd_write $w i32\nmemory 1\nfunc $_start export=_start\nendfunc")},
		"get_method as a function of another":    {"http-wasm", asm.Assemble("import http_handler get_method $m\nfunc $a export=handle_request -> i64\ni64.const 0\nendfunc\nfunc $b export=handle_response i32,i32\nendfunc")},
	} {
		notes, err := new(Checks).Function(&selvage.Function{Interface: c.kind}, c.module)
		if err == nil || !strings.Contains(err.Error(), want) || notes != nil {
			t.Errorf("got %v, notes %v, want %q", err, notes, want)
		}
	}
	for i := range good { // cut off anywhere: an error or, behind all that counts, none, but never a panic
		_, _ = new(Checks).Function(&selvage.Function{Interface: "auto"}, good[:i])
	}
}

func TestWhatIsKeptOfCheckedModulesIsBounded(t *testing.T) {
	module := func(name string) (code []byte, digest string) {
		code = asm.Assemble("memory 1\nfunc $_start export=_start\nendfunc\nfunc $x export=" + name + "\nendfunc")
		sum := sha256.Sum256(code)
		return code, hex.EncodeToString(sum[:])
	}
	check := func(c *Checks, name string) string {
		t.Helper()
		code, digest := module(name)
		if _, err := c.Function(&selvage.Function{}, code); err != nil {
			t.Fatal(err)
		}
		return digest
	}
	var c Checks
	one := check(&c, "a")
	c.Bytes = c.take(one).Size() + 1
	check(&c, "a") // the same takes its own place
	two := check(&c, "b")
	if c.take(one) == nil || c.take(two) != nil {
		t.Errorf("kept the first: %v, the second: %v; there is room for the first", c.take(one) != nil, c.take(two) != nil)
	}
	if left := c.forget(); left != 1 {
		t.Errorf("%d had no room, want 1", left)
	}
	if two = check(&c, "b"); c.take(two) == nil || c.forget() != 0 {
		t.Error("there was no room after all were forgotten")
	}
}

func TestImportsThatNobodyHasAreNamed(t *testing.T) {
	notes, err := new(Checks).Function(&selvage.Function{}, asm.Assemble(`
	import fastly_http_req brew_tea $tea i32 -> i32
	import wasi_snapshot_preview1 sock_open $open i32 -> i32
	memory 1
	func $_start export=_start
	endfunc`))
	want := "[it imports fastly_http_req.brew_tea, which is not here: a call answers 5 (unsupported) it imports wasi_snapshot_preview1.sock_open, which is not here: a call answers 52 (unsupported)]"
	if got := fmt.Sprint(notes); err != nil || got != want {
		t.Errorf("got %s, %v, want %s", got, err, want)
	}
}

// cgiGuest answers with a fixed page, and traps when it is asked to by the length of its body.
const cgiGuest = `
	import wasi_snapshot_preview1 fd_write $write i32,i32,i32,i32 -> i32
	import wasi_snapshot_preview1 fd_read $read i32,i32,i32,i32 -> i32
	memory 2
	data 1024 "Status: 201\nContent-Type: text/plain\nCache-Control: max-age=60\n\npage"
	func $_start export=_start
		i32.const 0 / i32.const 4096 / i32.store 0
		i32.const 4 / i32.const 100 / i32.store 0
		i32.const 0 / i32.const 0 / i32.const 1 / i32.const 16 / call $read / drop
		i32.const 16 / i32.load 0 / i32.const 13 / i32.eq
		if
			unreachable
		end
		i32.const 0 / i32.const 1024 / i32.store 0
		i32.const 4 / i32.const 68 / i32.store 0
		i32.const 1 / i32.const 0 / i32.const 1 / i32.const 16 / call $write / drop
	endfunc`

func TestAPlainProgramIsAFunction(t *testing.T) {
	b := serveGuests(t, `
service: shop
hosts: [shop.example]
functions:
  page: {module: FILE(page), cpu: 10s, interface: wasi}
  found: {module: FILE(page), cpu: 10s}
  silent: {module: FILE(silent), cpu: 10s}
origins: {page: {function: found}}
routes:
  - {match: {path: /page}, function: page}
  - {match: {path: /trap}, function: page}
  - {match: {path: /silent}, function: silent}
  - {match: {path: /stored}, origin: page, cache: {}}
`, nil, map[string]string{"page": textGuest(t, "page", cgiGuest), "silent": textGuest(t, "silent", "memory 1\nfunc $_start export=_start\nendfunc")})
	for range 2 {
		if got := b.get("/page"); got != "201 page" {
			t.Errorf("got %q", got)
		}
		if got := b.get("/stored"); got != "201 page" {
			t.Errorf("as an origin: got %q", got)
		}
	}
	if got := b.do("POST", "/trap", strings.Repeat("x", 13)); !strings.HasPrefix(got, "500 ") {
		t.Errorf("a trap: got %q", got)
	}
	if r := b.last("/trap"); r.Function.Trap == "" {
		t.Errorf("the record has no fingerprint: %+v", r.Function)
	}
	if got := b.get("/silent"); !strings.HasPrefix(got, "500 ") {
		t.Errorf("a program that says nothing: got %q", got)
	}
	if r := b.last("/silent"); !strings.Contains(r.Detail, "before the empty line behind the fields") {
		t.Errorf("the record says %q", r.Detail)
	}
}

func TestANodeLooksThroughAModuleOnce(t *testing.T) {
	file := textGuest(t, "page", cgiGuest)
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	checks := new(Checks)
	conf := selvage.Config{Node: config.DefaultNode()}
	conf.Node.Name, conf.Node.AccessLog, conf.Node.Admin.Address = "edge-1", "off", "off"
	conf.Node.Listen = []selvage.Listener{{Address: "127.0.0.1:0"}}
	s, err := config.ParseService("test.yaml", fmt.Appendf(nil, "service: shop\nhosts: [shop.example]\nfunctions: {page: {module: %s}}\nroutes: [{match: {path: /*}, function: page}]\n", file))
	if err != nil {
		t.Fatal(err)
	}
	f := s.Functions["page"]
	if _, err := checks.Function(&f, module); err != nil {
		t.Fatal(err)
	}
	conf.Services = []selvage.Service{s}
	n, err := New(Options{Config: conf, Checks: checks})
	if err != nil {
		t.Fatal(err)
	}
	if got := n.registry.functions.engine.Stats(); got.Metered != 0 || got.Compiled != 1 {
		t.Errorf("got %+v, want one module, and to have looked through none", got)
	}
	if checks.good != nil {
		t.Error("what was found of modules is kept for nobody")
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := n.Run(ended); err != nil {
		t.Error(err)
	}
}
