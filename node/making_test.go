package node

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/rollout"
)

// ledger writes down what is counted, a line each.
type ledger struct {
	mu    sync.Mutex
	lines []string // guarded by mu
}

func (l *ledger) write(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, fmt.Sprintf(format, args...))
}

func (l *ledger) Begin(_ time.Time, arm selvage.Arm, _ uint64, class string) rollout.Making {
	l.write("begin %s %s", arm, class)
	return rollout.Making{}
}

func (l *ledger) End(_ rollout.Making, o judge.Outcome, _ rollout.Known) judge.Set {
	body := "no body"
	if !o.NoBody {
		body = fmt.Sprint(o.Bytes, " bytes")
	}
	l.write("end [%s] %s %s", o.Bad, body, o.Latency.Round(time.Millisecond))
	return o.Bad
}

func (l *ledger) Stored()  { l.write("stored") }
func (l *ledger) Rescued() { l.write("rescued") }

func (l *ledger) expect(t *testing.T, want ...string) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if !slices.Equal(l.lines, want) {
		t.Errorf("counted\n\t%s\nwant\n\t%s", strings.Join(l.lines, "\n\t"), strings.Join(want, "\n\t"))
	}
	l.lines = nil
}

// bed is a node that serves a service, in a bubble.
type bed struct {
	t      *testing.T
	node   *Node
	client http.Client
	ledger ledger

	network *edgetest.Network
}

// serve runs test against a node with the service. The origin at 10.0.0.1 is handler.
func serve(t *testing.T, service string, handler http.HandlerFunc, test func(*bed)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		network := new(edgetest.Network)
		network.SetHost("one", netip.MustParseAddr("10.0.0.1"))
		l, err := network.Listen("tcp", "10.0.0.1:80")
		if err != nil {
			t.Fatal(err)
		}
		origin := &http.Server{Handler: handler}
		var wg sync.WaitGroup
		wg.Go(func() { _ = origin.Serve(l) })
		n, err := New(Options{
			Config: selvage.Config{
				Node: selvage.Node{
					Name: "edge-1", AccessLog: "off", Listen: []selvage.Listener{{Address: ":80"}},
					Cache: selvage.NodeCache{Memory: 8 << 20},
				},
				Services: []selvage.Service{parse(t, service)},
			},
			Listen: network.Listen, Dial: network.Dial, Resolve: network.Resolve,
		})
		if err != nil {
			t.Fatal(err)
		}
		ended := make(chan error, 1)
		ctx, stop := context.WithCancel(context.Background())
		go func() { ended <- n.Run(ctx) }()
		b := &bed{t: t, node: n, network: network}
		transport := &http.Transport{DialContext: network.Dial, DisableCompression: true}
		b.client.Transport = transport
		test(b)
		transport.CloseIdleConnections()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		origin.Close()
		wg.Wait()
	})
}

func parse(t *testing.T, yaml string) selvage.Service {
	t.Helper()
	s, err := config.ParseService("test.yaml", []byte(yaml))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// canary gives everybody another revision.
func (b *bed) canary(yaml string, share float64) {
	b.t.Helper()
	s := parse(b.t, yaml)
	id := config.Revision(s)
	if err := b.node.Prepare(b.t.Context(), rollout.Revision{ID: id, Tenant: selvage.DefaultTenant, Service: s}); err != nil {
		b.t.Fatal(err)
	}
	if err := b.node.Serve(s.Service, rollout.Arms{Change: "c-1", Canary: id, Share: share}, nil); err != nil {
		b.t.Fatal(err)
	}
	b.node.registry.watch(s.Service).turn("c-1", &b.ledger)
}

// get asks for a path and returns the status and the body.
func (b *bed) get(path string) string {
	b.t.Helper()
	res, err := b.client.Get("http://203.0.113.1" + path)
	if err != nil {
		return err.Error()
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d %s", res.StatusCode, body)
}
