package rollout

import (
	"context"
	"io"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// awayDocuments and awayBlobs are of a store that does not answer.
type (
	awayDocuments struct{ state.Documents }
	awayBlobs     struct{ state.Blobs }
)

var errAway = selvage.Errorf(selvage.Unavailable, "the store is away")

func (awayDocuments) Watch(context.Context, state.Collection, state.Revision) iter.Seq2[state.Change, error] {
	return func(yield func(state.Change, error) bool) { yield(state.Change{}, errAway) }
}

func (awayBlobs) Open(context.Context, state.BlobKey) (io.ReadCloser, error) { return nil, errAway }

// alone plays until a revision is all that is served: it is promoted, and no control is left.
func (s *sim) alone(text string) {
	s.t.Helper()
	s.outcome(20 * time.Minute)
	if err := s.changes.Promote(s.ctx, Request{Service: "shop", Who: "mira"}); err != nil { // which ends the control
		s.t.Fatal(err)
	}
	s.until(text+" is served alone", time.Minute, func(client.Rollout) bool {
		for _, n := range s.nodes {
			if arms, _ := n.serves(); arms.Baseline != rev(text) || arms.Canary != "" {
				return false
			}
		}
		return true
	})
}

// What is promoted before the promoted revision stands in for its functions, on a
// node that has just started too, with the store and without.
func TestTheRevisionBeforeStandsInAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 5, 300)
		defer s.end()
		folder := t.TempDir()
		s.node(&simNode{name: "ams-2", pop: "ams"}, folder)
		s.deployed()
		kept := s.nodes[3]
		if got := kept.before(); got != "" {
			t.Errorf("revision %s stands in for the first", got)
		}
		s.submit("second")
		s.alone("second")
		expect := func(what string, n *simNode) {
			t.Helper()
			s.play(3 * time.Second)
			if got := n.before(); got != rev("first") {
				t.Errorf("%s: %q stands in, want %q", what, got, rev("first"))
			}
		}
		expect("after the promotion", kept)
		kept.stop()
		synctest.Wait()
		s.node(&simNode{name: "ams-2", pop: "ams"}, folder)
		expect("after a start", s.nodes[4])
		s.node(&simNode{name: "fra-2", pop: "fra"}, t.TempDir())
		expect("on a node that was not there", s.nodes[5])
		s.nodes[4].stop()
		synctest.Wait()
		whole := s.store
		s.store.Documents, s.store.Blobs = awayDocuments{whole.Documents}, awayBlobs{whole.Blobs}
		s.node(&simNode{name: "ams-2", pop: "ams"}, folder)
		expect("after a start without the store", s.nodes[6])
		s.store = whole
	})
}

func TestNothingStandsInAfterAnUndo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 6, 300)
		defer s.end()
		s.deployed()
		c := s.submit("second")
		s.alone("second")
		s.play(3 * time.Second)
		if got := s.nodes[0].before(); got != rev("first") {
			t.Errorf("%q stands in, want the first", got)
		}
		if err := s.changes.Undo(s.ctx, Request{Change: c.ID, Service: "shop", Who: "mira"}); err != nil {
			t.Fatal(err)
		}
		s.until("the undo", time.Minute, func(r client.Rollout) bool { return r.Change.State == client.Undone })
		s.play(5 * time.Second)
		if got := s.nodes[0].before(); got != "" {
			t.Errorf("after the undo %q stands in: it was taken back", got)
		}
	})
}
