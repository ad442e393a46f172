package node

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// markingGuest is an http-wasm handler: it marks the request, sends /old to /new,
// refuses /no itself, traps for /trap, and puts < > around the answer's body.
const markingGuest = `
	import http_handler enable_features $features i32 -> i32
	import http_handler get_uri $uri i32,i32 -> i32
	import http_handler set_uri $setURI i32,i32
	import http_handler set_header_value $set i32,i32,i32,i32,i32
	import http_handler set_status_code $status i32
	import http_handler read_body $read i32,i32,i32 -> i64
	import http_handler write_body $write i32,i32,i32
	memory 2
	data 0 "x-mark"
	data 16 "<>/new"
	func $start export=_start
		i32.const 2 / call $features / drop
	endfunc
	func $request export=handle_request -> i64 locals=i32
		i32.const 1024 / i32.const 1024 / call $uri / drop
		i32.const 0 / i32.const 0 / i32.const 6 / i32.const 16 / i32.const 2 / call $set
		i32.const 1025 / i32.load8_u 0 / local.set 0
		local.get 0 / i32.const 111 / i32.eq
		if
			i32.const 18 / i32.const 4 / call $setURI
		end
		local.get 0 / i32.const 116 / i32.eq
		if
			unreachable
		end
		local.get 0 / i32.const 110 / i32.eq
		if
			i32.const 403 / call $status
			i64.const 0
			return
		end
		i64.const 1
	endfunc
	func $response export=handle_response i32,i32
		local.get 1
		if
			return
		end
		i32.const 1 / i32.const 16 / i32.const 1 / call $write
		i32.const 1 / i32.const 4096 / i32.const 1 / i32.const 4096 / i32.const 8192 / call $read / i32.wrap_i64 / call $write
		i32.const 1 / i32.const 17 / i32.const 1 / call $write
	endfunc`

func TestAnHTTPWasmHandlerIsMiddleware(t *testing.T) {
	file := textGuest(t, "upper", markingGuest)
	b := serveGuests(t, `
service: shop
hosts: [shop.example]
origins:
  web: {endpoints: ["ORIGIN"]}
  down: {endpoints: ["http://127.0.0.1:1"], retry: {attempts: 1}}
  page: {function: upper}
functions:
  upper: {module: FILE(upper), cpu: 10s, other_backends: web}
  soft: {module: FILE(upper), cpu: 10s, on_failure: pass}
routes:
  - {match: {path: /echo, methods: [TRACE]}, function: upper, origin: web}
  - {match: {path: /down}, function: upper, origin: down}
  - {match: {path: /page}, origin: page, cache: {ttl: 60s}}
  - {match: {path: /told}, function: soft, origin: web}
  - {match: {path: /*}, function: upper, origin: web, cache: {ttl: 60s}}
`, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		fmt.Fprintf(w, "%s %s %s %s", r.Method, r.URL.Path, r.Header.Get("X-Mark"), body)
	}, map[string]string{"upper": file})
	for path, want := range map[string]string{
		"/a": "200 <GET /a <> >", "/old": "200 <GET /new <> >", "/no": "403 ", "/page": "200 <GET /page <> >", "/told": "200 GET /told  ",
	} {
		for range 2 {
			if got := b.get(path); got != want {
				t.Errorf("%s: got %q, want %q", path, got, want)
			}
		}
	}
	if got := b.do("POST", "/b", "form"); got != "200 <POST /b <> form>" {
		t.Errorf("POST: got %q", got)
	}
	if got := b.get("/trap"); !strings.HasPrefix(got, "500 ") {
		t.Errorf("a trap: got %q", got)
	}
	if r := b.last("/trap"); r.Function.Trap == "" || !strings.Contains(r.Detail, "unreachable") {
		t.Errorf("the record of a trap: %q, %q", r.Function.Trap, r.Detail)
	}
	if got := b.get("/down"); !strings.HasPrefix(got, "502 ") {
		t.Errorf("an origin that is down: got %q", got)
	}
	if r := b.last("/down"); r.Function.Trap != "" || r.WhyBad == "" {
		t.Errorf("the record of an origin that is down: %+v", r.Function)
	}
	if got := b.do("TRACE", "/echo", ""); got != "200 <TRACE /echo <> >" {
		t.Errorf("TRACE for a function: got %q", got)
	}
	if got := b.do("TRACE", "/a", ""); !strings.HasPrefix(got, "405 ") {
		t.Errorf("TRACE elsewhere: got %q", got)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if asked := strings.Join(b.asked, "|"); strings.Count(asked, "/a|") != 1 || strings.Count(asked, "/page") != 1 {
		t.Errorf("what is stored was asked for again: %s", asked)
	}
}
