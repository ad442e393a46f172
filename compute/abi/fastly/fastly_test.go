package fastly

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

// program64k is a program of 64 KiB of memory, whose host functions the test calls itself.
type program64k struct {
	memory  []byte
	fetches int
	header  int
	logs    []string
	hit     []compute.LimitName
	waiting int // within Wait
}

func (p *program64k) Bytes(at, length uint32) ([]byte, bool) {
	if length == 0 {
		return nil, true
	}
	end := uint64(at) + uint64(length)
	if end > uint64(len(p.memory)) {
		return nil, false
	}
	return p.memory[at:end], true
}

func (p *program64k) Size() uint32 { return uint32(len(p.memory)) }

func (p *program64k) CountFetch() error {
	if p.fetches++; p.fetches > 32 {
		return &compute.LimitError{Name: compute.LimitOriginRequests}
	}
	return nil
}

func (p *program64k) Hit(name compute.LimitName) { p.hit = append(p.hit, name) }

func (p *program64k) HeaderBytes(n int) bool { p.header += n; return p.header <= 64<<10 }

func (p *program64k) Log(w io.Writer, b []byte) {
	if w != nil {
		_, _ = w.Write(b)
	}
	p.logs = append(p.logs, string(b))
}

func (p *program64k) Turn(_, ctx context.Context, _ *compute.Invocation) context.Context { return ctx }

func (p *program64k) Wait(f func()) {
	p.waiting++
	f()
	p.waiting--
}

func (p *program64k) Check() {}

func (p *program64k) CPU() time.Duration { return 1500 * time.Millisecond }

// bench is a request in which a test plays the guest. Texts are put into
// memory from 1,024 on; results are read from 0 on; buffers are at 32,768.
type bench struct {
	t    *testing.T
	x    *exchange
	p    *program64k
	w    *httptest.ResponseRecorder
	next uint32
}

const buffer, bufferSize = 32768, 4096

func newBench(t *testing.T, o Options, r *http.Request, fetch func(string, *http.Request) (*http.Response, error)) *bench {
	t.Helper()
	if r == nil {
		r = httptest.NewRequest("GET", "http://shop.example/a?b=c", nil)
	}
	w := httptest.NewRecorder()
	in := &compute.Invocation{W: w, R: r, Fetch: fetch}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	x := New(o).Begin(ctx, in).(*exchange)
	return &bench{t: t, x: x, p: &program64k{memory: make([]byte, 64<<10)}, w: w, next: 1024}
}

// known is the table by name.
var known = sync.OnceValue(func() map[string]Function {
	out := map[string]Function{}
	for _, f := range Table() {
		out[f.Module+"."+f.Name] = f
	}
	return out
})

// text puts a text into memory; its address and its length are two parameters.
type text string

// call calls a function as a guest does.
func (b *bench) call(name string, args ...any) Status {
	b.t.Helper()
	module, name, _ := strings.Cut(name, ".")
	f, ok := known()["fastly_"+module+"."+name]
	if !ok {
		b.t.Fatalf("there is no function %s.%s", module, name)
	}
	var flat []uint64
	for _, a := range args {
		switch v := a.(type) {
		case int:
			flat = append(flat, uint64(uint32(v)))
		case uint32:
			flat = append(flat, uint64(v))
		case uint64:
			flat = append(flat, v)
		case text:
			if int(b.next)+len(v) > buffer {
				b.next = 1024
			}
			copy(b.p.memory[b.next:], v)
			flat = append(flat, uint64(b.next), uint64(len(v)))
			b.next += uint32(len(v)) + 8
		default:
			b.t.Fatalf("a parameter of type %T", a)
		}
	}
	if len(flat) != len(f.Params) {
		b.t.Fatalf("%s.%s has %d parameters, the test gives %d", module, name, len(f.Params), len(flat))
	}
	return b.x.run(b.x.context(), b.p, f.call, flat)
}

// must calls a function that has to work.
func (b *bench) must(name string, args ...any) {
	b.t.Helper()
	if got := b.call(name, args...); got != OK {
		b.t.Fatalf("%s: %v", name, got)
	}
}

// refused calls a function that must answer with a status.
func (b *bench) refused(want Status, name string, args ...any) {
	b.t.Helper()
	if got := b.call(name, args...); got != want {
		b.t.Errorf("%s: got %v, want %v", name, got, want)
	}
}

func (b *bench) u32(at int) uint32 { return binary.LittleEndian.Uint32(b.p.memory[at:]) }
func (b *bench) u64(at int) uint64 { return binary.LittleEndian.Uint64(b.p.memory[at:]) }

func (b *bench) put32(at int, v uint32) { binary.LittleEndian.PutUint32(b.p.memory[at:], v) }
func (b *bench) put64(at int, v uint64) { binary.LittleEndian.PutUint64(b.p.memory[at:], v) }

// got is what was written into the buffer, whose length is at 0.
func (b *bench) got() string { return string(b.p.memory[buffer : buffer+b.u32(0)]) }

// read reads a body to its end.
func (b *bench) read(h uint32) string {
	b.t.Helper()
	var out strings.Builder
	for {
		b.must("http_body.read", h, buffer, bufferSize, 0)
		if b.u32(0) == 0 {
			return out.String()
		}
		out.WriteString(b.got())
	}
}

// end ends the request.
func (b *bench) end() { (&ABI{}).End(b.x) }

// fetched is an origin that answers with a text.
func fetched(status int, body string, fields ...string) func(string, *http.Request) (*http.Response, error) {
	return func(_ string, r *http.Request) (*http.Response, error) {
		if r.Body != nil {
			_, _ = io.Copy(io.Discard, r.Body)
			_ = r.Body.Close()
		}
		h := http.Header{}
		for i := 0; i < len(fields); i += 2 {
			h.Add(fields[i], fields[i+1])
		}
		return &http.Response{
			StatusCode: status, ProtoMajor: 1, ProtoMinor: 1, Header: h, ContentLength: int64(len(body)),
			Body: io.NopCloser(strings.NewReader(body)), Request: r,
		}, nil
	}
}

var errTest = errors.New("the test said no")

func TestTheTableHasWhatBothLibrariesImport(t *testing.T) {
	data, err := os.ReadFile("testdata/union.txt")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	if len(lines) != 198 {
		t.Errorf("the list has %d functions, want 198", len(lines))
	}
	for _, line := range lines {
		f := strings.Fields(line)
		is, ok := Known(f[0], f[1])
		if !ok {
			t.Errorf("%s.%s is not in the table", f[0], f[1])
		} else if is.Params != f[2] {
			t.Errorf("%s.%s has the parameters %q, want %q", f[0], f[1], is.Params, f[2])
		}
	}
}

func TestTheTableNamesAFunctionOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range Table() {
		name := f.Module + "." + f.Name
		if seen[name] {
			t.Errorf("%s is there twice", name)
		}
		seen[name] = true
		if f.call == nil || f.Support == "" || (f.Support == Works) != (f.Note == "") {
			t.Errorf("%s: support %q, note %q", name, f.Support, f.Note)
		}
	}
	if len(seen) != 251 {
		t.Errorf("the table has %d functions, want the interface's 251", len(seen))
	}
}

func TestUnknownFunctionsAreNamed(t *testing.T) {
	got := Lacking([]string{"fastly_http_req.new", "fastly_new.thing", "wasi_snapshot_preview1.fd_write", "fastly_image_optimizer.transform_image_optimizer_request"})
	if want := []string{"fastly_new.thing", "fastly_image_optimizer.transform_image_optimizer_request"}; strings.Join(got, " ") != strings.Join(want, " ") {
		t.Errorf("got %v, want %v", got, want)
	}
	if result, ok := New(Options{}).Stub("fastly_new", "thing"); !ok || Status(result) != Unsupported {
		t.Errorf("the stub answers %d, %v", result, ok)
	}
	if _, ok := New(Options{}).Stub("env", "thing"); ok {
		t.Error("a function of somebody else's has a stub")
	}
}

func BenchmarkAHello(b *testing.B) {
	r := httptest.NewRequest("GET", "http://shop.example/a?b=c", nil)
	p := &program64k{memory: make([]byte, 64<<10)}
	copy(p.memory[1024:], "hello")
	a := New(Options{})
	var calls []func(*call) Status
	var args [][]uint64
	add := func(name string, params ...uint64) {
		calls, args = append(calls, known()["fastly_"+name].call), append(args, params)
	}
	add("http_req.body_downstream_get", 0, 4)
	add("http_req.method_get", 1, buffer, bufferSize, 8)
	add("http_req.uri_get", 1, buffer, bufferSize, 8)
	add("http_req.header_names_get", 1, buffer, bufferSize, 0, 8, 16)
	add("http_resp.new", 0)
	add("http_resp.status_set", 3, 200)
	add("http_body.new", 0)
	add("http_body.write", 4, 1024, 5, 0, 8)
	add("http_resp.send_downstream", 3, 4, 0)
	b.ReportAllocs()
	for b.Loop() {
		p.header = 0
		x := a.Begin(b.Context(), &compute.Invocation{W: &nowhere{}, R: r}).(*exchange)
		for i, do := range calls {
			if status := x.run(b.Context(), p, do, args[i]); status != OK {
				b.Fatalf("call %d: %v", i, status)
			}
		}
		a.End(x)
	}
}

// nowhere is a client that is not there.
type nowhere struct{ h http.Header }

func (w *nowhere) Header() http.Header {
	if w.h == nil {
		w.h = http.Header{}
	}
	return w.h
}

func (w *nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (w *nowhere) WriteHeader(int)             {}
