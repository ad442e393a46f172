package compute

import (
	"context"
	"crypto/rand"
	"io"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

const wasiModule = wasi_snapshot_preview1.ModuleName

// wasiOnly is the guest interface of a program that handles no requests.
type wasiOnly struct{}

func (wasiOnly) Name() string                           { return "wasi" }
func (wasiOnly) Functions() []HostFunc                  { return nil }
func (wasiOnly) Begin(context.Context, *Invocation) any { return nil }
func (wasiOnly) End(any)                                {}

// wasiBuilder has WASI preview 1 as the engine has it, but for what ends the
// program, and for what would change the engine's own table of files: that is
// not set back between two requests. There are no files to begin with.
func wasiBuilder(r wazero.Runtime) wazero.HostModuleBuilder {
	b := r.NewHostModuleBuilder(wasiModule)
	wasi_snapshot_preview1.NewFunctionExporter().ExportFunctions(b)
	i32 := api.ValueTypeI32
	export := func(name string, results []api.ValueType, call func(ctx context.Context, stack []uint64), params ...api.ValueType) {
		b.NewFunctionBuilder().WithGoFunction(api.GoFunc(call), params, results).Export(name)
	}
	export("proc_exit", nil, func(ctx context.Context, stack []uint64) { boxOf(ctx).exit(uint32(stack[0])) }, i32)
	fixed := func(_ context.Context, stack []uint64) {
		if fd := uint32(stack[0]); fd > 2 {
			stack[0] = errnoBadf
			return
		}
		stack[0] = 0
	}
	export("fd_close", []api.ValueType{i32}, fixed, i32)
	export("fd_fdstat_set_flags", []api.ValueType{i32}, fixed, i32, i32)
	export("fd_renumber", []api.ValueType{i32}, func(_ context.Context, stack []uint64) { stack[0] = errnoBadf }, i32, i32)
	return b
}

const errnoBadf = 8

// wasiNames are the functions of WASI preview 1 that the engine has.
var wasiNames = sync.OnceValue(func() map[string]bool {
	ctx := context.Background()
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter())
	defer func() { _ = r.Close(ctx) }() // there is nothing in it that could fail
	names := map[string]bool{}
	if m, err := wasiBuilder(r).Compile(ctx); err == nil {
		for name := range m.ExportedFunctions() {
			names[name] = true
		}
	}
	return names
})

func wasiHas(name string) bool { return wasiNames()[name] }

// wasiConfig is what the program sees of the world.
func (b *sandbox) wasiConfig() wazero.ModuleConfig {
	c := wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithStdout(guestLog{b}).WithStderr(guestLog{b}).
		WithSysWalltime().WithSysNanotime().WithNanosleep(b.sleep).
		WithRandSource(rand.Reader).WithArgs("function")
	for _, kv := range b.f.program.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			c = c.WithEnv(name, value)
		}
	}
	return c
}

// sleep is what a guest's sleep is: not its CPU time, and not longer than the request.
func (b *sandbox) sleep(ns int64) {
	if ns <= 0 {
		return
	}
	b.guest.Wait(func() {
		timer := time.NewTimer(time.Duration(ns))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-b.request.Done():
		}
	})
}

// guestLog is standard output and error.
type guestLog struct{ b *sandbox }

func (l guestLog) Write(p []byte) (int, error) {
	l.b.guest.Log(nil, p)
	return len(p), nil
}

var _ io.Writer = guestLog{}

// exited is the panic of a program that exits.
type exited uint32

func (e exited) Error() string { return "exit with code " + strconv.Itoa(int(e)) }
