package wasi

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// preview1 is every function of WASI preview 1 with its parameters (i for i32, l for i64).
var preview1 = []struct{ name, params string }{
	{"args_get", "ii"}, {"args_sizes_get", "ii"}, {"environ_get", "ii"}, {"environ_sizes_get", "ii"}, {"clock_res_get", "ii"}, {"clock_time_get", "ili"},
	{"fd_advise", "illi"}, {"fd_allocate", "ill"}, {"fd_close", "i"}, {"fd_datasync", "i"}, {"fd_fdstat_get", "ii"}, {"fd_fdstat_set_flags", "ii"},
	{"fd_fdstat_set_rights", "ill"}, {"fd_filestat_get", "ii"}, {"fd_filestat_set_size", "il"}, {"fd_filestat_set_times", "illi"}, {"fd_pread", "iiili"},
	{"fd_prestat_get", "ii"}, {"fd_prestat_dir_name", "iii"}, {"fd_pwrite", "iiili"}, {"fd_read", "iiii"}, {"fd_readdir", "iiili"}, {"fd_renumber", "ii"},
	{"fd_seek", "ilii"}, {"fd_sync", "i"}, {"fd_tell", "ii"}, {"fd_write", "iiii"}, {"path_create_directory", "iii"}, {"path_filestat_get", "iiiii"},
	{"path_filestat_set_times", "iiiilli"}, {"path_link", "iiiiiii"}, {"path_open", "iiiiillii"}, {"path_readlink", "iiiiii"}, {"path_remove_directory", "iii"},
	{"path_rename", "iiiiii"}, {"path_symlink", "iiiii"}, {"path_unlink_file", "iii"}, {"poll_oneoff", "iiii"}, {"proc_raise", "i"}, {"sched_yield", ""},
	{"random_get", "ii"}, {"sock_accept", "iii"}, {"sock_recv", "iiiiii"}, {"sock_send", "iiiii"}, {"sock_shutdown", "ii"},
}

// interpreter is a program that reads what it is to call from its body: 40 bytes
// a call, the function's number and nine parameters. It writes the errors to its answer, two bytes each.
func interpreter() []byte {
	var m, code strings.Builder
	for i, f := range preview1 {
		var types []string
		fmt.Fprintf(&code, "local.get 0\ni32.load 0\ni32.const %d\ni32.eq\nif\n", i)
		for p, l := range f.params {
			types = append(types, map[rune]string{'i': "i32", 'l': "i64"}[l])
			fmt.Fprintf(&code, "local.get 0\ni32.load %d\n", 4+4*p)
			if l == 'l' {
				code.WriteString("i64.extend_i32_s\n")
			}
		}
		fmt.Fprintf(&m, "import wasi_snapshot_preview1 %s $%s %s -> i32\n", f.name, f.name, strings.Join(types, ","))
		fmt.Fprintf(&code, "call $%s\nlocal.set 1\nend\n", f.name)
	}
	const put = "i32.const 60000\ni32.const %d\ni32.store 0\ni32.const 60004\ni32.const %d\ni32.store 0\ni32.const 1\ni32.const 60000\ni32.const 1\ni32.const 60008\ncall $fd_write\ndrop\n"
	m.WriteString("memory 2 2\ndata 61000 \"Status: 200\\n\\n\"\nfunc $_start export=_start locals=i32,i32,i32\n")
	fmt.Fprintf(&m, put, 61000, 13)
	// The body goes to 8192, so that wild pointers change nothing of it but by intent.
	m.WriteString("i32.const 60000\ni32.const 8192\ni32.store 0\ni32.const 60004\ni32.const 4096\ni32.store 0\ni32.const 0\ni32.const 60000\ni32.const 1\ni32.const 60008\ncall $fd_read\ndrop\n")
	m.WriteString("i32.const 60008\ni32.load 0\ni32.const 8192\ni32.add\nlocal.set 2\ni32.const 8192\nlocal.set 0\nblock\nloop\nlocal.get 0\nlocal.get 2\ni32.ge_u\nbr_if 1\n")
	m.WriteString("i32.const 0\nlocal.set 1\n" + code.String() + "i32.const 61500\nlocal.get 1\ni32.store 0\n")
	fmt.Fprintf(&m, put, 61500, 2)
	m.WriteString("local.get 0\ni32.const 40\ni32.add\nlocal.set 0\nbr 0\nend\nend\nendfunc\n")
	return asm.Assemble(m.String())
}

// question is a call for the interpreter.
func question(name string, args ...uint32) []byte {
	var out []byte
	for i, f := range preview1 {
		if f.name == name {
			out = binary.LittleEndian.AppendUint32(out, uint32(i))
		}
	}
	for _, a := range args {
		out = binary.LittleEndian.AppendUint32(out, a)
	}
	return append(out, make([]byte, 40-len(out))...)
}

// TestEachFunctionOfWASIDecides calls everything: what is about files and
// sockets has none, and says so by an error number.
func TestEachFunctionOfWASIDecides(t *testing.T) {
	b := newBed(t, interpreter(), compute.Limits{})
	none := map[string]bool{ // these need no file
		"args_get": true, "args_sizes_get": true, "environ_get": true, "environ_sizes_get": true, "clock_res_get": true, "clock_time_get": true,
		"sched_yield": true, "random_get": true, "proc_raise": true, "poll_oneoff": true,
	}
	for _, f := range preview1 {
		for fd := range uint32(5) {
			if none[f.name] {
				continue
			}
			args := []uint32{fd, 100, 1, 200, 300, 400, 500, 600, 700}
			_, body, err := b.serve(httptest.NewRequest("POST", "/", strings.NewReader(string(question(f.name, args...)))))
			if err != nil || len(body) < 2 {
				t.Errorf("%s: got %q, %v", f.name, body, err)
				continue
			}
			// The standard three may be asked what they are; nothing else is there.
			if errno := body[len(body)-2]; errno == 0 && fd > 2 || strings.HasPrefix(f.name, "path_") && errno == 0 || strings.HasPrefix(f.name, "sock_") && errno == 0 {
				t.Errorf("%s of file %d: got no error", f.name, fd)
			}
		}
	}
	for name, want := range map[string]byte{"proc_raise": 52, "sched_yield": 0, "random_get": 0, "clock_time_get": 0, "args_get": 0} {
		_, body, err := b.serve(httptest.NewRequest("POST", "/", strings.NewReader(string(question(name, 0, 8, 100)))))
		if err != nil || len(body) != 2 || body[0] != want {
			t.Errorf("%s: got %q, %v, want %d", name, body, err, want)
		}
	}
}

// wild are the parameters that programs get wrong.
var wild = []uint32{0, 1, 2, 3, 4, 8, 16, 100, 1024, 4096, 65536, 131068, 131071, 131072, 131073, 1 << 20, 1 << 28, 1<<31 - 1, 1 << 31, 1<<32 - 16, 1<<32 - 1}

// FuzzHostFunctions has a program call everything with whatever parameters: an
// error number comes back, and nothing of ours panics.
func FuzzHostFunctions(f *testing.F) {
	for i := range preview1 {
		for j := i % 4; j < len(wild); j += 4 { // each value with a quarter of the functions; all of them are the fuzzer's
			f.Add([]byte{byte(i), byte(j), byte(j), byte(j), byte(j), byte(j), byte(j), byte(j), byte(j), byte(j)})
			f.Add([]byte{byte(i), byte(j % 4), byte(j), 1, byte(j), 2, byte(j), 3, byte(j), 1})
			f.Add([]byte{byte(i), 8, byte(j), byte(j), 8, byte(j), 2, byte(j), 3, byte(j)})
		}
	}
	e := compute.New(compute.Options{})
	fn, err := e.Compile(f.Context(), interpreter(), compute.Program{ABI: New(Options{}), Limits: compute.Limits{Wall: 50 * time.Millisecond}})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(fn.Close)
	f.Fuzz(func(t *testing.T, p []byte) {
		var calls []byte
		for len(p) > 0 && len(calls) < 4096-40 {
			var args []uint32
			name := preview1[int(p[0])%len(preview1)].name
			for p = p[1:]; len(p) > 0 && len(args) < 9; p = p[1:] {
				args = append(args, wild[int(p[0])%len(wild)])
			}
			calls = append(calls, question(name, args...)...)
		}
		b := bed{t: t, f: fn}
		_, _, err := b.serve(httptest.NewRequest("POST", "/", strings.NewReader(string(calls))))
		trap, _ := errors.AsType[*compute.Trap](err)
		_, limit := errors.AsType[*compute.LimitError](err)
		switch {
		case err == nil || limit: // a program may overwrite its own answer, and ask for much
		case trap != nil && trap.Kind == compute.BadCall:
		default:
			t.Fatalf("got %v", err)
		}
	})
}
