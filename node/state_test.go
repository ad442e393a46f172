package node_test

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/edgetest"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/state"
)

// newNode makes a node of its own network in the store.
func newNode(t *testing.T, name selvage.NodeName, store *state.Store) *node.Node {
	t.Helper()
	quick, err := config.Quick("http://10.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	network := new(edgetest.Network)
	n, err := node.New(node.Options{
		Config: selvage.Config{
			Node: selvage.Node{
				Name: name, POP: "fra", Zone: "eu", Data: t.TempDir(), AccessLog: "off",
				Listen: []selvage.Listener{{Address: ":80"}},
			},
			Services: []selvage.Service{quick},
		},
		State: store, Version: "v1", Listen: network.Listen, Dial: network.Dial, Resolve: network.Resolve,
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func nodeNames(t *testing.T, store state.Store) (names []selvage.NodeName) {
	t.Helper()
	for n, err := range state.Nodes(t.Context(), store.Documents, selvage.DefaultTenant) {
		if err != nil {
			t.Fatal(err)
		}
		if n.POP != "fra" || n.Zone != "eu" || n.Version != "v1" || n.Life == "" || n.Started.IsZero() {
			t.Errorf("got %+v, which does not say all", n)
		}
		names = append(names, n.Name)
	}
	return names
}

func TestNodesAreThereFromTheirStartToTheirEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := state.Memory(state.EdgeLimits(nil))
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 2)
		for _, name := range []selvage.NodeName{"one", "two"} {
			n := newNode(t, name, &store)
			go func() { ended <- n.Run(ctx) }() // waited for below
		}
		synctest.Wait()
		if got := nodeNames(t, store); len(got) != 2 {
			t.Errorf("got nodes %v, want two", got)
		}
		stop()
		for range 2 {
			if err := <-ended; err != nil {
				t.Error(err)
			}
		}
		if got := nodeNames(t, store); len(got) != 0 {
			t.Errorf("got nodes %v after their end, want none", got)
		}
	})
}
