package state

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

type embeddedDocuments struct {
	e *Embedded

	mu    sync.Mutex // guards bytes
	bytes int64      // at most what the documents take; asked again where that would be too much
	asked bool
}

func (k DocumentKey) subject() string { return subject("document", k.Tenant, k.Name, k.ID) }

func (m message) document() Document {
	key := Collection{selvage.Tenant(m.part(1)), m.part(2)}.Key(m.part(3))
	return Document{Key: key, Value: m.data, Revision: Revision(m.seq), Time: m.time}
}

// read gives what is there, its tombstone too, and its revision for a comparison.
func (d *embeddedDocuments) read(ctx context.Context, l *live, key DocumentKey) (m message, is Revision, err error) {
	m, found, err := d.e.last(ctx, l, documentStream, key.subject())
	if found && !m.deleted {
		is = Revision(m.seq)
	}
	return m, is, err
}

func (d *embeddedDocuments) Get(ctx context.Context, key DocumentKey) (Document, error) {
	if err := key.check(); err != nil {
		return Document{}, err
	}
	l, err := d.e.engine(ctx)
	if err != nil {
		return Document{}, err
	}
	m, is, err := d.read(ctx, l, key)
	if err == nil && is == Absent {
		err = noDocument(key)
	}
	if err != nil {
		return Document{}, err
	}
	return m.document(), nil
}

func (d *embeddedDocuments) Put(ctx context.Context, key DocumentKey, value []byte, expect Revision) (Revision, error) {
	if err := cmp.Or(key.check(), checkValue(value, "")); err != nil {
		return 0, err
	}
	l, err := d.e.writer(ctx)
	if err != nil {
		return 0, err
	}
	if err := d.admit(ctx, l, int64(len(value)+len(key.subject())+overhead)); err != nil {
		return 0, err
	}
	return d.write(ctx, l, key, expect, &nats.Msg{Subject: key.subject(), Data: value})
}

func (d *embeddedDocuments) Delete(ctx context.Context, key DocumentKey, expect Revision) error {
	if err := key.check(); err != nil {
		return err
	}
	l, err := d.e.engine(ctx) // also with a full disk: this is what makes room
	if err != nil {
		return err
	}
	for {
		_, is, err := d.read(ctx, l, key)
		if err == nil && is == Absent {
			err = noDocument(key)
		}
		if err != nil {
			return err
		}
		if err := checkRevision(key, is, expect); err != nil {
			return err
		}
		gone := &nats.Msg{Subject: key.subject(), Header: nats.Header{deletedHeader: {"1"}, jetstream.MsgTTLHeader: {TombstoneTTL.String()}}}
		_, err = d.write(ctx, l, key, is, gone)
		if expect == Any && selvage.KindOf(err) == selvage.Conflict {
			continue // it was written meanwhile, and that is to be deleted too
		}
		return err
	}
}

func (d *embeddedDocuments) write(ctx context.Context, l *live, key DocumentKey, expect Revision, msg *nats.Msg) (Revision, error) {
	var opts []jetstream.PublishOpt
	if expect != Any {
		m, is, err := d.read(ctx, l, key)
		if err == nil {
			err = checkRevision(key, is, expect)
		}
		if err != nil {
			return 0, err
		}
		opts = append(opts, jetstream.WithExpectLastSequencePerSubject(m.seq))
	}
	ack, err := d.e.publish(ctx, l, "documents", msg, opts...)
	if errors.Is(err, errMoved) {
		return 0, selvage.Errorf(selvage.Conflict, "document %s: %w", key, errMoved)
	}
	if err != nil {
		return 0, err
	}
	return Revision(ack.Sequence), nil
}

// admit keeps the documents within their limit. The stream's own limit is
// larger: a delete writes too.
func (d *embeddedDocuments) admit(ctx context.Context, l *live, size int64) error {
	d.mu.Lock()
	fits := d.asked && d.bytes+size <= int64(d.e.limits.Documents)
	if fits {
		d.bytes += size
	}
	d.mu.Unlock()
	if fits {
		return nil
	}
	info, err := l.fixed[documentStream].Info(ctx)
	if err != nil {
		return d.e.fail(ctx, "documents", err)
	}
	d.mu.Lock()
	d.asked, d.bytes = true, int64(info.State.Bytes)+size
	over := d.bytes > int64(d.e.limits.Documents)
	if over {
		d.asked = false
	}
	d.mu.Unlock()
	if over {
		return d.e.limits.full("documents")
	}
	return nil
}

func (c Collection) filter() string { return subject("document", c.Tenant, c.Name) + ".*" }

func (d *embeddedDocuments) List(ctx context.Context, c Collection) iter.Seq2[Document, error] {
	return func(yield func(Document, error) bool) {
		documents, err := d.snapshot(ctx, c)
		if err != nil {
			yield(Document{}, err)
			return
		}
		for _, doc := range documents {
			if !yield(doc, nil) {
				return
			}
		}
	}
}

// snapshot reads the collection to its end. What is written while it reads
// moves ahead of it, so that at the end it has what was there at that moment.
func (d *embeddedDocuments) snapshot(ctx context.Context, c Collection) ([]Document, error) {
	if err := c.check(); err != nil {
		return nil, err
	}
	l, err := d.e.engine(ctx)
	if err != nil {
		return nil, err
	}
	found := map[string]Document{}
	for from := uint64(1); ; {
		messages, err := d.e.next(ctx, l, documentStream, c.filter(), from)
		if err != nil {
			return nil, err
		}
		if len(messages) == 0 {
			break
		}
		for _, m := range messages {
			if found[m.subject] = m.document(); m.deleted {
				delete(found, m.subject)
			}
			from = m.seq + 1
		}
	}
	return slices.SortedFunc(maps.Values(found), func(a, b Document) int { return cmp.Compare(a.Revision, b.Revision) }), nil
}

func (d *embeddedDocuments) Watch(ctx context.Context, c Collection, after Revision) iter.Seq2[Change, error] {
	return func(yield func(Change, error) bool) {
		if err := c.check(); err != nil {
			yield(Change{}, err)
			return
		}
		for messages, err := range d.e.tail(ctx, documentStream, c.filter(), uint64(after)+1, time.Second) {
			if err != nil {
				yield(Change{}, err)
				return
			}
			for _, m := range messages {
				if !yield(Change{m.document(), m.deleted}, nil) {
					return
				}
			}
		}
	}
}
