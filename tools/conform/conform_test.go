// Package conform runs public conformance suites against the real binary.
//
// Look at start first: it builds selvage and puts it in front of an origin.
//
// It promises that the suites are the published ones at the versions of
// tools/go.mod. It refuses to skip a case: what fails is counted against a
// number that doc/rationale.md explains.
package conform

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/interop"
	testgrpc "google.golang.org/grpc/interop/grpc_testing"
)

// edge is a running binary with a listener without TLS and one with it.
type edge struct{ plain, tls string }

// start builds the binary, once for each test, and runs it in front of an origin.
func start(t *testing.T, origin, protocol string) edge {
	t.Helper()
	return startService(t, fmt.Sprintf(`
service: conform
hosts: ["*"]
origins: {web: {endpoints: [%q], protocol: %s}}
routes: [{match: {path: /*}, origin: web}]
`, "http://"+origin, protocol))
}

// startService is start with a service file of the test's own.
func startService(t *testing.T, service string) edge {
	t.Helper()
	dir := t.TempDir()
	binary := filepath.Join(dir, "selvage")
	build := exec.Command("go", "build", "-o", binary, "./cmd/selvage")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	e := edge{freeAddress(t), freeAddress(t)}
	write(t, dir, "node.yaml", fmt.Sprintf(`
name: conform
listen: [{address: %q}, {address: %q, tls: true}]
admin: {address: "off"}
data: %s
access_log: "off"
tls: {development: true}
`, e.plain, e.tls, filepath.Join(dir, "data")))
	write(t, dir, "service.yaml", service)
	cmd := exec.Command(binary, "run", "-c", filepath.Join(dir, "node.yaml"), filepath.Join(dir, "service.yaml"))
	cmd.Stdout, cmd.Stderr = os.Stderr, os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		if err := cmd.Wait(); err != nil {
			t.Errorf("selvage: %v", err)
		}
	})
	for range 500 {
		if c, err := net.Dial("tcp", e.tls); err == nil {
			c.Close()
			return e
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("selvage does not answer")
	return e
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

var h2specSummary = regexp.MustCompile(`(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed`)

// h2specWanted is how many of h2spec's 146 cases must pass; doc/rationale.md
// says which do not, and why.
const h2specWanted = 142

func TestH2spec(t *testing.T) {
	origin := httpOrigin(t)
	e := start(t, origin, "http1")
	for name, args := range map[string][]string{
		"without TLS": {address(t, e.plain)[0], address(t, e.plain)[1]},
		"with TLS":    append(address(t, e.tls), "-t", "-k"),
	} {
		t.Run(name, func(t *testing.T) {
			// Its cases wait for a few seconds at the most, which a busy machine may
			// not give them: a second run decides.
			passed, out := h2spec(t, args)
			if passed < h2specWanted {
				passed, out = h2spec(t, args)
			}
			if passed < h2specWanted {
				t.Errorf("%d passed, want %d", passed, h2specWanted)
			}
			t.Log(failures(out))
		})
	}
}

// h2spec runs the strict cases and returns how many passed, and what it printed.
func h2spec(t *testing.T, args []string) (passed int, printed string) {
	t.Helper()
	cmd := exec.Command("go", append([]string{"tool", "h2spec", "-S", "-P", "/", "-o", "8"}, args...)...)
	cmd.Dir = ".."
	out, err := cmd.CombinedOutput() // its exit status is 1 if a case failed: the numbers decide
	m := h2specSummary.FindSubmatch(out)
	if m == nil {
		t.Fatalf("h2spec said nothing of use: %v\n%s", err, out)
	}
	t.Logf("h2spec: %s", m[0])
	if passed, err = strconv.Atoi(string(m[2])); err != nil {
		t.Fatal(err)
	}
	return passed, string(out)
}

// failures is what h2spec prints behind its list.
func failures(out string) string {
	_, after, _ := strings.Cut(out, "Failures:")
	return after
}

func address(t *testing.T, hostport string) []string {
	t.Helper()
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"-h" + host, "-p" + port}
}

// httpOrigin answers everything with a page that is long enough for the cases
// on windows.
func httpOrigin(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, strings.Repeat("selvage ", 1024))
	})}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return l.Addr().String()
}

// TestGRPCInterop runs the 14 cases of the gRPC interop client that need no
// credentials, through the edge to the published test server. A case that
// fails ends the process with its reason.
func TestGRPCInterop(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	srv := grpc.NewServer()
	testgrpc.RegisterTestServiceServer(srv, interop.NewTestServer())
	go srv.Serve(l)
	t.Cleanup(srv.Stop)
	e := start(t, l.Addr().String(), "h2c")
	conn, err := grpc.NewClient(e.plain, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := testgrpc.NewTestServiceClient(conn)
	passed := 0
	for _, c := range []struct {
		name string
		run  func(context.Context)
	}{
		{"empty_unary", func(ctx context.Context) { interop.DoEmptyUnaryCall(ctx, client) }},
		{"large_unary", func(ctx context.Context) { interop.DoLargeUnaryCall(ctx, client) }},
		{"client_streaming", func(ctx context.Context) { interop.DoClientStreaming(ctx, client) }},
		{"server_streaming", func(ctx context.Context) { interop.DoServerStreaming(ctx, client) }},
		{"ping_pong", func(ctx context.Context) { interop.DoPingPong(ctx, client) }},
		{"empty_stream", func(ctx context.Context) { interop.DoEmptyStream(ctx, client) }},
		{"timeout_on_sleeping_server", func(ctx context.Context) { interop.DoTimeoutOnSleepingServer(ctx, client) }},
		{"cancel_after_begin", func(ctx context.Context) { interop.DoCancelAfterBegin(ctx, client) }},
		{"cancel_after_first_response", func(ctx context.Context) { interop.DoCancelAfterFirstResponse(ctx, client) }},
		{"status_code_and_message", func(ctx context.Context) { interop.DoStatusCodeAndMessage(ctx, client) }},
		{"special_status_message", func(ctx context.Context) { interop.DoSpecialStatusMessage(ctx, client) }},
		{"custom_metadata", func(ctx context.Context) { interop.DoCustomMetadata(ctx, client) }},
		{"unimplemented_method", func(ctx context.Context) { interop.DoUnimplementedMethod(ctx, conn) }},
		{"unimplemented_service", func(ctx context.Context) {
			interop.DoUnimplementedService(ctx, testgrpc.NewUnimplementedServiceClient(conn))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			c.run(ctx)
			passed++
		})
	}
	if passed != 14 {
		t.Errorf("%d of 14 passed", passed)
	}
}
