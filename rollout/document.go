package rollout

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// document is all that is known of one service: what is promoted and the
// running or last rollout, so that one compare-and-swap decides both.
type document struct {
	Token    state.Token // the greatest that wrote; a smaller one is refused
	Promoted promoted
	File     selvage.RevisionID // what a node's own file said last
	Back     promoted           // what an undo of the promoted one goes back to; empty if there is none
	Purged   selvage.ChangeID   // the last purge of all of it that is through
	Rollout  *rollout
	Outbox   []client.LogFact // what happened and is not in the log yet
}

// promoted is a revision that everybody gets.
type promoted struct {
	Revision selvage.RevisionID
	Manifest state.Digest
	Change   selvage.Change
}

// phase is where a rollout is.
type phase string

// The phases.
const (
	preparing   phase = "preparing"    // nodes compile and warm it
	replaying   phase = "replaying"    // recorded requests on both; no user yet
	spreading   phase = "spreading"    // by the gates
	quiet       phase = "quiet"        // half and half: too little traffic for gates
	holdingBack phase = "holding back" // promoted, but for a control of 5 %
	watched     phase = "watched"      // promoted, the old one warm, its level watched
	doubted     phase = "doubted"      // promoted, and half of it taken back to compare after an alarm
	finished    phase = "finished"
	undone      phase = "undone"
	superseded  phase = "superseded"
	refused     phase = "refused"
)

// over says that nothing happens by itself any more.
func (p phase) over() bool {
	return p == finished || p == undone || p == superseded || p == refused
}

// counts says that it is the service's revision.
func (p phase) counts() bool {
	return p == holdingBack || p == watched || p == doubted || p == finished
}

// armed says that both arms are served.
func (p phase) armed() bool {
	return p == spreading || p == quiet || p == holdingBack || p == doubted
}

// rollout is the way of one change. Its times are of passing, counted by whoever
// leads it, so that no clock that is wrong moves anything.
type rollout struct {
	Change     selvage.Change
	Manifest   state.Digest
	From       promoted // what an undo goes back to
	Phase      phase
	Secret     [16]byte
	BreakGlass bool
	HoldBy     string        // who asked to hold it
	Held       bool          // the evidence is bad or contradictory
	Frozen     bool          // for harm that both arms share
	Strikes    int           // how often such harm followed the share
	First      float64       // the first share
	POPs       []selvage.POP // in the order in which they take part
	At         judge.Position
	Most       float64       // the greatest exposure it had
	Elapsed    time.Duration // since the canary's first share
	Stood      time.Duration // in this phase, and at this share
	Promoted   time.Duration // how long it has been the service's revision
	Since      Level         // bads of the canary when this phase or share began, and its makings and one
	Nodes      map[selvage.NodeName]nodeState
	Pinned     int // how many nodes the evidence is of
	Replay     *client.Replay
	Crashes    map[selvage.NodeName]crashes
	Span       span
	Verdict    *client.Verdict
	Receipt    *client.Receipt
}

// span is from the canary's first share to the outcome, by the clocks of whoever
// led it then, for people.
type span struct{ Began, Ended time.Time }

// nodeState is what a node said of the revision.
type nodeState struct {
	POP   selvage.POP
	State string // waiting, ready, failed, lost
	Why   string
	Took  time.Duration
	MS    float64 // from the decision of the outcome to its being in effect; 0: not heard yet
}

// crashes are unclean ends of a node that had the canary.
type crashes struct {
	Ends     int
	Exposure time.Duration
	Forgiven int // of these: somebody said that it goes on
}

// The states of a node, as in client.RolloutNode.
const (
	waiting = "waiting"
	ready   = "ready"
	failing = "failed"
	lost    = "lost"
)

// plan is the schedule.
func (r *rollout) plan() judge.Schedule {
	return judge.Schedule{First: r.First, POPs: len(r.POPs)}
}

// exposure is the canary's share of all POPs' units.
func (r *rollout) exposure() float64 {
	if !r.Phase.armed() {
		return 0
	}
	return r.plan().Exposure(r.At)
}

// takesPart says whether the canary is in a POP now.
func (r *rollout) takesPart(pop selvage.POP) bool {
	at := slices.Index(r.POPs, pop)
	return at >= 0 && at < r.At.POPs || r.At.POPs >= len(r.POPs) // a POP that came later joins with all
}

// arms is what the nodes of a POP serve.
func (d *document) arms(pop selvage.POP) Arms {
	r := d.Rollout
	if r == nil || r.Phase.over() || r.Phase == preparing || r.Phase == replaying {
		return Arms{Baseline: d.Promoted.Revision, Purged: d.Purged}
	}
	if r.Phase == watched {
		return Arms{Change: r.Change.ID, Baseline: d.Promoted.Revision, Unit: r.Change.Kind.Unit(), Secret: r.Secret, Purged: d.Purged}
	}
	a := Arms{
		Change: r.Change.ID, Baseline: r.From.Revision, Canary: r.Change.To,
		Unit: r.Change.Kind.Unit(), Secret: r.Secret, Purged: d.Purged,
	}
	if r.takesPart(pop) {
		a.Share = r.At.Share
	}
	return a
}

// clone copies what step writes to.
func (d document) clone() document {
	d.Outbox = slices.Clone(d.Outbox)
	if d.Rollout != nil {
		r := *d.Rollout
		r.Nodes, r.Crashes = maps.Clone(r.Nodes), maps.Clone(r.Crashes)
		if r.Receipt != nil {
			receipt := *r.Receipt
			r.Receipt = &receipt
		}
		d.Rollout = &r
	}
	return d
}

// number is that of the change's entry in the log; 0 if it is none of ours.
func number(id selvage.ChangeID) state.Position {
	n, err := strconv.ParseUint(strings.TrimPrefix(string(id), "c-"), 10, 63)
	if err != nil || !strings.HasPrefix(string(id), "c-") {
		return 0
	}
	return state.Position(n)
}

func changeID(p state.Position) selvage.ChangeID { return selvage.ChangeID(fmt.Sprintf("c-%d", p)) }

// revisionID is the name of the revision with this manifest.
func revisionID(manifest state.Digest) selvage.RevisionID {
	return selvage.RevisionID(manifest.String()[:16])
}

// rollouts is the collection of a tenant's services.
func rollouts(tenant selvage.Tenant) state.Collection {
	return state.Collection{Tenant: tenant, Name: "rollouts"}
}

func readDocument(data []byte) (document, error) {
	var d document
	if err := json.Unmarshal(data, &d); err != nil {
		return d, fmt.Errorf("read rollout document: %w", err)
	}
	return d, nil
}
