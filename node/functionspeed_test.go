package node

import (
	"bytes"
	"net"
	"net/http"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strings"
	"testing"
	"time"
)

// asker asks for the same path again and again over one connection, and
// allocates nothing.
type asker struct {
	tb       testing.TB
	conn     net.Conn
	question []byte
	want     []byte
	buf      []byte
}

func newAsker(tb testing.TB, b *guestBed, path, want string) *asker {
	tb.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(b.url, "http://"))
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { conn.Close() })
	return &asker{tb, conn, []byte("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: asker\r\n\r\n"), []byte(want), make([]byte, 4096)}
}

func (a *asker) ask() {
	if _, err := a.conn.Write(a.question); err != nil {
		a.tb.Fatal(err)
	}
	_ = a.conn.SetReadDeadline(time.Now().Add(time.Minute))
	for n := 0; ; {
		k, err := a.conn.Read(a.buf[n:])
		if n += k; bytes.HasSuffix(a.buf[:n], a.want) {
			return
		}
		if err != nil {
			a.tb.Fatalf("%v after %q", err, a.buf[:n])
		}
	}
}

// BenchmarkFunction is a small function through the whole edge, over one connection.
func BenchmarkFunction(b *testing.B) {
	a := newAsker(b, serveGuests(b, helloService, nil, map[string]string{"hello": good(b, "hello", "x-name")}), "/hello/x", "x-name")
	for range 100 {
		a.ask()
	}
	b.ReportAllocs()
	for b.Loop() {
		a.ask()
	}
}

// BenchmarkFunctionAlone is the same without a network.
func BenchmarkFunctionAlone(b *testing.B) {
	debug.SetGCPercent(800) // as TuneCollector has it for so small a heap
	defer debug.SetGCPercent(100)
	bed := serveGuests(b, helloService, nil, map[string]string{"hello": good(b, "hello", "x-name")})
	bed.node.registry.sinks = bed.node.registry.sinks[:len(bed.node.registry.sinks)-1] // that of tests keeps all
	b.ReportAllocs()
	answering(b, http.HandlerFunc(bed.node.serveCounted), "/hello/x", b.Loop)
}

// What a request to a small function may allocate, from the socket and back.
const functionAllocs = 28

func TestARequestToAFunctionAllocatesLittleAndStartsNoGoroutine(t *testing.T) {
	a := newAsker(t, serveGuests(t, helloService, nil, map[string]string{"hello": good(t, "hello", "x-name")}), "/hello/x", "x-name")
	for range 100 {
		a.ask()
	}
	const requests = 2000
	var before, after runtime.MemStats
	goroutines := func() uint64 {
		s := []metrics.Sample{{Name: "/sched/goroutines-created:goroutines"}}
		metrics.Read(s)
		return s[0].Value.Uint64()
	}
	started := goroutines()
	runtime.ReadMemStats(&before)
	for range requests {
		a.ask()
	}
	runtime.ReadMemStats(&after)
	if got := goroutines() - started; got > requests/10 {
		t.Errorf("%d goroutines were started for %d requests", got, requests)
	}
	if got := float64(after.Mallocs-before.Mallocs) / requests; got > functionAllocs {
		t.Errorf("a request allocates %.1f times, %d are allowed", got, functionAllocs)
	}
}
