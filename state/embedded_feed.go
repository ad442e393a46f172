package state

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

// embeddedFeeds keeps each feed as a stream, whose sequence numbers are the
// positions. The incarnation is part of the stream's subject, so that the engine
// itself refuses who still means another one.
type embeddedFeeds struct{ e *Embedded }

func (k FeedKey) stream() string { return streamName("F", k.Tenant, k.Name) }

func (k FeedKey) subject(i Incarnation) string {
	return subject("feed", k.Tenant, k.Name) + "." + string(i)
}

// opened is a feed as it was a moment ago.
type opened struct {
	stream jetstream.Stream
	head   Head
}

func openedFrom(s jetstream.Stream, info *jetstream.StreamInfo) opened {
	subject := info.Config.Subjects[0]
	return opened{s, Head{
		Incarnation: Incarnation(subject[strings.LastIndexByte(subject, '.')+1:]),
		First:       Position(info.State.FirstSeq), Last: Position(info.State.LastSeq),
	}}
}

// feed asks for the feed, made where it is not there yet.
func (f *embeddedFeeds) feed(ctx context.Context, key FeedKey) (*live, opened, error) {
	if err := key.check(); err != nil {
		return nil, opened{}, err
	}
	l, err := f.e.engine(ctx)
	if err != nil {
		return nil, opened{}, err
	}
	policy := f.e.limits.feed(key.Name)
	config := durable(jetstream.StreamConfig{
		Name: key.stream(), MaxBytes: int64(policy.MaxBytes), MaxAge: policy.MaxAge, Duplicates: policy.window(), Discard: jetstream.DiscardNew,
	})
	if policy.Trim {
		config.Discard = jetstream.DiscardOld
	}
	config.Subjects = []string{key.subject(Incarnation(strings.ToLower(rand.Text())))}
	s, info, err := f.e.stream(ctx, l, config)
	if err != nil {
		return nil, opened{}, err
	}
	o := openedFrom(s, info)
	if o.head.First == 0 { // a stream that never had a message says so
		o.head.First = 1
	}
	return l, o, nil
}

func (f *embeddedFeeds) Append(ctx context.Context, key FeedKey, e Entry) (Position, error) {
	if err := checkValue(e.Data, e.ID); err != nil {
		return 0, err
	}
	if _, err := f.e.writer(ctx); err != nil {
		return 0, err
	}
	for {
		l, o, err := f.feed(ctx, key)
		if err != nil {
			return 0, err
		}
		msg := &nats.Msg{Subject: key.subject(o.head.Incarnation), Data: e.Data}
		opts := []jetstream.PublishOpt{jetstream.WithExpectStream(key.stream())}
		if e.ID != "" {
			opts = append(opts, jetstream.WithMsgID(escape(e.ID)))
		}
		if e.After != nil {
			opts = append(opts, jetstream.WithExpectLastSequence(uint64(*e.After)))
		}
		ack, err := f.e.publish(ctx, l, "feed", msg, opts...)
		switch {
		case errors.Is(err, jetstream.ErrNoStreamResponse):
			continue // it was deleted meanwhile: append to the next one
		case errors.Is(err, errMoved):
			return f.repeated(ctx, l, key, e)
		case err != nil:
			return 0, err
		}
		return Position(ack.Sequence), nil
	}
}

// repeated says where an entry is that was refused because the feed goes on
// behind its After: the engine looks at that before it looks at the id.
func (f *embeddedFeeds) repeated(ctx context.Context, l *live, key FeedKey, e Entry) (Position, error) {
	if e.ID != "" {
		messages, err := f.e.next(ctx, l, key.stream(), ">", uint64(*e.After)+1)
		if err != nil {
			return 0, err
		}
		if len(messages) > 0 && messages[0].id == e.ID {
			return Position(messages[0].seq), nil
		}
	}
	return 0, feedMoved(key, *e.After)
}

func (f *embeddedFeeds) Head(ctx context.Context, key FeedKey) (Head, error) {
	_, o, err := f.feed(ctx, key)
	return o.head, err
}

func (f *embeddedFeeds) Trim(ctx context.Context, key FeedKey, upTo Position) error {
	_, o, err := f.feed(ctx, key)
	if err != nil {
		return err
	}
	if upTo > o.head.Last {
		return beyondHead(key, upTo, o.head.Last)
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f.e.fail(ctx, "feed", o.stream.Purge(call, jetstream.WithPurgeSequence(uint64(upTo)+1)))
}

func (f *embeddedFeeds) Delete(ctx context.Context, key FeedKey) error {
	l, o, err := f.feed(ctx, key)
	if err != nil {
		return err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if err := f.e.deleteStream(call, l, key.stream()); err != nil {
		return f.e.fail(ctx, "feed", err)
	}
	return f.e.fail(ctx, "receipts", l.fixed[receiptStream].Purge(call, jetstream.WithPurgeSubject(key.receipts(o.head.Incarnation))))
}

func (f *embeddedFeeds) Read(ctx context.Context, key FeedKey, from Cursor) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		_, o, err := f.feed(ctx, key)
		if err == nil {
			err = checkCursor(key, from, o.head)
		}
		if err != nil {
			yield(Event{}, err)
			return
		}
		from.Incarnation = o.head.Incarnation
		subject, head := key.subject(from.Incarnation), o.head.Last
		for messages, err := range f.e.tail(ctx, key.stream(), subject, uint64(from.After)+1, HeartbeatEvery) {
			if err == nil && (len(messages) == 0 || messages[0].seq != uint64(from.After)+1) {
				head, err = f.look(ctx, key, from) // idle, or there is a hole: the feed says why
			}
			if err != nil {
				yield(Event{}, err)
				return
			}
			if len(messages) == 0 {
				beat := Event{Position: from.After, Incarnation: from.Incarnation, Time: time.Now(), Head: head, Heartbeat: true}
				if head == from.After && !yield(beat, nil) {
					return
				}
				continue
			}
			head = max(head, Position(messages[len(messages)-1].seq))
			for _, m := range messages {
				if m.seq != uint64(from.After)+1 {
					yield(Event{}, selvage.Errorf(selvage.Internal, "feed %s has no position %d but %d", key, from.After+1, m.seq))
					return
				}
				from.After++
				e := Event{Entry: Entry{ID: m.id, Data: m.data}, Position: from.After, Incarnation: from.Incarnation, Time: m.time, Head: head}
				if !yield(e, nil) {
					return
				}
			}
		}
	}
}

// look says where the feed ends, or why the reader cannot go on.
func (f *embeddedFeeds) look(ctx context.Context, key FeedKey, from Cursor) (Position, error) {
	_, o, err := f.feed(ctx, key)
	if err == nil {
		err = checkCursor(key, from, o.head)
	}
	return o.head.Last, err
}

func (k FeedKey) receipts(i Incarnation) string {
	return subject("receipt", k.Tenant, k.Name) + "." + string(i) + ".*"
}

func (f *embeddedFeeds) Acknowledge(ctx context.Context, key FeedKey, r Receipt) error {
	if err := checkPart("node", string(r.Node), maxName); err != nil {
		return err
	}
	if _, err := f.e.writer(ctx); err != nil {
		return err
	}
	l, o, err := f.feed(ctx, key)
	if err == nil {
		err = checkReceipt(key, r, o.head)
	}
	if err != nil {
		return err
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	subject := strings.TrimSuffix(key.receipts(r.Incarnation), "*") + escape(string(r.Node))
	_, err = f.e.publish(ctx, l, "receipts", &nats.Msg{Subject: subject, Data: body})
	return err
}

func (f *embeddedFeeds) Receipts(ctx context.Context, key FeedKey, p Position) iter.Seq2[Receipt, error] {
	return func(yield func(Receipt, error) bool) {
		_, o, err := f.feed(ctx, key)
		if err != nil {
			yield(Receipt{}, err)
			return
		}
		given := map[selvage.NodeName]bool{}
		for messages, err := range f.e.tail(ctx, receiptStream, key.receipts(o.head.Incarnation), 1, HeartbeatEvery) {
			if err == nil && len(messages) == 0 {
				_, err = f.look(ctx, key, Cursor{Incarnation: o.head.Incarnation, After: o.head.Last})
				if errors.Is(err, ErrTrimmed) {
					err = nil // receipts outlive their entries
				}
			}
			if err != nil {
				yield(Receipt{}, err)
				return
			}
			for _, m := range messages {
				var r Receipt
				if err := json.Unmarshal(m.data, &r); err != nil {
					yield(Receipt{}, selvage.Errorf(selvage.Internal, "read receipt: %w", err))
					return
				}
				if r.Time = m.time; r.Position < p || given[r.Node] {
					continue
				}
				given[r.Node] = true
				if !yield(r, nil) {
					return
				}
			}
		}
	}
}

// stream asks for the stream of a feed or a queue, made where it is not there
// yet, with the subjects that it has.
func (e *Embedded) stream(ctx context.Context, l *live, config jetstream.StreamConfig) (jetstream.Stream, *jetstream.StreamInfo, error) {
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	l.mu.Lock()
	s := l.streams[config.Name]
	l.mu.Unlock()
	if s != nil {
		info, err := s.Info(call)
		if !errors.Is(err, jetstream.ErrStreamNotFound) {
			return s, info, e.fail(ctx, "streams", err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	s, err := l.js.Stream(call, config.Name)
	switch {
	case err == nil: // limits may have changed since it was made
		config.Subjects = s.CachedInfo().Config.Subjects
		s, err = l.js.UpdateStream(call, config)
	case !errors.Is(err, jetstream.ErrStreamNotFound):
	case l.count >= e.limits.Streams:
		return nil, nil, e.limits.full("streams")
	case !e.disk.hasRoom():
		return nil, nil, e.diskFull()
	default:
		s, err = l.js.CreateStream(call, config)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) { // whoever began to make it has left, and the engine has gone on
			s, err = l.js.Stream(call, config.Name)
		}
		if err == nil {
			l.count++
		}
	}
	if err != nil {
		return nil, nil, e.fail(ctx, "streams", fmt.Errorf("make stream %s: %w", config.Name, err))
	}
	l.streams[config.Name] = s
	return s, s.CachedInfo(), nil
}

func (e *Embedded) deleteStream(ctx context.Context, l *live, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.js.DeleteStream(ctx, name)
	if err == nil {
		l.count--
	}
	delete(l.streams, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = nil // somebody else did
	}
	return err
}
