package state

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

// memoryFeeds has the feeds and their receipts.
type memoryFeeds struct {
	limits  Limits
	changed *signal
	others  func() int // queues, which share the limit of streams

	mu    sync.Mutex // guards what follows
	feeds map[FeedKey]*memoryFeed
}

type memoryFeed struct {
	incarnation Incarnation
	policy      FeedPolicy
	entries     []Event // the oldest first, without holes
	last        Position
	bytes       int
	ids         remembered
	receipts    []Receipt // in the order in which they came
}

func (m *memoryFeeds) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.feeds)
}

// with calls do with the feed, made where it is not there yet, and with m.mu held.
func (m *memoryFeeds) with(ctx context.Context, key FeedKey, do func(*memoryFeed) error) error {
	if err := cmp.Or(key.check(), alive(ctx)); err != nil {
		return err
	}
	others := m.others() // before the lock: theirs is taken by it
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.feeds[key]
	if f == nil {
		if len(m.feeds)+others >= m.limits.Streams {
			return m.limits.full("streams")
		}
		f = &memoryFeed{incarnation: Incarnation(rand.Text()), policy: m.limits.feed(key.Name)}
		m.feeds[key] = f
	}
	if age := f.policy.MaxAge; age > 0 {
		f.dropWhile(func(e Event) bool { return time.Since(e.Time) >= age })
	}
	return do(f)
}

func (f *memoryFeed) first() Position { return f.last - Position(len(f.entries)) + 1 }

func (f *memoryFeed) head() Head { return Head{f.incarnation, f.first(), f.last} }

func (f *memoryFeed) dropWhile(drop func(Event) bool) {
	for len(f.entries) > 0 && drop(f.entries[0]) {
		f.bytes -= entrySize(f.entries[0].Entry)
		f.entries = f.entries[1:]
	}
}

func entrySize(e Entry) int { return len(e.Data) + len(e.ID) + overhead }

func (m *memoryFeeds) Append(ctx context.Context, key FeedKey, e Entry) (at Position, err error) {
	if err := checkValue(e.Data, e.ID); err != nil {
		return 0, err
	}
	e.Data = bytes.Clone(e.Data)
	err = m.with(ctx, key, func(f *memoryFeed) error {
		now := time.Now()
		if p, ok := f.ids.find(e.ID, now, f.policy.window()); ok {
			at = Position(p)
			return nil
		}
		if e.After != nil && *e.After != f.last {
			return feedMoved(key, *e.After)
		}
		size, most := entrySize(e), int(f.policy.MaxBytes)
		if f.policy.Trim {
			f.dropWhile(func(Event) bool { return f.bytes+size > most })
		}
		if f.bytes+size > most {
			return m.limits.full("feed")
		}
		f.last++
		at = f.last
		e.After = nil
		f.entries = append(f.entries, Event{Entry: e, Position: at, Incarnation: f.incarnation, Time: now})
		f.bytes += size
		f.ids.add(e.ID, uint64(at), now)
		m.changed.wake()
		return nil
	})
	return at, err
}

func (m *memoryFeeds) Head(ctx context.Context, key FeedKey) (h Head, err error) {
	err = m.with(ctx, key, func(f *memoryFeed) error {
		h = f.head()
		return nil
	})
	return h, err
}

func (m *memoryFeeds) Trim(ctx context.Context, key FeedKey, upTo Position) error {
	return m.with(ctx, key, func(f *memoryFeed) error {
		if upTo > f.last {
			return beyondHead(key, upTo, f.last)
		}
		f.dropWhile(func(e Event) bool { return e.Position <= upTo })
		return nil
	})
}

func (m *memoryFeeds) Delete(ctx context.Context, key FeedKey) error {
	return m.with(ctx, key, func(*memoryFeed) error {
		delete(m.feeds, key)
		m.changed.wake()
		return nil
	})
}

func (m *memoryFeeds) Read(ctx context.Context, key FeedKey, from Cursor) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for {
			changed := m.changed.next()
			events, head, err := m.after(ctx, key, from)
			if err != nil {
				yield(Event{}, err)
				return
			}
			from.Incarnation = head.Incarnation
			for _, e := range events {
				from.After = e.Position
				if !yield(e, nil) {
					return
				}
			}
			if len(events) > 0 {
				continue
			}
			beat := time.Now().Add(HeartbeatEvery)
			for wait(ctx, changed, time.Until(beat)) && time.Now().Before(beat) {
				changed = m.changed.next()
				if h, err := m.Head(ctx, key); err != nil || h != head {
					break // something of this feed, or the reason to end
				}
			}
			if ctx.Err() == nil && !time.Now().Before(beat) {
				if !yield(Event{Position: from.After, Incarnation: from.Incarnation, Head: head.Last, Time: time.Now(), Heartbeat: true}, nil) {
					return
				}
			}
		}
	}
}

// after gives some of the entries after the cursor.
func (m *memoryFeeds) after(ctx context.Context, key FeedKey, from Cursor) (out []Event, head Head, err error) {
	if ctx.Err() != nil {
		return nil, Head{}, ended(ctx)
	}
	err = m.with(ctx, key, func(f *memoryFeed) error {
		head = f.head()
		if err := checkCursor(key, from, head); err != nil {
			return err
		}
		for _, e := range f.entries[from.After+1-head.First:] {
			e.Data, e.Head = bytes.Clone(e.Data), f.last
			if out = append(out, e); len(out) == 64 {
				break
			}
		}
		return nil
	})
	return out, head, err
}

func (m *memoryFeeds) Acknowledge(ctx context.Context, key FeedKey, r Receipt) error {
	if err := checkPart("node", string(r.Node), maxName); err != nil {
		return err
	}
	return m.with(ctx, key, func(f *memoryFeed) error {
		if err := checkReceipt(key, r, f.head()); err != nil {
			return err
		}
		kept := 0
		for i, old := range slices.Backward(f.receipts) {
			if old.Node != r.Node {
				continue
			}
			if kept++; kept == ReceiptsKept {
				f.receipts = slices.Delete(f.receipts, i, i+1)
				break
			}
		}
		r.Time = time.Now()
		f.receipts = append(f.receipts, r)
		m.changed.wake()
		return nil
	})
}

func (m *memoryFeeds) Receipts(ctx context.Context, key FeedKey, p Position) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		given := map[selvage.NodeName]bool{}
		var incarnation Incarnation
		for {
			changed := m.changed.next()
			var found []Receipt
			err := m.with(ctx, key, func(f *memoryFeed) error {
				if incarnation = orDefault(incarnation, f.incarnation); incarnation != f.incarnation {
					return recreated(key, incarnation, f.incarnation)
				}
				for _, r := range f.receipts {
					if r.Position >= p && !given[r.Node] {
						given[r.Node] = true
						found = append(found, r)
					}
				}
				return nil
			})
			for _, r := range found {
				if !yield(r, nil) {
					return
				}
			}
			if err == nil && !wait(ctx, changed, time.Hour) {
				err = ended(ctx)
			}
			if err != nil {
				yield(Receipt{}, err)
				return
			}
		}
	}
}

func feedMoved(key FeedKey, after Position) error {
	return selvage.Errorf(selvage.Conflict, "feed %s does not end with position %d", key, after)
}

func beyondHead(key FeedKey, p, last Position) error {
	return selvage.Errorf(selvage.Invalid, "feed %s has no position %d, its last is %d", key, p, last)
}

func recreated(key FeedKey, was, is Incarnation) error {
	return selvage.Errorf(selvage.Conflict, "feed %s is incarnation %s, not %s: %w", key, is, was, ErrRecreated)
}

// checkCursor says whether a reader can go on at a cursor.
func checkCursor(key FeedKey, from Cursor, head Head) error {
	switch {
	case from.Incarnation != "" && from.Incarnation != head.Incarnation:
		return recreated(key, from.Incarnation, head.Incarnation)
	case from.After > head.Last:
		return selvage.Errorf(selvage.Conflict, "feed %s ends at %d, before the reader's %d: %w", key, head.Last, from.After, ErrRecreated)
	case from.After+1 < head.First:
		return selvage.Errorf(selvage.Conflict, "feed %s begins at %d, the reader needs %d: %w", key, head.First, from.After+1, ErrTrimmed)
	}
	return nil
}

// checkReceipt says whether a receipt can be true.
func checkReceipt(key FeedKey, r Receipt, head Head) error {
	if r.Incarnation != head.Incarnation {
		return recreated(key, r.Incarnation, head.Incarnation)
	}
	if r.Position > head.Last {
		return beyondHead(key, r.Position, head.Last)
	}
	return nil
}
