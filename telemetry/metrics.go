package telemetry

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

const (
	// maxTargets bounds the routes, and the origins, that have series of their
	// own. What comes later is counted together under the route other.
	maxTargets = 4096
	// maxEndpoints bounds the endpoints of an origin that have series of their own.
	maxEndpoints = 256
	// maxNames bounds the limits and the reasons that have series of their own.
	maxNames = 64

	other = "other"
)

// buckets are the bounds, in seconds, of the classic histograms, which scrapers
// without native histograms see.
var buckets = []float64{.001, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// family is the name, the help and the labels of a metric.
type family struct {
	name, help string
	labels     []string
}

var (
	familyRequests     = family{"selvage_requests_total", "Requests that ended.", []string{"tenant", "service", "route", "method", "status", "protocol"}}
	familyDuration     = family{"selvage_request_duration_seconds", "From the first byte of a request to the end of its answer.", []string{"tenant", "service", "route"}}
	familyFirstByte    = family{"selvage_first_byte_seconds", "From the complete request head to the first byte of the answer; objectives are measured by it.", []string{"tenant", "service", "route"}}
	familyBad          = family{"selvage_bad_requests_total", "Requests that count as bad, by why.", []string{"tenant", "service", "route", "why"}}
	familyGone         = family{"selvage_clients_gone_total", "Requests whose client did not wait for the end; they do not count as bad.", []string{"tenant", "service", "route"}}
	familyCache        = family{"selvage_cache_results_total", "What the cache did: hit, stale, collapsed, or why it asked the origin (RFC 9211).", []string{"tenant", "service", "route", "result"}}
	familyBytes        = family{"selvage_bytes_total", "Bytes of heads and bodies, from clients (in) and to them (out).", []string{"tenant", "service", "direction"}}
	familySaved        = family{"selvage_bytes_saved_total", "Bytes of bodies that were not sent because the answers were compressed here.", []string{"tenant", "service"}}
	familyAttempts     = family{"selvage_origin_attempts_total", "Tries at an endpoint, by the proxy error of RFC 9209 that they ended in, none if empty.", []string{"tenant", "service", "origin", "endpoint", "error"}}
	familyOriginFirst  = family{"selvage_origin_first_byte_seconds", "From the start of a try to the first byte of the origin's answer.", []string{"tenant", "service", "origin"}}
	familyFallbacks    = family{"selvage_fallbacks_total", "Answers of the failure ladder, by its step.", []string{"tenant", "service", "route", "step"}}
	familyLimits       = family{"selvage_limit_hits_total", "How often a limit was reached, by its name in the configuration.", []string{"limit"}}
	familyConnFailures = family{"selvage_connection_failures_total", "Connections that ended before their first request, by why: proxy_protocol, handshake, client_certificate (it had none that is believed), timeout.", []string{"why"}}
)

// Family describes a metric for the reference.
type Family struct {
	Name, Help string
	Kind       string // counter, gauge or histogram
	Labels     []string
}

// Families lists every metric of ours. Those of the Go runtime and of the
// process, go_ and process_, are there too.
func Families() []Family {
	var all []Family
	list := func(families []*family, kind string) {
		for _, f := range families {
			one := Family{f.name, f.help, kind, f.labels}
			if strings.HasSuffix(f.name, "_total") {
				one.Kind = "counter"
			}
			all = append(all, one)
		}
	}
	list(recorded, "histogram")
	list(asked, "gauge")
	return all
}

var recorded = []*family{
	&familyRequests, &familyDuration, &familyFirstByte, &familyBad, &familyGone, &familyCache, &familyBytes, &familySaved,
	&familyAttempts, &familyOriginFirst, &familyFallbacks, &familyLimits, &familyConnFailures,
}

// Metrics counts records in a registry of its own. Every label takes its values
// from the configuration or from a fixed set.
type Metrics struct {
	registry *prometheus.Registry

	requests, bad, cache           *prometheus.CounterVec
	bytes, saved                   *prometheus.CounterVec
	attempts, fallbacks, gone      *prometheus.CounterVec
	limits, connFailures           *prometheus.CounterVec
	duration, firstByte, originTTF *prometheus.HistogramVec

	limitNames   names
	failureNames names

	mu      sync.Mutex // guards changes of the maps below; readers take the pointers
	routes  atomic.Pointer[map[routeKey]*routeSeries]
	origins atomic.Pointer[map[originKey]*originSeries]
}

type routeKey struct {
	tenant  selvage.Tenant
	service selvage.ServiceName
	route   selvage.RouteName
}

type originKey struct {
	tenant  selvage.Tenant
	service selvage.ServiceName
	origin  selvage.OriginName
}

// NewMetrics returns metrics whose gauges ask gauges when they are read.
func NewMetrics(gauges Gauges) *Metrics {
	m := &Metrics{
		registry:     prometheus.NewRegistry(),
		requests:     familyRequests.counter(),
		bad:          familyBad.counter(),
		gone:         familyGone.counter(),
		cache:        familyCache.counter(),
		bytes:        familyBytes.counter(),
		saved:        familySaved.counter(),
		attempts:     familyAttempts.counter(),
		fallbacks:    familyFallbacks.counter(),
		limits:       familyLimits.counter(),
		connFailures: familyConnFailures.counter(),
		duration:     familyDuration.histogram(),
		firstByte:    familyFirstByte.histogram(),
		originTTF:    familyOriginFirst.histogram(),
	}
	m.routes.Store(&map[routeKey]*routeSeries{})
	m.origins.Store(&map[originKey]*originSeries{})
	m.registry.MustRegister(m.requests, m.bad, m.gone, m.cache, m.bytes, m.saved, m.attempts, m.fallbacks, m.limits,
		m.connFailures, m.duration, m.firstByte, m.originTTF, gauges)
	registerRuntime(m.registry)
	return m
}

func (f *family) counter() *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: f.name, Help: f.help}, f.labels)
}

// histogram is native, each power of two in eight parts, and classic for those who read no native ones.
func (f *family) histogram() *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                            f.name,
		Help:                            f.help,
		Buckets:                         buckets,
		NativeHistogramBucketFactor:     1.1,
		NativeHistogramMaxBucketNumber:  160,
		NativeHistogramMinResetDuration: time.Hour,
		NativeHistogramMaxExemplars:     -1,
	}, f.labels)
}

// Handler answers scrapes: text, OpenMetrics or, for native histograms, protocol buffers.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4})
}

// LimitHit counts a limit that was reached without a record, such as that of
// connections. It fits the OnLimit fields of the other packages.
func (m *Metrics) LimitHit(limit string) {
	m.limitNames.get(limit, func(name string) prometheus.Counter { return m.limits.WithLabelValues(name) }).Inc()
}

// ConnectionFailed counts a connection that ended before its first request.
func (m *Metrics) ConnectionFailed(why string) {
	m.failureNames.get(why, func(name string) prometheus.Counter { return m.connFailures.WithLabelValues(name) }).Inc()
}

// Take counts r.
func (m *Metrics) Take(r *record.Record) {
	s := m.route(r)
	s.request(m, r).Inc()
	s.duration.Observe(r.Timing.End.Seconds())
	if r.Timing.FirstByte > 0 {
		s.firstByte.Observe(max(r.Timing.FirstByte-r.Timing.Head, 0).Seconds())
	}
	s.in.Add(float64(max(r.Request.HeadBytes+r.Request.BodyBytes, 0)))
	s.out.Add(float64(max(r.Answer.HeadBytes+r.Answer.BodyBytes, 0)))
	if a := &r.Answer; a.Coding != "" && !a.Broken {
		s.saved.Add(float64(max(a.UncodedBytes-a.BodyBytes, 0)))
	}
	switch {
	case r.WhyBad == record.ClientGone:
		s.gone.Inc()
	case r.WhyBad != record.Good:
		s.why.get(string(r.WhyBad), func(name string) prometheus.Counter {
			return m.bad.WithLabelValues(s.values(name)...)
		}).Inc()
	}
	if result := cacheResult(&r.Cache); result != "" {
		s.cache.get(result, func(name string) prometheus.Counter {
			return m.cache.WithLabelValues(s.values(name)...)
		}).Inc()
	}
	if r.Origin.Fallback != "" {
		s.steps.get(r.Origin.Fallback, func(name string) prometheus.Counter {
			return m.fallbacks.WithLabelValues(s.values(name)...)
		}).Inc()
	}
	if r.LimitHit != "" && !strings.HasPrefix(r.LimitHit, "function_") { // a function's are counted where they are reached, also those that it goes on after
		m.LimitHit(r.LimitHit)
	}
	if r.Origin.Attempts > 0 {
		m.origin(r).take(m, &r.Origin)
	}
}

// cacheResult is the one word for what the cache did, empty if it was not asked.
func cacheResult(c *record.Cache) string {
	switch {
	case c.Hit && c.Stale, c.Stale && c.Fwd == "":
		return "stale"
	case c.Hit:
		return "hit"
	case c.Collapsed:
		return "collapsed"
	}
	switch c.Fwd {
	case "", "bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial":
		return c.Fwd
	}
	return other
}
