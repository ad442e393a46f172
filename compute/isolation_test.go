package compute

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/tetratelabs/wazero/api"
)

// prying answers with the number of words that are not what the program left
// there before it was asked, then leaves its request everywhere.
const prying = `
	memory 2
	global $secret i64 0
	global $other f64 0
	global $third i32 11
	func $scan i32 -> i32 locals=i32
		loop
			local.get 0 / i32.load / i32.const 0 / i32.ne / local.get 1 / i32.add / local.set 1
			local.get 0 / i32.const 64 / i32.add / local.tee 0
			memory.size / i32.const 16 / i32.shl / i32.lt_u / br_if 0
		end
		local.get 1
	endfunc
	func $leave i32,i32 locals=i32
		local.get 1
		loop
			local.get 2 / local.get 0 / i32.store
			local.get 2 / i32.const 64 / i32.add / local.tee 2
			local.get 1 / i32.lt_u / br_if 0
		end
		drop
	endfunc
	func $work i32 -> i32
		i32.const 0 / call $scan
		global.get $secret / i64.eqz / i32.eqz / i32.add
		global.get $other / i64.trunc_sat_f64_s / i64.eqz / i32.eqz / i32.add
		global.get $third / i32.const 11 / i32.ne / i32.add
		memory.size / i32.const 2 / i32.ne / i32.add
		i32.const 2 / memory.grow / i32.const 2 / i32.ne / i32.add
		i32.const 131072 / call $scan / i32.add
	endfunc
	func $_start export=_start locals=i32,i32,i32,i32
		call $ask / local.set 0
		;; locals are on the stack of the compiled code
		local.get 1 / local.get 2 / i32.or / local.get 3 / i32.or
		local.get 0 / call $work / i32.add / call $answer
		local.get 0 / local.tee 1 / local.tee 2 / local.set 3
		local.get 0 / i64.extend_i32_u / global.set $secret
		local.get 0 / f64.convert_i32_u / global.set $other
		local.get 0 / global.set $third
		local.get 0 / memory.size / i32.const 16 / i32.shl / call $leave
		local.get 1 / call $answer
	endfunc`

// scattered does what prying does in a word of each of 512 pages, every other
// two of which were written to while it started; what it leaves has gaps, so
// that many separate places have to be set back.
const scattered = `
	memory 32
	func $was i32 -> i32
		local.get 0 / i32.const 4096 / i32.div_u / i32.const 2 / i32.and
		if i32
			local.get 0
		else
			i32.const 0
		end
	endfunc
	func $_start export=_start locals=i32,i32,i32
		loop
			local.get 1 / local.get 1 / call $was / i32.store 8
			local.get 1 / i32.const 4096 / i32.add / local.tee 1 / i32.const 2097152 / i32.lt_u / br_if 0
		end
		call $ask / local.set 0
		i32.const 0 / local.set 1
		loop
			local.get 1 / i32.load 8 / local.get 1 / call $was / i32.ne / local.get 2 / i32.add / local.set 2
			local.get 1 / i32.const 4096 / i32.add / local.tee 1 / i32.const 2097152 / i32.lt_u / br_if 0
		end
		local.get 2 / call $answer
		local.get 0 / i32.const 3 / i32.and / i32.const 12 / i32.shl / local.set 1
		loop
			local.get 1 / local.get 0 / i32.store 8
			local.get 0 / i32.const 2 / i32.shr_u / i32.const 3 / i32.and / i32.const 2 / i32.add / i32.const 12 / i32.shl
			local.get 1 / i32.add / local.tee 1 / i32.const 2097152 / i32.lt_u / br_if 0
		end
		local.get 0 / call $answer
	endfunc`

// tables keeps its request in a table too.
const tables = `
	table 3 8
	elem 0 $zero $zero $zero
	elem passive $one $one
	func $zero -> i32
		i32.const 0
	endfunc
	func $one -> i32
		i32.const 1
	endfunc
	func $_start export=_start locals=i32
		call $ask / local.set 0
		table.size 0 / i32.const 3 / i32.sub
		i32.const 0 / call_indirect ->i32 / i32.add
		i32.const 1 / call_indirect ->i32 / i32.add
		i32.const 2 / call_indirect ->i32 / i32.add / call $answer
		local.get 0 / i32.const 1 / i32.and
		if
			i32.const 1 / i32.const 0 / i32.const 2 / table.init 1 0
			i32.const 0 / i32.const 1 / i32.const 1 / table.copy 0 0
			ref.func $one / i32.const 2 / table.grow 0 / drop
			elem.drop 1
		end
		local.get 0 / call $answer
	endfunc`

func TestNothingOfAnotherRequestIsEverRead(t *testing.T) {
	for name, c := range map[string]struct {
		text  string
		fresh bool
		plain bool
		older bool
		count int
	}{
		"set back":                      {text: prying, count: 10_000},
		"set back, older":               {text: prying, older: true, count: 2_000},
		"set back, by copying":          {text: prying, plain: true, count: 500},
		"set back, scattered":           {text: scattered, count: 1000},
		"set back, scattered and older": {text: scattered, older: true, count: 1000},
		"fresh":                         {text: prying, fresh: true, count: 500},
		"fresh, by copying":             {text: prying, fresh: true, plain: true, count: 500},
		"tables":                        {text: tables, count: 2_000},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, Options{plain: c.plain, older: c.older})
			f := compileText(t, e, c.text, Program{Fresh: c.fresh, Limits: Limits{Sandboxes: 5, CPU: 1 << 40}})
			if back := f.FreshBecause() == ""; back != strings.HasPrefix(name, "set back") && engineLayout().ok {
				t.Errorf("got %q as why it starts anew", f.FreshBecause())
			}
			requests := rand.Perm(c.count)
			work := make(chan uint32)
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for n := range work {
						got, _, err := ask(context.Background(), f, n)
						if err != nil || len(got) != 2 || got[0] != 0 || got[1] != n {
							t.Errorf("request %d: got %v and %v, want nothing of others", n, got, err)
						}
					}
				})
			}
			for _, n := range requests {
				work <- uint32(n) | 1<<20
			}
			close(work)
			wg.Wait()
			if s := e.Stats(); f.FreshBecause() == "" && (s.Started > 5 || s.Rewound < int64(c.count)-5) {
				t.Errorf("got %+v, want five sandboxes for all", s)
			}
		})
	}
}

// TestWhatCannotBeSetBackStartsAnew names each instruction alone that changes
// what a sandbox cannot set back.
func TestWhatCannotBeSetBackStartsAnew(t *testing.T) {
	e := newTestEngine(t, Options{})
	const before = "memory 1\ntable 3 8\nelem passive $one\ndata passive \"x\"\nfunc $one\nendfunc\n%s\nfunc $_start export=_start\n call $ask / call $answer\n %s\nendfunc"
	for _, c := range []struct{ more, instructions string }{
		{"", "i32.const 0 / ref.func $one / table.set 0"},
		{"", "i32.const 0 / i32.const 0 / i32.const 1 / table.init 0 0"},
		{"", "i32.const 0 / i32.const 1 / i32.const 1 / table.copy 0 0"},
		{"", "ref.func $one / i32.const 1 / table.grow 0 / drop"},
		{"", "i32.const 0 / ref.func $one / i32.const 1 / table.fill 0"},
		{"", "elem.drop 0"},
		{"", "data.drop 0"},
		{"global $v v128 0", ""},
		{"global $r funcref 0", ""},
	} {
		f := compileText(t, e, fmt.Sprintf(before, c.more, c.instructions), Program{})
		if f.FreshBecause() == "" {
			t.Errorf("%s %s: it is to be set back", c.more, c.instructions)
		}
	}
	if why := compileText(t, e, fmt.Sprintf(before, "", "i32.const 0 / i32.const 0 / i32.const 1 / memory.init 0"), Program{}).FreshBecause(); why != "" && engineLayout().ok {
		t.Errorf("a program without any of them is to start anew: %s", why)
	}
}

func TestRandomBytesDifferPerRequest(t *testing.T) {
	e := newTestEngine(t, Options{})
	f := compileText(t, e, `
	memory 1
	func $_start export=_start
		i32.const 0 / i32.const 4 / call $random / drop
		call $ask / drop
		i32.const 4 / i32.const 4 / call $random / drop
		i32.const 0 / i32.load / call $answer
		i32.const 4 / i32.load / call $answer
	endfunc`, Program{})
	seeds, later := map[uint32]bool{}, map[uint32]bool{}
	for range 50 {
		got, _, err := ask(t.Context(), f, 0)
		if err != nil || len(got) != 2 {
			t.Fatalf("got %v and %v", got, err)
		}
		seeds[got[0]], later[got[1]] = true, true
	}
	if len(later) < 49 {
		t.Errorf("50 requests got %d different numbers", len(later))
	}
	if f.FreshBecause() == "" && len(seeds) != 1 {
		t.Errorf("%d seeds were taken, want the one of the start", len(seeds))
	}
}

func TestASandboxIsReplacedWhenWhatItReadChanges(t *testing.T) {
	version := 1
	e := newTestEngine(t, Options{})
	f := compileText(t, e, `
	func $_start export=_start locals=i32
		call $early / local.set 0
		call $ask / drop
		local.get 0 / call $answer
		call $early / call $answer
	endfunc`, Program{ABI: &testABI{version: &version}})
	wantAnswers(t, f, 0, 1, 1)
	wantAnswers(t, f, 0, 1, 1)
	version = 2
	wantAnswers(t, f, 0, 2, 2)
	wantAnswers(t, f, 0, 2, 2)
	if s := e.Stats(); f.FreshBecause() == "" && (s.Started != 2 || s.Replaced != 1) {
		t.Errorf("got %+v, want one sandbox replaced", s)
	}
}

func TestHandlersAreSetBackToWhereTheyStarted(t *testing.T) {
	e := newTestEngine(t, Options{})
	for _, fresh := range []bool{false, true} {
		f := compileText(t, e, `
	memory 1
	global $n i32 1
	func $_start export=_initialize
		global.get $n / i32.const 1 / i32.add / global.set $n
		i32.const 0 / i32.const 9 / i32.store
	endfunc
	func $handle export=handle i32 -> i32
		global.get $n / call $answer
		i32.const 0 / i32.load / call $answer
		local.get 0 / global.set $n
		i32.const 0 / local.get 0 / i32.store
		local.get 0 / i32.const 13 / i32.eq
		if
			unreachable
		end
		local.get 0 / i32.const 14 / i32.eq
		if
			i32.const 0 / call $exit
		end
		local.get 0
	endfunc`, Program{ABI: handlerABI{&testABI{version: new(int)}}, Fresh: fresh})
		for i := range uint32(40) {
			if i == 13 {
				if _, _, err := ask(t.Context(), f, i); err == nil {
					t.Error("got no error of a trap")
				}
				continue
			}
			if i == 14 {
				wantAnswers(t, f, i, 2, 9)
				continue
			}
			wantAnswers(t, f, i, 2, 9, i)
		}
	}
}

// handlerABI asks its guests to handle a request.
type handlerABI struct{ *testABI }

func (handlerABI) Exports() map[string]Signature {
	return map[string]Signature{"handle": {Params: []api.ValueType{i32}, Results: []api.ValueType{i32}}}
}

func (handlerABI) Serve(ctx context.Context, g *Guest) error {
	e := g.Session().(*exchange)
	got, err := g.Call(ctx, "handle", uint64(e.asked))
	if err == nil {
		e.answers = append(e.answers, uint32(got[0]))
	}
	return err
}

func TestSandboxesThatNobodyNeedsGiveTheirMemoryBack(t *testing.T) {
	const most = 4
	var inside, leave sync.WaitGroup
	inside.Add(most)
	leave.Add(1)
	abi := &testABI{version: new(int), slow: func(context.Context, *Guest) {
		inside.Done()
		leave.Wait()
	}}
	e := newTestEngine(t, Options{})
	f := compileText(t, e, "func $_start export=_start\n call $ask / if\n call $slow\n end\n i32.const 7 / call $answer\n endfunc", Program{ABI: abi})
	var requests sync.WaitGroup
	for range most {
		requests.Go(func() { wantAnswers(t, f, 1, 7) })
	}
	inside.Wait()
	leave.Done()
	requests.Wait()
	started := e.Stats().Started
	wantIdle := func(want int) {
		t.Helper()
		f.mu.Lock()
		defer f.mu.Unlock()
		if len(f.idle) != want {
			t.Errorf("%d sandboxes are kept, want %d", len(f.idle), want)
		}
	}
	f.Trim() // all of them were needed at once since the last one
	wantIdle(most)
	wantAnswers(t, f, 0, 7)
	f.Trim() // all but one were not
	wantIdle(1)
	f.Trim()
	wantIdle(1)
	wantAnswers(t, f, 0, 7)
	if now := e.Stats().Started; now != started {
		t.Errorf("%d sandboxes were started, want none beside the first %d", now, started)
	}
}

// What a program copies of its environment before it asks for a request is that of each
// request all the same, and what it asks for later too.
func TestTheTraceIsTheRequests(t *testing.T) {
	for name, p := range map[string]Program{
		"set back": {TraceVariable: "TRACE", Env: []string{"A=1", "TRACE=of the service's file", "A=2"}},
		"fresh":    {TraceVariable: "TRACE", Env: []string{"A=2"}, Fresh: true},
	} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, Options{})
			f := compileText(t, e, `
			memory 1
			func $_start export=_start
				i32.const 0 / i32.const 4 / call $sizes / drop
				i32.const 16 / i32.const 64 / call $environ / drop
				i32.const 300 / i32.const 64 / i32.const 64 / memory.copy
				call $ask / drop
				i32.const 28 / i32.const 164 / call $environ / drop
				i32.const 4 / i32.load / call $answer
				i32.const 66 / i32.load8_u / call $answer
				i32.const 74 / i32.load / call $answer
				i32.const 310 / i32.load / call $answer
				i32.const 174 / i32.load / call $answer
				i32.const 66 / i32.const 80 / call $environ / call $answer
				i32.const 65535 / i32.const 0 / call $sizes / call $answer
				i32.const 0 / i32.const 65500 / call $environ / call $answer
			endfunc`, p)
			for n := range byte(20) {
				got, _, err := askAs(t.Context(), f, 0, [16]byte{n, 0xab})
				digits := hex.EncodeToString([]byte{n, 0xab})
				trace := binary.LittleEndian.Uint32([]byte(digits))
				if want := []uint32{43, '2', trace, trace, trace, 0, errnoFault, errnoFault}; err != nil || !slices.Equal(got, want) {
					t.Errorf("request %d: got %x and %v, want %x", n, got, err, want)
				}
			}
		})
	}
}

// What a program would read as another value, or not at all, is a mistake.
func TestVariablesThatNobodyCouldReadAreRefused(t *testing.T) {
	e := newTestEngine(t, Options{})
	for _, kv := range []string{"A=1\x00B=2", "A\x00=1", "=1", ""} {
		_, err := e.Compile(t.Context(), asm.Assemble("memory 1\nfunc $_start export=_start\nendfunc"), Program{ABI: &testABI{version: new(int)}, Env: []string{"FIRST=1", kv}})
		if selvage.KindOf(err) != selvage.Invalid {
			t.Errorf("%q: got %v, want that it is refused", kv, err)
		}
	}
}

// The trace is found wherever a program has copied it to, also where one piece that is searched
// ends and the next begins, and what the program has not touched stays without memory.
func TestTheTraceIsFoundWhereAProgramHasIt(t *testing.T) {
	for name, o := range map[string]Options{"mapped": {}, "plain": {plain: true}} {
		t.Run(name, func(t *testing.T) {
			e := newTestEngine(t, o)
			f := compileText(t, e, "memory 160\nfunc $_start export=_start\nendfunc", Program{TraceVariable: "TRACE"})
			b, err := f.newSandbox(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer b.close()
			b.environ.asked = true
			want := []uint32{100, searchAtOnce - 40, searchAtOnce - 8, searchAtOnce + 24, 2*searchAtOnce - 1}
			for _, at := range want {
				b.guest.Write(at, b.environ.mark[:])
			}
			b.findMarks()
			if got := b.environ.places; !slices.Equal(got, want) {
				t.Errorf("found at %d, want %d", got, want)
			}
			if m, ok := b.memory.backing.(interface{ touched(uint64) uint64 }); ok {
				if got := m.touched(b.memory.high); got > 3*searchAtOnce {
					t.Errorf("%d bytes have been looked at, of which %d may be anything", got, 2*searchAtOnce+31)
				}
			}
		})
	}
}
