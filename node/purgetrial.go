package node

import (
	"slices"

	"github.com/selvage-edge/selvage"
)

// purgeTrial is a purge of all of a service that is given to some of its keys
// first: a change whose two arms are one revision.
type purgeTrial struct {
	change selvage.ChangeID
	at     uint64 // the store's position when it began here
}

// purges says that the deployment's rollout is one of a purge.
func (d *deployment) purges() bool {
	return d.arms.Unit == selvage.ByKey && d.arms.Canary != "" && d.arms.Canary == d.arms.Baseline
}

// purgeLocked does to what is stored what the arms say: forgets the keys of the
// share, or all when the purge is through, or uses again what is still there of
// one that was undone. A node that has not seen a purge on its way forgets all
// of the service when it is through.
func (n *Node) purgeLocked(service selvage.ServiceName, old, d *deployment) {
	store := n.registry.store
	var had *purgeTrial
	if old != nil {
		had = old.purge
	}
	switch {
	case d.purges() && !d.overruled:
		d.purge = &purgeTrial{change: d.arms.Change}
		if had != nil && had.change == d.arms.Change {
			d.purge.at = had.at
		}
		d.purge.at = store.TryPurge(n.tenant, service, d.purge.at, n.keysOf(service))
	case d.arms.Purged != "" && (old == nil || old.arms.Purged != d.arms.Purged):
		var since uint64
		if had != nil && had.change == d.arms.Purged {
			since = had.at
		}
		store.PurgeSince(n.tenant, service, since)
	case had != nil:
		store.TryPurge(n.tenant, service, had.at, nil)
	}
}

// keysOf says which paths of a service are the canary's, by the table that is served.
func (n *Node) keysOf(service selvage.ServiceName) func(path string) bool {
	all := n.table.Load().services
	i := slices.IndexFunc(all, func(s *served) bool { return s.name == service })
	if i < 0 {
		return nil
	}
	s := all[i]
	return func(path string) bool { return s.all || s.threshold > 0 && s.units.place(path) < s.threshold }
}
