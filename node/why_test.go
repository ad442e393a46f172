package node_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

func TestWhyNamesWhoPurgedAndTheOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		one, two := startCaching(t, "one", &store), startCaching(t, "two", &store)
		two.ask("/p")
		if _, err := one.Purge(t.Context(), client.PurgeRequest{What: []string{"http://shop.example/p"}}, "mira"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(12 * time.Second)
		w, err := two.Why(t.Context(), client.WhyRequest{URL: "http://shop.example/p"})
		if err != nil {
			t.Fatal(err)
		}
		var purge *client.WhyPurge
		for _, s := range w.Steps {
			if s.Purge != nil {
				purge = s.Purge
			}
		}
		if purge == nil || purge.Who != "mira" || purge.Position != 1 || w.At.Sub(purge.At) != 12*time.Second {
			t.Errorf("got the purge %+v in %+v, want mira's at position 1, 12 s before", purge, w.Steps)
		}
		if w.Words != "nothing fresh is stored, it was purged 12 s ago" || w.Node != "two" {
			t.Errorf("got %q on %s", w.Words, w.Node)
		}
		if len(w.Elsewhere) != 1 || w.Elsewhere[0].Node != "one" || w.Elsewhere[0].Verdict != "" {
			t.Errorf("got %+v elsewhere, want node one, not asked", w.Elsewhere)
		}
	})
}

func TestWhyRefusesWhatIsNoRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		n := startCaching(t, "one", &store)
		for _, r := range []client.WhyRequest{
			{}, {URL: "shop.example/p"}, {URL: "ftp://shop.example/"}, {URL: "http://mira@shop.example/"}, {URL: "http:///p"},
			{URL: "http://shop.example/%zz"}, {URL: "http://shop.example/", Method: "PURGE"}, {URL: "http://shop.example/", Method: "CONNECT"},
			{URL: "http://shop.example/", Method: "A B"}, {URL: "http://shop.example/", Fields: []string{"x"}},
			{URL: "http://shop.example/", Fields: []string{"X: a\r\nY: b"}}, {URL: "http://shop.example/", Fields: []string{"A B: c"}},
			{URL: "http://shop.example/", From: "mira"},
		} {
			if w, err := n.Why(t.Context(), r); selvage.KindOf(err) != selvage.Invalid {
				t.Errorf("%+v: got %+v, %v; want it refused as invalid", r, w, err)
			}
		}
	})
}
