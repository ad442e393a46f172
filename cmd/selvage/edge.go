package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/term"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/control"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/state"
)

// edge is a node with its control API.
type edge struct {
	node    *node.Node
	control *control.Server
	store   *state.Embedded // nil: it is somebody else's
	opened  time.Time
	log     *slog.Logger
	drain   selvage.Duration // how long the end may take
	name    selvage.NodeName
	guard   *guard
}

// edgeParts are what of an edge may be somebody else's.
type edgeParts struct {
	store  *state.Store // nil: a durable one of its own
	checks *node.Checks // nil: nobody has looked into the modules
}

// openEdge opens all that is listened on: what cannot be had is an error before
// anything is served, and nothing of it stays.
func openEdge(ctx context.Context, conf selvage.Config, log *slog.Logger, opened sockets, parts edgeParts) (*edge, error) {
	if err := os.MkdirAll(conf.Node.Data, 0o700); err != nil {
		return nil, fmt.Errorf("data folder: %w: name another with --data", err)
	}
	e := &edge{log: log, opened: time.Now(), drain: conf.Node.Deadlines.Drain, control: &control.Server{
		Admin: conf.Node.Admin, Data: conf.Node.Data, Version: versionString(), Log: log,
		Listener: opened[conf.Node.Admin.Address],
	}}
	if err := e.control.Open(ctx); err != nil {
		return nil, advise(err, "--admin, or switch it off with --admin off")
	}
	opened.warnUnused(log, &conf.Node)
	o := node.Options{Config: conf, Version: versionString(), Log: log, Opened: opened, State: parts.store, FunctionLog: functionLog(&conf.Node), Compiler: compiler(), Checks: parts.checks}
	var err error
	if parts.store == nil {
		if e.store, err = openStore(e, &conf.Node); err != nil {
			e.control.Close()
			return nil, err
		}
		o.State = new(e.store.Store())
	}
	e.node, err = node.New(o)
	if err != nil {
		e.close()
		return nil, advise(err, "--listen")
	}
	e.control.Node, e.control.Purger, e.control.Explainer, e.control.OnLimit = e.node, e.node, e.node, e.node.LimitHit
	e.name = conf.Node.Name
	e.watchOver(&conf, *o.State)
	return e, nil
}

// openStore takes the folder of what is remembered. It is run with the edge.
func openStore(e *edge, conf *selvage.Node) (*state.Embedded, error) {
	return state.Open(state.Options{
		Folder: stateFolder(conf.Data), Log: e.log,
		Limits: state.EdgeLimits(func(limit string) { e.node.LimitHit("state_" + limit) }), // not before the node runs
	})
}

// close gives back what an edge took that never ran.
func (e *edge) close() {
	if e.store != nil {
		_ = e.store.Close() // it has nothing to say: it never ran
		folder := stateFolder(e.control.Data)
		if entries, err := os.ReadDir(folder); err == nil && len(entries) == 1 { // its lock, and nothing was ever kept
			_ = os.RemoveAll(folder)
		}
	}
	e.control.Close() // the folder belongs to others after it
}

func stateFolder(data string) string { return filepath.Join(data, "state") }

// remember runs the store until ctx ends. Without it nothing new can be kept,
// and what is served goes on.
func (e *edge) remember(ctx context.Context) {
	if e.store == nil {
		return
	}
	var dead sync.WaitGroup
	dead.Go(func() { e.forgetDead(ctx) })
	defer dead.Wait()
	// What was still being made when the end came is made at the next start.
	if err := e.store.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		e.log.Error("nothing can be remembered any more; requests are served on", "error", err)
	}
}

// forgetDead takes away what nodes of earlier processes have left behind: the
// folder belongs to one process at a time, so they are dead. Nobody waits for
// their receipts then.
func (e *edge) forgetDead(ctx context.Context) {
	documents := e.store.Store().Documents
	nodes := state.Collection{Tenant: selvage.DefaultTenant, Name: state.NodesCollection}
	for d, err := range documents.List(ctx, nodes) {
		if err == nil && d.Time.Before(e.opened) {
			err = documents.Delete(ctx, d.Key, d.Revision)
		}
		// Conflict: a node of ours has the name now.
		if err != nil && selvage.KindOf(err) != selvage.Conflict && ctx.Err() == nil {
			e.log.Warn("nodes that have ended are still known", "error", err)
		}
	}
}

// advise says what to do now about an address that cannot be had.
func advise(err error, flag string) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w: another program has it: name another with %s", err, flag)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return fmt.Errorf("%w: this machine does not have it: name another with %s", err, flag)
	case errors.Is(err, fs.ErrPermission) && strings.HasPrefix(err.Error(), "control socket"):
		return fmt.Errorf("%w: name another with --data", err)
	case errors.Is(err, fs.ErrPermission) && strings.Contains(err.Error(), "bind:"):
		return fmt.Errorf("%w: ports below 1024 need root or CAP_NET_BIND_SERVICE: name another with %s", err, flag)
	}
	return err
}

// run serves until ctx ends. The control API stays until the node has drained,
// so that the drain can be watched. At each hup it takes what load gives.
func (e *edge) run(ctx context.Context, hup <-chan os.Signal, load func() (selvage.Config, error)) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	controlCtx, stopControl := context.WithCancel(context.WithoutCancel(ctx))
	defer stopControl()
	controlEnded := make(chan error, 1)
	go func() { // waited for below
		controlEnded <- e.control.Run(controlCtx)
		stop() // a node that cannot be watched must not serve
	}()
	storeCtx, stopStore := context.WithCancel(context.WithoutCancel(ctx))
	defer stopStore()
	storeEnded := make(chan struct{})
	go func() { defer close(storeEnded); e.remember(storeCtx) }() // waited for below
	leadCtx, stopLead := context.WithCancel(context.WithoutCancel(ctx))
	defer stopLead()
	leadEnded := make(chan struct{})
	go func() { defer close(leadEnded); e.lead(leadCtx) }()             // waited for below
	nodeCtx, stopNode := context.WithCancel(context.WithoutCancel(ctx)) // the end is announced before it begins
	defer stopNode()
	nodeEnded := make(chan error, 1)
	go func() { nodeEnded <- e.node.Run(nodeCtx) }() // waited for below
	go node.TuneCollector(ctx)                       // ends with ctx; it holds nothing that had to be waited for
	notifyReady()
	onTerminal := term.IsTerminal(int(os.Stdin.Fd()))
	again := make(chan os.Signal, 1)
	ending := ctx.Done()
	for {
		select {
		case <-hup:
			if onTerminal && !term.IsTerminal(int(os.Stdin.Fd())) {
				stop() // the terminal was closed: nobody is left who could end us
				continue
			}
			e.reload(load)
		case <-ending:
			ending = nil
			notifyStopping()
			signal.Notify(again, os.Interrupt, syscall.SIGTERM)
			e.log.Info("draining; a second signal ends at once", "deadline", e.drain.String())
			stopNode()
		case <-again:
			signal.Reset(os.Interrupt, syscall.SIGTERM) // a third one kills
			e.control.Close()
			stopLead()
			<-leadEnded // it writes into the data folder, which may be gone when we return
			return errors.New("ended by a second signal before the drain was over")
		case err := <-nodeEnded:
			stopControl()
			err = errors.Join(err, <-controlEnded)
			stopLead()
			<-leadEnded
			stopStore() // what is remembered is closed last
			<-storeEnded
			return err
		}
	}
}

// reload replaces what is served, or keeps it and says why.
func (e *edge) reload(load func() (selvage.Config, error)) {
	notifyReloading()
	defer notifyReady()
	conf, err := load()
	var restart []string
	if err == nil {
		restart, err = e.node.Reload(conf)
	}
	if err != nil {
		e.refused(err)
		return
	}
	for i := range conf.Services {
		s := &conf.Services[i]
		e.log.Info("reloaded", "service", s.Service, "revision", localRevision(s, conf.Outside[s.Service]))
	}
	e.guard.hear(files{conf.Services, conf.Outside, "reload"})
	if len(restart) > 0 {
		e.log.Warn("these settings of the node change with a restart only", "settings", strings.Join(restart, ", "))
	}
}

// refused says why nothing was changed; mistakes in files a line each.
func (e *edge) refused(err error) {
	const words = "reload refused, the old revision is kept"
	problems, ok := errors.AsType[selvage.Problems](err)
	if !ok {
		e.log.Error(words, "error", err)
		return
	}
	for _, p := range problems {
		p.Excerpt = "" // it has lines of its own
		e.log.Error(words, "error", p.String())
	}
}
