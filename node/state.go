package node

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

// What bounds a node's own words about itself in the store.
const (
	announceEvery = 30 * time.Second
	announceAgain = time.Second     // after a write that failed
	farewellWait  = 2 * time.Second // at the end, for a store that does not answer
)

// announce says in the store that the node is there, again and again until ctx
// ends. A store that does not answer keeps no node from serving.
func (n *Node) announce(ctx context.Context) error {
	value, err := json.Marshal(state.Node{
		Name: n.place.Node, POP: n.place.POP, Zone: n.place.Zone, Version: n.version, Life: n.life, Started: n.started,
	})
	if err != nil {
		return err
	}
	var revision state.Revision
	said := false
	for {
		written, err := n.state.Documents.Put(ctx, n.nodeKey(), value, state.Any)
		pause := announceEvery
		switch {
		case err == nil:
			revision, said = written, false
		case ctx.Err() != nil:
		default:
			if !said {
				said = true
				n.log.Warn("the node cannot say that it is there", "error", err)
			}
			pause = announceAgain
		}
		select {
		case <-ctx.Done():
			n.farewell(ctx, revision)
			return nil
		case <-time.After(pause):
		}
	}
}

// farewell takes the document away. Whoever has taken the name meanwhile keeps it.
func (n *Node) farewell(ctx context.Context, revision state.Revision) {
	if revision == 0 {
		return
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellWait)
	defer cancel()
	if err := n.state.Documents.Delete(wait, n.nodeKey(), revision); err != nil && selvage.KindOf(err) == selvage.Unavailable {
		n.log.Warn("the node's document stays behind", "error", err)
	}
}

func (n *Node) nodeKey() state.DocumentKey {
	return state.Collection{Tenant: n.tenant, Name: state.NodesCollection}.Key(string(n.place.Node))
}

// newLife names one start of a node.
func newLife() string { return rand.Text()[:12] }
