package compute

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// Options set up an [Engine]. The zero value works.
type Options struct {
	// Folder keeps compiled files, and belongs to the engine alone: what is in
	// it is run. Empty: they are not kept.
	Folder string
	// FolderBytes bounds what is kept there; the files not used for the longest
	// time go. Default 2 GiB.
	FolderBytes int64
	// Compilers is how many modules are compiled at once; more wait. Default 1.
	Compilers int
	// Compiler is a command that compiles in a process of its own, at the lowest
	// priority: the path of a program, and all its arguments, the first of which is
	// its name. It gets the folder to compile into as its last argument and the
	// metered module as its input, and does [CompileApart]. It needs Folder. Empty,
	// or where it cannot be started: the engine compiles in this process.
	Compiler []string
	// OnLimit is told the name of a limit when a function hits one. It may be
	// called by many goroutines at once.
	OnLimit func(limit string)

	// plain takes the memory driver of all systems, and older the way of older
	// Linux, for tests.
	plain, older bool
}

// Program is what to compile a module for.
type Program struct {
	// ABI is the guest interface. Nil: WASI alone.
	ABI    ABI
	Limits Limits
	// Env are the program's environment variables, as in NAME=value. They are
	// the same for all requests: a guest reads them when it starts.
	Env []string
	// TraceVariable is the name of a variable beside those: it has the request's
	// [Client.RequestID] in hexadecimal digits, those of the first one where a sandbox
	// serves several in turn. What a program makes of it while it starts is made of
	// another value. Empty: there is none.
	TraceVariable string
	// Fresh starts the program anew for each request, instead of going back to
	// where it first asked for its request.
	Fresh bool
	// Checked is what Check found of the module, which need not be looked through
	// again then. Nil, or of another module or for other limits: it is.
	Checked *Checked
}

// Checked is a module that Compile would not refuse.
type Checked struct {
	// Unsupported are the imports that nobody here has, each with the result that
	// a program gets of it.
	Unsupported map[string]uint32

	digest  [sha256.Size]byte
	rules   wasm.Rules
	metered *wasm.Metered
}

// Size is how many bytes it takes, as good as all of them the metered module's.
func (c *Checked) Size() int64 { return c.metered.Size() }

// Digest is the SHA-256 of the module.
func (c *Checked) Digest() [sha256.Size]byte { return c.digest }

// Engine compiles functions. It is safe for concurrent use.
type Engine struct {
	options  Options
	compile  chan struct{} // one token for each compiler
	memories memories
	kept     *folder // nil without one
	turns    turns
	stats    counters
}

// Stats are counts since the engine was made.
type Stats struct {
	Metered   int64 // modules that were looked through, and not by Check before
	Compiled  int64 // modules that were compiled
	Apart     int64 // of those, in a process of their own
	Loaded    int64 // modules whose compiled file was there
	Corrupted int64 // compiled files that were thrown away because they had changed
	Started   int64 // sandboxes that began a program from its start
	Rewound   int64 // requests in a sandbox that had been set back
	Replaced  int64 // sandboxes thrown away after a trap, or because what they remember changed
	Ticks     int64 // how often a guest's fuel ran out
	Yields    int64 // how often a guest made way for the scheduler
}

type counters struct {
	metered, compiled, apart, loaded, corrupted, started, rewound, replaced, ticks, yields atomic.Int64
}

// New makes an engine.
func New(o Options) *Engine {
	if o.FolderBytes <= 0 {
		o.FolderBytes = 2 << 30
	}
	e := &Engine{options: o, compile: make(chan struct{}, max(1, o.Compilers)), turns: newTurns()}
	e.memories = newMemories(o, e.makeWay)
	if o.Folder != "" {
		e.kept = &folder{path: o.Folder, most: o.FolderBytes}
	}
	return e
}

// Stats are the counts now.
func (e *Engine) Stats() Stats {
	s := &e.stats
	return Stats{
		s.metered.Load(), s.compiled.Load(), s.apart.Load(), s.loaded.Load(), s.corrupted.Load(), s.started.Load(),
		s.rewound.Load(), s.replaced.Load(), s.ticks.Load(), s.yields.Load(),
	}
}

// Compile checks, meters and compiles a module. What is wrong with the module
// is an error of kind invalid, or a [*LimitError]. It may take seconds, during
// which requests go on; ctx ends the waiting for other compilations, and a
// compilation in a process of its own.
func (e *Engine) Compile(ctx context.Context, module []byte, p Program) (*Function, error) {
	p.setDefaults()
	if err := p.size(module); err != nil {
		return nil, err
	}
	select {
	case e.compile <- struct{}{}:
		defer func() { <-e.compile }()
	case <-ctx.Done():
		return nil, fmt.Errorf("compile function: %w", context.Cause(ctx))
	}
	var f *Function
	var err error
	beside.run(func() {
		metered := p.checked(module)
		if metered == nil {
			e.stats.metered.Add(1)
			metered, err = p.meter(module)
		}
		if err == nil {
			f, err = e.build(ctx, metered, p)
		}
	})
	return f, err
}

// Check says of a module what Compile would refuse, without the time that
// compiling takes.
func Check(module []byte, p Program) (_ *Checked, err error) {
	p.Checked = nil
	p.setDefaults()
	if err := p.size(module); err != nil {
		return nil, err
	}
	var metered *wasm.Metered
	var digest [sha256.Size]byte
	beside.run(func() {
		digest = Digest(module)
		metered, err = p.meter(module)
	})
	if err != nil {
		return nil, err
	}
	f := &Function{program: p, metered: metered}
	f.handler, _ = p.ABI.(Handler)
	if err := errors.Join(f.link(), f.checkExports()); err != nil {
		return nil, err
	}
	return &Checked{Unsupported: f.stubs, digest: digest, rules: p.rules(), metered: metered}, nil
}

func (p *Program) setDefaults() {
	p.Limits = p.Limits.withDefaults()
	if p.ABI == nil {
		p.ABI = wasiOnly{}
	}
}

func (p *Program) size(module []byte) error {
	if n := int64(len(module)); n > p.Limits.Package {
		return limitErrorf(LimitPackage, "the module has %d bytes, %d are allowed", n, p.Limits.Package)
	}
	return nil
}

func (p *Program) rules() wasm.Rules {
	return wasm.Rules{Pages: uint32(min(p.Limits.Memory/pageSize, 65536)), Elements: p.Limits.Tables}
}

// checked is what Check made of the module; nil if it has not seen it, or with other rules.
func (p *Program) checked(module []byte) *wasm.Metered {
	if c := p.Checked; c != nil && c.rules == p.rules() && c.digest == Digest(module) {
		return c.metered
	}
	return nil
}

func (p *Program) meter(module []byte) (*wasm.Metered, error) {
	metered, err := wasm.Meter(module, p.rules())
	if err != nil {
		return nil, meterError(err)
	}
	return metered, nil
}

// meterError says what the user can do about a module that is refused.
func meterError(err error) error {
	if tooMuch, ok := errors.AsType[*wasm.TooMuch](err); ok {
		if strings.Contains(tooMuch.What, "memory") {
			return limitErrorf(LimitMemory, "the module needs %d MiB, the limit is %d MiB", tooMuch.Need*pageSize>>20, tooMuch.Allowed*pageSize>>20)
		}
		return limitErrorf(LimitTables, "%s", err)
	}
	return selvage.Errorf(selvage.Invalid, "check module: %w", err)
}

// features are what the rewriter knows how to meter.
const features = api.CoreFeaturesV2 | experimental.CoreFeaturesTailCall | experimental.CoreFeaturesExtendedConst

// build compiles and links. The metered module is the only thing that it takes.
func (e *Engine) build(ctx context.Context, metered *wasm.Metered, p Program) (_ *Function, err error) {
	f := &Function{engine: e, program: p, metered: metered, digest: Digest(metered.Module())}
	f.handler, _ = p.ABI.(Handler)
	if err := errors.Join(f.link(), f.checkExports()); err != nil {
		return nil, err
	}
	if err := f.compileWith(ctx, true); err != nil {
		return nil, err
	}
	ctx = context.WithoutCancel(ctx) // it must not end what a later request uses
	f.slots = make(chan struct{}, p.Limits.Sandboxes)
	if err := f.prepare(ctx); err != nil {
		f.Close()
		return nil, err
	}
	f.metered, f.program.Checked = metered.WithoutModule(), nil
	return f, nil
}

func runtimeConfig() wazero.RuntimeConfig {
	return wazero.NewRuntimeConfig().WithCoreFeatures(features).WithDebugInfoEnabled(false)
}

// compileWith compiles, with the kept file if there is one and it may be used.
func (f *Function) compileWith(ctx context.Context, kept bool) error {
	e := f.engine
	config := runtimeConfig()
	var entry *entry
	if e.kept != nil && kept {
		var err error
		if entry, err = e.kept.open(f.digest); err != nil {
			return fmt.Errorf("open compiled function: %w", err)
		}
		if entry.corrupted {
			e.stats.corrupted.Add(1)
		}
		f.cache = entry.cache
		config = config.WithCompilationCache(entry.cache)
		if !entry.found {
			ran, err := e.apart(ctx, e.kept.at(f.digest), f.metered.Module())
			if err != nil {
				_ = f.cache.Close(ctx) // nothing was read from it
				f.cache = nil
				return err
			}
			if ran {
				e.stats.apart.Add(1)
			}
		}
	}
	ctx = context.WithoutCancel(ctx)
	f.runtime = wazero.NewRuntimeWithConfig(ctx, config)
	if err := f.hostModules(ctx); err != nil {
		f.closeRuntime(ctx)
		return fmt.Errorf("link host functions: %w", err)
	}
	var err error
	if f.compiled, err = f.runtime.CompileModule(ctx, f.metered.Module()); err != nil {
		f.closeRuntime(ctx)
		if entry != nil && entry.found { // a file that we find whole, and the engine not
			e.kept.remove(f.digest)
			return f.compileWith(ctx, false)
		}
		return selvage.Errorf(selvage.Invalid, "compile module: %w", err)
	}
	if entry != nil && entry.found {
		e.stats.loaded.Add(1)
		return nil
	}
	e.stats.compiled.Add(1)
	if entry != nil {
		if err := e.kept.seal(f.digest); err != nil {
			e.kept.remove(f.digest) // a disk that is full costs the next start its time, nothing else
		}
	}
	return nil
}

// link finds a host function for every import.
func (f *Function) link() error {
	known := map[[2]string]HostFunc{}
	for _, h := range f.program.ABI.Functions() {
		known[[2]string{h.Module, h.Name}] = h
	}
	stubber, _ := f.program.ABI.(Stubber)
	var unknown []string
	for _, i := range f.metered.Imports() {
		params, results := valueTypes(i.Type.Params), valueTypes(i.Type.Results)
		h, ok := known[[2]string{i.Module, i.Name}]
		switch {
		case ok && (!slices.Equal(h.Params, params) || !slices.Equal(h.Results, results)):
			return selvage.Errorf(selvage.Invalid, "link module: it imports %s.%s as a function of another type", i.Module, i.Name)
		case ok:
		case i.Module == wasiModule && wasiHas(i.Name):
			continue
		default:
			var result uint32
			if stubber != nil && len(results) == 1 && results[0] == api.ValueTypeI32 {
				result, ok = stubber.Stub(i.Module, i.Name)
			}
			if !ok && i.Module == wasiModule && len(results) == 1 && results[0] == api.ValueTypeI32 {
				result, ok = errnoNosys, true
			}
			if !ok {
				unknown = append(unknown, i.Module+"."+i.Name)
				continue
			}
			if f.stubs == nil {
				f.stubs = make(map[string]uint32)
			}
			f.stubs[i.Module+"."+i.Name] = result
			h = HostFunc{Module: i.Module, Name: i.Name, Params: params, Results: results, Early: true,
				Call: func(_ context.Context, _ *Guest, stack []uint64) { stack[0] = uint64(result) }}
		}
		if !slices.ContainsFunc(f.hosts, func(o HostFunc) bool { return o.Module == h.Module && o.Name == h.Name }) {
			f.hosts = append(f.hosts, h)
		}
	}
	if len(unknown) > 0 {
		return selvage.Errorf(selvage.Invalid, "link module: it imports what %s does not have: %s", f.program.ABI.Name(), strings.Join(unknown, ", "))
	}
	return nil
}

func valueTypes(ts []wasm.ValueType) []api.ValueType {
	var out []api.ValueType
	for _, t := range ts {
		out = append(out, api.ValueType(t))
	}
	return out
}

// hostModules makes the modules that the program imports from.
func (f *Function) hostModules(ctx context.Context) error {
	builders := map[string]wazero.HostModuleBuilder{
		wasiModule:      wasiBuilder(f.runtime),
		wasm.HostModule: f.runtime.NewHostModuleBuilder(wasm.HostModule),
	}
	own := builders[wasm.HostModule].NewFunctionBuilder()
	own.WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, _ []uint64) { boxOf(ctx).tick(ctx) }), nil, nil).Export(wasm.Tick)
	own.WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
		stack[0] = 0
		boxOf(ctx).enter(ctx)
	}), nil, []api.ValueType{api.ValueTypeI32}).Export(wasm.Enter)
	for i := range f.hosts {
		h := &f.hosts[i]
		b := builders[h.Module]
		if b == nil {
			b = f.runtime.NewHostModuleBuilder(h.Module)
			builders[h.Module] = b
		}
		b.NewFunctionBuilder().WithGoModuleFunction(api.GoModuleFunc(func(ctx context.Context, _ api.Module, stack []uint64) {
			boxOf(ctx).host(ctx, h, stack)
		}), h.Params, h.Results).Export(h.Name)
	}
	for _, b := range builders {
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}
