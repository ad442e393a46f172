package functions

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const scenesNode = `name: edge-1
listen: [{address: "127.0.0.1:0"}, {address: "localhost:0", tls: true}]
tls: {development: true}
admin: {address: "off"}
access_log: LOG
compute: {dynamic_backends: [open], dial_allow: [127.0.0.1]}
`

const scenesService = `service: NAME
hosts: [HOST]
origins:
  web: {endpoints: [ORIGIN]}
  inner: {function: inner}
  again: {function: again}
  page: {function: page}
functions:
  main: {module: scenes.wasm, cpu: 60s}
  inner: {module: scenes.wasm, cpu: 60s}
  again: {module: scenes.wasm, cpu: 60s}
  page: {module: scenes.wasm, cpu: 60s}
routes:
  - {match: {path: /page/*}, origin: page, cache: {}}
  - {match: {path: /again}, function: again}
  - {match: {path: /*}, function: main}
`

// stage is the real program with a guest that does what its path says, and an
// origin that answers when it is told to.
type stage struct {
	*edge
	log     string
	came    chan string // paths of the origin that were asked for and have no answer
	left    chan string // those of them whose asker went away
	mu      sync.Mutex
	waiting map[string]chan struct{} // guarded by mu
	traces  []string                 // guarded by mu: what the origin was told
}

func scenes(t *testing.T) *stage {
	t.Helper()
	s := &stage{came: make(chan string, 10), left: make(chan string, 10), waiting: map[string]chan struct{}{}}
	s.edge = openWith(t, s.answer)
	s.log = filepath.Join(s.folder, "access.log")
	goBuild(t, filepath.Join(s.folder, "scenes.wasm"), "./examples/functions/testdata/scenes", "GOOS=wasip1", "GOARCH=wasm")
	text := strings.NewReplacer("LOG", s.log, "ORIGIN", s.origin)
	s.write("node.yaml", text.Replace(scenesNode))
	args := []string{"run", "--data", filepath.Join(s.folder, "data"), "-c", filepath.Join(s.folder, "node.yaml")}
	for _, name := range []string{"shop", "open"} {
		yaml := strings.NewReplacer("NAME", name, "HOST", name+".example").Replace(text.Replace(scenesService))
		args = append(args, s.write(name+".yaml", yaml))
	}
	building.Do(func() { goBuild(t, program, "./cmd/selvage") })
	s.run(program, args...)
	return s
}

func (s *stage) write(name, text string) string {
	s.t.Helper()
	file := filepath.Join(s.folder, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	return file
}

// gate is closed when a path of the origin may be answered.
func (s *stage) gate(path string) chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting[path] == nil {
		s.waiting[path] = make(chan struct{})
	}
	return s.waiting[path]
}

func (s *stage) answer(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.traces = append(s.traces, r.Header.Get("Traceparent"))
	s.mu.Unlock()
	switch first, _, _ := strings.Cut(r.URL.Path[1:], "/"); first {
	case "wait", "turn":
		select {
		case <-s.gate(r.URL.Path):
		case <-r.Context().Done():
		}
	case "hang":
		s.came <- r.URL.Path
		<-r.Context().Done()
		s.left <- r.URL.Path
	}
	fmt.Fprint(w, r.URL.Path, " ")
}

// clients are who asks: over HTTP/1.1, the same with TLS, and HTTP/2.
func (s *stage) clients() map[string]*http.Client {
	at := func(addr string, set func(*http.Protocols)) *http.Client {
		tr := &http.Transport{
			Protocols: new(http.Protocols), DisableCompression: true,
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, // its authority was made a moment ago
			DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, network, addr)
			},
		}
		set(tr.Protocols)
		s.t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	plain, secure := strings.TrimPrefix(s.url, "http://"), strings.TrimPrefix(s.secure, "https://")
	return map[string]*http.Client{
		"http":  at(plain, func(p *http.Protocols) { p.SetHTTP1(true) }),
		"https": at(secure, func(p *http.Protocols) { p.SetHTTP1(true) }),
		"h2":    at(secure, func(p *http.Protocols) { p.SetHTTP2(true) }),
	}
}

// visitor is one of the clients.
type visitor struct {
	*stage
	*http.Client
	t    *testing.T
	over string
}

// ask sends a request and returns the answer's head.
func (v *visitor) ask(ctx context.Context, method, path string, body io.Reader, fields ...string) *http.Response {
	v.t.Helper()
	scheme := "https"
	if v.over == "http" {
		scheme = "http"
	}
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://shop.example"+path, body)
	if err != nil {
		v.t.Fatal(err)
	}
	for i := 0; i+1 < len(fields); i += 2 {
		req.Header.Set(fields[i], fields[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.URL.Host, req.Host = host, host
	}
	res, err := v.Do(req)
	if err != nil {
		v.t.Fatal(err)
	}
	v.t.Cleanup(func() { res.Body.Close() })
	return res
}

// text is the whole answer.
func (v *visitor) text(path string, fields ...string) string {
	v.t.Helper()
	res := v.ask(v.t.Context(), http.MethodGet, path, nil, fields...)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		v.t.Fatal(err)
	}
	return fmt.Sprint(res.StatusCode, " ", string(body))
}

// record waits for the line of the access log of a path that nobody else asks for.
func (s *stage) record(t *testing.T, path string) map[string]any {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		log, err := os.ReadFile(s.log)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(log) {
			var r map[string]any
			if json.Unmarshal(line, &r) == nil && r["path"] == path {
				return r
			}
		}
	}
	t.Fatalf("no record of %s within a minute", path)
	return nil
}

// resident is the memory of the edge in bytes.
func (s *stage) resident(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.pid))
	if err != nil {
		t.Skip(err)
	}
	kb, err := strconv.Atoi(string(regexp.MustCompile(`VmRSS:\s+(\d+) kB`).FindSubmatch(text)[1]))
	if err != nil {
		t.Fatal(err)
	}
	return kb << 10
}

func TestFunctionsAtTheWholeEdge(t *testing.T) {
	s := scenes(t)
	for over, client := range s.clients() {
		t.Run(over, func(t *testing.T) {
			for name, scene := range map[string]func(*visitor){
				"a hundred MiB down and up": (*visitor).floods, "both ways at once": (*visitor).echoes, "events come at once": (*visitor).hears,
				"trailers": (*visitor).trails, "hints": (*visitor).hinted, "a client that leaves": (*visitor).leaves,
				"the first of three": (*visitor).selects, "origins that a function names": (*visitor).names,
				"functions call functions": (*visitor).nests, "a cut": (*visitor).breaks, "what a function renders is stored": (*visitor).stores,
			} {
				t.Run(name, func(t *testing.T) { scene(&visitor{s, client, t, over}) })
			}
		})
	}
}

// floods: neither the edge nor the function keeps what only goes through.
func (v *visitor) floods() {
	v.text("/inner") // its sandbox is there
	before, most := v.resident(v.t), 0
	res := v.ask(v.t.Context(), http.MethodGet, "/flood", nil)
	total, buf := 0, make([]byte, 1<<20)
	for {
		n, err := res.Body.Read(buf)
		if total/(10<<20) != (total+n)/(10<<20) {
			most = max(most, v.resident(v.t))
		}
		if total += n; err == io.EOF {
			break
		} else if err != nil {
			v.t.Fatal(err)
		}
	}
	const size = 100 << 20
	up := v.ask(v.t.Context(), http.MethodPost, "/up", io.LimitReader(zeros{}, size))
	text, err := io.ReadAll(up.Body)
	most = max(most, v.resident(v.t))
	if total != size || string(text) != strconv.Itoa(size) || err != nil {
		v.t.Errorf("%d bytes came down, %q up, %v", total, text, err)
	}
	if grown := most - before; grown > size*6/10 {
		v.t.Errorf("the edge grew by %d bytes for %d that went through", grown, size)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// echoes: what is sent comes back before more is sent.
func (v *visitor) echoes() {
	body, send := io.Pipe()
	first := make(chan struct{})
	go func() { // ends with the pipe
		_, _ = io.WriteString(send, "one ")
		<-first
		_, _ = io.WriteString(send, "two")
		send.Close()
	}()
	res := v.ask(v.t.Context(), http.MethodPost, "/echo", body)
	buf := make([]byte, 4)
	if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != "ONE " {
		v.t.Errorf("first came %q, %v", buf, err)
	}
	close(first)
	if rest, err := io.ReadAll(res.Body); err != nil || string(rest) != "TWO" {
		v.t.Errorf("then came %q, %v", rest, err)
	}
}

func (v *visitor) hears() {
	path := "/events/" + v.over
	res := v.ask(v.t.Context(), http.MethodGet, path, nil)
	lines := bufio.NewReader(res.Body)
	if line, err := lines.ReadString('\n'); line != "data: one\n" {
		v.t.Errorf("first came %q, %v", line, err)
	}
	close(v.gate("/wait" + path)) // only now may the origin answer
	if rest, err := io.ReadAll(lines); string(rest) != "\ndata: two\n\n" {
		v.t.Errorf("then came %q, %v", rest, err)
	}
}

func (v *visitor) trails() {
	res := v.ask(v.t.Context(), http.MethodGet, "/trailers", nil, "TE", "trailers")
	body, err := io.ReadAll(res.Body)
	if string(body) != "body" || err != nil || res.Trailer.Get("X-Sum") != "12" {
		v.t.Errorf("got %q, %v, trailers %v", body, err, res.Trailer)
	}
}

func (v *visitor) hinted() {
	var links []string
	ctx := httptrace.WithClientTrace(v.t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(status int, h textproto.MIMEHeader) error {
		links = append(links, fmt.Sprint(status, " ", h.Get("Link")))
		return nil
	}})
	res := v.ask(ctx, http.MethodGet, "/hints", nil)
	body, err := io.ReadAll(res.Body)
	if string(body) != "page" || err != nil || fmt.Sprint(links) != "[103 </style.css>; rel=preload]" || res.Header.Get("Link") != "" {
		v.t.Errorf("got %q, %v after %v, with the link %q", body, err, links, res.Header.Get("Link"))
	}
}

// leaves: a client that goes away takes its function with it, and what that asked for.
func (v *visitor) leaves() {
	ctx, leave := context.WithCancel(v.t.Context())
	path := "/gone/" + v.over
	res := v.ask(ctx, http.MethodGet, path, nil)
	if _, err := io.ReadFull(res.Body, make([]byte, 5)); err != nil {
		v.t.Error(err)
	}
	expect(v.t, "the origin was asked", within(v.t, v.came), "/hang"+path)
	leave()
	expect(v.t, "the origin's asker left", within(v.t, v.left), "/hang"+path)
	if r := v.record(v.t, path); r["why_bad"] != "client gone" || r["broken"] != true || r["function"] != "main" {
		v.t.Errorf("the record says %v", r)
	}
}

// within waits for what must come.
func within(t *testing.T, from <-chan string) string {
	t.Helper()
	select {
	case got := <-from:
		return got
	case <-time.After(time.Minute):
		t.Fatal("it did not come within a minute")
		return ""
	}
}

func (v *visitor) selects() {
	for i := range 3 {
		v.reset(fmt.Sprint("/turn/", i))
	}
	res := v.ask(v.t.Context(), http.MethodGet, "/select", nil)
	if _, err := io.ReadFull(res.Body, make([]byte, len("go "))); err != nil {
		v.t.Fatal(err)
	}
	for _, i := range []int{2, 0, 1} {
		path := fmt.Sprint("/turn/", i)
		close(v.gate(path))
		buf := make([]byte, len(path)+1)
		if _, err := io.ReadFull(res.Body, buf); err != nil || string(buf) != path+" " {
			v.t.Errorf("got %q, %v, want %q", buf, err, path)
		}
	}
}

func (v *visitor) names() {
	target := strings.TrimPrefix(v.origin, "http://")
	expect(v.t, "by leave", v.text("/dynamic", "X-Target", target, "Host", "open.example"), "200 /dynamic ")
	expect(v.t, "without leave", v.text("/dynamic", "X-Target", target), "403 status 5")
	got := v.text("/dynamic", "X-Target", "169.254.169.254:80", "Host", "open.example")
	if !strings.HasPrefix(got, "502 ") {
		v.t.Errorf("an address that nobody may reach: got %q", got)
	}
}

// nests: a function that calls another is in one trace with it, and not its own caller.
func (v *visitor) nests() {
	v.mu.Lock()
	v.traces = nil
	v.mu.Unlock()
	const trace = "4bf92f3577b34da6a3ce929d0e0e4736"
	expect(v.t, "two functions", v.text("/outer", "Traceparent", "00-"+trace+"-00f067aa0ba902b7-01"), "200 /inner ")
	v.mu.Lock()
	told := strings.Join(v.traces, " ")
	v.mu.Unlock()
	if !strings.HasPrefix(told, "00-"+trace+"-") || strings.Contains(told, " ") {
		v.t.Errorf("the origin was told %q", told)
	}
	if got := v.text("/again"); !strings.HasPrefix(got, "502 ") {
		v.t.Errorf("one that calls itself: got %q", got)
	}
}

// breaks: what fails behind the first byte is seen to be incomplete.
func (v *visitor) breaks() {
	res := v.ask(v.t.Context(), http.MethodGet, "/cut/"+v.over, nil)
	body, err := io.ReadAll(res.Body)
	if err == nil || errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) || string(body) != "begun" && len(body) > 0 {
		v.t.Errorf("got %q, %v", body, err)
	}
	r := v.record(v.t, "/cut/"+v.over)
	if trap, ok := r["trap"].(string); !ok || len(trap) != 16 || r["broken"] != true || r["why_bad"] != "broken answer" {
		v.t.Errorf("the record says %v", r)
	}
}

func (v *visitor) stores() {
	path := "/page/" + v.over
	expect(v.t, "rendered", v.text(path), "200 page of /data ")
	var got string
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		res := v.ask(v.t.Context(), http.MethodGet, path, nil)
		if got = res.Header.Get("Cache-Status"); strings.Contains(got, "; hit") {
			return
		}
		_, _ = io.Copy(io.Discard, res.Body) // it is stored behind the first answer
	}
	v.t.Errorf("Cache-Status: %q", got)
}

// reset closes a gate again.
func (s *stage) reset(path string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, path)
}
