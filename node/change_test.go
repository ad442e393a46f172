package node

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
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
	"github.com/selvage-edge/selvage/state"
)

// led is a bed whose changes are led, with a request a second.
type led struct {
	*bed
	ctx     context.Context
	changes *Changes
}

func revised(name string) string {
	return strings.Replace(oldService, "match: {path: /*}, origin: web", "match: {path: /*}, origin: web, headers: {response: {set: {X-Revision: "+name+"}}}", 1)
}

// lead lets changes be led on a node that serves the revision "file".
func lead(t *testing.T, test func(*led)) {
	leadFor(t, revised("file"), answers, test)
}

// leadFor is lead with a service and an origin of the test's own.
func leadFor(t *testing.T, service string, origin http.HandlerFunc, test func(*led)) {
	t.Run("bubble", func(t *testing.T) {
		serve(t, service, origin, func(b *bed) {
			t := b.t // of the bubble
			ctx, stop := context.WithCancel(t.Context())
			store := b.node.state
			coordinator := rollout.NewCoordinator(rollout.CoordinatorOptions{Store: store, Tenant: selvage.DefaultTenant, Holder: "one"})
			changes := &Changes{Rollouts: rollout.NewChanges(store, selvage.DefaultTenant, coordinator), Store: store, Tenant: selvage.DefaultTenant}
			agent := b.node.Agent(t.TempDir(), coordinator)
			var loops sync.WaitGroup
			for _, run := range []func(context.Context) error{coordinator.Run, agent.Run} {
				loops.Go(func() {
					if err := run(ctx); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				})
			}
			loops.Go(func() {
				for ctx.Err() == nil {
					b.get("/a")
					time.Sleep(time.Second)
				}
			})
			l := &led{b, ctx, changes}
			if err := changes.Local(ctx, parse(t, service), selvage.Outside{}, "node edge-1", "start"); err != nil {
				t.Fatal(err)
			}
			test(l)
			stop()
			loops.Wait()
		})
	})
}

// submit sends a revision with its files, as a client does.
func (l *led) submit(name string) (client.Change, error) {
	file := filepath.Join(l.t.TempDir(), name+".yaml")
	if err := os.WriteFile(file, []byte(revised(name)), 0o600); err != nil {
		return client.Change{}, err
	}
	b, err := config.Pack(file)
	if err != nil {
		return client.Change{}, err
	}
	digest := state.DigestOf(b.Data)
	if err := l.changes.Store.Blobs.Put(l.ctx, l.changes.blob(digest), bytes.NewReader(b.Data)); err != nil {
		return client.Change{}, err
	}
	return l.changes.Submit(l.ctx, client.Submission{Service: "test", Manifest: digest.String(), Why: name}, "ann")
}

func (l *led) deploy(name string) client.Change {
	l.t.Helper()
	c, err := l.submit(name)
	if err != nil {
		l.t.Fatal(err)
	}
	return c
}

// ask wants something of a change.
func (l *led) ask(what, change string) {
	l.t.Helper()
	if err := l.changes.Ask(l.ctx, control.Asking{What: what, Change: change, Service: "test", Who: "ann"}); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}

// until waits for a change to be so, for an hour at the most.
func (l *led) until(change string, so func(client.Rollout) bool) client.Rollout {
	l.t.Helper()
	var r client.Rollout
	for range 36_000 {
		var err error
		if r, err = l.changes.Status(l.ctx, "", change); err != nil {
			l.t.Fatal(err)
		}
		if so(r) {
			return r
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.t.Fatalf("after an hour %s is %s: %s", change, r.Change.State, r.Change.Words)
	return r
}

func (l *led) state(change, want string) client.Rollout {
	l.t.Helper()
	return l.until(change, func(r client.Rollout) bool { return r.Change.State == want })
}

// serves wants every answer to be of a revision, within seconds.
func (l *led) serves(want string) {
	l.t.Helper()
	got := ""
	for range 100 {
		res, err := l.client.Get("http://203.0.113.1/a")
		if err != nil {
			l.t.Fatal(err)
		}
		_, err = io.Copy(io.Discard, res.Body)
		res.Body.Close()
		if got = res.Header.Get("X-Revision"); got == want || err != nil {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	l.t.Errorf("revision %q is served, want %q", got, want)
}

func TestAQuietDeployIsPromotedAndItsUndoBringsTheFileBack(t *testing.T) {
	lead(t, func(l *led) {
		c := l.deploy("next")
		events := map[string]bool{}
		for p, err := range l.changes.Watch(l.ctx, c.ID) {
			if err != nil {
				t.Fatal(err)
			}
			events[p.Event] = true
			if len(p.Rollout.Plan) == 0 {
				t.Errorf("%s without a plan", p.Event)
			}
		}
		if !events["promoted"] {
			t.Errorf("events: %v", events)
		}
		l.serves("next")
		for range 2 { // the second time it changes nothing
			l.ask("undo", c.ID)
			l.state(c.ID, client.Undone)
		}
		l.serves("file")
		for range 2 { // the log is told of outcomes after they are decided
			all, err := l.changes.Changes(l.ctx, 10)
			if err != nil || len(all) != 2 || all[0].ID != c.ID || all[0].Who != "ann" {
				t.Fatalf("changes: %+v, %v", all, err)
			}
			if all[0].State == client.Undone {
				break
			}
			time.Sleep(time.Minute)
		}
		if all, err := l.changes.Changes(l.ctx, 1); err != nil || all[0].State != client.Undone {
			t.Errorf("changes: %+v, %v", all, err)
		}
		again := l.deploy("next") // what was undone may be tried again
		l.until(again.ID, func(r client.Rollout) bool { return r.Share > 0 })
	})
}

// opened counts what is read of a store's blobs.
type opened struct {
	state.Blobs
	n atomic.Int64
}

func (o *opened) Open(ctx context.Context, key state.BlobKey) (io.ReadCloser, error) {
	o.n.Add(1)
	return o.Blobs.Open(ctx, key)
}

// Reading and comparing two manifests takes milliseconds, and three terminals that
// show a rollout ask for it thirty times a second.
func TestWhoeverLooksAtARolloutAgainDoesNotHaveItsRevisionsComparedAgain(t *testing.T) {
	lead(t, func(l *led) {
		blobs := &opened{Blobs: l.changes.Store.Blobs}
		l.changes.Store.Blobs = blobs
		c := l.deploy("next")
		l.until(c.ID, func(r client.Rollout) bool { return r.Share > 0 })
		read := blobs.n.Load()
		for range 10 {
			r, err := l.changes.Status(l.ctx, "", c.ID)
			if err != nil || len(r.Plan) == 0 || !strings.Contains(r.Plan[0], "next") {
				t.Fatalf("plan %q, %v", r.Plan, err)
			}
		}
		if got := blobs.n.Load(); got != read || read == 0 {
			t.Errorf("%d manifests were read, and %d more for ten looks", read, got-read)
		}
		l.ask("undo", c.ID)
		l.state(c.ID, client.Undone)
		c = l.deploy("third")
		if r, err := l.changes.Status(l.ctx, "", c.ID); err != nil || len(r.Plan) == 0 || !strings.Contains(r.Plan[0], "third") {
			t.Errorf("another change has the plan %q, %v", r.Plan, err)
		}
	})
}

func TestALevelThatGetsBadAfterThePromotionIsComparedWithTheOldRevision(t *testing.T) {
	lead(t, func(l *led) {
		synctest.Wait()
		l.trust(l.node)
		time.Sleep(time.Minute) // then it is known what is usual
		c := l.deploy("next")
		time.Sleep(2 * time.Minute) // of quiet mode
		r := l.state(c.ID, client.Promoted)
		if r.Share != 0 {
			l.t.Fatalf("it is promoted with a share of %v", r.Share)
		}
		for i := 0; r.Share == 0; i++ {
			if i == 100 {
				l.t.Fatalf("%d clients have a bad answer, and nobody doubts it: %s", i, r.Change.Words)
			}
			l.from(addrOf(i), "/fail")
			time.Sleep(100 * time.Millisecond)
			r = l.until(c.ID, func(client.Rollout) bool { return true })
		}
		if r.Change.State != client.Promoted || r.Share != 0.5 {
			l.t.Errorf("it is %s with a share of %v", r.Change.State, r.Share)
		}
		time.Sleep(2 * time.Minute) // without anything bad
		r = l.until(c.ID, func(r client.Rollout) bool { return r.Share == 0 })
		if r.Change.State != client.Promoted {
			l.t.Errorf("after it: %s, %s", r.Change.State, r.Change.Words)
		}
		l.serves("next")
	})
}

func TestAHeldDeployGoesOnWhenItIsPromotedAndGlassIsBroken(t *testing.T) {
	lead(t, func(l *led) {
		c := l.deploy("next")
		l.ask("hold", c.ID)
		held := l.state(c.ID, client.Held)
		if held.Hold != "ann" {
			t.Errorf("held by %q", held.Hold)
		}
		time.Sleep(5 * time.Minute)
		if now := l.state(c.ID, client.Held); now.Share != held.Share {
			t.Errorf("the share of what is held went from %v to %v", held.Share, now.Share)
		}
		l.ask("promote", c.ID)
		l.until(c.ID, func(r client.Rollout) bool { return r.Change.State != client.Held })
		l.ask("break-glass", c.ID)
		l.state(c.ID, client.Promoted)
		l.serves("next")
	})
}

func TestOfDeploysAtOnceTheLastOneHolds(t *testing.T) {
	lead(t, func(l *led) {
		first := l.deploy("first")
		l.until(first.ID, func(r client.Rollout) bool { return r.Change.State != client.Preparing })
		second := l.deploy("second")
		l.state(first.ID, client.Superseded)

		got := make([]client.Change, 2)
		var both sync.WaitGroup
		for i := range got {
			both.Go(func() {
				var err error
				if got[i], err = l.submit(fmt.Sprint("at-once-", i)); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
		l.state(second.ID, client.Superseded)
		synctest.Wait()
		states := map[string]int{}
		for _, c := range got {
			r := l.until(c.ID, func(r client.Rollout) bool { return client.Over(r.Change.State) })
			states[r.Change.State]++
		}
		if states[client.Superseded] != 1 || states[client.Promoted] != 1 {
			t.Errorf("of two at once: %v", states)
		}
	})
}
