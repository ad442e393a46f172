package node

import (
	"maps"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/origin"
	"github.com/selvage-edge/selvage/telemetry"
)

// Status says how the node is.
func (n *Node) Status() client.Status {
	conf, conns, stored := n.settings(), n.listeners.Stats(), n.registry.store.Stats()
	ties := n.ties.count()
	s := client.Status{
		Version: n.version, Node: string(conf.Name), POP: string(conf.POP), Zone: string(conf.Zone),
		Started: n.started, State: "ready",
		Connections: client.Connections{HTTP1: int(conns.HTTP1), HTTP2: int(conns.HTTP2), Upgraded: ties},
		Cache:       client.Cache{Objects: int64(stored.Objects), Bytes: stored.Bytes, MaxBytes: int64(conf.Cache.Memory)},
	}
	if n.draining.Load() {
		s.State = "draining"
	}
	for i, a := range n.listeners.Addrs() {
		s.Listeners = append(s.Listeners, client.Listener{Address: a.String(), TLS: i < len(conf.Listen) && conf.Listen[i].TLS})
	}
	series := n.registry.series.Snapshot(time.Now())
	for _, rev := range n.table.Load().revisions {
		s.Services = append(s.Services, rev.status(series))
	}
	return s
}

func (rev *revision) status(series []telemetry.ServiceSeries) client.Service {
	conf := &rev.service
	s := client.Service{
		Tenant: string(rev.tenant), Service: string(conf.Service), Owner: conf.Owner, Tier: conf.Tier,
		Revision: string(rev.id), Hosts: conf.Hosts, Routes: len(conf.Routes),
		Objectives: client.Objectives{Availability: float64(conf.Objectives.Availability), P99MS: millis(conf.Objectives.Latency.P99.Std())},
	}
	for _, one := range series {
		if one.Tenant == rev.tenant && one.Service == conf.Service {
			t := one.Total
			s.LastMinute = client.Traffic{
				Requests: t.Requests, Bad: t.Bad, Hits: t.Hits, Bytes: t.BytesOut, P50MS: millis(t.P50), P99MS: millis(t.P99),
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(rev.pools)) {
		s.Origins = append(s.Origins, originStatus(name, conf.Origins[name].Folder, rev.pools[name].Status()))
	}
	return s
}

func originStatus(name selvage.OriginName, folder string, endpoints []origin.EndpointStatus) client.Origin {
	o := client.Origin{Origin: string(name), Folder: folder}
	if folder != "" {
		return o
	}
	for _, e := range endpoints {
		o.Endpoints = append(o.Endpoints, client.Endpoint{
			Endpoint: e.URL, Address: e.Address, State: string(e.State), Why: e.Why, InFlight: e.InFlight,
			LatencyMS: millis(e.Latency), Connections: e.Connections, LastError: e.LastError, LastErrorAt: e.LastErrorAt,
		})
	}
	return o
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
