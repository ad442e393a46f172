package state

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
)

type memoryDocuments struct {
	limits  Limits
	changed *signal

	mu    sync.Mutex // guards what follows
	all   map[DocumentKey]memoryDocument
	last  Revision
	bytes int
}

// memoryDocument is a document or, deleted, its tombstone.
type memoryDocument struct {
	Document
	deleted bool
}

func (d memoryDocument) size() int { return len(d.Key.String()) + len(d.Value) + overhead }

func (m *memoryDocuments) Get(ctx context.Context, key DocumentKey) (Document, error) {
	if err := cmp.Or(key.check(), alive(ctx)); err != nil {
		return Document{}, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.all[key]
	if !ok || d.deleted {
		return Document{}, noDocument(key)
	}
	d.Value = bytes.Clone(d.Value)
	return d.Document, nil
}

func (m *memoryDocuments) Put(ctx context.Context, key DocumentKey, value []byte, expect Revision) (Revision, error) {
	if err := cmp.Or(key.check(), checkValue(value, ""), alive(ctx)); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := checkRevision(key, m.revisionLocked(key), expect); err != nil {
		return 0, err
	}
	d := memoryDocument{Document: Document{Key: key, Value: bytes.Clone(value)}}
	if m.bytes+d.size() > int(m.limits.Documents) {
		return 0, m.limits.full("documents")
	}
	return m.setLocked(d), nil
}

func (m *memoryDocuments) Delete(ctx context.Context, key DocumentKey, expect Revision) error {
	if err := cmp.Or(key.check(), alive(ctx)); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	is := m.revisionLocked(key)
	if is == Absent {
		return noDocument(key)
	}
	if err := checkRevision(key, is, expect); err != nil {
		return err
	}
	m.setLocked(memoryDocument{Document: Document{Key: key}, deleted: true})
	return nil
}

func (m *memoryDocuments) revisionLocked(key DocumentKey) Revision {
	if d, ok := m.all[key]; ok && !d.deleted {
		return d.Revision
	}
	return Absent
}

// setLocked stores the next revision, and forgets the tombstones whose time is over.
func (m *memoryDocuments) setLocked(d memoryDocument) Revision {
	now := time.Now()
	if d.deleted {
		for key, old := range m.all {
			if old.deleted && now.Sub(old.Time) >= TombstoneTTL {
				m.bytes -= old.size()
				delete(m.all, key)
			}
		}
	}
	if old, ok := m.all[d.Key]; ok {
		m.bytes -= old.size()
	}
	m.last++
	d.Revision, d.Time = m.last, now
	m.bytes += d.size()
	m.all[d.Key] = d
	m.changed.wake()
	return m.last
}

// after gives what changed in the collection, in order.
func (m *memoryDocuments) after(c Collection, after Revision) []memoryDocument {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []memoryDocument
	for key, d := range m.all {
		if key.Collection == c && d.Revision > after {
			d.Value = bytes.Clone(d.Value)
			out = append(out, d)
		}
	}
	slices.SortFunc(out, func(a, b memoryDocument) int { return cmp.Compare(a.Revision, b.Revision) })
	return out
}

func (m *memoryDocuments) List(ctx context.Context, c Collection) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		if err := cmp.Or(c.check(), alive(ctx)); err != nil {
			yield(Document{}, err)
			return
		}
		for _, d := range m.after(c, 0) {
			if !d.deleted && !yield(d.Document, nil) {
				return
			}
		}
	}
}

func (m *memoryDocuments) Watch(ctx context.Context, c Collection, after Revision) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := c.check(); err != nil {
			yield(Change{}, err)
			return
		}
		for {
			changed := m.changed.next()
			for _, d := range m.after(c, after) {
				after = d.Revision
				if !yield(Change{d.Document, d.deleted}, nil) {
					return
				}
			}
			if !wait(ctx, changed, time.Hour) {
				yield(Change{}, ended(ctx))
				return
			}
		}
	}
}

func noDocument(key DocumentKey) error {
	return selvage.Errorf(selvage.NotFound, "document %s is not there", key)
}

// checkRevision compares what is there with what a write expects.
func checkRevision(key DocumentKey, is, expect Revision) error {
	switch {
	case expect == Any || is == expect:
		return nil
	case is == Absent:
		return selvage.Errorf(selvage.Conflict, "document %s is not there, expected is revision %d", key, expect)
	case expect == Absent:
		return selvage.Errorf(selvage.Conflict, "document %s is there already, at revision %d", key, is)
	}
	return selvage.Errorf(selvage.Conflict, "document %s is at revision %d, expected is %d", key, is, expect)
}
