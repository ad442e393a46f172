package telemetry

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// scrape is the text that a scraper reads.
func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("scrape: %d %s", w.Code, w.Body)
	}
	text, err := io.ReadAll(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func expect(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(text, "\n"+line+"\n") {
			name, _, _ := strings.Cut(line, "{")
			var have []string
			for l := range strings.SplitSeq(text, "\n") {
				if strings.HasPrefix(l, name) {
					have = append(have, l)
				}
			}
			t.Errorf("no line %s, only:\n%s", line, strings.Join(have, "\n"))
		}
	}
}

func TestRecordIsCountedUnderEveryName(t *testing.T) {
	m := NewMetrics(Gauges{})
	m.Take(full())
	m.Take(plain())
	m.Take(plain())
	m.LimitHit("connections")
	m.ConnectionFailed("handshake")
	const shop = `service="shop",tenant="main"`
	expect(t, scrape(t, m),
		`selvage_requests_total{method="GET",protocol="HTTP/2.0",route="search",`+shop[:14]+`,status="200",tenant="main"} 2`,
		`selvage_requests_total{method="GET",protocol="HTTP/2.0",route="search",`+shop[:14]+`,status="502",tenant="main"} 1`,
		`selvage_request_duration_seconds_count{route="search",`+shop+`} 3`,
		`selvage_request_duration_seconds_bucket{route="search",`+shop+`,le="0.025"} 3`,
		`selvage_first_byte_seconds_count{route="search",`+shop+`} 3`,
		`selvage_first_byte_seconds_bucket{route="search",`+shop+`,le="0.01"} 0`, // without the time for the head
		`selvage_first_byte_seconds_bucket{route="search",`+shop+`,le="0.025"} 3`,
		`selvage_bad_requests_total{route="search",`+shop+`,why="origin failed"} 1`,
		`selvage_cache_results_total{result="collapsed",route="search",`+shop+`} 1`,
		`selvage_cache_results_total{result="uri-miss",route="search",`+shop+`} 2`,
		`selvage_fallbacks_total{route="search",service="shop",step="stale",tenant="main"} 1`,
		`selvage_bytes_total{direction="out",`+shop+`} 3672`,
		`selvage_bytes_total{direction="in",`+shop+`} 978`,
		`selvage_origin_attempts_total{endpoint="10.0.0.1:80",error="connection_refused",origin="web",`+shop+`} 1`,
		`selvage_origin_attempts_total{endpoint="10.0.0.1:80",error="",origin="web",`+shop+`} 2`,
		`selvage_origin_attempts_total{endpoint="10.0.0.2:80",error="",origin="web",`+shop+`} 1`,
		`selvage_origin_first_byte_seconds_count{origin="web",`+shop+`} 3`,
		`selvage_limit_hits_total{limit="body"} 1`,
		`selvage_limit_hits_total{limit="connections"} 1`,
		`selvage_connection_failures_total{why="handshake"} 1`,
	)
}

func TestClientThatDidNotWaitIsNotBad(t *testing.T) {
	m := NewMetrics(Gauges{})
	r := plain()
	r.WhyBad = record.ClientGone
	m.Take(r)
	text := scrape(t, m)
	expect(t, text, `selvage_clients_gone_total{route="search",service="shop",tenant="main"} 1`)
	if strings.Contains(text, "selvage_bad_requests_total{") {
		t.Error("it was counted as bad")
	}
}

// What breaks off would have been longer in either form: nothing was saved.
func TestSavedBytesAreThoseOfWholeAnswers(t *testing.T) {
	m := NewMetrics(Gauges{})
	r := plain()
	r.Answer.Coding, r.Answer.UncodedBytes = "br", 4096
	m.Take(r)
	r.Answer.Broken = true
	m.Take(r)
	m.Take(plain())
	expect(t, scrape(t, m), `selvage_bytes_saved_total{service="shop",tenant="main"} 3072`)
}

func TestGaugesAreAskedWhenRead(t *testing.T) {
	var conns int64 = 3
	m := NewMetrics(Gauges{
		Version:     "v1",
		Connections: func() map[string]int64 { return map[string]int64{"http1": conns} },
		InFlight:    func() int64 { return 2 },
		Cache:       func() Cache { return Cache{7, 1000, 300, 20} },
		Refreshes:   func() Refreshes { return Refreshes{1, 20, 3} },
		Purges:      func() Purges { return Purges{3, 8, 2, 1500 * time.Microsecond, 1} },
		Coders:      func() (int64, int) { return 4096, 2 },
		LogDropped:  func() (uint64, uint64) { return 5, 6 },
		FunctionLog: func() (uint64, uint64, uint64) { return 7, 8, 9 },
		Endpoints:   func() []EndpointCount { return []EndpointCount{{"main", "shop", "web", 1, 2}} },
		Services: func() []ServiceObjectives {
			return []ServiceObjectives{{"main", "shop", selvage.Objectives{Availability: .999, Latency: selvage.LatencyObjective{P99: 3e8}}}, {Tenant: "main", Service: "none"}}
		},
	})
	expect(t, scrape(t, m), `selvage_connections{protocol="http1"} 3`, `selvage_requests_in_flight 2`,
		`selvage_cache_bytes 1000`, `selvage_cache_objects 7`, `selvage_cache_receiving_bytes 300`, `selvage_cache_sending_bytes 20`,
		`selvage_cache_refreshing 1`, `selvage_cache_refreshes_total{result="answer"} 20`, `selvage_cache_refreshes_total{result="failed"} 3`,
		`selvage_purges_applied_total 3`, `selvage_purge_position 8`, `selvage_purges_behind 2`, `selvage_purge_lag_seconds 0.0015`, `selvage_purge_drops_total 1`,
		`selvage_coders 2`, `selvage_coder_bytes 4096`,
		`selvage_access_log_lines_dropped_total 5`, `selvage_access_log_lines_lost_total 6`,
		`selvage_function_log_lines_total 7`, `selvage_function_log_lines_dropped_total 8`, `selvage_function_log_lines_lost_total 9`,
		`selvage_endpoints_healthy{origin="web",service="shop",tenant="main"} 1`,
		`selvage_endpoints{origin="web",service="shop",tenant="main"} 2`,
		`selvage_objective_availability_ratio{service="shop",tenant="main"} 0.999`,
		`selvage_objective_first_byte_p99_seconds{service="shop",tenant="main"} 0.3`)
	conns = 4
	text := scrape(t, m)
	expect(t, text, `selvage_connections{protocol="http1"} 4`)
	if !strings.Contains(text, `selvage_build_info{go="go1.`) || strings.Contains(text, `service="none"`) {
		t.Error("the build is missing, or a service without objectives has them")
	}
}

// A client must not be able to make series: not by methods, hosts or paths, and
// not by statuses that its origin invents.
func TestLabelsAreBounded(t *testing.T) {
	m := NewMetrics(Gauges{})
	for i := range 1000 {
		r := plain()
		r.Request.Method = fmt.Sprint("M", i)
		r.Request.Host = fmt.Sprint("h", i)
		r.Request.Path = fmt.Sprint("/", i)
		r.Client.Protocol = fmt.Sprint("P", i)
		r.Answer.Status = 600 + i
		r.LimitHit = fmt.Sprint("l", i)
		r.WhyBad = record.WhyBad(fmt.Sprint("w\xff", i))
		r.Cache.Fwd = fmt.Sprint("f", i)
		r.Origin = record.Origin{}
		r.Origin.Add(record.Attempt{Endpoint: fmt.Sprint("e", i)})
		m.Take(r)
	}
	text := scrape(t, m)
	for name, most := range map[string]int{
		"selvage_requests_total":        1,
		"selvage_limit_hits_total":      maxNames + 1,
		"selvage_bad_requests_total":    maxNames + 1,
		"selvage_cache_results_total":   1,
		"selvage_origin_attempts_total": maxEndpoints + 1,
	} {
		if n := strings.Count(text, "\n"+name+"{"); n == 0 || n > most {
			t.Errorf("%d series of %s, want 1 to %d", n, name, most)
		}
	}
	expect(t, text, `selvage_requests_total{method="other",protocol="other",route="search",service="shop",status="0",tenant="main"} 1000`)
}

func TestTargetsBeyondTheBoundAreCountedTogether(t *testing.T) {
	m := NewMetrics(Gauges{})
	full := map[routeKey]*routeSeries{}
	for i := range maxTargets {
		full[routeKey{"main", "shop", selvage.RouteName(fmt.Sprint(i))}] = &routeSeries{}
	}
	m.routes.Store(&full)
	m.Take(plain())
	m.Take(plain())
	expect(t, scrape(t, m), `selvage_clients_gone_total{route="other",service="other",tenant="other"} 0`,
		`selvage_request_duration_seconds_count{route="other",service="other",tenant="other"} 2`)
	if n := len(*m.routes.Load()); n != maxTargets+1 {
		t.Errorf("%d targets, want %d", n, maxTargets+1)
	}
}

func TestAttemptsThatWereNotKeptAreCounted(t *testing.T) {
	m := NewMetrics(Gauges{})
	r := plain()
	for range 6 {
		r.Origin.Add(record.Attempt{Endpoint: "10.0.0.1:80", Error: selvage.ConnectionRefused})
	}
	m.Take(r)
	expect(t, scrape(t, m), `selvage_origin_attempts_total{endpoint="other",error="other",origin="web",service="shop",tenant="main"} 4`)
}

func TestHistogramsAreNative(t *testing.T) {
	m := NewMetrics(Gauges{})
	m.Take(plain())
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range families {
		if f.GetType() != dto.MetricType_HISTOGRAM || !strings.HasPrefix(f.GetName(), "selvage_") {
			continue
		}
		seen++
		if h := f.GetMetric()[0].GetHistogram(); h.GetSchema() != 3 || len(h.GetPositiveSpan()) == 0 || len(h.GetBucket()) != len(buckets) {
			t.Errorf("%s has schema %d, %d spans and %d classic buckets; want 3, some and %d", f.GetName(), h.GetSchema(), len(h.GetPositiveSpan()), len(h.GetBucket()), len(buckets))
		}
	}
	if seen != 3 {
		t.Errorf("%d histograms, want 3", seen)
	}
}

func TestEveryMetricIsListed(t *testing.T) {
	m := NewMetrics(Gauges{
		Connections: func() map[string]int64 { return map[string]int64{"http1": 1} },
		InFlight:    func() int64 { return 0 },
		Cache:       func() Cache { return Cache{} },
		Refreshes:   func() Refreshes { return Refreshes{} },
		Purges:      func() Purges { return Purges{} },
		Coders:      func() (int64, int) { return 0, 0 },
		LogDropped:  func() (uint64, uint64) { return 0, 0 },
		FunctionLog: func() (uint64, uint64, uint64) { return 0, 0, 0 },
		Endpoints:   func() []EndpointCount { return make([]EndpointCount, 1) },
		Services: func() []ServiceObjectives {
			return []ServiceObjectives{{Objectives: selvage.Objectives{Availability: 1, Latency: selvage.LatencyObjective{P99: 1}}}}
		},
	})
	r := full()
	m.Take(r)
	r.WhyBad = record.ClientGone
	m.Take(r)
	m.ConnectionFailed("handshake")
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]string{}
	for _, f := range Families() {
		listed[f.Name] = f.Kind + ": " + f.Help
	}
	ours := 0
	for _, f := range families {
		if !strings.HasPrefix(f.GetName(), "selvage_") {
			continue
		}
		ours++
		if got := strings.ToLower(f.GetType().String()) + ": " + f.GetHelp(); listed[f.GetName()] != got || f.GetHelp() == "" {
			t.Errorf("%s: got %q, listed %q", f.GetName(), got, listed[f.GetName()])
		}
	}
	if ours != len(listed) {
		t.Errorf("%d metrics, %d listed", ours, len(listed))
	}
}

func TestMetricsLoseNothingUnderConcurrency(t *testing.T) {
	m := NewMetrics(Gauges{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for j := range 500 {
				r := plain()
				r.Target.Route = selvage.RouteName(fmt.Sprint(j % 7))
				r.Answer.Status = 200 + j%5
				r.Origin = record.Origin{}
				r.Origin.Add(record.Attempt{Endpoint: fmt.Sprint(i, j%3)})
				m.Take(r)
			}
		})
	}
	wg.Wait()
	families, err := m.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if name := f.GetName(); name != familyRequests.name && name != familyAttempts.name {
			continue
		}
		var sum float64
		for _, c := range f.GetMetric() {
			sum += c.GetCounter().GetValue()
		}
		if sum != 2000 {
			t.Errorf("%s is %v, want 2000", f.GetName(), sum)
		}
	}
}

func TestCountingARecordAllocatesNothing(t *testing.T) {
	m := NewMetrics(Gauges{})
	var s Series
	good, bad := plain(), full()
	all := Fan{m, &s}
	all.Take(good)
	all.Take(bad)
	if n := testing.AllocsPerRun(200, func() { all.Take(good); all.Take(bad) }); n > 0 {
		t.Errorf("%v allocations for two records, want 0", n)
	}
}

func BenchmarkMetricsTake(b *testing.B) {
	m := NewMetrics(Gauges{})
	r := plain()
	b.ReportAllocs()
	for b.Loop() {
		m.Take(r)
	}
}
