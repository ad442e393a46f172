package node

import (
	"fmt"
	"net/http"
	"testing"
)

// waitingGuest is a program that waits for another request before it has answered its own, and then looks at its own
// request's fields after all.
const waitingGuest = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req header_names_get $names i32,i32,i32,i32,i32,i32 -> i32
import fastly_http_downstream next_request $next i32,i32,i32 -> i32
import fastly_http_downstream next_request_wait $wait i32,i32,i32 -> i32
memory 2
data 64 "\x01\x00\x00\x00\x00\x00\x00\x00"
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 2 / i32.const 64 / i32.const 24 / call $next / drop
	i32.const 24 / i32.load / i32.const 8 / i32.const 12 / call $wait / drop
	i32.const 0 / i32.load / i32.const 4096 / i32.const 4096 / i32.const 0 / i32.const 16 / i32.const 24 / call $names / drop
endfunc
`

// TestAProgramThatGaveItsAnswerUpMayLookAtItsRequest: what answers instead makes the header over at the same time.
func TestAProgramThatGaveItsAnswerUpMayLookAtItsRequest(t *testing.T) {
	b := serveGuests(t, `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions:
  waits: {module: FILE(waits), reuse: 2, on_failure: pass}
routes:
  - {match: {path: /*}, function: waits, origin: web}
`, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["X-Forwarded-For"], len(r.Header["Traceparent"]))
	}, map[string]string{"waits": textGuest(t, "waits", waitingGuest)})
	for range 20 {
		b.expects("/", "200 [127.0.0.1] 1")
	}
}
