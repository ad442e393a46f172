package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/state"
)

// changeLog is the log of changes: who, what, when, why, and how it ended. Each
// entry has the hash of the one before. It is safe for concurrent use.
type changeLog struct {
	feeds state.Feeds
	key   state.FeedKey

	turn chan struct{} // whoever has it reads on or appends

	mu      sync.Mutex // guards what follows
	chain   client.Chain
	life    state.Incarnation
	changes map[selvage.ChangeID]*history
	order   []selvage.ChangeID
	last    map[selvage.ServiceName]selvage.ChangeID
	keys    map[string]bool
}

// history is what the log says of one change.
type history struct {
	submitted client.LogFact
	latest    client.LogFact // the last entry that changed its state
}

func newLog(feeds state.Feeds, tenant selvage.Tenant) *changeLog {
	return &changeLog{
		feeds: feeds, key: state.FeedKey{Tenant: tenant, Name: state.ChangesFeed}, turn: make(chan struct{}, 1),
		changes: map[selvage.ChangeID]*history{}, last: map[selvage.ServiceName]selvage.ChangeID{}, keys: map[string]bool{},
	}
}

// take waits for the turn.
func (l *changeLog) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
		return nil
	case <-ctx.Done():
		return selvage.Errorf(selvage.Unavailable, "wait for the log of changes: %w", context.Cause(ctx))
	}
}

// sync reads on to the log's end as it is now.
func (l *changeLog) sync(ctx context.Context) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer func() { <-l.turn }()
	return l.readOn(ctx)
}

// readOn needs the turn.
func (l *changeLog) readOn(ctx context.Context) error {
	head, err := l.feeds.Head(ctx, l.key)
	if err != nil {
		return fmt.Errorf("read log of changes: %w", err)
	}
	at := l.position()
	if head.Last < at {
		return selvage.Errorf(selvage.Internal, "read log of changes: it ends at %d, it had %d entries", head.Last, at)
	}
	if head.Last == at {
		return nil
	}
	for e, err := range l.feeds.Read(ctx, l.key, state.Cursor{Incarnation: l.life, After: at}) {
		switch {
		case err != nil:
			return fmt.Errorf("read log of changes: %w", err)
		case e.Heartbeat:
			continue
		}
		if err := l.learn(e); err != nil {
			return err
		}
		if e.Position >= head.Last {
			break
		}
	}
	return nil
}

func (l *changeLog) position() state.Position {
	l.mu.Lock()
	defer l.mu.Unlock()
	return state.Position(l.chain.Position)
}

// learn verifies the next entry and takes it into the index.
func (l *changeLog) learn(e state.Event) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	entry := client.LogEntry{Position: uint64(e.Position), Time: e.Time, Hash: client.LogHash(e.Data), Entry: e.Data}
	if err := l.chain.Next(entry); err != nil {
		return selvage.Errorf(selvage.Internal, "verify log of changes: %w", err)
	}
	l.life = e.Incarnation
	fact, err := entry.Fact()
	if err != nil {
		return err
	}
	l.keys[factKey(fact)] = true
	l.indexLocked(fact)
	return nil
}

func (l *changeLog) indexLocked(f client.LogFact) {
	id := selvage.ChangeID(f.Change.ID)
	if id == "" {
		return
	}
	c := l.changes[id]
	if c == nil {
		c = &history{}
		l.changes[id] = c
		l.order = append(l.order, id)
	}
	if f.Event == "submitted" {
		c.submitted = f
		l.last[selvage.ServiceName(f.Change.Service)] = id
	}
	if c.latest.Change.State != client.Undone { // which beats every other outcome
		c.latest = f
	}
}

// factKey is what makes an entry be appended once. Events that may come more
// than once are told apart by their time.
func factKey(f client.LogFact) string {
	switch f.Event {
	case "submitted", "started", client.Promoted, client.Undone, client.Superseded, client.Refused:
		if f.Change.ID != "" {
			return f.Change.ID + "/" + f.Event
		}
	}
	return fmt.Sprintf("%s/%s/%d/%.40s", f.Change.ID, f.Event, f.When.UnixNano(), f.Who)
}

// append stores what fact says for the position it gets, once for its key.
// It is asked again where somebody else was faster.
func (l *changeLog) append(ctx context.Context, fact func(state.Position) client.LogFact) error {
	if err := l.take(ctx); err != nil {
		return err
	}
	defer func() { <-l.turn }()
	for {
		if err := l.readOn(ctx); err != nil {
			return err
		}
		at := l.position()
		f := fact(at + 1)
		if l.known(factKey(f)) {
			return nil
		}
		f.Previous = l.tip()
		data, err := json.Marshal(f)
		if err != nil {
			return fmt.Errorf("append to log of changes: %w", err)
		}
		// It needs no id of its own: the position that it has to follow makes it unique.
		_, err = l.feeds.Append(ctx, l.key, state.Entry{After: &at, Data: data})
		switch {
		case err == nil:
			return l.readOn(ctx)
		case selvage.KindOf(err) != selvage.Conflict || ctx.Err() != nil:
			return fmt.Errorf("append to log of changes: %w", err)
		}
	}
}

func (l *changeLog) known(key string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.keys[key]
}

func (l *changeLog) tip() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.chain.Hash
}

// change is what the log says of a change, as it was last.
func (l *changeLog) change(id selvage.ChangeID) (history, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c, ok := l.changes[id]
	if !ok {
		return history{}, false
	}
	return *c, true
}

// lastOf is the last change of every service.
func (l *changeLog) lastOf() map[selvage.ServiceName]history {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[selvage.ServiceName]history, len(l.last))
	for name, id := range l.last {
		out[name] = *l.changes[id]
	}
	return out
}

// preparing are the changes that have no more than begun.
func (l *changeLog) preparing() []history {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []history
	for _, id := range l.order {
		if c := l.changes[id]; c.latest.Change.State == client.Preparing && c.submitted.Change.ID != "" {
			out = append(out, *c)
		}
	}
	return out
}

// entries are those after a position up to the end as it is now.
func (l *changeLog) entries(ctx context.Context, after state.Position) iter.Seq2[client.LogEntry, error] {
	return func(yield func(client.LogEntry, error) bool) {
		head, err := l.feeds.Head(ctx, l.key)
		if err != nil {
			yield(client.LogEntry{}, fmt.Errorf("read log of changes: %w", err))
			return
		}
		if head.Last <= after {
			return
		}
		for e, err := range l.feeds.Read(ctx, l.key, state.Cursor{After: after}) {
			if err != nil {
				yield(client.LogEntry{}, fmt.Errorf("read log of changes: %w", err))
				return
			}
			if e.Heartbeat {
				continue
			}
			out := client.LogEntry{Position: uint64(e.Position), Time: e.Time, Hash: client.LogHash(e.Data), Entry: e.Data}
			if !yield(out, nil) || e.Position >= head.Last {
				return
			}
		}
	}
}

// service of a change, by the log.
func (l *changeLog) service(id selvage.ChangeID) (selvage.ServiceName, error) {
	c, ok := l.change(id)
	if !ok {
		return "", selvage.Errorf(selvage.NotFound, "change %q: there is none of that name", strings.ToValidUTF8(string(id), "?"))
	}
	return selvage.ServiceName(c.submitted.Change.Service), nil
}
