package compute_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
)

// BenchmarkGuest is a request to each of the programs in SELVAGE_BENCH_GUESTS,
// which bench/compute sets: name=file, with commas between. Each answers hello
// through the Fastly interface.
func BenchmarkGuest(b *testing.B) {
	for pair := range strings.SplitSeq(os.Getenv("SELVAGE_BENCH_GUESTS"), ",") {
		name, file, ok := strings.Cut(pair, "=")
		if !ok {
			b.Skip("no programs are given")
		}
		module, err := os.ReadFile(file)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(name+"/stock", func(b *testing.B) { stockGuest(b, module) })
		b.Run(name+"/fresh", func(b *testing.B) { ourGuest(b, module, true) })
		b.Run(name+"/rewind", func(b *testing.B) { ourGuest(b, module, false) })
	}
}

// nowhere is a client that reads nothing.
type nowhere struct{ header http.Header }

func (n *nowhere) Header() http.Header       { return n.header }
func (*nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (*nowhere) WriteHeader(int)             {}
func newNowhere() *nowhere                   { return &nowhere{make(http.Header)} }

func ourGuest(b *testing.B, module []byte, fresh bool) {
	e := compute.New(compute.Options{Folder: benchFolder(b)})
	f, err := e.Compile(b.Context(), module, compute.Program{ABI: fastly.New(fastly.Options{}), Fresh: fresh})
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	r := httptest.NewRequest(http.MethodGet, "http://shop.example/", nil)
	ask := func() compute.WasReset {
		was, err := compute.ServeAndLook(b.Context(), f, &compute.Invocation{W: newNowhere(), R: r, Holds: 1 << 16})
		if err != nil {
			b.Fatal(err)
		}
		return was
	}
	for range 40 { // until it is known where requests write
		ask()
	}
	var resets, written []int64
	for range 200 {
		if was := ask(); !fresh {
			resets, written = append(resets, int64(was.Took)), append(written, int64(was.Written))
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := f.Serve(b.Context(), &compute.Invocation{W: newNowhere(), R: r, Holds: 1 << 16}); err != nil {
			b.Fatal(err)
		}
	}
	if !fresh {
		b.ReportMetric(middle(resets), "reset-ns")
		b.ReportMetric(middle(written), "written-pages")
	}
}

// middle is the median.
func middle(values []int64) float64 {
	slices.Sort(values)
	return float64(values[len(values)/2])
}

// benchFolder keeps what is compiled for as long as the process runs.
func benchFolder(b *testing.B) string {
	folder := os.Getenv("SELVAGE_TEST_COMPILED")
	if folder == "" {
		folder = b.TempDir()
	}
	return folder
}

// stockGuest is the engine as it comes: an instance for each request, in which
// a program asks for a request and answers; every other function says that it
// is unsupported.
func stockGuest(b *testing.B, module []byte) {
	ctx := b.Context()
	r := wazero.NewRuntime(ctx)
	defer r.Close(ctx)
	wasi_snapshot_preview1.MustInstantiate(ctx, r)
	compiled, err := r.CompileModule(ctx, module)
	if err != nil {
		b.Fatal(err)
	}
	hosts := map[string]wazero.HostModuleBuilder{}
	for _, f := range compiled.ImportedFunctions() {
		in, name, _ := f.Import()
		if in == wasi_snapshot_preview1.ModuleName {
			continue
		}
		if hosts[in] == nil {
			hosts[in] = r.NewHostModuleBuilder(in)
		}
		hosts[in].NewFunctionBuilder().WithGoModuleFunction(helloHost(in+"."+name), f.ParamTypes(), f.ResultTypes()).Export(name)
	}
	for _, host := range hosts {
		if _, err := host.Instantiate(ctx); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		m, err := r.InstantiateModule(ctx, compiled, wazero.NewModuleConfig().WithName("").WithSysNanotime().WithSysWalltime())
		if m != nil {
			m.Close(ctx)
		}
		_ = err // some programs exit, and some with a code: what they were told is little
	}
}

// helloHost is what a hello needs of a host.
func helloHost(name string) api.GoModuleFunction {
	return api.GoModuleFunc(func(_ context.Context, m api.Module, stack []uint64) {
		status := uint64(0)
		switch name {
		case "fastly_http_req.body_downstream_get":
			m.Memory().WriteUint32Le(uint32(stack[0]), 1)
			m.Memory().WriteUint32Le(uint32(stack[1]), 2)
		case "fastly_http_resp.new", "fastly_http_body.new":
			m.Memory().WriteUint32Le(uint32(stack[0]), 3)
		case "fastly_http_body.write":
			m.Memory().WriteUint32Le(uint32(stack[4]), uint32(stack[2]))
		case "fastly_http_resp.send_downstream", "fastly_http_resp.status_set", "fastly_abi.init":
		default:
			status = uint64(fastly.Unsupported)
		}
		stack[0] = status
	})
}
