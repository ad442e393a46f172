package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// address is the node's.
const address = "127.0.0.1:9961"

// node is a running node with functions, each on a route of its own name, or the server of canned answers.
type node struct {
	cmd     *exec.Cmd
	address string
	log     string
	ended   chan struct{} // closed when the process has ended
}

// functions is the service: name of the function, and its module.
func (b *bench) writeService(functions map[string]string) error {
	var text strings.Builder
	fmt.Fprint(&text, "service: bench\nhosts: [\"127.0.0.1\"]\nfunctions:\n")
	for name, module := range functions {
		fmt.Fprintf(&text, "  %s: {module: %s}\n", name, module)
	}
	fmt.Fprint(&text, "routes:\n  - {match: {path: /redirect}, redirect: {to: /elsewhere}}\n")
	for name := range functions {
		fmt.Fprintf(&text, "  - {match: {path: /%s}, function: %s}\n", name, name)
	}
	return os.WriteFile(filepath.Join(b.dir, "service.yaml"), []byte(text.String()), 0o600)
}

// start starts a node on core 0, and waits until it answers.
func (b *bench) start(ctx context.Context, functions map[string]string) (*node, error) {
	if err := b.writeService(functions); err != nil {
		return nil, err
	}
	conf := fmt.Sprintf("name: bench\nlisten: [{address: %s}]\nadmin: {address: \"off\"}\naccess_log: \"off\"\ndata: %s\n", address, filepath.Join(b.dir, "data"))
	if err := os.WriteFile(filepath.Join(b.dir, "node.yaml"), []byte(conf), 0o600); err != nil {
		return nil, err
	}
	return b.launch(ctx, &node{address: address, log: filepath.Join(b.dir, "node.log")},
		filepath.Join(b.dir, "selvage"), "run", "-c", filepath.Join(b.dir, "node.yaml"), filepath.Join(b.dir, "service.yaml"))
}

// launch starts a server on core 0, and waits until it answers a path that it does not have.
func (b *bench) launch(ctx context.Context, n *node, command ...string) (*node, error) {
	if conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", n.address); err == nil {
		conn.Close()
		return nil, fmt.Errorf("somebody else answers at %s: end it first", n.address)
	}
	log, err := os.Create(n.log)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	n.cmd = exec.CommandContext(ctx, "taskset", append([]string{"-c", "0"}, command...)...)
	n.cmd.Env = append(os.Environ(), "GOMAXPROCS=1", "GODEBUG=gctrace=1")
	n.cmd.Stdout, n.cmd.Stderr = log, log
	if err := n.cmd.Start(); err != nil {
		return nil, err
	}
	n.ended = make(chan struct{})
	go func() { // stop waits for it
		defer close(n.ended)
		_ = n.cmd.Wait() // why it ended is in its log
	}()
	began := time.Now()
	if err := n.until(ctx, "/nothing", http.StatusNotFound); err != nil {
		n.stop()
		text, _ := os.ReadFile(n.log)
		return nil, fmt.Errorf("start %s: %w:\n%s", command[0], err, text)
	}
	b.say("%s is ready after %.1f s", filepath.Base(command[0]), time.Since(began).Seconds())
	return n, nil
}

var errEnded = errors.New("it has ended")

// until waits until a path is answered with a status. How long, the context says.
func (n *node) until(ctx context.Context, path string, status int) error {
	for {
		if n.status(ctx, path) == status {
			return nil
		}
		select {
		case <-n.ended:
			return errEnded
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// status is how a path is answered; 0 if it is not.
func (n *node) status(ctx context.Context, path string) int {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+n.address+path, nil)
	if err != nil {
		return 0
	}
	req.Close = true
	res, err := (&http.Client{Timeout: 30 * time.Second}).Do(req)
	if err != nil {
		return 0
	}
	res.Body.Close()
	return res.StatusCode
}

func (n *node) stop() {
	_ = n.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-n.ended:
	case <-time.After(20 * time.Second):
		_ = n.cmd.Process.Kill()
		<-n.ended
	}
}

// rate is one slice of load.
type rate struct {
	requests float64 // a second
	cpu      float64 // µs of processor time a request
}

var (
	errNothing = errors.New("no answer was counted")
	rateLine   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	totalLine  = regexp.MustCompile(`(\d+) requests in`)
	badLine    = regexp.MustCompile(`Non-2xx or 3xx responses:.*`)
)

// measured is a slice in which a load gets so many answers, so many a second.
func (n *node) measured(load func() (answers, perSecond float64, err error)) (rate, error) {
	before, err := n.cpu()
	if err != nil {
		return rate{}, err
	}
	answers, perSecond, err := load()
	if err != nil {
		return rate{}, err
	}
	if answers == 0 {
		return rate{}, errNothing
	}
	after, err := n.cpu()
	return rate{perSecond, float64((after - before).Microseconds()) / answers}, err
}

// wrk asks for a path as fast as it can.
func (n *node) wrk(ctx context.Context, path string, d time.Duration) (answers, perSecond float64, err error) {
	out, err := exec.CommandContext(ctx, "taskset", "-c", "1", "wrk", "-t1", "-c"+strconv.Itoa(conns), fmt.Sprintf("-d%ds", max(1, int(d.Seconds()))), "http://"+n.address+path).CombinedOutput()
	if err != nil {
		return 0, 0, fmt.Errorf("wrk: %w: %s", err, out)
	}
	per, total := rateLine.FindSubmatch(out), totalLine.FindSubmatch(out)
	if per == nil || total == nil || badLine.Match(out) {
		return 0, 0, fmt.Errorf("%w: %s", errNothing, out)
	}
	perSecond, err = strconv.ParseFloat(string(per[1]), 64)
	answers, err2 := strconv.ParseFloat(string(total[1]), 64)
	return answers, perSecond, errors.Join(err, err2)
}

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpu is the processor time of the node so far.
func (n *node) cpu() (time.Duration, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:])) // the name before it may hold spaces
	user, err1 := strconv.ParseInt(f[11], 10, 64)
	system, err2 := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * tick, errors.Join(err1, err2)
}

// resident is the resident memory of the node in MiB.
func (n *node) resident() (float64, error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", n.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			return kb / 1024, err
		}
	}
	return 0, errors.New("the system does not say how much memory is resident")
}

// edge measures every guest through the whole edge, and beside them what the machine allows.
func (b *bench) edge(ctx context.Context) error {
	functions := map[string]string{}
	for _, g := range b.guests {
		functions[g.name] = g.module
	}
	n, err := b.start(ctx, functions)
	if err != nil {
		return err
	}
	defer n.stop()
	canned, err := b.startCanned(ctx)
	if err != nil {
		return err
	}
	defer canned.stop()
	rows := []*edgeRow{
		{title: "*a redirect by selvage*", path: "/redirect", by: n},
		{title: "*a canned answer by net/http*", path: cannedPath, by: canned},
	}
	for _, g := range b.guests {
		rows = append(rows, &edgeRow{title: g.title, path: "/" + g.name, by: n, target: g.target})
	}
	for round := range b.rounds + 1 {
		for k := range rows {
			r := rows[(k+round)%len(rows)] // what comes first in one round comes last in the next
			got, err := r.by.measured(func() (answers, perSecond float64, err error) { return polled(ctx, r.by.address, r.path, b.slice) })
			if err != nil {
				return fmt.Errorf("%s: %w", r.title, err)
			}
			woken, err := r.by.measured(func() (answers, perSecond float64, err error) { return r.by.wrk(ctx, r.path, b.slice) })
			if err != nil {
				return fmt.Errorf("%s: %w", r.title, err)
			}
			if round > 0 { // the first one warms
				r.polled.add(got)
				r.woken.add(woken)
			}
			b.say("edge, round %d of %d: %s %.0f/s, %.0f µs; asked by wrk %.0f/s, %.0f µs", round, b.rounds, r.title, got.requests, got.cpu, woken.requests, woken.cpu)
		}
	}
	fmt.Fprintf(&b.report, "\n## Hello through the whole edge\n\n%d connections that are kept. The first two rows are yardsticks: what the same node takes for an answer that no function makes,\nand what Go's own server takes that does nothing else, each in the same turns on the same core. First a client that never sleeps, then wrk,\nwhich the server's processor has to wake for each answer.\n\n| guest | requests/s | wanted | µs of CPU a request | by wrk, requests/s | µs of CPU |\n|---|---:|---:|---:|---:|---:|\n", conns)
	for _, r := range rows {
		wanted := ""
		if r.target > 0 {
			wanted = fmt.Sprintf("%.0f", r.target)
		}
		fmt.Fprintf(&b.report, "| %s | %.0f | %s | %.1f | %.0f | %.1f |\n", r.title, median(r.polled.requests), wanted, median(r.polled.cpu), median(r.woken.requests), median(r.woken.cpu))
	}
	return nil
}

// edgeRow is a row of that table: what is asked of whom, and what came of it.
type edgeRow struct {
	title  string
	path   string
	by     *node
	target float64 // requests a second; 0: nobody wants so many

	polled, woken rates
}

// rates are those of all slices.
type rates struct{ requests, cpu []float64 }

func (r *rates) add(one rate) {
	r.requests, r.cpu = append(r.requests, one.requests), append(r.cpu, one.cpu)
}
