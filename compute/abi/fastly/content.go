package fastly

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
)

var (
	errIncomplete = errors.New("the object was not written to its end")
	errTooMuch    = errors.New("the object is longer than it was said to become")
)

// content is the bytes of an object. They can be read while they are written.
type content struct {
	store    *Objects
	declared int64 // how long it is said to become; negative: nobody said
	loose    int64 // guarded by store.mu: written while it was not stored, and its writer has not ended

	mu      sync.Mutex
	data    []byte        // guarded by mu
	whole   bool          // guarded by mu
	err     error         // guarded by mu: why it will not become whole
	changed chan struct{} // guarded by mu: closed and made anew when anything above changes
	of      []*object     // guarded by mu: the stored ones; a revalidated one shares it with its predecessor
}

func newContent(s *Objects, declared int64) *content {
	return &content{store: s, declared: declared, changed: make(chan struct{})}
}

// attach makes an object one of those that the bytes count for. It says how many there are.
func (t *content) attach(o *object) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of = append(t.of, o)
	return int64(len(t.data))
}

// detach undoes attach.
func (t *content) detach(o *object) int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.of = slices.DeleteFunc(t.of, func(v *object) bool { return v == o })
	return int64(len(t.data))
}

// Write adds bytes. Lock order: the store's mutex, then the content's. What goes beyond
// the length that was said makes it useless, which its readers are told and its writer is not.
func (t *content) Write(p []byte) (int, error) {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.mu.Lock()
	switch {
	case errors.Is(t.err, errTooMuch):
		t.mu.Unlock()
		return len(p), nil
	case t.declared >= 0 && int64(len(t.data)+len(p)) > t.declared && !t.whole && t.err == nil:
		t.mu.Unlock()
		t.failLocked(errTooMuch)
		return len(p), nil
	case t.whole || t.err != nil:
		t.mu.Unlock()
		return 0, errNoReader
	case int64(len(t.data)+len(p)) > t.store.most():
		t.mu.Unlock()
		t.store.limit(LimitObject)
		t.failLocked(LimitExceeded)
		return 0, LimitExceeded
	}
	if len(t.of) == 0 && !t.loosenLocked(len(p)) {
		t.mu.Unlock()
		t.store.limit(LimitObjects)
		t.failLocked(LimitExceeded)
		return 0, LimitExceeded
	}
	t.data = append(t.data, p...)
	t.changeLocked()
	of := slices.Clone(t.of)
	t.mu.Unlock()
	for _, o := range of {
		if o.place != nil {
			t.store.growLocked(o, int64(len(p)))
		}
	}
	return len(p), nil
}

// loosenLocked counts n bytes of what no stored object counts: all of these
// together may take what one object may. It needs the store's mutex.
func (t *content) loosenLocked(n int) bool {
	if t.store.loose+int64(n) > t.store.most() {
		return false
	}
	t.store.loose += int64(n)
	t.loose += int64(n)
	return true
}

// orphanLocked counts what is still being written and is not stored any more; what is
// too much of that will not become whole, and gives its bytes back. It needs the store's mutex.
func (t *content) orphanLocked() {
	t.mu.Lock()
	n, more := len(t.data)-int(t.loose), t.whole || t.err != nil || len(t.of) > 0
	t.mu.Unlock()
	if more || t.loosenLocked(n) {
		return
	}
	t.store.limit(LimitObjects)
	t.failLocked(LimitExceeded)
}

// settleLocked: its writer has ended. It needs the store's mutex.
func (t *content) settleLocked() {
	t.store.loose -= t.loose
	t.loose = 0
}

func (t *content) changeLocked() {
	close(t.changed)
	t.changed = make(chan struct{})
}

// finish says that this was all. If it is less than was said, its readers are told.
func (t *content) finish(*header) error {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.mu.Lock()
	t.settleLocked()
	err := t.err
	if (t.declared < 0 || t.completeLocked()) && err == nil && !t.whole {
		t.whole = true
		t.changeLocked()
	}
	t.mu.Unlock()
	t.failLocked(errIncomplete)
	if errors.Is(err, errTooMuch) {
		return nil
	}
	return err
}

// abandon says that no more comes. What has not the length that it was to have will not
// become whole: it is not stored any more. What has it is whole, since programs
// that say a length need not end what they write.
func (t *content) abandon() {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	t.mu.Lock()
	t.settleLocked()
	if t.completeLocked() && t.err == nil {
		t.whole = true
		t.changeLocked()
	}
	t.mu.Unlock()
	t.failLocked(errIncomplete)
}

// failLocked: it will not become whole. What was too much gives its bytes back. It needs the store's mutex.
func (t *content) failLocked(err error) {
	t.mu.Lock()
	if t.whole || t.err != nil {
		t.mu.Unlock()
		return
	}
	t.err = err
	t.settleLocked()
	t.changeLocked()
	of := slices.Clone(t.of)
	t.mu.Unlock()
	for _, o := range of {
		t.store.removeLocked(o)
	}
	if errors.Is(err, LimitExceeded) || errors.Is(err, errTooMuch) { // its writer may hold it on, and it counts no more
		t.mu.Lock()
		t.data = nil
		t.mu.Unlock()
	}
}

// completeLocked says whether all that was said to come is there.
func (t *content) completeLocked() bool {
	return t.whole || t.declared >= 0 && int64(len(t.data)) == t.declared
}

func (t *content) room() <-chan struct{} { return nil }

// length is how long it is, once it is whole.
func (t *content) length() (int64, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return int64(len(t.data)), t.whole
}

// contentReader reads a part of an object, as it comes.
type contentReader struct {
	t    *content
	at   int64
	end  int64 // behind the last byte; negative: to the end
	over <-chan struct{}
	stop context.CancelFunc
}

// reader reads the bytes from at on, to end; negative: to the end. It ends with the context.
func (t *content) reader(ctx context.Context, at, end int64) *contentReader {
	ctx, stop := context.WithCancel(ctx)
	return &contentReader{t: t, at: at, end: end, over: ctx.Done(), stop: stop}
}

// Read waits for bytes.
func (r *contentReader) Read(p []byte) (int, error) {
	for {
		r.t.mu.Lock()
		data, whole, err, changed := r.t.data, r.t.completeLocked(), r.t.err, r.t.changed
		r.t.mu.Unlock()
		end := int64(len(data))
		if r.end >= 0 {
			end = min(end, r.end)
		}
		switch {
		case r.at < end:
			n := copy(p, data[r.at:end])
			r.at += int64(n)
			return n, nil
		case r.end >= 0 && r.at >= r.end:
			return 0, io.EOF
		case whole && r.end >= 0:
			return 0, errIncomplete // the part ends behind its end, which nobody could know
		case whole:
			return 0, io.EOF
		case err != nil:
			return 0, err
		}
		select {
		case <-changed:
		case <-r.over:
			return 0, context.Canceled
		}
	}
}

// Close ends a Read that waits.
func (r *contentReader) Close() error {
	r.stop()
	return nil
}
