package node

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage/record"
)

// manyGuest is a program that serves several requests in a sandbox, and answers with their number. The last letter of
// the path says what it does beside: t traps, l loops, o logs 8 bytes, n does not answer, s streams, c does not end what
// it streams, and e answers with the last 8 letters instead.
const manyGuest = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req uri_get $uri i32,i32,i32,i32 -> i32
import fastly_http_downstream next_request $next i32,i32,i32 -> i32
import fastly_http_downstream next_request_wait $wait i32,i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_body close $close i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
import wasi_snapshot_preview1 fd_write $print i32,i32,i32,i32 -> i32
memory 1
data 60 "d\x00\x00\x00\x08\x00\x00\x00"
data 100 "12345678"
func $_start export=_start locals=i32
	i32.const 0 / i32.const 4 / call $get / drop
	loop
		i32.const 40 / i32.const 40 / i32.load / i32.const 1 / i32.add / i32.store
		i32.const 0 / i32.load / i32.const 4096 / i32.const 256 / i32.const 20 / call $uri / drop
		i32.const 4095 / i32.const 20 / i32.load / i32.add / i32.load8_u / local.set 0
		local.get 0 / i32.const 116 / i32.eq
		if
			unreachable
		end
		local.get 0 / i32.const 108 / i32.eq
		if
			loop
				br 0
			end
		end
		local.get 0 / i32.const 111 / i32.eq
		if
			i32.const 1 / i32.const 60 / i32.const 1 / i32.const 68 / call $print / drop
		end
		local.get 0 / i32.const 110 / i32.ne
		if
			i32.const 8 / call $resp / drop
			i32.const 12 / call $body / drop
			local.get 0 / i32.const 101 / i32.eq
			if
				i32.const 12 / i32.load / i32.const 4088 / i32.const 20 / i32.load / i32.add / i32.const 8 / i32.const 0 / i32.const 16 / call $write / drop
			end
			local.get 0 / i32.const 101 / i32.ne
			if
				i32.const 2048 / i32.const 40 / i32.load / i32.const 48 / i32.add / i32.store8
				i32.const 12 / i32.load / i32.const 2048 / i32.const 1 / i32.const 0 / i32.const 16 / call $write / drop
			end
			i32.const 8 / i32.load / i32.const 12 / i32.load
			local.get 0 / i32.const 115 / i32.eq / local.get 0 / i32.const 99 / i32.eq / i32.or
			call $send / drop
			local.get 0 / i32.const 115 / i32.eq
			if
				i32.const 12 / i32.load / call $close / drop
			end
		end
		i32.const 0 / i32.const 0 / i32.const 24 / call $next / drop
		i32.const 24 / i32.load / i32.const 0 / i32.const 4 / call $wait / i32.eqz
		br_if 0
	end
endfunc
`

const manyService = `service: test
hosts: ["*"]
functions:
  one: {module: FILE(many)}
  many: {module: FILE(many), log: 10B, reuse: 4, sandboxes: 1}
  wide: {module: FILE(many), reuse: 100}
  tight: {module: FILE(many), log: 4B, reuse: 100, sandboxes: 1}
routes:
  - {match: {path: /one/*}, function: one}
  - {match: {path: /wide/*}, function: wide}
  - {match: {path: /tight/*}, function: tight}
  - {match: {path: /*}, function: many}
`

func manyBed(t *testing.T) *guestBed {
	t.Helper()
	return serveGuests(t, manyService, nil, map[string]string{"many": textGuest(t, "many", manyGuest)})
}

// expects asks for a path and compares the answer.
func (b *guestBed) expects(path, want string) {
	b.t.Helper()
	expect(b.t, path, b.get(path), want)
}

func TestASandboxServesAsManyRequestsAsItsFunctionSays(t *testing.T) {
	b := manyBed(t)
	// There is one sandbox, and the limit of its log is each request's own.
	for i, path := range []string{"/o", "/o", "/x", "/o", "/s", "/o", "/s", "/o", "/x"} {
		b.expects(path, fmt.Sprint("200 ", i%4+1))
		if rec := b.last(path); rec.WhyBad != record.Good || rec.LimitHit != "" && rec.LimitHit != "function_sandboxes" {
			t.Errorf("%s: the record says %q, limit %q", path, rec.WhyBad, rec.LimitHit)
		}
	}
	for range 3 {
		b.expects("/one/x", "200 1") // who does not ask for it has a sandbox for each
	}
}

func TestAFailureInASandboxOfSeveralIsItsOwnRequestsAlone(t *testing.T) {
	b := manyBed(t)
	for _, path := range []string{"/t", "/n", "/l"} {
		b.expects("/x", "200 1")
		if got := b.get(path); !strings.HasPrefix(got, "500 the function that answers here failed") {
			t.Errorf("%s: got %q", path, got)
		}
		if rec := b.last(path); rec.WhyBad != record.OwnError || (rec.Function.Trap == "") != (path == "/n") || (rec.LimitHit == "function_cpu") != (path == "/l") {
			t.Errorf("%s: the record says %q, %+v, limit %q", path, rec.WhyBad, rec.Function, rec.LimitHit)
		}
		if path == "/n" { // which the program survives
			b.expects("/x", "200 3")
			b.expects("/x", "200 4")
		}
	}
	b.expects("/x", "200 1")
	expect(t, "an answer that was not ended", b.get("/c"), "200 broken after 1")
	b.expects("/x", "200 3")
}

func TestRequestsInSandboxesOfSeveralDoNotMix(t *testing.T) {
	b := manyBed(t)
	var clients sync.WaitGroup
	for i := range 8 {
		clients.Go(func() {
			for k := range 25 {
				name := fmt.Sprintf("%03d-%03de", i, k)
				b.expects("/wide/"+name, "200 "+name)
			}
		})
	}
	clients.Wait()
}

func TestALimitThatWasHitIsInTheRecordOfItsRequestAlone(t *testing.T) {
	b := manyBed(t)
	for i, path := range []string{"/tight/1/o", "/tight/2/x", "/tight/3/o"} {
		b.expects(path, fmt.Sprint("200 ", i+1))
		rec := b.last(path)
		if hit := rec.LimitHit == "function_log_bytes"; hit != (path[len(path)-1] == 'o') || rec.Function.CPU <= 0 {
			t.Errorf("%s: the record says limit %q, %+v", path, rec.LimitHit, rec.Function)
		}
	}
}

func TestASandboxThatWaitsForAnotherRequestEndsWithTheNode(t *testing.T) {
	b := manyBed(t) // whose end waits for it
	b.expects("/x", "200 1")
}

// traceGuest is a program that serves several requests in a sandbox, and answers with the last of its variables.
const traceGuest = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_downstream next_request $next i32,i32,i32 -> i32
import fastly_http_downstream next_request_wait $wait i32,i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
import wasi_snapshot_preview1 environ_sizes_get $sizes i32,i32 -> i32
import wasi_snapshot_preview1 environ_get $environ i32,i32 -> i32
memory 1
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	loop
		i32.const 32 / i32.const 36 / call $sizes / drop
		i32.const 8192 / i32.const 16384 / call $environ / drop
		i32.const 8 / call $resp / drop
		i32.const 12 / call $body / drop
		i32.const 12 / i32.load / i32.const 16351 / i32.const 36 / i32.load / i32.add / i32.const 32 / i32.const 0 / i32.const 16 / call $write / drop
		i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
		i32.const 0 / i32.const 0 / i32.const 24 / call $next / drop
		i32.const 24 / i32.load / i32.const 0 / i32.const 4 / call $wait / i32.eqz
		br_if 0
	end
endfunc
`

// TestASandboxOfSeveralHasOneTrace: libraries know their sandbox by it.
func TestASandboxOfSeveralHasOneTrace(t *testing.T) {
	b := serveGuests(t, `service: test
hosts: ["*"]
functions:
  trace: {module: FILE(trace), reuse: 3, sandboxes: 1}
routes:
  - {match: {path: /*}, function: trace}
`, nil, map[string]string{"trace": textGuest(t, "trace", traceGuest)})
	first, second, third, fourth := b.get("/"), b.get("/"), b.get("/"), b.get("/")
	if len(first) != len("200 ")+32 || second != first || third != first || fourth == first || len(fourth) != len(first) {
		t.Errorf("got %q, %q, %q, and %q of another sandbox", first, second, third, fourth)
	}
}
