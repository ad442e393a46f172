package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
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
		if err == nil || !strings.Contains(out, want) || !strings.Contains(out, "function \"f\": ") {
			t.Errorf("validate says %q, %v, want %q", out, err, want)
		}
		_, err = packAll(new(bytes.Buffer), []string{file})
		problems, ok := errors.AsType[selvage.Problems](err)
		if !ok || !strings.Contains(problems.Error(), want) {
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
