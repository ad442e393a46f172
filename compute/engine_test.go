package compute

import (
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

func TestASandboxIsSetBackToWhereItAskedForItsRequest(t *testing.T) {
	for _, plain := range []bool{false, true} {
		e := newTestEngine(t, Options{plain: plain})
		f := compileText(t, e, `
	memory 1
	global $n i32 5
	data 16 "abc"
	func $_start export=_start locals=i32
		global.get $n / i32.const 1 / i32.add / global.set $n   ;; once only: 6
		i32.const 100 / i32.const 16 / i32.load8_u / i32.store8 0
		call $ask / local.set 0
		;; memory, globals and locals are what they were at the first ask
		global.get $n / call $answer
		i32.const 100 / i32.load8_u / call $answer
		i32.const 200 / i32.load / call $answer
		memory.size / call $answer
		i32.const 200 / local.get 0 / i32.store
		local.get 0 / global.set $n
		i32.const 3 / memory.grow / drop
		memory.size / i32.const 65536 / i32.mul / i32.const 4 / i32.sub / local.get 0 / i32.store
		call $ask / call $answer
	endfunc
`, Program{})
		if why := f.FreshBecause(); why != "" {
			t.Skip(why)
		}
		for i := range uint32(50) {
			in := wantAnswers(t, f, i, 6, 97, 0, 1, i)
			if in.Usage.Rewound != (i > 0) {
				t.Errorf("request %d: rewound %v", i, in.Usage.Rewound)
			}
		}
		if s := e.Stats(); s.Started != 1 || s.Rewound != 49 || s.Replaced != 0 {
			t.Errorf("got %+v, want one start and 49 requests set back", s)
		}
	}
}

func TestAGoProgramIsSetBack(t *testing.T) {
	e := newTestEngine(t, Options{Folder: keptFolder()})
	f, err := e.Compile(t.Context(), goGuest(t, "hello", goHello), Program{ABI: &testABI{version: new(int)}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for i := range uint32(50) {
		wantAnswers(t, f, i, i+2)
		if i%10 == 5 {
			wantAnswers(t, f, 100)
		}
	}
	if s := e.Stats(); s.Started != 1 || s.Replaced != 0 {
		t.Errorf("got %+v, want one start", s)
	}
}

func TestAFunctionHoldsNothingOfItsModule(t *testing.T) {
	f, held := compileAndHold(t)
	for end := time.Now().Add(time.Minute); held.Value() != nil; runtime.GC() {
		if time.Now().After(end) {
			t.Fatal("the module is held")
		}
	}
	wantAnswers(t, f, 3, 3)
}

// compileAndHold compiles a module that nobody but the function can hold afterwards.
func compileAndHold(t *testing.T) (*Function, weak.Pointer[byte]) {
	t.Helper()
	module := asm.Assemble(testImports + "memory 1\ndata 8 \"some data\"\nfunc $_start export=_start\n call $ask / call $answer\nendfunc")
	f, err := newTestEngine(t, Options{}).Compile(t.Context(), module, Program{ABI: &testABI{version: new(int)}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, weak.Make(&module[0])
}

func TestWhatWasCheckedIsNotLookedThroughAgain(t *testing.T) {
	module := func(answer string) []byte {
		return asm.Assemble(testImports + "memory 1\ndata 8 \"" + answer + "\"\nfunc $_start export=_start\n call $ask / drop / i32.const 8 / i32.load8_u / call $answer\nendfunc")
	}
	p := Program{ABI: &testABI{version: new(int)}}
	checked, err := Check(module("a"), p)
	if err != nil {
		t.Fatal(err)
	}
	e := newTestEngine(t, Options{})
	for i, c := range []struct {
		answer  string
		memory  uint64
		metered int64 // in all
	}{{"a", 0, 0}, {"a", 0, 0}, {"b", 0, 1}, {"a", 1 << 20, 2}} {
		p.Checked, p.Limits.Memory = checked, c.memory
		f, err := e.Compile(t.Context(), module(c.answer), p)
		if err != nil {
			t.Fatal(err)
		}
		wantAnswers(t, f, 0, uint32(c.answer[0]))
		f.Close()
		if got := e.Stats().Metered; got != c.metered {
			t.Errorf("program %d: %d modules were looked through, want %d", i, got, c.metered)
		}
	}
}
