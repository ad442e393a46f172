package telemetry

import (
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"github.com/selvage-edge/selvage"
)

// Gauges are asked when metrics are read. Those that are nil are left out.
type Gauges struct {
	Version     string                  // of the program
	Connections func() map[string]int64 // open client connections by protocol
	InFlight    func() int64            // requests that have begun and not ended
	Cache       func() Cache
	Refreshes   func() Refreshes
	Purges      func() Purges
	Coders      func() (bytes int64, lent int) // what encoders and decoders take, and how many work
	Endpoints   func() []EndpointCount
	Services    func() []ServiceObjectives
	LogDropped  func() (dropped, lost uint64) // lines of the access log
	FunctionLog func() (taken, dropped, lost uint64)
}

// Cache is what the cache's memory is taken by.
type Cache struct {
	Objects            int64
	Bytes              int64 // by stored answers
	Receiving, Sending int64 // by bodies that are on their way in, and by those that are read and not stored any more
}

// Purges is how far the feed of purges was applied.
type Purges struct {
	Applied  uint64        // purges, since the start
	Position uint64        // of the last one, in the feed
	Behind   uint64        // entries that are in the feed and not applied, as far as is known
	Lag      time.Duration // from the last one's append to its being applied
	Drops    uint64        // times that all that was stored was dropped
}

// Refreshes are the fetches in the background for stale answers.
type Refreshes struct {
	Running          int
	Answered, Failed int64 // since the start
}

// EndpointCount says how many endpoints of an origin there are.
type EndpointCount struct {
	Tenant         selvage.Tenant
	Service        selvage.ServiceName
	Origin         selvage.OriginName
	Healthy, Total int
}

// ServiceObjectives are what the users of a service are promised.
type ServiceObjectives struct {
	Tenant     selvage.Tenant
	Service    selvage.ServiceName
	Objectives selvage.Objectives
}

var (
	familyConnections    = family{"selvage_connections", "Open client connections by protocol.", []string{"protocol"}}
	familyInFlight       = family{"selvage_requests_in_flight", "Requests that have begun and not ended.", nil}
	familyCacheBytes     = family{"selvage_cache_bytes", "Memory of the stored answers, with all their overhead.", nil}
	familyCacheReceiving = family{"selvage_cache_receiving_bytes", "Memory reserved for bodies that are on their way into the cache; it counts in the bound.", nil}
	familyCacheSending   = family{"selvage_cache_sending_bytes", "Memory of bodies that are being sent and are not stored any more; it counts in the bound.", nil}
	familyCacheObjects   = family{"selvage_cache_objects", "Stored answers.", nil}
	familyRefreshing     = family{"selvage_cache_refreshing", "Fetches in the background for stale answers that are under way.", nil}
	familyRefreshes      = family{"selvage_cache_refreshes_total", "Fetches in the background that have ended: with an answer, or failed.", []string{"result"}}
	familyCoders         = family{"selvage_coders", "Encoders and decoders that are at work.", nil}
	familyCoderBytes     = family{"selvage_coder_bytes", "Memory that encoders and decoders are reckoned to take, also those that wait.", nil}
	familyHealthy        = family{"selvage_endpoints_healthy", "Endpoints that requests are sent to.", []string{"tenant", "service", "origin"}}
	familyEndpoints      = family{"selvage_endpoints", "Endpoints in all.", []string{"tenant", "service", "origin"}}
	familyAvailability   = family{"selvage_objective_availability_ratio", "The share of requests that is promised to be answered without an error.", []string{"tenant", "service"}}
	familyLatency        = family{"selvage_objective_first_byte_p99_seconds", "Within what time 99 of 100 answers are promised to begin.", []string{"tenant", "service"}}
	familyPurges         = family{"selvage_purges_applied_total", "Purges that were applied.", nil}
	familyPurgePosition  = family{"selvage_purge_position", "Position in the feed of purges up to which they are applied.", nil}
	familyPurgesBehind   = family{"selvage_purges_behind", "Entries in the feed of purges that are not applied yet, as far as is known.", nil}
	familyPurgeLag       = family{"selvage_purge_lag_seconds", "Time from the last purge's entry into the feed to its being applied.", nil}
	familyPurgeDrops     = family{"selvage_purge_drops_total", "Times that all that was stored was dropped, since purges may have been missed.", nil}
	familyLogDropped     = family{"selvage_access_log_lines_dropped_total", "Lines that found the buffer of the access log full.", nil}
	familyLogLost        = family{"selvage_access_log_lines_lost_total", "Lines that the disk did not take.", nil}
	familyLines          = family{"selvage_function_log_lines_total", "Lines that functions wrote to their logs.", nil}
	familyLinesDropped   = family{"selvage_function_log_lines_dropped_total", "Lines that found the buffer of the function log full.", nil}
	familyLinesLost      = family{"selvage_function_log_lines_lost_total", "Lines of the function log that the disk did not take.", nil}
	familyBuild          = family{"selvage_build_info", "Always 1; its labels say what runs.", []string{"version", "go"}}
)

var asked = []*family{
	&familyConnections, &familyInFlight, &familyCacheBytes, &familyCacheReceiving, &familyCacheSending, &familyCacheObjects, &familyRefreshing, &familyRefreshes, &familyPurges, &familyPurgePosition, &familyPurgesBehind, &familyPurgeLag, &familyPurgeDrops, &familyCoders, &familyCoderBytes, &familyHealthy, &familyEndpoints,
	&familyAvailability, &familyLatency, &familyLogDropped, &familyLogLost, &familyLines, &familyLinesDropped, &familyLinesLost, &familyBuild,
}

// descs are built once: the registry compares them with those it was given.
var descs = func() map[*family]*prometheus.Desc {
	m := map[*family]*prometheus.Desc{}
	for _, f := range asked {
		m[f] = prometheus.NewDesc(f.name, f.help, f.labels, nil)
	}
	return m
}()

// Describe implements [prometheus.Collector].
func (g Gauges) Describe(ch chan<- *prometheus.Desc) {
	for _, f := range asked {
		ch <- descs[f]
	}
}

// Collect implements [prometheus.Collector].
func (g Gauges) Collect(ch chan<- prometheus.Metric) {
	send := func(f *family, kind prometheus.ValueType, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(descs[f], kind, v, labels...)
	}
	send(&familyBuild, prometheus.GaugeValue, 1, validLabel(g.Version), runtime.Version())
	if g.Connections != nil {
		for protocol, n := range g.Connections() {
			send(&familyConnections, prometheus.GaugeValue, float64(n), validLabel(protocol))
		}
	}
	if g.InFlight != nil {
		send(&familyInFlight, prometheus.GaugeValue, float64(g.InFlight()))
	}
	if g.Cache != nil {
		c := g.Cache()
		send(&familyCacheBytes, prometheus.GaugeValue, float64(c.Bytes))
		send(&familyCacheReceiving, prometheus.GaugeValue, float64(c.Receiving))
		send(&familyCacheSending, prometheus.GaugeValue, float64(c.Sending))
		send(&familyCacheObjects, prometheus.GaugeValue, float64(c.Objects))
	}
	if g.Refreshes != nil {
		r := g.Refreshes()
		send(&familyRefreshing, prometheus.GaugeValue, float64(r.Running))
		send(&familyRefreshes, prometheus.CounterValue, float64(r.Answered), "answer")
		send(&familyRefreshes, prometheus.CounterValue, float64(r.Failed), "failed")
	}
	if g.Purges != nil {
		p := g.Purges()
		send(&familyPurges, prometheus.CounterValue, float64(p.Applied))
		send(&familyPurgePosition, prometheus.GaugeValue, float64(p.Position))
		send(&familyPurgesBehind, prometheus.GaugeValue, float64(p.Behind))
		send(&familyPurgeLag, prometheus.GaugeValue, p.Lag.Seconds())
		send(&familyPurgeDrops, prometheus.CounterValue, float64(p.Drops))
	}
	if g.Coders != nil {
		bytes, lent := g.Coders()
		send(&familyCoders, prometheus.GaugeValue, float64(lent))
		send(&familyCoderBytes, prometheus.GaugeValue, float64(bytes))
	}
	if g.LogDropped != nil {
		dropped, lost := g.LogDropped()
		send(&familyLogDropped, prometheus.CounterValue, float64(dropped))
		send(&familyLogLost, prometheus.CounterValue, float64(lost))
	}
	if g.FunctionLog != nil {
		taken, dropped, lost := g.FunctionLog()
		send(&familyLines, prometheus.CounterValue, float64(taken))
		send(&familyLinesDropped, prometheus.CounterValue, float64(dropped))
		send(&familyLinesLost, prometheus.CounterValue, float64(lost))
	}
	if g.Endpoints != nil {
		for _, e := range g.Endpoints() {
			labels := []string{string(e.Tenant), string(e.Service), string(e.Origin)}
			send(&familyHealthy, prometheus.GaugeValue, float64(e.Healthy), labels...)
			send(&familyEndpoints, prometheus.GaugeValue, float64(e.Total), labels...)
		}
	}
	if g.Services != nil {
		for _, s := range g.Services() {
			labels := []string{string(s.Tenant), string(s.Service)}
			if a := s.Objectives.Availability; a > 0 {
				send(&familyAvailability, prometheus.GaugeValue, float64(a), labels...)
			}
			if d := s.Objectives.Latency.P99; d > 0 {
				send(&familyLatency, prometheus.GaugeValue, d.Std().Seconds(), labels...)
			}
		}
	}
}

func registerRuntime(r *prometheus.Registry) {
	r.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}
