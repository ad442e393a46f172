package state

import (
	"context"
	"iter"
	"math"
	"time"
)

// Revision numbers the writes of all documents of a store. It only grows.
type Revision uint64

// What a write can expect beside a revision.
const (
	Absent Revision = 0              // the document is not there
	Any    Revision = math.MaxUint64 // whatever is there
)

// Document is a value with its revision.
type Document struct {
	Key      DocumentKey
	Value    []byte
	Revision Revision
	Time     time.Time // of the write, by the store's clock
}

// Change is what a watch tells: the document as it is now, or that it is gone.
type Change struct {
	Document
	Deleted bool
}

// Documents are small values, changed by compare-and-swap.
type Documents interface {
	// Get reads a document: NotFound if it is not there.
	Get(ctx context.Context, key DocumentKey) (Document, error)
	// Put writes a document if its revision is the expected one: Conflict if not.
	Put(ctx context.Context, key DocumentKey, value []byte, expect Revision) (Revision, error)
	// Delete removes a document if its revision is the expected one: NotFound if it is
	// not there, Conflict if it is another.
	Delete(ctx context.Context, key DocumentKey, expect Revision) error
	// List gives the documents of a collection in the order of their revisions, as they
	// were at one moment. The greatest revision seen is where a watch goes on.
	List(ctx context.Context, c Collection) iter.Seq2[Document, error]
	// Watch gives every change of a collection after a revision (0: everything that is there
	// first) in the order of their revisions, then waits for more. What changes fast is told
	// with its last value only. It ends with an error: that of ctx at the latest.
	Watch(ctx context.Context, c Collection, after Revision) iter.Seq2[Change, error]
}
