package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/node"
)

// The paths of what is asked for on one listener.
const (
	cannedPath = "/canned" // a page that a handler of the server has
	routePath  = "/moved"  // what a route of the node answers by itself
	hitPath    = "/page"
)

// kinds are what is compared, the one first that the others are compared with.
var kinds = [...]struct{ path, name string }{
	{cannedPath, "canned page of a handler of the server, past the node"},
	{routePath, "canned answer of a route (a redirect)"},
	{hitPath, "hit of 1 KiB"},
}

// page has the fields and the body of all that is compared but the redirect.
func page(w http.ResponseWriter, _ *http.Request) {
	h := w.Header()
	h["Content-Type"], h["Etag"] = []string{"text/html; charset=utf-8"}, []string{`"5f2a"`}
	h["Last-Modified"], h["Cache-Control"] = []string{"Sat, 21 Nov 2026 06:00:00 GMT"}, []string{"max-age=86400"}
	h["Server"], h["Content-Length"] = []string{"shop"}, []string{"1024"}
	_, _ = w.Write(pageBody) // the client is ours
}

var pageBody = []byte(strings.Repeat("x", 1<<10))

const cannedService = `
service: shop
hosts: [shop.example]
origins: {web: {endpoints: [ORIGIN]}}
routes:
  - {match: {path: /moved}, redirect: {to: /new}}
  - {match: {path: /*}, origin: web, cache: {ttl: 1h}}
`

// canned writes what a hit costs more than a canned answer of the same listener, on the
// same connection: they are asked for in turn, so that a noisy machine is noisy for all.
func canned(w io.Writer, rounds int) error {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	origin, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer origin.Close()
	go func() { _ = http.Serve(origin, http.HandlerFunc(page)) }() // ends with its listener
	s, err := config.ParseService("shop.yaml", []byte(strings.Replace(cannedService, "ORIGIN", "http://"+origin.Addr().String(), 1)))
	if err != nil {
		return err
	}
	conf := config.DefaultNode()
	conf.Listen, conf.AccessLog = nil, "off"
	n, err := node.New(node.Options{Config: selvage.Config{Node: conf, Services: []selvage.Service{s}}})
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	wg.Go(func() { _ = n.Run(ctx) })
	defer wg.Wait()
	defer stop() // before that
	client, err := connect(ctx, n)
	if err != nil {
		return err
	}
	defer client.Close()
	return compare(w, client, rounds)
}

// connect serves one connection, with the node behind the page that a handler has.
func connect(ctx context.Context, n *node.Node) (net.Conn, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer l.Close()
	server := &http1.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == cannedPath {
			page(w, r)
			return
		}
		n.ServeHTTP(w, r)
	})}
	go func() { // ends with its connection
		if c, err := l.Accept(); err == nil {
			local := netip.MustParseAddrPort(l.Addr().String())
			server.ServeConn(ctx, c, http1.ConnInfo{Peer: netip.MustParseAddrPort(c.RemoteAddr().String()), Local: local}, nil)
		}
	}()
	return new(net.Dialer).DialContext(ctx, "tcp", l.Addr().String())
}

// asker asks on one connection, and knows how long the body of each kind of answer is.
type asker struct {
	conn     net.Conn
	requests [len(kinds)][]byte
	bodies   [len(kinds)]int
	buf      []byte
}

func newAsker(conn net.Conn) (*asker, error) {
	a := &asker{conn: conn, buf: make([]byte, 16<<10)}
	for i, k := range kinds {
		a.requests[i] = []byte("GET " + k.path + " HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: bench\r\nAccept: */*\r\nAccept-Encoding: gzip\r\n\r\n")
		for tries := 0; ; tries++ {
			if _, err := conn.Write(a.requests[i]); err != nil {
				return nil, err
			}
			res, err := http.ReadResponse(bufio.NewReaderSize(conn, 16<<10), nil)
			if err != nil {
				return nil, err
			}
			n, err := io.Copy(io.Discard, res.Body)
			if err = errors.Join(err, res.Body.Close()); err != nil {
				return nil, err
			}
			a.bodies[i] = int(n)
			if k.path != hitPath || strings.Contains(res.Header.Get("Cache-Status"), "; hit") {
				break
			}
			if tries == 100 {
				return nil, errors.New("the page is not stored: " + res.Header.Get("Cache-Status"))
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return a, nil
}

// ask has one answer and says how long it took.
func (a *asker) ask(kind int) (time.Duration, error) {
	from := time.Now()
	if _, err := a.conn.Write(a.requests[kind]); err != nil {
		return 0, err
	}
	for n := 0; ; {
		m, err := a.conn.Read(a.buf[n:])
		if err != nil {
			return 0, err
		}
		n += m
		if head := bytes.Index(a.buf[:n], []byte("\r\n\r\n")); head >= 0 && n >= head+4+a.bodies[kind] {
			return time.Since(from), nil
		}
	}
}

// compare asks in blocks that take turns, and writes medians.
func compare(w io.Writer, conn net.Conn, rounds int) error {
	a, err := newAsker(conn)
	if err != nil {
		return err
	}
	const block = 500
	var times, cpu [len(kinds)][]float64
	for range rounds {
		for i := range kinds {
			before := processorTime()
			for range block {
				took, err := a.ask(i)
				if err != nil {
					return err
				}
				times[i] = append(times[i], float64(took.Nanoseconds())/1e3)
			}
			cpu[i] = append(cpu[i], float64((processorTime()-before).Nanoseconds())/1e3/block)
		}
	}
	fmt.Fprintf(w, "## A hit beside a canned answer\n\nOne connection over loopback, client and server in this process; %d blocks of %d requests of each kind in turn. Target: at most 3 µs more.\n\n", rounds, block)
	fmt.Fprint(w, "| answer | median, µs | more than the first | ratio | CPU of client and server, µs, median of the blocks | more than the first |\n|---|---:|---:|---:|---:|---:|\n")
	first, firstCPU := quantile(times[0], 0.5), quantile(cpu[0], 0.5)
	for i, k := range kinds {
		m, c := quantile(times[i], 0.5), quantile(cpu[i], 0.5)
		fmt.Fprintf(w, "| %s | %.2f | %+.2f | %.2f | %.2f | %+.2f |\n", k.name, m, m-first, m/first, c, c-firstCPU)
	}
	// Blocks that stand side by side met the same noise: the median of their differences is the surest figure.
	var more []float64
	for b := range cpu[0] {
		more = append(more, cpu[len(kinds)-1][b]-cpu[0][b])
	}
	slices.Sort(more)
	fmt.Fprintf(w, "\nA hit takes %.2f µs of CPU more than the canned page (median of the differences of neighbouring blocks; quartiles %.2f and %.2f).\n\n",
		quantile(more, 0.5), quantile(more, 0.25), quantile(more, 0.75))
	return nil
}

// processorTime is what this process has used so far.
func processorTime() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
