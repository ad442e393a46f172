package functions

import (
	"bufio"
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

// goBuild builds with the go tool: without the race detector, which makes the
// compiler of functions ten times slower and is no part of what is tried here.
func goBuild(t *testing.T, out, what string, env ...string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", out, what)
	cmd.Dir, cmd.Env = "../..", append(append(os.Environ(), "GOFLAGS="), env...)
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", what, err, text)
	}
}

// program is the edge, built by the first test that needs it.
var (
	program  string
	building sync.Once
)

func TestMain(m *testing.M) {
	os.Exit(func() int {
		folder, err := os.MkdirTemp("", "selvage-examples-")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(folder)
		program = filepath.Join(folder, "selvage")
		http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 32 // as many clients as ask at once
		return m.Run()
	}())
}

// edge is the real program with one of the examples.
type edge struct {
	t              *testing.T
	origin, folder string
	pid            int    // of the edge
	url, secure    string // of its first listener, and of its last
	mu             sync.Mutex
	asked          []string // guarded by mu
}

// open starts the shop as the origin.
func open(t *testing.T) *edge {
	t.Helper()
	return openWith(t, shop)
}

// openWith starts an origin.
func openWith(t *testing.T, answer http.HandlerFunc) *edge {
	t.Helper()
	e := &edge{t: t, folder: t.TempDir()}
	origin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		e.mu.Lock()
		e.asked = append(e.asked, r.Method+" "+r.Host+r.URL.Path)
		e.mu.Unlock()
		answer(w, r)
	}))
	t.Cleanup(origin.Close)
	e.origin = origin.URL
	return e
}

// start builds everything and runs it on the file of the examples.
func start(t *testing.T) *edge {
	t.Helper()
	e := open(t)
	folder := e.folder
	for _, name := range []string{"hello", "headers", "abtest", "signup", "redact", "fanout", "render", "plain"} {
		goBuild(t, filepath.Join(folder, name+".wasm"), "./examples/functions/"+name, "GOOS=wasip1", "GOARCH=wasm")
	}
	goBuild(t, filepath.Join(folder, "handler.wasm"), "./examples/functions/handler", "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=-buildmode=c-shared")
	yaml, err := os.ReadFile("functions.yaml")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "functions.yaml")
	text := strings.ReplaceAll(string(yaml), "http://127.0.0.1:3000", e.origin)
	text = strings.ReplaceAll(text, ".wasm", ".wasm, cpu: 10s") // a machine that is busy is no failure
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	e.serve(file)
	return e
}

// serve builds the edge and runs it on a file.
func (e *edge) serve(file string) {
	e.t.Helper()
	building.Do(func() { goBuild(e.t, program, "./cmd/selvage") })
	e.run(program, "run", "--listen", "127.0.0.1:0", "--admin", "off", "--data", filepath.Join(e.folder, "data"), file)
}

var serving = regexp.MustCompile(`^\S +(serving|data) +(\S+)`)

// run starts the program and waits until it serves. It ends with the test.
func (e *edge) run(program string, args ...string) {
	e.t.Helper()
	cmd := exec.Command(program, args...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "NOTIFY_SOCKET=")
	said, err := cmd.StderrPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.pid = cmd.Process.Pid
	found, drained := make(chan []string, 1), make(chan struct{})
	go func() { // ends with the program
		defer close(drained)
		var urls []string
		lines := bufio.NewScanner(said)
		for lines.Scan() {
			switch m := serving.FindStringSubmatch(lines.Text()); {
			case m == nil:
			case m[1] == "serving":
				urls = append(urls, m[2])
			default:
				found <- urls
			}
		}
	}()
	e.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // it may be gone
		<-drained
		if err := cmd.Wait(); err != nil {
			e.t.Error(err)
		}
	})
	select {
	case urls := <-found:
		e.url, e.secure = urls[0], urls[len(urls)-1]
	case <-drained:
		e.t.Fatal("it ended before it served")
	case <-time.After(5 * time.Minute):
		e.t.Fatal("it does not serve")
	}
}

// get asks for a path and returns the status, the body, where it leads and who
// handled it.
func (e *edge) get(path string, fields ...string) string {
	e.t.Helper()
	return e.do(http.MethodGet, path, "", fields...)
}

func (e *edge) do(method, path, body string, fields ...string) string {
	e.t.Helper()
	req, err := http.NewRequestWithContext(e.t.Context(), method, e.url+path, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	req.Host = "shop.example"
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	c := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	res, err := c.Do(req)
	if err != nil {
		e.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		e.t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(text), res.Header.Get("Location"), res.Header.Get("X-Handler"))
}

// took is what the origins were asked for since the last time.
func (e *edge) took() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	s := strings.Join(e.asked, ", ")
	e.asked = nil
	return s
}

func expect(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// shop is the origin of the examples.
func shop(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "shop/1")
	switch {
	case r.Host == "accounts.internal" && r.Header.Get("X-Device") == "d-7":
		fmt.Fprintln(w, "ann")
	case r.Host == "accounts.internal", r.Host == "reviews.internal":
		http.NotFound(w, r)
	case strings.HasSuffix(r.Host, ".internal") && r.Host != "api.internal":
		fmt.Fprintf(w, `{"of":%q}`, r.URL.Path)
	case r.Host == "api.internal" && r.Header.Get("Accept") == "text/csv":
		fmt.Fprintf(w, "id,name\n1,<%s>\n", r.URL.Query().Get("q"))
	case strings.HasPrefix(r.URL.Path, "/part/"):
		fmt.Fprint(w, "part ", strings.TrimPrefix(r.URL.Path, "/part/"))
	case r.URL.Path == "/search":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<p>4111 1111 1111 1111 and 4111 1111 1111 1112</p>")
	case strings.HasPrefix(r.URL.Path, "/p/") && r.Header.Get("X-Checked") != "":
		fmt.Fprintf(w, "checked %s ", r.Header.Get("X-Checked"))
	default:
		fmt.Fprintf(w, "plan %s", r.Header.Get("X-Plan"))
	}
}

func TestTheExamplesDoWhatTheySay(t *testing.T) {
	e := start(t)
	for range 3 {
		expect(t, "hello", e.get("/hello"), "200 hello from /hello\n")
	}
	expect(t, "headers", e.get("/headers"), "200 plan gold")
	expect(t, "headers, from the cache", e.get("/headers"), "200 plan gold")
	expect(t, "asked", e.took(), "GET shop.example/p/41")

	for range 2 {
		expect(t, "a", e.get("/ab", "Cookie", "x=1; group=a"), "200 plan ")
		expect(t, "asked", e.took(), "GET a.example/p/42")
	}
	seen := map[string]bool{}
	for range 40 {
		expect(t, "new visitor", e.get("/ab"), "200 plan ")
		seen[e.took()] = true
	}
	if len(seen) != 2 {
		t.Errorf("40 visitors are in %v", seen)
	}

	expect(t, "known", e.get("/account", "Cookie", "device=d-7"), "302 /login?name=ann")
	expect(t, "unknown", e.get("/account"), "302 /signup")
	expect(t, "signed in", e.get("/account", "Cookie", "session=1"), "200 plan ")

	expect(t, "plain", e.do("POST", "/plain/x", "hello"), "200 POST /plain/x with 5 bytes from 127.0.0.1\n")
	e.took()
	for range 2 {
		expect(t, "handler", e.get("/handled/42"), "200 checked /p/42 go")
		expect(t, "asked", e.took(), "GET shop.example/p/42")
		expect(t, "handler, what it does not let pass", e.get("/handled/3"), "403 not here\n")
		expect(t, "asked", e.took(), "")
	}

	expect(t, "redact", e.get("/redact"), "200 <p>[card 1111] and 4111 1111 1111 1112</p>")
	expect(t, "fanout", e.get("/fanout/7"), `200 {"product":{"of":"/api/products/7"},"cart":{"of":"/api/cart"},"missing":["reviews"]}`+"\n")

	e.took()
	for range 3 {
		expect(t, "render", e.get("/page?q=wool"),
			"200 <table>\n<tr><td>id</td><td>name</td></tr>\n<tr><td>1</td><td>&lt;wool&gt;</td></tr>\n</table>\n")
	}
	expect(t, "asked", e.took(), "GET api.internal/api/products")
}
