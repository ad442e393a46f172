// Command compute measures functions: how many requests a second a program
// answers through the whole edge, what it costs to set a sandbox back, what the
// limits cost, and what a neighbour notices of a program that misbehaves.
//
// Look at main for the order, at guests.go for the programs, at edge.go for
// rates, at neighbour.go for who disturbs whom, at inside.go for what is
// measured without an edge.
//
// It promises medians of slices that take turns, the node alone on core 0 with
// one processor for its goroutines, the generators on core 1. It refuses to
// compare days: only figures of one run stand beside each other.
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
	report strings.Builder
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
	if runtime.NumCPU() < 2 {
		return fmt.Errorf("two cores are needed, one for the node and one for the load")
	}
	if _, err := exec.LookPath("wrk"); err != nil {
		return fmt.Errorf("the load generator is missing: apt-get install wrk")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	b := &bench{flags: f}
	var err error
	if b.dir, err = os.MkdirTemp("", "selvage-bench-compute-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }() // what is left of it is in the folder for temporary files
	if err := b.build(ctx); err != nil {
		return err
	}
	b.head(ctx)
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{{"edge", b.edge}, {"inside", b.inside}, {"neighbour", b.neighbour}, {"idle", b.idleFunctions}} {
		if f.only != "" && !slices.Contains(strings.Split(f.only, ","), part.name) {
			continue
		}
		if err := part.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
	}
	fmt.Print(b.report.String())
	if f.out == "" || f.only != "" {
		return nil
	}
	name := filepath.Join(f.out, "compute-"+time.Now().UTC().Format(time.DateOnly)+".md")
	return os.WriteFile(name, []byte(b.report.String()), 0o644)
}

func (b *bench) head(ctx context.Context) {
	fmt.Fprintf(&b.report, "# Functions, %s\n\n`go run ./bench/compute -slice %s -rounds %d -idle %d`\n\n", time.Now().UTC().Format(time.DateOnly), b.slice, b.rounds, b.idle)
	fmt.Fprint(&b.report, "The node alone on core 0 with GOMAXPROCS=1, generators on core 1; slices in turn, medians. The machine is shared: trust the ratios.\n\n")
	fmt.Fprintf(&b.report, "%s, %s/%s, wazero %s", runtime.Version(), runtime.GOOS, runtime.GOARCH, version(ctx, "go", "list", "-m", "-f", "{{.Version}}", "github.com/tetratelabs/wazero"))
	for _, g := range b.guests {
		fmt.Fprintf(&b.report, "; %s: %s", g.name, g.made)
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
