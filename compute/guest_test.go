package compute

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/tetratelabs/wazero/api"
)

// testABI is a guest interface for tests: a request is a number, and so is the
// answer.
type testABI struct {
	// slow is called by the guest's slow function.
	slow func(ctx context.Context, g *Guest)
	// changed says that what early reads has changed.
	version *int
}

// exchange is a session: what a guest was asked and what it answered.
type exchange struct {
	asked   uint32
	answers []uint32
	opened  bool
}

const i32, i64 = api.ValueTypeI32, api.ValueTypeI64

func (a *testABI) Name() string { return "test" }

func (a *testABI) Begin(_ context.Context, in *Invocation) any {
	e, ok := in.Extra.(*exchange)
	if !ok { // nobody asks: the program is to start
		e = new(exchange)
	}
	e.opened = true
	return e
}

func (a *testABI) End(session any) { session.(*exchange).opened = false }

func (a *testABI) Functions() []HostFunc {
	one := []api.ValueType{i32}
	return []HostFunc{
		{Module: "test", Name: "ask", Results: one, Call: func(_ context.Context, g *Guest, stack []uint64) {
			stack[0] = uint64(g.Session().(*exchange).asked)
		}},
		{Module: "test", Name: "answer", Params: one, Call: func(_ context.Context, g *Guest, stack []uint64) {
			e := g.Session().(*exchange)
			e.answers = append(e.answers, uint32(stack[0]))
		}},
		{Module: "test", Name: "slow", Waits: true, Call: func(ctx context.Context, g *Guest, _ []uint64) { a.slow(ctx, g) }},
		{Module: "test", Name: "work", Call: func(ctx context.Context, g *Guest, _ []uint64) { a.slow(ctx, g) }},
		{Module: "test", Name: "early", Results: one, Early: true, Call: func(_ context.Context, g *Guest, stack []uint64) {
			read := *a.version
			g.Remember(func() bool { return *a.version == read })
			stack[0] = uint64(read)
		}},
		{Module: "test", Name: "panic", Call: func(context.Context, *Guest, []uint64) { panic("a defect of ours") }},
		{Module: "test", Name: "abort", Call: func(_ context.Context, g *Guest, _ []uint64) { g.Abort(errAborted) }},
	}
}

var errAborted = errors.New("aborted by the host")

const testImports = `
	import test ask $ask -> i32
	import test answer $answer i32
	import test slow $slow
	import test work $work
	import test early $early -> i32
	import test panic $panic
	import test abort $abort
	import wasi_snapshot_preview1 proc_exit $exit i32
	import wasi_snapshot_preview1 random_get $random i32,i32 -> i32
	import wasi_snapshot_preview1 environ_sizes_get $sizes i32,i32 -> i32
	import wasi_snapshot_preview1 environ_get $environ i32,i32 -> i32
`

// engines are the drivers of memory.
func newTestEngine(t testing.TB, o Options) *Engine {
	t.Helper()
	return New(o)
}

func compileText(t testing.TB, e *Engine, text string, p Program) *Function {
	t.Helper()
	if p.ABI == nil {
		p.ABI = &testABI{version: new(int)}
	}
	f, err := e.Compile(t.Context(), asm.Assemble(testImports+text), p)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f
}

// ask sends a request, and returns what the guest answered.
func ask(ctx context.Context, f *Function, asked uint32) ([]uint32, *Invocation, error) {
	return askAs(ctx, f, asked, [16]byte{})
}

// askAs is ask with the id of the request.
func askAs(ctx context.Context, f *Function, asked uint32, id [16]byte) ([]uint32, *Invocation, error) {
	e := &exchange{asked: asked}
	in := &Invocation{R: httptest.NewRequest("GET", "/", nil), Extra: e, Client: Client{RequestID: id}}
	err := f.Serve(ctx, in)
	if e.opened {
		err = errors.Join(err, errors.New("the session was not ended"))
	}
	return e.answers, in, err
}

func wantAnswers(t testing.TB, f *Function, asked uint32, want ...uint32) *Invocation {
	t.Helper()
	got, in, err := ask(t.Context(), f, asked)
	if err != nil {
		t.Fatalf("asked %d: %v", asked, err)
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Fatalf("asked %d: got %v, want %v", asked, got, want)
	}
	return in
}

// goGuest builds a program in Go, once for all tests.
func goGuest(t testing.TB, name, source string) []byte {
	t.Helper()
	b, err := buildGuest(name, source)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// keptFolder keeps what the tests compile, so that a Go program is compiled once.
var keptFolder = sync.OnceValue(func() string {
	folder, err := os.MkdirTemp("", "compiled")
	if err != nil {
		panic(err)
	}
	return folder
})

func TestMain(m *testing.M) {
	if compiler := compilers[os.Args[0]]; compiler != nil { // another process of this program, by that name
		os.Exit(compiler(os.Args[len(os.Args)-1]))
	}
	code := m.Run()
	os.RemoveAll(keptFolder())
	os.Exit(code)
}

var (
	guestMu sync.Mutex
	guests  = map[string][]byte{}
)

func buildGuest(name, source string) ([]byte, error) {
	guestMu.Lock()
	defer guestMu.Unlock()
	if b := guests[name]; b != nil {
		return b, nil
	}
	folder, err := os.MkdirTemp("", "guest")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	for file, content := range map[string]string{"main.go": source, "go.mod": "module guest\n\ngo 1.26\n"} {
		if err := os.WriteFile(filepath.Join(folder, file), []byte(content), 0o600); err != nil {
			return nil, err
		}
	}
	c := exec.Command("go", "build", "-o", "guest.wasm", ".")
	c.Dir = folder
	c.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOFLAGS=", "GOWORK=off")
	if out, err := c.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("build guest: %w\n%s", err, out)
	}
	b, err := os.ReadFile(filepath.Join(folder, "guest.wasm"))
	guests[name] = b
	return b, err
}

const goHello = `package main

import "os"

//go:wasmimport test ask
func ask() uint32

//go:wasmimport test answer
func answer(v uint32)

//go:wasmimport test panic
func hostPanic()

var seen = map[uint32]string{}

func main() {
	seen[1<<31] = "start"
	n := ask()
	seen[n] = "asked"
	switch n {
	case 100:
		os.Exit(0)
	case 101:
		os.Exit(3)
	case 102:
		panic("guest panics")
	case 103:
		hostPanic()
	case 104:
		os.Stdout.WriteString("a line\n")
	}
	answer(n + uint32(len(seen)))
}
`

func contains(t testing.TB, got, want string) {
	t.Helper()
	if !strings.Contains(got, want) {
		t.Errorf("got %q, want something with %q", got, want)
	}
}
