package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/control"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/state"
)

// Changes is what the control API asks of rollouts and revisions: it puts
// together what is submitted, what packs it and what leads it. Whoever has a
// store can have one, with a node or without.
type Changes struct {
	Rollouts *rollout.Changes
	Store    state.Store
	Tenant   selvage.Tenant

	told atomic.Pointer[toldPlan]
}

// toldPlan is what the last plan said that was asked for with a rollout's standing.
// Revisions do not change: who looks ten times a second has them compared once.
type toldPlan struct {
	from, to string
	words    []string
}

var (
	_ control.Changes = (*Changes)(nil)
	_ control.History = (*Changes)(nil)
	_ control.Passer  = (*Changes)(nil)
)

// Agent is the node's agent of rollouts, which keeps what it must in the folder.
// Run it beside the node.
func (n *Node) Agent(folder string, reports rollout.Reports) *rollout.Agent {
	return rollout.NewAgent(rollout.AgentOptions{
		Node: n.place.Node, POP: n.place.POP, Zone: n.place.Zone, Tenant: n.tenant, Folder: folder, Store: n.state, Runtime: n,
		Unpack: n.unpack, Reports: reports, Log: n.log, OnLimit: n.LimitHit,
	})
}

// Submit implements [control.Changes]: the manifest is read and every file of it
// is there, before anybody hears of the change.
func (c *Changes) Submit(ctx context.Context, s client.Submission, who string) (client.Change, error) {
	if s.Kind == string(selvage.PurgeChange) {
		return c.submitPurge(ctx, s, who)
	}
	digest, err := state.ParseDigest(s.Manifest)
	if err != nil {
		return client.Change{}, err
	}
	data, err := state.ReadBlob(ctx, c.Store.Blobs, c.blob(digest), config.MaxManifest)
	if err != nil && selvage.KindOf(err) == selvage.NotFound {
		err = selvage.Errorf(selvage.Invalid, "manifest %.16s was not sent", s.Manifest)
	}
	if err != nil {
		return client.Change{}, err
	}
	m, err := config.ReadManifest(data)
	if err != nil {
		return client.Change{}, err
	}
	if string(m.Service.Service) != s.Service {
		return client.Change{}, selvage.Errorf(selvage.Invalid, "the manifest is of service %s, not of %s", m.Service.Service, s.Service)
	}
	for _, f := range m.Files {
		if _, err := c.Store.Blobs.Stat(ctx, c.blob(f.Digest)); err != nil {
			if selvage.KindOf(err) == selvage.NotFound {
				err = selvage.Errorf(selvage.Invalid, "file %.16s of the manifest was not sent", state.Digest(f.Digest))
			}
			return client.Change{}, err
		}
	}
	from, kind, err := c.kind(ctx, m)
	if err != nil {
		return client.Change{}, err
	}
	change, err := c.Rollouts.Submit(ctx, rollout.Submission{
		Tenant: c.Tenant, Service: m.Service.Service, Manifest: digest, Who: who, Why: s.Why, BreakGlass: s.BreakGlass,
		Kind: kind, From: from,
	})
	if err != nil {
		return client.Change{}, err
	}
	r, err := c.Status(ctx, "", string(change.ID))
	return r.Change, err
}

// promoted is the revision of a service that everybody gets; empty if there is none.
func (c *Changes) promoted(ctx context.Context, service selvage.ServiceName) (string, error) {
	now, err := c.Rollouts.Status(ctx, rollout.Request{Service: service})
	switch {
	case err == nil && now.Change.State == client.Promoted:
		return now.Change.To, nil
	case err == nil:
		return now.Change.From, nil
	case selvage.KindOf(err) == selvage.NotFound:
		return "", nil
	}
	return "", err
}

// kind says what a manifest changes of what is promoted. What is kept and cannot be
// read any more is another revision, and no reason to refuse this one.
func (c *Changes) kind(ctx context.Context, m *config.Manifest) (selvage.RevisionID, selvage.ChangeKind, error) {
	from, err := c.promoted(ctx, m.Service.Service)
	if err != nil || from == "" {
		return "", selvage.RevisionChange, err
	}
	old, err := c.service(ctx, from)
	if err != nil {
		return "", selvage.RevisionChange, nil //nolint:nilerr // it is judged as a whole
	}
	return selvage.RevisionID(from), config.KindOf(old, m.Written()), nil
}

// submitPurge asks for a purge of all of a service, step by step.
func (c *Changes) submitPurge(ctx context.Context, s client.Submission, who string) (client.Change, error) {
	if s.Manifest != "" {
		return client.Change{}, selvage.Errorf(selvage.Invalid, "a purge of service %s has no manifest", s.Service)
	}
	change, err := c.Rollouts.Submit(ctx, rollout.Submission{
		Tenant: c.Tenant, Service: selvage.ServiceName(s.Service), Kind: selvage.PurgeChange, Who: who, Why: s.Why, BreakGlass: s.BreakGlass,
	})
	if err != nil {
		return client.Change{}, err
	}
	r, err := c.Status(ctx, "", string(change.ID))
	return r.Change, err
}

func (c *Changes) blob(d state.Digest) state.BlobKey {
	return state.BlobKey{Tenant: c.Tenant, Digest: d}
}

// Local notes what a node has read from its own file: a change of its own kind.
// What the same file said before, and was overruled since by a deploy, is none.
func (c *Changes) Local(ctx context.Context, s selvage.Service, o selvage.Outside, who, why string) error {
	data, err := config.PackLocal(s, o)
	if err != nil {
		return err
	}
	digest := state.DigestOf(data)
	id := digest.String()[:16]
	all, err := c.Rollouts.Changes(ctx, maxLooked)
	if err != nil {
		return fmt.Errorf("note service %s: %w", s.Service, err)
	}
	for _, change := range all {
		if change.Service == string(s.Service) && change.Kind == string(selvage.LocalChange) {
			if change.To == id {
				return nil
			}
			break
		}
	}
	if err := c.Store.Blobs.Put(ctx, c.blob(digest), bytes.NewReader(data)); err != nil {
		return fmt.Errorf("note service %s: %w", s.Service, err)
	}
	_, err = c.Rollouts.Local(ctx, rollout.Submission{Tenant: c.Tenant, Service: s.Service, Manifest: digest, Who: who, Why: why})
	if err != nil {
		return fmt.Errorf("note service %s: %w", s.Service, err)
	}
	return nil
}

// maxLooked is how many changes are looked at where one of them is sought.
const maxLooked = 1000

// Ask implements [control.Changes].
func (c *Changes) Ask(ctx context.Context, a control.Asking) error {
	r := rollout.Request{Change: selvage.ChangeID(a.Change), Service: selvage.ServiceName(a.Service), Who: a.Who, Why: a.Why}
	switch a.What {
	case "undo":
		return c.Rollouts.Undo(ctx, r)
	case "hold":
		return c.Rollouts.Hold(ctx, r)
	case "promote":
		return c.Rollouts.Promote(ctx, r)
	case "break-glass":
		return c.Rollouts.BreakGlass(ctx, r)
	}
	return selvage.Errorf(selvage.Invalid, "nothing is known of %q", a.What)
}

// Status implements [control.Changes].
func (c *Changes) Status(ctx context.Context, service, change string) (client.Rollout, error) {
	r, err := c.Rollouts.Status(ctx, rollout.Request{Change: selvage.ChangeID(change), Service: selvage.ServiceName(service)})
	if err != nil {
		return client.Rollout{}, err
	}
	if r.Change.Kind == string(selvage.PurgeChange) {
		r.Plan = []string{"all that is stored of it is forgotten, some of its URLs first"}
	} else {
		r.Plan = c.planWords(ctx, r.Change.From, r.Change.To)
	}
	return r, nil
}

// planWords is what is different between two revisions, in lines for who watches;
// none where one of them cannot be read any more.
func (c *Changes) planWords(ctx context.Context, from, to string) []string {
	if t := c.told.Load(); t != nil && t.from == from && t.to == to {
		return slices.Clone(t.words)
	}
	p, err := c.plan(ctx, from, to)
	if err != nil {
		return nil
	}
	words := planWords(p)
	c.told.Store(&toldPlan{from, to, words})
	return slices.Clone(words)
}

// maxPlanLines is how many differences are told with a rollout.
const maxPlanLines = 20

func planWords(differences []client.Difference) []string {
	var out []string
	for _, d := range differences {
		if len(out) == maxPlanLines {
			out = append(out, fmt.Sprintf("and %d more", len(differences)-maxPlanLines))
			break
		}
		out = append(out, d.Part+": "+d.Words)
	}
	return out
}

// Watch implements [control.Changes].
func (c *Changes) Watch(ctx context.Context, change string) iter.Seq2[client.Progress, error] {
	var plan []string
	if r, err := c.Status(ctx, "", change); err == nil {
		plan = r.Plan
	}
	return func(yield func(client.Progress, error) bool) {
		for p, err := range c.Rollouts.Watch(ctx, selvage.ChangeID(change)) {
			p.Rollout.Plan = plan
			if !yield(p, err) {
				return
			}
		}
	}
}

// Record implements [control.Changes].
func (c *Changes) Record(ctx context.Context, fact client.LogFact) error {
	return c.Rollouts.Record(ctx, fact)
}

// Changes implements [control.History].
func (c *Changes) Changes(ctx context.Context, most int) ([]client.Change, error) {
	all, err := c.Rollouts.Changes(ctx, most)
	for i := range all {
		if one := &all[i]; one.Kind == string(selvage.LocalChange) && one.State == client.Preparing {
			one.State = client.Promoted // it was served before it was noted
		}
	}
	return all, err
}

// Log implements [control.History].
func (c *Changes) Log(ctx context.Context, after uint64) iter.Seq2[client.LogEntry, error] {
	return c.Rollouts.Log(ctx, state.Position(after))
}

// keptRevision is what package rollout keeps of a revision: collection revisions.
type keptRevision struct {
	Manifest state.Digest
	Service  selvage.ServiceName
	Who      string
	When     time.Time
}

// Revisions implements [control.History].
func (c *Changes) Revisions(ctx context.Context, service string) ([]client.Revision, error) {
	changes, err := c.Rollouts.Changes(ctx, maxLooked)
	if err != nil {
		return nil, err
	}
	var out []client.Revision
	for doc, err := range c.Store.Documents.List(ctx, state.Collection{Tenant: c.Tenant, Name: "revisions"}) {
		if err != nil {
			return nil, fmt.Errorf("list revisions: %w", err)
		}
		var k keptRevision
		if err := json.Unmarshal(doc.Value, &k); err != nil {
			return nil, fmt.Errorf("revision %s: %w", doc.Key.ID, err)
		}
		if service != "" && string(k.Service) != service {
			continue
		}
		out = append(out, c.revision(ctx, doc.Key.ID, k, changes))
	}
	slices.SortFunc(out, func(a, b client.Revision) int {
		return cmp.Or(b.When.Compare(a.When), cmp.Compare(a.ID, b.ID))
	})
	return out, nil
}

func (c *Changes) revision(ctx context.Context, id string, k keptRevision, changes []client.Change) client.Revision {
	r := client.Revision{
		ID: id, Manifest: k.Manifest.String(), Tenant: string(c.Tenant), Service: string(k.Service), When: k.When, Who: k.Who, State: "old",
	}
	if info, err := c.Store.Blobs.Stat(ctx, c.blob(k.Manifest)); err == nil {
		r.Bytes = info.Size
	}
	if data, err := c.manifest(ctx, k.Manifest); err == nil {
		if m, err := config.ReadManifest(data); err == nil {
			r.Files, r.Bytes = len(m.Files), r.Bytes+m.Bytes()
		}
	}
	if i := slices.IndexFunc(changes, func(ch client.Change) bool { return ch.To == id }); i >= 0 {
		r.Change, r.When, r.Who = changes[i].ID, changes[i].When, changes[i].Who
	}
	if now, err := c.Rollouts.Status(ctx, rollout.Request{Service: k.Service}); err == nil {
		r.State = cmp.Or(standing(now, id), r.State)
	}
	return r
}

// standing says what a service's last rollout makes of a revision.
func standing(r client.Rollout, id string) string {
	promoted := r.Change.From
	if r.Change.State == client.Promoted {
		promoted = r.Change.To
	}
	switch {
	case promoted == id:
		return "promoted"
	case r.Change.To == id && !client.Over(r.Change.State):
		return "canary"
	}
	return ""
}

func (c *Changes) manifest(ctx context.Context, d state.Digest) ([]byte, error) {
	return state.ReadBlob(ctx, c.Store.Blobs, c.blob(d), config.MaxManifest)
}

// Manifest implements [control.History]. Of what a file of this machine said, ${…} is
// shown as it is written.
func (c *Changes) Manifest(ctx context.Context, id string) (client.Revision, []byte, error) {
	all, err := c.Revisions(ctx, "")
	if err != nil {
		return client.Revision{}, nil, err
	}
	all = slices.DeleteFunc(all, func(r client.Revision) bool { return !strings.HasPrefix(r.ID, id) })
	if len(all) != 1 {
		kind, words := selvage.NotFound, "there is none of that name"
		if len(all) > 1 {
			kind, words = selvage.Conflict, "several begin so: write more of it"
		}
		return client.Revision{}, nil, selvage.Errorf(kind, "revision %q: %s", id, words)
	}
	digest, err := state.ParseDigest(all[0].Manifest)
	if err != nil {
		return client.Revision{}, nil, err
	}
	data, err := c.manifest(ctx, digest)
	if err == nil {
		data, err = config.Shown(data)
	}
	if err != nil {
		return client.Revision{}, nil, fmt.Errorf("revision %s: %w", all[0].ID, err)
	}
	return all[0], data, nil
}

// Plan implements [control.History].
func (c *Changes) Plan(ctx context.Context, manifest []byte) (client.Plan, error) {
	m, err := config.ReadManifest(manifest)
	if err != nil {
		return client.Plan{}, err
	}
	p := client.Plan{Tenant: string(c.Tenant), Service: string(m.Service.Service), To: string(m.ID)}
	if p.From, err = c.promoted(ctx, m.Service.Service); err != nil {
		return p, err
	}
	old, err := c.service(ctx, p.From)
	if err != nil {
		return p, err
	}
	p.Differences = differences(old, m.Written(), p.From == "")
	return p, nil
}

// plan is what is different between two revisions that are kept.
func (c *Changes) plan(ctx context.Context, from, to string) ([]client.Difference, error) {
	old, err := c.service(ctx, from)
	if err != nil {
		return nil, err
	}
	next, err := c.service(ctx, to)
	if err != nil {
		return nil, err
	}
	return differences(old, next, from == ""), nil
}

func differences(old, next config.Written, first bool) []client.Difference {
	if first {
		return []client.Difference{{
			Part: "service " + string(next.Service.Service), Sign: "added",
			Words: fmt.Sprintf("is new, with %d routes and %d origins", len(next.Service.Routes), len(next.Service.Origins)),
		}}
	}
	var out []client.Difference
	for _, d := range config.Differences(old, next) {
		out = append(out, client.Difference(d))
	}
	return out
}

// service is that of a kept revision, without what comes from elsewhere; an empty
// one where there is none.
func (c *Changes) service(ctx context.Context, id string) (w config.Written, err error) {
	if id == "" {
		return w, nil
	}
	doc, err := c.Store.Documents.Get(ctx, state.Collection{Tenant: c.Tenant, Name: "revisions"}.Key(id))
	if err != nil {
		return w, fmt.Errorf("revision %s: %w", id, err)
	}
	var k keptRevision
	if err := json.Unmarshal(doc.Value, &k); err != nil {
		return w, fmt.Errorf("revision %s: %w", id, err)
	}
	data, err := c.manifest(ctx, k.Manifest)
	if err != nil {
		return w, fmt.Errorf("revision %s: %w", id, err)
	}
	if config.IsLocal(data) {
		if w, _, err = config.ReadLocal(data); err == nil {
			w = w.Shipped()
		}
		return w, err
	}
	m, err := config.ReadManifest(data)
	if err != nil {
		return w, errors.Join(fmt.Errorf("revision %s", id), err)
	}
	return m.Written(), nil
}

// RolloutFolder is where a node's agent keeps what it must, in the data folder.
func RolloutFolder(data string) string { return filepath.Join(data, "rollouts") }
