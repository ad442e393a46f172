package wasi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// bed runs a program.
type bed struct {
	t     *testing.T
	f     *compute.Function
	log   strings.Builder
	usage compute.Usage
}

func newBed(t *testing.T, module []byte, limits compute.Limits) *bed {
	t.Helper()
	limits.CPU = max(limits.CPU, time.Minute) // a machine that is busy is no failure
	e := compute.New(compute.Options{})
	f, err := e.Compile(t.Context(), module, compute.Program{ABI: New(Options{Software: "selvage", Env: []string{"GREETING=hello", "REQUEST_METHOD=own", "HTTP_FAKE=1"}}), Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return &bed{t: t, f: f}
}

func (b *bed) serve(r *http.Request) (*http.Response, string, error) {
	w := httptest.NewRecorder()
	in := &compute.Invocation{W: w, R: r, Client: compute.Client{Address: netip.MustParseAddrPort("192.0.2.7:4711")}, Log: func(p []byte) { b.log.Write(p) }}
	err := b.f.Serve(r.Context(), in)
	b.usage = in.Usage
	body, readErr := io.ReadAll(w.Result().Body)
	if readErr != nil {
		b.t.Fatal(readErr)
	}
	return w.Result(), string(body), err
}

// goProgram builds a program with the standard compiler.
func goProgram(t *testing.T, folder string) []byte {
	t.Helper()
	file := filepath.Join(t.TempDir(), "program.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file, folder)
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return module
}

func TestAPlainGoProgramHandlesRequests(t *testing.T) {
	b := newBed(t, goProgram(t, "./testdata/cgi"), compute.Limits{})
	random := map[string]bool{}
	for range 2 { // the second time it is set back
		for path, want := range map[string]string{
			"/echo": "200 POST 5 hello", "/status": "418 teapot", "/files": "200 true true true true", "/sleep": "200 true true",
			"/log": "200 logged", "/long": "200 " + strings.Repeat("0123456789", 100_000),
		} {
			res, body, err := b.serve(httptest.NewRequest("POST", "http://shop.example"+path, strings.NewReader("hello")))
			if got := fmt.Sprint(res.StatusCode, " ", body); err != nil || got != want || res.Header.Get("X-Path") != path {
				t.Errorf("%s: got %.100q %v, %v, want %.100q", path, got, res.Header, err, want)
			}
		}
		_, body, err := b.serve(httptest.NewRequest("GET", "/random", nil))
		if err != nil || random[body] {
			t.Errorf("random bytes: %s again, %v", body, err)
		}
		random[body] = true
	}
	if !b.usage.Rewound {
		t.Error("the sandbox was not set back")
	}
	if got := b.log.String(); got != "a line for the log\na line for the log\n" {
		t.Errorf("log: %q", got)
	}
	for path, want := range map[string]string{"/exit": "exit: code 3", "/panic": "exit: code 2"} {
		if _, _, err := b.serve(httptest.NewRequest("GET", path, nil)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
	_, body, err := b.serve(httptest.NewRequest("POST", "/echo", strings.NewReader(strings.Repeat("0123456789", 1<<17))))
	if err != nil || body != "POST 1310720 0123456789" {
		t.Errorf("a long body: got %q, %v", body, err)
	}
	broken := httptest.NewRequest("POST", "/echo", io.MultiReader(strings.NewReader("some"), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if res, _, err := b.serve(broken); err != nil || res.StatusCode != 400 {
		t.Errorf("a body that breaks off: got %d, %v", res.StatusCode, err)
	}
	checkEnvironment(t, b)
}

func checkEnvironment(t *testing.T, b *bed) {
	t.Helper()
	r := httptest.NewRequest("POST", "http://shop.example:8080/env?a=%20b", strings.NewReader("{}"))
	for name, value := range map[string]string{
		"Content-Type": "application/json", "X-One": "1", "Proxy": "http://bad", "X_Two": "spoofed", "Content-Length": "99", "Authorization": "Basic a",
	} {
		r.Header[name] = []string{value}
	}
	r.Header["Cookie"], r.Header["Accept"] = []string{"a=1", "b=2"}, []string{"x", "y"}
	_, body, err := b.serve(r)
	want := `CONTENT_LENGTH=2
CONTENT_TYPE=application/json
GATEWAY_INTERFACE=CGI/1.1
GREETING=hello
HTTP_ACCEPT=x, y
HTTP_AUTHORIZATION=Basic a
HTTP_COOKIE=a=1; b=2
HTTP_HOST=shop.example:8080
HTTP_X_ONE=1
PATH_INFO=/env
QUERY_STRING=a=%20b
REMOTE_ADDR=192.0.2.7
REMOTE_PORT=4711
REQUEST_METHOD=POST
REQUEST_URI=/env?a=%20b
SCRIPT_NAME=
SERVER_NAME=shop.example
SERVER_PORT=8080
SERVER_PROTOCOL=HTTP/1.1
SERVER_SOFTWARE=selvage`
	if err != nil || body != want {
		t.Errorf("got %v\n%s\nwant\n%s", err, body, want)
	}
}

// printing is a program that writes texts to its standard output, one after the other.
func printing(texts ...string) []byte {
	var data, code strings.Builder
	at := 1024
	for _, text := range texts {
		if text != "" {
			fmt.Fprintf(&data, "data %d %q\n", at, text)
		}
		fmt.Fprintf(&code, "i32.const 0\ni32.const %d\ni32.store 0\ni32.const 4\ni32.const %d\ni32.store 0\ni32.const 1\ni32.const 0\ni32.const 1\ni32.const 8\ncall $write\ndrop\n", at, len(text))
		at += len(text)
	}
	return asm.Assemble("import wasi_snapshot_preview1 fd_write $write i32,i32,i32,i32 -> i32\nmemory 2 2\n" + data.String() + "func $_start export=_start\n" + code.String() + "endfunc\n")
}

func TestAnswersOfCGI(t *testing.T) {
	for want, texts := range map[string][]string{
		"200 body map[Content-Type:[text/plain]]":            {"Content-Type: text/plain\n\nbody"},
		"201  map[X-A:[1 2]]":                                {"Status: 201 Created\r\nx-a: 1\r\nX-A:2\r\n\r\n"},
		"302  map[Location:[/there]]":                        {"Location: /there\n\n"},
		"307 go map[Location:[https://a.example/]]":          {"Location: https://a.example/\nStatus: 307\n\ngo"},
		"200 split map[Content-Type:[text/html]]":            {"Content-Ty", "pe: text/html\n", "\n", "sp", "", "lit"},
		"200 a\n\nb map[Content-Type:[text/event-stream]]":   {"Content-Type: text/event-stream\n\na\n\n", "b"},
		"404 \nnot here map[Content-Type:[text/plain; a=b]]": {"Content-Type: text/plain; a=b\nStatus: 404\n\n\nnot here"},
	} {
		b := newBed(t, printing(texts...), compute.Limits{})
		res, body, err := b.serve(httptest.NewRequest("GET", "/", nil))
		if got := fmt.Sprint(res.StatusCode, " ", body, " ", res.Header); err != nil || got != want {
			t.Errorf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestWhatIsNoAnswerOfCGISaysWhatWasExpected(t *testing.T) {
	for want, text := range map[string]string{
		"ended before the empty line":             "",
		`began with "Content-Type: text/plain`:    "Content-Type: text/plain\n",
		"an answer is fields such as":             "hello\n\n",
		`it wrote "hello world" where a field`:    "hello world\n\n",
		"wrote a status line, which is the edge":  "HTTP/1.1 200 OK\n\n",
		"neither Content-Type nor Location nor S": "X-A: b\n\n",
		`Status "99" is none`:                     "Status: 99\n\n",
		`Status "abc" is none`:                    "Status: abc\n\n",
		"the field X-A has a character":           "X-A: a\rb\n\n",
	} {
		_, _, err := newBed(t, printing(text), compute.Limits{}).serve(httptest.NewRequest("GET", "/", nil))
		trap, ok := errors.AsType[*compute.Trap](err)
		if !ok || trap.Kind != compute.BadCall || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
	for _, text := range []string{strings.Repeat("x", 300), "A: " + strings.Repeat("x", 300) + "\n\n"} {
		_, _, err := newBed(t, printing(text), compute.Limits{HeaderBytes: 256}).serve(httptest.NewRequest("GET", "/", nil))
		if limit, ok := errors.AsType[*compute.LimitError](err); !ok || limit.Name != compute.LimitHeaderBytes {
			t.Errorf("a long head: got %v", err)
		}
	}
}
