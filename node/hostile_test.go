package node

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage"
)

// asks is a program that asks a backend, and answers with what it says; end is
// what it does where there is no answer.
func asks(t testing.TB, name, backend, method, end string) string {
	return textGuest(t, name, fmt.Sprintf(`
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req new $new i32 -> i32
import fastly_http_req uri_set $uri i32,i32,i32 -> i32
import fastly_http_req method_set $method i32,i32,i32 -> i32
import fastly_http_req send $ask i32,i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 2
data 1024 "http://shop.example/inner"
data 1100 %q
data 1200 %q
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 8 / call $new / drop
	i32.const 8 / i32.load / i32.const 1024 / i32.const 25 / call $uri / drop
	i32.const 8 / i32.load / i32.const 1200 / i32.const %d / call $method / drop
	i32.const 8 / i32.load / i32.const 4 / i32.load / i32.const 1100 / i32.const %d / i32.const 16 / i32.const 20 / call $ask
	if
	%s
	end
	i32.const 16 / i32.load / i32.const 20 / i32.load / i32.const 0 / call $send / drop
endfunc
`, backend, method, len(method), len(backend), end))
}

const nestedService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}, inner: {function: inner}, again: {function: again}}
functions:
  inner: {module: FILE(web)}
  outer: {module: FILE(inner)}
  again: {module: FILE(again)}
  none: {module: FILE(none)}
  alias: {module: FILE(none), backends: {nowhere: web}}
  other: {module: FILE(none), other_backends: web}
  changes: {module: FILE(changes), on_failure: pass}
  echo: {module: FILE(echo)}
routes:
  - {match: {path: /outer}, function: outer}
  - {match: {path: /again}, function: again}
  - {match: {path: /none}, function: none}
  - {match: {path: /alias}, function: alias}
  - {match: {path: /other}, function: other}
  - {match: {path: /changes}, function: changes, origin: web}
  - {match: {path: /echo}, function: echo}
`

func TestFunctionsCallEachOtherAndNotThemselves(t *testing.T) {
	trace := make(chan string, 1)
	b := serveGuests(t, nestedService, func(w http.ResponseWriter, r *http.Request) {
		select {
		case trace <- r.Header.Get("Traceparent") + " " + r.Header.Get("Cdn-Loop"):
		default:
		}
		fmt.Fprint(w, "origin ", r.Method)
		if r.Method == http.MethodPost {
			buf := make([]byte, 100)
			n, _ := r.Body.Read(buf)
			fmt.Fprintf(w, " got %s", buf[:n])
		}
	}, map[string]string{
		"web": asks(t, "web", "web", "GET", "unreachable"), "inner": asks(t, "inner", "inner", "GET", "unreachable"),
		"again": asks(t, "again", "again", "GET", "unreachable"), "none": asks(t, "none", "nowhere", "GET", "unreachable"),
		"changes": asks(t, "changes", "web", "DELETE", "unreachable"), "echo": asks(t, "echo", "web", "POST", "unreachable"),
	})
	expect(t, "outer", b.get("/outer", "Traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"), "200 origin GET")
	if got := <-trace; !strings.HasPrefix(got, "00-4bf92f3577b34da6a3ce929d0e0e4736-") || strings.Count(got, "selvage;") != 1 {
		t.Errorf("the origin was told %q", got)
	}
	for _, path := range []string{"/again", "/none"} {
		if got := b.get(path); !strings.HasPrefix(got, "500 ") {
			t.Errorf("%s: got %q", path, got)
		}
	}
	expect(t, "alias", b.get("/alias"), "200 origin GET")
	expect(t, "other", b.get("/other"), "200 origin GET")
	expect(t, "a body that goes through", b.do("POST", "/echo", "some text"), "200 origin POST got some text")
	b.took()
	expect(t, "changes", b.get("/changes"), "200 origin DELETE")
	expect(t, "asked", b.took(), "DELETE shop.example/inner")
}

func TestAFunctionThatChangedSomethingIsNotPassed(t *testing.T) {
	b := serveGuests(t, nestedService[:strings.Index(nestedService, "functions:")]+`functions: {changes: {module: FILE(changes), on_failure: pass}, inner: {module: FILE(changes)}, again: {module: FILE(changes)}}
routes: [{match: {path: /*}, function: changes, origin: web}]
`, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		map[string]string{"changes": asks(t, "changes", "web", "POST", "unreachable")})
	if got := b.get("/x"); !strings.HasPrefix(got, "500 ") {
		t.Errorf("got %q", got)
	}
	if got := b.took(); strings.Contains(got, "GET") {
		t.Errorf("after a POST that failed the origins were asked %s", got)
	}
}

// hostile are programs that do their worst, each once it has its request, with
// the limit that ends them and what their record says in words.
var hostile = map[string]struct{ text, limit, words string }{
	"loop":   {"loop\nbr 0\nend", "cpu", "computed for"},
	"fill":   {"loop\ni32.const 0 / i32.const 1 / i32.const 131072 / memory.fill\nbr 0\nend", "cpu", "computed for"},
	"slow":   {"loop\ni32.const 0 / i32.const 131072 / call $random / drop\nbr 0\nend", "cpu", "computed for"},
	"deep":   {"i64.const 1 / call $down / drop", "stack", "stack"},
	"hog":    {"loop\ni32.const 16 / memory.grow / i32.const 0 / i32.lt_s\nif\nunreachable\nend\nbr 0\nend", "memory", "wanted more than 16 MiB"},
	"fields": {"i32.const 8 / call $resp / drop\nloop\ni32.const 8 / i32.load / i32.const 1024 / i32.const 6 / i32.const 1024 / i32.const 1000 / call $field / drop\nbr 0\nend", "cpu", "computed for"},
	"bodies": {"loop\ni32.const 12 / call $body / drop\nbr 0\nend", "cpu", "computed for"},
	"writer": {"i32.const 12 / call $body / drop\nloop\ni32.const 12 / i32.load / i32.const 0 / i32.const 131072 / i32.const 0 / i32.const 16 / call $write / drop\nbr 0\nend", "", "limit"},
	"prints": {"loop\ni32.const 2 / i32.const 1200 / i32.const 1 / i32.const 16 / call $print / drop\nbr 0\nend", "cpu", "computed for"},
	"wild":   {"i32.const -1 / i32.const -5 / call $get / drop\ni32.const -1 / i32.const -1 / i32.const -1 / i32.const -1 / i32.const -1 / call $write / drop\nunreachable", "none", "unreachable"},
	"stream": {"i32.const 8 / call $resp / drop\ni32.const 12 / call $body / drop\ni32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 1 / call $send / drop\n" +
		"loop\ni32.const 12 / i32.load / i32.const 0 / i32.const 131072 / i32.const 0 / i32.const 16 / call $write / drop\nbr 0\nend", "cpu", "computed for"},
	// It asks 10,000 times, and answers then.
	"forker": {"loop\ni32.const 20 / call $new / drop\ni32.const 20 / i32.load / i32.const 1100 / i32.const 20 / call $uri / drop\n" +
		"i32.const 24 / call $body / drop\ni32.const 20 / i32.load / i32.const 24 / i32.load / i32.const 1150 / i32.const 3 / i32.const 28 / call $async / drop\n" +
		"local.get 0 / i32.const 1 / i32.add / local.tee 0 / i32.const 10000 / i32.lt_u / br_if 0\nend\n" + answersWell, "origin_requests", ""},
}

const answersWell = `
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop`

// hostileGuest has more to call than bad.
func hostileGuest(t testing.TB, name, text string) string {
	return textGuest(t, name, `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req new $new i32 -> i32
import fastly_http_req uri_set $uri i32,i32,i32 -> i32
import fastly_http_req send_async $async i32,i32,i32,i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
import fastly_http_resp header_append $field i32,i32,i32,i32,i32 -> i32
import wasi_snapshot_preview1 random_get $random i32,i32 -> i32
import wasi_snapshot_preview1 fd_write $print i32,i32,i32,i32 -> i32
memory 2
data 1024 "x-name"
data 1100 "http://shop.example/"
data 1150 "web"
data 1200 "\x00\x08\x00\x00\x00\x04\x00\x00"
func $down i64 -> i64
	local.get 0 / i64.const 1 / i64.add / call $down
	local.get 0 / i64.mul
endfunc
func $_start export=_start locals=i32
	i32.const 0 / i32.const 4 / call $get / drop
`+text+`
endfunc
`)
}

// TestAHostileFunctionHurtsNobody counts answers of a neighbour while programs do
// their worst; it measures no times.
func TestAHostileFunctionHurtsNobody(t *testing.T) {
	modules := map[string]string{"good": good(t, "good", "well")}
	functions, routes := "functions:\n  good: {module: FILE(good), cpu: 10s}\n", "routes:\n  - {match: {path: /good}, function: good}\n"
	for name, h := range hostile {
		modules[name] = hostileGuest(t, name, h.text)
		cpu := "20ms"
		switch name {
		case "forker", "deep", "hog":
			cpu = "60s" // another limit is meant
		case "stream":
			cpu = "1ms" // waiting for the client is not computing: with 20 ms it would write 100 MB
		}
		functions += fmt.Sprintf("  %s: {module: FILE(%s), cpu: %s, wall: 1m, memory: 16MiB}\n", name, name, cpu)
		routes += fmt.Sprintf("  - {match: {path: /%s}, function: %s}\n", name, name)
	}
	b := serveGuests(t, "service: test\nhosts: [\"*\"]\norigins: {web: {endpoints: [ORIGIN]}}\n"+functions+routes,
		func(http.ResponseWriter, *http.Request) {}, modules)
	const times = 3
	var wg sync.WaitGroup
	for name := range hostile {
		want := "500 "
		if name == "forker" {
			want = "200 "
		}
		for range times {
			wg.Go(func() {
				if got := b.get("/" + name); !strings.HasPrefix(got, want) && !strings.HasPrefix(got, "200 broken") {
					t.Errorf("%s: got %.80q", name, got)
				}
			})
		}
	}
	for range 100 {
		expect(t, "the neighbour", b.get("/good"), "200 well")
	}
	wg.Wait()
	expect(t, "the neighbour, after", b.get("/good"), "200 well")
	for name, h := range hostile {
		rec := b.last("/" + name)
		if limit := "function_" + h.limit; !strings.HasPrefix(rec.LimitHit, limit) && h.limit != "none" || !strings.Contains(rec.Detail, h.words) {
			t.Errorf("%s: the record names the limit %q: %s", name, rec.LimitHit, rec.Detail)
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if n := len(b.asked); n > times*32 {
		t.Errorf("the origin was asked %d times", n)
	}
	if n := b.log.Len(); n > times*(64<<10)+32<<10 { // and how the others trapped
		t.Errorf("the log has %d bytes", n)
	}
}

// TestAReaderThatNeverReadsHoldsNobody: what a function writes waits for its
// client, and not longer than the function may take.
func TestAReaderThatNeverReadsHoldsNobody(t *testing.T) {
	b := serveGuests(t, `service: test
hosts: ["*"]
functions: {stream: {module: FILE(stream), wall: 2s, cpu: 1s}, good: {module: FILE(good), cpu: 10s}}
routes: [{match: {path: /good}, function: good}, {match: {path: /*}, function: stream}]
`, nil, map[string]string{"stream": hostileGuest(t, "stream", hostile["stream"].text), "good": good(t, "good", "well")})
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /stream HTTP/1.1\r\nHost: shop.example\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		expect(t, "the neighbour", b.get("/good"), "200 well")
	}
	b.hears("wall limit: ")
	conn.Close()
	if rec := b.last("/stream"); !rec.Answer.Broken {
		t.Errorf("the record says %+v", rec.Answer)
	}
}

func TestRandomBytesDifferPerRequestThroughTheEdge(t *testing.T) {
	b := serveGuests(t, `service: test
hosts: ["*"]
functions: {f: {module: FILE(random), sandboxes: 1}}
routes: [{match: {path: /*}, function: f}]
`, nil, map[string]string{"random": hostileGuest(t, "random", `
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 4096 / i32.const 16 / call $random / drop
	i32.const 12 / i32.load / i32.const 4096 / i32.const 16 / i32.const 0 / i32.const 16 / call $write / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop`)})
	seen := map[string]bool{}
	for range 200 {
		seen[b.get("/x")] = true
	}
	if len(seen) != 200 {
		t.Errorf("200 requests got %d answers", len(seen))
	}
}

func TestFunctionsDialOnlyWhatTheyMay(t *testing.T) {
	prefix := func(s string) selvage.Prefix {
		var p selvage.Prefix
		if err := p.UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
		return p
	}
	g := &guardedDial{
		allow: []selvage.Prefix{prefix("10.1.0.0/16"), prefix("127.0.0.1")},
		own:   func() []net.Addr { return []net.Addr{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 8080}} },
	}
	for at, want := range map[string]bool{
		"93.184.216.34:443": true, "[2606:2800:220:1::1]:443": true, "10.1.2.3:80": true, "127.0.0.1:9000": true,
		"127.0.0.1:8080": false, "127.0.0.2:80": false, "10.2.0.1:80": false, "169.254.169.254:80": false, "[fe80::1]:80": false,
		"[::1]:80": false, "[::ffff:10.2.0.1]:80": false, "[fd00::1]:80": false, "0.0.0.0:80": false, "224.0.0.1:80": false,
		"[64:ff9b::a02:1]:80": false, "[2002:a02:1::]:80": false, "100.64.0.1:80": false, "255.255.255.255:80": false,
	} {
		ap := netip.MustParseAddrPort(at)
		if got := g.may(netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())); got != want {
			t.Errorf("%s: got %v", at, got)
		}
	}
}
