package node

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

func TestAPassMeetsItsArmAndIsNotCounted(t *testing.T) {
	sawPass := false
	serve(t, withRevision("old"), func(w http.ResponseWriter, r *http.Request) {
		sawPass = sawPass || r.Header.Get(PassField) != ""
		answers(w, r)
	}, func(b *bed) {
		synctest.Wait()
		b.trust(b.node)
		b.half(b.node, "c-1", 1)
		b.node.registry.watch("test").turn("c-1", &b.ledger)
		key := b.node.registry.shared.now.Load()
		pass := func(change selvage.ChangeID, arm byte, lasts time.Duration) http.Header {
			text := [passSize]byte{arm}
			putTime(text[1:], time.Now().Add(lasts))
			return http.Header{PassField: {key.close(passPurpose(selvage.DefaultTenant, "test", change), text[:])}}
		}
		for i := range 20 { // whatever the draw says
			for arm, want := range map[byte]string{passCanary: "new", passControl: "old"} {
				res := b.send(http.MethodGet, addrOf(i), "/fail", pass("c-1", arm, time.Hour))
				if got := res.Header.Get("X-Revision"); got != want || !strings.Contains(res.Header.Get(ArmField), `change="c-1"`) {
					t.Fatalf("a pass to %q gives %q, %s", want, got, res.Header.Get(ArmField))
				}
			}
		}
		b.ledger.expect(t)
		arm := b.from(addrOf(1), "/x").Header.Get("X-Revision")
		b.ledger.expect(t, "begin "+map[string]string{"old": "baseline", "new": "canary"}[arm]+" /*", "end [] 4 bytes 0s")
		other := byte(passCanary)
		if arm == "new" {
			other = passControl
		}
		for name, h := range map[string]http.Header{
			"of another rollout": pass("c-2", other, time.Hour), "that is over": pass("c-1", other, -time.Second), "that is none": {PassField: {"x"}},
		} {
			res := b.send(http.MethodGet, addrOf(1), "/x", h)
			if res.Header.Get("X-Revision") != arm || res.Header.Get(ArmField) != "" {
				t.Errorf("a pass %s is taken: %v", name, res.Header)
			}
		}
		if sawPass {
			t.Error("an origin sees passes")
		}
	})
}

func TestAPassIsMadeForARunningRolloutAndStandsInTheLog(t *testing.T) {
	lead(t, func(l *led) {
		l.ask("hold", l.deploy("one").ID)
		r := l.until("", func(r client.Rollout) bool { return r.Exposure > 0 })
		p, err := l.changes.Pass(l.ctx, "", r.Change.ID, client.PassRequest{Seconds: 60}, "ann")
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		for range 100 { // until the node has turned
			if got = l.send(http.MethodGet, addrOf(1), "/a", http.Header{p.Field: {p.Value}}).Header.Get("X-Revision"); got == "one" {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		if got != "one" {
			t.Errorf("with a pass %q is served", got)
		}
		var words string
		for e, err := range l.changes.Log(l.ctx, 0) {
			if err != nil {
				t.Fatal(err)
			}
			fact, err := e.Fact()
			if err != nil {
				t.Fatal(err)
			}
			if fact.Event == "pass" {
				words = fact.Who + " " + fact.Words
			}
		}
		if !strings.HasPrefix(words, "ann made a pass to the canary of "+r.Change.ID) || strings.Contains(words, p.Value) {
			t.Errorf("the log says %q", words)
		}
		l.ask("undo", r.Change.ID)
		l.state(r.Change.ID, client.Undone)
		if _, err := l.changes.Pass(l.ctx, "", r.Change.ID, client.PassRequest{}, "ann"); selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("a pass to what is undone: %v", err)
		}
	})
}
