package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// withModule writes a service with a function, and returns its file.
func withModule(t *testing.T, module []byte) string {
	t.Helper()
	dir := t.TempDir()
	for name, data := range map[string][]byte{
		"f.wasm": module, "s.yaml": []byte("service: s\nhosts: [\"*\"]\nfunctions: {f: {module: ./f.wasm}}\nroutes: [{match: {path: /*}, function: f}]\n"),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "s.yaml")
}

// validated runs selvage validate in this process.
func validated(t *testing.T, file string) (stdout, stderr string, err error) {
	t.Helper()
	var out, errs bytes.Buffer
	cmd := validateCommand()
	cmd.SetArgs([]string{file})
	cmd.SetOut(&out)
	cmd.SetErr(&errs)
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	err = cmd.Execute()
	return out.String(), errs.String(), err
}

func TestModulesAreLookedIntoBeforeTheyRun(t *testing.T) {
	for want, module := range map[string][]byte{
		"it is a component of WASI 0.2":              []byte("\x00asm\x0d\x00\x01\x00component"),
		"it is not WebAssembly":                      []byte("#!/bin/sh"),
		"unknown version 02000000":                   []byte("\x00asm\x02\x00\x00\x00"),
		"the module is cut off":                      []byte("\x00asm\x01\x00\x00\x00\x01\x63\x00"),
		"check module: ":                             []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x07\x0a\x01\x06_start\x00\x00\x0a\x05\x01\x03\x00\x06\x0b"), // try
		"it exports no function _start":              asm.Assemble("memory 1\nfunc $a export=a\nendfunc"),
		"imports what wasi does not have: env.abort": asm.Assemble("import env abort $a\nmemory 1\nfunc $_start export=_start\nendfunc"),
		"needs 192 MiB, the limit is 128 MiB":        asm.Assemble("memory 3072\nfunc $_start export=_start\nendfunc"),
	} {
		file := withModule(t, module)
		out, _, err := validated(t, file)
		if err == nil || !strings.Contains(out, want) || !strings.Contains(out, "s.yaml:3:25: function \"f\": ") ||
			!strings.Contains(out, "     3 | functions: {f: {module: ./f.wasm}}\n       |                         ^") {
			t.Errorf("validate says %q, %v, want %q", out, err, want)
		}
		_, err = packAll(new(bytes.Buffer), []string{file})
		problems, ok := errors.AsType[selvage.Problems](err)
		if !ok || !strings.Contains(problems.Error(), want) || problems[0].Line != 3 || problems[0].Excerpt == "" {
			t.Errorf("deploy says %v, want %q", err, want)
		}
	}
}

func TestImportsThatNobodyHasAreNotes(t *testing.T) {
	file := withModule(t, asm.Assemble("import fastly_http_req brew_tea $tea i32 -> i32\nmemory 1\nfunc $_start export=_start\nendfunc"))
	const want = `function "f": it imports fastly_http_req.brew_tea, which is not here: a call answers 5 (unsupported)`
	out, errs, err := validated(t, file)
	if err != nil || !strings.Contains(out, "valid") || !strings.Contains(errs, want) {
		t.Errorf("validate says %q and %q, %v", out, errs, err)
	}
	var notes bytes.Buffer
	if _, err := packAll(&notes, []string{file}); err != nil || !strings.Contains(notes.String(), want) {
		t.Errorf("deploy says %q, %v", notes.String(), err)
	}
}

func TestRunSaysOnceWhatNobodyHas(t *testing.T) {
	t.Parallel()
	const text = "import fastly_http_req %s $tea i32 -> i32\nmemory 1\nfunc $_start export=_start\nendfunc"
	file := withModule(t, asm.Assemble(fmt.Sprintf(text, "brew_tea")))
	replace := func(module []byte) {
		if err := os.WriteFile(filepath.Join(filepath.Dir(file), "f.wasm"), module, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := serveNode(t, "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(folder(t), "data"), file)
	for reload, name := range []string{"brew_tea", "brew_tea", "brew_coffee"} {
		if reload > 0 {
			replace(asm.Assemble(fmt.Sprintf(text, name)))
			p.signal(syscall.SIGHUP)
			p.until("it has read them again", func() bool { return strings.Count(p.stderr.String(), "msg=reloaded") == reload })
		}
	}
	replace([]byte("\x00asm\x01\x00\x00\x00\x01\x63\x00"))
	p.signal(syscall.SIGHUP)
	p.says(`reload refused.*s\.yaml:3:25: function .*the module is cut off`)
	for _, name := range []string{"brew_tea", "brew_coffee"} {
		note := `function "f": it imports fastly_http_req.` + name + `, which is not here: a call answers 5 (unsupported)`
		if said := p.stderr.String(); strings.Count(said, note) != 1 || strings.Count(said, name) != 1 {
			t.Errorf("of %s it says:\n%s", name, said)
		}
	}
	p.end()
}
