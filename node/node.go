package node

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/listen"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/state"
	"github.com/selvage-edge/selvage/telemetry"
)

// Options is what a node is made of. Config has its defaults filled in and was
// validated. The functions reach the network; nil is the real one.
type Options struct {
	Config  selvage.Config
	Tenant  selvage.Tenant // empty: selvage.DefaultTenant
	Version string
	Log     *slog.Logger
	// State is what is remembered; its owner runs it and ends it after the node. Nil is a
	// memory of the node's own. Nodes that share one have different names.
	State *state.Store
	// AccessLog, if set, is used instead of the one that Config names.
	AccessLog *telemetry.AccessLog
	// FunctionLog, if set, is used instead of the one that Config names: it gets what
	// functions write to their standard output and error, some whole lines at a time, and to
	// their log endpoints, and how they trap, with their stack. It may be called by many goroutines at once.
	FunctionLog func(telemetry.FunctionLine)
	// Compiler is a command that compiles functions in a process of its own, as
	// [compute.Options] has it. Empty: the node does it itself.
	Compiler []string
	// Checks are modules that were looked into before New, or Reload. Both forget them.
	Checks *Checks
	// Opened are listeners that somebody opened before us, by address.
	Opened  map[string]net.Listener
	Listen  func(network, addr string) (net.Listener, error)
	Dial    func(ctx context.Context, network, addr string) (net.Conn, error)
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Node is one edge. Make one with [New], then [Node.Run] it.
type Node struct {
	tenant    selvage.Tenant
	version   string
	place     record.Place
	loopEntry []string // our entry of CDN-Loop; not written to
	started   time.Time
	life      string // of this start
	state     state.Store
	log       *slog.Logger
	registry  *registry
	listeners *listen.Group
	ties      ties

	set      atomic.Pointer[selvage.Node]
	table    atomic.Pointer[table]
	inFlight atomic.Int64
	draining atomic.Bool
	purges   purgeFeed
	filed    filed

	chores    chores
	compiling sync.Mutex // one reload or compilation at a time; taken before mu

	mu       sync.Mutex // guards all below: one turn at a time
	local    []*revision
	prepared map[selvage.RevisionID]*revision
	deployed map[selvage.ServiceName]*deployment
	cuts     []*cut // that are to come
	ended    bool
}

// New makes a node and opens its listeners: what cannot be compiled or bound
// is an error here, before anything is served. Call Run or Close afterwards.
func New(o Options) (*Node, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Tenant == "" {
		o.Tenant = selvage.DefaultTenant
	}
	conf := o.Config.Node
	n := &Node{
		tenant: o.Tenant, version: o.Version, started: time.Now(), life: newLife(), log: o.Log,
		place:     record.Place{Zone: conf.Zone, POP: conf.POP, Node: cmp.Or(conf.Name, defaultName)},
		loopEntry: []string{Pseudonym + "; " + loopParam(conf.Name)},
	}
	if o.State != nil {
		n.state = *o.State
	} else {
		n.state = state.Memory(state.EdgeLimits(n.LimitHit)) // which nothing reaches before the registry is there
	}
	var err error
	if n.registry, err = n.newRegistry(o); err != nil {
		return nil, err
	}
	if n.local, err = n.registry.compileAll(n.tenant, &o.Config); err != nil {
		return nil, err
	}
	t, err := n.newTable(n.local, nil)
	if err != nil {
		releaseAll(n.local)
		return nil, err
	}
	n.table.Store(t)
	n.set.Store(&conf)
	n.filed.keep(o.Config.Services)
	n.listeners = n.newGroup(o)
	if err := n.listeners.Apply(conf.Listen, conf.TLS); err != nil {
		t.release()
		releaseAll(n.local)
		return nil, err
	}
	return n, nil
}

func (n *Node) newGroup(o Options) *listen.Group {
	conf := &o.Config.Node
	handler := http.HandlerFunc(n.serveCounted)
	return &listen.Group{
		Handler: handler,
		HTTP1: &http1.Server{
			Handler: handler, Limits: conf.Limits, Deadlines: conf.Deadlines, Log: o.Log,
			Done: n.done, OnLimit: n.registry.metrics.LimitHit, KeepNames: n.registry.functions.some.Load,
		},
		Limits: conf.Limits, Deadlines: conf.Deadlines, Data: conf.Data, Log: o.Log,
		AllowName:   func(name string) bool { _, ok := n.table.Load().hosts.Find(name); return ok },
		Certificate: n.certificate,
		Done:        n.done, OnLimit: n.registry.metrics.LimitHit, OnFailed: n.registry.metrics.ConnectionFailed,
		Listen: o.Listen, Opened: o.Opened,
	}
}

func (n *Node) serveCounted(w http.ResponseWriter, r *http.Request) {
	n.inFlight.Add(1)
	defer n.inFlight.Add(-1)
	n.ServeHTTP(w, r)
}

// defaultName is the name of a node whose file has none.
const defaultName selvage.NodeName = "node"

// LimitHit counts that a limit was reached.
func (n *Node) LimitHit(limit string) { n.registry.metrics.LimitHit(limit) }

// Run serves until ctx ends, then drains: no new requests, those in flight get
// the drain deadline, then the loops end and what is open is closed.
func (n *Node) Run(ctx context.Context) error {
	loops, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var g group
	g.run(loops, stop, "listeners", n.listeners.Run)
	g.run(loops, stop, "origins", n.registry.origins.Run)
	g.run(loops, stop, "access log", n.registry.access.Run)
	g.run(loops, stop, "announcement", n.announce)
	g.run(loops, stop, "purges", n.followPurges)
	g.run(loops, stop, "shared key", func(ctx context.Context) error {
		return n.registry.shared.find(ctx, n.state.Documents, n.tenant)
	})
	g.run(loops, stop, "functions", n.registry.functions.trim)
	said, endSaid := context.WithCancel(context.WithoutCancel(ctx)) // until no function runs
	defer endSaid()
	var last group
	last.run(said, stop, "function log", n.registry.said.Run)
	g.run(loops, stop, "KV stores", n.registry.functions.sweep)
	select {
	case <-ctx.Done():
		n.drain(ctx)
	case <-loops.Done(): // one of them failed
	}
	n.registry.store.Close()
	stop()
	err := g.wait()
	n.registry.functions.close()
	endSaid()
	n.releaseArms()
	return errors.Join(err, last.wait())
}

// drain ends what is under way as gently as the drain deadline allows.
func (n *Node) drain(ctx context.Context) {
	n.draining.Store(true)
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), n.settings().Deadlines.Drain.Std())
	defer cancel()
	cut := context.AfterFunc(wait, n.ties.cut)
	defer cut()
	if err := n.listeners.Drain(wait); err != nil {
		n.log.Warn("requests were cut at the end of the drain", "deadline", n.settings().Deadlines.Drain.String())
	}
	n.ties.wg.Wait()
}

// Reload replaces what is served with what conf says, or keeps all of it and
// says why. Nothing under way is dropped. Of the node's own settings the
// listeners, certificates, trusted proxies and deadlines of the ties change;
// the names of those that need a restart are returned.
func (n *Node) Reload(conf selvage.Config) (restart []string, err error) {
	n.compiling.Lock()
	defer n.compiling.Unlock()
	local, err := n.registry.compileAll(n.tenant, &conf)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	overruled := n.overruledLocked(local)
	t, err := n.newTable(local, overruled)
	if err != nil {
		releaseAll(local)
		return nil, err
	}
	if err := n.listeners.Apply(conf.Node.Listen, conf.Node.TLS); err != nil {
		t.release()
		releaseAll(local)
		return nil, err
	}
	n.filed.keep(conf.Services)
	n.replaceLocked(local)
	n.turnLocked(local, overruled)
	old := n.settings()
	next := *old
	next.Listen, next.TLS, next.TrustedProxies = conf.Node.Listen, conf.Node.TLS, conf.Node.TrustedProxies
	next.Secrets = conf.Node.Secrets
	n.set.Store(&next)
	n.swap(t)
	n.registry.access.Reopen()
	n.registry.said.Reopen()
	return needRestart(&next, &conf.Node), nil
}

// needRestart lists the settings that a running node cannot change.
func needRestart(have, want *selvage.Node) []string {
	var names []string
	a, b := reflect.ValueOf(have).Elem(), reflect.ValueOf(want).Elem()
	for i := range a.NumField() {
		if !reflect.DeepEqual(a.Field(i).Interface(), b.Field(i).Interface()) {
			names = append(names, a.Type().Field(i).Tag.Get("yaml"))
		}
	}
	slices.Sort(names)
	return names
}

// Ready says why no requests are served, if none are.
func (n *Node) Ready() error {
	if n.draining.Load() {
		return errors.New("draining")
	}
	return nil
}

// Metrics is the exposition of the node's metrics.
func (n *Node) Metrics() http.Handler { return n.registry.metrics.Handler() }

// Addrs are the addresses that clients can come in by, in the order of the file.
func (n *Node) Addrs() []net.Addr { return n.listeners.Addrs() }

// settings are the node's as of the last reload.
func (n *Node) settings() *selvage.Node { return n.set.Load() }

// AuthorityPath is the certificate of the development authority, empty without one.
func (n *Node) AuthorityPath() string {
	if !n.settings().TLS.Development {
		return ""
	}
	return n.listeners.CAPath()
}
