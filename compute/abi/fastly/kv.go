package fastly

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// KV is a KV store. Safe for concurrent use. Its errors are a [KVError] or mean
// that something broke.
type KV interface {
	// Lookup reads a key: KVNotFound if it is not there.
	Lookup(ctx context.Context, key string) (KVValue, error)
	// Insert writes a key: KVPreconditionFailed if it must not be there, or must be of another generation.
	Insert(ctx context.Context, key string, v KVInsert) error
	// Delete removes a key: KVNotFound if it is not there.
	Delete(ctx context.Context, key string) error
	// List reads keys in order.
	List(ctx context.Context, l KVList) (KVPage, error)
}

// KVValue is what is stored for a key.
type KVValue struct {
	Body     []byte
	Metadata string
	// Generation is another one after each write; never 0.
	Generation uint64
}

// KVMode is what an insertion does with what is there.
type KVMode uint32

// The modes of an insertion.
const (
	KVOverwrite KVMode = iota
	KVAdd              // refuse if there is something
	KVAppend
	KVPrepend
)

// KVInsert is what is to be stored.
type KVInsert struct {
	Body     []byte
	Mode     KVMode
	Metadata string
	// TTL is how long it stays; 0: for ever.
	TTL time.Duration
	// IfGeneration is the generation that must be there. Nil: any, or none.
	IfGeneration *uint64
}

// KVList says which keys are wanted: those after a key, with a prefix, at most so many.
type KVList struct {
	After, Prefix string
	Limit         int
}

// KVPage is some keys, and whether more follow.
type KVPage struct {
	Keys []string
	More bool
}

// KVError is what a store answers when it does not do what it was asked.
type KVError uint32

// The errors of KV stores.
const (
	KVOK                 KVError = 1
	KVBadRequest         KVError = 2
	KVNotFound           KVError = 3
	KVPreconditionFailed KVError = 4
	KVTooLarge           KVError = 5
	KVInternal           KVError = 6
	KVTooMany            KVError = 7
)

// Error is the error for people.
func (e KVError) Error() string {
	names := [...]string{"", "ok", "bad request", "not found", "precondition failed", "too large", "internal error", "too many requests"}
	return names[min(int(e), len(names)-1)]
}

// kvErrorOf is the error that a guest is told.
func kvErrorOf(err error) KVError {
	if err == nil {
		return KVOK
	}
	if e, ok := errors.AsType[KVError](err); ok {
		return e
	}
	return KVInternal
}

// The limits of KV stores, as the interface has them.
const (
	maxKVKey      = 1024
	maxKVBody     = 25 << 20
	maxKVMetadata = 2000
	maxKVList     = 1000
)

// KVKeys says what a key is, for messages.
const KVKeys = "a key has 1 to 1024 bytes, neither control characters nor any of #?*[];^|, is not . or .., and does not begin with .well-known/acme-challenge"

// IsKVKey says whether a text can be a key.
func IsKVKey(key string) bool {
	return key != "" && len(key) <= maxKVKey && key != "." && key != ".." &&
		!strings.HasPrefix(key, ".well-known/acme-challenge") && !strings.ContainsFunc(key, func(r rune) bool {
		return r < ' ' || r == '\ufffe' || r == '\uffff' || strings.ContainsRune("#?*[];^|", r)
	})
}

// kvStore is an open KV store.
type kvStore struct{ KV }

// kvTask is an operation that is on its way.
type kvTask struct {
	done   chan struct{} // closed when the rest is set
	value  KVValue
	page   []byte
	err    error
	kind   kvKind
	cancel context.CancelFunc
	x      *exchange
	brings int // bytes that it writes, counted with the bodies until it is done
	held   int // bytes of the value or the page, counted with the bodies until the guest has them
}

// maxKVRunning is how many operations on KV stores go on at once for one request; others wait for them.
const maxKVRunning = 8

// run does the operation, in its turn.
func (t *kvTask) run(ctx context.Context, do func(ctx context.Context, t *kvTask)) {
	defer close(t.done)
	defer t.x.held.release(t.brings)
	select {
	case t.x.kvTurn <- struct{}{}:
		defer func() { <-t.x.kvTurn }()
	case <-ctx.Done():
		t.err = ctx.Err()
		return
	}
	do(ctx, t)
	n := len(t.value.Body) + len(t.page)
	if !t.x.held.take(n) {
		t.value, t.page, t.err = KVValue{}, nil, KVTooMany
		return
	}
	t.held = n
}

// giveBack takes back what is counted of the result: the guest has it, or does not want it.
func (t *kvTask) giveBack() {
	t.x.held.release(t.held)
	t.held = 0
}

type kvKind uint8

const (
	kvLookup kvKind = iota
	kvInsert
	kvDelete
	kvList
)

func (t *kvTask) ready() <-chan struct{} { return t.done }

// Close gives the operation up.
func (t *kvTask) Close() error {
	t.cancel()
	<-t.done
	t.giveBack()
	return nil
}

func kvOpen(c *call) Status {
	name := c.short(0, maxHeaderBytes)
	if c.bad {
		return Invalid
	}
	stores := c.x.abi.options.KV
	if stores == nil {
		return Invalid // so it is there: an unknown store is an invalid argument
	}
	store, ok := stores(name)
	if !ok {
		return Invalid
	}
	return c.giveOpened(opened{"kv", name}, &kvStore{store})
}

// kvBegin begins an operation, and gives its handle to the address in parameter i.
func (c *call) kvBegin(i int, t *kvTask, do func(ctx context.Context, t *kvTask)) Status {
	c.at(c.u32(i), 4)
	if c.bad {
		c.x.held.release(t.brings)
		return Invalid
	}
	t.done, t.x = make(chan struct{}), c.x
	var ctx context.Context
	ctx, t.cancel = c.cancellable()
	if c.x.kvTurn == nil {
		c.x.kvTurn = make(chan struct{}, maxKVRunning)
	}
	c.x.work.Go(func() { t.run(ctx, do) })
	status := c.give(i, t)
	if status != OK {
		_ = t.Close() // it has no error
	}
	return status
}

// kvKeyed is an operation on the store in parameter 0 and the key in 1 and 2.
func kvKeyed(do func(c *call, s *kvStore, key string) Status) func(*call) Status {
	return func(c *call) Status {
		s, ok := handle[*kvStore](c, 0)
		if !ok {
			return BadHandle
		}
		key := c.short(1, maxKVKey)
		if c.bad || !IsKVKey(key) {
			return Invalid
		}
		return do(c, s, key)
	}
}

// kvLookupStart begins to read a key; its handle goes to parameter i.
func kvLookupStart(i int) func(*call) Status {
	return kvKeyed(func(c *call, s *kvStore, key string) Status {
		return c.kvBegin(i, &kvTask{kind: kvLookup}, func(ctx context.Context, t *kvTask) { t.value, t.err = s.Lookup(ctx, key) })
	})
}

// kvDeleteStart begins to remove a key; its handle goes to parameter i.
func kvDeleteStart(i int) func(*call) Status {
	return kvKeyed(func(c *call, s *kvStore, key string) Status {
		return c.kvBegin(i, &kvTask{kind: kvDelete}, func(ctx context.Context, t *kvTask) { t.err = s.Delete(ctx, key) })
	})
}

// The bits of an insertion.
const (
	kvHasMetadata   = 1 << 3
	kvHasTTL        = 1 << 4
	kvHasGeneration = 1 << 5
)

// kvInsertStart begins to write a key.
var kvInsertStart = kvKeyed(func(c *call, s *kvStore, key string) Status {
	b, ok := handle[*body](c, 3)
	if !ok || b.sink != nil {
		return BadHandle
	}
	mask, f := c.u32(4), c.record(5, 32)
	v := KVInsert{Mode: KVMode(f.u32(0))}
	if mask&kvHasMetadata != 0 {
		if f.u32(12) > maxKVMetadata {
			return Invalid
		}
		metadata := c.span(f, 8)
		if len(metadata) == 0 || !utf8.Valid(metadata) {
			return Invalid
		}
		v.Metadata = string(metadata)
	}
	if mask&kvHasTTL != 0 {
		v.TTL = seconds(f.u32(16))
	}
	if mask&kvHasGeneration != 0 {
		g := f.u64(24)
		v.IfGeneration = &g
	}
	if c.bad || v.Mode > KVPrepend {
		return Invalid
	}
	return c.kvInsert(s, key, v, b, 6)
})

// objectInsertStart is the older way.
func objectInsertStart(i int) func(*call) Status {
	return kvKeyed(func(c *call, s *kvStore, key string) Status {
		b, ok := handle[*body](c, 3)
		if !ok || b.sink != nil {
			return BadHandle
		}
		return c.kvInsert(s, key, KVInsert{}, b, i)
	})
}

// kvInsert begins to write what the body has. The body is the host's then.
func (c *call) kvInsert(s *kvStore, key string, v KVInsert, b *body, i int) Status {
	c.x.handles.drop(c.u32(3))
	data, err := c.x.readAll(b, maxKVBody)
	if err != nil {
		return bodyStatus(err)
	}
	if !c.x.held.take(len(data)) {
		c.mem.Hit(LimitBodies)
		return LimitExceeded
	}
	v.Body = data
	return c.kvBegin(i, &kvTask{kind: kvInsert, brings: len(data)}, func(ctx context.Context, t *kvTask) { t.err = s.Insert(ctx, key, v) })
}

// readAll reads a body up to a limit, and closes it.
func (x *exchange) readAll(b *body, most int) ([]byte, error) {
	defer b.close()
	var out []byte
	buf := make([]byte, chunkSize)
	for {
		n, err := b.read(x.context(), buf)
		if len(out)+n > most {
			return nil, LimitExceeded
		}
		out = append(out, buf[:n]...)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// The bits of a list.
const (
	kvHasCursor = 1 << 1
	kvHasLimit  = 1 << 2
	kvHasPrefix = 1 << 3
)

// kvListStart begins to read keys.
func kvListStart(c *call) Status {
	s, ok := handle[*kvStore](c, 0)
	if !ok {
		return BadHandle
	}
	mask, f := c.u32(1), c.record(2, 24)
	l := KVList{Limit: 100}
	if mask&kvHasCursor != 0 && f.u32(8) > 2*maxKVKey || mask&kvHasPrefix != 0 && f.u32(20) > maxKVKey {
		return Invalid
	}
	if mask&kvHasLimit != 0 {
		l.Limit = int(f.u32(12))
	}
	if mask&kvHasPrefix != 0 {
		l.Prefix = string(c.span(f, 16))
	}
	if mask&kvHasCursor != 0 {
		after, err := base64.StdEncoding.DecodeString(string(c.span(f, 4)))
		if err != nil {
			return Invalid
		}
		l.After = string(after)
	}
	if c.bad || l.Limit < 1 || l.Limit > maxKVList || len(l.After) > maxKVKey {
		return Invalid
	}
	return c.kvBegin(3, &kvTask{kind: kvList}, func(ctx context.Context, t *kvTask) {
		var page KVPage
		if page, t.err = s.List(ctx, l); t.err == nil {
			t.page, t.err = pageJSON(l, page)
		}
	})
}

// pageJSON is a page as guests read it.
func pageJSON(l KVList, page KVPage) ([]byte, error) {
	type meta struct {
		Limit      int    `json:"limit"`
		Prefix     string `json:"prefix,omitempty"`
		NextCursor string `json:"next_cursor,omitempty"`
	}
	out := struct {
		Data []string `json:"data"`
		Meta meta     `json:"meta"`
	}{Data: page.Keys, Meta: meta{Limit: l.Limit, Prefix: l.Prefix}}
	if out.Data == nil {
		out.Data = []string{}
	}
	if page.More && len(page.Keys) > 0 {
		out.Meta.NextCursor = base64.StdEncoding.EncodeToString([]byte(page.Keys[len(page.Keys)-1]))
	}
	return json.Marshal(out)
}

// kvWait is the end of an operation of a kind, whose handle is in parameter 0.
func kvWait(kind kvKind, do func(c *call, t *kvTask) Status) func(*call) Status {
	return func(c *call) Status {
		t, ok := handle[*kvTask](c, 0)
		if !ok || t.kind != kind {
			return BadHandle
		}
		select {
		case <-t.done:
		case <-c.ctx.Done():
			return Failed
		}
		return do(c, t)
	}
}

// kvDone says how an operation went, in parameter i.
func kvDone(i int) func(c *call, t *kvTask) Status {
	return func(c *call, t *kvTask) Status {
		c.x.handles.drop(c.u32(0))
		t.cancel()
		c.put32(i, uint32(kvErrorOf(t.err)))
		return OK
	}
}

// kvLookupWait answers with what was stored. The older version has a generation of 32 bits, which is 0.
func kvLookupWait(wide bool) func(*call) Status {
	return kvWait(kvLookup, func(c *call, t *kvTask) Status {
		c.put32(1, invalidHandle)
		c.put32(4, 0)
		if t.err != nil {
			return kvDone(6)(c, t)
		}
		c.put32(4, uint32(len(t.value.Metadata)))
		room := c.bytes(2)
		switch {
		case c.bad:
			return Invalid
		case len(t.value.Metadata) > len(room):
			return BufferLength // the handle stays good
		}
		copy(room, t.value.Metadata)
		if wide {
			c.put64(5, t.value.Generation)
		} else {
			c.put32(5, 0)
		}
		t.giveBack()
		status := c.giveBytes(1, t.value.Body)
		if status != OK {
			return status
		}
		return kvDone(6)(c, t)
	})
}

// giveBytes gives a body with these bytes to the address in parameter i. They
// are the body's, and not changed.
func (c *call) giveBytes(i int, data []byte) Status {
	if !c.x.held.take(len(data)) {
		c.mem.Hit(LimitBodies)
		return LimitExceeded
	}
	b := &body{held: &c.x.held}
	if len(data) > 0 {
		b.parts = []part{{data: slices.Clip(data)}}
	}
	status := c.give(i, b)
	if status != OK {
		b.close()
	}
	return status
}

var kvListWait = kvWait(kvList, func(c *call, t *kvTask) Status {
	c.put32(1, invalidHandle)
	if t.err == nil {
		t.giveBack()
		if status := c.giveBytes(1, t.page); status != OK {
			return status
		}
	}
	return kvDone(2)(c, t)
})

// objectWait is the older way: the error is the status. A body goes to parameter 1.
func objectWait(kind kvKind) func(*call) Status {
	return kvWait(kind, func(c *call, t *kvTask) Status {
		c.x.handles.drop(c.u32(0))
		t.cancel()
		t.giveBack()
		return c.objectDone(t, 1)
	})
}

func (c *call) objectDone(t *kvTask, i int) Status {
	if t.kind == kvLookup {
		c.put32(i, invalidHandle)
	}
	switch kvErrorOf(t.err) {
	case KVOK:
	case KVNotFound:
		if t.kind == kvLookup {
			return OK // an invalid handle says it
		}
		return None
	case KVBadRequest, KVPreconditionFailed:
		return Invalid
	case KVTooLarge, KVTooMany:
		return LimitExceeded
	default:
		return Failed
	}
	if t.kind == kvLookup {
		return c.giveBytes(i, t.value.Body)
	}
	return OK
}

// objectLookup reads a key at once.
var objectLookup = kvKeyed(func(c *call, s *kvStore, key string) Status {
	t := &kvTask{kind: kvLookup}
	t.value, t.err = s.Lookup(c.ctx, key)
	return c.objectDone(t, 3)
})

// objectInsert writes a key at once.
var objectInsert = kvKeyed(func(c *call, s *kvStore, key string) Status {
	b, ok := handle[*body](c, 3)
	if !ok || b.sink != nil {
		return BadHandle
	}
	c.x.handles.drop(c.u32(3))
	data, err := c.x.readAll(b, maxKVBody)
	if err != nil {
		return bodyStatus(err)
	}
	t := &kvTask{kind: kvInsert, err: s.Insert(c.ctx, key, KVInsert{Body: data})}
	return c.objectDone(t, 0)
})
