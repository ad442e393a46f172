// Command recovery deploys what fails under real load and measures how soon it
// is gone.
//
// Look at main for the rows, at fleet.go for what is run, at witness.go for who
// counts. Real nodes, a real shop as their origin, sockets of this machine: all
// in one process, three nodes in three POPs over one store, as with selvage try.
//
// It promises figures from outside: what fails is counted at the shop, which
// sees which revision asks, and not by the judge that is measured. It is
// bounded: a run that has no outcome in time is undone by hand and says so. It
// refuses to say what a network of many machines would add.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "recovery:", err)
		os.Exit(1)
	}
}

// row is one line of the table: a change under a load.
type row struct {
	name    string // below examples/
	as      string // in the table, if not the name
	outage  bool   // of the origin, in the middle, which both arms share
	healthy bool   // nobody may undo it
	target  map[int]string
}

func (r *row) title() string {
	if r.as != "" {
		return r.as
	}
	return r.name
}

var rows = []row{
	{name: "bad-500", target: map[int]string{1000: "≤ 10 bads, ≤ 3 s"}},
	{name: "bad-pages"},
	{name: "bad-5pct", target: map[int]string{1000: "≤ 15 bads, ≤ 60 s"}},
	{name: "bad-slow", target: map[int]string{1000: "≤ 20 s"}},
	{name: "bad-rare"},
	{name: trapper, target: map[int]string{1000: "at the 3rd to 20th trap, none seen"}},
	{name: "bad-empty"},
	{name: "bad-redirect-loop"},
	{name: "bad-memory", target: map[int]string{1000: "old revision ≤ 2 s", 100: "old revision ≤ 2 s"}},
	{name: "bad-plain"},
	{name: "good", healthy: true, target: map[int]string{1000: "95 % ≤ 75 s", 100: "95 % ≤ 150 s", 1: "95 % ≤ 5 min"}},
	{name: "good", as: "good-outage", outage: true, healthy: true},
}

// module is by whose name the go command finds what is built, from every folder of it.
const module = "github.com/selvage-edge/selvage"

// flags are what is measured.
type flags struct {
	times    int
	rates    []int
	only     []string
	atOnce   int
	most     time.Duration
	out      string
	examples string
	verbose  bool
	trace    bool
}

func (f flags) wants(r row) bool { return len(f.only) == 0 || slices.Contains(f.only, r.title()) }

// say says a run, if it is wanted.
func (f flags) say(r result) {
	if f.verbose {
		fmt.Fprintln(os.Stderr, time.Now().UTC().Format("15:04:05"), r.line())
	}
}

// The rates beyond which one fleet has the machine for itself.
const aloneFrom = 500

func readFlags() (f flags, err error) {
	flag.IntVar(&f.times, "times", 20, "runs of each row")
	rates := flag.String("rates", "100,1000", "requests a second, through all nodes")
	only := flag.String("only", "", "rows, by their names; empty: all")
	flag.IntVar(&f.atOnce, "at-once", 5, "fleets beside each other where the rate is small")
	flag.DurationVar(&f.most, "most", 5*time.Hour, "when to end, with what there is")
	flag.StringVar(&f.out, "o", "", "file to write; standard output if empty")
	flag.StringVar(&f.examples, "examples", "", "folder of the changes; empty: the module's")
	flag.BoolVar(&f.verbose, "v", false, "say every run")
	flag.BoolVar(&f.trace, "trace", false, "say every second how each run stands")
	flag.Parse()
	for text := range strings.SplitSeq(*rates, ",") {
		rate, err := strconv.Atoi(text)
		if err != nil || rate < 1 || rate > 10_000 {
			return f, fmt.Errorf("-rates %q: write numbers from 1 to 10000", *rates)
		}
		f.rates = append(f.rates, rate)
	}
	if *only != "" {
		f.only = strings.Split(*only, ",")
	}
	for _, name := range f.only {
		if !slices.ContainsFunc(rows, func(r row) bool { return r.title() == name }) {
			return f, fmt.Errorf("-only %q: there is no such row", name)
		}
	}
	if f.times < 1 || f.atOnce < 1 || flag.NArg() > 0 {
		return f, errors.New("-times and -at-once are 1 at least, and there are no arguments")
	}
	if f.examples == "" {
		f.examples, err = ownExamples()
	}
	return f, err
}

// ownExamples is the module's folder of examples, in whichever of its folders this runs.
func ownExamples() (string, error) {
	out, err := exec.CommandContext(context.Background(), "go", "list", "-f", "{{.Dir}}", module+"/examples/shop").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("find the examples: %w: %s: run it in a folder of the module, or name theirs with -examples", err, bytes.TrimSpace(out))
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

func run() error {
	f, err := readFlags()
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, f.most)
	defer cancel()
	began := time.Now()
	var all []result
	for _, rate := range f.rates {
		got, err := measure(ctx, f, rate)
		all = append(all, got...)
		if err == nil {
			got, err = measureVictims(ctx, f, rate)
			all = append(all, got...)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
	text := table(f, all, time.Since(began))
	if f.out == "" {
		fmt.Print(text)
		return nil
	}
	return os.WriteFile(f.out, []byte(text), 0o644)
}

// measure plays all rows at a rate. Fleets take runs as they come, so that the
// rows of one are not all of one minute.
func measure(ctx context.Context, f flags, rate int) ([]result, error) {
	if !slices.ContainsFunc(rows, func(r row) bool { return f.wants(r) && r.name != killer }) {
		return nil, nil
	}
	fleets := f.atOnce
	if rate >= aloneFrom {
		fleets = 1
	}
	jobs := make(chan row)
	results := make(chan result)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var playing sync.WaitGroup
	for range fleets {
		playing.Go(func() {
			if err := play(ctx, f, rate, jobs, results); err != nil {
				cancel(err)
			}
		})
	}
	go func() { // ends with the jobs or the context
		defer close(jobs)
		for range f.times {
			for _, r := range rows {
				if !f.wants(r) || r.name == killer {
					continue
				}
				select {
				case jobs <- r:
				case <-ctx.Done():
					return
				}
			}
		}
	}()
	go func() { playing.Wait(); close(results) }() // ends with those who play
	var all []result
	for r := range results {
		all = append(all, r)
		f.say(r)
	}
	return all, context.Cause(ctx)
}

// play is one fleet with its load, run after run.
func play(ctx context.Context, f flags, rate int, jobs <-chan row, results chan<- result) error {
	folder, err := os.MkdirTemp("", "selvage-recovery-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }() // what is left of it is in the folder for temporary files
	fl, err := newFleet(ctx, folder)
	if err != nil {
		return err
	}
	defer fl.end()
	fl.trace = f.trace
	fl.load(rate)
	if !rest(ctx, warm(rate)) {
		return nil
	}
	for r := range jobs {
		got, err := fl.play(ctx, filepath.Join(f.examples, r.name, "shop.yaml"), r)
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("%s: %w", r.title(), err)
		}
		got.rate = rate
		results <- got
	}
	return nil
}

// warm is how long a fleet serves before the first change: what is usual has to be known.
func warm(rate int) time.Duration {
	return min(20*time.Second+time.Duration(3000/rate)*time.Second, 2*time.Minute)
}

// rest waits. It is false if ctx ended before.
func rest(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
