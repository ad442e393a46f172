package node

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// names is a program that answers with the names of its request's fields, each ended by a zero.
func names(t *testing.T) string {
	return textGuest(t, "names", `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_req header_names_get $names i32,i32,i32,i32,i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 2
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 0 / i32.load / i32.const 4096 / i32.const 4096 / i32.const 0 / i32.const 16 / i32.const 24 / call $names / drop
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 12 / i32.load / i32.const 4096 / i32.const 24 / i32.load / i32.const 0 / i32.const 28 / call $write / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $send / drop
endfunc
`)
}

const namesService = `service: test
hosts: ["*"]
origins: {web: {endpoints: [ORIGIN]}}
functions:
  names: {module: FILE(names)}
  passed: {module: FILE(trap), on_failure: pass}
routes:
  - {match: {path: /later}, function: names}
  - {match: {path: /before}, function: names, on_failure: [{default: {status: 502, body: ladder}}]}
  - {match: {path: /passed}, function: passed, origin: web}
`

// TestAFunctionSeesTheHeaderThatAnOriginWouldSee: what is only made over when a program asks
// for it is the same, and so is what goes on where the program fails.
func TestAFunctionSeesTheHeaderThatAnOriginWouldSee(t *testing.T) {
	b := serveGuests(t, namesService, func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.Header["X-Forwarded-For"], r.Header["X-Hop"], len(r.Header["Traceparent"]))
	}, map[string]string{"names": names(t), "trap": bad(t, "trap", "unreachable")})
	few := []string{"Connection", "x-hop", "X-Hop", "1", "X-Forwarded-For", "192.0.2.1", "X-Real-Ip", "192.0.2.1", "Cookie", "a=b"}
	many := few
	for i := range 20 {
		many = append(many, fmt.Sprintf("X-Many-%d", i), "1")
	}
	const want = "host accept-encoding cdn-loop cookie forwarded traceparent user-agent via x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id"
	for _, tc := range []struct {
		name   string
		fields []string
	}{{"few", few}, {"many", many}} {
		later, before := b.get("/later", tc.fields...), b.get("/before", tc.fields...)
		if later != before {
			t.Errorf("%s: made when it is asked for: %q, before: %q", tc.name, later, before)
		}
		if got := strings.ReplaceAll(strings.TrimSuffix(later, "\x00"), "\x00", " "); tc.name == "few" && got != "200 "+want {
			t.Errorf("got %q, want 200 %s", got, want)
		}
		expect(t, tc.name+", passed on", b.get("/passed", tc.fields...), "200 [127.0.0.1] [] 1")
	}
}
