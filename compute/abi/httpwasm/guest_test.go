package httpwasm

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// script writes a guest: what it calls while it starts, and for a request.
type script struct {
	data           strings.Builder
	at             int
	start, request strings.Builder
	response       strings.Builder
}

// Where a guest's buffers are.
const (
	texts  = 1024
	buffer = 32768
	room   = 16384
)

// push is the code that pushes arguments: numbers, and texts as their place and length.
func (s *script) push(b *strings.Builder, args ...any) {
	for _, arg := range args {
		switch v := arg.(type) {
		case string:
			if v != "" {
				fmt.Fprintf(&s.data, "data %d %q\n", texts+s.at, v)
			}
			fmt.Fprintf(b, "i32.const %d\ni32.const %d\n", texts+s.at, len(v))
			s.at += len(v)
		default:
			fmt.Fprintf(b, "i32.const %d\n", v)
		}
	}
}

func (s *script) call(b *strings.Builder, name string, args ...any) *script {
	s.push(b, args...)
	fmt.Fprintf(b, "call $%s\n", name)
	for _, f := range table() {
		if f.name == name && f.results != "" {
			b.WriteString("drop\n")
		}
	}
	return s
}

func (s *script) do(name string, args ...any) *script { return s.call(&s.request, name, args...) }

func (s *script) then(name string, args ...any) *script { return s.call(&s.response, name, args...) }

func (s *script) early(name string, args ...any) *script { return s.call(&s.start, name, args...) }

// show calls a function that gives texts and writes them, in brackets, to the
// answer's body: in handle_response if late, else in handle_request.
func (s *script) show(late bool, name string, args ...any) *script {
	b := &s.request
	if late {
		b = &s.response
	}
	s.push(b, append(args, buffer, room)...)
	fmt.Fprintf(b, "call $%s\n", name)
	for _, f := range table() {
		if f.name == name && f.results == "l" {
			b.WriteString("i32.wrap_i64\n")
		}
	}
	b.WriteString("local.set 2\n")
	s.call(b, "write_body", 1, "[")
	fmt.Fprintf(b, "i32.const 1\ni32.const %d\nlocal.get 2\ncall $write_body\n", buffer)
	return s.call(b, "write_body", 1, "]")
}

// module assembles it; it lets the request go on if next.
func (s *script) module(next int) []byte {
	var m strings.Builder
	for _, f := range table() {
		fmt.Fprintf(&m, "import %s %s $%s %s", moduleName, f.name, f.name, strings.Join(letters(f.params), ","))
		if f.results != "" {
			m.WriteString(" -> " + letters(f.results)[0])
		}
		m.WriteString("\n")
	}
	m.WriteString("memory 2 2\n" + s.data.String())
	fmt.Fprintf(&m, "func $_start export=_start\n%sendfunc\n", s.start.String())
	// Three locals in both, so that the buffer's length is number 2.
	fmt.Fprintf(&m, "func $request export=handle_request -> i64 locals=i32,i32,i32\n%si64.const %d\nendfunc\n", s.request.String(), 7<<32|next)
	fmt.Fprintf(&m, "func $response export=handle_response i32,i32 locals=i32\n%sendfunc\n", s.response.String())
	return asm.Assemble(m.String())
}

func letters(all string) []string {
	var out []string
	for _, l := range all {
		out = append(out, map[rune]string{'i': "i32", 'l': "i64"}[l])
	}
	return out
}

// bed runs a guest.
type bed struct {
	t       *testing.T
	f       *compute.Function
	options Options
	origin  func(r *http.Request) (*http.Response, error)
	none    bool // there is no origin
	log     strings.Builder
	usage   compute.Usage
}

func newBed(t *testing.T, module []byte, o Options, limits compute.Limits) *bed {
	t.Helper()
	limits.CPU = max(limits.CPU, time.Minute) // a machine that is busy is no failure
	e := compute.New(compute.Options{})
	f, err := e.Compile(t.Context(), module, compute.Program{ABI: New(o), Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return &bed{t: t, f: f, options: o, origin: echo}
}

// echo answers with what it was sent.
func echo(r *http.Request) (*http.Response, error) {
	body := []byte("none")
	if r.Body != nil {
		var err error
		if body, err = io.ReadAll(r.Body); err != nil {
			return nil, err
		}
	}
	res := &http.Response{
		StatusCode: 203, ContentLength: -1, Header: http.Header{"X-Origin": {r.Header.Get("X-Guest")}, "X-Length": {fmt.Sprint(r.ContentLength)}},
		Trailer: http.Header{"X-End": {"origin"}},
		Body:    io.NopCloser(strings.NewReader(fmt.Sprintf("%s %s%s %s %s", r.Method, r.Host, r.URL.RequestURI(), body, r.Trailer.Get("X-End")))),
	}
	return res, nil
}

// serve sends a request through the guest.
func (b *bed) serve(r *http.Request) (*http.Response, string, error) {
	w := httptest.NewRecorder()
	in := &compute.Invocation{
		W: w, R: r, Client: compute.Client{Address: netip.MustParseAddrPort("192.0.2.7:4711")}, Origin: "web",
		Fetch: func(name string, r *http.Request) (*http.Response, error) {
			if name != "web" {
				b.t.Errorf("asked for the origin %q", name)
			}
			return b.origin(r)
		},
		Log: func(p []byte) { b.log.Write(p) },
	}
	if b.none {
		in.Origin = ""
	}
	err := b.f.Serve(r.Context(), in)
	b.usage = in.Usage
	res := w.Result()
	body, readErr := io.ReadAll(res.Body)
	if readErr != nil {
		b.t.Fatal(readErr)
	}
	return res, string(body), err
}

func post() *http.Request {
	r := httptest.NewRequest("POST", "http://shop.example/a%20b?q=1", strings.NewReader("hello"))
	r.Header.Set("X-One", "1")
	r.Header.Add("X-Two", "a")
	r.Header.Add("X-Two", "b")
	return r
}

// want sends the request twice, the second time to a sandbox that was set back.
func (b *bed) want(status int, body string) *http.Response {
	b.t.Helper()
	var res *http.Response
	for range 2 {
		var got string
		var err error
		if res, got, err = b.serve(post()); err != nil {
			b.t.Fatal(err)
		}
		if res.StatusCode != status || got != body {
			b.t.Errorf("got %d %q, want %d %q", res.StatusCode, got, status, body)
		}
	}
	if !b.usage.Rewound {
		b.t.Error("the sandbox was not set back")
	}
	return res
}
