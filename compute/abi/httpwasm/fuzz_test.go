package httpwasm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// interpreter is a guest that reads what it is to call from its request: 24
// bytes a call, the function's number and five parameters. One bit of the
// first of them says that it is called in handle_response.
func interpreter() []byte {
	var m, body strings.Builder
	all := table()
	for _, f := range all {
		fmt.Fprintf(&m, "import %s %s $%s %s", moduleName, f.name, f.name, strings.Join(letters(f.params), ","))
		if f.results != "" {
			m.WriteString(" -> " + letters(f.results)[0])
		}
		m.WriteString("\n")
	}
	for i, f := range all {
		fmt.Fprintf(&body, "local.get 1\ni32.load 0\ni32.const 255\ni32.and\ni32.const %d\ni32.eq\nif\n", i)
		for p := range f.params {
			fmt.Fprintf(&body, "local.get 1\ni32.load %d\n", 4+4*p)
		}
		fmt.Fprintf(&body, "call $%s\n", f.name)
		if f.results != "" {
			body.WriteString("drop\n")
		}
		body.WriteString("end\n")
	}
	// Goes over the calls from 0 to $end; those of the other function are left out.
	m.WriteString("memory 2 2\nglobal $end i32 0\nfunc $run i32 locals=i32\nblock\nloop\nlocal.get 1\nglobal.get $end\ni32.ge_u\nbr_if 1\n" +
		"local.get 1\ni32.load 0\ni32.const 256\ni32.and\nlocal.get 0\ni32.eq\nif\n" + body.String() +
		"end\nlocal.get 1\ni32.const 24\ni32.add\nlocal.set 1\nbr 0\nend\nend\nendfunc\n")
	m.WriteString("func $start export=_start\nendfunc\n")
	m.WriteString("func $request export=handle_request -> i64\ni32.const 7\ncall $enable_features\ndrop\ni32.const 0\ni32.const 0\ni32.const 4096\ncall $read_body\ni32.wrap_i64\nglobal.set $end\ni32.const 0\ncall $run\ni64.const 1\nendfunc\n")
	m.WriteString("func $response export=handle_response i32,i32\ni32.const 256\ncall $run\nendfunc\n")
	return asm.Assemble(m.String())
}

// wild are the parameters that programs get wrong.
var wild = []uint32{0, 1, 2, 3, 4, 16, 24, 200, 599, 4096, 65536, 131071, 131072, 131073, 1 << 20, 1 << 31, 1<<31 - 1, 1<<32 - 16, 1<<32 - 1}

// calls are bytes for the interpreter: of each of p's bytes a number of a function or a parameter.
func calls(p []byte) []byte {
	var out []byte
	for len(p) > 0 && len(out) < 4096-24 {
		n := uint32(p[0]) % uint32(len(table()))
		out = binary.LittleEndian.AppendUint32(out, n|uint32(p[0]&0x80)<<1)
		p = p[1:]
		for range 5 {
			v := uint32(0)
			if len(p) > 0 {
				v, p = wild[int(p[0])%len(wild)], p[1:]
			}
			out = binary.LittleEndian.AppendUint32(out, v)
		}
	}
	return out
}

// FuzzHostFunctions has a guest call functions with whatever parameters: they
// end it, or they do not, but nothing of ours panics.
func FuzzHostFunctions(f *testing.F) {
	for i := range table() {
		for j := range wild {
			f.Add([]byte{byte(i), byte(j), byte(j), byte(j), byte(j), byte(j), byte(i) | 0x80, 1, byte(j), 6, byte(j), 6})
			f.Add([]byte{byte(i), byte(j % 4), 5, 2, byte(j), 2, byte(i) | 0x80, byte(j), 4, byte(j), 4, byte(j)})
		}
	}
	e := compute.New(compute.Options{})
	fn, err := e.Compile(f.Context(), interpreter(), compute.Program{ABI: New(Options{Config: []byte("c"), Level: Debug, BodyBytes: 1 << 20})})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(fn.Close)
	f.Fuzz(func(t *testing.T, p []byte) {
		b := bed{t: t, f: fn, origin: echo}
		r := httptest.NewRequest("POST", "http://shop.example/", strings.NewReader(string(calls(p))))
		res, body, err := b.serve(r)
		trap, _ := errors.AsType[*compute.Trap](err)
		_, limit := errors.AsType[*compute.LimitError](err)
		switch {
		case limit || trap != nil && trap.Kind == compute.BadCall:
		case err != nil:
			t.Fatalf("got %v", err)
		case res.StatusCode < 200 || res.StatusCode > 599:
			t.Fatalf("got status %d, %q", res.StatusCode, body)
		}
	})
}
