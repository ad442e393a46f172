package node

import (
	"testing"

	"github.com/selvage-edge/selvage/client"
)

func TestWhyKnowsTheClientsSideOfARollout(t *testing.T) {
	serve(t, oldService, answers, func(b *bed) {
		b.get("/p/1")
		b.canary(newService, 1)
		made := len(b.ledger.lines)
		w, err := b.node.Why(t.Context(), client.WhyRequest{URL: "http://203.0.113.1/p/special"})
		if err != nil {
			t.Fatal(err)
		}
		if w.Change != "c-1" || w.Arm != "canary" || w.Route != "special" || w.Verdict != "forwarded" {
			t.Errorf("got change %q, arm %q, route %q, %s", w.Change, w.Arm, w.Route, w.Verdict)
		}
		w, err = b.node.Why(t.Context(), client.WhyRequest{URL: "http://203.0.113.1/nothing", Method: "POST"})
		if err != nil || w.Verdict != "forwarded" || w.Words != "the route has no cache" {
			t.Errorf("got %+v, %v", w, err)
		}
		if n := len(b.ledger.lines); n != made {
			t.Errorf("looking made %d answers", n-made)
		}
	})
}
