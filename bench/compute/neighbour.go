package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The neighbour is asked at this rate, from core 1.
var neighbourly = paced{address: address, path: "/small", rate: 500, conns: 8}

// disturbance is what goes on beside a neighbour.
type disturbance struct {
	name string
	// begin begins it, and returns what ends it, and what is closed when the slice
	// is over; nil where a slice is as long as any other.
	begin func(ctx context.Context, n *node) (end func() error, over <-chan struct{}, err error)
}

func quiet(context.Context, *node) (func() error, <-chan struct{}, error) {
	return func() error { return nil }, nil, nil
}

// neighbour measures what a well-behaved function's clients notice of others.
func (b *bench) neighbour(ctx context.Context) error {
	beside := []disturbance{
		{"nobody", quiet},
		{"an endless loop, 4 clients", asks("/endless", 4)},
		{"an endless loop, 64 clients", asks("/endless", 64)},
		{"a program that takes all memory, 4 clients", asks("/hog", 4)},
	}
	large := b.guests[len(b.guests)-1] // JavaScript, if there is one
	code, err := os.ReadFile(large.module)
	if err != nil {
		return err
	}
	beside = append(beside, disturbance{
		fmt.Sprintf("the compilation of a module of %.1f MB (%s)", float64(len(code))/1e6, large.title),
		func(ctx context.Context, n *node) (func() error, <-chan struct{}, error) {
			return b.compile(ctx, n, code)
		},
	})
	n, err := b.start(ctx, b.neighbours())
	if err != nil {
		return err
	}
	defer n.stop()
	p50, p99, pause := make([][]float64, len(beside)), make([][]float64, len(beside)), make([]float64, len(beside))
	for round := range b.rounds + 1 {
		for i, d := range beside {
			took, stopped, err := b.disturbed(ctx, n, d)
			if err != nil {
				return fmt.Errorf("beside %s: %w", d.name, err)
			}
			b.say("neighbour, round %d of %d, beside %s: p50 %.2f ms, p99 %.2f ms, collector %.2f ms", round, b.rounds, d.name, ms(quantile(took, 0.5)), ms(quantile(took, 0.99)), stopped)
			if round == 0 {
				continue
			}
			p50[i], p99[i] = append(p50[i], ms(quantile(took, 0.5))), append(p99[i], ms(quantile(took, 0.99)))
			pause[i] = max(pause[i], stopped)
		}
	}
	fmt.Fprintf(&b.report, "\n## A neighbour\n\nA small function, asked %d times a second over %d connections whatever the answers take. Wanted: p99 at most twice the quiet one,\npauses of the collector below 2 ms.\n\n", neighbourly.rate, neighbourly.conns)
	fmt.Fprint(&b.report, "| beside | p50, ms | p99, ms | to the quiet p99 | longest pause of the collector, ms |\n|---|---:|---:|---:|---:|\n")
	for i, d := range beside {
		fmt.Fprintf(&b.report, "| %s | %.2f | %.2f | %.1f | %.2f |\n", d.name, median(p50[i]), median(p99[i]), median(p99[i])/median(p99[0]), pause[i])
	}
	return nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }

// disturbed measures one slice: the latencies, and the longest pause of the collector.
func (b *bench) disturbed(ctx context.Context, n *node, d disturbance) (took []time.Duration, pause float64, err error) {
	from, err := os.Stat(n.log)
	if err != nil {
		return nil, 0, err
	}
	end, over, err := d.begin(ctx, n)
	if err != nil {
		return nil, 0, err
	}
	if over == nil {
		slice, cancel := context.WithTimeout(ctx, b.slice)
		defer cancel()
		over = slice.Done()
	}
	took, err = neighbourly.run(ctx, over)
	if err = errors.Join(err, end()); err != nil {
		return nil, 0, err
	}
	log, err := os.ReadFile(n.log)
	if err != nil {
		return nil, 0, err
	}
	return took, longestPause(string(log[from.Size():])), nil
}

// asks is a disturbance by clients that ask for a path as fast as they can.
func asks(path string, clients int) func(context.Context, *node) (func() error, <-chan struct{}, error) {
	return func(ctx context.Context, _ *node) (func() error, <-chan struct{}, error) {
		cmd := exec.CommandContext(ctx, "taskset", "-c", "1", "wrk", "-t1", "-c"+strconv.Itoa(clients), "-d1000s", "--timeout", "30s", "http://"+address+path)
		if err := cmd.Start(); err != nil {
			return nil, nil, err
		}
		time.Sleep(300 * time.Millisecond) // until it is under way
		return func() error {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
			return nil
		}, nil, nil
	}
}

// neighbours are the functions of the service beside which others are.
func (b *bench) neighbours() map[string]string {
	return map[string]string{"small": b.module("small"), "endless": b.module("endless"), "hog": b.module("hog")}
}

// compile lets the node compile a module that it has never seen. The slice is
// over when the node answers with it.
func (b *bench) compile(ctx context.Context, n *node, code []byte) (func() error, <-chan struct{}, error) {
	functions, name := b.neighbours(), fmt.Sprintf("large-%d", time.Now().UnixNano())
	functions[name] = b.module("large")
	if err := os.RemoveAll(filepath.Join(b.dir, "data", "functions")); err != nil { // else it is only read
		return nil, nil, err
	}
	if err := errors.Join(os.WriteFile(functions[name], named(code, name), 0o600), b.writeService(functions)); err != nil {
		return nil, nil, err
	}
	if err := n.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		return nil, nil, err
	}
	over := make(chan struct{})
	var failed error
	go func() { // ended by what is returned
		defer close(over)
		ctx, cancel := context.WithTimeoutCause(ctx, 2*time.Minute, errors.New("it was not compiled within two minutes"))
		defer cancel()
		failed = n.until(ctx, "/"+name, 200)
	}()
	return func() error {
		<-over
		return failed
	}, over, nil
}

// named is a module with one more section, which says nothing.
func named(module []byte, name string) []byte {
	section := append([]byte{byte(len(name))}, name...)
	return append(append(append([]byte(nil), module...), 0, byte(len(section))), section...)
}

// A line of the collector's trace has the times of its two pauses around that between them.
var pauses = regexp.MustCompile(`: ([\d.]+)\+[\d.]+\+([\d.]+) ms clock`)

// longestPause is in ms.
func longestPause(log string) (longest float64) {
	for line := range strings.Lines(log) {
		m := pauses.FindStringSubmatch(line)
		if m == nil || strings.HasSuffix(strings.TrimSpace(line), "(forced)") {
			continue
		}
		for _, text := range m[1:] {
			if v, err := strconv.ParseFloat(text, 64); err == nil {
				longest = max(longest, v)
			}
		}
	}
	return longest
}

// idleFunctions measures the memory of functions that nobody asks.
func (b *bench) idleFunctions(ctx context.Context) error {
	if b.idle == 0 {
		return nil
	}
	code, err := os.ReadFile(b.module("go"))
	if err != nil {
		return err
	}
	functions := map[string]string{}
	b.say("the node compiles %d modules", b.idle)
	for i := range b.idle {
		name := "f" + strconv.Itoa(i)
		functions[name] = b.module(name)
		if err := os.WriteFile(functions[name], named(code, name), 0o600); err != nil {
			return err
		}
	}
	n, err := b.start(ctx, functions)
	if err != nil {
		return err
	}
	defer n.stop()
	loaded, err := n.resident()
	if err != nil {
		return err
	}
	for name := range functions {
		if status := n.status(ctx, "/"+name); status != 200 {
			return fmt.Errorf("function %s answers with status %d", name, status)
		}
	}
	asked, err := n.resident()
	if err != nil {
		return err
	}
	fmt.Fprintf(&b.report, "\n## Idle functions\n\n%d Go functions of %.1f MB each: %.2f GiB resident when they are loaded, %.2f GiB when each has answered once. Wanted: 4 GiB.\n",
		b.idle, float64(len(code))/1e6, loaded/1024, asked/1024)
	return nil
}
