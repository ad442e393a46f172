package node

import (
	"context"
	"crypto/aes"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/route"
)

var _ rollout.Runtime = (*Node)(nil)

// maxPrepared is how many revisions are kept ready beside those of the files:
// each service has two or three, those before an undo among them.
const maxPrepared = 1024

// maxBefore is how many revisions that nobody had heard of are remembered of a file.
const maxBefore = 16

// deployment is what was deployed of one service, as the agent last said.
type deployment struct {
	arms  rollout.Arms
	watch *rollout.Watch
	cut   *cut // of the canary's requests; nil without one
	purge *purgeTrial
	// overruled: its file was changed after this, which holds until something else
	// is deployed.
	overruled bool
}

// same says whether a is the deployment at most with another share.
func (d *deployment) same(a rollout.Arms) bool {
	return d.arms.Change == a.Change && d.arms.Baseline == a.Baseline && d.arms.Canary == a.Canary
}

// Prepare implements [rollout.Runtime].
func (n *Node) Prepare(ctx context.Context, r rollout.Revision) error {
	switch {
	case r.Tenant != n.tenant:
		return selvage.Errorf(selvage.Invalid, "prepare revision %s: this node serves tenant %q, not %q", r.ID, n.tenant, r.Tenant)
	case r.ID == "":
		return selvage.Errorf(selvage.Invalid, "prepare a revision of service %s: it has no name", r.Service.Service)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	n.compiling.Lock() // not mu: who serves does not wait for a compilation
	defer n.compiling.Unlock()
	if ready, err := n.mayPrepare(r.ID); ready || err != nil {
		return err
	}
	rev, err := n.registry.compile(r.ID, r.Tenant, r.Service, new(cache.Layer))
	if err != nil {
		return &selvage.Error{Kind: selvage.Invalid, Err: fmt.Errorf("prepare revision %s: %w", r.ID, n.secretless(r.Service.Service, err))}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		rev.release()
		return selvage.Errorf(selvage.Unavailable, "prepare revision %s: the node has ended", r.ID)
	}
	if n.prepared == nil {
		n.prepared = make(map[selvage.RevisionID]*revision)
	}
	n.prepared[r.ID] = rev
	return nil
}

// mayPrepare says whether a revision is ready already, or why it cannot be made so.
func (n *Node) mayPrepare(id selvage.RevisionID) (ready bool, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	switch {
	case n.ended:
		return false, selvage.Errorf(selvage.Unavailable, "prepare revision %s: the node has ended", id)
	case n.prepared[id] != nil:
		return true, nil
	case len(n.prepared) >= maxPrepared:
		n.LimitHit("prepared_revisions")
		return false, selvage.Errorf(selvage.Unavailable, "prepare revision %s: %d are ready already", id, maxPrepared)
	}
	return false, nil
}

// Forget implements [rollout.Runtime]. What is still served goes when it is not
// served any more.
func (n *Node) Forget(id selvage.RevisionID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if rev := n.prepared[id]; rev != nil {
		delete(n.prepared, id)
		rev.release()
	}
}

// Serve implements [rollout.Runtime]. Without a baseline, what the files say of
// the service is it; without either arm, they alone are served. An error leaves
// everything as it was: it is of kind [selvage.NotFound] where a revision is not
// prepared, of kind [selvage.Conflict] where a file was changed since: that is a
// local change, and holds until another revision is deployed.
func (n *Node) Serve(service selvage.ServiceName, a rollout.Arms, w *rollout.Watch) error {
	n.lockAfterChores(service)
	defer n.mu.Unlock()
	if n.ended {
		return selvage.Errorf(selvage.Unavailable, "serve service %s: the node has ended", service)
	}
	old := n.deployed[service]
	if old != nil && old.overruled && old.same(a) {
		return selvage.Errorf(selvage.Conflict, "serve service %s: its file was changed on this node since: deploy again to overrule it", service)
	}
	if file := n.localLocked(service); old == nil && file != nil && a.Canary == "" && a.Baseline != "" && slices.Contains(file.before, a.Baseline) {
		return selvage.Errorf(selvage.Conflict, "serve service %s: its file was changed on this node before it was noted what it had said", service)
	}
	for _, id := range []selvage.RevisionID{a.Baseline, a.Canary} {
		if id != "" && n.revisionLocked(service, id) == nil {
			return selvage.Errorf(selvage.NotFound, "serve service %s: revision %s is not prepared", service, id)
		}
	}
	next := maps.Clone(n.deployed)
	if next == nil {
		next = make(map[selvage.ServiceName]*deployment)
	}
	d := &deployment{arms: a, watch: w}
	if a.Canary != "" && !d.purges() {
		if d.cut = new(cut); old != nil && old.arms.Change == a.Change && old.arms.Canary == a.Canary {
			d.cut = old.cut
		}
	}
	next[service] = d
	if d.cut != nil && (old == nil || d.cut != old.cut) {
		n.layer(service, a.Canary, n.registry.store.Overlay)
		for _, pool := range n.revisionLocked(service, a.Canary).pools {
			pool.Trial()
		}
	}
	t, err := n.newTable(n.local, next)
	if err != nil {
		return fmt.Errorf("serve service %s: %w", service, err)
	}
	n.deployed = next
	n.turnWatch(service, a.Change, w)
	n.swap(t)
	n.afterLocked(service, old, d)
	return nil
}

// layer does something with where a revision's answers are stored.
func (n *Node) layer(service selvage.ServiceName, id selvage.RevisionID, do func(*cache.Layer)) {
	if rev := n.revisionLocked(service, id); rev != nil && rev.layer != nil {
		do(rev.layer)
	}
}

func (n *Node) turnWatch(service selvage.ServiceName, change selvage.ChangeID, w *rollout.Watch) {
	if w == nil {
		n.registry.watch(service).stop()
		return
	}
	n.registry.watch(service).turn(change, w)
}

// afterLocked lets what was served before end. What a canary stored is merged
// when it is promoted, else dropped, and its requests are cut after the grace. What
// a baseline stored that is not one any more, other than by the next promotion,
// is not used any more, as far as what goes on does not make the same.
func (n *Node) afterLocked(service selvage.ServiceName, old, d *deployment) {
	store := n.registry.store
	n.purgeLocked(service, old, d)
	if !d.overruled {
		n.layer(service, d.arms.Baseline, func(l *cache.Layer) { n.choreLocked(service, func() { store.Merge(l) }) })
	}
	if old == nil || old.overruled {
		return
	}
	promoted := !d.overruled && old.arms.Canary != "" && old.arms.Canary == d.arms.Baseline
	if old.arms.Baseline != "" && !promoted && (d.overruled || old.arms.Baseline != d.arms.Baseline) {
		n.condemnLocked(service, old.arms.Baseline, d)
	}
	if old.cut == nil || old.cut == d.cut || promoted {
		return
	}
	if old.arms.Canary != d.arms.Canary || d.overruled {
		n.layer(service, old.arms.Canary, func(l *cache.Layer) { n.choreLocked(service, func() { store.Drop(l) }) })
	}
	n.cuts = append(slices.DeleteFunc(n.cuts, (*cut).ended), old.cut)
	old.cut.begin()
}

// condemnLocked makes unusable what a revision stored and d would not have made.
func (n *Node) condemnLocked(service selvage.ServiceName, id selvage.RevisionID, d *deployment) {
	undone := n.revisionLocked(service, id)
	if undone == nil {
		return // forgotten: what came by a deployment is used by the same alone
	}
	var keep []string
	for _, rev := range n.local {
		if rev.service.Service == service {
			keep = append(keep, rev.makings...)
		}
	}
	if rev := n.revisionLocked(service, d.arms.Baseline); rev != nil && !d.overruled {
		keep = append(keep, rev.makings...)
	}
	n.registry.store.Condemn(slices.DeleteFunc(slices.Clone(undone.makings), func(m string) bool { return slices.Contains(keep, m) }))
}

// revisionLocked is a revision of a service that may be served.
func (n *Node) revisionLocked(service selvage.ServiceName, id selvage.RevisionID) *revision {
	if rev := n.prepared[id]; rev != nil && rev.service.Service == service {
		return rev
	}
	for _, rev := range n.local {
		if rev.id == id && rev.service.Service == service {
			return rev
		}
	}
	return nil
}

// overruledLocked is what is deployed beside these services of the files: one
// whose file was changed is a local change, which holds from now on.
func (n *Node) overruledLocked(local []*revision) map[selvage.ServiceName]*deployment {
	next := maps.Clone(n.deployed)
	for _, rev := range local {
		name := rev.service.Service
		d := n.deployed[name]
		if d == nil || d.arms.Baseline == "" && d.arms.Canary == "" || n.hasLocked(rev) {
			continue
		}
		n.log.Warn("a changed file overrules what was deployed until something else is", "service", name,
			"revision", rev.id, "deployed", d.arms.Baseline, "change", d.arms.Change)
		next[name] = &deployment{arms: d.arms, watch: d.watch, overruled: true}
	}
	return next
}

// replaceLocked notes in what files say now what they said before, of services that
// nobody has turned yet: whoever hears of that only now is late.
func (n *Node) replaceLocked(local []*revision) {
	for _, rev := range local {
		old := n.localLocked(rev.service.Service)
		if old == nil || n.deployed[rev.service.Service] != nil {
			continue
		}
		all := append(slices.Clone(old.before), old.id)
		all = slices.DeleteFunc(all, func(id selvage.RevisionID) bool { return id == rev.id })
		rev.before = all[max(len(all)-maxBefore, 0):]
	}
}

// localLocked is what the files say of a service; nil if they do not.
func (n *Node) localLocked(service selvage.ServiceName) *revision {
	for _, rev := range n.local {
		if rev.service.Service == service {
			return rev
		}
	}
	return nil
}

// hasLocked says whether the files said the same before.
func (n *Node) hasLocked(rev *revision) bool {
	return slices.ContainsFunc(n.local, func(old *revision) bool {
		return old.id == rev.id && old.service.Service == rev.service.Service
	})
}

// turnLocked takes over the services of the files, and what is deployed beside them.
func (n *Node) turnLocked(local []*revision, deployed map[selvage.ServiceName]*deployment) {
	old, before := n.local, n.deployed
	n.local, n.deployed = local, deployed
	for name, d := range deployed {
		if d.overruled {
			n.turnWatch(name, "", d.watch)
			n.afterLocked(name, before[name], d)
		}
	}
	releaseAll(old)
}

// releaseArms lets all revisions go at the end.
func (n *Node) releaseArms() {
	n.mu.Lock()
	n.ended = true
	n.mu.Unlock()
	n.chores.working.Wait() // nobody adds to it any more
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range n.cuts {
		c.stop()
	}
	n.table.Load().release()
	releaseAll(n.local)
	releaseAll(slices.Collect(maps.Values(n.prepared)))
	n.local, n.prepared = nil, nil
}

// table is what is served, by host. It is immutable: Serve and Reload put a new
// one in its place.
type table struct {
	hosts     *route.Hosts
	services  []*served
	revisions []*revision // of the services, the canaries not among them where there is a baseline
}

// served is what is served of one service: one revision, or two during a rollout.
type served struct {
	name      selvage.ServiceName
	cookie    *selvage.ClientCookie // nil: clients are their addresses
	change    selvage.ChangeID      // whose rollout runs, also where there is no canary any more
	baseline  *revision             // nil for a service whose first revision is on its way
	canary    *revision             // nil without a rollout
	sameRoute bool                  // both arms find the same route for a request, by its place
	threshold uint64                // units whose hash is below it get the canary
	all       bool                  // all of them do
	units     units
	watch     *watching
	cut       *cut
}

// newTable makes a table of the services of the files and those that are
// deployed. It fails if two have the same host.
func (n *Node) newTable(local []*revision, deployed map[selvage.ServiceName]*deployment) (*table, error) {
	var all []*served
	seen := make(map[selvage.ServiceName]bool)
	for _, rev := range local {
		name := rev.service.Service
		seen[name] = true
		s, err := n.newServed(name, rev, deployed[name])
		if err != nil {
			return nil, err
		}
		s.cookie = cookieOf(s)
		all = append(all, s)
	}
	for _, name := range slices.Sorted(maps.Keys(deployed)) {
		if seen[name] {
			continue
		}
		s, err := n.newServed(name, nil, deployed[name])
		if err != nil {
			return nil, err
		}
		if s.baseline != nil || s.canary != nil {
			s.cookie = cookieOf(s)
			all = append(all, s)
		}
	}
	hosts, err := hostsOf(all)
	if err != nil {
		return nil, err
	}
	t := &table{hosts: hosts, services: all}
	for _, s := range all {
		for _, rev := range s.revisions() {
			rev.users.Add(1) // it has one at least: the node's
		}
		t.revisions = append(t.revisions, s.revisions()[0])
	}
	return t, nil
}

// swap puts a table in the place of the one that is served.
func (n *Node) swap(t *table) {
	old := n.table.Swap(t)
	for _, s := range t.services {
		for _, was := range old.services {
			if was.watch == s.watch { // the same service
				n.registry.functions.before.turn(s.name, was.baseline, s.baseline)
			}
		}
	}
	old.release()
}

// newServed is what is served of a service with this file, which may be nil, and
// this deployment, which may be too.
func (n *Node) newServed(name selvage.ServiceName, file *revision, d *deployment) (*served, error) {
	s := &served{name: name, baseline: file, watch: n.registry.watch(name)}
	if d == nil || d.overruled {
		return s, nil
	}
	if d.arms.Baseline != "" {
		s.baseline = n.revisionLocked(name, d.arms.Baseline)
	}
	block, err := aes.NewCipher(d.arms.Secret[:])
	if err != nil {
		return nil, errors.Join(errors.New("make the hash of units"), err)
	}
	// Also where everybody has what was promoted: its level is watched, client by client.
	s.change, s.units = d.arms.Change, units{block: block, by: d.arms.Unit}
	if d.arms.Canary == "" || d.arms.Canary == d.arms.Baseline && !d.purges() {
		return s, nil
	}
	s.canary, s.cut = n.revisionLocked(name, d.arms.Canary), d.cut
	s.sameRoute = s.baseline != nil && s.baseline.matchesAs(s.canary)
	if d.arms.Share >= 1 {
		s.all = true
	} else {
		s.threshold = uint64(max(d.arms.Share, 0) * math.MaxUint64)
	}
	return s, nil
}

// revisions are the arms that there are, the baseline first.
func (s *served) revisions() []*revision {
	return slices.DeleteFunc([]*revision{s.baseline, s.canary}, func(r *revision) bool { return r == nil })
}

// pin finds the service of the request's host and the revision of its arm, and
// counts its user. It is false if there is none.
func (x *exchange) pin() bool {
	for {
		t := x.node.table.Load()
		i, ok := t.hosts.Find(x.r.Host)
		if !ok {
			return false
		}
		s := t.services[i]
		x.served = s
		x.takeCookie()
		rev, arm := s.baseline, selvage.Baseline
		x.rec.Target.Change, x.rec.Target.Unit, x.rec.Target.Forced = s.change, 0, false
		switch {
		case s.canary == nil && s.change == "":
		case s.units.by == selvage.ByConnection && rev != nil:
			x.rec.Target.Change = "" // to requests the arms are alike, and none counts
		case s.canary == nil:
			_, x.rec.Target.Unit = s.units.hash(x)
		default:
			place, client := s.units.hash(x)
			x.rec.Target.Unit = client
			forced := x.forcedArm(s)
			if x.rec.Target.Forced = forced != ""; forced == selvage.Canary || forced == "" && (s.all || place < s.threshold) {
				rev, arm = s.canary, selvage.Canary
			}
		}
		if rev == nil {
			return false
		}
		if rev.acquire() {
			x.rev, x.rec.Target.Arm = rev, arm
			return true
		}
		// The table was replaced meanwhile: take the new one.
	}
}

// compileAll compiles all services or none.
func (reg *registry) compileAll(tenant selvage.Tenant, conf *selvage.Config) (all []*revision, err error) {
	defer func() {
		for range reg.functions.checks.forget() {
			reg.metrics.LimitHit("function_checks")
		}
	}()
	for _, s := range conf.Services {
		id, err := config.LocalRevision(s, conf.Outside[s.Service])
		var rev *revision
		if err == nil {
			rev, err = reg.compile(id, tenant, s, nil)
		}
		if err != nil {
			releaseAll(all)
			return nil, err
		}
		all = append(all, rev)
	}
	return all, nil
}

func releaseAll(revisions []*revision) {
	for _, rev := range revisions {
		rev.release()
	}
}

func (t *table) release() {
	for _, s := range t.services {
		releaseAll(s.revisions())
	}
}
