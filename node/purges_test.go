package node_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/state"
)

var purgesFeed = state.FeedKey{Tenant: selvage.DefaultTenant, Name: state.PurgesFeed}

// cachingNode is a node with an origin, which runs until the test ends.
type cachingNode struct {
	*node.Node
	http.Client
	t *testing.T
}

func startCaching(t *testing.T, name selvage.NodeName, store *state.Store) cachingNode {
	t.Helper()
	quick, err := config.Quick("http://10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	quick.Routes[0].Cache.TTL = selvage.Duration(time.Minute)
	network := new(edgetest.Network)
	origin := &edgetest.Origin{Name: "one", Network: network, Address: netip.MustParseAddrPort("10.0.0.1:80")}
	if err := origin.Listen(); err != nil {
		t.Fatal(err)
	}
	n, err := node.New(node.Options{
		Config: selvage.Config{
			Node: selvage.Node{
				Name: name, Data: t.TempDir(), AccessLog: "off", Cache: selvage.NodeCache{Memory: 64 << 20},
				Listen: []selvage.Listener{{Address: ":80"}},
			},
			Services: []selvage.Service{quick},
		},
		State: store, Listen: network.Listen, Dial: network.Dial, Resolve: network.Resolve,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	go func() { ended <- n.Run(ctx) }()      // waited for by the cleanup
	go func() { ended <- origin.Run(ctx) }() // waited for by the cleanup
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return network.DialFrom(ctx, netip.MustParseAddr("198.51.100.1"), "tcp", "203.0.113.1:80")
	}}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
	})
	synctest.Wait()
	return cachingNode{n, http.Client{Transport: transport}, t}
}

// ask asks for a page and says whether it was stored.
func (c cachingNode) ask(path string) (body string) {
	c.t.Helper()
	resp, err := c.Get("http://shop.example" + path)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	synctest.Wait()
	return string(text)
}

func (c cachingNode) stored() int64 { synctest.Wait(); return c.Status().Cache.Objects }

func TestPurgeHasAReceiptOfEveryNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		one, two := startCaching(t, "one", &store), startCaching(t, "two", &store)
		before := two.ask("/p")
		p, err := one.Purge(t.Context(), client.PurgeRequest{What: []string{"http://shop.example/p"}}, "mira")
		if err != nil {
			t.Fatal(err)
		}
		if !p.Complete || len(p.Receipts) != 2 || p.Receipts[0].Node != "one" || p.Receipts[1].Node != "two" || p.Position != 1 || p.Who != "mira" {
			t.Errorf("got %+v, want a receipt of one and of two at position 1", p)
		}
		if after := two.ask("/p"); after == before {
			t.Errorf("the other node still gives %q", after)
		}
		again, err := two.PurgeReceipts(t.Context(), 1)
		if err != nil || !again.Complete || len(again.Receipts) != 2 {
			t.Errorf("asked again: %+v, %v", again, err)
		}
		if _, err := two.PurgeReceipts(t.Context(), 2); selvage.KindOf(err) != selvage.NotFound {
			t.Errorf("a position that is not there: got %v", err)
		}
	})
}

func TestPreviewSaysWhatWouldBeHitAndHitsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		one, two := startCaching(t, "one", &store), startCaching(t, "two", &store)
		for i := range 3 {
			one.ask(fmt.Sprint("/", i))
		}
		time.Sleep(10 * time.Second)
		for range 20 {
			one.ask("/1")
		}
		two.ask("/1")
		p, err := two.Purge(t.Context(), client.PurgeRequest{What: []string{"service:" + one.Status().Services[0].Service}, Preview: true}, "")
		if err != nil || !p.Complete || len(p.Receipts) != 2 {
			t.Fatalf("got %+v, %v", p, err)
		}
		hits := p.Receipts[0].Hits
		if hits.Objects != 3 || hits.Bytes < 3*200 || hits.PerSecond != 2 || p.Receipts[1].Hits.Objects != 1 {
			t.Errorf("got %+v and %+v, want 3 objects, asked for twice a second, and 1", hits, p.Receipts[1].Hits)
		}
		if got := one.ask("/1"); got != one.ask("/1") || one.stored() != 3 {
			t.Errorf("the preview has purged: %q", got)
		}
	})
}

func TestPurgeSaysWhichNodeHasNotAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		key := state.Collection{Tenant: selvage.DefaultTenant, Name: state.NodesCollection}.Key("gone")
		if _, err := store.Documents.Put(t.Context(), key, []byte(`{"name":"gone","pop":"iad"}`), state.Any); err != nil {
			t.Fatal(err)
		}
		seen := time.Now()
		one := startCaching(t, "one", &store)
		time.Sleep(38 * time.Second)
		start := time.Now()
		p, err := one.Purge(t.Context(), client.PurgeRequest{What: []string{"tag:a"}, WaitMS: 3000}, "")
		if err != nil {
			t.Fatal(err)
		}
		if p.Complete || len(p.Missing) != 1 || p.Missing[0].Node != "gone" || !p.Missing[0].LastSeen.Equal(seen) || len(p.Receipts) != 1 {
			t.Errorf("got %+v, want one receipt and gone missing since %v", p, seen)
		}
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("it waited %v, want the 3 s that were asked for", took)
		}
	})
}

// What a node may have missed it cannot know: so all that is stored goes.
func TestNodeThatMayHaveMissedAPurgeDropsWhatIsStored(t *testing.T) {
	for name, harm := range map[string]func(context.Context, state.Store) error{
		"the feed is a new one": func(ctx context.Context, s state.Store) error { return s.Feeds.Delete(ctx, purgesFeed) },
		"an entry that nobody can read": func(ctx context.Context, s state.Store) error {
			_, err := s.Feeds.Append(ctx, purgesFeed, state.Entry{Data: []byte("?")})
			return err
		},
		"an entry of a kind that is not known yet": func(ctx context.Context, s state.Store) error {
			_, err := s.Feeds.Append(ctx, purgesFeed, state.Entry{Data: []byte(`{"new":"kind"}`)})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := state.Memory(state.EdgeLimits(nil))
				one := startCaching(t, "one", &store)
				if _, err := one.Purge(t.Context(), client.PurgeRequest{What: []string{"tag:a"}}, ""); err != nil {
					t.Fatal(err)
				}
				one.ask("/p")
				if n := one.stored(); n != 1 {
					t.Fatalf("%d are stored, want 1", n)
				}
				if err := harm(t.Context(), store); err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second) // a reader that has nothing to read hears of it twice a second
				if n := one.stored(); n != 0 {
					t.Errorf("%d are still stored", n)
				}
				one.ask("/p")
				if p, err := one.Purge(t.Context(), client.PurgeRequest{What: []string{"tag:b"}}, ""); err != nil || !p.Complete || one.stored() != 1 {
					t.Errorf("afterwards: %+v, %v, %d stored", p, err, one.stored())
				}
			})
		})
	}
}

func TestPurgeThatCannotBeUnderstoodIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		one := startCaching(t, "one", &store)
		for _, tt := range []struct {
			what string
			want selvage.Kind
		}{
			{"p/42", selvage.Invalid}, {"tag:", selvage.Invalid}, {"/p", selvage.Invalid}, {"http://user:word@shop.example/", selvage.Invalid},
			{"http://shop.example/%zz", selvage.Invalid}, {"http://shop.example/a/../../b%00", selvage.Invalid}, {"service:nothing", selvage.NotFound},
		} {
			if _, err := one.Purge(t.Context(), client.PurgeRequest{What: []string{tt.what}}, ""); selvage.KindOf(err) != tt.want {
				t.Errorf("%s: got %v, want kind %s", tt.what, err, tt.want)
			}
		}
		if head, err := store.Feeds.Head(t.Context(), purgesFeed); err != nil || head.Last != 0 {
			t.Errorf("the feed ends at %d, %v, want nothing in it", head.Last, err)
		}
	})
}
