package rollout

import (
	"context"
	"time"

	"github.com/selvage-edge/selvage"
)

// standIn is what of the revision before the promoted one is ready to answer
// where a function of the promoted one fails.
type standIn struct {
	stored              // whose
	of        stored    // the promoted one's
	preparing bool      // now
	retry     time.Time // a store that did not answer is asked again
}

// before is the revision whose functions may stand in for those of the
// promoted one; none where no function asks for that.
func (s *tended) before() stored {
	p := s.preps[s.doc.Promoted.Revision]
	if p == nil || p.state != ready || !p.falls {
		return stored{}
	}
	return stored{s.doc.Back.Revision, s.doc.Back.Manifest}
}

// standIn brings what stands in to what the document says, once the promoted
// revision is the baseline here. What cannot be made ready does not stand in,
// and nothing else depends on it.
func (a *Agent) standIn(ctx context.Context, s *tended) {
	of := stored{s.doc.Promoted.Revision, s.doc.Promoted.Manifest}
	want, now := s.before(), time.Now()
	have := &s.standIn
	if of.Revision != s.serving.Baseline || have.preparing || have.of == of && have.stored == want && (have.retry.IsZero() || now.Before(have.retry)) {
		return
	}
	*have = standIn{stored: want, of: of, preparing: true}
	a.running.Go(func() { // Run waits for it
		var err error
		if want.Revision == "" {
			err = a.o.Runtime.StandIn(ctx, Revision{Tenant: a.o.Tenant, Service: selvage.Service{Service: s.name}})
		} else {
			_, err = a.bring(ctx, want, a.o.Runtime.StandIn)
		}
		a.later(ctx, func() {
			have.preparing = false
			switch {
			case err == nil:
			case selvage.KindOf(err) == selvage.Unavailable:
				have.retry = time.Now().Add(againIn)
			default:
				a.o.Log.Warn("nothing stands in for functions that fail", "service", s.name, "revision", want.Revision, "error", err)
			}
			a.reconcile(ctx, s)
		})
	})
}
