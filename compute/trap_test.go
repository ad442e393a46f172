package compute

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// trapping traps for a request in a way of its own, three functions deep.
func trapping(what string) string {
	return `
	memory 1
	table 2
	func $innermost locals=i32
		` + what + `
	endfunc
	func $middle
		call $innermost
	endfunc
	func $outer
		call $middle
	endfunc
	func $_start export=_start
		call $ask / call $answer
		call $outer
	endfunc`
}

func TestTrapsSayWhatAndWhere(t *testing.T) {
	e := newTestEngine(t, Options{})
	for what, want := range map[string]TrapKind{
		"unreachable":                       Unreachable,
		"i32.const 65536 / i32.load / drop": OutOfBounds,
		"i32.const -1 / i32.const 0 / i32.const 9 / memory.fill":       OutOfBounds,
		"i32.const 0 / i32.const 0 / i32.const 99999999 / memory.copy": OutOfBounds,
		"i32.const 1 / i32.const 0 / i32.div_u / drop":                 DivideByZero,
		"i32.const -2147483648 / i32.const -1 / i32.div_s / drop":      IntegerOverflow,
		"f64.const 1 / f64.const 0 / f64.div / i32.trunc_f64_s / drop": IntegerOverflow,
		"f64.const 0 / f64.const 0 / f64.div / i32.trunc_f64_s / drop": BadConversion,
		"i32.const 1 / call_indirect ->":                               TableBounds,
		"i32.const 3 / call $exit":                                     Exit,
		"call $panic":                                                  HostPanic,
		"call $abort":                                                  Interrupted,
	} {
		f := compileText(t, e, trapping(what), Program{})
		for range 2 { // in a sandbox that starts, and in the one that replaces it
			_, _, err := ask(t.Context(), f, 1)
			trap, ok := errors.AsType[*Trap](err)
			if !ok || trap.Kind != want {
				t.Errorf("%s: got %v, want %s", what, err, want)
				continue
			}
			names := strings.ReplaceAll(trap.StackText(), "\n", "")
			if i := strings.Index(names, "\tinnermost"); i < 0 || names[i:] != "\tinnermost\tmiddle\touter\t_start" {
				t.Errorf("%s: got the stack %q", what, names)
			}
			if got := errors.Is(err, errAborted); got != (want == Interrupted) {
				t.Errorf("%s: the host's own error is in the chain: %v", what, got)
			}
		}
	}
	if s := e.Stats(); s.Rewound != 0 {
		t.Errorf("%d requests were made in a sandbox after its trap", s.Rewound)
	}
}

func TestADefectHasOneFingerprintInEveryBuild(t *testing.T) {
	e := newTestEngine(t, Options{})
	print := func(text string, strip bool) string {
		module := asm.Assemble(testImports + text)
		if strip {
			module = module[:bytes.LastIndex(module, []byte("\x04name"))-2] // the section's number and its length
		}
		f, err := e.Compile(t.Context(), module, Program{ABI: &testABI{version: new(int)}})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, _, err = ask(t.Context(), f, 1)
		trap, ok := errors.AsType[*Trap](err)
		if !ok {
			t.Fatalf("got %v, want a trap", err)
		}
		if len(trap.Stack) < 3 || strip == strings.Contains(trap.StackText(), "innermost") {
			t.Errorf("got the stack %q", trap.StackText())
		}
		return trap.Fingerprint()
	}
	// Another build has more functions, so that all have other numbers.
	more := "func $more -> i32\n i32.const 1\n endfunc\n"
	for _, strip := range []bool{false, true} {
		a := print(trapping("unreachable"), strip)
		if b := print(more+trapping("unreachable"), strip); a != b || len(a) != 16 {
			t.Errorf("stripped %v: got %q and %q, want the same", strip, a, b)
		}
		if b := print(trapping("i32.const 1 / i32.const 0 / i32.div_u / drop"), strip); a == b {
			t.Errorf("stripped %v: another defect has the same fingerprint", strip)
		}
	}
}

func TestAGoProgramEndsInEveryWay(t *testing.T) {
	e := newTestEngine(t, Options{Folder: keptFolder()})
	f, err := e.Compile(t.Context(), goGuest(t, "hello", goHello), Program{ABI: &testABI{version: new(int)}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for range 2 {
		wantAnswers(t, f, 7, 9)
		for asked, want := range map[uint32]TrapKind{101: Exit, 102: Exit, 103: HostPanic} {
			var logged bytes.Buffer
			x := &exchange{asked: asked}
			err := f.Serve(t.Context(), &Invocation{Extra: x, Log: func(p []byte) { logged.Write(p) }})
			trap, ok := errors.AsType[*Trap](err)
			if !ok || trap.Kind != want {
				t.Errorf("asked %d: got %v, want %s", asked, err, want)
				continue
			}
			if !strings.Contains(trap.StackText(), "main.main") && asked == 103 {
				t.Errorf("got the stack\n%s", trap.StackText())
			}
			if asked == 102 && !strings.Contains(logged.String(), "guest panics") {
				t.Errorf("got the log %q", logged.String())
			}
		}
	}
}

func TestModulesThatCannotWorkAreRefused(t *testing.T) {
	e := newTestEngine(t, Options{})
	for name, c := range map[string]struct {
		text  string
		limit Limits
		want  string
		kind  LimitName
	}{
		"unknown import":     {text: "import test nothing $x\n import other thing $y\n func $_start export=_start\n endfunc", want: "it imports what test does not have: test.nothing, other.thing"},
		"other type":         {text: "import test ask $x i32\n func $_start export=_start\n endfunc", want: "it imports test.ask as a function of another type"},
		"nothing to run":     {text: "func $f export=main\n endfunc", want: "exports no function _start"},
		"start of a type":    {text: "func $f export=_start i32\n endfunc", want: "exports no function _start"},
		"too much memory":    {text: "memory 3000\n func $_start export=_start\n endfunc", want: "the module needs 187 MiB, the limit is 128 MiB", kind: LimitMemory},
		"large package":      {text: "func $_start export=_start\n endfunc", limit: Limits{Package: 10}, want: "10 are allowed", kind: LimitPackage},
		"large table":        {text: "table 200000\n func $_start export=_start\n endfunc", want: "200000 are needed", kind: LimitTables},
		"types that differ":  {text: "func $_start export=_start\n i64.const 1\n endfunc", want: "compile module"},
		"data outside":       {text: "memory 1\n data 65535 \"ab\"\n func $_start export=_start\n endfunc", want: "data segment 0 is outside"},
		"a function missing": {text: "func $_start export=_start\n call 99\n endfunc", want: "compile module"},
	} {
		_, err := e.Compile(t.Context(), asm.Assemble(c.text), Program{ABI: &testABI{version: new(int)}, Limits: c.limit})
		if err == nil {
			t.Errorf("%s: got no error", name)
			continue
		}
		contains(t, err.Error(), c.want)
		limit, ok := errors.AsType[*LimitError](err)
		if ok != (c.kind != "") || ok && limit.Name != c.kind || !ok && selvage.KindOf(err) != selvage.Invalid {
			t.Errorf("%s: got %#v of kind %s", name, err, selvage.KindOf(err))
		}
	}
}

// stubABI answers for what it does not have.
type stubABI struct{ *testABI }

func (stubABI) Stub(module, name string) (uint32, bool) { return 5, module == "test" }

func TestUnknownImportsAreUnsupported(t *testing.T) {
	e := newTestEngine(t, Options{})
	const text = `
	import test later $later i64,i64 -> i32
	func $_start export=_start
		i64.const 0 / i64.const 0 / call $later / call $answer
	endfunc`
	p := Program{ABI: stubABI{&testABI{version: new(int)}}}
	wantAnswers(t, compileText(t, e, text, p), 0, 5)
	if got, err := Check(asm.Assemble(testImports+text), p); err != nil || len(got.Unsupported) != 1 || got.Unsupported["test.later"] != 5 {
		t.Errorf("got %v, %v as what is not supported", got, err)
	}
}

func TestAGuestsPointersStayInItsMemory(t *testing.T) {
	e := newTestEngine(t, Options{})
	abi := &testABI{version: new(int), slow: func(_ context.Context, g *Guest) {
		size := g.Size()
		for _, c := range []struct {
			at, length uint32
			ok         bool
		}{
			{0, size, true}, {0, size + 1, false}, {size, 0, true}, {size + 1, 0, true}, {size - 1, 1, true}, {size, 1, false},
			{1 << 31, 1 << 31, false}, {1<<32 - 1, 1, false}, {1<<32 - 1, 1<<32 - 1, false}, {1, 1<<32 - 1, false}, {0, 1 << 31, false},
		} {
			if b, ok := g.Bytes(c.at, c.length); ok != c.ok || ok && len(b) != int(c.length) || cap(b) != len(b) {
				t.Errorf("%d bytes at %d of %d: got %d bytes and %v", c.length, c.at, size, len(b), ok)
			}
		}
		for at, ok := range map[uint32]bool{0: true, size - 8: true, size - 7: false, size: false, 1<<32 - 8: false, 1<<32 - 1: false} {
			_, a := g.Uint64(at)
			if got := [3]bool{a, g.PutUint64(at, 1), g.Write(at, make([]byte, 8))}; got != [3]bool{ok, ok, ok} {
				t.Errorf("eight bytes at %d of %d: got %v, want %v", at, size, got, ok)
			}
		}
		for at, ok := range map[uint32]bool{size - 1: true, size: false} {
			_, a := g.Uint8(at)
			if got := [2]bool{a, g.PutUint8(at, 1)}; got != [2]bool{ok, ok} {
				t.Errorf("a byte at %d of %d: got %v, want %v", at, size, got, ok)
			}
		}
		if g.Write(0, make([]byte, size+1)) {
			t.Error("more than the memory was written")
		}
	}}
	for _, memory := range []string{"memory 1", "memory 2"} {
		f := compileText(t, e, memory+"\nfunc $_start export=_start\n call $work / call $ask / call $answer / call $work\n endfunc", Program{ABI: abi})
		for range 3 {
			wantAnswers(t, f, 1, 1)
		}
	}
}

func TestWhatARequestMayUseIsLimited(t *testing.T) {
	e := newTestEngine(t, Options{})
	fetched := 0
	abi := &testABI{version: new(int), slow: func(_ context.Context, g *Guest) {
		for i := range 3 {
			_, err := g.Fetch("web", httptest.NewRequest("GET", "http://web/", nil))
			if limit, ok := errors.AsType[*LimitError](err); ok != (i == 2) || ok && limit.Name != LimitOriginRequests {
				t.Errorf("got %v, want the limit of requests to origins", err)
			}
		}
		g.Log(nil, []byte("01234567"))
		g.Log(nil, []byte("89abcdef"))
		if !g.HeaderBytes(60) || g.HeaderBytes(41) || !g.HeaderBytes(40) || g.HeaderBytes(-1) {
			t.Error("the limit of 100 bytes of headers does not hold")
		}
	}}
	f := compileText(t, e, "func $_start export=_start\n call $ask / call $answer / call $slow\n endfunc",
		Program{ABI: abi, Limits: Limits{OriginRequests: 2, LogBytes: 12, HeaderBytes: 100}})
	for range 3 {
		var log bytes.Buffer
		fetched = 0
		in := &Invocation{
			Extra: &exchange{},
			Log:   func(p []byte) { log.Write(p) },
			Fetch: func(string, *http.Request) (*http.Response, error) { fetched++; return nil, nil },
		}
		if err := f.Serve(t.Context(), in); err != nil {
			t.Fatal(err)
		}
		if log.String() != "0123456789ab" || fetched != 2 || len(in.Usage.Hit) != 3 || in.Usage.LogBytes != 12 || in.Usage.OriginRequests != 2 {
			t.Errorf("got %q, %d requests, %+v", log.String(), fetched, in.Usage)
		}
	}
}

func TestPanicsOfAGoProgramAreToldApart(t *testing.T) {
	panics := func(where ...string) *Trap {
		trap := &Trap{Kind: Exit}
		for _, name := range append([]string{"runtime.exit", "runtime.systemstack", "runtime.gopanic"}, where...) {
			trap.Stack = append(trap.Stack, Frame{Name: name})
		}
		return trap
	}
	a, b := panics("main.cut", "main.main", "runtime.main"), panics("main.page", "main.main", "runtime.main")
	if a.Fingerprint() == b.Fingerprint() || a.Error() != "exit, in main.cut" {
		t.Errorf("%s: %s, %s: %s", a, a.Fingerprint(), b, b.Fingerprint())
	}
	if only := panics(); only.Error() != "exit, in runtime.exit" {
		t.Errorf("with nothing else in it: %s", only)
	}
}
