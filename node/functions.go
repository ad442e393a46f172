package node

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/compute/abi/fastly/geo"
	"github.com/selvage-edge/selvage/compute/abi/httpwasm"
	"github.com/selvage-edge/selvage/compute/abi/wasi"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/state"
	"github.com/selvage-edge/selvage/telemetry"
)

// functions is what functions need that outlives revisions: the engine, the
// compiled programs, and what programs of a service remember.
type functions struct {
	engine *compute.Engine
	place  record.Place
	tenant selvage.Tenant
	state  *state.Store
	geo    *geo.Databases
	rights selvage.NodeFunctions
	// compiler is a command; see [compute.Options].
	compiler []string
	checks   *Checks
	dial     *guardedDial // of dynamic backends
	log      *slog.Logger
	onLimit  func(limit string)
	hear     func(telemetry.FunctionLine) // what they write to their logs
	// purgeTag makes every node forget what carries a tag.
	purgeTag func(ctx context.Context, service selvage.ServiceName, tag string, soft bool, who string) (id string, err error)

	running *runners                          // of the programs, some of which go on behind their answers
	ended   <-chan struct{}                   // closed when the node ends
	atEnd   func(f func()) (stop func() bool) // calls f then
	end     context.CancelFunc

	some     atomic.Bool // whether there are programs; changed with mu held
	mu       sync.Mutex  // guards all below
	programs map[string]*program
	stores   map[selvage.ServiceName]*guestStores

	before standIns
}

// program is a compiled module with its sandboxes, for whoever has the same
// module with the same settings.
type program struct {
	key   string
	of    *functions
	users int           // guarded by of.mu
	ready chan struct{} // closed when the two below are set
	fn    *compute.Function
	err   error

	reuse int             // how many requests a sandbox may serve in turn
	next  chan *guestTurn // taken by sandboxes that wait for another request
	seats chan struct{}   // one for each sandbox that serves several, as many as it may have
}

// newFunctions makes the engine. Compiled files are kept in folder, if there is one.
func newFunctions(o *functions, folder string) *functions {
	o.engine = compute.New(compute.Options{
		Folder: folder, Compilers: o.rights.Compilers, Compiler: o.compiler,
		OnLimit: func(limit string) { o.onLimit("function_" + limit) },
	})
	o.running = newRunners()
	var ended context.Context
	ended, o.end = context.WithCancel(context.Background())
	o.ended, o.atEnd = ended.Done(), func(f func()) func() bool { return context.AfterFunc(ended, f) }
	o.programs, o.stores = make(map[string]*program), make(map[selvage.ServiceName]*guestStores)
	return o
}

// acquire compiles a function, or finds it compiled. It may take seconds and
// holds no lock meanwhile. ownFile: the service is of a file of this machine.
func (fs *functions) acquire(ctx context.Context, s *selvage.Service, name selvage.FunctionName, ownFile bool) (*program, error) {
	key := programKey(s, name)
	fs.mu.Lock()
	p := fs.programs[key]
	if p != nil {
		p.users++
		fs.mu.Unlock()
		<-p.ready
		if p.err != nil {
			p.release()
			return nil, p.err
		}
		return p, nil
	}
	p = &program{key: key, of: fs, users: 1, ready: make(chan struct{})}
	if f := s.Functions[name]; f.Reuse > 1 {
		p.reuse, p.next, p.seats = f.Reuse, make(chan *guestTurn), make(chan struct{}, f.Sandboxes)
	}
	fs.programs[key] = p
	fs.some.Store(true)
	fs.mu.Unlock()
	p.fn, p.err = fs.compile(ctx, s, name, ownFile)
	close(p.ready)
	if p.err != nil {
		p.release()
		return nil, p.err
	}
	return p, nil
}

// trimEvery is how long a sandbox or a goroutine that nobody needs is kept, and at most twice that.
const trimEvery = 30 * time.Second

// trim gives back what functions needed when more was asked of them, until ctx ends.
func (fs *functions) trim(ctx context.Context) error {
	every(ctx, trimEvery, func() {
		fs.running.trim()
		for _, p := range fs.all() {
			p.fn.Trim()
			p.release()
		}
	})
	return nil
}

// every does something again and again until ctx ends.
func every(ctx context.Context, d time.Duration, do func()) {
	tick := time.NewTicker(d)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// all are the programs that are compiled. The caller releases each.
func (fs *functions) all() []*program {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	var all []*program
	for _, p := range fs.programs {
		select {
		case <-p.ready:
			if p.err == nil {
				p.users++
				all = append(all, p)
			}
		default: // it is being compiled
		}
	}
	return all
}

// release gives a user's share back. The last one ends the program; requests
// inside go on.
func (p *program) release() {
	p.of.mu.Lock()
	p.users--
	last := p.users == 0
	if last {
		delete(p.of.programs, p.key)
		p.of.some.Store(len(p.of.programs) > 0)
	}
	p.of.mu.Unlock()
	if last && p.fn != nil {
		p.fn.Close()
	}
}

// keep counts one more user of a program that has one.
func (p *program) keep() *program {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	p.users++
	return p
}

// keepAlive is keep for who does not know whether it has a user; false: it has none any more.
func (p *program) keepAlive() bool {
	p.of.mu.Lock()
	defer p.of.mu.Unlock()
	if p.users == 0 {
		return false
	}
	p.users++
	return true
}

// programKey is the same for functions that may share sandboxes: the same
// module, made the same way, of one service.
func programKey(s *selvage.Service, name selvage.FunctionName) string {
	f := s.Functions[name]
	if f.Digest != "" {
		f.Module = ""
	}
	f.OnFailure, f.Default, f.Backends = "", nil, nil
	return digestOf(s.Service, f, backendsOf(s, name).named)
}

// sayCompiling is how long a function is compiled before that is said.
const sayCompiling = 2 * time.Second

// compile reads the module and compiles it, beside requests.
func (fs *functions) compile(ctx context.Context, s *selvage.Service, name selvage.FunctionName, ownFile bool) (fn *compute.Function, err error) {
	compute.Beside(func() { fn, err = fs.compileHere(ctx, s, name, ownFile) })
	return fn, err
}

func (fs *functions) compileHere(ctx context.Context, s *selvage.Service, name selvage.FunctionName, ownFile bool) (*compute.Function, error) {
	f := s.Functions[name]
	module, err := os.ReadFile(f.Module)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	if sum := compute.Digest(module); f.Digest != "" && hex.EncodeToString(sum[:]) != f.Digest {
		return nil, selvage.Errorf(selvage.Conflict, "module %s has changed since its file was read: read it again", f.Module)
	}
	p, err := fs.program(s, name, module, ownFile)
	if err != nil {
		return nil, err
	}
	p.Checked = fs.checks.take(f.Digest)
	said := time.AfterFunc(sayCompiling, func() {
		fs.log.Info("a function is compiled, which takes a while where no compiled file is kept", "service", s.Service, "function", name, "bytes", len(module))
	})
	defer said.Stop()
	fn, err := fs.engine.Compile(ctx, module, p)
	if err != nil {
		return nil, err
	}
	// A program that does not start is no reason to refuse it: its first request is told why.
	if err := fn.Warm(ctx); err != nil {
		fs.log.Warn("start function", "service", s.Service, "function", name, "error", err)
	}
	return fn, nil
}

// program is how a module is to be run.
func (fs *functions) program(s *selvage.Service, name selvage.FunctionName, module []byte, ownFile bool) (p compute.Program, err error) {
	f := s.Functions[name]
	p = compute.Program{Fresh: f.Rewind == "off", Limits: limitsOf(&f)}
	for _, name := range slices.Sorted(maps.Keys(f.Env)) {
		p.Env = append(p.Env, name+"="+f.Env[name])
	}
	kind, err := kindOf(&f, module)
	if err != nil {
		return p, err
	}
	switch kind {
	case "wasi":
		p.ABI, p.Env = wasi.New(wasi.Options{Env: p.Env, Software: Pseudonym}), nil
	case "http-wasm":
		p.ABI = httpwasm.New(httpwasm.Options{
			Config: []byte(f.HTTPWasm.Config), Level: httpwasm.ParseLevel(f.HTTPWasm.LogLevel), BodyBytes: int64(f.HTTPWasm.Buffer),
		})
	case "fastly":
		facts := fastly.Facts{
			Customer: string(fs.tenant), ServiceID: string(s.Service), Version: serviceVersion,
			Hostname: string(fs.place.Node), POP: string(fs.place.POP), Region: string(fs.place.Zone),
		}
		p.Env, p.TraceVariable = append(facts.Env(), p.Env...), fastly.TraceVariable // what the service file says comes first
		o, err := fs.fastlyOptions(s, name, ownFile)
		if err != nil {
			return p, err
		}
		p.ABI = fastly.New(o)
	default:
		return p, selvage.Errorf(selvage.Invalid, "it is made for the interface %s, which is not here", kind)
	}
	return p, nil
}

// kindOf is the interface that a function is made for.
func kindOf(f *selvage.Function, module []byte) (string, error) {
	if f.Interface == "" || f.Interface == "auto" {
		return interfaceOf(module)
	}
	return f.Interface, nil
}

// interfaceOf tells by what a module imports what it was made for.
func interfaceOf(module []byte) (string, error) {
	imports, err := compute.Imports(module)
	if err != nil {
		return "", err
	}
	for _, i := range imports {
		switch {
		case fastly.IsOurs(i[0]):
			return "fastly", nil
		case httpwasm.IsOurs(i[0]):
			return "http-wasm", nil
		}
	}
	return "wasi", nil
}

func limitsOf(f *selvage.Function) compute.Limits {
	return compute.Limits{
		CPU: f.CPU.Std(), Wall: f.Wall.Std(), Memory: uint64(f.Memory), Stack: uint64(f.Stack), OriginRequests: f.Fetches,
		LogBytes: int64(f.Log), HeaderBytes: int(f.Headers), Sandboxes: f.Sandboxes,
	}
}

// serviceVersion is what functions are told of the version of their service, which
// programs read as a number. Revisions have none, and share sandboxes.
const serviceVersion = "1"

// fastlyOptions are the services behind the interface of Fastly Compute.
func (fs *functions) fastlyOptions(s *selvage.Service, name selvage.FunctionName, ownFile bool) (fastly.Options, error) {
	f := s.Functions[name]
	stores := fs.storesOf(s.Service)
	o := fastly.Options{
		Region: string(fs.place.Zone), Backends: backendsOf(s, name), Configs: valuesOf(f.Config), Secrets: valuesOf(f.Secrets),
		KV: fs.kvStores(s, &f, ownFile), Device: devicesOf(&f),
		Objects: &stores.objects, Rates: &stores.rates, HTTPCache: true,
		Log: func(ctx context.Context, endpoint string, line []byte) {
			if c := callOf(ctx); c != nil {
				c.f.say(c, endpoint, line)
			}
		},
		Purge: func(ctx context.Context, tag string, soft bool) (string, error) {
			return fs.purgeTag(ctx, s.Service, tag, soft, "function "+string(name))
		},
	}
	var err error
	if o.ACLs, err = aclsOf(&f); err != nil {
		return o, err
	}
	if o.Geo, err = fs.placesOf(&f); err != nil {
		return o, err
	}
	if slices.Contains(fs.rights.DynamicBackends, s.Service) {
		o.Register = registerDynamic
	}
	return o, nil
}

func valuesOf(stores map[string]map[string]string) func(string) (fastly.Values, bool) {
	return func(name string) (fastly.Values, bool) {
		values, ok := stores[name]
		return fastly.Map(values), ok
	}
}

// backends are the origins of a service as a function sees them.
type backends struct {
	named map[string]fastly.Backend
	other *fastly.Backend // of every other name; nil: there is none
}

// Backend implements [fastly.Backends].
func (b backends) Backend(name string) (fastly.Backend, bool) {
	if one, ok := b.named[name]; ok || b.other == nil {
		return one, ok
	}
	return *b.other, true
}

// backendsOf are the origins by the names that a function has for them.
func backendsOf(s *selvage.Service, name selvage.FunctionName) backends {
	f := s.Functions[name]
	b := backends{named: make(map[string]fastly.Backend, len(s.Origins))}
	for origin, o := range s.Origins {
		b.named[string(origin)] = backendOf(&o)
	}
	if other, ok := b.named[string(f.OtherBackends)]; ok {
		b.other = &other
	}
	for alias, origin := range f.Backends {
		b.named[alias] = b.named[string(origin)]
	}
	return b
}

func backendOf(o *selvage.Origin) fastly.Backend {
	b := fastly.Backend{
		Connect: o.Timeout.Connect.Std(), FirstByte: o.Timeout.FirstByte.Std(), BetweenBytes: o.Timeout.Idle.Std(),
		Idle: o.Connections.IdleTimeout.Std(),
	}
	if o.Host != "keep" && o.Host != "endpoint" {
		b.OverrideHost = o.Host
	}
	if len(o.Endpoints) == 0 {
		return b
	}
	if u, err := url.Parse(o.Endpoints[0]); err == nil {
		b.Host, b.TLS, b.Port = u.Hostname(), u.Scheme == "https", 80
		if b.TLS {
			b.Port = 443
		}
		if n, err := strconv.ParseUint(u.Port(), 10, 16); err == nil {
			b.Port = uint16(n)
		}
	}
	return b
}

// clientOf is who asks, and where, as functions are told.
func clientOf(ctx context.Context, rec *record.Record) compute.Client {
	c := compute.Client{
		Address: netip.AddrPortFrom(rec.Client.Addr, rec.Client.Peer.Port()), TLS: rec.Client.TLS != 0,
		RequestID: rec.Trace.TraceID, ReceivedAt: rec.Start, FieldNames: http1.FieldNamesOf(ctx),
	}
	if c.TLS {
		shake := http1.HandshakeOf(ctx)
		c.Hello, c.Distrust = shake.Hello, shake.Distrust
	}
	if at, ok := ctx.Value(http.LocalAddrContextKey).(net.Addr); ok {
		if tcp, ok := at.(*net.TCPAddr); ok {
			at := tcp.AddrPort()
			c.Server = netip.AddrPortFrom(at.Addr().Unmap(), at.Port())
		}
	}
	return c
}

// close ends what runs behind its answer, and lets the rest go.
func (fs *functions) close() {
	fs.end()
	fs.running.wait()
	fs.before.close()
}
