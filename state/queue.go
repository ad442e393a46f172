package state

import (
	"context"
	"time"
)

// Message is what is pushed to a queue.
type Message struct {
	// ID, if any, makes a repetition harmless: within [DedupWindow] a second push with
	// the same id does nothing. A store that was opened again remembers the ids of
	// messages that are still in the queue only.
	ID   string
	Data []byte
}

// Delivery is a message that was given to a consumer, to be acknowledged.
type Delivery struct {
	Message
	Queue   QueueKey
	Attempt int       // 1 for the first
	Time    time.Time // of the push, by the store's clock

	token string // what the store knows the delivery by
}

// Queues hold messages until a consumer has acknowledged each, at least once,
// in about the order in which they came.
type Queues interface {
	// Push stores a message. ErrFull if the queue is.
	Push(ctx context.Context, key QueueKey, m Message) error
	// Pull waits for a message. If it is not acknowledged within the queue's AckWait it
	// is delivered again.
	Pull(ctx context.Context, key QueueKey) (Delivery, error)
	// Ack removes the message, also when its time ran out and it was delivered again
	// meanwhile. A message that is gone is acknowledged already.
	Ack(ctx context.Context, d Delivery) error
	// Nak has the message delivered again after a delay.
	Nak(ctx context.Context, d Delivery, delay time.Duration) error
	// Len says how many messages are not acknowledged.
	Len(ctx context.Context, key QueueKey) (int, error)
}
