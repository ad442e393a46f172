package main

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/client"
)

// weighed is a node whose service has two endpoints, of which the second one gets
// nothing until the weights say so.
func weighed(t *testing.T, second http.HandlerFunc) *guarded {
	t.Helper()
	return guardedBy(t, second, "", func(g *guarded, isNext bool) string {
		weight := 0
		if isNext {
			weight = 1
		}
		return fmt.Sprintf("origins: {web: {endpoints: [%q, %q], weights: {%q: %d}}}\n", g.old.URL, g.next.URL, g.next.URL, weight)
	})
}

func TestWeightsThatSendToABadEndpointAreUndoneByThemselves(t *testing.T) {
	t.Parallel()
	g := weighed(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	next := filepath.Join(g.dir, "next.yaml")
	if out := g.ask(t, 0, "plan", next); !strings.Contains(out, "weights."+g.next.URL+" 0 -> 1") {
		t.Errorf("plan said\n%s", out)
	}
	stop := g.visit(t)
	r := rolloutIn(t, g.ask(t, 1, "deploy", next, "-o", "json"))
	stop()
	if r.Change.Kind != "weight" || r.Change.State != client.Undone || r.Receipt == nil || r.Receipt.Served == 0 {
		t.Errorf("it was %+v, %+v", r.Change, r.Receipt)
	}
	for range 10 {
		if _, body := get(t, http.DefaultClient, g.p.url()+"/"); body != "old" {
			t.Fatalf("after the undo: %q", body)
		}
	}
	g.p.end()
}

func TestWeightsThatSendToAGoodEndpointArePromoted(t *testing.T) {
	t.Parallel()
	g := weighed(t, isNext)
	g.visit(t)
	r := rolloutIn(t, g.ask(t, 0, "deploy", "--break-glass", filepath.Join(g.dir, "next.yaml"), "-o", "json"))
	if r.Change.Kind != "weight" || r.Change.State != client.Promoted {
		t.Errorf("it was %+v", r.Change)
	}
	before := g.fromNext.Load()
	g.p.until("the second endpoint gets its part", func() bool { return g.fromNext.Load() > before+20 })
	g.p.end()
}
