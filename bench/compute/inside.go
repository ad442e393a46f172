package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// inside measures what needs no edge: the benchmarks of package compute, on
// one core, as many times as there are rounds.
func (b *bench) inside(ctx context.Context) error {
	b.say("build the benchmarks of package compute")
	binary := filepath.Join(b.dir, "compute.test")
	if out, err := exec.CommandContext(ctx, "go", "test", "-c", "-o", binary, "./compute").CombinedOutput(); err != nil {
		return fmt.Errorf("build benchmarks: %w\n%s", err, out)
	}
	var modules []string
	for _, g := range b.guests {
		modules = append(modules, g.name+"="+g.module)
	}
	all := figures{}
	for round := range b.rounds {
		cmd := exec.CommandContext(ctx, "taskset", "-c", "0", binary, "-test.run=^$", "-test.bench=Guest|Metering|Overshoot", "-test.benchtime=300ms")
		cmd.Dir = "compute"
		cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "SELVAGE_TEST_COMPILED="+filepath.Join(b.dir, "compiled"), "SELVAGE_BENCH_GUESTS="+strings.Join(modules, ","))
		b.say("inside, round %d of %d", round+1, b.rounds)
		var out strings.Builder
		cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stderr), os.Stderr
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("benchmarks: %w\n%s", err, out.String())
		}
		if err := all.read(out.String()); err != nil {
			return err
		}
	}
	fmt.Fprint(&b.report, "\n## Inside\n\nA request without an edge, in µs: an instance of stock wazero for each, an instance of ours for each, and a sandbox that is set back.\nwasmtime is not in the table: the proxy of Go modules here has no wasmtime-go.\n\n")
	fmt.Fprint(&b.report, "| guest | stock wazero | fresh | set back | of that the reset | wanted | pages written |\n|---|---:|---:|---:|---:|---:|---:|\n")
	for _, g := range b.guests {
		at := func(kind, unit string) float64 { return all.median("Guest/"+g.name+"/"+kind, unit) }
		fmt.Fprintf(&b.report, "| %s | %.1f | %.1f | %.1f | %.2f | %s | %.0f |\n", g.title, at("stock", "ns/op")/1e3, at("fresh", "ns/op")/1e3, at("rewind", "ns/op")/1e3,
			at("rewind", "reset-ns")/1e3, g.reset, at("rewind", "written-pages"))
	}
	fmt.Fprint(&b.report, "\n## Metering\n\n| computes | without, ms | with, ms | costs | wanted |\n|---|---:|---:|---:|---:|\n")
	for _, what := range []string{"sha256", "json"} {
		without, with := all.median("Metering/"+what+"/metered=false", "ns/op")/1e6, all.median("Metering/"+what+"/metered=true", "ns/op")/1e6
		fmt.Fprintf(&b.report, "| %s | %.2f | %.2f | %.0f %% | 30 %% |\n", what, without, with, 100*(with/without-1))
	}
	fmt.Fprintf(&b.report, "\nA limit of 50 ms ends an endless loop %.2f ms late (median; the longest of a round %.2f ms). Wanted: 2 ms.\n",
		all.median("Overshoot", "late-ms"), all.median("Overshoot", "latest-ms"))
	return nil
}

// figures are what benchmarks said, by their names and units.
type figures map[[2]string][]float64

var benchLine = regexp.MustCompile(`^Benchmark(\S+?)(?:-\d+)?\s+\d+\s+(.*)$`)

// read reads the output of a test binary.
func (f figures) read(out string) error {
	for line := range strings.Lines(out) {
		m := benchLine.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue
		}
		words := strings.Fields(m[2])
		for i := 0; i+1 < len(words); i += 2 {
			v, err := strconv.ParseFloat(words[i], 64)
			if err != nil {
				return fmt.Errorf("read %q: %w", line, err)
			}
			f[[2]string{m[1], words[i+1]}] = append(f[[2]string{m[1], words[i+1]}], v)
		}
	}
	if len(f) == 0 {
		return errors.New("the benchmarks said nothing")
	}
	return nil
}

func (f figures) median(name, unit string) float64 { return median(f[[2]string{name, unit}]) }
