package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// guest is a program that answers hello.
type guest struct {
	name   string // as services have names
	title  string // as a reader knows it
	made   string // with what, in words
	module string
	target float64 // requests a second
	reset  string  // what setting it back may take
}

// imports are what the programs written here need of the interface.
const imports = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 17
data 2048 "hello\n"
`

// answer answers hello.
const answer = `
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 12 / i32.load / i32.const 2048 / i32.const 6 / i32.const 0 / i32.const 16 / call $write / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
`

// ask asks for the request.
const ask = "\n	i32.const 0 / i32.const 4 / call $get / drop\n"

// program is a program in the assembler's words.
func program(body string) []byte {
	return asm.Assemble(imports + "func $_start export=_start\n" + ask + body + "\nendfunc")
}

// endless never ends by itself, and hog takes as much memory as it gets first.
const (
	endless = "loop\nbr 0\nend"
	hog     = `
	loop
		i32.const 16 / memory.grow / i32.const -1 / i32.eq
		if
			unreachable
		end
		memory.size / i32.const 16 / i32.shl / i32.const 1048576 / i32.sub / i32.const 7 / i32.const 1048576 / memory.fill
		br 0
	end`
)

// build makes the node and the programs.
func (b *bench) build(ctx context.Context) error {
	b.say("build the node and the programs in %s", b.dir)
	if err := goBuild(ctx, filepath.Join(b.dir, "selvage"), "./cmd/selvage", "CGO_ENABLED=0"); err != nil {
		return err
	}
	for name, body := range map[string]string{"small": answer, "endless": endless, "hog": hog} {
		if err := os.WriteFile(b.module(name), program(body), 0o600); err != nil {
			return err
		}
	}
	if err := goBuild(ctx, b.module("go"), "./examples/functions/hello", "GOOS=wasip1", "GOARCH=wasm"); err != nil {
		return err
	}
	b.guests = []guest{
		{"small", "small", "by hand, as C would be", b.module("small"), 25_000, "5 µs"},
		{"go", "Go", "standard Go with package guest", b.module("go"), 2_000, "120 µs"},
	}
	for _, js := range []guest{
		{"assemblyscript", "AssemblyScript", "@fastly/as-compute", b.module("as"), 25_000, "5 µs"},
		{"javascript", "JavaScript", "@fastly/js-compute", b.module("js"), 1_800, "120 µs"},
	} {
		b.say("build %s", js.title)
		if err := b.npm(ctx, js); err != nil {
			b.say("%s is left out: %v", js.title, err)
			continue
		}
		b.guests = append(b.guests, js)
	}
	return nil
}

func (b *bench) module(name string) string { return filepath.Join(b.dir, name+".wasm") }

func goBuild(ctx context.Context, out, pkg string, env ...string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", out, pkg)
	cmd.Env = append(os.Environ(), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", pkg, err, text)
	}
	return nil
}

const (
	assemblyScript = `import { Fastly, Response } from "@fastly/as-compute";
Fastly.getClientRequest();
Fastly.respondWith(new Response(String.UTF8.encode("hello\n"), { status: 200, headers: null, url: null }));
`
	javaScript = `addEventListener("fetch", e => e.respondWith(new Response("hello\n")));
`
)

// npm builds a program with what npm has installed.
func (b *bench) npm(ctx context.Context, g guest) error {
	tool, source, text := "js-compute-runtime", "hello.js", javaScript
	if g.name == "assemblyscript" {
		tool, source, text = "asc", "hello.ts", assemblyScript
	}
	folder, err := filepath.Abs(b.javascript)
	if err != nil {
		return err
	}
	bin := filepath.Join(folder, "node_modules", ".bin", tool)
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("no %s in %s: npm install there first", tool, b.javascript)
	}
	// The compilers look for libraries from the folder of the program upwards.
	work := filepath.Join(b.dir, strings.TrimSuffix(filepath.Base(g.module), ".wasm"))
	if err := os.MkdirAll(work, 0o700); err != nil {
		return err
	}
	if err := os.Symlink(filepath.Join(folder, "node_modules"), filepath.Join(work, "node_modules")); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(work, source), []byte(text), 0o600); err != nil {
		return err
	}
	args := []string{source, g.module}
	if tool == "asc" {
		args = []string{source, "-o", g.module, "-O3"}
	}
	cmd := exec.CommandContext(ctx, bin, args...)
	cmd.Dir = work
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", tool, err, text)
	}
	return nil
}
