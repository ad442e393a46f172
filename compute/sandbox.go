package compute

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// fuelPerTick is how many simple instructions a guest runs between two looks at
// the clock: 10 to 50 µs.
const fuelPerTick = 50_000

// sandbox is one instance of a program. One request at a time uses it.
type sandbox struct {
	f       *Function
	guest   Guest
	module  api.Module
	run     api.Function
	fuel    api.MutableGlobal
	memory  *memory // nil: the module has none
	globals []api.MutableGlobal

	environ    *environ
	begin      *wayOut // nil until the program began
	frozen     *frozen // nil until the program asked for its first request
	remembered []func() bool
	params     []uint64 // of the call in which the program was frozen, as it is made again
	kept       any      // see Guest.Keep
	running    bool     // within run: its stack can be set back
	starting   bool     // see start
	said       []byte   // what the program logged while it was started for no request
	request    *requestContext
	began      time.Time   // the request
	turn       *bell       // what a long guest computes with
	cut        *LimitError // what ended the guest, if that was a limit
}

// newSandbox makes an instance that has not begun.
func (f *Function) newSandbox(ctx context.Context) (*sandbox, error) {
	b := &sandbox{f: f, environ: newEnviron(&f.program)}
	b.guest = Guest{limits: &f.program.Limits, onLimit: f.engine.options.OnLimit, box: b}
	var failed error
	ctx = experimental.WithMemoryAllocator(ctx, experimental.MemoryAllocatorFunc(func(_, _ uint64) experimental.LinearMemory {
		b.memory, failed = f.engine.memories.open(f.program.Limits.Memory/pageSize*pageSize, f.image)
		if failed != nil {
			return noMemory{}
		}
		return b.memory
	}))
	m, err := f.runtime.InstantiateModule(ctx, f.compiled, b.wasiConfig())
	if err != nil {
		return nil, selvage.Errorf(selvage.Invalid, "instantiate module: %w", err)
	}
	b.module, b.run = m, m.ExportedFunction(wasm.Run)
	if _, ok := f.metered.HasMemory(); ok {
		b.guest.memory = m.Memory()
	}
	if failed != nil {
		b.close()
		return nil, selvage.Errorf(selvage.Unavailable, "map memory of function: %w", failed)
	}
	b.fuel = m.ExportedGlobal(wasm.Fuel).(api.MutableGlobal)
	for i := range f.metered.Globals() {
		b.globals = append(b.globals, m.ExportedGlobal(wasm.GlobalName(i)).(api.MutableGlobal))
	}
	return b, nil
}

func (b *sandbox) close() {
	_ = b.module.Close(context.Background()) // frees the memory; there is nothing that could fail
}

// serve runs one request.
func (b *sandbox) serve(ctx context.Context, in *Invocation) (err error) {
	limits := &b.f.program.Limits
	now := time.Now()
	b.began, b.request = now, &requestContext{Context: ctx, box: b, deadline: now.Add(limits.Wall)}
	defer func() { b.request.end() }()
	defer b.leaveTurn()
	g := &b.guest
	g.in, g.headerBytes = in, 0
	b.environ.id = in.Client.RequestID
	in.Usage = Usage{Hit: in.Usage.Hit}
	b.cut = nil
	if b.memory != nil {
		b.memory.refused = false
	}
	g.session = b.f.program.ABI.Begin(b.request, in)
	defer func() {
		b.f.program.ABI.End(g.session)
		g.session = nil
	}()
	g.meter.start(now)
	b.fuel.Set(fuelPerTick)
	in.Usage.Rewound = b.frozen != nil
	b.count()
	b.sayFirst()
	if b.frozen != nil {
		b.putTrace()
	}
	err = b.execute(b.request)
	if f, ok := b.f.program.ABI.(Finisher); ok && !b.starting && (err == nil || endedWell(err)) {
		err = guarded(func() error {
			f.Finish(ctx, g)
			return nil
		})
	}
	err = b.judge(err)
	b.account(time.Now())
	return err
}

// account writes down what the request took that the guest is in.
func (b *sandbox) account(now time.Time) {
	g := &b.guest
	g.meter.tick(now)
	g.in.Usage.CPU, g.in.Usage.Wall, g.in.Usage.Memory = g.meter.cpu, now.Sub(b.began), uint64(g.Size())
}

func (b *sandbox) count() {
	if b.frozen != nil {
		b.f.engine.stats.rewound.Add(1)
	} else {
		b.f.engine.stats.started.Add(1)
	}
}

// execute runs the program, and lets a handler ask it for the answer.
func (b *sandbox) execute(ctx context.Context) error {
	h := b.f.handler
	if h == nil || b.frozen == nil {
		b.running = true
		err := b.run.CallWithStack(ctx, nil)
		b.running = false
		if h == nil || err != nil && !endedWell(err) {
			return err
		}
		if b.f.fresh == "" {
			if err := b.freeze(nil, nil); err != nil {
				return err
			}
		}
	}
	if b.starting {
		return nil
	}
	return guarded(func() error { return h.Serve(ctx, &b.guest) })
}

// guarded runs what may end the guest while the guest is not running, which
// nobody but us would catch.
func guarded(do func() error) (err error) {
	defer func() {
		switch v := recover().(type) {
		case nil:
		case abort:
			err = v
		default:
			err = &Trap{Kind: HostPanic, Text: fmt.Sprint(v)}
		}
	}()
	return do()
}

const errStarting badCall = "it may not ask for its request while it starts"

// call calls an exported function for a handler.
func (b *sandbox) call(ctx context.Context, name string, params []uint64) ([]uint64, error) {
	fn := b.module.ExportedFunction(name)
	if fn == nil {
		return nil, selvage.Errorf(selvage.Invalid, "the function exports no %s", name)
	}
	return fn.Call(ctx, params...)
}

func (b *sandbox) exports(name string) bool {
	_, ok := b.f.metered.Exported(name)
	return ok
}

// enter is the first call of a program. Where the program has been frozen, it
// goes on from there with another request when it has returned.
func (b *sandbox) enter(ctx context.Context) {
	switch {
	case b.f.fresh != "" || b.f.handler != nil:
	case b.frozen == nil:
		b.begin = newWayOut(ctx)
	default:
		b.rewind(ctx)
	}
}

// host calls a host function.
func (b *sandbox) host(ctx context.Context, h *HostFunc, stack []uint64) {
	switch {
	case h.Early || !b.running:
	case b.f.handler != nil:
		panic(abort{errStarting}) // what it learnt would be in every later request's memory
	case b.frozen == nil && b.f.fresh == "":
		if err := b.freezeAt(ctx, h, stack); err != nil {
			panic(abort{err})
		}
		if b.starting {
			b.begin.leave()
		}
	}
	b.answer(ctx, h, stack)
}

// answer calls a host function after the sandbox was frozen, if it is to be.
func (b *sandbox) answer(ctx context.Context, h *HostFunc, stack []uint64) {
	if b.request.engine != nil {
		ctx = b.request // the engine has the first request's
	}
	if !h.Waits {
		h.Call(ctx, &b.guest, stack)
		return
	}
	now := b.wait(func() { h.Call(ctx, &b.guest, stack) })
	b.check(ctx, now)
}

// tick is called by the guest when its fuel has run out.
func (b *sandbox) tick(ctx context.Context) {
	g := &b.guest
	g.in.Usage.Ticks++
	b.f.engine.stats.ticks.Add(1)
	now := time.Now()
	g.meter.tick(now)
	b.check(ctx, now)
	if now.Sub(g.meter.yielded) >= yieldAfter {
		b.makeWay()
		now = time.Now()
		g.meter.yielded = now
	}
	b.fuel.Set(fuelPerTick)
	g.meter.again(now)
}

// charge takes the work of a host function from the fuel. Where the function
// waits no time is counted but for its work, and the guest looks at the clock
// when it goes on.
func (b *sandbox) charge(ctx context.Context, instructions uint64) {
	left := int64(int32(b.fuel.Get())) - int64(min(instructions, 1<<32))
	b.fuel.Set(uint64(uint32(int32(max(left, mostDebt)))))
	switch {
	case b.guest.meter.paused > 0:
		b.guest.meter.charge(instructions)
	case left < 0:
		b.tick(ctx)
	}
}

// mostDebt is as little fuel as there can be, with room for what the guest takes before it looks.
const mostDebt = -1 << 30

// check ends the guest when a limit is reached.
func (b *sandbox) check(ctx context.Context, now time.Time) {
	b.checkTime(now)
	if used, limits := stackUsed(ctx), b.guest.limits; used > limits.Stack {
		b.end(limitErrorf(LimitStack, "%d KiB of stack are in use, %d KiB are allowed", used>>10, limits.Stack>>10))
	}
}

// checkTime ends the guest when its time is over, or the request's.
func (b *sandbox) checkTime(now time.Time) {
	g := &b.guest
	switch {
	case g.meter.cpu > g.limits.CPU:
		b.end(limitErrorf(LimitCPU, "the function computed for %v, %v are allowed", g.meter.cpu.Round(time.Millisecond), g.limits.CPU))
	case b.request.Context.Err() != nil:
		panic(abort{context.Cause(b.request.Context)})
	case !now.Before(b.request.deadline):
		b.end(limitErrorf(LimitWall, "the request took %v", g.limits.Wall))
	}
}

// end ends the guest because of a limit.
func (b *sandbox) end(err *LimitError) {
	b.guest.hit(err.Name)
	b.cut = err
	panic(abort{err})
}

var errWall = errors.New("the wall time is over")

// exit is what a program calls to end.
func (b *sandbox) exit(code uint32) {
	if code == 0 && b.running && b.begin != nil {
		b.begin.leave()
	}
	panic(exited(code))
}

// remember keeps a question to be asked before each request.
func (b *sandbox) remember(unchanged func() bool) {
	if b.frozen == nil {
		b.remembered = append(b.remembered, unchanged)
	}
}

// current says that everything that the program read while it started is as it was.
func (b *sandbox) current() bool {
	for _, unchanged := range b.remembered {
		if !unchanged() {
			return false
		}
	}
	return true
}
