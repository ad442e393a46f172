package node

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/record"
)

// asking is a connection on which the same request comes as often as the benchmark
// wants; what is answered is counted and dropped.
type asking struct {
	more    func() bool
	request []byte
	rest    []byte // of the one that is read
	written int
	asked   int
}

func (a *asking) Read(p []byte) (int, error) {
	if len(a.rest) == 0 {
		if !a.more() {
			return 0, io.EOF
		}
		a.asked++
		a.rest = a.request
	}
	n := copy(p, a.rest)
	a.rest = a.rest[n:]
	return n, nil
}

func (a *asking) Write(p []byte) (int, error) {
	a.written += len(p)
	return len(p), nil
}

func (*asking) Close() error                     { return nil }
func (*asking) LocalAddr() net.Addr              { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }
func (*asking) RemoteAddr() net.Addr             { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1000} }
func (*asking) SetDeadline(time.Time) error      { return nil }
func (*asking) SetReadDeadline(time.Time) error  { return nil }
func (*asking) SetWriteDeadline(time.Time) error { return nil }

const answersService = `
service: shop
hosts: [shop.example]
origins: {web: {endpoints: [http://one]}}
routes:
  - {match: {path: /old}, redirect: {to: /new}}
  - {match: {path: /*}, origin: web, cache: {ttl: 1h}}
`

// storedPage is what an origin answers in the benchmarks: nine fields and 1 KiB.
func storedPage(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	for name, value := range map[string]string{
		"Content-Type": "text/html; charset=utf-8", "Etag": `"5f2a"`, "Last-Modified": "Sat, 21 Nov 2026 06:00:00 GMT",
		"Cache-Control": "max-age=86400", "Server": "shop", "Vary": "Accept-Encoding", "X-A": "1", "Content-Length": "1024",
	} {
		h.Set(name, value)
	}
	_, _ = io.WriteString(w, strings.Repeat("x", 1024))
}

// cannedPage is the same without an edge: what the server takes for itself.
func cannedPage() http.HandlerFunc {
	body := []byte(strings.Repeat("x", 1024))
	values := []string{"text/html; charset=utf-8", `"5f2a"`, "Sat, 21 Nov 2026 06:00:00 GMT", "max-age=86400", "shop", "Accept-Encoding", "1", strconv.Itoa(len(body))}
	names := []string{"Content-Type", "Etag", "Last-Modified", "Cache-Control", "Server", "Vary", "X-A", "Content-Length"}
	return func(w http.ResponseWriter, _ *http.Request) {
		h := w.Header()
		for i, name := range names {
			h[name] = values[i : i+1 : i+1]
		}
		_, _ = w.Write(body)
	}
}

// withShop gives test a node with the service above, before an origin that answers with storedPage.
func withShop(t testing.TB, test func(*Node)) {
	network := new(edgetest.Network)
	l, err := network.Listen("tcp", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	network.SetHost("one", netip.MustParseAddr("10.0.0.1"))
	origin := &http.Server{Handler: http.HandlerFunc(storedPage)}
	var wg sync.WaitGroup
	wg.Go(func() { _ = origin.Serve(l) })
	s, err := config.ParseService("shop.yaml", []byte(answersService))
	if err != nil {
		t.Fatal(err)
	}
	conf := config.DefaultNode()
	conf.Listen, conf.AccessLog = nil, "off"
	n, err := New(Options{
		Config: selvage.Config{Node: conf, Services: []selvage.Service{s}},
		Listen: network.Listen, Dial: network.Dial, Resolve: network.Resolve,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	wg.Go(func() { _ = n.Run(ctx) })
	test(n)
	stop()
	origin.Close()
	wg.Wait()
}

// answering is a server that answers the same request again and again on one connection.
func answering(t testing.TB, handler http.Handler, path string, more func() bool) *asking {
	server := &http1.Server{Handler: handler}
	c := &asking{request: []byte("GET " + path + " HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n"), more: more}
	info := http1.ConnInfo{Peer: netip.MustParseAddrPort("127.0.0.1:1000"), Local: netip.MustParseAddrPort("127.0.0.1:80")}
	server.ServeConn(t.Context(), c, info, nil)
	return c
}

// stored asks for a page until it is a hit.
func stored(t testing.TB, n *Node, path string) {
	for range 1000 {
		hit := false
		once := true
		answering(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			n.ServeHTTP(w, r)
			hit = record.From(r.Context()).Cache.Hit
		}), path, func() bool { defer func() { once = false }(); return once })
		if hit {
			return
		}
		time.Sleep(10 * time.Millisecond) // what was fetched is stored behind the answer
	}
	t.Fatal("the page is not stored")
}

// BenchmarkAnswer is a request through the server's HTTP/1.1 and the node, without a
// network: a page that a handler has, a redirect of a route, and a hit.
func BenchmarkAnswer(b *testing.B) {
	debug.SetGCPercent(800) // as TuneCollector has it for so small a heap
	defer debug.SetGCPercent(100)
	withShop(b, func(n *Node) {
		stored(b, n, "/page")
		for _, bc := range []struct {
			name, path string
			handler    http.Handler
		}{
			{"page of a handler", "/page", cannedPage()},
			{"redirect of a route", "/old", http.HandlerFunc(n.serveCounted)},
			{"hit", "/page", http.HandlerFunc(n.serveCounted)},
		} {
			b.Run(bc.name, func(b *testing.B) {
				b.ReportAllocs()
				c := answering(b, bc.handler, bc.path, b.Loop)
				b.ReportMetric(float64(c.written)/float64(c.asked), "B_sent/op")
			})
		}
	})
}

// answerCost is how many allocations a request takes.
func answerCost(t *testing.T, handler http.Handler, path string) float64 {
	const warm, many = 100, 2000
	asked := 0
	var before, after runtime.MemStats
	answering(t, handler, path, func() bool {
		switch asked++; asked {
		case warm:
			runtime.ReadMemStats(&before)
		case warm + many:
			runtime.ReadMemStats(&after)
			return false
		}
		return true
	})
	return float64(after.Mallocs-before.Mallocs) / many
}
