package fastly

import (
	"context"
	"crypto/md5"
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
	"time"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
)

// run compiles a program and returns what it answers to requests.
func run(t *testing.T, module []byte, o Options, fetch func(string, *http.Request) (*http.Response, error)) func(*http.Request) *httptest.ResponseRecorder {
	t.Helper()
	e := compute.New(compute.Options{Folder: os.Getenv("SELVAGE_TEST_COMPILED")})
	f, err := e.Compile(t.Context(), module, compute.Program{ABI: New(o), Env: Facts{ServiceID: "service-1"}.Env(), TraceVariable: TraceVariable, Limits: compute.Limits{CPU: 20 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return func(r *http.Request) *httptest.ResponseRecorder {
		t.Helper()
		w := httptest.NewRecorder()
		in := &compute.Invocation{W: w, R: r, Client: compute.Client{Address: netip.MustParseAddrPort("192.0.2.1:99"), RequestID: md5.Sum([]byte(r.RequestURI))}, Fetch: fetch, Log: func(p []byte) { t.Logf("guest: %s", p) }}
		if err := f.Serve(r.Context(), in); err != nil {
			t.Errorf("serve: %v", err)
		}
		return w
	}
}

// services are what the programs of these tests find.
func services(lines *[]string) Options {
	kv := &MemoryKV{}
	return Options{
		Configs: func(name string) (Values, bool) { return Map{"greeting": "good day"}, name == "conf" },
		Secrets: func(name string) (Values, bool) { return Map{"token": "s3cret"}, name == "secrets" },
		KV:      func(name string) (KV, bool) { return kv, name == "kv" },
		Geo:     func(netip.Addr) (Place, bool) { return Place{City: "Bern"}, true },
		Log: func(_ context.Context, endpoint string, line []byte) {
			*lines = append(*lines, endpoint+": "+string(line))
		},
		Objects:   &Objects{},
		HTTPCache: true,
		Rates:     &Rates{},
	}
}

// origin answers with the path, or with what was sent.
func origin(name string, r *http.Request) (*http.Response, error) {
	body := name + " " + r.URL.Path
	if r.Body != nil {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		body = string(data)
	}
	return fetched(200, body, "X-Origin", "yes")(name, r)
}

func TestGoProgramsRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "guest.wasm")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", file, "./testdata/guest")
	build.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	module, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	serve := run(t, module, services(&lines), origin)
	for n := range 10 { // its sandbox has been set back by then, or another has started
		path := fmt.Sprintf("/%d/trace", n)
		id := fmt.Sprintf("%x", md5.Sum([]byte("http://shop.example"+path)))
		if w := serve(httptest.NewRequest("POST", "http://shop.example"+path, nil)); w.Body.String() != id+" "+id {
			t.Errorf("the trace is %q, want %s twice", w.Body, id)
		}
	}
	for range 2 { // the second time it is set back
		for _, c := range []struct{ path, body, want string }{
			{"/hello", "", "hello from service-1"}, {"/through", "", "api /thing"}, {"/up", strings.Repeat("x", 200_000), "<" + strings.Repeat("x", 200_000) + ">"},
			{"/stream", "", "chunk 0\nchunk 1\nchunk 2\nchunk 3\nchunk 4\n"}, {"/stores", "", "good day kept"}, {"/new", "", "status 5"},
		} {
			w := serve(httptest.NewRequest("POST", "http://shop.example"+c.path, strings.NewReader(c.body)))
			if w.Code != 200 || w.Body.String() != c.want {
				t.Errorf("%s: got %d %.200q, want %.100q", c.path, w.Code, w.Body, c.want)
			}
			if c.path != "/through" && w.Header().Get("X-Guest") != "go" {
				t.Errorf("%s: the fields are %v", c.path, w.Header())
			}
		}
	}
}

// A program that imports all that Fastly's libraries for Go and JavaScript do is
// linked and runs: the engine compares each import's parameters with ours.
func TestAProgramWithTheImportsOfBothLibrariesStarts(t *testing.T) {
	list, err := os.ReadFile("testdata/union.txt")
	if err != nil {
		t.Fatal(err)
	}
	var imports strings.Builder
	n, at := 0, map[string]int{}
	for line := range strings.Lines(string(list)) {
		f := strings.Fields(line)
		at[f[0]+"."+f[1]] = n
		params := strings.NewReplacer("i", "i32,", "l", "i64,").Replace(f[2])
		fmt.Fprintf(&imports, "import %s %s $f%d %s -> i32\n", f[0], f[1], n, strings.TrimSuffix(params, ","))
		n++
	}
	module := asm.Assemble(imports.String() + fmt.Sprintf(`memory 1 1
func $_start export=_start
i32.const 0 / i32.const 4 / call $f%d / drop
i32.const 8 / call $f%d / drop
i32.const 12 / call $f%d / drop
i32.const 8 / i32.load / i32.const 12 / i32.load / i32.const 0 / call $f%d / drop
endfunc
`, at["fastly_http_req.body_downstream_get"], at["fastly_http_resp.new"], at["fastly_http_body.new"], at["fastly_http_resp.send_downstream"]))
	serve := run(t, module, everything(), origin)
	for range 2 {
		if w := serve(httptest.NewRequest("GET", "http://shop.example/", nil)); w.Code != 200 {
			t.Errorf("got %d of a program with %d imports", w.Code, n)
		}
	}
}

// TestAProgramCallsEverythingWildly calls every function of the interface from
// a program, with parameters that are wrong.
func TestAProgramCallsEverythingWildly(t *testing.T) {
	var imports, calls strings.Builder
	for i, f := range Table() {
		types := map[rune]string{'i': "i32", 'l': "i64"}
		var params []string
		for _, p := range f.Params {
			params = append(params, types[p])
		}
		fmt.Fprintf(&imports, "import %s %s $f%d %s -> i32\n", f.Module, f.Name, i, strings.Join(params, ","))
		for _, v := range wild[i%2:][:len(wild)/2] {
			for _, p := range f.Params {
				if p == 'i' {
					fmt.Fprintf(&calls, "i32.const %d\n", int32(uint32(v)))
				} else {
					fmt.Fprintf(&calls, "i64.const %d\n", int64(v))
				}
			}
			fmt.Fprintf(&calls, "call $f%d / local.get 0 / i32.or / local.set 0\n", i)
		}
	}
	// Every status is at most 14, so all of them together are less than 16.
	module := asm.Assemble(imports.String() + "memory 1 1\nfunc $_start export=_start locals=i32\n" + calls.String() +
		"local.get 0 / i32.const 16 / i32.ge_u\nif\nunreachable\nend\nendfunc\n")
	serve := run(t, module, everything(), origin)
	for range 3 {
		serve(httptest.NewRequest("POST", "http://shop.example/", strings.NewReader("body")))
	}
}

// What is written to the front of a body moves what is there, and its length is the sum of what is there: a program
// that asks for that again and again looks at the clock as often as one that computes.
func TestABodyOfManyPartsIsPaidFor(t *testing.T) {
	const writes = 2000
	module := asm.Assemble(fmt.Sprintf(`import fastly_http_body new $new i32 -> i32
import fastly_http_body write $write i32,i32,i32,i32,i32 -> i32
import fastly_http_body known_length $length i32,i32 -> i32
memory 1 1
func $_start export=_start locals=i32
	i32.const 0 / call $new / drop
	loop
		i32.const 0 / i32.load / i32.const 64 / i32.const 1 / i32.const 1 / i32.const 8 / call $write / drop
		i32.const 0 / i32.load / i32.const 16 / call $length / drop
		local.get 0 / i32.const 1 / i32.add / local.tee 0 / i32.const %d / i32.lt_u
		br_if 0
	end
endfunc
`, writes))
	e := compute.New(compute.Options{})
	f, err := e.Compile(t.Context(), module, compute.Program{ABI: New(Options{}), Limits: compute.Limits{CPU: 20 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	in := &compute.Invocation{W: httptest.NewRecorder(), R: httptest.NewRequest("GET", "/", nil)}
	if err := f.Serve(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	// Half of them are there each time, on the average, of which an instruction moves eight bytes.
	each := int64(writes * writes / 2 * partSize / bytesAnInstruction / 50_000)
	if least := each + each/2; in.Usage.Ticks < least {
		t.Errorf("%d writes to the front and questions for the length were %d ticks, want %d at least", writes, in.Usage.Ticks, least)
	}
}
