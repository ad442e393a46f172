package kvstate

import (
	"context"
	"sync"
	"time"

	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

// Room bounds what the stores of a service take together, so that no program fills
// what changes and purges need too. Each node reckons by itself, and looks at what
// there is every minute and whenever it has written a sixteenth of the bound: nodes
// that write at once may go beyond it by so much each. It is safe for concurrent use.
type Room struct {
	// Documents is what the entries may take, in bytes, without long bodies. Default [DefaultDocuments].
	Documents int64
	// Blobs is what long bodies may take, in bytes. Default [DefaultBlobs].
	Blobs int64
	// OnLimit is told of a write that was refused. May be nil.
	OnLimit func(limit string)

	measuring sync.Mutex // one at a time; taken before mu

	mu       sync.Mutex        // guards all below
	stores   map[string]*Store // by collection
	measured time.Time
	used     usage
	fresh    usage // written since it was measured
}

// usage is what entries take.
type usage struct{ documents, blobs int64 }

// The defaults of [Room].
const (
	DefaultDocuments = 16 << 20
	DefaultBlobs     = 256 << 20
)

// LimitRoom is what [Room.OnLimit] is told of.
const LimitRoom = "function_kv_bytes"

const (
	measureEvery = time.Minute
	measureShare = 16
)

func (r *Room) bounds() usage {
	u := usage{r.Documents, r.Blobs}
	if u.documents <= 0 {
		u.documents = DefaultDocuments
	}
	if u.blobs <= 0 {
		u.blobs = DefaultBlobs
	}
	return u
}

// fits says whether there is room for a body in a store.
func (r *Room) fits(ctx context.Context, s *Store, body int64) error {
	if r.staleNow(s) {
		if err := r.measure(ctx); err != nil {
			return err
		}
	}
	r.mu.Lock()
	most, used := r.bounds(), r.used
	r.mu.Unlock()
	if body > inline {
		used.blobs += body
	}
	if used.documents < most.documents && used.blobs <= most.blobs {
		return nil
	}
	if r.OnLimit != nil {
		r.OnLimit(LimitRoom)
	}
	return fastly.KVTooLarge
}

// staleNow notes that there is a store, and says whether it must be looked at what all take.
func (r *Room) staleNow(s *Store) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stores[s.collection.Name] == nil {
		if r.stores == nil {
			r.stores = make(map[string]*Store)
		}
		r.stores[s.collection.Name] = s
		return true
	}
	return r.staleLocked()
}

func (r *Room) staleLocked() bool {
	most := r.bounds()
	return time.Since(r.measured) >= measureEvery ||
		r.fresh.documents > most.documents/measureShare || r.fresh.blobs > most.blobs/measureShare
}

// measure looks at what all stores take.
func (r *Room) measure(ctx context.Context) error {
	began := time.Now()
	r.measuring.Lock()
	defer r.measuring.Unlock()
	r.mu.Lock()
	if r.measured.After(began) { // by somebody else, meanwhile
		r.mu.Unlock()
		return nil
	}
	stores := make([]*Store, 0, len(r.stores))
	for _, s := range r.stores {
		stores = append(stores, s)
	}
	before := r.fresh
	r.mu.Unlock()
	var sum usage
	for _, s := range stores {
		err := s.each(ctx, func(e *entry, size int64) {
			sum.documents += size
			sum.blobs += e.Size
		})
		if err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fresh = usage{r.fresh.documents - before.documents, r.fresh.blobs - before.blobs}
	r.measured = time.Now()
	r.used = usage{sum.documents + r.fresh.documents, sum.blobs + r.fresh.blobs}
	return nil
}

// wrote notes what was written. What it replaced is noticed at the next look.
func (r *Room) wrote(document, blob int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.used.documents += document
	r.used.blobs += blob
	r.fresh.documents += document
	r.fresh.blobs += blob
}
