package config

import (
	"path/filepath"
	"testing"

	"github.com/selvage-edge/selvage"
)

func TestMistakesFoundElsewhereGetTheirPlace(t *testing.T) {
	dir := t.TempDir()
	// The module is not there: mistakes of the file's own are not told again.
	file := write(t, filepath.Join(dir, "a.yaml"), "service: a\nhosts: [a]\nfunctions:\n  f: {cpu: 1s,\n    module: ./none.wasm}\nroutes: [{match: {path: /}, function: f}]\n")
	found := selvage.Problems{{File: file, Path: "functions.f.module", Message: "it is wrong"}}
	got := Place(file, found)
	want := "a.yaml:5:13: it is wrong\n     5 |     module: ./none.wasm}\n       |             ^"
	if got.Error() != filepath.Join(dir, want) {
		t.Errorf("got:\n%v\nwant:\n%s", got, want)
	}
	if got := Place(filepath.Join(dir, "gone.yaml"), found); len(got) != 1 || got[0] != found[0] {
		t.Errorf("without the file: %v", got)
	}
	if got := Place(file, nil); got.Err() != nil {
		t.Errorf("of nothing: %v", got)
	}
}
