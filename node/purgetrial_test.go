package node

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/control"
	"github.com/selvage-edge/selvage/rollout"
)

func TestAPurgeOfAServiceIsTriedOnSomeKeysFirst(t *testing.T) {
	var fetched atomic.Int64
	const pages = 40
	serve(t, oldService, func(w http.ResponseWriter, r *http.Request) {
		fetched.Add(1)
		answers(w, r)
	}, func(b *bed) {
		id, err := config.LocalRevision(parse(t, oldService), selvage.Outside{})
		if err != nil {
			t.Fatal(err)
		}
		// again asks for every page and says how many are fetched anew.
		again := func() int64 {
			before := fetched.Load()
			for i := range pages {
				if got := b.get(fmt.Sprintf("/p/%d", i)); got != "200 good" {
					t.Fatalf("page %d: %q", i, got)
				}
			}
			return fetched.Load() - before
		}
		turn := func(a rollout.Arms) {
			a.Baseline = id
			if err := b.node.Serve("test", a, nil); err != nil {
				t.Fatal(err)
			}
		}
		try := func(change selvage.ChangeID, share float64) {
			turn(rollout.Arms{Change: change, Canary: id, Share: share, Unit: selvage.ByKey, Secret: [16]byte{1}})
			b.node.registry.watch("test").turn(change, &b.ledger)
		}
		if got := again(); got != pages {
			t.Fatalf("%d pages were fetched", got)
		}
		try("c-2", 0.5)
		half := again()
		if half < pages/4 || half > 3*pages/4 {
			t.Errorf("with half of the keys %d of %d pages are fetched anew", half, pages)
		}
		want := []string{}
		for range half {
			want = append(want, "begin canary pages", "end [] 4 bytes 0s")
		}
		b.ledger.expect(t, want...)
		if got := again(); got != 0 {
			t.Errorf("%d pages that were fetched since are fetched again", got)
		}
		turn(rollout.Arms{}) // undone
		if got := again(); got != 0 {
			t.Errorf("after the undo %d pages are not used", got)
		}
		try("c-3", 0.5)
		if got := again(); got != half {
			t.Errorf("with the same half of the keys %d pages are fetched anew, not %d", got, half)
		}
		turn(rollout.Arms{Purged: "c-3"})
		if got := again(); got != pages-half {
			t.Errorf("when it is through %d pages are fetched anew, want the other %d", got, pages-half)
		}
		turn(rollout.Arms{Purged: "c-3"})
		try("c-4", 0)
		if got := again(); got != 0 {
			t.Errorf("%d pages are fetched anew without a purge", got)
		}
		turn(rollout.Arms{Purged: "c-5"}) // on its way while this node was not there
		if got := again(); got != pages {
			t.Errorf("of a purge that the node has not seen begin %d pages are fetched anew", got)
		}
	})
}

func TestAGuardedPurgeHasAnOutcomeAndNoWayBack(t *testing.T) {
	lead(t, func(l *led) {
		purge := client.Submission{Service: "test", Kind: string(selvage.PurgeChange), Why: "new prices"}
		l.until("c-1", func(r client.Rollout) bool { return r.Change.State == client.Promoted })
		c, err := l.changes.Submit(l.ctx, purge, "ann")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := l.changes.Submit(l.ctx, purge, "ann"); selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("a purge beside one that runs: %v", err)
		}
		r := l.state(c.ID, client.Promoted)
		if r.Change.Kind != "purge" || r.Change.From != r.Change.To || len(r.Plan) != 1 || r.Replay != nil {
			t.Errorf("it was %+v", r)
		}
		err = l.changes.Ask(l.ctx, control.Asking{What: "undo", Change: c.ID, Service: "test", Who: "ann"})
		if selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("undo of what was forgotten: %v", err)
		}
		l.serves("file")
		l.ask("hold", l.deploy("one").ID)
		if _, err := l.changes.Submit(l.ctx, purge, "ann"); selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("a purge beside a deploy that runs: %v", err)
		}
		l.ask("undo", "")
		c, err = l.changes.Submit(l.ctx, purge, "ann")
		if err != nil {
			t.Fatal(err)
		}
		l.ask("undo", c.ID)
		l.state(c.ID, client.Undone)
		l.serves("file")
		for _, wrong := range []client.Submission{{Service: "none", Kind: "purge"}, {Service: "test", Kind: "purge", Manifest: "00"}} {
			if _, err := l.changes.Submit(l.ctx, wrong, "ann"); err == nil {
				t.Errorf("%+v is taken", wrong)
			}
		}
	})
}

func TestAGuardedPurgeThatTheOriginDoesNotStandIsUndoneAndWhatIsStoredIsUsedAgain(t *testing.T) {
	const stored = 1500 // among so many are some of the first 1 %
	var made sync.Map
	leadFor(t, strings.Replace(oldService, "ttl: 60s", "ttl: 1h", 1), func(w http.ResponseWriter, r *http.Request) {
		if _, again := made.LoadOrStore(r.URL.Path, true); again && strings.HasPrefix(r.URL.Path, "/p/stored/") {
			w.WriteHeader(http.StatusServiceUnavailable) // what it made before it cannot make once more
			return
		}
		answers(w, r)
	}, func(l *led) {
		synctest.Wait()
		l.trust(l.node)
		l.state("c-1", client.Promoted)
		page := func(i int) int { return l.from(addrOf(i), fmt.Sprintf("/p/stored/%d", i%stored)).StatusCode }
		for i := range stored {
			if got := page(i); got != http.StatusOK {
				l.t.Fatalf("page %d at first: %d", i, got)
			}
		}
		c, err := l.changes.Submit(l.ctx, client.Submission{Service: "test", Kind: string(selvage.PurgeChange), Why: "new prices"}, "ann")
		if err != nil {
			l.t.Fatal(err)
		}
		var r client.Rollout
		for i := 0; !client.Over(r.Change.State); i++ {
			if i == 40_000 { // in most worlds some hundreds do
				l.t.Fatalf("after %d visits it is %s with a share of %v: %s", i, r.Change.State, r.Share, r.Change.Words)
			}
			page(i)
			l.from(addrOf(i), fmt.Sprintf("/p/new/%d", i)) // which was never stored, on either side
			time.Sleep(50 * time.Millisecond)
			if i%20 == 0 {
				r = l.until(c.ID, func(client.Rollout) bool { return true })
			}
		}
		if r.Change.State != client.Undone || r.Share != 0 {
			l.t.Errorf("it is %s with a share of %v: %s", r.Change.State, r.Share, r.Change.Words)
		}
		time.Sleep(time.Second) // the node has turned
		for i := range stored {
			if got := page(i); got != http.StatusOK {
				l.t.Errorf("page %d after the undo: %d", i, got)
			}
		}
		l.t.Log(r.Change.Words)
	})
}
