package rollout

import (
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
)

// Report is what an agent says about a service, ten times a second while there
// is a rollout: cumulative, so that the latest is all that counts. What is lost,
// late or doubled does no harm.
type Report struct {
	Tenant  selvage.Tenant
	Service selvage.ServiceName
	Change  selvage.ChangeID
	Node    selvage.NodeName
	POP     selvage.POP
	State   string // waiting, ready, failed: of the change's revision
	Why     string
	Took    time.Duration // to compile and warm it
	Replay  *ReplayResult // where this node was asked to replay
	Refused string        // why it could not
	Ends    int           // unclean ends of the node while it had the canary …
	Had     time.Duration // … which it had for so long
	Turned  time.Duration // from the decision of the outcome to its being in effect; 0: not yet
	Count   Count
	Samples []judge.Sample // while there is something to explain

	heard time.Time // by the coordinator
}

// working says that the node is there, and preparing the revision; not that it tries
// in vain, which has its reason in Why.
func (r *Report) working() bool {
	return r.State == waiting && r.Why == "" && time.Since(r.heard) <= silentFor
}

// Count is what a watch has counted.
type Count struct {
	Judged  judge.Report
	Arms    [2]Level // of the rollout: baseline, canary; one client's repetitions are not bads
	Usual   Level    // of the time before
	Rate    float64  // makings a second
	Canary  float64  // of these, the canary's
	Made    int64    // by the canary, all that ended
	Bad     int64    // of these, whoever asked for them
	Users   int64
	Stored  int64
	Rescued int64
	First   First
}

// Level is makings and how many of them were bad.
type Level struct{ N, Bad int64 }

func (l *Level) add(bad bool) {
	l.N++
	if bad {
		l.Bad++
	}
}

// Reports takes what agents say. It must not block.
type Reports interface {
	Report(r Report)
}
