package rollout

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// phaseOf is the phase that the document says.
func (s *sim) phaseOf() phase {
	d, _, err := s.changes.document(s.ctx, "shop")
	if err != nil {
		s.t.Fatal(err)
	}
	if d.Rollout == nil {
		return ""
	}
	return d.Rollout.Phase
}

// untilPhase plays until the document is in a phase.
func (s *sim) untilPhase(want phase, most time.Duration) {
	s.t.Helper()
	for range int(most / (100 * time.Millisecond)) {
		if s.phaseOf() == want {
			return
		}
		s.play(100 * time.Millisecond)
	}
	s.t.Fatalf("phase %s was not reached within %s: it is %s", want, most, s.phaseOf())
}

// sound checks that every change in the log has at most one outcome, that the
// chain holds, and that all nodes serve what is promoted.
func (s *sim) sound() map[string]string {
	s.t.Helper()
	if _, err := s.changes.Verify(s.ctx); err != nil {
		s.t.Error(err)
	}
	outcomes := map[string]string{}
	for e, err := range s.changes.Log(s.ctx, 0) {
		if err != nil {
			s.t.Fatal(err)
		}
		f, err := e.Fact()
		if err != nil {
			s.t.Fatal(err)
		}
		if f.Event == "submitted" {
			outcomes[f.Change.ID] = ""
		}
		if client.Over(f.Event) {
			if f.Change.State != f.Event {
				s.t.Errorf("the log says of %s that it is %s, at the event %s", f.Change.ID, f.Change.State, f.Event)
			}
			if was := outcomes[f.Change.ID]; was != "" && (was != client.Promoted || f.Event != client.Undone) {
				s.t.Errorf("%s is %s and %s", f.Change.ID, was, f.Event)
			}
			outcomes[f.Change.ID] = f.Event
		}
	}
	return outcomes
}

func TestACoordinatorMayDieInEveryPhase(t *testing.T) {
	for i, at := range []phase{preparing, replaying, spreading, quiet, holdingBack, watched, doubted} {
		for k, p1 := range []float64{0.001, 1} {
			if raced && (i%2 != k || at == preparing || at == quiet || at == doubted) {
				continue // some deaths of each sort: promoted and undone, early and late
			}
			t.Run(fmt.Sprintf("%s, p1 = %v", at, p1), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { dieIn(t, at, p1) })
			})
		}
	}
}

// dieIn kills the coordinator in a phase; the change is bad from then on, or not.
func dieIn(t *testing.T, at phase, p1 float64) {
	rate := 300.0
	if at == quiet || at == watched || at == doubted {
		rate = 3 // too little for gates
	}
	s := newSim(t, 5, rate)
	defer s.end()
	s.rates(0.001, 0.001)
	s.deployed()
	for _, n := range s.nodes {
		n.replayFor = time.Second // to die in
	}
	c := s.submit("second")
	if at == doubted {
		s.untilPhase(watched, 2*time.Hour)
		s.outage(1, 30*time.Second)
	}
	s.untilPhase(at, 2*time.Hour)
	s.kill()
	s.rates(0.001, p1)
	s.play(2 * time.Second) // nobody leads
	s.coordinate("two")
	want := client.Promoted
	if p1 == 1 {
		want = client.Undone
	}
	r := s.until(want, 3*time.Hour, func(r client.Rollout) bool { return r.Change.State == want })
	s.play(10 * time.Second)
	outcomes := s.sound()
	if outcomes[string(c.ID)] != want || r.Change.ID != string(c.ID) {
		t.Errorf("the log says %q, want %s", outcomes[string(c.ID)], want)
	}
}

// outage makes both arms bad for a while.
func (s *sim) outage(p float64, d time.Duration) {
	out := s.out
	s.out = func(time.Duration, *simNode, bool) judge.Outcome { return drawn(s.rng, p, 1) }
	s.play(d)
	s.out = out
}

// outages is 200 for the figure in the documents.
var outages = flag.Int("outages", 16, "how many outages of both arms are simulated")

func TestAnOutageOfBothArmsUndoesNothing(t *testing.T) {
	runs, wrong := *outages, 0
	if raced {
		runs = 2
	}
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, uint64(i), 30)
			defer s.end()
			s.rates(0.001, 0.001)
			s.deployed()
			s.submit("second")
			s.untilPhase(spreading, time.Minute)
			s.play(time.Duration(s.rng.IntN(int(time.Minute))))
			s.outage(0.3+0.7*s.rng.Float64(), 3*time.Second+time.Duration(s.rng.IntN(int(40*time.Second))))
			s.play(time.Minute)
			if r, err := s.changes.Status(s.ctx, Request{}); err != nil || r.Change.State == client.Undone {
				wrong++
				t.Logf("seed %d: %s", i, r.Change.Words)
			}
		})
	}
	if wrong > 0 {
		t.Errorf("%d of %d innocent changes undone", wrong, runs)
	}
}

// Where the old revision is as well as before there is no harm that both share, and
// no reason to take the canary back for half a minute to find that out.
func TestHarmOfTheCanaryAloneIsNotTakenForThatOfBoth(t *testing.T) {
	for seed := range uint64(4) {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, seed+1, 20)
			defer s.end()
			s.rates(0.001, 0.3)
			s.deployed()
			s.submit("second")
			if r := s.outcome(10 * time.Minute); r.Change.State != client.Undone || strings.Contains(r.Change.Words, "both arms") {
				t.Errorf("%s: %s", r.Change.State, r.Change.Words)
			}
			for e, err := range s.changes.Log(s.ctx, 0) {
				if err != nil {
					t.Fatal(err)
				}
				f, err := e.Fact()
				if err != nil {
					t.Fatal(err)
				}
				if strings.Contains(fmt.Sprint(f), "both arms") {
					t.Errorf("the log says %+v", f)
				}
			}
		})
	}
}

func TestTwoDeploysAtOnceHaveOneWinner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		first := s.submit("second")
		second := s.submit("third")
		s.until("third is promoted", 5*time.Minute, func(r client.Rollout) bool {
			return r.Change.ID == string(second.ID) && r.Change.State == client.Promoted
		})
		s.play(time.Second)
		if got := s.sound(); got[string(first.ID)] != client.Superseded || got[string(second.ID)] != client.Promoted {
			t.Errorf("got %v", got)
		}
	})
}

// Whoever submits writes the log and then the document. Another may be faster
// with the second, or the first may be killed between the two.
func TestAChangeThatWasOvertakenBeforeItBeganIsSuperseded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		var slow client.Change
		if err := s.changes.log.append(s.ctx, func(p state.Position) client.LogFact {
			r := rollout{Change: selvage.Change{ID: changeID(p), Service: "shop", To: rev("second")}, Phase: preparing}
			slow = r.change()
			return client.LogFact{Event: "submitted", When: time.Now(), Change: slow}
		}); err != nil {
			t.Fatal(err)
		}
		second := s.submit("third")
		s.until("third is promoted", 5*time.Minute, func(r client.Rollout) bool {
			return r.Change.ID == string(second.ID) && r.Change.State == client.Promoted
		})
		s.play(2 * time.Second)
		if got := s.sound(); got[slow.ID] != client.Superseded || got[string(second.ID)] != client.Promoted {
			t.Errorf("got %v", got)
		}
		r, err := s.changes.Status(s.ctx, Request{Change: selvage.ChangeID(slow.ID)})
		if err != nil || r.Change.State != client.Superseded || r.Change.Words != "superseded by "+string(second.ID) {
			t.Errorf("its status is %+v, %v", r.Change, err)
		}
	})
}

func TestWhatNoNodeCanCompileIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		for _, n := range s.nodes {
			n.broken = map[selvage.RevisionID]bool{rev("broken"): true}
		}
		s.deployed()
		s.submit("broken")
		r := s.outcome(time.Minute)
		if r.Change.State != client.Refused || !strings.Contains(r.Change.Words, "it is broken") || s.first >= 0 {
			t.Errorf("got %s: %s, the canary's first making at %s", r.Change.State, r.Change.Words, s.first)
		}
	})
}

func TestANodeThatCannotCompileKeepsTheOldRevision(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.nodes[1].broken = map[selvage.RevisionID]bool{rev("second"): true}
		s.deployed()
		s.submit("second")
		r := s.outcome(5 * time.Minute)
		s.play(time.Second)
		if arms, _ := s.nodes[1].serves(); r.Change.State != client.Promoted || arms.Baseline != rev("first") || s.nodes[1].greatest > 0 {
			t.Errorf("%s, and the node that cannot serves %+v", r.Change.State, arms)
		}
		if why := r.Nodes[1].Why; !strings.Contains(why, "it is broken") {
			t.Errorf("node 1 says %q", why)
		}
	})
}

// A large module compiles for minutes where the machine has other work: whoever says
// that it is at work is waited for, and a first revision is promoted where all have it.
func TestANodeThatIsAtWorkIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 10)
		defer s.end()
		slow := 5 * time.Minute
		s.nodes[2].slow = map[selvage.RevisionID]time.Duration{rev("first"): slow, rev("second"): slow}
		for _, name := range []string{"first", "second"} {
			began := time.Now()
			s.submit(name)
			r := s.until("the nodes are ready", 8*time.Minute, func(r client.Rollout) bool { return r.Change.State != client.Preparing })
			if took := time.Since(began); took < slow {
				t.Errorf("%s was %s after %s, with the nodes %+v", name, r.Change.State, took, r.Nodes)
			}
			s.until("it is promoted", 10*time.Minute, func(r client.Rollout) bool { return r.Change.State == client.Promoted })
		}
	})
}

func TestWhyANodeCannotRunARevisionTellsNoPlaceOfTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		s := newSim(t, 1, 30)
		defer s.end()
		s.node(&simNode{name: "disk-1", pop: "ams"}, folder)
		s.deployed()
		// Where the revision is to be kept is something else already.
		if err := os.WriteFile(filepath.Join(folder, "revisions", state.DigestOf([]byte("second")).String()), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.submit("second")
		s.until("it says why", time.Minute, func(r client.Rollout) bool {
			for _, n := range r.Nodes {
				if strings.Contains(n.Why, folder) {
					t.Errorf("node %s: %s", n.Node, n.Why)
				}
				if n.Node == "disk-1" && n.Why != "" {
					t.Logf("node %s: %s", n.Node, n.Why)
					return true
				}
			}
			return false
		})
	})
}

func TestAReplayThatFailsRefusesBeforeAnyUser(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		for _, n := range s.nodes {
			n.worse = 400
		}
		s.submit("plainly bad")
		r := s.outcome(time.Minute)
		if r.Change.State != client.Refused || r.Replay == nil || r.Replay.Differ != 400 || s.first >= 0 {
			t.Errorf("got %+v", r)
		}
	})
}

func TestPeopleLeadARolloutToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		s.submit("second")
		s.untilPhase(spreading, time.Minute)
		ask := func(f func() error) {
			t.Helper()
			if err := f(); err != nil {
				t.Error(err)
			}
		}
		ask(func() error { return s.changes.Hold(s.ctx, Request{Who: "mira", Why: "lunch"}) })
		share := s.until("held", time.Minute, func(r client.Rollout) bool { return r.Change.State == client.Held }).Share
		s.play(time.Minute)
		if r := s.until("held", time.Minute, func(client.Rollout) bool { return true }); r.Share != share || r.Hold != "mira" {
			t.Errorf("a held rollout went from %v to %v", share, r.Share)
		}
		ask(func() error { return s.changes.BreakGlass(s.ctx, Request{Who: "mira"}) })
		ask(func() error { return s.changes.Promote(s.ctx, Request{Who: "mira"}) })
		began := time.Now()
		s.outcome(time.Minute)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("with the glass broken it took %s", took)
		}
		ask(func() error { return s.changes.Undo(s.ctx, Request{Who: "mira", Why: "it is ugly"}) })
		s.play(time.Second)
		r, err := s.changes.Status(s.ctx, Request{})
		if err != nil || r.Change.State != client.Undone || !strings.Contains(r.Change.Words, "undone by mira: it is ugly") {
			t.Errorf("got %s, %q, %v", r.Change.State, r.Change.Words, err)
		}
		for _, n := range s.nodes {
			if arms, _ := n.serves(); arms != (Arms{Baseline: rev("first")}) {
				t.Errorf("%s serves %+v", n.name, arms)
			}
		}
		if err := s.changes.Undo(s.ctx, Request{Who: "mira"}); selvage.KindOf(err) != selvage.Conflict && err != nil {
			t.Errorf("got %v for a second undo", err)
		}
		s.sound()
	})
}

func TestANodeThatIsCutOffUndoesAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 1000)
		defer s.end()
		s.rates(0.001, 0.001)
		s.deployed()
		c := s.submit("second")
		s.untilPhase(spreading, time.Minute)
		s.kill()
		s.rates(0.001, 1)
		s.play(10 * time.Second)
		for _, n := range s.nodes {
			if arms, _ := n.serves(); arms.Share > 0 {
				t.Errorf("%s still serves %+v", n.name, arms)
			}
		}
		s.coordinate("two")
		r := s.outcome(time.Minute)
		s.play(time.Second)
		if r.Change.State != client.Undone || s.sound()[string(c.ID)] != client.Undone || !strings.Contains(r.Change.Words, "alone") {
			t.Errorf("got %s: %s", r.Change.State, r.Change.Words)
		}
		r, err := s.changes.Status(s.ctx, Request{})
		if err != nil || r.Receipt == nil || len(r.Receipt.Nodes) != 3 {
			t.Fatalf("got %+v, %v", r.Receipt, err)
		}
		for _, n := range r.Receipt.Nodes {
			if n.Late {
				t.Errorf("%s has not turned back by its own account", n.Node)
			}
		}
	})
}

func TestAStartWithAnOldFileTakesNothingBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		first := s.local("first")
		s.play(time.Second)
		c := s.submit("second")
		s.untilPhase(spreading, time.Minute)
		s.local("first") // a start in the middle of the rollout
		r := s.outcome(5 * time.Minute)
		s.local("first") // and one after it
		s.play(time.Second)
		if got := s.sound(); r.Change.ID != string(c.ID) || got[string(c.ID)] != client.Promoted || len(got) != 2 || first.ID != "c-1" {
			t.Errorf("%s is %s, the log has %v", r.Change.ID, r.Change.State, got)
		}
		if third := s.local("third"); third.ID == c.ID {
			t.Error("a file that was changed is no change")
		}
	})
}

// local reads a file.
func (s *sim) local(text string) selvage.Change {
	s.t.Helper()
	digest := state.DigestOf([]byte(text))
	if err := s.store.Blobs.Put(s.ctx, state.BlobKey{Tenant: "main", Digest: digest}, strings.NewReader(text)); err != nil {
		s.t.Fatal(err)
	}
	c, err := s.changes.Local(s.ctx, Submission{Service: "shop", Manifest: digest, Who: "file shop.yaml"})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

func TestALocalChangeIsWatchedAndUndone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.rates(0.001, 0.001)
		first := s.local("first")
		s.play(time.Minute)
		if again := s.local("first"); again.ID != first.ID {
			t.Errorf("the same file again is %s, not %s", again.ID, first.ID)
		}
		second := s.local("second")
		s.play(5 * time.Second)
		if arms, _ := s.nodes[0].serves(); arms.Baseline != rev("second") {
			t.Errorf("got %+v", arms)
		}
		// It turns bad: half of the units go back, and the comparison convicts it.
		s.rates(0.001, 0.5)
		r := s.until("undone", 5*time.Minute, func(r client.Rollout) bool { return r.Change.State == client.Undone })
		s.play(time.Second)
		if s.sound()[string(second.ID)] != client.Undone {
			t.Errorf("got %+v", r.Change)
		}
	})
}

// A node's own disk: what a start finds after each end.
func TestANodeStartsOnThePromotedRevisionWithoutTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		s := newSim(t, 1, 300)
		disk := &simNode{name: "disk-1", pop: "ams"}
		s.node(disk, folder)
		s.deployed()
		disk.stop()
		s.end()
		again := newSim(t, 2, 0) // another store, which knows nothing
		defer again.end()
		n := &simNode{name: "disk-1", pop: "ams"}
		again.node(n, folder)
		time.Sleep(time.Second)
		if arms, w := n.serves(); arms.Baseline != rev("first") || w == nil {
			t.Errorf("got %+v", arms)
		}
	})
}

func TestACrashWithACanaryIsEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		folder := t.TempDir()
		s := newSim(t, 1, 300)
		defer s.end()
		n := &simNode{name: "disk-1", pop: "ams"}
		s.node(n, folder)
		s.rates(0.001, 0.001)
		s.deployed()
		c := s.submit("second")
		for range 6000 {
			if a, _ := n.serves(); a.Share > 0 {
				break
			}
			s.serve()
		}
		copied := t.TempDir() // the disk as a kill leaves it
		copyFolder(t, folder, copied)
		n.stop()
		after := &simNode{name: "disk-1", pop: "ams"}
		s.node(after, copied)
		r := s.outcome(time.Minute)
		s.play(time.Second)
		if after.greatest > 0 || r.Change.State != client.Undone || !strings.Contains(r.Change.Words, "crash") || s.sound()[string(c.ID)] != client.Undone {
			t.Errorf("share %v after the crash; %s: %s", after.greatest, r.Change.State, r.Change.Words)
		}
	})
}

// A kill -9 in the states that a rollout comes to with time, or by what happens to both arms.
func TestANodeThatIsKilledInALateStateComesBackAndServesTheOutcome(t *testing.T) {
	for at, want := range map[phase]string{
		quiet:   client.Undone,   // so soon a crash is evidence enough
		watched: client.Promoted, // after minutes one is not
		doubted: client.Promoted,
	} {
		if raced && at != doubted {
			continue // which came through the others
		}
		t.Run(string(at), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				folder, copied := t.TempDir(), t.TempDir()
				s := newSim(t, 5, 3)
				defer s.end()
				n := &simNode{name: "disk-1", pop: "ams"}
				s.node(n, folder)
				s.deployed()
				c := s.submit("second")
				if at == doubted {
					s.untilPhase(watched, time.Hour)
					s.outage(1, 30*time.Second)
				}
				s.untilPhase(at, time.Hour)
				s.play(time.Second) // the node has heard of it
				copyFolder(t, folder, copied)
				n.stop()
				after := &simNode{name: "disk-1", pop: "ams"}
				s.node(after, copied)
				time.Sleep(10 * time.Millisecond)
				if arms, _ := after.serves(); arms.Baseline != rev("first") || arms.Canary != "" {
					t.Errorf("after the kill it starts with %+v", arms)
				}
				s.play(5 * time.Minute)
				r, err := s.changes.Status(s.ctx, Request{})
				if err != nil {
					t.Fatal(err)
				}
				serves := map[string]selvage.RevisionID{client.Promoted: secondRevision, client.Undone: rev("first")}[want]
				if arms, _ := after.serves(); r.Change.State != want || s.sound()[string(c.ID)] != want || arms.Baseline != serves || arms.Canary != "" {
					t.Errorf("%s: %s; it serves %+v", r.Change.State, r.Change.Words, arms)
				}
			})
		})
	}
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(to, "shop.json")); err != nil {
		t.Fatal(err)
	}
}

func TestTheLogShowsWhatWasAltered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		if n, err := s.changes.Verify(s.ctx); err != nil || n < 2 {
			t.Errorf("%d entries, %v", n, err)
		}
		// Somebody who can write to the feed puts in an entry that does not follow.
		key := state.FeedKey{Tenant: "main", Name: state.ChangesFeed}
		if _, err := s.store.Feeds.Append(s.ctx, key, state.Entry{Data: []byte(`{"previous":"0","event":"undone","when":"2026-01-01T00:00:00Z","change":{}}`)}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.changes.Verify(s.ctx); err == nil || !strings.Contains(err.Error(), "does not follow") {
			t.Errorf("got %v", err)
		}
		if err := s.changes.Hold(s.ctx, Request{Service: "shop", Who: "mira"}); selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("a damaged log stops what does not need it: %v", err)
		}
	})
}
