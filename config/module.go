package config

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"

	"github.com/selvage-edge/selvage"
)

// maxModule is how large the module of a function may be, in bytes.
const maxModule = 100_000_000

// What the first eight bytes of a file of WebAssembly are.
var (
	wasmModule    = []byte("\x00asm\x01\x00\x00\x00")
	wasmMagic     = wasmModule[:4]
	wasmComponent = []byte("\x00asm\x0d\x00\x01\x00")
)

// errComponent says what to do with what is not a core module.
var errComponent = errors.New("it is a component of WASI 0.2, for which there is no engine here: compile for wasm32-wasi, which is WASI preview 1")

// function checks the module of a function, and notes its digest. What it
// imports and whether it can be metered is found out when it is compiled.
func (f *files) function(at, subject string, fn *selvage.Function) {
	if fn.Default != nil {
		fn.Default.Content = f.content(at+".default.file", subject, &fn.Default.File)
	}
	f.functionData(at, subject, fn)
	if fn.Module == "" {
		return
	}
	fn.Module = resolve(f.expand.folder, fn.Module)
	digest, err := moduleDigest(fn.Module)
	if err != nil {
		f.mistake(at+".module", "", "%smodule %q: %v", subject, fn.Module, err)
		return
	}
	fn.Digest = digest
	f.expand.read = append(f.expand.read, fn.Module)
}

// functionData reads the files of what a function finds.
func (f *files) functionData(at, subject string, fn *selvage.Function) {
	for _, store := range slices.Sorted(maps.Keys(fn.KVInitial)) {
		entries := fn.KVInitial[store]
		for _, key := range slices.Sorted(maps.Keys(entries)) {
			e := entries[key]
			e.Content = f.content(fmt.Sprintf("%s.kv_initial.%s.%s.file", at, store, key), subject, &e.File)
			entries[key] = e
		}
	}
	for _, name := range slices.Sorted(maps.Keys(fn.ACLs)) {
		l, here := fn.ACLs[name], at+".acls."+name+".file"
		if l.Content = f.content(here, subject, &l.File); l.Content == nil {
			continue
		}
		if _, err := l.Entries(); err != nil {
			f.mistake(here, "", "%sfile %q: %v", subject, l.File, err)
		}
		fn.ACLs[name] = l
	}
}

// isModule says whether a file begins as WebAssembly does, however large it is.
func isModule(name string) bool {
	if info, err := os.Stat(name); err != nil || !info.Mode().IsRegular() {
		return false // no pipe or device is waited for
	}
	file, err := os.Open(name)
	if err != nil {
		return false
	}
	defer file.Close()
	var head [4]byte
	_, err = io.ReadFull(file, head[:])
	return err == nil && bytes.Equal(head[:], wasmMagic)
}

// moduleDigest is the SHA-256 of a module, in hexadecimal.
func moduleDigest(name string) (string, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return "", plainError(err)
	case info.IsDir():
		return "", errors.New("it is a folder")
	case !info.Mode().IsRegular():
		return "", errors.New("it is not a regular file")
	case info.Size() > maxModule:
		return "", fmt.Errorf("it has %s, the limit is %s", selvage.ByteSize(info.Size()), selvage.ByteSize(maxModule))
	}
	file, err := os.Open(name)
	if err != nil {
		return "", plainError(err)
	}
	defer file.Close()
	var head [8]byte
	n, err := io.ReadFull(file, head[:])
	switch {
	case err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF):
		return "", plainError(err)
	case bytes.Equal(head[:n], wasmComponent):
		return "", errComponent
	case !bytes.HasPrefix(head[:n], wasmMagic):
		return "", errors.New("it is not WebAssembly: name what the compiler wrote for wasm32-wasi")
	case !bytes.Equal(head[:n], wasmModule):
		return "", fmt.Errorf("it is WebAssembly of an unknown version %x", head[4:n])
	}
	sum := sha256.New()
	sum.Write(head[:])
	if _, err := io.Copy(sum, io.LimitReader(file, maxModule)); err != nil {
		return "", plainError(err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
