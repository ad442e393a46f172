package node

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// waitingGuest is a program that waits for another request before it has answered its own, and then looks at its own
// request's fields after all, and reads its body. It logs the status of that.
const waitingGuest = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req header_names_get $names i32,i32,i32,i32,i32,i32 -> i32
import fastly_http_body read $read i32,i32,i32,i32 -> i32
import fastly_http_downstream next_request $next i32,i32,i32 -> i32
import fastly_http_downstream next_request_wait $wait i32,i32,i32 -> i32
import wasi_snapshot_preview1 fd_write $print i32,i32,i32,i32 -> i32
memory 2
data 64 "\x01\x00\x00\x00\x00\x00\x00\x00"
data 80 "\x60\x00\x00\x00\x07\x00\x00\x00"
data 96 "read: "
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 2 / i32.const 64 / i32.const 24 / call $next / drop
	i32.const 24 / i32.load / i32.const 8 / i32.const 12 / call $wait / drop
	i32.const 0 / i32.load / i32.const 4096 / i32.const 4096 / i32.const 0 / i32.const 16 / i32.const 24 / call $names / drop
	i32.const 102
	i32.const 4 / i32.load / i32.const 4096 / i32.const 100 / i32.const 28 / call $read
	i32.const 48 / i32.add / i32.store8
	i32.const 1 / i32.const 80 / i32.const 1 / i32.const 32 / call $print / drop
endfunc
`

const waitingService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions:
  waits: {module: FILE(waits), reuse: 2, on_failure: pass}
routes:
  - {match: {path: /*}, function: waits, origin: web}
`

// TestAProgramThatGaveItsAnswerUpMayLookAtItsRequest: what answers instead makes the header over at the same time.
func TestAProgramThatGaveItsAnswerUpMayLookAtItsRequest(t *testing.T) {
	b := serveGuests(t, waitingService, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["X-Forwarded-For"], len(r.Header["Traceparent"]))
	}, map[string]string{"waits": textGuest(t, "waits", strings.Replace(waitingGuest, "endfunc", "unreachable\nendfunc", 1))}) // one that ends well has answered
	for range 20 {
		b.expects("/", "200 [127.0.0.1] 1")
	}
}

// TestAProgramThatGaveItsAnswerUpHasNoBody: what answers instead has it.
func TestAProgramThatGaveItsAnswerUpHasNoBody(t *testing.T) {
	asked := make(chan bool)
	b := serveGuests(t, waitingService, func(w http.ResponseWriter, r *http.Request) {
		<-asked
		_, _ = io.Copy(w, r.Body)
	}, map[string]string{"waits": textGuest(t, "waits", waitingGuest)})
	ask := sync.OnceFunc(func() { close(asked) })
	t.Cleanup(ask) // also where the program says nothing
	answer := make(chan string, 1)
	go func() { answer <- b.do(http.MethodPost, "/", "body") }()
	b.hears("read: ")
	ask()
	expect(t, "what answers instead", <-answer, "200 body")
	b.mu.Lock()
	defer b.mu.Unlock()
	expect(t, "the program", b.log.String(), "read: 1")
}
