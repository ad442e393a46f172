package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

// killed is a state of a rollout in which the node is killed.
type killed struct {
	at   string
	come func(k *killings) // brings a change to the state
	// day: the node had had the change for a day when it was killed, which is no evidence
	// against the change: it goes on.
	day   bool
	after func(k *killings) // looks at how it goes on; nil: it is undone, by itself or by hand
	want  []string          // its outcomes in the log
	late  []string          // what they may be as well, where a machine is slow
	stays bool              // it is never undone
}

// killings are kills of one node after the other, over one data folder.
type killings struct {
	*guarded
	t               *testing.T
	stop            func() // the clients
	asked, fromOld  atomic.Int64
	before          string // the last change of the state before
	files           int    // that were written
	badNext, badOld atomic.Bool
}

// A kill -9 in each state that a rollout comes to on a real node: after the next start there
// is one outcome, what is served is what it says, no acknowledged change is lost, and
// the log is whole.
func TestKilledInEveryStateThereIsOneOutcome(t *testing.T) {
	t.Parallel()
	undone := []string{client.Undone}
	late := []string{client.Promoted, client.Undone} // a second a step: it may be through before the undo is there
	killThrough(t, []killed{
		{at: "the deploy", come: func(k *killings) { k.halfway("deploy", "--detach", filepath.Join(k.dir, "next.yaml")) }, want: undone},
		{at: "preparing", come: func(k *killings) { k.deploy() }, want: undone},
		{at: "replaying", come: func(k *killings) {
			k.visited()
			k.deploy()
			k.until("it replays", func(r *client.Rollout) bool { return r.Change.State != client.Preparing })
		}, want: undone},
		{at: "the first share", come: func(k *killings) { k.visited(); k.deploy(); k.given() }, want: undone},
		{at: "a later share", come: func(k *killings) {
			k.visited()
			k.deploy()
			k.until("its share is not the first", func(r *client.Rollout) bool { return r.Share > 0.2 })
		}, want: undone},
		{at: "held by hand", come: func(k *killings) { k.visited(); k.deploy(); k.given(); k.ask(k.t, 0, "rollout", "hold") }, want: undone},
		{at: "evidence against it", come: func(k *killings) {
			k.badNext.Store(true)
			k.visited()
			k.deploy()
			k.until("it is held, or undone already", func(r *client.Rollout) bool { return r.ToUndo.ToOne > 20 || client.Over(r.Change.State) })
		}, want: undone},
		{at: "the undo", come: func(k *killings) { k.visited(); k.deploy(); k.given(); k.halfway("undo") }, want: undone, late: late},
		{at: "undone", come: func(k *killings) { k.visited(); k.deploy(); k.given(); k.ask(k.t, 0, "undo") }, want: undone, late: late},
		{at: "quiet mode, after a day", day: true, come: func(k *killings) { k.deploy(); k.quiet() }, after: func(k *killings) {
			// It may have been the change: the only node that had it waits for somebody to say so.
			k.until("it is held", func(r *client.Rollout) bool { return r.Change.State == client.Held })
			k.ask(k.t, 0, "rollout", "promote")
			k.visited()
			k.given()
		}, want: undone, late: late}, // half a minute of quiet promotes it
	})
}

func TestKilledAfterAPromotionThereIsOneOutcome(t *testing.T) {
	t.Parallel()
	both := []string{client.Promoted, client.Undone}
	local := func(k *killings) { // what a file says is promoted at once, and watched
		k.files++
		write(k.t, k.dir, "shop.yaml", fmt.Sprintf("%sowner: file-%d\n", read(k.t, k.dir, "next.yaml"), k.files))
		k.p.signal(syscall.SIGHUP)
		k.p.until("it is promoted", func() bool {
			c := k.change(k.t)
			return c.Kind == "local" && c.State == client.Promoted && c.ID != k.before
		})
	}
	goesOn := func(k *killings) { k.visited(); k.given() }
	killThrough(t, []killed{
		{at: "a purge", come: func(k *killings) {
			k.purge()
			k.until("it has begun", func(r *client.Rollout) bool { return r.Share > 0 })
		}, want: []string{client.Undone}},
		{at: "a purge that is through", stays: true, come: func(k *killings) {
			k.purge()
			k.promoted()
		}, want: []string{client.Promoted}},
		{at: "promoted and watched", come: local, want: both},
		{at: "promoted and watched, after a day", day: true, come: func(k *killings) { local(k); k.visited(); k.given() }, after: goesOn, want: both},
		{at: "promoted, with a control, after a day", day: true, come: func(k *killings) {
			k.visited()
			k.deploy()
			k.p.until("it is promoted", func() bool { return k.change(k.t).State == client.Promoted }) // in the log
		}, after: goesOn, want: both},
		{at: "doubted, after a day", day: true, come: func(k *killings) {
			k.visited()
			local(k)
			k.given()
			k.badOld.Store(true)
			k.badNext.Store(true)
			k.until("half of the clients go back", func(r *client.Rollout) bool { return r.Change.Kind == "local" && r.Share == 0.5 })
			k.badOld.Store(false)
			k.badNext.Store(false)
			k.fromOld.Store(0) // what a node does stands in the document already
			k.p.until("a client gets the old revision", func() bool { return k.fromOld.Load() > 0 })
		}, after: func(k *killings) {
			k.until("they still do", func(r *client.Rollout) bool { return r.Change.State == client.Promoted && r.Share == 0.5 })
			goesOn(k)
		}, want: both},
	})
}

func killThrough(t *testing.T, states []killed) {
	t.Helper()
	k := &killings{t: t}
	answer := func(bad *atomic.Bool, text string, count *atomic.Int64) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			k.asked.Add(1)
			count.Add(1)
			if bad.Load() {
				w.WriteHeader(http.StatusInternalServerError)
				return
			}
			io.WriteString(w, text)
		}
	}
	k.guarded = guardedNode(t, answer(&k.badNext, "next", new(atomic.Int64)))
	k.old.Config.Handler = answer(&k.badOld, "old", &k.fromOld)
	for _, state := range states {
		t.Logf("killed at %s", state.at)
		k.stop = func() {}
		k.fromNext.Store(0)
		k.before = k.change(t).ID
		state.come(k)
		k.kill()
		k.stop()
		k.badNext.Store(false)
		k.fromNext.Store(0)
		if state.day {
			k.hadItForADay()
		}
		k.p = serveNode(t, k.args...)
		c := k.change(t)
		if c.ID == k.before {
			if state.at != "the deploy" { // which was not acknowledged
				t.Errorf("killed at %s: the change is lost", state.at)
			}
			continue
		}
		k.settle(&state, c.ID)
	}
	k.ask(t, 0, "changes", "--verify")
	k.p.end()
}

// settle lets the change that was killed in a state have its outcome, by hand if it has
// none by itself, and compares what is served and what the log says.
func (k *killings) settle(state *killed, id string) {
	k.t.Helper()
	if state.after != nil {
		state.after(k)
		k.stop()
		if words := k.change(k.t).Words; strings.Contains(words, "crash") {
			k.t.Errorf("killed at %s: %s", state.at, words)
		}
	}
	if !state.stays {
		k.ask(k.t, 0, "undo", id) // it may be undone by itself already: then this changes nothing
		k.until("it is undone", func(r *client.Rollout) bool { return r.Change.ID == id && r.Change.State == client.Undone })
	}
	k.p.until("all get the old revision", func() bool {
		for range 5 {
			if _, body := get(k.t, http.DefaultClient, k.p.url()+"/"); body != "old" {
				return false
			}
		}
		return true
	})
	var got []string
	last := state.want[len(state.want)-1]
	k.p.until("the log says that it is "+last, func() bool {
		got = k.outcomes(k.t)[id]
		return len(got) > 0 && got[len(got)-1] == last
	})
	if !slices.Equal(got, state.want) && !slices.Equal(got, state.late) {
		k.t.Errorf("killed at %s: the log says %q, want %q", state.at, got, state.want)
	}
}

// kill ends the node as nothing else does.
func (k *killings) kill() {
	k.t.Helper()
	_ = k.p.cmd.Process.Kill() // it may be dead already
	<-k.p.ended
}

// halfway asks for something, and the node is killed meanwhile: nobody knows what came of it.
func (k *killings) halfway(args ...string) {
	cmd := command(args...)
	cmd.Env = append(cmd.Env, "SELVAGE_DATA="+k.data)
	began := make(chan struct{})
	var asking sync.WaitGroup
	asking.Go(func() {
		defer close(began)
		if err := cmd.Start(); err == nil {
			began <- struct{}{}
			_ = cmd.Wait()
		}
	})
	<-began
	k.kill()
	for range began { // closed at its end
	}
	asking.Wait()
}

func (k *killings) deploy() {
	k.t.Helper()
	k.ask(k.t, 0, "deploy", "--detach", "--break-glass", filepath.Join(k.dir, "next.yaml"))
}

// purge begins one of the service. Who asks for it watches it until the node is gone.
func (k *killings) purge() {
	cmd := command("purge", "--guarded", "service:shop")
	cmd.Env = append(cmd.Env, "SELVAGE_DATA="+k.data)
	start(k.t, cmd)
	k.until("the purge is in the log", func(r *client.Rollout) bool { return r.Change.Kind == "purge" && !client.Over(r.Change.State) })
}

// visited lets clients come, and waits until the node knows what is usual.
func (k *killings) visited() {
	k.t.Helper()
	k.stop = k.visit(k.t)
	least := k.asked.Load() + 300
	k.p.until("clients come", func() bool { return k.asked.Load() > least })
}

// given waits until a client gets the new revision.
func (k *killings) given() {
	k.t.Helper()
	k.p.until("a client gets the new revision", func() bool { return k.fromNext.Load() > 0 })
}

func (k *killings) quiet() {
	k.t.Helper()
	k.until("it is quiet", func(r *client.Rollout) bool { return r.Mode == "quiet" })
}

// promoted has it promoted by hand as soon as it is quiet.
func (k *killings) promoted() {
	k.t.Helper()
	k.quiet()
	c, err := client.Find(k.data)
	if err != nil {
		k.t.Fatal(err)
	}
	k.p.until("it is promoted", func() bool {
		if k.change(k.t).State == client.Promoted {
			return true
		}
		_, _ = c.Promote(k.t.Context(), client.Of{Service: "shop"}, "") // what is shown may not yet be in the document
		return false
	})
}

// until waits until the last rollout is so.
func (k *killings) until(what string, is func(r *client.Rollout) bool) {
	k.t.Helper()
	c, err := client.Find(k.data)
	if err != nil {
		k.t.Fatal(err)
	}
	k.p.until(what, func() bool {
		r, err := c.Rollout(k.t.Context(), client.Of{Service: "shop"})
		if errors.Is(err, context.DeadlineExceeded) {
			return false // the machine is busy
		}
		if err != nil {
			k.t.Fatalf("waiting until %s: %v", what, err)
		}
		return is(r)
	})
}

// hadItForADay writes into the journal of the node, which is down, that it had the change
// on trial for a day.
func (k *killings) hadItForADay() {
	k.t.Helper()
	name := filepath.Join(k.data, "rollouts", "shop.json")
	data, err := os.ReadFile(name)
	var memory, journal map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(data, &memory)
	}
	if err == nil {
		err = json.Unmarshal(memory["Journal"], &journal)
	}
	if err != nil || journal == nil {
		k.t.Fatalf("the journal has no trial: %v\n%s", err, data)
	}
	journal["Had"], _ = json.Marshal(24 * time.Hour)
	memory["Journal"], _ = json.Marshal(journal)
	if data, err = json.Marshal(memory); err != nil {
		k.t.Fatal(err)
	}
	if err := os.WriteFile(name, data, 0o600); err != nil {
		k.t.Fatal(err)
	}
}
