package fastly

import (
	"math"
	"slices"
	"strings"
	"time"
)

// maxCacheKey is the longest key of an object, in bytes: JavaScript programs may use 8,135.
const maxCacheKey = 8192

// cached is a function of the caches: they are unsupported without [Objects].
func cached(do func(c *call, s *Objects) Status) func(*call) Status {
	return func(c *call) Status {
		if c.x.abi.options.Objects == nil {
			return Unsupported
		}
		return do(c, c.x.abi.options.Objects)
	}
}

// The bits of a look-up.
const (
	lookupHeaders   = 1 << 1
	lookupService   = 1 << 2
	lookupUseRanges = 1 << 3
	lookupKnown     = lookupHeaders | lookupUseRanges
)

// cacheKey is the key in parameters 0 and 1.
func (c *call) cacheKey() (string, Status) {
	if n := c.u32(1); n == 0 || n > maxCacheKey {
		return "", Invalid
	}
	key := "object\x00" + string(c.bytes(0))
	if c.bad {
		return "", Invalid
	}
	return key, OK
}

// lookupOptions reads the key, and the fields that objects may vary by. The
// mask is in parameter 2, the structure at 3.
func (c *call) lookupOptions() (key string, h header, status Status) {
	key, status = c.cacheKey()
	mask := c.u32(2)
	switch {
	case status != OK:
		return "", h, status
	case mask&^lookupKnown != 0:
		return "", h, Unsupported // another service's objects, or what came later
	case mask&lookupHeaders == 0:
		return key, h, OK
	}
	f := c.record(3, 4)
	if c.bad {
		return "", h, Invalid
	}
	r, ok := c.x.handles.item(f.u32(0)).(*request)
	if !ok {
		return "", h, BadHandle
	}
	h, status = c.copyOf(r.header())
	return key, h, status
}

// cacheLookup looks without collapsing.
var cacheLookup = cached(func(c *call, s *Objects) Status {
	key, h, status := c.lookupOptions()
	if status != OK {
		return status
	}
	t := s.lookup(key, h)
	t.ranged = c.u32(2)&lookupUseRanges != 0
	return c.give(4, t)
})

// cacheTransact begins a transaction, and waits if wait says so.
func cacheTransact(wait bool) func(*call) Status {
	return cached(func(c *call, s *Objects) Status {
		key, h, status := c.lookupOptions()
		c.at(c.u32(4), 4)
		switch {
		case status != OK:
			return status
		case c.bad:
			return Invalid
		}
		b := s.transact(key, h)
		b.t.ranged = c.u32(2)&lookupUseRanges != 0
		if wait {
			return c.cacheWait(b, 4)
		}
		return c.giveOr(4, b, b.Close)
	})
}

// giveOr gives a handle out; if that does not work it closes what it was for.
func (c *call) giveOr(i int, item any, closes func() error) Status {
	status := c.give(i, item)
	if status != OK {
		_ = closes() // it has no error
	}
	return status
}

// cacheWait waits for a transaction, and gives its handle to parameter i.
func (c *call) cacheWait(b *transact, i int) Status {
	t, err := b.wait(c.ctx)
	if err != nil {
		_ = b.Close() // it has no error
		return Failed
	}
	return c.giveOr(i, t, t.Close)
}

// cacheBusyWait turns a busy handle into one of a cache.
func cacheBusyWait(c *call) Status {
	b, ok := handle[*transact](c, 0)
	if !ok {
		return BadHandle
	}
	c.at(c.u32(1), 4)
	if c.bad {
		return Invalid
	}
	c.x.handles.drop(c.u32(0))
	return c.cacheWait(b, 1)
}

// closeItem gives a T back.
func closeItem[T interface{ Close() error }](c *call) Status {
	t, ok := handle[T](c, 0)
	if !ok {
		return BadHandle
	}
	c.x.handles.drop(c.u32(0))
	_ = t.Close() // it has no error
	return OK
}

// onCache is a function of a cache handle. One that was busy is as good: then
// it is waited for.
func onCache(do func(c *call, t *transaction) Status) func(*call) Status {
	return func(c *call) Status {
		switch t := c.x.handles.item(c.u32(0)).(type) {
		case *transaction:
			return do(c, t)
		case *transact:
			is, err := t.wait(c.ctx)
			if err != nil {
				return Failed
			}
			c.x.handles.set(c.u32(0), is)
			return do(c, is)
		}
		return BadHandle
	}
}

// cacheClose gives a handle back, and the obligation that goes with it.
func cacheClose(c *call) Status {
	if b, ok := handle[*transact](c, 0); ok {
		c.x.handles.drop(c.u32(0))
		_ = b.Close() // it has no error
		return OK
	}
	return closeItem[*transaction](c)
}

// The bits of writing an object.
const (
	writeHeaders = 1 << (iota + 1)
	writeVary
	writeInitialAge
	writeStale
	writeKeys
	writeLength
	writeUser
	writeSensitive
	writeEdgeAge
	writeService
)

// maxMetadata is the longest metadata of a guest's, in bytes.
const maxMetadata = 256 << 10

// writeOptions reads what is to be written, with its mask in parameter i and
// the structure at i+1.
func (c *call) writeOptions(i int) (m meta, status Status) {
	mask, size := c.u32(i), 64
	if mask&writeEdgeAge != 0 {
		size = 72
	}
	f := c.record(i+1, size)
	m = meta{maxAge: nanoseconds(f.u64(0)), length: -1, sensitive: mask&writeSensitive != 0}
	m.edgeMaxAge = m.maxAge
	if mask&writeVary != 0 {
		if m.vary, status = c.names(f, 12); status != OK {
			return m, status
		}
	}
	if mask&writeInitialAge != 0 {
		m.initialAge = nanoseconds(f.u64(24))
	}
	if mask&writeStale != 0 {
		m.staleWhileRevalidate = nanoseconds(f.u64(32))
	}
	if mask&writeKeys != 0 {
		if m.keys, status = c.names(f, 40); status != OK {
			return m, status
		}
	}
	if mask&writeLength != 0 {
		m.length = int64(min(f.u64(48), math.MaxInt64))
	}
	if mask&writeUser != 0 {
		if f.u32(60) > maxMetadata {
			return m, LimitExceeded
		}
		m.user = c.span(f, 56)
	}
	if mask&writeEdgeAge != 0 {
		m.edgeMaxAge = nanoseconds(f.u64(64))
	}
	switch {
	case mask&writeService != 0, mask&^(writeService<<1-1) != 0:
		return m, Unsupported
	case c.bad, m.edgeMaxAge > m.maxAge, mask&1 != 0:
		return m, Invalid
	}
	return m, c.checkMeta(&m)
}

// maxNames is how long a list of surrogate keys, or of names to vary by, may be, in bytes.
const maxNames = 256 << 10

// names are the words of the text whose address and length are at the offset.
func (c *call) names(f fields, offset int) ([]string, Status) {
	if f.u32(offset+4) > maxNames {
		return nil, LimitExceeded
	}
	return strings.Fields(string(c.at(f.u32(offset), f.u32(offset+4)))), OK
}

// maxSurrogateKeys is how many keys and how many names to vary by an object may have.
const maxSurrogateKeys = 256

func (c *call) checkMeta(m *meta) Status {
	if len(m.keys) > maxSurrogateKeys || len(m.vary) > maxSurrogateKeys {
		return LimitExceeded
	}
	vary := m.vary[:0]
	for _, name := range m.vary {
		if !isToken(name) {
			return HTTPInvalid
		}
		if name = strings.ToLower(name); !slices.Contains(vary, name) { // a variant is not longer than its request
			vary = append(vary, name)
		}
	}
	m.vary = vary
	return OK
}

// nanoseconds is a time that no sum of two overflows.
func nanoseconds(n uint64) time.Duration { return time.Duration(min(n, math.MaxInt64/4)) }

// cacheInsert stores without collapsing.
var cacheInsert = cached(func(c *call, s *Objects) Status {
	key, status := c.cacheKey()
	if status != OK {
		return status
	}
	m, status := c.writeOptions(2)
	if status != OK {
		return status
	}
	var h header
	if c.u32(2)&writeHeaders != 0 {
		r, ok := c.x.handles.item(c.record(3, 64).u32(8)).(*request)
		if !ok {
			return BadHandle
		}
		if h, status = c.copyOf(r.header()); status != OK {
			return status
		}
	}
	c.at(c.u32(4), 4)
	if c.bad {
		return Invalid
	}
	return c.giveWriter(4, s.put(key, h, m).content)
})

// giveWriter gives a body that writes an object.
func (c *call) giveWriter(i int, t *content) Status {
	b := &body{held: &c.x.held, sink: t}
	return c.giveOr(i, b, func() error {
		b.close()
		return nil
	})
}

// inTransaction are the options of a write in a transaction, whose request was named when it began.
func (c *call) inTransaction() (m meta, status Status) {
	if c.u32(1)&writeHeaders != 0 {
		return m, Invalid
	}
	return c.writeOptions(1)
}

// cacheTransactInsert stores what a transaction is obliged to bring: the body's
// handle goes to parameter 3, and with streamBack one that reads it to 4.
func cacheTransactInsert(streamBack bool) func(*call) Status {
	return onCache(func(c *call, t *transaction) Status {
		m, status := c.inTransaction()
		if status != OK {
			return status
		}
		return c.insert(t, m, 3, streamBack)
	})
}

// insert stores, and gives out the writer and, with streamBack, the reader.
func (c *call) insert(t *transaction, m meta, i int, streamBack bool) Status {
	c.at(c.u32(i), 4)
	if streamBack {
		c.at(c.u32(i+1), 4)
	}
	if c.bad {
		return Invalid
	}
	o, ok := t.insert(m)
	if !ok {
		return BadHandle
	}
	status := c.giveWriter(i, o.content)
	if status != OK || !streamBack {
		return status
	}
	return c.give(i+1, t.fresh(o))
}

// fresh is a transaction that found what was just stored.
func (t *transaction) fresh(o *object) *transaction {
	out := &transaction{store: t.store, key: t.key, request: t.request, old: o, http: t.http, ranged: t.ranged}
	out.finds(o)
	out.state, _ = t.about(o)
	return out
}

func cacheTransactUpdate(c *call, t *transaction) Status {
	m, status := c.inTransaction()
	if status != OK {
		return status
	}
	if _, ok := t.update(m); !ok {
		return BadHandle
	}
	return OK
}

func cacheCancel(c *call, t *transaction) Status {
	if !t.cancel() {
		return BadHandle
	}
	return OK
}

// The bits of a look-up's state. Found means usable, as it always has.
const (
	stateFound = 1 << iota
	stateUsable
	stateStale
	stateMustInsert
	stateUsableIfError
)

func cacheState(c *call, t *transaction) Status {
	var s uint32
	if t.found != nil {
		s |= stateFound | stateUsable
		if !t.state.fresh {
			s |= stateStale
		}
	}
	if t.obliged() {
		s |= stateMustInsert
	}
	if t.usableIfError() {
		s |= stateUsableIfError
	}
	c.put32(1, s)
	return OK
}

// onFound is a question about the object that was found.
func onFound(do func(c *call, t *transaction, o *object) Status) func(*call) Status {
	return onCache(func(c *call, t *transaction) Status {
		if t.found == nil {
			return None
		}
		return do(c, t, t.found)
	})
}

// foundNumber is one whose answer is a number, in parameter 1; negative: none.
func foundNumber(of func(t *transaction, o *object) int64) func(*call) Status {
	return onFound(func(c *call, t *transaction, o *object) Status {
		n := of(t, o)
		if n < 0 {
			return None
		}
		c.put64(1, uint64(n))
		return OK
	})
}

func foundLength(t *transaction, _ *object) int64  { return t.length }
func foundMaxAge(_ *transaction, o *object) int64  { return int64(o.maxAge) }
func foundStale(_ *transaction, o *object) int64   { return int64(o.staleWhileRevalidate) }
func foundIfError(_ *transaction, o *object) int64 { return int64(o.staleIfError) }

func foundAge(t *transaction, o *object) int64 {
	f, _ := t.about(o)
	return int64(f.age)
}

func foundHits(t *transaction, o *object) int64 {
	_, hits := t.about(o)
	return int64(min(hits, math.MaxInt64))
}

func foundUser(c *call, _ *transaction, o *object) Status { return answer(c, 1, o.user) }

// The bits of reading a part of an object.
const (
	bodyFrom = 1 << 1
	bodyTo   = 1 << 2
)

// cacheBody gives a body that reads the found object, or a part of it. One body
// of a handle can be open at a time.
func cacheBody(c *call, t *transaction, o *object) Status {
	mask := c.u32(1)
	if mask&^(bodyFrom|bodyTo) != 0 {
		return Unsupported
	}
	if _, open := c.x.handles.item(t.body).(*body); open && t.body != 0 {
		return BadHandle
	}
	var f fields
	if mask != 0 {
		f = c.record(2, 16)
	}
	c.at(c.u32(3), 4)
	if c.bad || mask == bodyFrom|bodyTo && f.u64(8) < f.u64(0) {
		return Invalid
	}
	length := foundLength(t, o)
	from, end, ok := span(mask, f, length)
	if length < 0 && !t.ranged || !ok {
		from, end = 0, -1 // all of it, as HTTP has it for what cannot be satisfied
	}
	status := c.give(3, c.x.objectBody(o, from, end, length))
	if status == OK {
		t.body = uint32(len(c.x.handles.items))
	}
	return status
}

// span is the part that is meant: from one byte to another, both of them in it;
// without a first byte as many bytes from the end. end is behind the last.
func span(mask uint32, f fields, length int64) (from, end int64, ok bool) {
	first, last := f.u64(0), f.u64(8)
	switch {
	case mask&bodyFrom == 0 && mask&bodyTo == 0:
		return 0, -1, true
	case mask&bodyFrom == 0: // the last bytes
		if length < 0 || last == 0 || last > uint64(length) {
			return 0, 0, false
		}
		return length - int64(last), length, true
	case first > math.MaxInt64-1 || length >= 0 && first >= uint64(length):
		return 0, 0, false
	case mask&bodyTo == 0:
		return int64(first), -1, true
	case last < first, last > math.MaxInt64-1, length >= 0 && last >= uint64(length):
		return 0, 0, false
	}
	return int64(first), int64(last) + 1, true
}

// objectBody is a body that reads a part of an object.
func (x *exchange) objectBody(o *object, from, end, length int64) *body {
	left := int64(-1)
	switch {
	case end >= 0 && length >= 0:
		left = end - from
	case length >= 0:
		left = length - from
	}
	s := &stream{r: o.content.reader(x.context(), from, end), left: left}
	return &body{parts: []part{{stream: s}}, held: &x.held}
}
