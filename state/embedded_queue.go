package state

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

// embeddedQueues keeps each queue as a stream that forgets what its one
// consumer has acknowledged.
type embeddedQueues struct{ e *Embedded }

const consumerName = "consumer"

func (k QueueKey) stream() string  { return streamName("Q", k.Tenant, k.Name) }
func (k QueueKey) subject() string { return subject("queue", k.Tenant, k.Name) }

// queue asks for the queue, made where it is not there yet.
func (q *embeddedQueues) queue(ctx context.Context, key QueueKey) (*live, *jetstream.StreamInfo, error) {
	if err := key.check(); err != nil {
		return nil, nil, err
	}
	l, err := q.e.engine(ctx)
	if err != nil {
		return nil, nil, err
	}
	policy := q.e.limits.queue(key.Name)
	_, info, err := q.e.stream(ctx, l, durable(jetstream.StreamConfig{
		Name: key.stream(), Subjects: []string{key.subject()}, Retention: jetstream.WorkQueuePolicy,
		MaxBytes: int64(policy.MaxBytes), MaxMsgs: int64(policy.MaxMessages), Discard: jetstream.DiscardNew,
	}))
	return l, info, err
}

func (q *embeddedQueues) consumer(ctx context.Context, key QueueKey) (jetstream.Consumer, error) {
	l, _, err := q.queue(ctx, key)
	if err != nil {
		return nil, err
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// One makes it, the others wait: the engine names a consumer to a second
	// maker before it listens to what is asked of it.
	l.mu.Lock()
	defer l.mu.Unlock()
	if c := l.consumers[key]; c != nil {
		return c, nil
	}
	c, err := l.js.CreateOrUpdateConsumer(call, key.stream(), jetstream.ConsumerConfig{
		Durable: consumerName, AckPolicy: jetstream.AckExplicitPolicy, AckWait: q.e.limits.queue(key.Name).AckWait,
		MaxDeliver: -1, MaxAckPending: -1,
	})
	if err != nil {
		return nil, q.e.fail(ctx, "queue", err)
	}
	l.consumers[key] = c
	return c, nil
}

func (q *embeddedQueues) Push(ctx context.Context, key QueueKey, m Message) error {
	if err := checkValue(m.Data, m.ID); err != nil {
		return err
	}
	if _, err := q.e.writer(ctx); err != nil {
		return err
	}
	l, _, err := q.queue(ctx, key)
	if err != nil {
		return err
	}
	var opts []jetstream.PublishOpt
	if m.ID != "" {
		opts = append(opts, jetstream.WithMsgID(escape(m.ID)))
	}
	_, err = q.e.publish(ctx, l, "queue", &nats.Msg{Subject: key.subject(), Data: m.Data}, opts...)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		return selvage.Errorf(selvage.Unavailable, "queue %s: %w", key, err)
	}
	return err
}

// pullFor is how long the engine is asked at a time. Who stops waiting is known to it at once.
const pullFor = 5 * time.Second

func (q *embeddedQueues) Pull(ctx context.Context, key QueueKey) (Delivery, error) {
	c, err := q.consumer(ctx, key)
	if err != nil {
		return Delivery{}, err
	}
	for {
		round, cancel := context.WithTimeout(ctx, pullFor)
		msg, err := c.Next(jetstream.FetchContext(round))
		cancel()
		if err == nil {
			return delivery(key, msg)
		}
		if ctx.Err() != nil {
			return Delivery{}, ended(ctx)
		}
		if _, err := q.e.engine(ctx); err != nil {
			return Delivery{}, err
		}
		if !errors.Is(err, nats.ErrTimeout) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, jetstream.ErrNoMessages) {
			return Delivery{}, q.e.fail(ctx, "queue", err)
		}
	}
}

func delivery(key QueueKey, msg jetstream.Msg) (Delivery, error) {
	m, err := msg.Metadata()
	if err != nil {
		return Delivery{}, selvage.Errorf(selvage.Internal, "read message of queue %s: %w", key, err)
	}
	id := unescape(msg.Headers().Get(nats.MsgIdHdr))
	return Delivery{
		Message: Message{ID: id, Data: msg.Data()}, Queue: key,
		Attempt: int(m.NumDelivered), Time: m.Timestamp, token: msg.Reply(),
	}, nil
}

func (q *embeddedQueues) Ack(ctx context.Context, d Delivery) error { return q.answer(ctx, d, "+ACK") }

func (q *embeddedQueues) Nak(ctx context.Context, d Delivery, delay time.Duration) error {
	if delay <= 0 {
		return q.answer(ctx, d, "-NAK")
	}
	return q.answer(ctx, d, fmt.Sprintf("-NAK {\"delay\":%d}", delay.Nanoseconds()))
}

// answer tells the engine what became of a delivery, and waits until it knows.
func (q *embeddedQueues) answer(ctx context.Context, d Delivery, what string) error {
	l, err := q.e.engine(ctx)
	if err != nil {
		return err
	}
	if d.token == "" {
		return selvage.Errorf(selvage.Invalid, "the delivery is not of this store")
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = l.nc.RequestWithContext(call, d.token, []byte(what))
	return q.e.fail(ctx, "queue", err)
}

func (q *embeddedQueues) Len(ctx context.Context, key QueueKey) (int, error) {
	_, info, err := q.queue(ctx, key)
	if err != nil {
		return 0, err
	}
	return int(info.State.Msgs), nil
}
