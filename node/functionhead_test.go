package node

import (
	"io"
	"net/http"
	"testing"
	"time"
)

// headFirst is a program that begins its answer, waits for the request's body, and repeats it.
const headFirst = `
import fastly_http_req body_downstream_get $get i32,i32 -> i32
import fastly_http_resp new $resp i32 -> i32
import fastly_http_body new $body i32 -> i32
import fastly_http_body read $read i32,i32,i32,i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_body close $close i32 -> i32
import fastly_http_resp send_downstream $send i32,i32,i32 -> i32
memory 1
func $_start export=_start
	i32.const 0 / i32.const 4 / call $get / drop
	i32.const 8 / call $resp / drop
	i32.const 12 / call $body / drop
	i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 1 / call $send / drop
	i32.const 4 / i32.load / i32.const 4096 / i32.const 1024 / i32.const 16 / call $read / drop
	i32.const 12 / i32.load / i32.const 4096 / i32.const 16 / i32.load / i32.const 0 / i32.const 20 / call $write / drop
	i32.const 12 / i32.load / call $close / drop
endfunc
`

func TestTheHeadOfAStreamingAnswerIsSentAtOnce(t *testing.T) {
	b := serveGuests(t, helloService, nil, map[string]string{"hello": textGuest(t, "head", headFirst)})
	from, to := io.Pipe()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url+"/hello/x", from)
	if err != nil {
		t.Fatal(err)
	}
	late := time.AfterFunc(time.Minute, func() { to.CloseWithError(io.ErrUnexpectedEOF) })
	defer late.Stop()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("no head before the body: %v", err)
	}
	defer res.Body.Close()
	if _, err := io.WriteString(to, "and now the body"); err != nil {
		t.Fatal(err)
	}
	to.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || string(text) != "and now the body" || res.StatusCode != http.StatusOK {
		t.Errorf("got %d %q, %v", res.StatusCode, text, err)
	}
}
