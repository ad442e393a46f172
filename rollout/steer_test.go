package rollout

import (
	"context"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// hammer is a client that sends far more than all others together, in the arm
// that it is given. Its requests end as it likes.
func (s *sim) hammer(hash uint64, each int, bad func(at time.Duration, canary bool) bool) {
	others := s.also
	s.also = func(at time.Duration) {
		if others != nil {
			others(at)
		}
		for _, n := range s.nodes {
			arms, watch := n.serves()
			if watch == nil {
				continue
			}
			canary := s.ownArm(arms, hash)
			arm := selvage.Baseline
			if canary {
				arm = selvage.Canary
			}
			for range each {
				o := drawn(s.rng, 0, 1)
				if bad(at, canary) {
					o.Bad, o.NoBody = failed, true
				}
				m := watch.Begin(time.Now(), arm, hash, "route0")
				watch.End(m, o, nil)
			}
		}
	}
}

// A client cannot have a good change undone, nor a bad one kept, by what it
// alone sends: whether it fails all the time or in bursts, in whichever arm.
func TestAClientThatHammersDoesNotSteerTheVerdict(t *testing.T) {
	always := func(time.Duration, bool) bool { return true }
	never := func(time.Duration, bool) bool { return false }
	bursts := func(at time.Duration, _ bool) bool { return at%(40*time.Second) < 15*time.Second }
	for _, tc := range []struct {
		name  string
		p1    float64
		bad   func(time.Duration, bool) bool
		want  string
		raced bool
	}{
		{"a good change and a client that fails", 0.001, always, client.Promoted, false},
		{"a good change and a client that fails in bursts", 0.001, bursts, client.Promoted, false},
		{"a good change and a client that fails where it gets the canary", 0.001, func(_ time.Duration, canary bool) bool { return canary }, client.Promoted, true},
		{"a bad change and a client that is always well", 1, never, client.Undone, true},
		{"a bad change and a client that fails where it does not get it", 1, func(_ time.Duration, canary bool) bool { return !canary }, client.Undone, true},
	} {
		if raced && !tc.raced {
			continue // a minute of a client's 3,000 requests a second; the goroutines are the same
		}
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 11, 300)
				defer s.end()
				s.sticky = true
				s.rates(0.001, 0.001)
				s.hammer(1<<40, 10, tc.bad)
				s.deployed()
				s.rates(0.001, tc.p1)
				s.submit("second")
				r := s.outcome(20 * time.Minute)
				t.Logf("%s: %s", r.Change.State, r.Change.Words)
				if r.Change.State != tc.want {
					t.Errorf("it ended %s, want %s", r.Change.State, tc.want)
				}
			})
		})
	}
}

// wrongTime is a store as a node sees it whose clock is not the store's.
type wrongTime struct {
	state.Documents
	off time.Duration
}

func (w wrongTime) Watch(ctx context.Context, c state.Collection, after state.Revision) iter.Seq2[state.Change, error] {
	return func(yield func(state.Change, error) bool) {
		for change, err := range w.Documents.Watch(ctx, c, after) {
			change.Time = change.Time.Add(w.off)
			if !yield(change, err) {
				return
			}
		}
	}
}

func TestANodeWhoseClockIsAnHourOffDecidesNothingElse(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		for p1, want := range map[float64]string{0.001: client.Promoted, 1: client.Undone} {
			synctest.Test(t, func(t *testing.T) {
				s := newSim(t, 3, 300)
				defer s.end()
				s.rates(0.001, 0.001)
				s.nodes[0].stop()
				s.nodes = s.nodes[1:]
				right := s.store.Documents
				s.store.Documents = wrongTime{right, off}
				s.node(&simNode{name: "ams-2", pop: "ams"}, "")
				s.store.Documents = right
				s.deployed()
				s.rates(0.001, p1)
				c := s.submit("second")
				r := s.outcome(10 * time.Minute)
				s.play(3 * time.Second)
				if got := s.sound()[string(c.ID)]; r.Change.State != want || got != want {
					t.Errorf("%s off: %s, in the log %s; want %s", off, r.Change.State, got, want)
				}
				r, err := s.changes.Status(s.ctx, Request{})
				if err != nil {
					t.Fatal(err)
				}
				for _, n := range r.Receipt.Nodes {
					if want == client.Undone && (n.Late || n.MS > 1000) {
						t.Errorf("%s off: the receipt says of %s: %+v", off, n.Node, n)
					}
				}
			})
		}
	}
}
