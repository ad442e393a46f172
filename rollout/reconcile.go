package rollout

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// reconcile brings the node to what the document says, as far as it can now:
// prepares what is needed, and turns the arms when they are ready.
func (a *Agent) reconcile(ctx context.Context, s *tended) {
	needed := s.needed()
	for _, n := range needed {
		a.prepare(ctx, s, n)
	}
	a.replay(ctx, s)
	want := s.want(a.o.POP, a.o.Node)
	if !s.prepared(want.Baseline) || want.Canary != "" && !s.prepared(want.Canary) || want.Baseline == "" {
		return
	}
	if s.serves && want == s.serving {
		s.turnedBack()
		a.standIn(ctx, s)
		return
	}
	if err := a.serve(s, want); err != nil {
		a.o.Log.Error("a service cannot be turned", "service", s.name, "error", err)
		return
	}
	a.forget(s, needed)
}

// needed are the revisions that are to be ready, the one that is served first.
func (s *tended) needed() []stored {
	d := &s.doc
	out := []stored{{d.Promoted.Revision, d.Promoted.Manifest}}
	if r := d.Rollout; r != nil && !r.Phase.over() {
		out = append(out, stored{r.From.Revision, r.From.Manifest}, stored{r.Change.To, r.Manifest})
	}
	var unique []stored
	for _, v := range out {
		if v.Revision != "" && !slices.Contains(unique, v) {
			unique = append(unique, v)
		}
	}
	return unique
}

func (s *tended) prepared(id selvage.RevisionID) bool {
	p := s.preps[id]
	return p != nil && p.state == ready
}

func (s *tended) failed(id selvage.RevisionID) bool {
	p := s.preps[id]
	return p != nil && p.state == failing
}

// want is what this node is to serve: what the document says, but for its own
// tombstones, its own crashes, and what it cannot compile.
func (s *tended) want(pop selvage.POP, node selvage.NodeName) Arms {
	r := s.doc.Rollout
	arms := s.doc.arms(pop)
	if r == nil || r.Phase.over() || r.From.Revision == "" || r.Phase == preparing || r.Phase == replaying {
		if r != nil && s.failed(arms.Baseline) && s.serves {
			return s.serving // what it has is better than nothing
		}
		return arms
	}
	back := Arms{Baseline: r.From.Revision, Purged: arms.Purged}
	c := s.memory.Crashed
	crashed := c != nil && c.Change == r.Change.ID && !r.gives(node, c.Ends)
	if s.memory.undone(r.Change.ID) || crashed || s.failed(r.Change.To) || s.blocked != "" {
		return back
	}
	return arms
}

// serve turns the service. What is on trial is in the journal before a user gets it; an
// undo does not wait for the disk.
func (a *Agent) serve(s *tended, want Arms) error {
	now := time.Now()
	m := s.memory
	r := s.doc.Rollout
	trial := r != nil && r.From.Revision != "" && want.Change != "" && (want.Share > 0 || want.Canary == "")
	if trial && (m.Journal == nil || m.Journal.Change != want.Change) {
		m.Journal = &journal{Change: want.Change, From: stored{r.From.Revision, r.From.Manifest}}
		s.noted = 0
		if err := a.disk.save(s.name, m); err != nil {
			m.Journal = nil
			s.blocked = err.Error()
			return err
		}
	}
	if err := a.count(s, want, now); err != nil {
		return err
	}
	if err := a.o.Runtime.Serve(s.name, want, s.watch); err != nil {
		return err
	}
	s.serving, s.serves = want, true
	s.turnedBack()
	return a.remember(s, want, trial)
}

// turnedBack notes how long it took until the outcome was in effect here.
func (s *tended) turnedBack() {
	if r := s.doc.Rollout; r != nil && r.Phase.over() && s.turned == 0 {
		s.turned = max(time.Since(s.decided), time.Microsecond)
	}
}

// count begins and ends the counting of a rollout.
func (a *Agent) count(s *tended, want Arms, now time.Time) error {
	switch {
	case want.Change == "" && s.begun != "":
		s.watch.end()
		s.begun, s.elapsed, s.alone, s.bads = "", 0, 0, 0
	case want.Change != "" && s.begun != want.Change:
		if err := a.countFrom(s, want.Change, now); err != nil {
			return err
		}
	}
	if s.begun != "" {
		s.watch.shares(now, want.Share)
	}
	return nil
}

// countFrom begins to count, with what a clean end has left if it was of this
// rollout. A count that was lost makes another life, which may not act alone.
func (a *Agent) countFrom(s *tended, change selvage.ChangeID, now time.Time) error {
	m := s.memory
	again := m.Begun == change
	kept := m.Book
	m.Book = nil // it must not be taken twice
	o := judge.Options{Node: a.o.Node, Life: m.Life, Nodes: max(s.doc.Rollout.Pinned, 1), OnLimit: a.o.OnLimit}
	if again && kept != nil && kept.Change == change {
		if err := s.watch.restore(o, kept.Data, now); err == nil {
			s.begun, s.elapsed = change, kept.Elapsed
			return a.disk.save(s.name, m)
		}
	}
	m.Begun = change
	m.Life++
	o.Life, o.Lost = m.Life, again
	s.watch.begin(o, now)
	s.begun, s.elapsed, s.alone, s.bads = change, 0, 0, 0
	return a.disk.save(s.name, m)
}

// remember keeps what is promoted for a start without the store.
func (a *Agent) remember(s *tended, want Arms, trial bool) error {
	m := s.memory
	changed := false
	if !trial && m.Journal != nil {
		m.Journal, changed = nil, true
	}
	// While there is a control the old revision is what a start falls back to.
	p := stored{s.doc.Promoted.Revision, s.doc.Promoted.Manifest}
	if want.Canary == "" && want.Baseline == p.Revision && (m.Promoted != p || m.Back != s.before()) {
		m.Promoted, m.Back, changed = p, s.before(), true
	}
	if !changed {
		return nil
	}
	return a.disk.save(s.name, m)
}

// forget lets go what is neither needed nor served.
func (a *Agent) forget(s *tended, needed []stored) {
	gone := false
	for id, p := range s.preps {
		if slices.Contains(needed, p.stored) || p.state == waiting || id == s.serving.Baseline || id == s.serving.Canary {
			continue
		}
		a.o.Runtime.Forget(id)
		delete(s.preps, id)
		gone = true
	}
	if !gone {
		return
	}
	keep := map[state.Digest]bool{}
	for _, other := range a.services {
		keep[other.memory.Promoted.Manifest], keep[other.memory.Back.Manifest] = true, true
		keep[other.standIn.Manifest] = true
		if j := other.memory.Journal; j != nil {
			keep[j.From.Manifest] = true
		}
		for _, p := range other.preps {
			keep[p.Manifest] = true
		}
	}
	a.disk.sweep(keep)
}

// prepare fetches, verifies and compiles a revision, beside everything else.
func (a *Agent) prepare(ctx context.Context, s *tended, what stored) {
	p := s.preps[what.Revision]
	if p != nil && (p.retry.IsZero() || time.Now().Before(p.retry)) {
		return
	}
	p = &prep{stored: what, state: waiting}
	s.preps[what.Revision] = p
	a.running.Go(func() { // Run waits for it
		began := time.Now()
		service, err := a.bring(ctx, what, a.o.Runtime.Prepare)
		a.later(ctx, func() {
			p.took, p.falls = time.Since(began), service.FallsBack()
			switch {
			case err == nil:
				p.state = ready
			case selvage.KindOf(err) == selvage.Unavailable:
				p.why, p.retry = err.Error(), time.Now().Add(againIn)
			default:
				p.state, p.why = failing, err.Error()
				a.o.Log.Warn("a revision cannot be run here", "service", s.name, "revision", what.Revision, "error", err)
			}
			a.reconcile(ctx, s)
		})
	})
}

// later does something in the agent's own turn.
func (a *Agent) later(ctx context.Context, f func()) {
	select {
	case a.done <- f:
	case <-ctx.Done():
	}
}

// bring fetches a revision, if it is not here, and hands it to the node.
func (a *Agent) bring(ctx context.Context, what stored, hand func(context.Context, Revision) error) (service selvage.Service, err error) {
	manifest, err := a.disk.manifest(what.Manifest)
	if err != nil {
		key := state.BlobKey{Tenant: a.o.Tenant, Digest: what.Manifest}
		if manifest, err = state.ReadBlob(ctx, a.o.Store.Blobs, key, maxManifest); err != nil {
			return service, fmt.Errorf("fetch revision %s: %w", what.Revision, err)
		}
	}
	open := func(d state.Digest) (io.ReadCloser, error) {
		return a.o.Store.Blobs.Open(ctx, state.BlobKey{Tenant: a.o.Tenant, Digest: d})
	}
	files := ""
	if a.disk.folder != "" {
		files = filepath.Join(a.disk.revision(what.Manifest), "files")
		if err := os.MkdirAll(files, 0o700); err != nil {
			return service, selvage.Errorf(selvage.Unavailable, "make folder of revision %s: %w", what.Revision, err)
		}
	}
	if service, err = a.o.Unpack(bytes.Clone(manifest), open, files); err != nil {
		return service, err
	}
	if err := hand(ctx, Revision{ID: what.Revision, Tenant: a.o.Tenant, Service: service}); err != nil || files == "" {
		return service, err
	}
	// The manifest is there when its files are: then the revision is whole without the store.
	if err := replace(filepath.Join(a.disk.revision(what.Manifest), "manifest"), manifest); err != nil {
		return service, selvage.Errorf(selvage.Unavailable, "keep revision %s: %w", what.Revision, err)
	}
	return service, nil
}

// replay plays recorded requests, if it is this node's turn.
func (a *Agent) replay(ctx context.Context, s *tended) {
	r := s.doc.Rollout
	if r == nil || r.Phase != replaying || s.replay.change == r.Change.ID || !s.prepared(r.Change.To) || !s.prepared(r.From.Revision) {
		return
	}
	if name := r.replays(); name != a.o.Node {
		return
	}
	s.replay = replay{change: r.Change.ID}
	id, from, to := r.Change.ID, r.From.Revision, r.Change.To
	a.running.Go(func() { // Run waits for it
		result, err := a.o.Runtime.Replay(ctx, from, to, maxReplayed)
		a.later(ctx, func() {
			if s.replay.change != id {
				return
			}
			s.replay.result = &result
			if err != nil {
				s.replay.result, s.replay.err = nil, err.Error()
			}
		})
	})
}

// replays is the node that replays: the first by name of those in the first POP
// that are ready.
func (r *rollout) replays() selvage.NodeName {
	var first selvage.NodeName
	for name, n := range r.Nodes {
		if n.State == ready && (len(r.POPs) == 0 || n.POP == r.POPs[0]) && (first == "" || name < first) {
			first = name
		}
	}
	return first
}

// undoAlone takes the change back here, because this node's own evidence
// convicts it: the tombstone is durable first.
func (a *Agent) undoAlone(ctx context.Context, s *tended, c Count) {
	r := s.doc.Rollout
	if s.memory.undone(r.Change.ID) {
		return
	}
	t := c.Judged.Tally
	var bad int64
	for k := range judge.Indicator(judge.Indicators) {
		bad = max(bad, t.Bad[1][k])
	}
	words := fmt.Sprintf("undone by node %s alone after %d bad of %d makings in %s: evidence %s to 1",
		a.o.Node, bad, t.N[1], s.elapsed.Round(time.Second/10), thousands(toOne(max(c.Judged.Alone, c.Judged.AlonePrints))))
	if c.First.Record != "" {
		words += ", first record " + c.First.Record
	}
	s.memory.bury(tombstone{r.Change.ID, words})
	if err := a.disk.save(s.name, s.memory); err != nil {
		a.o.Log.Error("a tombstone is not on the disk", "change", r.Change.ID, "error", err)
	}
	a.reconcile(ctx, s)
	a.tell(ctx, s)
}

// tell lets the store know of an undo, until it has heard.
func (a *Agent) tell(ctx context.Context, s *tended) {
	if s.telling || len(s.memory.Untold) == 0 {
		return
	}
	s.telling = true
	t := s.memory.Untold[0]
	a.running.Go(func() { // Run waits for it
		err := applyTo(ctx, a.o.Store.Documents, rollouts(a.o.Tenant).Key(string(s.name)), told{a.o.Node, t.Change, t.Words})
		if err != nil {
			sleep(ctx, againIn)
		}
		a.later(ctx, func() {
			s.telling = false
			if err == nil && len(s.memory.Untold) > 0 {
				s.memory.Untold = s.memory.Untold[1:]
				if err := a.disk.save(s.name, s.memory); err != nil {
					a.o.Log.Warn("a tombstone is told again after a start", "error", err)
				}
			}
		})
	})
}
