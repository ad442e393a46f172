package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var (
	rateLine   = regexp.MustCompile(`Requests/sec:\s+([\d.]+)`)
	totalLine  = regexp.MustCompile(`(\d+) requests in`)
	p99Line    = regexp.MustCompile(`99%\s+([\d.]+)(us|ms|s)`)
	errorLines = regexp.MustCompile(`(?m)^\s+(Socket errors:.*|Non-2xx or 3xx responses:.*)$`)
)

var errNothing = errors.New("no answer was counted")

// load puts one server under load and reads what wrk and the kernel say.
func load(ctx context.Context, s *server, r row, d time.Duration) (slice, error) {
	args := []string{"-c", "1", "wrk", "-t1", "-c" + strconv.Itoa(r.conns), "-d" + strconv.Itoa(max(1, int(d.Seconds()))) + "s", "--latency"}
	if r.kind == hit {
		args = append(args, "-H", "Host: hit") // the service of ours that stores
	}
	if s.script != "" {
		args = append(args, "-s", s.script)
	}
	for _, h := range r.headers {
		args = append(args, "-H", h)
	}
	if err := s.turn(ctx); err != nil {
		return slice{}, err
	}
	before, err := s.cpu()
	if err != nil {
		return slice{}, err
	}
	out, err := exec.CommandContext(ctx, "taskset", append(args, s.url(r))...).CombinedOutput()
	if err != nil {
		return slice{}, fmt.Errorf("wrk: %w: %s", err, out)
	}
	after, err := s.cpu()
	if err != nil {
		return slice{}, err
	}
	if bad := errorLines.Find(out); bad != nil {
		return slice{}, fmt.Errorf("not every answer was good: %s", strings.TrimSpace(string(bad)))
	}
	rate, total := number(rateLine, out), number(totalLine, out)
	if rate == 0 || total == 0 {
		return slice{}, fmt.Errorf("%w: %s", errNothing, out)
	}
	return slice{rate: rate, cpu: float64((after - before).Microseconds()) / total, p99: quantile(out)}, nil
}

func number(re *regexp.Regexp, out []byte) float64 {
	m := re.FindSubmatch(out)
	if m == nil {
		return 0
	}
	v, err := strconv.ParseFloat(string(m[1]), 64)
	if err != nil {
		return 0
	}
	return v
}

func quantile(out []byte) time.Duration {
	m := p99Line.FindSubmatch(out)
	if m == nil {
		return 0
	}
	d, err := time.ParseDuration(string(m[1]) + string(m[2]))
	if err != nil {
		return 0
	}
	return d
}

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpu is the processor time of a server's process so far, with that of the process that it
// may have left the work to.
func (s *server) cpu() (sum time.Duration, err error) {
	for _, pid := range s.processes() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// The name in parentheses may hold spaces: count from behind it.
		f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
		user, err1 := strconv.ParseInt(f[11], 10, 64)
		system, err2 := strconv.ParseInt(f[12], 10, 64)
		if err1 != nil || err2 != nil {
			return 0, fmt.Errorf("read the processor time of %s", s.name)
		}
		sum += time.Duration(user+system) * tick
	}
	return sum, nil
}

// processes are those of a server: its own, and its children.
func (s *server) processes() []int {
	own := s.cmd.Process.Pid
	all := []int{own}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", own, own))
	if err != nil {
		return all // the kernel does not tell
	}
	for child := range strings.FieldsSeq(string(text)) {
		if pid, err := strconv.Atoi(child); err == nil {
			all = append(all, pid)
		}
	}
	return all
}

// memory is the resident memory of a server's processes, in MiB.
func (s *server) memory() (sum float64, err error) {
	for _, pid := range s.processes() {
		data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return 0, err
		}
		_, rest, ok := strings.Cut(string(data), "VmRSS:")
		if !ok {
			return 0, fmt.Errorf("no VmRSS for %s", s.name)
		}
		kb, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
		if err != nil {
			return 0, err
		}
		sum += kb / 1024
	}
	return sum, nil
}
