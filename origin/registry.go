// Package origin asks the user's application: pools of endpoints with balance,
// health, deadlines and retries, and folders of static files.
//
// Look at [Registry] first: it belongs to the node and outlives revisions. A
// revision acquires a [Pool] for each of its origins and releases it with its
// last request; endpoints, that is connections, latencies and health, are shared
// by identity within a service, so a reload that does not touch an endpoint
// does not notice it either. A [Pool] is an http.RoundTripper.
//
// It promises that every failure is a *[selvage.ProxyError] with a type of RFC
// 9209, after the head too; that nothing is sent twice that may not be; that
// the end of the client's request is the end of the origin's; that the caller's
// request is not changed; and that whoever acquires and releases leaves nothing behind.
//
// It refuses to look into an answer beyond its status, to wait without a bound
// unless the configuration says so, and to log on the request's way.
package origin

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"sync"

	"github.com/selvage-edge/selvage"
)

// Registry holds the pools of a node. Its zero value works. It is safe for
// concurrent use; its fields must not change after the first call.
type Registry struct {
	// Dial opens connections. Without it the operating system does.
	Dial func(ctx context.Context, network, addr string) (net.Conn, error)
	// Resolve looks up the addresses of a name. Without it net.DefaultResolver does.
	Resolve func(ctx context.Context, host string) ([]netip.Addr, error)
	// Log is told when an endpoint's state changes by active health or DNS. Without it nobody is.
	Log *slog.Logger
	// OnLimit is told when a limit is reached that no record tells of: origin_connections, as
	// soon as a request has to wait for one; origin_addresses; what the transport finds;
	// and retry_budget for a request without a record.
	OnLimit func(limit string)

	random func(n int) int // tests seed it

	mu        sync.Mutex // guards all below
	pools     map[poolKey]*Pool
	endpoints map[endpointKey]*endpoint
	running   context.Context // of Run, nil without
	loops     sync.WaitGroup  // of Run
}

type poolKey struct {
	tenant   selvage.Tenant
	service  selvage.ServiceName
	name     selvage.OriginName
	settings string
}

// Acquire returns the pool of an origin: the one that is there if all settings
// and the contents of the TLS files are the same, else a new one, with those
// endpoints that are. Each call needs its [Pool.Release]. Errors are of kind
// [selvage.Invalid] and say what to change; the caller knows of which origin.
func (r *Registry) Acquire(t selvage.Tenant, s selvage.ServiceName, name selvage.OriginName, o selvage.Origin) (*Pool, error) {
	plan, err := newPlan(t, s, o)
	if err == nil && o.Folder != "" {
		err = checkFolder(o.Folder)
	}
	if err != nil {
		return nil, &selvage.Error{Kind: selvage.Invalid, Err: err}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	key := poolKey{t, s, name, plan.settings}
	if p := r.pools[key]; p != nil {
		p.refs++
		return p, nil
	}
	p := newPool(r, key, plan)
	for _, ep := range plan.endpoints {
		p.endpoints = append(p.endpoints, r.endpointLocked(ep))
	}
	for _, e := range p.endpoints {
		e.join(p)
	}
	p.refresh()
	if r.pools == nil {
		r.pools = make(map[poolKey]*Pool)
	}
	r.pools[key] = p
	return p, nil
}

func (r *Registry) endpointLocked(plan endpointPlan) *endpoint {
	e := r.endpoints[plan.key]
	if e == nil {
		e = newEndpoint(r, plan)
		if r.endpoints == nil {
			r.endpoints = make(map[endpointKey]*endpoint)
		}
		r.endpoints[plan.key] = e
		r.startLocked(e)
	}
	e.refs++
	return e
}

// Release gives a pool back. With the last release it is gone, and those of its
// endpoints that no other pool has: requests that run go on, then their
// connections close.
func (p *Pool) Release() {
	r := p.reg
	r.mu.Lock()
	defer r.mu.Unlock()
	if p.refs--; p.refs > 0 {
		return
	}
	delete(r.pools, p.key)
	for _, e := range p.endpoints {
		e.leave(p)
		if e.refs--; e.refs == 0 {
			delete(r.endpoints, e.key)
			e.close()
		}
	}
}

// Run keeps watch until ctx ends: it asks endpoints for their health and
// resolves names again. Without it pools work, on names that are resolved once.
// There may be one Run at a time.
func (r *Registry) Run(ctx context.Context) error {
	r.mu.Lock()
	if r.running != nil {
		r.mu.Unlock()
		return errors.New("run origins: they run already")
	}
	r.running = ctx
	for _, e := range r.endpoints {
		r.startLocked(e) //nolint:contextcheck // it is r.running
	}
	r.mu.Unlock()
	<-ctx.Done()
	r.mu.Lock()
	r.running = nil
	r.mu.Unlock()
	r.loops.Wait()
	return nil
}

// startLocked starts an endpoint's loop if the registry runs. Run waits for it.
func (r *Registry) startLocked(e *endpoint) {
	if r.running == nil || !e.needsLoop() {
		return
	}
	ctx, stop := context.WithCancel(r.running)
	e.stop = stop
	r.loops.Go(func() {
		defer stop()
		e.run(ctx)
	})
}

func (r *Registry) dial(ctx context.Context, addr string) (net.Conn, error) {
	if r.Dial != nil {
		return r.Dial(ctx, "tcp", addr)
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", addr)
}

func (r *Registry) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if r.Resolve != nil {
		return r.Resolve(ctx, host)
	}
	return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
}

func (r *Registry) limitHit(limit string) {
	if r.OnLimit != nil {
		r.OnLimit(limit)
	}
}

func (r *Registry) logger() *slog.Logger {
	if r.Log != nil {
		return r.Log
	}
	return slog.New(slog.DiscardHandler)
}
