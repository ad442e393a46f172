package node

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/rollout"
)

// BenchmarkForward is a forward to an origin without anybody who counts, with a
// watch between rollouts, and during one: what is judged may cost 3 %.
func BenchmarkForward(b *testing.B) {
	network := new(edgetest.Network)
	l, err := network.Listen("tcp", "10.0.0.1:80")
	if err != nil {
		b.Fatal(err)
	}
	network.SetHost("one", netip.MustParseAddr("10.0.0.1"))
	origin := &http.Server{Handler: http.HandlerFunc(answers)}
	go func() { _ = origin.Serve(l) }() // ended below
	defer origin.Close()
	old, err := config.ParseService("old.yaml", []byte(oldService))
	if err != nil {
		b.Fatal(err)
	}
	neu, err := config.ParseService("new.yaml", []byte(newService))
	if err != nil {
		b.Fatal(err)
	}
	n, err := New(Options{
		Config: selvage.Config{Node: selvage.Node{Name: "edge-1", AccessLog: "off"}, Services: []selvage.Service{old}},
		Listen: network.Listen, Dial: network.Dial, Resolve: network.Resolve,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer n.releaseArms()
	id := config.Revision(neu)
	if err := n.Prepare(b.Context(), rollout.Revision{ID: id, Tenant: selvage.DefaultTenant, Service: neu}); err != nil {
		b.Fatal(err)
	}
	for _, bc := range []struct {
		name  string
		arms  rollout.Arms
		watch *rollout.Watch
	}{
		{"nobody counts", rollout.Arms{}, nil},
		{"between rollouts", rollout.Arms{}, new(rollout.Watch)},
		{"baseline", rollout.Arms{Change: "c-1", Canary: id}, new(rollout.Watch)},
		{"canary", rollout.Arms{Change: "c-1", Canary: id, Share: 1}, new(rollout.Watch)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			if err := n.Serve("test", bc.arms, bc.watch); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				rec := &record.Record{Start: time.Now()}
				rec.Client.Peer = netip.MustParseAddrPort("198.51.100.1:1000")
				r := httptest.NewRequestWithContext(record.NewContext(context.Background(), rec), "GET", "http://shop.example/x", nil)
				n.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}

// instant is an origin that answers at once.
type instant struct{ body []byte }

func (o *instant) RoundTrip(req *http.Request) (*http.Response, error) {
	return &http.Response{
		StatusCode: http.StatusOK, Header: http.Header{}, Request: req, ContentLength: int64(len(o.body)),
		Body: io.NopCloser(bytes.NewReader(o.body)),
	}, nil
}

// BenchmarkMaker is what judging alone costs a forward: without a network, whose
// noise is greater than what is sought. What the watch itself costs within a rollout
// is BenchmarkMaking of package rollout.
func BenchmarkMaker(b *testing.B) {
	for _, bc := range []struct {
		name   string
		change selvage.ChangeID
		arm    selvage.Arm
		watch  counter
	}{
		{"nobody counts", "", selvage.Baseline, nil},
		{"baseline", "c-1", selvage.Baseline, new(rollout.Watch)},
		{"canary", "c-1", selvage.Canary, new(rollout.Watch)},
	} {
		b.Run(bc.name, func(b *testing.B) {
			k := &maker{next: &instant{make([]byte, 1024)}, watch: new(watching)}
			if bc.watch != nil {
				k.watch.turn(bc.change, bc.watch)
			}
			rec := &record.Record{Start: time.Now()}
			rec.Target.Change, rec.Target.Arm, rec.Target.Class = bc.change, bc.arm, "pages"
			req := httptest.NewRequest(http.MethodGet, "http://one/p/1", nil)
			req = req.WithContext(record.NewContext(req.Context(), rec))
			req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64)")
			buf := make([]byte, 2048)
			b.ReportAllocs()
			for b.Loop() {
				rec.Target.Unit++
				res, err := k.RoundTrip(req)
				if err != nil {
					b.Fatal(err)
				}
				for err == nil {
					_, err = res.Body.Read(buf)
				}
				res.Body.Close()
			}
		})
	}
}
