package main

import (
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/selvage-edge/selvage/client"
)

func isNext(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "next") }

// rolloutIn reads a receipt that a command printed with -o json.
func rolloutIn(t *testing.T, out string) (r client.Rollout) {
	t.Helper()
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	return r
}

// outcomes are those of all changes in the log, which has to be whole.
func (g *guarded) outcomes(t *testing.T) map[string][]string {
	t.Helper()
	c, err := client.Find(g.data)
	if err != nil {
		t.Fatal(err)
	}
	var chain client.Chain
	out := map[string][]string{}
	for e, err := range c.Log(t.Context(), 0) {
		if err == nil {
			err = chain.Next(e)
		}
		if err != nil {
			t.Fatal(err)
		}
		f, err := e.Fact()
		if err != nil {
			t.Fatal(err)
		}
		if f.Event == "submitted" {
			out[f.Change.ID] = nil
		}
		if client.Over(f.Event) {
			out[f.Change.ID] = append(out[f.Change.ID], f.Event)
		}
	}
	return out
}

// logged waits until so many outcomes of every change stand in the log, which is
// written after what it tells, and gives them.
func (g *guarded) logged(t *testing.T, least func(id string) int) map[string][]string {
	t.Helper()
	var out map[string][]string
	g.p.until("the log says how each change ended", func() bool {
		out = g.outcomes(t)
		for id, events := range out {
			if len(events) < least(id) {
				return false
			}
		}
		return true
	})
	return out
}

func one(string) int { return 1 }

func TestDeployTellsItsEndByItsStatusAndInJSON(t *testing.T) {
	t.Parallel()
	g := guardedNode(t, isNext)
	stop := g.visit(t)
	next := filepath.Join(g.dir, "next.yaml")

	// Held by hand, from another terminal: the one that watches says so and ends.
	ended := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		defer close(ended)
		out, stderr, status := ask(t, []string{"SELVAGE_DATA=" + g.data}, "deploy", next, "-o", "json")
		var r client.Rollout
		if err := json.Unmarshal([]byte(out), &r); err != nil || status != 3 || r.Change.State != client.Held || r.Hold == "" {
			t.Errorf("a held deploy: exit status %d, %v, %s%s", status, err, out, stderr)
		}
	})
	defer watching.Wait()
	g.p.until("a client gets the canary", func() bool { return g.fromNext.Load() > 0 })
	g.ask(t, 0, "rollout", "hold", "-m", "lunch")
	<-ended
	if r := rolloutIn(t, g.ask(t, 0, "undo", "-o", "json")); r.Change.State != client.Undone {
		t.Errorf("an undo by hand says %s", r.Change.State)
	}

	r := rolloutIn(t, g.ask(t, 0, "deploy", next, "--break-glass", "-o", "json"))
	if r.Change.State != client.Promoted || r.Receipt == nil || r.Receipt.Outcome != client.Promoted || !r.BreakGlass {
		t.Errorf("a promoted deploy: %+v", r)
	}
	g.ask(t, 0, "undo", r.Change.ID)
	stop()
	for range 10 {
		if _, body := get(t, http.DefaultClient, g.p.url()+"/"); body != "old" {
			t.Fatalf("after the undo of a promoted one: %q", body)
		}
	}
	twice := func(id string) int {
		if id == r.Change.ID {
			return 2
		}
		return 1
	}
	if got := g.logged(t, twice)[r.Change.ID]; strings.Join(got, " ") != "promoted undone" {
		t.Errorf("in the log: %v", got)
	}
	g.p.end()
}

func TestReceiptInJSONIsWhole(t *testing.T) {
	t.Parallel()
	g := guardedNode(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) })
	stop := g.visit(t)
	r := rolloutIn(t, g.ask(t, 1, "deploy", filepath.Join(g.dir, "next.yaml"), "-o", "json"))
	stop()
	if r.Receipt == nil || r.Receipt.Served == 0 || r.Receipt.Users == 0 || r.Receipt.First == nil || len(r.Receipt.Nodes) != 1 || r.Receipt.Nodes[0].Late {
		t.Errorf("receipt: %+v", r.Receipt)
	}
	g.p.end()
}

func TestTwoDeploysAtOnceHaveOneOutcomeEach(t *testing.T) {
	t.Parallel()
	g := guardedNode(t, isNext)
	g.visit(t)
	third := write(t, g.dir, "third.yaml", strings.Replace(read(t, g.dir, "next.yaml"), "origin: web}", "origin: web, headers: {response: {set: {X-Third: \"1\"}}}}", 1))
	var statuses [2]int
	var deploys sync.WaitGroup
	for i, file := range []string{filepath.Join(g.dir, "next.yaml"), third} {
		deploys.Go(func() {
			_, _, statuses[i] = ask(t, []string{"SELVAGE_DATA=" + g.data}, "deploy", "--break-glass", file)
		})
	}
	deploys.Wait()
	outcomes := map[string]int{}
	for id, events := range g.logged(t, one) {
		if len(events) != 1 {
			t.Errorf("%s: %v", id, events)
			continue
		}
		if id != "c-1" {
			outcomes[events[0]]++
		}
	}
	// The later one takes the earlier one's place, unless that was promoted already.
	if outcomes[client.Promoted] == 0 || outcomes[client.Promoted]+outcomes[client.Superseded] != 2 {
		t.Errorf("outcomes %v, exit statuses %v", outcomes, statuses)
	}
	g.p.end()
}

func read(t *testing.T, dir, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// In an outage of the origin both revisions fail: the change waits for its end, is
// not undone, and what was asked for is done.
func TestDeployDuringAnOutageIsNotUndone(t *testing.T) {
	t.Parallel()
	var down atomic.Bool
	g := guardedNode(t, func(w http.ResponseWriter, _ *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		io.WriteString(w, "next")
	})
	handler := g.old.Config.Handler
	g.old.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		handler.ServeHTTP(w, r)
	})
	down.Store(true)
	g.visit(t)
	g.p.until("the outage is there", func() bool { return g.bad.Load() > 50 })
	g.ask(t, 0, "deploy", "--detach", "--break-glass", filepath.Join(g.dir, "next.yaml"))
	seen := g.bad.Load()
	g.p.until("the change has met it", func() bool {
		c := g.change(t)
		return c.State != client.Preparing && c.State != client.Replaying && g.bad.Load() > seen+500
	})
	down.Store(false)
	g.p.until("it is promoted after it", func() bool {
		c := g.change(t)
		if c.State == client.Undone || c.State == client.Refused {
			t.Fatalf("it is %s: %s", c.State, c.Words)
		}
		return c.State == client.Promoted
	})
	g.p.end()
}

// What a change kills is a process of its own: its keeper starts it again on what
// ran before, the change is undone by that, and who watches it learns so.
func TestChangeThatKillsTheEdgeOfATryIsUndone(t *testing.T) {
	t.Parallel()
	p, tmp := startTry(t, "--admin", "off")
	env := []string{"TMPDIR=" + tmp}
	p.until("shoppers are there", func() bool {
		out, _, _ := ask(t, env, "changes")
		return strings.Contains(out, "c-1 ")
	})
	out, stderr, status := ask(t, env, "deploy", exampleAt(t, "bad-memory", p.says(`origin +(http://\S+)`)))
	if status != 1 || !strings.Contains(out, "undone after") {
		t.Errorf("exit status %d, want 1:\n%s%s", status, out, stderr)
	}
	if strings.Contains(out, "crash") { // it may be undone because it is slow, on a machine that has little memory
		p.says("The edge has died")
	}
	url := p.says(`shop +(http://\S+)`)
	if resp, _ := get(t, http.DefaultClient, url+"/"); resp.StatusCode != http.StatusOK {
		t.Errorf("after it: %s", resp.Status)
	}
	p.signal(syscall.SIGINT)
	p.exit(0)
	nothingIn(t, tmp)
}
