package compute

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// benchGuest computes: the number asked says what.
const benchGuest = `package main

import (
	"crypto/sha256"
	"encoding/json"
)

//go:wasmimport test ask
func ask() uint32

//go:wasmimport test answer
func answer(v uint32)

type item struct {
	Name  string
	Price float64
	Tags  []string
	Stock map[string]int
}

func main() {
	n := ask()
	switch {
	case n == 0:
		answer(0)
	case n < 1000: // that many KiB
		sum := sha256.Sum256(make([]byte, n*1024))
		answer(uint32(sum[0]))
	default:
		var items []item
		for range n - 1000 {
			items = append(items, item{"a woven cloth", 12.5, []string{"red", "blue"}, map[string]int{"here": 3, "there": 4}})
		}
		text, _ := json.Marshal(items)
		var back []item
		if err := json.Unmarshal(text, &back); err != nil {
			panic(err)
		}
		answer(uint32(len(back)))
	}
}
`

// BenchmarkRequest is a whole request in a sandbox: fresh instances of stock
// wazero, fresh instances of ours, and sandboxes that are set back.
func BenchmarkRequest(b *testing.B) {
	for _, guest := range []struct {
		name string
		code []byte
	}{
		{"small", asm.Assemble(testImports + "memory 17\ndata 1024 \"some data\"\nfunc $_start export=_start\n i32.const 2000 / call $ask / i32.store\n i32.const 2000 / i32.load / call $answer\nendfunc")},
		{"go", goGuest(b, "bench", benchGuest)},
	} {
		b.Run(guest.name+"/stock", func(b *testing.B) { stock(b, guest.code) })
		for _, fresh := range []bool{true, false} {
			name := map[bool]string{true: "fresh", false: "rewind"}[fresh]
			b.Run(guest.name+"/"+name, func(b *testing.B) {
				f, err := newTestEngine(b, Options{}).Compile(b.Context(), guest.code, Program{ABI: &testABI{version: new(int)}, Fresh: fresh})
				if err != nil {
					b.Fatal(err)
				}
				defer f.Close()
				in := &Invocation{Extra: &exchange{}}
				for range 32 { // until the hot pages are learned
					if err := f.Serve(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				}
				b.ReportAllocs()
				for b.Loop() {
					in.Extra = &exchange{}
					if err := f.Serve(b.Context(), in); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// stockWASI is WASI as wazero has it, but for the end of the program.
func stockWASI(r wazero.Runtime) wazero.HostFunctionBuilder {
	b := r.NewHostModuleBuilder(wasiModule)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	return b.NewFunctionBuilder().WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) { panic(exited(uint32(s[0]))) }), []api.ValueType{i32}, nil)
}

// stock is wazero as it comes, an instance for each request.
func stock(b *testing.B, code []byte) {
	ctx := b.Context()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features))
	defer r.Close(ctx)
	if _, err := stockWASI(r).
		Export("proc_exit").Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	host := r.NewHostModuleBuilder("test")
	abi := &testABI{version: new(int)}
	for _, h := range abi.Functions() {
		host.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
			h.Call(ctx, &Guest{session: &exchange{}}, stack)
		}), h.Params, h.Results).Export(h.Name)
	}
	if _, err := host.Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	compiled, err := r.CompileModule(ctx, code)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithSysNanotime().WithSysWalltime())
		if err != nil && !endedWell(err) {
			b.Fatal(err)
		}
		if m != nil {
			m.Close(ctx)
		}
	}
}

// BenchmarkMetering is what the checks of the fuel cost: the same program,
// metered and not.
func BenchmarkMetering(b *testing.B) {
	code := goGuest(b, "bench", benchGuest)
	metered, err := wasm.Meter(code, wasm.Rules{Pages: 2048, Elements: 1 << 17})
	if err != nil {
		b.Fatal(err)
	}
	for _, c := range []struct {
		name string
		n    uint32
	}{{"sha256", 999}, {"json", 1300}} {
		for _, with := range []bool{false, true} {
			b.Run(fmt.Sprintf("%s/metered=%v", c.name, with), func(b *testing.B) {
				ctx := b.Context()
				r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(features))
				defer r.Close(ctx)
				meterHosts(b, r, c.n)
				module := code
				if with {
					module = metered.Module()
				}
				compiled, err := r.CompileModule(ctx, module)
				if err != nil {
					b.Fatal(err)
				}
				for b.Loop() {
					b.StopTimer()
					m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithStartFunctions())
					if err != nil {
						b.Fatal(err)
					}
					start := "_start"
					if with {
						start = wasm.Run
						for _, s := range metered.Image() {
							m.Memory().Write(s.At, s.Data)
						}
					}
					benchTimer = b
					if _, err := m.ExportedFunction(start).Call(ctx); err != nil && !endedWell(err) {
						b.Fatal(err)
					}
					m.Close(ctx)
					b.StartTimer()
				}
			})
		}
	}
}

// benchTimer is the benchmark whose time runs between ask and answer.
var benchTimer *testing.B

func meterHosts(b *testing.B, r wazero.Runtime, n uint32) {
	ctx := b.Context()
	if _, err := stockWASI(r).
		Export("proc_exit").Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	own := r.NewHostModuleBuilder(wasm.HostModule).NewFunctionBuilder()
	own.WithGoModuleFunction(api.GoModuleFunc(func(_ context.Context, m api.Module, _ []uint64) {
		m.ExportedGlobal(wasm.Fuel).(api.MutableGlobal).Set(fuelPerTick)
	}), nil, nil).Export(wasm.Tick)
	if _, err := own.WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) { s[0] = 0 }), nil, []api.ValueType{i32}).Export(wasm.Enter).Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
	host := r.NewHostModuleBuilder("test").NewFunctionBuilder()
	host.WithGoFunction(api.GoFunc(func(_ context.Context, s []uint64) {
		s[0] = uint64(n)
		benchTimer.StartTimer()
	}), nil, []api.ValueType{i32}).Export("ask")
	if _, err := host.WithGoFunction(api.GoFunc(func(context.Context, []uint64) { benchTimer.StopTimer() }), []api.ValueType{i32}, nil).Export("answer").Instantiate(ctx); err != nil {
		b.Fatal(err)
	}
}

// BenchmarkOvershoot is by how much a limit of 50 ms is too late.
func BenchmarkOvershoot(b *testing.B) {
	f, err := New(Options{}).Compile(b.Context(), asm.Assemble(testImports+"func $_start export=_start\n call $ask / call $answer\n loop\n br 0\n end\n endfunc"), Program{ABI: &testABI{version: new(int)}})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	var late []time.Duration
	for b.Loop() {
		in := &Invocation{Extra: &exchange{}}
		if err := f.Serve(b.Context(), in); err == nil {
			b.Fatal("the loop ended by itself")
		}
		late = append(late, in.Usage.CPU-f.program.Limits.CPU)
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)/2])/1e6, "late-ms")
	b.ReportMetric(float64(late[len(late)-1])/1e6, "latest-ms")
}
