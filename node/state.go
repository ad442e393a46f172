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
	announceAgain = time.Second     // after a write that failed
	farewellWait  = 2 * time.Second // at the end, for a store that does not answer
)

// announce says in the store that the node is there, until ctx ends. A store
// that does not answer keeps no node from serving.
func (n *Node) announce(ctx context.Context) error {
	value, err := json.Marshal(state.Node{
		Name: n.place.Node, POP: n.place.POP, Zone: n.place.Zone, Version: n.version, Life: n.life, Started: n.started,
	})
	if err != nil {
		return err
	}
	documents, key := n.state.Documents, n.nodeKey()
	said := false
	for {
		revision, err := documents.Put(ctx, key, value, state.Any)
		if err == nil {
			<-ctx.Done()
			wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewellWait)
			defer cancel()
			// Whoever has taken the name meanwhile keeps it.
			if err := documents.Delete(wait, key, revision); err != nil && selvage.KindOf(err) == selvage.Unavailable {
				n.log.Warn("the node's document stays behind", "error", err)
			}
			return nil
		}
		if ctx.Err() != nil {
			return nil
		}
		if !said {
			said = true
			n.log.Warn("the node cannot say that it is there", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(announceAgain):
		}
	}
}

func (n *Node) nodeKey() state.DocumentKey {
	return state.Collection{Tenant: n.tenant, Name: state.NodesCollection}.Key(string(n.place.Node))
}

// newLife names one start of a node.
func newLife() string { return rand.Text()[:12] }
