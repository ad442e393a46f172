package node

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/route"
	"github.com/selvage-edge/selvage/state"
	"github.com/selvage-edge/selvage/telemetry"
)

// purge is an entry of the feed of purges.
type purge struct {
	What    []string    `json:"what"` // as it was asked for
	Soft    bool        `json:"soft,omitempty"`
	Preview bool        `json:"preview,omitempty"`
	Who     string      `json:"who,omitempty"`
	Of      []purgeItem `json:"of"`
}

// purgeItem is what one service is to forget.
type purgeItem struct {
	Service selvage.ServiceName `json:"service"`
	All     bool                `json:"all,omitempty"`
	Tags    []selvage.Tag       `json:"tags,omitempty"`
	URLs    []string            `json:"urls,omitempty"` // absolute, clean
}

// What bounds a purge.
const (
	maxPurged = 1000 // things in one
	maxTag    = 1024 // bytes
	maxURL    = 8192 // bytes
)

// forCache is what the cache is told. A URL was clean when it was appended.
func (i *purgeItem) forCache(tenant selvage.Tenant, soft bool) (cache.Purge, error) {
	p := cache.Purge{Tenant: tenant, Service: i.Service, Soft: soft, All: i.All, Tags: i.Tags}
	for _, text := range i.URLs {
		u, err := url.Parse(text)
		if err != nil {
			return cache.Purge{}, err
		}
		p.URLs = append(p.URLs, u)
	}
	return p, nil
}

// parsePurge reads what is to be purged: tag:NAME, URLs and service:NAME.
func (n *Node) parsePurge(what []string, service string) ([]purgeItem, error) {
	if len(what) == 0 || len(what) > maxPurged {
		return nil, selvage.Errorf(selvage.Invalid, "a purge has 1 to %d things, this one has %d", maxPurged, len(what))
	}
	t := n.table.Load()
	var items []purgeItem
	of := func(name selvage.ServiceName) *purgeItem {
		i := slices.IndexFunc(items, func(p purgeItem) bool { return p.Service == name })
		if i < 0 {
			i, items = len(items), append(items, purgeItem{Service: name})
		}
		return &items[i]
	}
	for _, w := range what {
		if name, ok := strings.CutPrefix(w, "service:"); ok {
			s, err := t.serviceNamed(name)
			if err != nil {
				return nil, err
			}
			of(s).All = true
			continue
		}
		if tag, ok := strings.CutPrefix(w, "tag:"); ok {
			if tag == "" || len(tag) > maxTag || strings.ContainsAny(tag, "\r\n\x00") {
				return nil, selvage.Errorf(selvage.Invalid, "%.80q: a tag has 1 to %d bytes in one line", w, maxTag)
			}
			s, err := t.serviceNamed(service)
			if err != nil {
				return nil, err
			}
			one := of(s)
			one.Tags = append(one.Tags, selvage.Tag(tag))
			continue
		}
		clean, s, err := t.purgedURL(w, service)
		if err != nil {
			return nil, err
		}
		one := of(s)
		one.URLs = append(one.URLs, clean)
	}
	return items, nil
}

// serviceNamed finds a service; without a name it is the only one.
func (t *table) serviceNamed(name string) (selvage.ServiceName, error) {
	var names []string
	for _, rev := range t.revisions {
		if string(rev.service.Service) == name || name == "" && len(t.revisions) == 1 {
			return rev.service.Service, nil
		}
		names = append(names, string(rev.service.Service))
	}
	if name == "" {
		return "", selvage.Errorf(selvage.Invalid, "a tag belongs to one service: say which of %s", strings.Join(names, ", "))
	}
	return "", selvage.Errorf(selvage.NotFound, "no service is named %.80q; there are %s", name, strings.Join(names, ", "))
}

// purgedURL reads a URL as a request for it would be read, so that it is keyed alike.
func (t *table) purgedURL(text, service string) (string, selvage.ServiceName, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || len(text) > maxURL:
		return "", "", selvage.Errorf(selvage.Invalid,
			"%.80q is neither tag:NAME nor service:NAME nor a URL that begins with http:// or https://", text)
	case u.User != nil:
		return "", "", selvage.Errorf(selvage.Invalid, "%.80q: a URL with a user is never stored", text)
	}
	i, found := t.hosts.Find(u.Host)
	if !found {
		return "", "", selvage.Errorf(selvage.NotFound, "no service has the host %.80q", u.Host)
	}
	name := t.revisions[i].service.Service
	if service != "" && service != string(name) {
		return "", "", selvage.Errorf(selvage.Invalid, "the host %.80q belongs to service %s, not to %.80s", u.Host, name, service)
	}
	u.Fragment, u.RawFragment = "", ""
	clean, err := route.Clean(u.RequestURI())
	if err != nil {
		return "", "", selvage.Errorf(selvage.Invalid, "%.80q: %w", text, err)
	}
	return u.Scheme + "://" + u.Host + clean, name, nil
}

// purgeFeed is how far a node has applied the feed of purges.
type purgeFeed struct {
	applied atomic.Uint64 // position
	head    atomic.Uint64 // the feed's end, as far as is known
	count   atomic.Uint64 // purges that were applied
	lag     atomic.Int64  // nanoseconds from the last purge's append to its being applied
	dropped atomic.Uint64 // times that all that was stored had to be dropped

	mu     sync.Mutex // guards what follows
	recent []knownPurge
	next   int
}

func (f *purgeFeed) gauges() telemetry.Purges {
	position := f.applied.Load()
	return telemetry.Purges{
		Applied: f.count.Load(), Position: position, Behind: max(f.head.Load(), position) - position,
		Lag: time.Duration(f.lag.Load()), Drops: f.dropped.Load(),
	}
}

// knownPurges is how many of the latest purges a node can say more of than that they
// were; the oldest go first.
const knownPurges = 1024

// knownPurge is one that was applied.
type knownPurge struct {
	at   uint64 // position in the store
	feed state.Position
	time time.Time // of the append
	who  string
}

// note remembers a purge that the store applied at a position of its own.
func (f *purgeFeed) note(at uint64, e state.Event, who string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.recent) < knownPurges {
		f.recent = append(f.recent, knownPurge{})
	}
	f.recent[f.next] = knownPurge{at, e.Position, e.Time, who}
	f.next = (f.next + 1) % knownPurges
}

// known is the purge that the store applied at a position.
func (f *purgeFeed) known(at uint64) (one knownPurge, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	i := slices.IndexFunc(f.recent, func(k knownPurge) bool { return k.at == at && at > 0 })
	if i < 0 {
		return one, false
	}
	return f.recent[i], true
}

func (n *Node) purgeKey() state.FeedKey {
	return state.FeedKey{Tenant: n.tenant, Name: state.PurgesFeed}
}

// What a reader of the feed waits after an error, at first and at the most.
const (
	followAgain = 50 * time.Millisecond
	followMost  = 2 * time.Second
)

// followPurges applies purges in their order until ctx ends. While the feed
// cannot be read requests are served on.
func (n *Node) followPurges(ctx context.Context) error {
	f := follower{n: n}
	pause, said := followAgain, false
	for ctx.Err() == nil {
		before := f.cursor
		err := f.read(ctx)
		switch {
		case ctx.Err() != nil:
			return nil //nolint:nilerr // it was told to end
		case errors.Is(err, state.ErrTrimmed), errors.Is(err, state.ErrRecreated):
			n.log.Warn("purges were missed, or the feed of purges is a new one: all that is stored is dropped", "error", err)
			f.cursor = state.Cursor{}
			continue
		case !said:
			said = true
			n.log.Warn("purges cannot be followed", "error", err)
		}
		if f.cursor != before {
			pause, said = followAgain, false
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
		pause = min(2*pause, followMost)
	}
	return nil
}

// follower is a reader of the feed.
type follower struct {
	n        *Node
	cursor   state.Cursor
	acked    state.Position
	appended time.Time // of the entry at the cursor; zero if it was not read
}

// read goes on at the cursor until an error. Without a cursor it begins at the
// feed's end: what was stored before may have been purged by what is in the feed.
func (f *follower) read(ctx context.Context) error {
	if f.cursor.Incarnation == "" {
		if err := f.begin(ctx); err != nil {
			return err
		}
	}
	n := f.n
	for e, err := range n.state.Feeds.Read(ctx, n.purgeKey(), f.cursor) {
		if err != nil {
			return err
		}
		n.purges.head.Store(uint64(e.Head))
		if !e.Heartbeat {
			f.apply(ctx, e)
		}
		if f.cursor.After > f.acked {
			if err := f.acknowledge(ctx); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

func (f *follower) begin(ctx context.Context) error {
	n := f.n
	head, err := n.state.Feeds.Head(ctx, n.purgeKey())
	if err != nil {
		return err
	}
	if head.Last > 0 || n.purges.applied.Load() > 0 {
		n.forget()
	}
	f.cursor, f.acked, f.appended = state.Cursor{Incarnation: head.Incarnation, After: head.Last}, 0, time.Time{}
	n.purges.applied.Store(uint64(head.Last))
	n.purges.head.Store(uint64(head.Last))
	if head.Last == 0 {
		return nil
	}
	return f.acknowledge(ctx)
}

// apply does what an entry says. One that cannot be read drops everything:
// nobody knows what it means.
func (f *follower) apply(ctx context.Context, e state.Event) {
	n := f.n
	var p purge
	err := json.Unmarshal(e.Data, &p)
	var all []cache.Purge
	for i := range p.Of {
		one, parseErr := p.Of[i].forCache(n.tenant, p.Soft)
		err = errors.Join(err, parseErr)
		all = append(all, one)
	}
	switch {
	case err != nil || len(all) == 0:
		n.log.Error("a purge cannot be read: all that is stored is dropped", "position", uint64(e.Position), "error", err)
		n.forget()
	case p.Preview:
		n.sayHits(ctx, e.Position, all)
	default:
		for _, one := range all {
			n.purges.note(n.registry.store.Purge(one), e, p.Who)
			n.registry.functions.purge(&one)
		}
		n.purges.count.Add(1)
	}
	f.cursor.After, f.appended = e.Position, e.Time
	n.purges.applied.Store(uint64(e.Position))
	n.purges.lag.Store(int64(time.Since(e.Time)))
}

// forget drops everything that is stored, by the edge and by functions.
func (n *Node) forget() {
	n.registry.store.Forget()
	n.registry.functions.forget()
	n.purges.dropped.Add(1)
}

// acknowledge says how far the node is. What is stored does not outlive the
// process, so there is nothing to make durable before.
func (f *follower) acknowledge(ctx context.Context) error {
	var took time.Duration
	if !f.appended.IsZero() {
		took = time.Since(f.appended)
	}
	err := f.n.state.Receipts.Acknowledge(ctx, f.n.purgeKey(), state.Receipt{
		Node: f.n.place.Node, Incarnation: f.cursor.Incarnation, Position: f.cursor.After, Took: max(0, took),
	})
	if err == nil {
		f.acked = f.cursor.After
	}
	return err
}

// hits are what a preview would hit on a node: one document for each node, the last one's.
type hits struct {
	Position  state.Position `json:"position"`
	Objects   int64          `json:"objects"`
	Bytes     int64          `json:"bytes"`
	PerSecond float64        `json:"per_second"`
}

func (n *Node) hitsKey(node selvage.NodeName) state.DocumentKey {
	return state.Collection{Tenant: n.tenant, Name: "purge-previews"}.Key(string(node))
}

// sayHits counts and writes what purges would hit. A write that fails is seen by who asked.
func (n *Node) sayHits(ctx context.Context, at state.Position, all []cache.Purge) {
	h := hits{Position: at}
	for _, one := range all {
		hit := n.registry.store.Preview(one)
		h.Objects += int64(hit.Objects)
		h.Bytes += hit.Bytes
		h.PerSecond += hit.PerSecond
	}
	value, err := json.Marshal(h)
	if err == nil {
		_, err = n.state.Documents.Put(ctx, n.hitsKey(n.place.Node), value, state.Any)
	}
	if err != nil {
		n.log.Warn("what a purge would hit cannot be told", "position", uint64(at), "error", err)
	}
}
