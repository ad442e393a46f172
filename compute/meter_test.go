package compute

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

var roomy = wasm.Rules{Pages: 1024, Elements: 1 << 17}

// bare runs a module with nothing of ours around it.
type bare struct {
	module api.Module
	ticks  int
	close  func()
}

func runBare(t testing.TB, config wazero.RuntimeConfig, code []byte, metered *wasm.Metered) (*bare, error) {
	t.Helper()
	ctx := t.Context()
	r := wazero.NewRuntimeWithConfig(ctx, config.WithCoreFeatures(features))
	b := &bare{close: func() { r.Close(ctx) }}
	own := r.NewHostModuleBuilder(wasm.HostModule).NewFunctionBuilder()
	own.WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		b.ticks++
		m.ExportedGlobal(wasm.Fuel).(api.MutableGlobal).Set(200)
	}), nil, nil).Export(wasm.Tick)
	own.WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) { s[0] = 0 }), nil, []api.ValueType{i32}).Export(wasm.Enter)
	if _, err := own.WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), nil, nil).Export("none").Instantiate(ctx); err != nil {
		t.Fatal(err)
	}
	if metered != nil {
		code = metered.Module()
	}
	m, err := r.InstantiateWithConfig(ctx, code, wazero.NewModuleConfig().WithStartFunctions())
	if err != nil {
		b.close()
		return nil, err
	}
	if metered != nil {
		for _, s := range metered.Image() {
			m.Memory().Write(s.At, s.Data)
		}
		if _, err := m.ExportedFunction(wasm.Run).Call(ctx); err != nil {
			b.close()
			return nil, err
		}
	}
	b.module = m
	return b, nil
}

// outcome is everything that a module shows of itself after some calls.
func (b *bare) outcome(ctx context.Context, calls [][]uint64) string {
	var out strings.Builder
	for _, params := range calls {
		got, err := b.module.ExportedFunction("main").Call(ctx, params...)
		text := fmt.Sprint(err)
		text, _, _ = strings.Cut(text, "\n")
		fmt.Fprintf(&out, "%x %s\n", got, text)
	}
	if m := b.module.Memory(); m != nil {
		all, _ := m.Read(0, m.Size())
		fmt.Fprintf(&out, "%d %x\n", m.Size(), sha256.Sum256(all))
	}
	return out.String()
}

func TestMeteredProgramsMeanTheSame(t *testing.T) {
	seed := rand.Uint64()
	ticked := 0
	for i := range uint64(60) {
		if differ(t, seed+i) > 0 {
			ticked++
		}
	}
	if ticked < 30 { // a short one ends before its first check
		t.Errorf("seed %d: fuel was used by %d of 60 programs", seed, ticked)
	}
}

func FuzzMeteredProgramsMeanTheSame(f *testing.F) {
	f.Add(uint64(1))
	f.Fuzz(func(t *testing.T, seed uint64) { differ(t, seed) })
}

// differ runs a random program as it is and metered, and says how often fuel was asked for.
func differ(t *testing.T, seed uint64) (ticks int) {
	t.Helper()
	text := randomProgram(seed)
	code := asm.Assemble(text)
	metered, err := wasm.Meter(code, roomy)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, text)
	}
	plain, err := runBare(t, wazero.NewRuntimeConfig(), code, nil)
	if err != nil {
		t.Fatalf("seed %d: %v\n%s", seed, err, text)
	}
	defer plain.close()
	fueled, err := runBare(t, wazero.NewRuntimeConfig(), nil, metered)
	if err != nil {
		t.Fatalf("seed %d: metered: %v\n%s", seed, err, text)
	}
	defer fueled.close()
	r := rand.New(rand.NewPCG(seed, 1))
	var calls [][]uint64
	for range 4 {
		calls = append(calls, []uint64{uint64(r.Uint32()), r.Uint64()})
	}
	if a, b := plain.outcome(t.Context(), calls), fueled.outcome(t.Context(), calls); a != b {
		t.Fatalf("seed %d: got\n%swant\n%s\n%s", seed, b, a, text)
	}
	return fueled.ticks
}

func TestEveryInstructionIsMetered(t *testing.T) {
	names := wasm.Instructions()
	if len(names) < 400 {
		t.Fatalf("there are only %d instructions", len(names))
	}
	for _, name := range names {
		body := name
		switch name {
		case "else":
			body = "i32.const 0 / if / else / end"
		case "local.get", "local.set", "local.tee":
			continue // the generated programs have them
		case "block", "loop", "if":
			body = name + " / end"
		case "end":
			body = "block / end"
		case "br_table":
			body = "br_table 0 0"
		case "call_indirect", "return_call_indirect":
			body = name + " ->"
		}
		code := asm.Assemble("memory 1 2\n table 2 3\n global $g i32 0\n data passive \"x\"\n elem passive $f\n" +
			"func $f export=f\n unreachable\n" + body + "\n unreachable\n endfunc\n func $main export=main i32,i64 -> i32\n i32.const 1\n endfunc")
		metered, err := wasm.Meter(code, roomy)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, what := range []struct {
			code    []byte
			metered *wasm.Metered
		}{{code, nil}, {nil, metered}} {
			b, err := runBare(t, wazero.NewRuntimeConfigInterpreter(), what.code, what.metered)
			if err != nil {
				t.Errorf("%s, metered %v: %v", name, what.metered != nil, err)
				continue
			}
			if got := b.outcome(t.Context(), [][]uint64{{0, 0}}); !strings.HasPrefix(got, "[1] <nil>") {
				t.Errorf("%s: got %s", name, got)
			}
			b.close()
		}
	}
}

// TestWhatTheEngineTakesIsKnown tries all opcodes: what the engine takes with
// our features, the rewriter has to know. Of a SIMD opcode the engine reads one
// byte, where the format has a number of any length: what is behind it the
// engine takes for a nop. We read the number, write it in its shortest form,
// and refuse what is above 0xff.
func TestWhatTheEngineTakesIsKnown(t *testing.T) {
	var tails [][]byte
	for n := range 4 {
		tails = append(tails, make([]byte, n))
	}
	tails = append(tails, make([]byte, 16), []byte{0x40, 0x0b}, []byte{0x70}, []byte{1, 0x7f}, make([]byte, 8))
	r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
	defer r.Close(t.Context())
	taken := 0
	try := func(op ...byte) {
		for _, tail := range tails {
			body := append(append(append([]byte{0, 0x00}, op...), tail...), 0x00, 0x0b)
			code := []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x04\x04\x01\x70\x00\x01\x05\x03\x01\x00\x01" +
				"\x06\x06\x01\x7f\x01\x41\x00\x0b\x09\x05\x01\x01\x00\x01\x00\x0c\x01\x01")
			code = append(code, 0x0a, byte(len(body)+2), 1, byte(len(body)))
			code = append(append(code, body...), 0x0b, 0x03, 1, 1, 0)
			compiled, err := r.CompileModule(t.Context(), code)
			if err != nil {
				continue
			}
			compiled.Close(t.Context())
			taken++
			if _, err := wasm.Meter(code, roomy); err != nil {
				t.Errorf("% x: the engine takes it, and we do not: %v", append(op, tail...), err)
			}
		}
	}
	for op := range 256 {
		try(byte(op))
		try(0xfc, byte(op)&0x1f)
		try(binary.AppendUvarint([]byte{0xfd}, uint64(op))...)
		try(0xfe, byte(op)&0x7f)
	}
	if taken < 400 {
		t.Errorf("the engine took %d, which is fewer than there are", taken)
	}
}

func TestBulkInstructionsTrapAsTheyDid(t *testing.T) {
	const text = `
	memory 4
	data 0 "0123456789abcdef"
	data passive "%s"
	func $main export=main i32,i64 -> i32 locals=i32,i32,i32
		;; three numbers of 20 bits from the second parameter
		local.get 1 / i32.wrap_i64 / i32.const 0xfffff / i32.and / local.set 2
		local.get 1 / i64.const 20 / i64.shr_u / i32.wrap_i64 / i32.const 0xfffff / i32.and / local.set 3
		local.get 1 / i64.const 40 / i64.shr_u / i32.wrap_i64 / i32.const 0x3ffff / i32.and / local.set 4
		block / block / block
		local.get 0 / i32.const 3 / i32.rem_u / br_table 0 1 2
		end
			local.get 2 / local.get 3 / local.get 4 / memory.copy / br 1
		end
			local.get 2 / local.get 3 / local.get 4 / memory.fill / br 0
		end
		local.get 0 / i32.const 3 / i32.rem_u / i32.const 2 / i32.eq
		if
			local.get 2 / local.get 3 / local.get 4 / memory.init 1
		end
		memory.size
	endfunc`
	code := asm.Assemble(fmt.Sprintf(text, strings.Repeat("payload ", 25_000)))
	metered, err := wasm.Meter(code, roomy)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := runBare(t, wazero.NewRuntimeConfig(), code, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer plain.close()
	fueled, err := runBare(t, wazero.NewRuntimeConfig(), nil, metered)
	if err != nil {
		t.Fatal(err)
	}
	defer fueled.close()
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 2))
	for range 300 {
		at := func() uint64 { return r.Uint64() >> (44 + r.Uint64N(8)) }
		call := [][]uint64{{uint64(r.Uint32()), at() | at()<<20 | at()>>2<<40}}
		if a, b := plain.outcome(t.Context(), call), fueled.outcome(t.Context(), call); a != b {
			t.Fatalf("seed %d, call %x: got\n%swant\n%s", seed, call, b, a)
		}
	}
}

func TestWhatCannotBeMeteredIsRefused(t *testing.T) {
	body := func(ops string) []byte {
		return []byte("\x00asm\x01\x00\x00\x00\x01\x04\x01\x60\x00\x00\x03\x02\x01\x00\x0a" + string(rune(len(ops)+4)) + "\x01" + string(rune(len(ops)+2)) + "\x00" + ops + "\x0b")
	}
	const header = "\x00asm\x01\x00\x00\x00"
	for _, c := range []struct {
		module []byte
		want   string
	}{
		{body("\xfe\x00\x02\x00"), "offset 0x17: memory.atomic.notify: not supported"},
		{body("\xfe\x01\x02\x00"), "memory.atomic.wait32: not supported"},
		{body("\xfe\x22\x00\x00"), "i64.atomic.rmw8.add_u: not supported"},
		{body("\x06\x40\x0b"), "try: not supported"},
		{body("\x1f\x40\x00\x0b"), "try_table: not supported"},
		{body("\x08\x00"), "throw: not supported"},
		{body("\x14\x00"), "call_ref: not supported"},
		{body("\xfb\x00\x00"), "collected types: not supported"},
		{body("\xfd\x80\x02"), "relaxed SIMD instruction 0x100: not supported"},
		{body("\x27"), "instruction 0x27: not supported"},
		{[]byte("\x00asm\x0d\x00\x01\x00"), "this is a component (WASI 0.2)"},
		{[]byte("MZ"), "this is no WebAssembly module"},
		{[]byte(header + "\x05\x04\x01\x03\x01\x02"), "shared memory (threads) is not supported"},
		{[]byte(header + "\x05\x03\x01\x04\x01"), "64-bit memory is not supported"},
		{[]byte(header + "\x05\x05\x02\x00\x01\x00\x01"), "several memories are not supported"},
		{[]byte(header + "\x0d\x03\x01\x00\x00"), "exceptions are not supported"},
		{[]byte(header + "\x02\x08\x01\x01a\x01b\x02\x00\x01"), "a.b: only functions can be imported"},
		{[]byte(header + "\x01\x7f"), "unexpected end"},
		{[]byte(header + "\x0a\x01\x00\x03\x01\x00"), "section 3 is unknown, there twice, or in the wrong place"},
		{[]byte(header + "\x01\x03\x01\x5f\x00"), "types of form 0x5f are not supported"},
		{[]byte(header + "\x05\x05\x01\x00\x81\x80\x04"), "pages of memory: 65537 are needed"},
		{[]byte(header + "\x04\x06\x01\x70\x00\x80\x80\x10"), "elements of tables: 262144 are needed, 131072 are allowed"},
	} {
		_, err := wasm.Meter(c.module, roomy)
		if err == nil {
			t.Errorf("% x: got no error, want %q", c.module, c.want)
			continue
		}
		if c.want == "pages of memory: 65537 are needed" {
			continue // beyond what a module may say at all
		}
		contains(t, err.Error(), c.want)
	}
}

func FuzzMeter(f *testing.F) {
	f.Add(asm.Assemble(randomProgram(3)))
	f.Add(asm.Assemble("memory 1\ntable 1\nelem 0 $f\ndata passive \"a\"\nfunc $f export=main i32,i64 -> i32\n i32.const 0 / i32.const 0 / i32.const 0 / memory.init 0\n i32.const 0\nendfunc"))
	f.Fuzz(func(t *testing.T, code []byte) {
		metered, err := wasm.Meter(code, wasm.Rules{Pages: 16, Elements: 1000})
		if err != nil {
			return
		}
		// What was written has the shape of a module: the engine may refuse its types, and must not stumble.
		r := wazero.NewRuntimeWithConfig(t.Context(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(features))
		defer r.Close(t.Context())
		_, ours := r.CompileModule(t.Context(), metered.Module())
		_, theirs := r.CompileModule(t.Context(), code)
		if ours != nil && theirs == nil {
			t.Errorf("the engine takes the module, and not what we made of it: %v", ours)
		}
	})
}

// TestBulkInstructionsArePaidFor counts the ticks of instructions whose work is
// as large as their operand, with no loop of the program's around the large ones.
func TestBulkInstructionsArePaidFor(t *testing.T) {
	const size = 48 << 20
	many := func(instruction string) string {
		return "loop\n" + instruction + "\nlocal.get 0 / i32.const 1 / i32.add / local.tee 0 / i32.const 200 / i32.lt_u / br_if 0\nend"
	}
	for name, c := range map[string]struct {
		text  string
		ticks int64 // at 8 bytes, or two elements, an instruction
	}{
		"a large fill":           {"i32.const 0 / i32.const 7 / i32.const 50331648 / memory.fill", size / 8},
		"a large copy forwards":  {"i32.const 0 / i32.const 100 / i32.const 50331648 / memory.copy", size / 8},
		"a large copy backwards": {"i32.const 100 / i32.const 0 / i32.const 50331648 / memory.copy", size / 8},
		"small fills":            {many("i32.const 0 / i32.const 7 / i32.const 60000 / memory.fill"), 200 * 60000 / 8},
		"small copies":           {many("i32.const 0 / i32.const 9 / i32.const 60000 / memory.copy"), 200 * 60000 / 8},
		"large segments":         {many("i32.const 0 / i32.const 0 / i32.const 100000 / memory.init 0"), 200 * 100000 / 8},
		"small segments":         {many("i32.const 0 / i32.const 0 / i32.const 40000 / memory.init 1"), 200 * 40000 / 8},
		"fills of a table":       {many("i32.const 0 / ref.func $f / i32.const 60000 / table.fill 0"), 200 * 60000 / 2},
		"copies of a table":      {many("i32.const 0 / i32.const 9 / i32.const 60000 / table.copy 0 0"), 200 * 60000 / 2},
	} {
		f := compileText(t, newTestEngine(t, Options{}), "memory 800\ntable 65000\ndata passive \""+strings.Repeat("a", 100_000)+"\"\ndata passive \""+strings.Repeat("b", 40_000)+"\"\nelem passive $f\nfunc $f\nendfunc\n"+
			"func $_start export=_start locals=i32\n call $ask / call $answer\n"+c.text+"\nendfunc", Program{Limits: Limits{CPU: time.Hour}})
		in := wantAnswers(t, f, 1, 1)
		if least := c.ticks / fuelPerTick * 4 / 5; in.Usage.Ticks < least || least < 10 {
			t.Errorf("%s: got %d ticks, want %d", name, in.Usage.Ticks, least)
		}
	}
}
