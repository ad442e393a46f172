// Package state is what the edge remembers: documents, blobs, feeds and their
// receipts, queues, and leases.
//
// Look at [Store] first: it is all of them together. [Memory] makes the twin
// that forgets with its process, [Open] the one that is durable on one machine:
// NATS JetStream in the same process, without a socket, in one folder. Nothing
// outside this package knows of NATS.
//
// It promises: what was acknowledged is on the disk (synced, not only written)
// and survives a kill at any moment; every key carries its tenant as a type;
// everything has a bound, and says so when it is reached ([ErrFull], and
// Limits.OnLimit); errors carry a [selvage.Kind]: Invalid for keys and values
// that can never be stored, NotFound, Conflict for a lost compare-and-swap and
// for [ErrTrimmed], [ErrRecreated], [ErrLost], Unavailable for a store that is
// full, closed or does not answer. A write that ended with Unavailable may have
// been done: repeat it with the same id or the same expected revision.
// Everything is safe for concurrent use.
//
// It refuses to be read linearizably. A read may be older than the last
// acknowledged write of somebody else: build on compare-and-swap, positions and
// fencing tokens, never on having read.
//
// # Layout of the keys
//
// Each part of a key is written with the letters a-z, digits and "-"; every
// other byte is "=" and two hexadecimal digits, so that no part can hold a
// separator and no file system can confuse two of them. The parts of the names
// of streams, which are also those of folders, are joined with "_", those of
// subjects with ".".
//
//	what        stream               subject
//	document    DOCUMENTS            document.TENANT.COLLECTION.ID
//	blob        BLOBS                blob.TENANT.meta.SHA256, blob.TENANT.part.UPLOAD
//	feed        F_TENANT_NAME        feed.TENANT.NAME.INCARNATION
//	receipt     RECEIPTS             receipt.TENANT.FEED.INCARNATION.NODE
//	queue       Q_TENANT_NAME        queue.TENANT.NAME
//	lease       LEASES               lease.TENANT.NAME
//
// A document's revision, a feed's position and a lease's token are sequence
// numbers of the stream. A deleted document leaves an empty message with the
// header Selvage-Deleted for [TombstoneTTL].
package state

import (
	"context"
	"errors"
	"time"

	"github.com/selvage-edge/selvage"
)

// Store is everything that is remembered. Its parts may come from different
// places: a fleet keeps blobs near and documents at home.
type Store struct {
	Documents Documents
	Blobs     Blobs
	Feeds     Feeds
	Receipts  Receipts
	Queues    Queues
	Leases    Leases
}

// What the errors of this package wrap, beside their kind.
var (
	// ErrFull is Unavailable: a limit is reached, or the disk is full.
	ErrFull = errors.New("state is full")
	// ErrClosed is Unavailable: the store was closed.
	ErrClosed = errors.New("state is closed")
	// ErrTrimmed is a Conflict: the feed no longer has the entry that comes next. The
	// reader has missed something and must not act as if it had not.
	ErrTrimmed = errors.New("feed is trimmed")
	// ErrRecreated is a Conflict: this is not the feed that the reader knew. Its
	// positions say nothing about this one.
	ErrRecreated = errors.New("feed was recreated")
	// ErrLost is a Conflict: the lease is not the holder's any more.
	ErrLost = errors.New("lease is lost")
)

// What bounds every store.
const (
	// MaxValue is the most bytes in a document, an entry of a feed or a message of a queue.
	MaxValue = 1 << 20
	// MaxID is the most bytes in an id for deduplication.
	MaxID = 128
	// DedupWindow is how long the id of an entry or a message is remembered. A feed or a queue
	// whose own age is less remembers it for that long.
	DedupWindow = 10 * time.Minute
	// TombstoneTTL is how long a watch can be behind and still be told of every delete.
	TombstoneTTL = time.Hour
	// HeartbeatEvery is how often a reader of a feed hears where its head is.
	HeartbeatEvery = 500 * time.Millisecond
	// MinLease is the shortest time that a lease is given for.
	MinLease = time.Second
	// ReceiptsKept is how many receipts of a node are kept for a feed.
	ReceiptsKept = 32
)

// Limits bounds a store. Zero fields take the defaults.
type Limits struct {
	Documents selvage.ByteSize // of all of them; default 64MiB
	Blobs     selvage.ByteSize // of all of them; default 1GiB
	Receipts  selvage.ByteSize // the oldest go; default 16MiB
	Leases    selvage.ByteSize // default 4MiB
	Streams   int              // feeds and queues of all tenants; default 256

	Feeds  map[string]FeedPolicy  // by the feed's name, for every tenant
	Queues map[string]QueuePolicy // by the queue's name, for every tenant

	// OnLimit hears of every refusal: documents, blobs, leases, streams, feed, queue, disk.
	OnLimit func(limit string)
}

// FeedPolicy bounds a feed of every tenant.
type FeedPolicy struct {
	MaxBytes selvage.ByteSize // default 16MiB
	MaxAge   time.Duration    // older entries go; 0: they stay
	Trim     bool             // when full the oldest entries go; else an append is refused
}

// QueuePolicy bounds a queue of every tenant.
type QueuePolicy struct {
	MaxBytes    selvage.ByteSize // default 16MiB
	MaxMessages int              // default 100,000
	AckWait     time.Duration    // how long a consumer has before a message is delivered again; default 30s
}

func (l Limits) withDefaults() Limits {
	l.Documents = orDefault(l.Documents, 64<<20)
	l.Blobs = orDefault(l.Blobs, 1<<30)
	l.Receipts = orDefault(l.Receipts, 16<<20)
	l.Leases = orDefault(l.Leases, 4<<20)
	l.Streams = orDefault(l.Streams, 256)
	if l.OnLimit == nil {
		l.OnLimit = func(string) {}
	}
	return l
}

func (l Limits) feed(name string) FeedPolicy {
	p := l.Feeds[name]
	p.MaxBytes = orDefault(p.MaxBytes, 16<<20)
	return p
}

func (l Limits) queue(name string) QueuePolicy {
	p := l.Queues[name]
	p.MaxBytes = orDefault(p.MaxBytes, 16<<20)
	p.MaxMessages = orDefault(p.MaxMessages, 100_000)
	p.AckWait = orDefault(p.AckWait, 30*time.Second)
	return p
}

// window is how long ids of the feed are remembered.
func (p FeedPolicy) window() time.Duration {
	if p.MaxAge > 0 {
		return min(p.MaxAge, DedupWindow)
	}
	return DedupWindow
}

// full counts the refusal and makes the error of it.
func (l Limits) full(limit string) error {
	l.OnLimit(limit)
	return selvage.Errorf(selvage.Unavailable, "the limit of %s is reached: %w", limit, ErrFull)
}

func orDefault[T comparable](v, fallback T) T {
	var zero T
	if v == zero {
		return fallback
	}
	return v
}

// ended is the error of a call whose context ended.
func ended(ctx context.Context) error {
	return selvage.Errorf(selvage.Unavailable, "%w", context.Cause(ctx))
}

func checkValue(data []byte, id string) error {
	switch {
	case len(data) > MaxValue:
		return selvage.Errorf(selvage.Invalid, "the value has %d bytes, the most is %d", len(data), MaxValue)
	case len(id) > MaxID:
		return selvage.Errorf(selvage.Invalid, "the id has %d bytes, the most is %d", len(id), MaxID)
	}
	return nil
}

// alive is nil, or ended if ctx did.
func alive(ctx context.Context) error {
	if ctx.Err() != nil {
		return ended(ctx)
	}
	return nil
}
