package state

import (
	"context"
	"encoding/json"
	"iter"
	"time"

	"github.com/selvage-edge/selvage"
)

// Names of collections and feeds that several parts of the edge use.
const (
	NodesCollection = "nodes"   // documents: a [Node] each, by its name
	PurgesFeed      = "purges"  // what is to be forgotten
	ChangesFeed     = "changes" // what was changed, by whom and why
)

// Node is what a running node says of itself. The document is there from its
// start to its clean end: one that was killed leaves it behind.
type Node struct {
	Name    selvage.NodeName `json:"name"`
	POP     selvage.POP      `json:"pop"`
	Zone    selvage.Zone     `json:"zone"`
	Version string           `json:"version"`
	Life    string           `json:"life"` // of this start, random
	Started time.Time        `json:"started"`
	Seen    time.Time        `json:"-"` // when it wrote its document last, by the store's clock
}

// Nodes gives the nodes of a tenant. A document that cannot be read is an error and ends it.
func Nodes(ctx context.Context, documents Documents, tenant selvage.Tenant) iter.Seq2[Node, error] {
	return func(yield func(Node, error) bool) {
		for d, err := range documents.List(ctx, Collection{tenant, NodesCollection}) {
			var n Node
			if err == nil {
				err = json.Unmarshal(d.Value, &n)
			}
			if err != nil {
				yield(Node{}, selvage.Errorf(selvage.KindOf(err), "list nodes: %w", err))
				return
			}
			n.Seen = d.Time
			if !yield(n, nil) {
				return
			}
		}
	}
}

// EdgeLimits are the limits of the store that an edge runs on.
func EdgeLimits(onLimit func(limit string)) Limits {
	return Limits{
		Feeds: map[string]FeedPolicy{
			PurgesFeed:  {MaxBytes: 64 << 20, MaxAge: 72 * time.Hour, Trim: true},
			ChangesFeed: {MaxBytes: 256 << 20},
		},
		OnLimit: onLimit,
	}
}
