// Package rollout leads a change through the fleet: it gives the new revision
// to a sliver of the units first, more as the evidence grows, and takes it back
// where the evidence says so.
//
// Look at [Changes] first: it is what people ask for changes. An [Agent] is
// beside every node and does there what the documents of the rollouts say; a
// [Coordinator] leads all rollouts of a tenant and may die at any moment,
// another one goes on. What a rollout does is one pure function, step in
// machine.go; the numbers come from package judge, [Watch] counts them.
//
// It promises one outcome for each change, that undone beats every other
// outcome for ever, that no acknowledged change is lost, that a node that is
// cut off never raises a share and starts without the core on the last promoted
// revision, and that lack of traffic never undoes nor promotes blindly. No
// decision depends on what time a machine thinks it is.
//
// It refuses to know how a node works ([Runtime] is all it needs) and to name a
// time by which a change has to be through.
//
// # Layout of the keys
//
//	document  rollouts/SERVICE   the promoted revision and the running or last rollout, changed by compare-and-swap
//	feed      changes            the log: every change and its outcome, each entry with the hash of the one before
//	lease     rollouts           who coordinates
//	blob      SHA-256            manifests and files of revisions
//
// On a node's own disk, in the folder given to its agent: SERVICE.json holds
// the promoted revision, the one before it, and the journal, CHANGE.undone is a tombstone,
// CHANGE.book what the node counted.
package rollout

import (
	"context"

	"github.com/selvage-edge/selvage"
)

// Arms is what a node is to serve of one service.
type Arms struct {
	Change   selvage.ChangeID   // of the running rollout; empty without one
	Baseline selvage.RevisionID // the last promoted revision
	Canary   selvage.RevisionID // empty: no rollout
	Share    float64            // of this POP's units that get the canary, 0 … 1
	Unit     selvage.Unit       // what is given to one arm or the other
	Secret   [16]byte           // of the rollout: the arm is a keyed hash of the unit
	// Purged is the last change that purged all of the service, and is through. One that is
	// on its way has the unit [selvage.ByKey], and one revision for both arms.
	Purged selvage.ChangeID
}

// Revision is a deployed service whose files are on this machine.
type Revision struct {
	ID      selvage.RevisionID
	Tenant  selvage.Tenant
	Service selvage.Service
}

// Runtime is the node, as its agent sees it.
type Runtime interface {
	// Prepare compiles and warms a revision, and keeps it until Forget. What cannot be
	// compiled is an Invalid error. Preparing what is prepared does nothing.
	Prepare(ctx context.Context, r Revision) error
	// Serve turns a service to what a says, between prepared revisions: a pointer flip.
	// Requests under way stay on the revision they began on; those of a canary that is no
	// longer served are cut after the grace of an undo. w counts what is made from now on.
	Serve(service selvage.ServiceName, a Arms, w *Watch) error
	// Forget lets a revision go that is not served any more.
	Forget(id selvage.RevisionID)
	// StandIn makes ready what of a service's revision before the promoted one may answer
	// where the promoted one's fails, and keeps it until the next call for the service. One
	// without an ID: nothing is. Errors are as those of Prepare.
	StandIn(ctx context.Context, r Revision) error
	// Replay plays at most so many recorded GETs on both revisions: only routes that are
	// cacheable or say so, without credentials, marked, never stored, never counted. It may
	// end sooner, and says what it found until then.
	Replay(ctx context.Context, old, new selvage.RevisionID, most int) (ReplayResult, error)
}

// ReplayResult is what recorded requests gave on both revisions.
type ReplayResult struct {
	Requests int
	Worse    int      // bad on the new one, not on the old one
	Better   int      // bad on the old one, not on the new one
	Examples []string // of the worse, in words: GET /p/1: 200, now 500
}
