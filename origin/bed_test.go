package origin

import (
	"context"
	"errors"
	"io"
	"log"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/record"
)

// standard is an origin with the documented defaults.
func standard(endpoints ...string) selvage.Origin {
	d := func(d time.Duration) selvage.Duration { return selvage.Duration(d) }
	return selvage.Origin{
		Endpoints:   endpoints,
		Eject:       selvage.Eject{Failures: 5, For: d(5 * time.Second)},
		Timeout:     selvage.OriginTimeout{Connect: d(time.Second), FirstByte: d(30 * time.Second), Idle: d(time.Minute), Total: d(time.Minute)},
		Retry:       selvage.Retry{Attempts: 3, Statuses: []int{502, 503, 504}, Backoff: d(25 * time.Millisecond), Budget: 0.1, Body: 1 << 20},
		Connections: selvage.OriginConnections{Max: 1024, Idle: 128, IdleTimeout: d(time.Minute), Resolve: d(10 * time.Second)},
	}
}

// bed is a registry on a network in memory, on virtual time.
type bed struct {
	*testing.T
	net     edgetest.Network
	reg     Registry
	resolve func(context.Context, string) ([]netip.Addr, error)
	limits  []string
	ctx     context.Context
	stop    context.CancelFunc
	wg      sync.WaitGroup
}

// inBed runs f in a bubble. It must leave nothing behind but what it told the bed of.
func inBed(t *testing.T, f func(b *bed)) {
	synctest.Test(t, func(t *testing.T) {
		b := &bed{T: t}
		b.ctx, b.stop = context.WithCancel(t.Context())
		b.reg.Dial = b.net.Dial
		b.resolve = b.net.Resolve
		b.reg.Resolve = func(ctx context.Context, host string) ([]netip.Addr, error) { return b.resolve(ctx, host) }
		b.reg.OnLimit = func(limit string) { b.limits = append(b.limits, limit) }
		f(b)
		b.stop()
		b.wg.Wait()
		if n := len(b.reg.pools) + len(b.reg.endpoints); n != 0 {
			t.Errorf("%d pools and endpoints are left after their release", n)
		}
	})
}

// origin starts an origin at 10.0.0.n:80.
func (b *bed) origin(n byte, script ...string) *edgetest.Origin {
	b.Helper()
	o := &edgetest.Origin{Name: "one", Network: &b.net, Address: netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80)}
	for _, s := range script {
		line, block, _ := strings.Cut(s, "\n")
		var lines []string
		if block != "" {
			lines = strings.Split(block, "\n")
		}
		if err := o.Script(line, lines...); err != nil {
			b.Fatal(err)
		}
	}
	if err := o.Listen(); err != nil {
		b.Fatal(err)
	}
	b.wg.Go(func() { o.Run(b.ctx) })
	return o
}

// handle serves at 10.0.0.n:80 with net/http.
func (b *bed) handle(n byte, h http.HandlerFunc) {
	b.Helper()
	l, err := b.net.Listen("tcp", netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, 0, n}), 80).String())
	if err != nil {
		b.Fatal(err)
	}
	server := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0)}
	b.wg.Go(func() { server.Serve(l) })
	context.AfterFunc(b.ctx, func() { server.Close() })
}

// run starts the registry's loops.
func (b *bed) run() { b.wg.Go(func() { b.reg.Run(b.ctx) }) }

// pool acquires; release must be called before the bed ends.
func (b *bed) pool(o selvage.Origin) *Pool {
	b.Helper()
	p, err := b.reg.Acquire(selvage.DefaultTenant, "shop", "web", o)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// ask sends a request and reads the answer whole.
func ask(p *Pool, method, body string) (answer string, rec *record.Record, err error) {
	rec = &record.Record{Start: time.Now()}
	ctx := record.NewContext(context.Background(), rec)
	req, err := http.NewRequestWithContext(ctx, method, "http://shop.example/path?q=1", nil)
	if err != nil {
		return "", rec, err
	}
	if body != "" {
		req.Body = io.NopCloser(strings.NewReader(body))
		req.ContentLength = int64(len(body))
	}
	resp, err := p.RoundTrip(req)
	if err != nil {
		return "", rec, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.Status + " " + string(text), rec, err
}

// mustAsk is ask of a GET that must be answered so.
func (b *bed) mustAsk(p *Pool, want string) *record.Record {
	b.Helper()
	got, rec, err := ask(p, "GET", "")
	if err != nil || got != want {
		b.Errorf("got %q, %v; want %q", got, err, want)
	}
	return rec
}

// wantType fails unless err is a proxy error of a type.
func (b *bed) wantType(err error, want selvage.ProxyErrorType) {
	b.Helper()
	wantType(b.T, err, want)
}

func wantType(t *testing.T, err error, want selvage.ProxyErrorType) {
	t.Helper()
	p, ok := errors.AsType[*selvage.ProxyError](err)
	if !ok {
		t.Errorf("error %v; want a proxy error of type %s", err, want)
	} else if p.Type != want || p.Origin != "web" {
		t.Errorf("error %v; want type %s of origin web", err, want)
	}
}
