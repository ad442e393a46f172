package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/telemetry"
)

// built is where programs and what was compiled of them are kept while the tests run.
var built string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		var err error
		if built, err = os.MkdirTemp("", "selvage-functions-"); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(built)
		http.DefaultTransport.(*http.Transport).MaxIdleConnsPerHost = 32 // as many clients as ask at once
		return m.Run()
	}())
}

// textGuest assembles a program and returns its file.
func textGuest(t testing.TB, name, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name+".wasm")
	if err := os.WriteFile(file, asm.Assemble(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// guestBed is a node with functions, on addresses of this machine.
type guestBed struct {
	t       testing.TB
	node    *Node
	url     string
	replace *strings.Replacer
	mu      sync.Mutex
	asked   []string        // guarded by mu: what origins were asked for
	records []record.Record // guarded by mu
	log     strings.Builder // guarded by mu
	ledger  ledger
}

// serveGuests runs a node with a service. ORIGIN in it is the address of an
// origin whose answers origin makes, and FILE(name) the module of an example.
func serveGuests(t testing.TB, yaml string, origin http.HandlerFunc, modules map[string]string) *guestBed {
	t.Helper()
	b := &guestBed{t: t}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b.mu.Lock()
		b.asked = append(b.asked, r.Method+" "+r.Host+r.URL.Path)
		b.mu.Unlock()
		origin(w, r)
	}))
	t.Cleanup(s.Close)
	pairs := []string{"ORIGIN", s.URL}
	for name, file := range modules {
		pairs = append(pairs, "FILE("+name+")", file)
	}
	b.replace = strings.NewReplacer(pairs...)
	conf := config.DefaultNode()
	conf.Name, conf.AccessLog, conf.Data = "edge-1", "off", built
	conf.Listen, conf.Admin.Address = []selvage.Listener{{Address: "127.0.0.1:0"}}, "off"
	conf.Functions.DynamicBackends = []selvage.ServiceName{"dynamic"}
	n, err := New(Options{
		Config: selvage.Config{Node: conf, Services: []selvage.Service{b.service(yaml)}},
		FunctionLog: func(l telemetry.FunctionLine) {
			b.mu.Lock()
			defer b.mu.Unlock()
			if l.Endpoint != "" {
				b.log.WriteString(l.Endpoint + ": ")
			}
			b.log.Write(l.Text)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	b.node, b.url = n, "http://"+n.Addrs()[0].String()
	n.registry.sinks = append(n.registry.sinks, sinkFunc(func(r *record.Record) {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.records = append(b.records, *r)
	}))
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	t.Cleanup(func() {
		http.DefaultClient.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if users := len(n.registry.functions.programs); users != 0 {
			t.Errorf("%d programs are left", users)
		}
	})
	return b
}

type sinkFunc func(*record.Record)

func (f sinkFunc) Take(r *record.Record) { f(r) }

func (b *guestBed) service(yaml string) selvage.Service {
	b.t.Helper()
	s, err := config.ParseService("test.yaml", []byte(b.replace.Replace(yaml)))
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

// get asks for a path and returns the status and the body.
func (b *guestBed) get(path string, fields ...string) string {
	b.t.Helper()
	return b.do(http.MethodGet, path, "", fields...)
}

func (b *guestBed) do(method, path, body string, fields ...string) string {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), method, b.url+path, strings.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Host = "shop.example"
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	res, err := (&http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}).Do(req)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return fmt.Sprint(res.StatusCode, " broken after ", len(text))
	}
	return fmt.Sprint(res.StatusCode, " ", string(text), res.Header.Get("Location"))
}

// took is what origins were asked for since the last time.
func (b *guestBed) took() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := strings.Join(b.asked, ", ")
	b.asked = nil
	return s
}

// last is the record of the last request for a path, which may come a moment
// after the answer.
func (b *guestBed) last(path string) record.Record {
	b.t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		b.mu.Lock()
		for _, r := range slices.Backward(b.records) {
			if r.Request.Path == path {
				b.mu.Unlock()
				return r
			}
		}
		b.mu.Unlock()
		runtime.Gosched()
	}
	b.t.Fatalf("no record of %s within a minute", path)
	return record.Record{}
}

// hears waits until a function has said something.
func (b *guestBed) hears(what string) {
	b.t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); runtime.Gosched() {
		b.mu.Lock()
		text := b.log.String()
		b.mu.Unlock()
		if strings.Contains(text, what) {
			return
		}
	}
	b.t.Fatalf("no function said %q within a minute", what)
}

// expect compares an answer.
func expect(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %q, want %q", what, got, want)
	}
}

// canary gives everybody another revision.
func (b *guestBed) canary(yaml string) {
	b.t.Helper()
	s := b.service(yaml)
	id := config.Revision(s)
	if err := b.node.Prepare(b.t.Context(), rollout.Revision{ID: id, Tenant: selvage.DefaultTenant, Service: s}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.node.Serve(s.Service, rollout.Arms{Change: "c-1", Canary: id, Share: 1}, nil); err != nil {
		b.t.Fatal(err)
	}
	b.node.registry.watch(s.Service).turn("c-1", &b.ledger)
}

const helloService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions: {hello: {module: FILE(hello)}}
routes:
  - {name: hello, match: {path: /hello/*}, function: hello}
  - {name: rest, match: {path: /*}, origin: web}
`

func TestAFunctionAnswersOnARoute(t *testing.T) {
	b := serveGuests(t, helloService, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "origin") },
		map[string]string{"hello": good(t, "hello", "x-name")})
	for range 3 {
		expect(t, "function", b.get("/hello/there"), "200 x-name")
	}
	expect(t, "origin", b.get("/x"), "200 origin")
	for url, want := range map[string]string{
		"http://shop.example/hello/there": "answered: by the function hello, which runs for each request",
		"http://shop.example/x":           "forwarded: the route has no cache",
	} {
		w, err := b.node.Why(t.Context(), client.WhyRequest{URL: url})
		if err != nil || w.Verdict+": "+w.Words != want {
			t.Errorf("why %s: got %+v, %v; want %q", url, w, err, want)
		}
	}
	rec := b.last("/hello/there")
	if rec.Function.Name != "hello" || rec.Function.CPU <= 0 || rec.Function.Memory <= 0 || rec.WhyBad != record.Good {
		t.Errorf("the record says %+v, %q", rec.Function, rec.WhyBad)
	}
}

// bad is a program of the Fastly interface that fails by the path's length: the
// text after the head is what it does once it has its request.
func bad(t testing.TB, name, text string) string {
	return textGuest(t, name, `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
import fastly_http_resp header_append $field i32,i32,i32,i32,i32 -> i32
memory 2
data 1024 "x-name"
func $_start export=_start locals=i32
	i32.const 0 / i32.const 4 / call $get / drop
`+text+`
endfunc
`)
}

// good is a program that answers with a text.
func good(t testing.TB, name, text string) string {
	return bad(t, name, fmt.Sprintf(`
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 12 / i32.load / i32.const 2048 / i32.const %d / i32.const 0 / i32.const 16 / call $write / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
endfunc
data 2048 %q
func $end
`, len(text), text))
}

const failingService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions:
  plain: {module: FILE(trap)}
  passed: {module: FILE(trap), on_failure: pass}
  fixed: {module: FILE(trap), on_failure: default, default: {status: 503, body: sorry}}
  slow: {module: FILE(loop), cpu: 5ms, on_failure: pass}
  silent: {module: FILE(nothing)}
routes:
  - {match: {path: /plain}, function: plain}
  - {match: {path: /passed}, function: passed, origin: web}
  - {match: {path: /fixed}, function: fixed}
  - {match: {path: /slow}, function: slow, origin: web}
  - {match: {path: /silent}, function: silent}
  - {match: {path: /ladder}, function: plain, on_failure: [{default: {status: 502, body: ladder}}]}
`

// wide is a program that traps where it gets no more fields.
func wide(t testing.TB) string {
	return bad(t, "wide", fmt.Sprintf(`
	i32.const 8 / call $resp / drop
	loop
	i32.const 8 / i32.load / i32.const 1024 / i32.const 6 / i32.const 2048 / i32.const 2000 / call $field / i32.eqz / br_if 0
	end
	unreachable
endfunc
data 2048 %q
func $end
`, strings.Repeat("a", 2000)))
}

func TestARecordSaysWhatAFailedFunctionTookAndWhichLimitItMet(t *testing.T) {
	b := serveGuests(t, strings.ReplaceAll(helloService, "{module: FILE(hello)}", "{module: FILE(hello), cpu: 60s}"), nil, map[string]string{"hello": wide(t)})
	b.get("/hello/x")
	rec := b.last("/hello/x")
	if rec.LimitHit != "function_fields" || rec.Function.Trap == "" || rec.Function.CPU <= 0 || rec.Function.Memory <= 0 {
		t.Errorf("the record says limit %q, %+v; want function_fields, a trap, CPU and memory", rec.LimitHit, rec.Function)
	}
	answer := httptest.NewRecorder()
	b.node.registry.metrics.Handler().ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	if want := `selvage_limit_hits_total{limit="function_fields"} 1`; !strings.Contains(answer.Body.String(), want+"\n") {
		t.Errorf("the metrics lack %q: the limit was reached once", want)
	}
}

func TestAFailedFunctionDoesWhatItsServiceSays(t *testing.T) {
	b := serveGuests(t, failingService, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "origin") }, map[string]string{
		"trap": bad(t, "trap", "unreachable"), "loop": bad(t, "loop", "loop\nbr 0\nend"), "nothing": bad(t, "nothing", ""),
	})
	for _, tc := range []struct{ path, want, failed, limit string }{
		{"/passed", "200 origin", "pass", ""},
		{"/fixed", "503 sorry", "default", ""},
		{"/slow", "200 origin", "pass", "function_cpu"},
		{"/ladder", "502 ladder", "", ""},
	} {
		expect(t, tc.path, b.get(tc.path), tc.want)
		rec := b.last(tc.path)
		if rec.Function.Failed != tc.failed || rec.LimitHit != tc.limit || rec.Function.Trap == "" || rec.Detail == "" {
			t.Errorf("%s: the record says %+v, limit %q, %q", tc.path, rec.Function, rec.LimitHit, rec.Detail)
		}
	}
	if got := b.get("/plain"); !strings.HasPrefix(got, "500 the function that answers here failed\ntrace ") {
		t.Errorf("got %q", got)
	}
	if rec := b.last("/plain"); rec.WhyBad != record.OwnError || !strings.Contains(rec.Detail, "function") {
		t.Errorf("the record says %q, %q", rec.WhyBad, rec.Detail)
	}
	expect(t, "a program that ends well without a word", b.get("/silent"), "200 ")
}

func TestAFunctionFallsBackToTheModuleBefore(t *testing.T) {
	const yaml = `service: test
hosts: ["*"]
functions: {f: {module: FILE(%s), on_failure: previous}}
routes: [{match: {path: /*}, function: f}]
`
	b := serveGuests(t, fmt.Sprintf(yaml, "hello"), nil, map[string]string{"hello": good(t, "hello", "hello"), "trap": bad(t, "trap", "unreachable")})
	expect(t, "before", b.get("/x"), "200 hello")
	conf := selvage.Config{Node: *b.node.settings(), Services: []selvage.Service{b.service(fmt.Sprintf(yaml, "trap"))}}
	if _, err := b.node.Reload(conf); err != nil {
		t.Fatal(err)
	}
	expect(t, "after", b.get("/y"), "200 hello")
	if rec := b.last("/y"); rec.Function.Failed != "previous" || rec.Function.Trap == "" {
		t.Errorf("the record says %+v", rec.Function)
	}
}

func TestACanarysFunctionFallsBackToTheBaselines(t *testing.T) {
	const yaml = `service: test
hosts: ["*"]
functions: {f: {module: FILE(%s), on_failure: previous}}
routes: [{match: {path: /*}, function: f}]
`
	b := serveGuests(t, fmt.Sprintf(yaml, "first"), nil, map[string]string{
		"first": good(t, "first", "first"), "second": good(t, "second", "second"), "trap": bad(t, "trap", "unreachable"),
	})
	conf := selvage.Config{Node: *b.node.settings(), Services: []selvage.Service{b.service(fmt.Sprintf(yaml, "second"))}}
	if _, err := b.node.Reload(conf); err != nil {
		t.Fatal(err)
	}
	b.canary(fmt.Sprintf(yaml, "trap"))
	// A POST: what may change something is not asked of the old revision unless the file says so.
	expect(t, "canary", b.do(http.MethodPost, "/x", ""), "200 second")
	if rec := b.last("/x"); rec.Function.Failed != "previous" || rec.Function.Trap == "" {
		t.Errorf("the record says %+v", rec.Function)
	}
}

func TestACanarysTrapIsCountedAndTheUserRescued(t *testing.T) {
	trap := bad(t, "trap", "unreachable")
	b := serveGuests(t, helloService, nil, map[string]string{"hello": good(t, "hello", "x-name"), "trap": trap})
	b.canary(strings.ReplaceAll(helloService, "FILE(hello)", "FILE(trap)"))
	expect(t, "rescued", b.get("/hello/x"), "200 x-name")
	b.ledger.mu.Lock()
	lines := strings.Join(b.ledger.lines, "\n")
	b.ledger.mu.Unlock()
	if !strings.HasPrefix(lines, "begin canary hello\nend [trap] no body") || !strings.HasSuffix(lines, "rescued") {
		t.Errorf("counted %s", lines)
	}
}
