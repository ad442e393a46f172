package rollout

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// written is how many documents were written so far.
func (s *sim) written() uint64 {
	s.t.Helper()
	var newest uint64
	for doc, err := range s.store.Documents.List(s.ctx, rollouts("main")) {
		if err != nil {
			s.t.Fatal(err)
		}
		newest = max(newest, uint64(doc.Revision)) // of all that was ever written
	}
	return newest
}

// Each write is synced to the disk before it counts, by whoever serves requests meanwhile.
func TestARolloutThatStandsStillIsWrittenSeldom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		c := s.submit("second")
		s.until("the canary has a share", time.Minute, func(r client.Rollout) bool { return r.Share > 0 })
		if err := s.changes.Hold(s.ctx, Request{Change: c.ID, Who: "mira"}); err != nil {
			t.Fatal(err)
		}
		s.play(time.Second)
		before := s.written()
		s.play(time.Minute)
		if got, most := s.written()-before, uint64(time.Minute/saveEvery); got == 0 || got > most {
			t.Errorf("a minute of a held rollout was written %d times, want 1 to %d", got, most)
		}
	})
}

// What is counted is summed up and weighed ten times a second, as long as a rollout
// goes on: an hour at the least.
func TestATickOfARolloutTakesLittleMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSim(t, 1, 300)
		defer s.end()
		s.deployed()
		s.submit("second")
		s.until("the canary has a share", time.Minute, func(r client.Rollout) bool { return r.Share > 0 })
		lead := s.lead.Load()
		d, _, err := s.changes.document(s.ctx, "shop")
		if err != nil {
			t.Fatal(err)
		}
		l := &leading{Coordinator: lead, services: map[selvage.ServiceName]*led{}}
		one := &led{name: "shop", doc: d, saved: time.Now()}
		one.follow()
		const most = 70
		if got := testing.AllocsPerRun(100, func() {
			if err := l.lookAt(s.ctx, one, time.Now()); err != nil {
				t.Fatal(err)
			}
		}); got > most {
			t.Errorf("a look at a rollout of three nodes takes %v allocations, want at most %d", got, most)
		}
	})
}
