package judge

import (
	"math"
	"time"
)

// restarts is the mixture of undo processes that begin later than the rollout.
// A change that turns bad after an hour, or after an outage that both arms
// shared, has spent its evidence: the process from the beginning would need as
// many canary bads as the baseline's already said against them. A process that
// begins in minute i gets the part 6/(π² i²) of one half, so that the whole
// stays under the same bound; the minutes are counted from the rollout's
// begin, so that no new coordinator spends a part twice.
type restarts struct {
	Slot int64                      // the last minute whose part was given
	Sum  [Indicators][undos]float64 // ln of the mixture
	Seen [Indicators][undos]float64 // ln E up to which it was brought along
}

// every is the distance of two restarts.
const every = time.Minute

func newRestarts() restarts {
	var r restarts
	for k := range r.Sum {
		for j := range r.Sum[k] {
			r.Sum[k][j] = nothing
		}
	}
	return r
}

// follow brings the mixture along to what ln E is now, and begins the process
// of the minute that elapsed lies in.
func (r *restarts) follow(undo *[Indicators][undos]float64, elapsed time.Duration) {
	slot := int64(elapsed / every)
	begin := slot > r.Slot && slot < 1<<30
	for k := range r.Sum {
		for j := range r.Sum[k] {
			r.Sum[k][j] += undo[k][j] - r.Seen[k][j]
			if begin {
				r.Sum[k][j] = addExp(r.Sum[k][j], math.Log(part(int(slot))))
			}
		}
	}
	r.Seen = *undo
	r.Slot = max(r.Slot, slot)
}

// evidence is ln E of one level: half the process from the beginning, half
// the later ones, averaged over the alternatives and the indicators. It says
// which indicator says most.
func (r *restarts) evidence() (lnE float64, lead Indicator) {
	lnE, most := nothing, math.Inf(-1)
	for k := range Indicator(Indicators) {
		e := addExp(meanExp(r.Seen[k][:]), meanExp(r.Sum[k][:])) - math.Ln2 + math.Log(rules[k].weight)
		lnE = addExp(lnE, e)
		if e > most {
			most, lead = e, k
		}
	}
	return lnE, lead
}
