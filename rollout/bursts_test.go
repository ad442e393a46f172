package rollout

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

// Where the machine itself keeps answers waiting, a change that is slow by as much again
// is told from noise only after many makings. Until then its gates are closed, which is
// no want of traffic: it is not promoted for having been quiet.
func TestASlowChangeInNoiseIsNotTakenForWantOfTraffic(t *testing.T) {
	if raced {
		t.Skip("minutes of traffic; the goroutines are those of every simulation")
	}
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 7, 40)
		defer s.end()
		s.out = func(_ time.Duration, _ *simNode, canary bool) judge.Outcome {
			o := drawn(s.rng, 0, 8)
			if canary {
				o.Latency += 40 * time.Millisecond
			}
			return o
		}
		s.deployed()
		s.play(time.Minute)
		s.submit("second")
		small := 0
		for range 120 {
			s.play(2 * time.Second)
			r, err := s.changes.Status(s.ctx, Request{})
			if err != nil {
				t.Fatal(err)
			}
			if r.Mode == string(spreading) && r.Share < 0.5 {
				small++
			}
			if client.Over(r.Change.State) {
				t.Logf("%s: %s", r.Change.State, r.Change.Words)
				if r.Change.State != client.Undone {
					t.Errorf("it ended %s: %s", r.Change.State, r.Change.Words)
				}
				return
			}
		}
		if small < 30 {
			t.Errorf("half of the clients had it for too long: less in %d of 120 looks", small)
		}
	})
}
