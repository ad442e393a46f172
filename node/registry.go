package node

import (
	"fmt"
	"path/filepath"

	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/compute/abi/fastly/geo"
	"github.com/selvage-edge/selvage/origin"
	"github.com/selvage-edge/selvage/policy"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/telemetry"
	"github.com/selvage-edge/selvage/transform"
)

// registry is what outlives a revision. doc/state.md lists it, with the bound
// of each.
type registry struct {
	origins   *origin.Registry
	limits    policy.Limits
	passwords policy.Passwords
	store     *cache.Store
	coders    *transform.Memory
	metrics   *telemetry.Metrics
	series    *telemetry.Series
	access    *telemetry.AccessLog
	said      *telemetry.FunctionLog
	sinks     telemetry.Fan
	watches   watches
	recorded  recordings
	functions *functions
	shared    shared
	loopEntry []string // the node's
}

func (n *Node) newRegistry(o Options) (*registry, error) {
	conf := &o.Config.Node
	reg := &registry{
		store:  cache.NewStore(conf.Cache.Memory),
		coders: transform.NewMemory(conf.Limits.Coders),
		series: new(telemetry.Series), loopEntry: n.loopEntry,
	}
	reg.metrics = telemetry.NewMetrics(n.gauges(o.Version, reg))
	reg.limits.OnLimit, reg.store.OnLimit = reg.metrics.LimitHit, reg.metrics.LimitHit
	reg.coders.OnLimit = reg.metrics.LimitHit
	reg.origins = &origin.Registry{Dial: o.Dial, Resolve: o.Resolve, Log: o.Log, OnLimit: reg.metrics.LimitHit}
	places, err := geo.Open(conf.Functions.Geo...)
	if err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	if reg.said, err = telemetry.NewFunctionLog(conf.FunctionLog, o.Log); err != nil {
		return nil, fmt.Errorf("functions: %w", err)
	}
	reg.said.OnLimit = reg.metrics.LimitHit
	reg.functions = n.newFunctions(&o, reg, places)
	access := o.AccessLog
	if access == nil {
		if access, err = telemetry.NewAccessLog(conf.AccessLog, o.Log); err != nil {
			return nil, fmt.Errorf("access log: %w", err)
		}
	}
	access.OnLimit = reg.metrics.LimitHit
	reg.access = access
	reg.sinks = telemetry.Fan{reg.metrics, reg.series, reg.access}
	return reg, nil
}

// newFunctions makes what functions need. Compiled files are kept in the data folder.
func (n *Node) newFunctions(o *Options, reg *registry, places *geo.Databases) *functions {
	folder := ""
	if o.Config.Node.Data != "" {
		folder = filepath.Join(o.Config.Node.Data, "functions")
	}
	rights, hear := o.Config.Node.Functions, o.FunctionLog
	if hear == nil {
		hear = reg.said.Take
	}
	return newFunctions(&functions{
		place: n.place, tenant: n.tenant, state: &n.state, geo: places, purgeTag: n.purgeTag,
		rights: rights, compiler: o.Compiler, checks: o.Checks, log: o.Log, onLimit: reg.metrics.LimitHit, hear: hear,
		dial: &guardedDial{allow: rights.DialAllow, own: n.Addrs, dial: o.Dial, resolve: o.Resolve},
	}, folder)
}

// done hands a finished record to the sinks.
func (n *Node) done(rec *record.Record) { n.registry.sinks.Take(rec) }

func (n *Node) gauges(version string, reg *registry) telemetry.Gauges {
	return telemetry.Gauges{
		Version: version,
		Connections: func() map[string]int64 {
			s := n.listeners.Stats()
			return map[string]int64{"http1": s.HTTP1, "h2": s.HTTP2, "upgraded": int64(n.ties.count())}
		},
		InFlight: n.inFlight.Load,
		Cache: func() telemetry.Cache {
			s := reg.store.Stats()
			return telemetry.Cache{Objects: int64(s.Objects), Bytes: s.Bytes, Receiving: s.Receiving, Sending: s.Sending}
		},
		Purges: n.purges.gauges,
		Refreshes: func() telemetry.Refreshes {
			s := reg.store.Stats()
			return telemetry.Refreshes{Running: s.Refreshing, Answered: s.Refreshed, Failed: s.RefreshFailures}
		},
		Coders: func() (bytes int64, lent int) {
			s := reg.coders.Stats()
			return s.Bytes, s.Lent
		},
		Endpoints:  n.endpointCounts,
		Services:   n.objectives,
		LogDropped: func() (dropped, lost uint64) { return reg.access.Dropped(), reg.access.Lost() },
		FunctionLog: func() (taken, dropped, lost uint64) {
			return reg.said.Taken(), reg.said.Dropped(), reg.said.Lost()
		},
	}
}

func (n *Node) objectives() []telemetry.ServiceObjectives {
	var all []telemetry.ServiceObjectives
	for _, rev := range n.table.Load().revisions {
		all = append(all, telemetry.ServiceObjectives{
			Tenant: rev.tenant, Service: rev.service.Service, Objectives: rev.service.Objectives,
		})
	}
	return all
}

func (n *Node) endpointCounts() []telemetry.EndpointCount {
	var all []telemetry.EndpointCount
	for _, rev := range n.table.Load().revisions {
		for name, pool := range rev.pools {
			c := telemetry.EndpointCount{Tenant: rev.tenant, Service: rev.service.Service, Origin: name}
			for _, e := range pool.Status() {
				c.Total++
				if e.State == origin.StateIn {
					c.Healthy++
				}
			}
			all = append(all, c)
		}
	}
	return all
}
