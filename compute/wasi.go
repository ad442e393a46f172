package compute

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"math"
	"slices"
	"strconv"
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
// program; for what would change the engine's own table of files, which is
// not set back between two requests; and for what may take long, which the
// engine does in one piece. There are no files to begin with.
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
	export("fd_filestat_set_times", []api.ValueType{i32}, func(ctx context.Context, stack []uint64) {
		fixed(ctx, stack) // the engine panics
		if stack[0] == 0 {
			stack[0] = errnoNotsup
		}
	}, i32, api.ValueTypeI64, api.ValueTypeI64, i32)
	export("random_get", []api.ValueType{i32}, func(ctx context.Context, stack []uint64) {
		stack[0] = boxOf(ctx).random(ctx, uint32(stack[0]), uint32(stack[1]))
	}, i32, i32)
	export("environ_sizes_get", []api.ValueType{i32}, func(ctx context.Context, stack []uint64) {
		stack[0] = boxOf(ctx).environSizes(uint32(stack[0]), uint32(stack[1]))
	}, i32, i32)
	export("environ_get", []api.ValueType{i32}, func(ctx context.Context, stack []uint64) {
		stack[0] = boxOf(ctx).environGet(uint32(stack[0]), uint32(stack[1]))
	}, i32, i32)
	export("fd_write", []api.ValueType{i32}, func(ctx context.Context, stack []uint64) {
		stack[0] = boxOf(ctx).writeLog(ctx, uint32(stack[0]), [3]uint32{uint32(stack[1]), uint32(stack[2]), uint32(stack[3])})
	}, i32, i32, i32, i32)
	export("poll_oneoff", []api.ValueType{i32}, func(ctx context.Context, stack []uint64) {
		stack[0] = boxOf(ctx).poll(ctx, [4]uint32{uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])})
	}, i32, i32, i32, i32)
	return b
}

// The error numbers of WASI that are given here.
const (
	errnoBadf   = 8
	errnoFault  = 21
	errnoInval  = 28
	errnoNosys  = 52
	errnoNotsup = 58
)

// random fills memory with random bytes, a piece at a time.
func (b *sandbox) random(ctx context.Context, at, length uint32) uint64 {
	p, ok := b.guest.Bytes(at, length)
	if !ok {
		return errnoFault
	}
	const piece = 16 << 10
	for len(p) > 0 {
		n := min(len(p), piece)
		_, _ = rand.Read(p[:n]) // it never fails
		p = p[n:]
		b.charge(ctx, uint64(n)/2)
	}
	return 0
}

// writeLog is standard output and error of a program whose interface has no use for them.
func (b *sandbox) writeLog(ctx context.Context, fd uint32, args [3]uint32) uint64 {
	if fd != 1 && fd != 2 {
		return errnoBadf
	}
	n := uint32(0)
	for p, ok := range b.guest.Vectors(ctx, args[0], args[1]) {
		if !ok {
			return errnoFault
		}
		b.guest.Log(nil, p)
		n += uint32(len(p))
	}
	if !b.guest.PutUint32(args[2], n) {
		return errnoFault
	}
	return 0
}

// What poll_oneoff is asked for, and how.
const (
	pollClock    = 0
	pollMost     = 1024 // at once
	pollQuestion = 48   // bytes
	pollAnswer   = 32
)

// poll waits for the first of several clocks. Standard input and output are
// always ready, and no time passes where they are asked for.
func (b *sandbox) poll(ctx context.Context, args [4]uint32) uint64 {
	in, out, count := args[0], args[1], args[2]
	if count == 0 || count > pollMost {
		return errnoInval
	}
	questions, ok := b.guest.Bytes(in, count*pollQuestion)
	answers, okAnswers := b.guest.Bytes(out, count*pollAnswer)
	if !ok || !okAnswers {
		return errnoFault
	}
	questions = bytes.Clone(questions) // the two may overlap
	var waits []time.Duration
	for q := range slices.Chunk(questions, pollQuestion) {
		until, ok := time.Duration(0), true
		if q[8] == pollClock {
			until, ok = clockWait(q)
		}
		if !ok {
			return errnoInval
		}
		waits = append(waits, until)
	}
	wait := slices.Min(waits)
	b.sleep(int64(wait))
	n := uint32(0)
	for i, until := range waits {
		if until > wait {
			continue
		}
		q, errno := questions[i*pollQuestion:][:pollQuestion], uint16(0)
		if q[8] != pollClock && binary.LittleEndian.Uint32(q[16:]) > 2 {
			errno = errnoBadf
		}
		a := answers[n*pollAnswer:][:pollAnswer]
		clear(a)
		copy(a, q[:8])
		binary.LittleEndian.PutUint16(a[8:], errno)
		a[10] = q[8]
		n++
	}
	if !b.guest.PutUint32(args[3], n) {
		return errnoFault
	}
	b.check(ctx, time.Now())
	return 0
}

// clockWait is how long it is until the time of a question; false for a clock that there is not.
func clockWait(q []byte) (time.Duration, bool) {
	const realtime, monotonic, absolute = 0, 1, 1
	id, at := binary.LittleEndian.Uint32(q[16:]), int64(min(binary.LittleEndian.Uint64(q[24:]), math.MaxInt64))
	switch {
	case id > monotonic:
		return 0, false
	case binary.LittleEndian.Uint16(q[40:])&absolute == 0:
		return time.Duration(at), true
	case id == realtime:
		return max(time.Until(time.Unix(0, at)), 0), true
	}
	return max(time.Duration(at-nanotime()), 0), true
}

// began is where the monotonic clock of guests begins.
var began = time.Now()

func nanotime() int64 { return int64(time.Since(began)) + 1 }

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
	return wazero.NewModuleConfig().WithName("").WithStartFunctions().
		WithSysWalltime().WithNanotime(nanotime, 1).
		WithRandSource(rand.Reader).WithArgs("function")
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

// exited is the panic of a program that exits.
type exited uint32

func (e exited) Error() string { return "exit with code " + strconv.Itoa(int(e)) }
