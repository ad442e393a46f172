// Command compute measures functions: how many requests a second a program
// answers through the whole edge, what it costs to set a sandbox back, what the
// limits cost, and what a neighbour notices of a program that misbehaves.
//
// Look at main for the order, at guests.go for the programs, at edge.go for
// rates, at neighbour.go for who disturbs whom, at inside.go for what is
// measured without an edge.
//
// It promises medians of slices that take turns, the node alone on core 0 with
// one processor for its goroutines, the generators on core 1; that it says on
// standard error what it does; and that each step has a bound, so that it ends
// by itself. It refuses to compare days: only figures of one run stand beside
// each other.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench/compute:", err)
		os.Exit(1)
	}
}

type flags struct {
	slice      time.Duration
	rounds     int
	javascript string
	idle       int
	only       string
	out        string
}

// bench is what all parts share.
type bench struct {
	flags
	dir    string
	guests []guest
	began  time.Time
	report strings.Builder
}

// part is one table of the page, and the longest that it may take.
type part struct {
	name  string
	run   func(context.Context) error
	bound time.Duration
}

// parts are all of them. What compiles has minutes for it: on a busy machine a
// large module takes one.
func (b *bench) parts() []part {
	rounds := time.Duration(b.rounds + 1)
	return []part{
		{"edge", b.edge, rounds*12*(b.slice+10*time.Second) + 5*time.Minute},
		{"inside", b.inside, rounds*time.Minute + 10*time.Minute},
		{"neighbour", b.neighbour, rounds*(4*(b.slice+10*time.Second)+2*time.Minute) + 5*time.Minute},
		{"idle", b.idleFunctions, time.Duration(b.idle)*10*time.Second + 2*time.Minute},
	}
}

func run() error {
	var f flags
	flag.DurationVar(&f.slice, "slice", 3*time.Second, "length of one slice")
	flag.IntVar(&f.rounds, "rounds", 5, "slices of each row")
	flag.StringVar(&f.javascript, "javascript", "compute/abi/fastly/testdata/javascript", "folder in which npm has installed @fastly/js-compute and, for AssemblyScript, assemblyscript@0.19 and @fastly/as-compute")
	flag.IntVar(&f.idle, "idle", 200, "idle functions for the memory figure; 0 leaves it out")
	flag.StringVar(&f.only, "only", "", "parts to run, with commas between: edge, inside, neighbour, idle; empty runs all")
	flag.StringVar(&f.out, "out", "doc/bench", "folder of the result; empty prints it only")
	flag.Parse()
	switch flag.Arg(0) { // it starts itself again
	case "canned":
		return serveCanned()
	case "poll":
		return poll(context.Background(), flag.Args()[1:])
	}
	b := &bench{flags: f, began: time.Now()}
	chosen, err := b.chosen()
	if err != nil {
		return err
	}
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("two cores are needed, one for the node and one for the load")
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("the load generator is missing: apt-get install wrk")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if b.dir, err = os.MkdirTemp("", "selvage-bench-compute-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }() // what is left of it is in the folder for temporary files
	if err := within(ctx, 15*time.Minute, b.build); err != nil {
		return err
	}
	b.head(ctx)
	for _, p := range chosen {
		b.say("%s, which may take %v at most", p.name, p.bound.Round(time.Second))
		if err := within(ctx, p.bound, p.run); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
	}
	fmt.Print(b.report.String())
	if f.out == "" || f.only != "" {
		return nil
	}
	name := filepath.Join(f.out, "compute-"+time.Now().UTC().Format(time.DateOnly)+".md")
	return os.WriteFile(name, []byte(b.report.String()), 0o644)
}

// chosen are the parts to run.
func (b *bench) chosen() ([]part, error) {
	all := b.parts()
	if b.only == "" {
		return all, nil
	}
	var chosen []part
	for name := range strings.SplitSeq(b.only, ",") {
		i := slices.IndexFunc(all, func(p part) bool { return p.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no part %q: edge, inside, neighbour, idle", name)
		}
		chosen = append(chosen, all[i])
	}
	return chosen, nil
}

// within gives a step so long and no longer.
func within(ctx context.Context, most time.Duration, step func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, most, fmt.Errorf("it took longer than %v", most))
	defer cancel()
	err := step(ctx)
	if err != nil && ctx.Err() != nil {
		return fmt.Errorf("%w: %w", context.Cause(ctx), err)
	}
	return err
}

// say says on standard error what goes on.
func (b *bench) say(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%6.1fs  %s\n", time.Since(b.began).Seconds(), fmt.Sprintf(format, args...))
}

func (b *bench) head(ctx context.Context) {
	fmt.Fprintf(&b.report, "# Functions, %s\n\n`go run ./bench/compute -slice %s -rounds %d -idle %d`\n\n", time.Now().UTC().Format(time.DateOnly), b.slice, b.rounds, b.idle)
	fmt.Fprint(&b.report, "The node alone on core 0 with GOMAXPROCS=1, generators on core 1; slices in turn, medians. The machine is shared: trust the ratios.\n\n")
	fmt.Fprintf(&b.report, "%s, %s/%s, wazero %s", runtime.Version(), runtime.GOOS, runtime.GOARCH, version(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/tetratelabs/wazero"))
	for _, g := range b.guests {
		fmt.Fprintf(&b.report, "; %s: %s", g.title, g.made)
	}
	fmt.Fprintf(&b.report, ".\n")
}

// version is what a command says of itself, in one line.
func version(ctx context.Context, name string, args ...string) string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return "of an unknown version"
	}
	return strings.TrimSpace(string(out))
}

// median is the middle one of some values.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return v[len(v)/2]
}
