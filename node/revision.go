package node

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/fallback"
	"github.com/selvage-edge/selvage/origin"
	"github.com/selvage-edge/selvage/policy"
	"github.com/selvage-edge/selvage/route"
)

// revision is a compiled service. It is immutable but for the count of those
// who use it; what it refers to lives in the registry.
type revision struct {
	id        selvage.RevisionID
	tenant    selvage.Tenant
	service   selvage.Service
	table     *route.Table
	routes    []compiledRoute
	pools     map[selvage.OriginName]*origin.Pool      // of those with endpoints or a folder
	sources   map[selvage.OriginName]http.RoundTripper // of all: a pool, or a function
	functions map[selvage.FunctionName]*program
	dynamic   dynamicPools         // of origins that functions have named
	before    []selvage.RevisionID // what its file said at the start, and before other changes: nobody had heard of it yet
	shown     *shownCertificate    // nil: those of the node file
	layer     *cache.Layer         // where its answers are stored; nil for one of a file
	makings   []string             // of its routes: what makes their answers

	// users counts the table that has it and the requests that pinned it. At
	// zero the pools are let go, and it never rises again.
	users atomic.Int64
}

type compiledRoute struct {
	name     selvage.RouteName
	origin   selvage.OriginName
	log      selvage.LogChoice
	policies *policy.Chain
	rules    string // a digest of all that the route says: two with the same do the same
	replay   bool   // its GETs are recorded, to be played on a new revision
	traces   bool   // TRACE is for its function: no origin shows a client what the edge added, unless somebody wrote so
	rewrites bool   // the path that the origin sees is not the client's, by which answers are stored
	coding   coding
	asItLies bool              // see leavesAsItLies
	cache    *cache.Transport  // in upstream; nil on a route that stores nothing
	played   http.RoundTripper // past the cache; nil as upstream
	function bool              // nothing but a function looks at its requests' headers
	upstream http.RoundTripper // fallback around cache around making around origin; nil on a route that ends in a policy
}

// compile makes a revision of a service, or says why it cannot be. Nothing
// changes for those who use the old one.
func (reg *registry) compile(id selvage.RevisionID, tenant selvage.Tenant, s selvage.Service, layer *cache.Layer) (*revision, error) {
	rev := &revision{
		id: id, tenant: tenant, service: s, layer: layer,
		pools:     make(map[selvage.OriginName]*origin.Pool, len(s.Origins)),
		sources:   make(map[selvage.OriginName]http.RoundTripper, len(s.Origins)),
		functions: make(map[selvage.FunctionName]*program, len(s.Functions)),
	}
	rev.users.Store(1)
	if err := reg.fill(rev); err != nil {
		rev.release()
		return nil, fmt.Errorf("compile service %s: %w", s.Service, err)
	}
	return rev, nil
}

func (reg *registry) fill(rev *revision) (err error) {
	s := &rev.service
	if rev.shown, err = loadCertificate(&s.TLS); err != nil {
		return err
	}
	for name := range s.Functions {
		p, err := reg.functions.acquire(context.Background(), s, name, rev.layer == nil)
		if err != nil {
			return fmt.Errorf("function %q: %w", name, err)
		}
		rev.functions[name] = p
	}
	for name, o := range s.Origins {
		if o.Function != "" {
			continue
		}
		if rev.pools[name], err = reg.origins.Acquire(rev.tenant, s.Service, name, o); err != nil {
			delete(rev.pools, name)
			return fmt.Errorf("origin %q: %w", name, err)
		}
		rev.sources[name] = rev.pools[name]
	}
	reg.functionOrigins(rev)
	if rev.table, err = route.Compile(*s); err != nil {
		return err
	}
	scope := policy.Scope{Tenant: rev.tenant, Service: s.Service, Limits: &reg.limits, Passwords: &reg.passwords}
	rev.routes = make([]compiledRoute, len(s.Routes))
	for i := range s.Routes {
		r := &s.Routes[i]
		cr := &rev.routes[i]
		cr.name, cr.origin, cr.log = r.Label(), r.Origin, r.Log
		cr.rules = rulesOf(s, *r)
		cr.traces = r.Function != "" && slices.Contains(r.Match.Methods, http.MethodTrace)
		cr.replay = r.Origin != "" && r.Function == "" && rev.pools[r.Origin] != nil && (r.Replay == selvage.ReplaySafe || r.Cache != nil && r.Replay != selvage.ReplayNever)
		if cr.policies, err = policy.Compile(scope, *r); err != nil {
			return fmt.Errorf("route %q: %w", cr.name, err)
		}
		cr.rewrites = r.Rewrite != nil && stores(s)
		if cr.coding, err = reg.newCoding(r.Compress); err != nil {
			return fmt.Errorf("route %q: %w", cr.name, err)
		}
		if r.Origin != "" || r.Function != "" {
			cr.upstream, cr.played = reg.upstream(rev, r, cr)
			cr.asItLies = r.Function == "" && cr.leavesAsItLies()
			cr.function = r.Function != "" && cr.policies.Empty() && cr.coding.delivered == nil && !cr.rewrites && len(r.OnFailure) == 0
		}
	}
	return nil
}

// upstream puts the stages of the origin side around each other. On a service
// that stores, a route that does not still has to make invalid what it changes.
func (reg *registry) upstream(rev *revision, r *selvage.Route, cr *compiledRoute) (upstream, played http.RoundTripper) {
	watch := reg.watch(rev.service.Service)
	if r.Function == "" {
		own := rev.pools[r.Origin] == nil
		return fallback.New(r.OnFailure, reg.behind(rev, r, cr, &maker{next: rev.sources[r.Origin], watch: watch, own: own})), rev.sources[r.Origin]
	}
	f := reg.newFunction(rev, r.Function)
	f.own = r.Origin
	var own *cache.Transport // of the route's own origin
	for name, source := range rev.sources {
		of := *r
		of.Origin, cr.cache = name, nil
		f.sources[name] = reg.behind(rev, &of, cr, source)
		if name == r.Origin {
			own = cr.cache
		}
	}
	cr.cache = own
	if r.Origin != "" {
		f.pass = f.sources[r.Origin]
	}
	return fallback.New(r.OnFailure, &maker{next: f, watch: watch, own: true}), f
}

// functionOrigins makes the origins that are functions. What they ask for goes
// to the origins as it is: what they make of it is what is stored.
func (reg *registry) functionOrigins(rev *revision) {
	var all []*function
	for name, o := range rev.service.Origins {
		if o.Function == "" {
			continue
		}
		f := reg.newFunction(rev, o.Function)
		rev.sources[name] = f
		all = append(all, f)
	}
	for _, f := range all {
		f.sources = rev.sources
	}
}

// behind puts the cache around an origin.
func (reg *registry) behind(rev *revision, r *selvage.Route, cr *compiledRoute, next http.RoundTripper) http.RoundTripper {
	scope := cache.Scope{
		Tenant: rev.tenant, Service: rev.service.Service, Revision: rev.id, StaleOnError: hasStale(r.OnFailure),
		Making: makingOf(rev, r), Layer: rev.layer, Added: addedAcross,
	}
	switch {
	case r.Cache != nil:
		scope.Policy = *r.Cache
		if cr.coding.stored != nil {
			scope.Coder = cr.coding.stored
		}
		rev.makings = append(rev.makings, scope.Making)
		cr.cache = cache.NewTransport(reg.store, scope, next)
		next = cr.cache
	case stores(&rev.service):
		next = cache.NewInvalidator(reg.store, scope, next)
	}
	return next
}

func stores(s *selvage.Service) bool {
	return slices.ContainsFunc(s.Routes, func(r selvage.Route) bool { return r.Cache != nil })
}

func hasStale(rungs []selvage.Rung) bool {
	return slices.ContainsFunc(rungs, func(r selvage.Rung) bool { return r.Stale })
}

// acquire counts one more user. It fails if the last one has gone already.
func (rev *revision) acquire() bool {
	for {
		n := rev.users.Load()
		if n == 0 {
			return false
		}
		if rev.users.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (rev *revision) release() {
	if rev.users.Add(-1) == 0 {
		for _, p := range rev.pools {
			p.Release()
		}
		for _, p := range rev.functions {
			p.release()
		}
		rev.dynamic.close()
	}
}
