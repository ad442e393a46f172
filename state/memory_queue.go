package state

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"strconv"
	"sync"
	"time"
)

type memoryQueues struct {
	limits  Limits
	changed *signal
	streams func() int // feeds, which share the limit of streams

	mu     sync.Mutex // guards what follows
	queues map[QueueKey]*memoryQueue
}

type memoryQueue struct {
	policy QueuePolicy
	waits  []*memoryMessage // in the order in which they came
	last   uint64
	bytes  int
	ids    remembered
}

type memoryMessage struct {
	Message
	number  uint64
	time    time.Time
	due     time.Time // when it is delivered, at the earliest
	attempt int
}

func (m *memoryQueues) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.queues)
}

// with calls do with the queue, made where it is not there yet, and with m.mu held.
func (m *memoryQueues) with(ctx context.Context, key QueueKey, do func(*memoryQueue) error) error {
	if err := cmp.Or(key.check(), alive(ctx)); err != nil {
		return err
	}
	feeds := m.streams() // before the lock: theirs is taken by it
	m.mu.Lock()
	defer m.mu.Unlock()
	q := m.queues[key]
	if q == nil {
		if len(m.queues)+feeds >= m.limits.Streams {
			return m.limits.full("streams")
		}
		q = &memoryQueue{policy: m.limits.queue(key.Name)}
		m.queues[key] = q
	}
	return do(q)
}

func messageSize(m Message) int { return len(m.Data) + len(m.ID) + overhead }

func (m *memoryQueues) Push(ctx context.Context, key QueueKey, msg Message) error {
	if err := checkValue(msg.Data, msg.ID); err != nil {
		return err
	}
	msg.Data = bytes.Clone(msg.Data)
	return m.with(ctx, key, func(q *memoryQueue) error {
		now := time.Now()
		if _, ok := q.ids.find(msg.ID, now, DedupWindow); ok {
			return nil
		}
		if len(q.waits) >= q.policy.MaxMessages || q.bytes+messageSize(msg) > int(q.policy.MaxBytes) {
			return m.limits.full("queue")
		}
		q.last++
		q.bytes += messageSize(msg)
		q.waits = append(q.waits, &memoryMessage{Message: msg, number: q.last, time: now})
		q.ids.add(msg.ID, q.last, now)
		m.changed.wake()
		return nil
	})
}

func (m *memoryQueues) Pull(ctx context.Context, key QueueKey) (Delivery, error) {
	for {
		changed := m.changed.next()
		var d Delivery
		soon := time.Hour
		err := m.with(ctx, key, func(q *memoryQueue) error {
			d, soon = q.next(key)
			return nil
		})
		if err != nil || d.token != "" {
			return d, err
		}
		if !wait(ctx, changed, soon) {
			return Delivery{}, ended(ctx)
		}
	}
}

// next delivers the first message that is due, or says when one is.
func (q *memoryQueue) next(key QueueKey) (Delivery, time.Duration) {
	soon := time.Hour
	for _, msg := range q.waits {
		if left := time.Until(msg.due); left > 0 {
			soon = min(soon, left)
			continue
		}
		msg.attempt++
		msg.due = time.Now().Add(q.policy.AckWait)
		out := msg.Message
		out.Data = bytes.Clone(out.Data)
		return Delivery{Message: out, Queue: key, Attempt: msg.attempt, Time: msg.time, token: strconv.FormatUint(msg.number, 10)}, 0
	}
	return Delivery{}, soon
}

func (m *memoryQueues) Ack(ctx context.Context, d Delivery) error {
	return m.with(ctx, d.Queue, func(q *memoryQueue) error {
		if i := q.find(d); i >= 0 {
			q.bytes -= messageSize(q.waits[i].Message)
			q.waits = slices.Delete(q.waits, i, i+1)
		}
		return nil
	})
}

func (m *memoryQueues) Nak(ctx context.Context, d Delivery, delay time.Duration) error {
	return m.with(ctx, d.Queue, func(q *memoryQueue) error {
		if i := q.find(d); i >= 0 && q.waits[i].attempt == d.Attempt {
			q.waits[i].due = time.Now().Add(delay)
			m.changed.wake()
		}
		return nil
	})
}

func (q *memoryQueue) find(d Delivery) int {
	return slices.IndexFunc(q.waits, func(m *memoryMessage) bool { return strconv.FormatUint(m.number, 10) == d.token })
}

func (m *memoryQueues) Len(ctx context.Context, key QueueKey) (n int, err error) {
	err = m.with(ctx, key, func(q *memoryQueue) error {
		n = len(q.waits)
		return nil
	})
	return n, err
}
