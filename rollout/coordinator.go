package rollout

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// Coordinator leads the rollouts of a tenant while it holds the lease. Any
// number may run, one of them leads. It may die at any moment: all that it
// decided is in the documents, what the nodes counted they say again.
type Coordinator struct {
	store  state.Store
	tenant selvage.Tenant
	holder string
	logger *slog.Logger
	log    *changeLog
	wake   chan struct{}

	mu     sync.Mutex // guards what follows
	heard  map[selvage.ServiceName]map[selvage.NodeName]Report
	status map[selvage.ServiceName]client.Rollout
}

// CoordinatorOptions are what a coordinator needs.
type CoordinatorOptions struct {
	Store  state.Store
	Tenant selvage.Tenant
	Holder string // no two processes at once have the same; one that was killed and starts again as the same needs not wait for itself
	Log    *slog.Logger
}

// Where a coordinator's patience ends.
const (
	leaseFor  = 5 * time.Second
	lookEvery = 100 * time.Millisecond
	saveEvery = 10 * time.Second // how long a rollout has stood; a new coordinator counts on from there
	silentFor = 3 * time.Second  // then a node's traffic is not reckoned with
	againIn   = time.Second      // after the store did not answer
	maxPassed = time.Second      // that one look counts: a machine that slept has seen nothing meanwhile
)

// NewCoordinator makes a coordinator. It does nothing before Run.
func NewCoordinator(o CoordinatorOptions) *Coordinator {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Coordinator{
		store: o.Store, tenant: o.Tenant, holder: o.Holder, logger: o.Log, log: newLog(o.Store.Feeds, o.Tenant),
		wake: make(chan struct{}, 1), heard: map[selvage.ServiceName]map[selvage.NodeName]Report{},
		status: map[selvage.ServiceName]client.Rollout{},
	}
}

// Report takes what an agent says.
func (c *Coordinator) Report(r Report) {
	if r.Tenant != c.tenant {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	nodes := c.heard[r.Service]
	if nodes == nil {
		nodes = map[selvage.NodeName]Report{}
		c.heard[r.Service] = nodes
	}
	if old, ok := nodes[r.Node]; ok && r.Samples == nil && old.Change == r.Change {
		r.Samples = old.Samples
	}
	r.heard = time.Now()
	nodes[r.Node] = r
}

// reports are the latest of a service's nodes about a change.
func (c *Coordinator) reports(service selvage.ServiceName, change selvage.ChangeID) []Report {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []Report
	for _, name := range slices.Sorted(maps.Keys(c.heard[service])) {
		r := c.heard[service][name]
		if r.Change != change {
			continue
		}
		if time.Since(r.heard) > silentFor {
			r.Count.Rate, r.Count.Canary = 0, 0 // what it counted stays; more is not to be expected
		}
		out = append(out, r)
	}
	return out
}

// poke lets the coordinator look at the documents now.
func (c *Coordinator) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run leads while it has the lease, and waits for it otherwise, until ctx ends.
func (c *Coordinator) Run(ctx context.Context) error {
	holding := state.Holding{
		Leases: c.store.Leases, Key: state.LeaseKey{Tenant: c.tenant, Name: "rollouts"}, Holder: c.holder, TTL: leaseFor,
	}
	for ctx.Err() == nil {
		if err := state.Hold(ctx, holding, c.lead); err != nil && ctx.Err() == nil && !errors.Is(err, state.ErrLost) {
			c.logger.Warn("rollouts are not led for a moment", "error", err)
		}
		sleep(ctx, againIn)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// lead is what the holder of the lease does.
func (c *Coordinator) lead(ctx context.Context, lease state.Lease) error {
	ctx, stop := context.WithCancel(ctx)
	l := &leading{Coordinator: c, token: lease.Token, services: map[selvage.ServiceName]*led{}, changed: make(chan state.Change)}
	var watching sync.WaitGroup
	defer watching.Wait()
	defer stop()
	if err := l.readAll(ctx); err != nil {
		return err
	}
	watching.Go(func() { l.watch(ctx) })
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for n := 0; ; {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case change := <-l.changed:
			if err := l.take(change); err != nil {
				return err
			}
		case <-c.wake:
			if err := l.begin(ctx); err != nil {
				return err
			}
		case <-tick.C:
			if n++; n%10 == 0 {
				if err := l.begin(ctx); err != nil {
					return err
				}
			}
			if err := l.look(ctx); err != nil {
				return err
			}
		}
	}
}

// leading is one time of holding the lease.
type leading struct {
	*Coordinator
	token    state.Token
	services map[selvage.ServiceName]*led
	changed  chan state.Change
	newest   state.Revision
}

// readAll reads the documents, makes them its own, and begins what was acknowledged.
func (l *leading) readAll(ctx context.Context) error {
	for doc, err := range l.store.Documents.List(ctx, rollouts(l.tenant)) {
		if err != nil {
			return fmt.Errorf("list rollouts: %w", err)
		}
		l.newest = max(l.newest, doc.Revision)
		if err := l.take(state.Change{Document: doc}); err != nil {
			return err
		}
	}
	for _, s := range l.services {
		// With its token in the document nobody who had the lease before can write any more.
		if r := s.doc.Rollout; r != nil && !r.Phase.over() {
			if err := l.put(ctx, s, s.doc); err != nil {
				return err
			}
		}
	}
	return l.begin(ctx)
}

// watch passes on what others write.
func (l *leading) watch(ctx context.Context) {
	for ctx.Err() == nil {
		for change, err := range l.store.Documents.Watch(ctx, rollouts(l.tenant), l.newest) {
			if err != nil {
				break
			}
			l.newest = max(l.newest, change.Revision)
			select {
			case l.changed <- change:
			case <-ctx.Done():
				return
			}
		}
		sleep(ctx, againIn)
	}
}

// take takes a document as it is in the store.
func (l *leading) take(change state.Change) error {
	name := selvage.ServiceName(change.Key.ID)
	s := l.services[name]
	if s == nil {
		s = &led{name: name, key: change.Key}
		l.services[name] = s
	}
	if change.Revision <= s.at {
		return nil
	}
	if change.Deleted {
		delete(l.services, name)
		return nil
	}
	d, err := readDocument(change.Value)
	if err != nil {
		l.logger.Error("a rollout cannot be read", "service", name, "error", err)
		return nil // the others go on
	}
	if d.Token > l.token {
		return state.ErrLost
	}
	s.at, s.doc, s.saved = change.Revision, d, time.Now()
	s.follow()
	return nil
}

// begin starts the rollouts of changes that stand in the log and were not
// begun: whoever took them died before.
func (l *leading) begin(ctx context.Context) error {
	if err := l.log.sync(ctx); err != nil {
		l.complain(ctx, "the log of changes cannot be read: no change begins", "", err)
		return ctx.Err()
	}
	ask := &Changes{store: l.store, tenant: l.tenant, log: l.log}
	for name, h := range l.log.lastOf() {
		id := selvage.ChangeID(h.submitted.Change.ID)
		s := l.services[name]
		if s != nil && s.doc.Rollout != nil && number(s.doc.Rollout.Change.ID) >= number(id) || h.submitted.Change.State != client.Preparing {
			continue
		}
		c := changeOf(h.submitted.Change)
		manifest, err := ask.manifest(ctx, c.To)
		if err == nil {
			err = ask.start(ctx, c, manifest, h.submitted.BreakGlass)
		}
		if err != nil {
			l.complain(ctx, "a change does not begin for a moment", name, err)
		}
	}
	l.endOvertaken(ctx)
	return ctx.Err()
}

// endOvertaken says in the log of a change that a later one of the same
// service began before it could: it never stood in the document, from which
// everything else is told.
func (l *leading) endOvertaken(ctx context.Context) {
	for _, h := range l.log.preparing() {
		c := changeOf(h.submitted.Change)
		s := l.services[c.Service]
		if s == nil || s.doc.Rollout == nil || number(s.doc.Rollout.Change.ID) <= number(c.ID) || len(s.doc.Outbox) > 0 {
			continue
		}
		d := document{Promoted: s.doc.Promoted, Rollout: &rollout{Change: c, Phase: preparing}}
		d.end(superseded, "another change", fmt.Sprintf("superseded by %s", s.doc.Rollout.Change.ID), time.Now())
		if err := l.log.append(ctx, func(state.Position) client.LogFact { return d.Outbox[0] }); err != nil {
			l.complain(ctx, "the log of changes cannot be written", c.Service, err)
		}
	}
}

// complain says what is tried again.
func (l *leading) complain(ctx context.Context, message string, service selvage.ServiceName, err error) {
	if ctx.Err() == nil {
		l.logger.Error(message, "service", service, "error", err)
	}
}

func changeOf(c client.Change) selvage.Change {
	return selvage.Change{
		ID: selvage.ChangeID(c.ID), Kind: selvage.ChangeKind(c.Kind), Tenant: selvage.Tenant(c.Tenant),
		Service: selvage.ServiceName(c.Service), Who: c.Who, When: c.When, Why: c.Why,
		From: selvage.RevisionID(c.From), To: selvage.RevisionID(c.To),
	}
}

// put writes a document. Where somebody else wrote meanwhile, theirs comes by
// the watch and this one is forgotten.
func (l *leading) put(ctx context.Context, s *led, next document) error {
	next.Token = l.token
	data, err := json.Marshal(next)
	if err != nil {
		return fmt.Errorf("write rollout of %s: %w", s.name, err)
	}
	at, err := l.store.Documents.Put(ctx, s.key, data, s.at)
	if selvage.KindOf(err) == selvage.Conflict {
		return l.again(ctx, s)
	}
	if err != nil {
		return fmt.Errorf("write rollout of %s: %w", s.name, err)
	}
	s.at, s.doc, s.saved = at, next, time.Now()
	s.follow()
	return nil
}

// again reads a document that somebody else wrote.
func (l *leading) again(ctx context.Context, s *led) error {
	doc, err := l.store.Documents.Get(ctx, s.key)
	if err != nil {
		return fmt.Errorf("read rollout of %s: %w", s.name, err)
	}
	return l.take(state.Change{Document: doc})
}

// look looks at every rollout that runs.
func (l *leading) look(ctx context.Context) error {
	now := time.Now()
	for _, s := range l.services {
		if err := l.lookAt(ctx, s, now); err != nil {
			return err
		}
		if err := l.flush(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

func (l *leading) lookAt(ctx context.Context, s *led, now time.Time) error {
	r := s.doc.Rollout
	if r == nil {
		return nil
	}
	passed := min(max(now.Sub(s.looked), 0), maxPassed)
	if s.looked.IsZero() {
		passed = 0
	}
	s.looked = now
	reports := l.reports(s.name, r.Change.ID)
	next := s.doc
	for _, e := range s.events(reports) {
		next, _ = step(next, e, now)
	}
	if next.Rollout.Phase.over() {
		if s.unexplained(r) {
			// The nodes turn already; what is for people may take some milliseconds more.
			next = next.clone()
			next.explain(reports)
			s.explained = r.Phase
		}
		l.publish(s, &next)
		return l.settle(ctx, s, next)
	}
	next, _ = step(next, s.evidence(next.Rollout, reports, now, passed), now)
	if next.Rollout.Phase.counts() && s.unexplained(next.Rollout) {
		next.explain(reports)
		s.explained = next.Rollout.Phase
	}
	l.publish(s, &next)
	return l.settle(ctx, s, next)
}

// settle writes what has to outlive us: decisions at once, the passing of time
// now and then.
func (l *leading) settle(ctx context.Context, s *led, next document) error {
	decided := !reflect.DeepEqual(still(s.doc), still(next))
	if !decided && time.Since(s.saved) < saveEvery {
		s.doc = next
		return nil
	}
	if !decided && next.Rollout.Phase.over() {
		return nil
	}
	return l.put(ctx, s, next)
}

// still is a document without what only passes.
func still(d document) document {
	d.Token = 0
	if d.Rollout != nil {
		r := *d.Rollout
		d.Rollout = &r
		r.Elapsed, r.Stood, r.Promoted, r.Verdict, r.Since = 0, 0, 0, nil, Level{}
	}
	return d
}

// flush puts what happened into the log and takes it out of the outbox.
func (l *leading) flush(ctx context.Context, s *led) error {
	if len(s.doc.Outbox) == 0 {
		return nil
	}
	if time.Since(s.full) < againIn {
		return nil
	}
	for _, fact := range s.doc.Outbox {
		if err := l.log.append(ctx, func(state.Position) client.LogFact { return fact }); err != nil {
			// Rollouts go on: what happened waits in the document.
			l.complain(ctx, "the log of changes takes no entry for a moment", s.name, err)
			s.full = time.Now()
			return ctx.Err()
		}
	}
	next := s.doc.clone()
	next.Outbox = nil
	return l.put(ctx, s, next)
}
