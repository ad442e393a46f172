package rollout

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// Submission asks for a change. The manifest and its files are in the store.
type Submission struct {
	Tenant   selvage.Tenant
	Service  selvage.ServiceName
	Manifest state.Digest
	Who      string
	Why      string
	Kind     selvage.ChangeKind // RevisionChange if empty
	// From is what the kind was told from. Where something else is promoted by then, it is
	// a [selvage.RevisionChange].
	From       selvage.RevisionID
	BreakGlass bool
}

// Changes is what people ask for changes, and what they are told. It is safe
// for concurrent use; [Coordinator.Run] does what was asked for, in whichever process.
type Changes struct {
	store  state.Store
	tenant selvage.Tenant
	log    *changeLog
	live   *Coordinator // of this process, for what is newer than the documents
}

// NewChanges is for a tenant. live, which may be nil, is this process's coordinator.
func NewChanges(store state.Store, tenant selvage.Tenant, live *Coordinator) *Changes {
	c := &Changes{store: store, tenant: tenant, live: live}
	if live != nil {
		c.log = live.log
	} else {
		c.log = newLog(store.Feeds, tenant)
	}
	return c
}

// maxWhy bounds what somebody gives as the reason, in bytes.
const maxWhy = 1000

// Submit asks for a change. When it returns the change stands in the log and
// will have an outcome, whatever dies. A purge needs no manifest. Invalid for a manifest that is not in
// the store, Conflict for what is promoted already while nothing else runs.
func (c *Changes) Submit(ctx context.Context, s Submission) (selvage.Change, error) {
	s.Kind = cmp.Or(s.Kind, selvage.RevisionChange)
	if len(s.Why) > maxWhy {
		return selvage.Change{}, selvage.Errorf(selvage.Invalid, "submit %s: the reason has %d bytes, the limit is %d", s.Service, len(s.Why), maxWhy)
	}
	d, _, err := c.document(ctx, s.Service)
	if err != nil {
		return selvage.Change{}, err
	}
	if s.Kind == selvage.PurgeChange {
		if err := d.mayPurge(s.Service); err != nil {
			return selvage.Change{}, err
		}
		s.Manifest = d.Promoted.Manifest
	} else if err := c.revision(ctx, s); err != nil {
		return selvage.Change{}, err
	}
	to := revisionID(s.Manifest)
	if s.Kind != selvage.PurgeChange && to == d.Promoted.Revision && (d.Rollout == nil || d.Rollout.Phase.over() || d.Rollout.Phase.counts()) {
		return d.Promoted.Change, selvage.Errorf(selvage.Conflict, "submit %s: revision %s is what runs", s.Service, to)
	}
	if s.Kind.IsPart() && s.From != d.Promoted.Revision {
		s.Kind = selvage.RevisionChange
	}
	change := selvage.Change{
		Kind: s.Kind, Tenant: c.tenant, Service: s.Service, Who: s.Who, When: time.Now(), Why: s.Why,
		From: d.Promoted.Revision, To: to,
	}
	err = c.log.append(ctx, func(p state.Position) client.LogFact {
		change.ID = changeID(p)
		r := rollout{Change: change, Phase: preparing}
		return client.LogFact{Event: "submitted", When: change.When, Who: s.Who, Change: r.change(), BreakGlass: s.BreakGlass}
	})
	if err != nil {
		return selvage.Change{}, fmt.Errorf("submit %s: %w", s.Service, err)
	}
	// It is acknowledged from here on. What fails now the coordinator does.
	_ = c.start(ctx, change, s.Manifest, s.BreakGlass)
	return change, nil
}

// mayPurge says why all of a service cannot be purged step by step now: it would
// end a rollout that runs.
func (d *document) mayPurge(service selvage.ServiceName) error {
	switch r := d.Rollout; {
	case d.Promoted.Revision == "":
		return selvage.Errorf(selvage.NotFound, "purge %s: nothing of it is promoted", service)
	case r != nil && !r.Phase.over() && !r.Phase.counts():
		return selvage.Errorf(selvage.Conflict, "purge %s: %s is %s: wait for it, or purge at once", service, r.Change.ID, r.state())
	}
	return nil
}

// Local notes that a node serves something that it read from a file by itself:
// a change of its own kind, at once, watched, and undone like any other. A file
// that says what it said before is no change, whatever was deployed since, nor
// is one that says what is promoted: a start takes nothing back.
func (c *Changes) Local(ctx context.Context, s Submission) (selvage.Change, error) {
	s.Kind = selvage.LocalChange
	d, _, err := c.document(ctx, s.Service)
	if err != nil {
		return selvage.Change{}, err
	}
	running := d.Rollout != nil && !d.Rollout.Phase.over() && !d.Rollout.Phase.counts()
	switch id := revisionID(s.Manifest); {
	case id == d.File:
		return d.Promoted.Change, nil
	case id == d.Promoted.Revision && !running:
		return d.Promoted.Change, c.apply(ctx, s.Service, read{id})
	}
	return c.Submit(ctx, s)
}

// revisionRecord is the document of a revision: collection revisions.
type revisionRecord struct {
	Manifest state.Digest
	Service  selvage.ServiceName
	Who      string
	When     time.Time
}

func revisions(tenant selvage.Tenant) state.Collection {
	return state.Collection{Tenant: tenant, Name: "revisions"}
}

// revision keeps the whole digest of a revision's manifest.
func (c *Changes) revision(ctx context.Context, s Submission) error {
	if _, err := c.store.Blobs.Stat(ctx, state.BlobKey{Tenant: c.tenant, Digest: s.Manifest}); err != nil {
		if selvage.KindOf(err) == selvage.NotFound {
			return selvage.Errorf(selvage.Invalid, "submit %s: manifest %s is not in the store", s.Service, s.Manifest)
		}
		return fmt.Errorf("submit %s: %w", s.Service, err)
	}
	data, err := json.Marshal(revisionRecord{s.Manifest, s.Service, s.Who, time.Now()})
	if err != nil {
		return fmt.Errorf("submit %s: %w", s.Service, err)
	}
	_, err = c.store.Documents.Put(ctx, revisions(c.tenant).Key(string(revisionID(s.Manifest))), data, state.Absent)
	if selvage.KindOf(err) != selvage.Conflict {
		if err != nil {
			return fmt.Errorf("submit %s: %w", s.Service, err)
		}
		return nil
	}
	have, err := c.manifest(ctx, revisionID(s.Manifest))
	if err == nil && have != s.Manifest {
		err = selvage.Errorf(selvage.Conflict, "submit %s: another revision is named %s", s.Service, revisionID(s.Manifest))
	}
	return err
}

// manifest is the digest of a revision's manifest.
func (c *Changes) manifest(ctx context.Context, id selvage.RevisionID) (state.Digest, error) {
	doc, err := c.store.Documents.Get(ctx, revisions(c.tenant).Key(string(id)))
	if err != nil {
		return state.Digest{}, fmt.Errorf("revision %s: %w", id, err)
	}
	var r revisionRecord
	if err := json.Unmarshal(doc.Value, &r); err != nil {
		return state.Digest{}, fmt.Errorf("revision %s: %w", id, err)
	}
	return r.Manifest, nil
}

// start begins the rollout of a change that stands in the log.
func (c *Changes) start(ctx context.Context, change selvage.Change, manifest state.Digest, breakGlass bool) error {
	e := submitted{change: change, manifest: manifest, breakGlass: breakGlass, secret: newSecret()}
	var err error
	if e.nodes, err = registered(ctx, c.store.Documents, c.tenant); err != nil {
		return err
	}
	return c.apply(ctx, change.Service, e)
}

func newSecret() (s [16]byte) {
	rand.Read(s[:]) // never fails
	return s
}

// registered are the nodes that have said that they run.
func registered(ctx context.Context, docs state.Documents, tenant selvage.Tenant) (map[selvage.NodeName]nodeState, error) {
	out := map[selvage.NodeName]nodeState{}
	for n, err := range state.Nodes(ctx, docs, tenant) {
		if err != nil {
			return nil, err
		}
		out[n.Name] = nodeState{POP: n.POP, State: waiting}
	}
	return out, nil
}

// document reads what is known of a service: nothing is no error.
func (c *Changes) document(ctx context.Context, service selvage.ServiceName) (document, state.Revision, error) {
	return readRollout(ctx, c.store.Documents, c.tenant, service)
}

func readRollout(ctx context.Context, docs state.Documents, tenant selvage.Tenant, service selvage.ServiceName) (document, state.Revision, error) {
	doc, err := docs.Get(ctx, rollouts(tenant).Key(string(service)))
	switch {
	case err == nil:
	case selvage.KindOf(err) == selvage.NotFound:
		return document{}, state.Absent, nil
	default:
		return document{}, 0, fmt.Errorf("service %s: %w", service, err)
	}
	d, err := readDocument(doc.Value)
	if err != nil {
		return document{}, 0, fmt.Errorf("service %s: %w", service, err)
	}
	return d, doc.Revision, nil
}

// apply lets an event happen to a service, whoever else writes at the same time.
func (c *Changes) apply(ctx context.Context, service selvage.ServiceName, e event) error {
	return applyTo(ctx, c.store.Documents, rollouts(c.tenant).Key(string(service)), e)
}

func applyTo(ctx context.Context, docs state.Documents, key state.DocumentKey, e event) error {
	for {
		d, at, err := readRollout(ctx, docs, key.Tenant, selvage.ServiceName(key.ID))
		if err != nil {
			return err
		}
		next, err := step(d, e, time.Now())
		if err != nil {
			return err
		}
		data, err := json.Marshal(next)
		if err != nil {
			return fmt.Errorf("service %s: %w", key.ID, err)
		}
		_, err = docs.Put(ctx, key, data, at)
		if err == nil {
			return nil
		}
		if selvage.KindOf(err) != selvage.Conflict || ctx.Err() != nil {
			return fmt.Errorf("service %s: %w", key.ID, err)
		}
	}
}

// Undo takes a change back: a running one, or the one that is promoted. An
// empty change is the service's last, which needs the service.
func (c *Changes) Undo(ctx context.Context, r Request) error { return c.ask(ctx, "undo", r) }

// Hold stops a rollout where it stands.
func (c *Changes) Hold(ctx context.Context, r Request) error { return c.ask(ctx, "hold", r) }

// Promote ends a hold, or the wait of quiet mode or of the hold-back. It opens no gate.
func (c *Changes) Promote(ctx context.Context, r Request) error { return c.ask(ctx, "promote", r) }

// BreakGlass shortens the gates of a rollout. It leaves none out.
func (c *Changes) BreakGlass(ctx context.Context, r Request) error {
	return c.ask(ctx, "break glass", r)
}

// Request asks something of a rollout.
type Request struct {
	Change   selvage.ChangeID    // empty: the last of the service, or of all
	Service  selvage.ServiceName // may be empty
	Who, Why string
}

func (c *Changes) ask(ctx context.Context, what string, r Request) error {
	service, err := c.find(ctx, &r)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := c.apply(ctx, service, wanted{what: what, change: r.Change, who: r.Who, why: r.Why}); err != nil {
		return err
	}
	if c.live != nil {
		c.live.poke()
	}
	return nil
}

// find says which service a request is about.
func (c *Changes) find(ctx context.Context, r *Request) (selvage.ServiceName, error) {
	// An undo of a service's last change needs no log: not even one that is damaged stops it.
	if err := c.log.sync(ctx); err != nil && (r.Change != "" || r.Service == "") {
		return "", err
	}
	if r.Change != "" {
		return c.log.service(r.Change)
	}
	if r.Service != "" {
		return r.Service, nil
	}
	var newest selvage.ServiceName
	var at state.Position
	for name, h := range c.log.lastOf() {
		if n := number(selvage.ChangeID(h.submitted.Change.ID)); n > at {
			newest, at = name, n
		}
	}
	if at == 0 {
		return "", selvage.Errorf(selvage.NotFound, "there is no change")
	}
	return newest, nil
}

// Log gives the entries of the log of changes after a position, to its end as it is now.
func (c *Changes) Log(ctx context.Context, after state.Position) iter.Seq2[client.LogEntry, error] {
	return c.log.entries(ctx, after)
}

// Verify reads the whole log and says how many entries it has, or which one is
// not what was written.
func (c *Changes) Verify(ctx context.Context) (uint64, error) {
	var chain client.Chain
	for e, err := range c.Log(ctx, 0) {
		if err == nil {
			err = chain.Next(e)
		}
		if err != nil {
			return chain.Position, fmt.Errorf("verify log of changes: %w", err)
		}
	}
	return chain.Position, nil
}

// Record puts an entry into the log that is about no rollout: a token that was made.
func (c *Changes) Record(ctx context.Context, fact client.LogFact) error {
	if fact.Event == "" || fact.Change.ID != "" {
		return selvage.Errorf(selvage.Invalid, "record: %w", errors.New("it needs an event and no change"))
	}
	if fact.When.IsZero() {
		fact.When = time.Now()
	}
	return c.log.append(ctx, func(state.Position) client.LogFact { return fact })
}
