package telemetry

import (
	"maps"
	"strconv"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/selvage-edge/selvage/record"
)

// names holds one counter for each value of a label, up to maxNames of them.
// Reading takes no lock. The zero value is ready.
type names struct {
	mu    sync.Mutex // guards changes of known
	known atomic.Pointer[map[string]prometheus.Counter]
}

func (n *names) get(name string, create func(string) prometheus.Counter) prometheus.Counter {
	if known := n.known.Load(); known != nil {
		if c, ok := (*known)[name]; ok {
			return c
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	known := map[string]prometheus.Counter{}
	if old := n.known.Load(); old != nil {
		if c, ok := (*old)[name]; ok {
			return c
		}
		if len(*old) >= maxNames {
			return create(other)
		}
		known = maps.Clone(*old)
	}
	c := create(validLabel(name))
	known[name] = c
	n.known.Store(&known)
	return c
}

// validLabel is s, or other if a label cannot hold it. Names come from the
// configuration, which has checked them; a defect there must not panic here.
func validLabel(s string) string {
	if !utf8.ValidString(s) {
		return other
	}
	return s
}

// routeSeries are the series of one route, found once.
type routeSeries struct {
	tenant, service, route string

	duration, firstByte  prometheus.Observer
	in, out, gone, saved prometheus.Counter
	why, cache, steps    names

	mu       sync.Mutex // guards changes of requests
	requests atomic.Pointer[map[outcome]prometheus.Counter]
}

// outcome is what a request's counter depends on besides its route. All three
// are from fixed sets, so that their number is bounded.
type outcome struct {
	method   uint8
	protocol uint8
	status   int16
}

func (s *routeSeries) values(more ...string) []string {
	return append([]string{s.tenant, s.service, s.route}, more...)
}

// route returns the series of r's route, making them at its first request.
func (m *Metrics) route(r *record.Record) *routeSeries {
	k := routeKey{r.Target.Tenant, r.Target.Service, r.Target.Route}
	if s := (*m.routes.Load())[k]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.routes.Load()
	if s := old[k]; s != nil {
		return s
	}
	if len(old) >= maxTargets {
		k = routeKey{other, other, other}
		if s := old[k]; s != nil {
			return s
		}
	}
	s := &routeSeries{tenant: validLabel(string(k.tenant)), service: validLabel(string(k.service)), route: validLabel(string(k.route))}
	s.duration = m.duration.WithLabelValues(s.values()...)
	s.firstByte = m.firstByte.WithLabelValues(s.values()...)
	s.in = m.bytes.WithLabelValues(s.tenant, s.service, "in")
	s.out = m.bytes.WithLabelValues(s.tenant, s.service, "out")
	s.saved = m.saved.WithLabelValues(s.tenant, s.service)
	s.gone = m.gone.WithLabelValues(s.values()...)
	s.requests.Store(&map[outcome]prometheus.Counter{})
	routes := maps.Clone(old)
	routes[k] = s
	m.routes.Store(&routes)
	return s
}

var methods = [...]string{other, "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PURGE", "CONNECT", "TRACE"}

func methodIndex(method string) uint8 {
	for i := 1; i < len(methods); i++ {
		if methods[i] == method {
			return uint8(i)
		}
	}
	return 0
}

var protocols = [...]string{other, "HTTP/1.1", "HTTP/2.0", "HTTP/1.0", "HTTP/3.0"}

func protocolIndex(protocol string) uint8 {
	for i := 1; i < len(protocols); i++ {
		if protocols[i] == protocol {
			return uint8(i)
		}
	}
	return 0
}

// request returns the counter of r's outcome.
func (s *routeSeries) request(m *Metrics, r *record.Record) prometheus.Counter {
	k := outcome{method: methodIndex(r.Request.Method), protocol: protocolIndex(r.Client.Protocol)}
	if r.Answer.Status >= 100 && r.Answer.Status <= 599 {
		k.status = int16(r.Answer.Status)
	}
	if c, ok := (*s.requests.Load())[k]; ok {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.requests.Load()
	if c, ok := old[k]; ok {
		return c
	}
	c := m.requests.WithLabelValues(s.values(methods[k.method], strconv.Itoa(int(k.status)), protocols[k.protocol])...)
	requests := maps.Clone(old)
	requests[k] = c
	s.requests.Store(&requests)
	return c
}

// originSeries are the series of one origin of one service.
type originSeries struct {
	tenant, service, origin string

	firstByte prometheus.Observer

	mu    sync.Mutex // guards changes of tries
	tries atomic.Pointer[map[try]prometheus.Counter]
	// How many endpoints have series; with mu held.
	endpoints map[string]bool
}

// try is what an attempt's counter depends on besides its origin.
type try struct{ endpoint, err string }

// origin returns the series of r's origin, making them at its first attempt.
func (m *Metrics) origin(r *record.Record) *originSeries {
	k := originKey{r.Target.Tenant, r.Target.Service, r.Target.Origin}
	if s := (*m.origins.Load())[k]; s != nil {
		return s
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	old := *m.origins.Load()
	if s := old[k]; s != nil {
		return s
	}
	if len(old) >= maxTargets {
		k = originKey{other, other, other}
		if s := old[k]; s != nil {
			return s
		}
	}
	s := &originSeries{tenant: validLabel(string(k.tenant)), service: validLabel(string(k.service)), origin: validLabel(string(k.origin)), endpoints: map[string]bool{}}
	s.firstByte = m.originTTF.WithLabelValues(s.tenant, s.service, s.origin)
	s.tries.Store(&map[try]prometheus.Counter{})
	origins := maps.Clone(old)
	origins[k] = s
	m.origins.Store(&origins)
	return s
}

// take counts the attempts. Of those that the record did not keep, only the number is known.
func (s *originSeries) take(m *Metrics, o *record.Origin) {
	kept := o.Kept()
	for i := range kept {
		a := &kept[i]
		if a.FirstByte > 0 {
			s.firstByte.Observe(a.FirstByte.Seconds())
		}
		s.counter(m, try{a.Endpoint, string(a.Error)}).Inc()
	}
	if more := o.Attempts - len(kept); more > 0 {
		s.counter(m, try{other, other}).Add(float64(more))
	}
}

func (s *originSeries) counter(m *Metrics, k try) prometheus.Counter {
	if c, ok := (*s.tries.Load())[k]; ok {
		return c
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old := *s.tries.Load()
	if c, ok := old[k]; ok {
		return c
	}
	if !s.endpoints[k.endpoint] {
		if len(s.endpoints) >= maxEndpoints {
			k.endpoint = other
			if c, ok := old[k]; ok {
				return c
			}
		}
		s.endpoints[k.endpoint] = true
	}
	c := m.attempts.WithLabelValues(s.tenant, s.service, s.origin, validLabel(k.endpoint), validLabel(k.err))
	tries := maps.Clone(old)
	tries[k] = c
	s.tries.Store(&tries)
	return c
}
