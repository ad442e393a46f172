package fastly

import (
	"context"
	"time"
)

// transaction is one guest's look at a key: what was found, and what the guest is obliged to do.
type transaction struct {
	store   *Objects
	key     string
	request header // of the request: what the object may vary by

	found   *object // usable
	length  int64   // of the found one, as it was when it was found; negative: unknown
	old     *object // to revalidate, or to use if bringing fails
	state   freshness
	failed  bool // the found one is the old one, because bringing failed
	flight  *flight
	variant string // of the flight
	body    uint32 // the handle of the body that was given out last
	http    *request
	ranged  bool // parts may be given before the length is known
}

// lookup looks once, without collapsing.
func (s *Objects) lookup(key string, request header) *transaction {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &transaction{store: s, key: key, request: request}
	t.lookLocked()
	return t
}

// finds notes what was found. Its length stays as it is known now: what a guest was told
// of a part must not change under its feet.
func (t *transaction) finds(o *object) {
	t.found, t.length = o, o.length
	if n, whole := o.content.length(); whole {
		t.length = n
	}
}

// lookLocked looks for an object.
func (t *transaction) lookLocked() (pass bool) {
	o, variant := t.store.findLocked(t.key, &t.request)
	t.found, t.old, t.variant = nil, nil, variant
	if o == nil {
		return false
	}
	now := time.Now()
	t.state = o.freshnessLocked(now)
	switch {
	case o.pass:
		return t.state.fresh
	case t.state.usable:
		t.finds(o)
		t.store.usedLocked(o)
	}
	t.old = o
	return false
}

// begin looks, and takes the obligation to bring or refresh the object if
// nobody has it. busy is not nil if somebody has it, and nothing usable is there.
func (s *Objects) begin(t *transaction) (busy *flight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.lookLocked() || t.found != nil && t.state.fresh {
		return nil
	}
	r := s.recordLocked(t.key)
	if f := r.flights[t.variant]; f != nil {
		if t.found != nil {
			return nil
		}
		return f
	}
	t.flight = &flight{done: make(chan struct{}), began: s.purged}
	r.flights[t.variant] = t.flight
	return nil
}

// transact is a transaction that may have to wait.
type transact struct {
	t    *transaction
	busy *flight
}

// transact begins a transaction.
func (s *Objects) transact(key string, request header) *transact {
	t := &transaction{store: s, key: key, request: request}
	return &transact{t, s.begin(t)}
}

// ready is closed when waiting may be over.
func (b *transact) ready() <-chan struct{} {
	if b.busy == nil {
		return nil
	}
	return b.busy.done
}

// wait waits until there is something usable or something to do.
func (b *transact) wait(ctx context.Context) (*transaction, error) {
	for b.busy != nil {
		select {
		case <-b.busy.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		b.landed()
	}
	return b.t, nil
}

// landed takes what a flight brought, or begins again.
func (b *transact) landed() {
	f := b.busy
	t := b.t
	if f.pass {
		b.busy = nil
		return
	}
	if o := f.result; o != nil {
		t.store.mu.Lock()
		if o.variant == variantOf(o.vary, &t.request) {
			t.state = o.freshnessLocked(time.Now())
			t.finds(o)
			t.old, t.failed = o, f.stale
			t.store.usedLocked(o)
			b.busy = nil
		}
		t.store.mu.Unlock()
		if b.busy == nil {
			return
		}
	}
	b.busy = t.store.begin(t)
}

// Close gives it up.
func (b *transact) Close() error { return b.t.Close() }

// land ends the flight of a transaction.
func (t *transaction) landLocked(result *object, stale, pass bool) {
	f := t.flight
	t.flight = nil
	f.result, f.stale, f.pass = result, stale, pass
	if r := t.store.records[t.key]; r != nil && r.flights[t.variant] == f {
		delete(r.flights, t.variant)
	}
	t.store.tidyLocked(t.key)
	close(f.done)
}

// insert stores an object, which is written to the content. false: the guest is not obliged to.
func (t *transaction) insert(m meta) (*object, bool) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.flight == nil {
		return nil, false
	}
	o := s.objectLocked(t, m, newContent(s, m.length))
	t.putLocked(o)
	return o, true
}

// update stores a new head for the old content. false: the guest is not obliged to, or there is nothing.
func (t *transaction) update(m meta) (*object, bool) {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.flight == nil || t.old == nil {
		return nil, false
	}
	o := s.objectLocked(t, m, t.old.content)
	if m.user == nil {
		o.user = t.old.user
	}
	if m.length < 0 {
		o.length = t.old.length
	}
	t.putLocked(o)
	return o, true
}

func (s *Objects) objectLocked(t *transaction, m meta, content *content) *object {
	return &object{meta: m, key: t.key, variant: variantOf(m.vary, &t.request), since: time.Now(), content: content}
}

// putLocked stores what a flight brought, unless it was purged meanwhile.
func (t *transaction) putLocked(o *object) {
	if t.store.purgedSinceLocked(t.flight.began, o) {
		t.landLocked(nil, false, false)
		return
	}
	t.store.storeLocked(o)
	t.landLocked(o, false, false)
}

// put stores an object without a transaction.
func (s *Objects) put(key string, request header, m meta) *object {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := &transaction{store: s, key: key, request: request}
	o := s.objectLocked(t, m, newContent(s, m.length))
	s.storeLocked(o)
	return o
}

// notCacheable makes lookups pass for a time. false: the guest is not obliged.
func (t *transaction) notCacheable(m meta) bool {
	s := t.store
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.flight == nil {
		return false
	}
	m.pass = true
	o := s.objectLocked(t, m, newContent(s, m.length))
	s.storeLocked(o)
	t.landLocked(nil, false, true)
	return true
}

// chooseStale uses the old object because bringing failed. false: there is none that may be used.
func (t *transaction) chooseStale() bool {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if t.flight == nil || t.old == nil || !t.old.freshnessLocked(time.Now()).ifError {
		return false
	}
	t.finds(t.old)
	t.failed = true
	t.landLocked(t.old, true, false)
	return true
}

// cancel gives the obligation back: one of those who wait gets it. false: there was none.
func (t *transaction) cancel() bool {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	if t.flight == nil {
		return false
	}
	t.landLocked(nil, false, false)
	return true
}

// Close gives an obligation back.
func (t *transaction) Close() error {
	t.cancel()
	return nil
}

// obliged says whether the guest is to bring or refresh the object.
func (t *transaction) obliged() bool {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	return t.flight != nil
}

// usableIfError says whether the old object may be used if bringing fails.
func (t *transaction) usableIfError() bool {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	return t.failed || t.flight != nil && t.found == nil && t.old != nil && t.old.freshnessLocked(time.Now()).ifError
}

// about is what a guest may know of the found object.
func (t *transaction) about(o *object) (f freshness, hits uint64) {
	t.store.mu.Lock()
	defer t.store.mu.Unlock()
	return o.freshnessLocked(time.Now()), o.hits
}

// ready: whoever has a transaction has waited for it.
func (t *transaction) ready() <-chan struct{} { return nil }
