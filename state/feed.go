package state

import (
	"context"
	"iter"
	"time"

	"github.com/selvage-edge/selvage"
)

// Position numbers the entries of a feed: 1, 2, 3 without a hole. 0 is before the first.
type Position uint64

// Incarnation names one life of a feed: who deletes it and makes it again makes another.
type Incarnation string

// Entry is what is appended to a feed.
type Entry struct {
	// ID, if any, makes a repetition harmless: within [DedupWindow] a second append
	// with the same id stores nothing and gives the first one's position.
	ID string
	// After, if any, is the position that the feed must end with: Conflict if it does not.
	After *Position
	Data  []byte
}

// Event is an entry that is read, or a heartbeat, which has no entry.
type Event struct {
	Entry
	Position    Position
	Incarnation Incarnation
	Time        time.Time // of the append, by the store's clock
	Head        Position  // the feed's last position as far as is known, at least Position
	Heartbeat   bool
}

// Cursor is how far a reader is. The zero Cursor is before everything.
type Cursor struct {
	Incarnation Incarnation // empty: whichever it is
	After       Position
}

// Head is where a feed begins and ends.
type Head struct {
	Incarnation Incarnation
	First       Position // the oldest entry that is kept; Last+1 if there is none
	Last        Position
}

// Feeds are durable logs that every reader sees whole and in order, or learns
// that it does not. A feed is there as soon as somebody asks for it.
type Feeds interface {
	// Append stores an entry and says where. ErrFull if the feed is full and does not trim itself.
	Append(ctx context.Context, key FeedKey, e Entry) (Position, error)
	// Read gives every entry after the cursor, in order, none missing and none twice, and
	// waits for more. While there is none it gives a heartbeat every [HeartbeatEvery]. It ends
	// with an error: ErrTrimmed, ErrRecreated (also for a cursor behind the feed's end), or
	// that of ctx at the latest.
	Read(ctx context.Context, key FeedKey, from Cursor) iter.Seq2[Event, error]
	// Head says where the feed begins and ends.
	Head(ctx context.Context, key FeedKey) (Head, error)
	// Trim removes the entries up to a position, that one too.
	Trim(ctx context.Context, key FeedKey, upTo Position) error
	// Delete removes the feed and its receipts. The next who asks for it makes a new incarnation.
	Delete(ctx context.Context, key FeedKey) error
}

// Receipt says that a node has applied a feed up to a position, durably.
type Receipt struct {
	Node        selvage.NodeName
	Incarnation Incarnation
	Position    Position
	Took        time.Duration // from the append to this, as the node measured it
	Local       bool          // accepted while the core was unreachable
	Time        time.Time     // of the receipt, by the store's clock; not read by Acknowledge
}

// Receipts are what nodes answer to the entries of a feed. The last
// [ReceiptsKept] of a node are kept.
type Receipts interface {
	// Acknowledge stores a receipt. It counts for all positions up to its own. Invalid for a
	// position that the feed does not have yet, ErrRecreated for another incarnation's.
	Acknowledge(ctx context.Context, key FeedKey, r Receipt) error
	// Receipts gives, once for each node, the oldest kept receipt that counts for a position:
	// those that are there first, then as they come. It ends with an error: ErrRecreated, or
	// that of ctx at the latest.
	Receipts(ctx context.Context, key FeedKey, p Position) iter.Seq2[Receipt, error]
}

// AwaitReceipts waits until all of the nodes have acknowledged a position. It
// gives what came, in the order in which it came, also with an error.
func AwaitReceipts(ctx context.Context, receipts Receipts, key FeedKey, p Position, nodes []selvage.NodeName) ([]Receipt, error) {
	waiting := make(map[selvage.NodeName]bool, len(nodes))
	for _, node := range nodes {
		waiting[node] = true
	}
	var out []Receipt
	if len(waiting) == 0 {
		return nil, nil
	}
	for r, err := range receipts.Receipts(ctx, key, p) {
		if err != nil {
			return out, selvage.Errorf(selvage.KindOf(err), "await %d receipts of feed %s at %d: %w", len(waiting), key, p, err)
		}
		if waiting[r.Node] {
			delete(waiting, r.Node)
			out = append(out, r)
		}
		if len(waiting) == 0 {
			break
		}
	}
	return out, nil
}
