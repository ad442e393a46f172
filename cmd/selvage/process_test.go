package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait. It is reached only by a test that fails.
const patience = 3 * time.Minute

// transcript is what a process has said so far.
type transcript struct {
	mu   sync.Mutex
	text bytes.Buffer // guarded by mu
}

func (s *transcript) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}

func (s *transcript) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// process is the real program as a process of its own.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	stderr transcript
	ended  chan struct{} // closed when it has
}

// command is the program, not yet started, with an environment that is the
// same everywhere.
func command(args ...string) *exec.Cmd {
	cmd := exec.Command("selvage", args...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "LANG=C", "LC_ALL=", "LC_CTYPE=", "NOTIFY_SOCKET=", "SELVAGE_TOKEN=")
	return cmd
}

// start starts it. It is killed at the end of the test if it still runs.
func start(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, ended: make(chan struct{})}
	cmd.Stderr = &p.stderr
	cmd.WaitDelay = patience
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { // waited for by the cleanup
		_ = cmd.Wait() // exit tells what came of it
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone
		<-p.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", strings.Join(cmd.Args, " "), &p.stderr)
		}
	})
	return p
}

// serveNode starts a node and waits until it serves.
func serveNode(t *testing.T, args ...string) *process {
	t.Helper()
	p := start(t, command(append([]string{"run"}, args...)...))
	p.says(`serving +http`)
	return p
}

// says waits until the process has said what matches, and returns the last group.
func (p *process) says(pattern string) string {
	p.t.Helper()
	re := regexp.MustCompile(`(?m)` + pattern)
	var found []string
	p.until("it says "+pattern, func() bool {
		found = re.FindStringSubmatch(p.stderr.String())
		return found != nil
	})
	return found[len(found)-1]
}

// until waits until something is so, as long as the process lives.
func (p *process) until(what string, is func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if is() {
			return
		}
		select {
		case <-p.ended:
			if is() {
				return
			}
			p.t.Fatalf("waiting until %s: it ended with %s", what, p.cmd.ProcessState)
		default:
		}
	}
	p.t.Fatalf("it never was so that %s", what)
}

// addr is where it serves, url the same with its scheme.
func (p *process) addr() string  { p.t.Helper(); return p.says(`serving +https?://(\S+)`) }
func (p *process) url() string   { p.t.Helper(); return "http://" + p.addr() }
func (p *process) admin() string { p.t.Helper(); return p.says(`metrics +(http://\S+)/metrics`) }

func (p *process) signal(sig os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for its end and wants this status.
func (p *process) exit(want int) {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(patience):
		p.t.Fatal("it does not end")
	}
	if got := p.cmd.ProcessState; got.ExitCode() != want {
		p.t.Errorf("it ended with %s, want exit status %d", got, want)
	}
}

// end drains it.
func (p *process) end() {
	p.t.Helper()
	p.signal(syscall.SIGTERM)
	p.exit(0)
}

// ask runs a command to its end. Where the node did not answer it in time, on a machine that
// is busy, it is run again.
func ask(t *testing.T, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	for end := time.Now().Add(patience); ; {
		stdout, stderr, status = askOnce(t, env, args...)
		late := status == exitFailed && strings.Contains(stderr, "ask the node: ") && strings.Contains(stderr, context.DeadlineExceeded.Error())
		if !late || time.Now().After(end) {
			return stdout, stderr, status
		}
	}
}

func askOnce(t *testing.T, env []string, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := command(args...)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// folder is one with a short name: the path of a unix socket must fit 104 bytes.
func folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "slv")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// write writes a file into a folder and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	// As an editor does it: a reader never sees half a file.
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// service is a service file in front of an origin, which says its revision in every answer.
// A machine that is busy takes more than a minute for an upload of a GiB.
func service(t *testing.T, dir, origin string, revision int) string {
	t.Helper()
	return write(t, dir, "shop.yaml", fmt.Sprintf(`service: shop
hosts: ["*"]
origins: {web: {endpoints: [%q], timeout: {total: 0s}}}
routes: [{match: {path: /*}, origin: web, headers: {response: {set: {X-Revision: "%d"}}}}]
`, origin, revision))
}

// get asks once and returns the answer with its body.
func get(t *testing.T, client *http.Client, url string) (*http.Response, string) {
	t.Helper()
	resp, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

// lateOrigin answers at once, but for what is asked at /late: that arrives, and
// is answered when it is released, or never.
type lateOrigin struct {
	*httptest.Server
	arrived, released chan struct{}
}

func newLateOrigin(t *testing.T) *lateOrigin {
	t.Helper()
	o := &lateOrigin{arrived: make(chan struct{}, 16), released: make(chan struct{})}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /late", func(w http.ResponseWriter, r *http.Request) {
		o.arrived <- struct{}{}
		select {
		case <-o.released:
			io.WriteString(w, "late")
		case <-r.Context().Done():
		}
	})
	mux.HandleFunc("GET /", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "at once") })
	o.Server = httptest.NewServer(mux)
	t.Cleanup(o.Close)
	return o
}

// outcome is what came of a request that somebody else waits for.
type outcome struct {
	status int
	body   string
	err    error
}

// askLate asks for /late and returns when the origin has the request.
func (o *lateOrigin) askLate(t *testing.T, url string) <-chan outcome {
	t.Helper()
	got := make(chan outcome, 1)
	go func() { // ends with the answer
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		resp, err := client.Get(url + "/late")
		if err != nil {
			got <- outcome{err: err}
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		got <- outcome{resp.StatusCode, string(body), err}
	}()
	select {
	case <-o.arrived:
	case <-time.After(patience):
		t.Fatal("the request never reached the origin")
	}
	return got
}
