package rollout

import (
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

// trapping makes a world in which the canary traps when it is said to, with the greatest
// share that anybody gave it so far.
func (s *sim) trapping(now func(share float64) bool) {
	most := 0.0
	s.out = func(_ time.Duration, n *simNode, canary bool) judge.Outcome {
		arms, _ := n.serves()
		most = max(most, arms.Share)
		o := drawn(s.rng, 0, 1)
		if canary && now(most) {
			o.Bad, o.Fingerprint, o.NoBody = o.Bad.With(judge.Trap), "unreachable in boom", true
		}
		return o
	}
}

// At 95 % it takes some 300 traps to convict, at even shares 20.
func TestATrapThatShowsAfterThePromotionIsToldApartAtEvenShares(t *testing.T) {
	for _, r := range simulate(t, 1, 1000, 10*time.Minute, func(s *sim) {
		s.want = client.Undone
		s.trapping(func(share float64) bool { return share > 0.5 && s.rng.Float64() < 0.005 })
	}) {
		if t.Logf("%d traps: %s", r.bads, r.Receipt.Words); r.bads > 60 || !strings.Contains(r.Receipt.Words, "fingerprint unreachable in boom") {
			t.Errorf("undone at trap %d: %s", r.bads, r.Receipt.Words)
		}
	}
}

func TestAChangeThatTrapsOnceIsPromotedWhenThatIsShownToBeRare(t *testing.T) {
	for _, r := range simulate(t, 1, 1000, 10*time.Minute, func(s *sim) {
		trapped := false
		s.trapping(func(share float64) bool {
			now := share >= 0.5 && !trapped
			trapped = trapped || now
			return now
		})
	}) {
		t.Logf("%s: %s", r.after, r.Receipt.Words)
		if r.Change.State != client.Promoted || r.bads != 1 || r.Receipt.Makings < 7000 {
			t.Errorf("%s after %d traps in %d makings: %s", r.Change.State, r.bads, r.Receipt.Makings, r.Receipt.Words)
		}
	}
}
