package node

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/rollout"
)

// armings are who counts a forward, and for whom.
var armings = []struct {
	name  string
	arms  rollout.Arms
	watch *rollout.Watch
	most  float64 // allocations
}{
	{"nobody counts", rollout.Arms{}, nil, 26},
	{"between rollouts", rollout.Arms{}, new(rollout.Watch), 27},
	{"baseline", rollout.Arms{Change: "c-1", Canary: armed}, new(rollout.Watch), 27},
	{"canary", rollout.Arms{Change: "c-1", Canary: armed, Share: 1}, new(rollout.Watch), 28},
}

// armed is the revision that withArms has prepared beside that of the file.
const armed selvage.RevisionID = "armed"

// withArms gives test a node with two revisions, before an origin that takes no memory.
func withArms(t testing.TB, test func(*Node)) {
	network := new(edgetest.Network)
	l, err := network.Listen("tcp", "10.0.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	network.SetHost("one", netip.MustParseAddr("10.0.0.1"))
	go answerAll(l) // until it is closed
	defer l.Close()
	old, err := config.ParseService("old.yaml", []byte(oldService))
	if err != nil {
		t.Fatal(err)
	}
	neu, err := config.ParseService("new.yaml", []byte(newService))
	if err != nil {
		t.Fatal(err)
	}
	n, err := New(Options{
		Config: selvage.Config{Node: selvage.Node{Name: "edge-1", AccessLog: "off"}, Services: []selvage.Service{old}},
		Listen: network.Listen, Dial: network.Dial, Resolve: network.Resolve,
	})
	if err != nil {
		t.Fatal(err)
	}
	defer n.releaseArms()
	if err := n.Prepare(t.Context(), rollout.Revision{ID: armed, Tenant: selvage.DefaultTenant, Service: neu}); err != nil {
		t.Fatal(err)
	}
	test(n)
}

// BenchmarkForward is a forward to an origin without anybody who counts, with a
// watch between rollouts, and during one: what is judged may cost 3 %.
func BenchmarkForward(b *testing.B) {
	withArms(b, func(n *Node) {
		for _, a := range armings {
			b.Run(a.name, func(b *testing.B) {
				if err := n.Serve("test", a.arms, a.watch); err != nil {
					b.Fatal(err)
				}
				b.ReportAllocs()
				answering(b, http.HandlerFunc(n.serveCounted), "/x", b.Loop)
			})
		}
	})
}

// TestForwardStaysInItsAllocationBudget holds what a forward may take, and what it may
// take to count it. Two are of the connection in memory, which somebody has to look at.
func TestForwardStaysInItsAllocationBudget(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("counts are those of a plain build")
	}
	withArms(t, func(n *Node) {
		for _, a := range armings {
			if err := n.Serve("test", a.arms, a.watch); err != nil {
				t.Fatal(err)
			}
			if got := answerCost(t, http.HandlerFunc(n.serveCounted), "/x"); got > a.most+1 {
				t.Errorf("%s: a forward takes %v allocations, the budget is %v", a.name, got, a.most)
			}
		}
	})
}

// TestRedirectStaysInItsAllocationBudget: nothing is made of it that would go across.
func TestRedirectStaysInItsAllocationBudget(t *testing.T) {
	if testing.CoverMode() != "" || raceEnabled {
		t.Skip("counts are those of a plain build")
	}
	const most = 16
	withShop(t, func(n *Node) {
		if got := answerCost(t, http.HandlerFunc(n.serveCounted), "/old"); got > most+1 {
			t.Errorf("a redirect takes %v allocations, the budget is %v", got, most)
		}
	})
}

// answerAll is an origin that takes no memory for an answer: what is counted is the edge's.
func answerAll(l net.Listener) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() { // ends with the connection
			defer c.Close()
			answer := []byte("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nServer: one\r\nDate: Sat, 21 Nov 2026 06:00:00 GMT\r\nContent-Length: 1024\r\n\r\n" +
				strings.Repeat("x", 1024))
			asked := make([]byte, 4096)
			for have := 0; ; {
				n, err := c.Read(asked[have:])
				if err != nil {
					return
				}
				if have += n; bytes.HasSuffix(asked[:have], []byte("\r\n\r\n")) {
					have = 0
					if _, err := c.Write(answer); err != nil {
						return
					}
				}
			}
		}()
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
