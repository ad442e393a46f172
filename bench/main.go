// Command bench measures selvage beside its peers on this machine and writes
// the table to doc/bench/.
//
// Look at main for the order, at rows for what is measured, at peers.go for
// who else is measured and with which settings.
//
// It promises ratios, not absolute figures: every row is measured in slices
// that take turns between selvage and its peers, the server alone on one core,
// the generator and the origin on the other, and the median slice counts.
// Where the generator is the limit, the processor time for a request still
// tells. It refuses to say anything about a machine with one core.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// row is one line of the table: a kind of request under a kind of load.
type row struct {
	name    string
	kind    kind
	path    string
	conns   int
	headers []string
	tls     bool
	target  string // what the product wants, in words
}

// kind says which of a peer's ports is asked.
type kind int

const (
	pass   kind = iota // sent on to the origin, every time
	hit                // stored
	judged             // sent on, and counted for a rollout: ours only
)

// browser is what a browser sends beside the request.
var browser = []string{
	"User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 Safari/537.36",
	"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
	"Accept-Language: en-GB,en;q=0.9,de;q=0.8", "Accept-Encoding: gzip, deflate, br, zstd",
	"Cache-Control: max-age=0", "DNT: 1", "Upgrade-Insecure-Requests: 1", "Sec-Fetch-Dest: document", "Sec-Fetch-Mode: navigate",
	"Sec-Fetch-Site: none", "Sec-Fetch-User: ?1", "Sec-CH-UA: \"Chromium\";v=\"140\"", "Sec-CH-UA-Mobile: ?0", "Sec-CH-UA-Platform: \"Linux\"",
	"Referer: https://shop.example/category/shoes", "Priority: u=0, i", "X-Requested-With: XMLHttpRequest",
	"Cookie: sid=3f1c9a77b2d84e0c9d1f; consent=yes; _ga=GA1.2.1234567890.1700000000; cart=42.17.3; theme=dark",
}

var rows = []row{
	{name: "pass-through 1 KiB", kind: pass, path: "/1k", conns: 64, target: "≥ 0.5 of nginx, ≥ 2 of Caddy"},
	{name: "pass-through 64 KiB", kind: pass, path: "/64k", conns: 64, target: "≥ 0.6 of nginx"},
	{name: "pass-through 1 KiB, few clients", kind: pass, path: "/1k", conns: 8},
	{name: "pass-through 1 KiB, a browser's fields", kind: pass, path: "/1k", conns: 64, headers: browser},
	{name: "pass-through 1 KiB, TLS", kind: pass, path: "/1k", conns: 64, tls: true},
	{name: "judged 1 KiB", kind: judged, path: "/1k", conns: 64, target: "judging at most 3 % fewer requests a second than where nobody counts"},
	{name: "hit 1 KiB", kind: hit, path: "/1k", conns: 64},
	{name: "hit 64 KiB", kind: hit, path: "/64k", conns: 64},
	{name: "hit 1 KiB, TLS", kind: hit, path: "/1k", conns: 64, tls: true},
}

type flags struct {
	slice  time.Duration
	rounds int
	only   string
	out    string
	idle   int
}

func (f flags) wants(r row) bool { return strings.Contains(r.name, f.only) }

func run() error {
	if len(os.Args) > 3 && os.Args[1] == uncounted {
		return serveUncounted(context.Background(), os.Args[2], os.Args[3:]...)
	}
	if len(os.Args) > 5 && os.Args[1] == turned {
		return serveTurned(context.Background(), os.Args[2], os.Args[3], os.Args[4], os.Args[5])
	}
	var f flags
	flag.DurationVar(&f.slice, "slice", 2*time.Second, "length of one slice")
	flag.IntVar(&f.rounds, "rounds", 5, "slices for each server and row")
	flag.StringVar(&f.only, "only", "", "rows whose name has this")
	flag.StringVar(&f.out, "out", "doc/bench", "folder of the result; empty prints it only")
	flag.IntVar(&f.idle, "idle", 10_000, "idle connections for the memory figures; 0 leaves them out")
	flag.Parse()
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("two cores are needed, one for the server and one for the load")
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("the load generator is missing: apt-get install wrk nginx haproxy caddy")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	dir, err := os.MkdirTemp("", "selvage-bench-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }() // what is left of it is in the folder for temporary files
	b, err := start(ctx, dir, f)
	if err != nil {
		return err
	}
	defer b.stop()
	return b.measureAll(ctx, f)
}

func (b *bench) measureAll(ctx context.Context, f flags) error {
	var report strings.Builder
	head(&report, b, f)
	if f.idle > 0 && strings.Contains("doing nothing", f.only) {
		if err := b.idle(ctx, &report, f.idle); err != nil {
			return err
		}
	}
	for _, r := range rows {
		if !f.wants(r) {
			continue
		}
		results, err := b.measure(ctx, r, f)
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		table(&report, r, results)
		fmt.Fprintln(os.Stderr)
	}
	fmt.Print(report.String())
	if f.out == "" || f.only != "" {
		return nil
	}
	name := filepath.Join(f.out, time.Now().UTC().Format("2006-01-02")+".md")
	return os.WriteFile(name, []byte(report.String()), 0o644)
}

// result is what one server did in one row.
type result struct {
	server string
	base   string // the one that it is compared with; empty for the first
	slices []slice
}

// slice is one server under load for a moment.
type slice struct {
	rate float64 // requests a second
	cpu  float64 // microseconds of processor time a request
	p99  time.Duration
}

func (r *result) median(of func(slice) float64) float64 {
	v := make([]float64, len(r.slices))
	for i, s := range r.slices {
		v[i] = of(s)
	}
	slices.Sort(v)
	return v[len(v)/2]
}

// quartiles are the median and what half of some values lie between.
type quartiles struct{ low, median, high float64 }

// paired compares two servers round by round: what a shared machine does meanwhile hurts
// both of a round alike.
func paired(a, b *result, of func(slice) float64) quartiles {
	v := make([]float64, len(a.slices))
	for i := range v {
		v[i] = of(a.slices[i]) / of(b.slices[i])
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1)+0.5)] }
	return quartiles{at(0.25), at(0.5), at(0.75)}
}

func (q quartiles) String() string { return fmt.Sprintf("%.3f (%.3f–%.3f)", q.median, q.low, q.high) }

func (b *bench) measure(ctx context.Context, r row, f flags) ([]*result, error) {
	var asked []*server
	var results []*result
	for _, s := range b.servers {
		if s.url(r) != "" {
			asked, results = append(asked, s), append(results, &result{server: s.name, base: s.base})
		}
	}
	for round := range f.rounds + 1 {
		for k := range asked {
			i := (k + round) % len(asked) // what comes first in one round comes last in the next
			s := asked[i]
			got, err := patiently(ctx, s, r, f.slice)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			if round > 0 { // the first one warms
				results[i].slices = append(results[i].slices, got)
			}
			fmt.Fprintf(os.Stderr, "\r%s, round %d of %d: %s %.0f/s   ", r.name, round, f.rounds, s.name, got.rate)
		}
	}
	return results, nil
}

// patiently repeats a slice in which nothing was measured: on a shared machine
// a moment may pass in which nobody runs. A wrong answer is not repeated.
func patiently(ctx context.Context, s *server, r row, d time.Duration) (got slice, err error) {
	for range 5 {
		if got, err = load(ctx, s, r, d); !errors.Is(err, errNothing) {
			return got, err
		}
	}
	return got, err
}

func head(w io.Writer, b *bench, f flags) {
	fmt.Fprintf(w, "# Benchmark of %s\n\n", time.Now().UTC().Format("2006-01-02"))
	fmt.Fprintf(w, "Command: `go run ./bench -slice %s -rounds %d` (`make bench`). Server alone on core 0; generator (wrk) and origin\n(nginx) on core 1. Each row: slices in turn, median of %d. These machines are shared: read ratios, not rates. They are medians of\nthe rounds', with what half of the rounds lie between.\n\n", f.slice, f.rounds, f.rounds)
	fmt.Fprintf(w, "%s, %s/%s", runtime.Version(), runtime.GOOS, runtime.GOARCH)
	for _, s := range b.servers {
		fmt.Fprintf(w, "; %s", s.version)
	}
	fmt.Fprint(w, ".\n")
}

func table(w io.Writer, r row, results []*result) {
	fmt.Fprintf(w, "\n## %s, %d connections\n\n", r.name, r.conns)
	if r.target != "" {
		fmt.Fprintf(w, "Target: %s.\n\n", r.target)
	}
	fmt.Fprintln(w, "| server | requests/s | µs of CPU a request | p99 | selvage to it, by rate | by CPU |")
	fmt.Fprintln(w, "|---|---:|---:|---:|---:|---:|")
	for _, res := range results {
		own := results[max(slices.IndexFunc(results, func(r *result) bool { return r.server == res.base }), 0)]
		fmt.Fprintf(w, "| %s | %.0f | %.1f | %.1f ms | %s | %s |\n", res.server, res.median(byRate), res.median(byCPU),
			res.median(byP99), paired(own, res, byRate), paired(res, own, byCPU))
	}
}

func byRate(s slice) float64 { return s.rate }
func byCPU(s slice) float64  { return s.cpu }
func byP99(s slice) float64  { return float64(s.p99) / 1e6 }
