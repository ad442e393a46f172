package fastly

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"math"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// httpCached is a function of the HTTP cache: unsupported where guests leave
// caching to the edge.
func httpCached(do func(c *call, s *Objects) Status) func(*call) Status {
	return cached(func(c *call, s *Objects) Status {
		if !c.x.abi.options.HTTPCache {
			return Unsupported
		}
		return do(c, s)
	})
}

// httpCacheable: only GET and HEAD are (RFC 9111, section 3, read carefully).
var httpCacheable = httpCached(func(c *call, _ *Objects) Status {
	r, ok := handle[*request](c, 0)
	if !ok {
		return BadHandle
	}
	c.putBool(1, r.method == http.MethodGet || r.method == http.MethodHead)
	return OK
})

// httpKey is the key of a request that has none of its own: 32 bytes.
func httpKey(uri string) []byte {
	sum := sha256.Sum256([]byte(uri))
	return sum[:]
}

// urlKey is a surrogate key that each answer has beside its own: that of its URL. Programs
// in JavaScript end where an answer has none at all.
func urlKey(uri string) string { return strings.ToUpper(hex.EncodeToString(httpKey(uri))) }

// httpPlace is where objects of a key are.
func httpPlace(key []byte) string { return "http\x00" + string(key) }

var httpSuggestedKey = httpCached(func(c *call, _ *Objects) Status {
	r, ok := handle[*request](c, 0)
	if !ok {
		return BadHandle
	}
	return answer(c, 1, httpKey(r.uri()))
})

// The bits of a look-up.
const (
	httpHasKey     = 1 << 1
	httpHasBackend = 1 << 2
)

// httpLookup looks a request up, with collapsing or without.
func httpLookup(collapse bool) func(*call) Status {
	return httpCached(func(c *call, s *Objects) Status {
		r, ok := handle[*request](c, 0)
		if !ok {
			return BadHandle
		}
		mask, key := c.u32(1), httpKey(r.uri())
		if mask&httpHasKey != 0 {
			key = c.span(c.record(2, 16), 0)
		}
		c.at(c.u32(3), 4)
		if c.bad || len(key) != sha256.Size || mask&^(httpHasKey|httpHasBackend) != 0 {
			return Invalid
		}
		place := httpPlace(key)
		list, status := c.copyOf(r.header())
		if status != OK {
			return status
		}
		look := *r
		look.list, look.listed = list, true
		if !collapse {
			t := s.lookup(place, look.list)
			t.http = &look
			return c.give(3, t)
		}
		b := s.transact(place, look.list)
		b.t.http = &look
		return c.cacheWait(b, 3)
	})
}

// onHTTPCache is a function of a handle of the HTTP cache.
func onHTTPCache(do func(c *call, t *transaction) Status) func(*call) Status {
	return onCache(func(c *call, t *transaction) Status {
		if t.http == nil {
			return BadHandle
		}
		return do(c, t)
	})
}

// The bits of writing an answer.
const (
	httpVary = 1 << (iota + 1)
	httpInitialAge
	httpStale
	httpKeys
	httpLength
	httpSensitive
	httpIfError
	httpWriteEnd
)

// httpWriteSize is the size of the structure of options.
const httpWriteSize = 56

// httpOptions reads what is to be written, with its mask in parameter i and the structure at i+1.
func (c *call) httpOptions(i int) (m meta, status Status) {
	mask, f := c.u32(i), c.record(i+1, httpWriteSize)
	m = meta{maxAge: nanoseconds(f.u64(0)), length: -1, sensitive: mask&httpSensitive != 0}
	if mask&httpVary != 0 {
		if m.vary, status = c.names(f, 8); status != OK {
			return m, status
		}
	}
	if mask&httpInitialAge != 0 {
		m.initialAge = nanoseconds(f.u64(16))
	}
	if mask&httpStale != 0 {
		m.staleWhileRevalidate = nanoseconds(f.u64(24))
	}
	if mask&httpKeys != 0 {
		if m.keys, status = c.names(f, 32); status != OK {
			return m, status
		}
	}
	if mask&httpLength != 0 {
		m.length = int64(min(f.u64(40), math.MaxInt64))
	}
	if mask&httpIfError != 0 {
		m.staleIfError = nanoseconds(f.u64(48))
	}
	if c.bad || mask&1 != 0 || mask >= httpWriteEnd {
		return m, Invalid
	}
	return m, c.checkMeta(&m)
}

// httpWrite is a write of the answer in parameter 1. Its handle stays: Fastly's runtime for
// JavaScript goes on to read the fields of what it has just stored.
func httpWrite(do func(c *call, t *transaction, m meta) Status) func(*call) Status {
	return onHTTPCache(func(c *call, t *transaction) Status {
		r, ok := handle[*response](c, 1)
		if !ok {
			return BadHandle
		}
		m, status := c.httpOptions(2)
		if status != OK {
			return status
		}
		head := *r
		head.header, head.from = storedFields(&r.header), netip.AddrPort{}
		m.head = &head
		return do(c, t, m)
	})
}

func httpInsert(streamBack bool) func(*call) Status {
	return httpWrite(func(c *call, t *transaction, m meta) Status { return c.insert(t, m, 4, streamBack) })
}

// httpUpdate gives the stored answer a new head. With fresh, a handle that found it goes to parameter 4.
func httpUpdate(fresh bool) func(*call) Status {
	return httpWrite(func(c *call, t *transaction, m meta) Status {
		if fresh {
			c.at(c.u32(4), 4)
		}
		if c.bad {
			return Invalid
		}
		o, ok := t.update(m)
		if !ok {
			return BadHandle
		}
		if fresh {
			return c.give(4, t.fresh(o))
		}
		return OK
	})
}

func httpChooseStale(_ *call, t *transaction) Status {
	if !t.chooseStale() {
		return BadHandle
	}
	return OK
}

func httpNotCacheable(c *call, t *transaction) Status {
	m, status := c.httpOptions(1)
	if status != OK {
		return status
	}
	if !t.notCacheable(meta{maxAge: m.maxAge, vary: m.vary, length: -1}) {
		return BadHandle
	}
	return OK
}

// httpBackendRequest is the request to make: unconditional, or conditional on
// what is stored (RFC 9111, section 4.3.1), and for the whole.
func httpBackendRequest(c *call, t *transaction) Status {
	list, status := c.copyOf(t.http.header())
	if status != OK {
		return status
	}
	r := *t.http
	r.list, r.listed = list, true
	h := &r.list
	for _, name := range []string{"range", "if-range", "if-match", "if-none-match", "if-modified-since", "if-unmodified-since"} {
		h.remove(name)
	}
	if r.method == http.MethodHead {
		r.method = http.MethodGet
	}
	if t.old != nil && t.old.head != nil {
		if tag, ok := t.old.head.header.get("etag"); ok {
			h.append("if-none-match", tag)
		}
		if date, ok := t.old.head.header.get("last-modified"); ok {
			h.append("if-modified-since", date)
		}
	}
	return c.give(1, &r)
}

// httpSuggested writes the options that an answer asks for by its fields. The
// guest's structure says where texts go and how much room there is: mask 2,
// structure 3; out go the mask to 4 and the structure to 5.
func httpSuggested(c *call, t *transaction) Status {
	r, ok := handle[*response](c, 1)
	if !ok {
		return BadHandle
	}
	want, in := c.u32(2), c.record(3, httpWriteSize)
	out := c.record(5, httpWriteSize)
	c.at(c.u32(4), 4)
	if c.bad || want&1 != 0 {
		return Invalid
	}
	m, _ := suggest(t, r)
	have := want & (httpInitialAge | httpStale | httpIfError)
	var texts [2]struct{ address, length uint32 }
	short := false
	text := func(k int, bit uint32, offset int, v string) {
		if want&bit == 0 || v == "" {
			return
		}
		have |= bit
		texts[k].address, texts[k].length = in.u32(offset), uint32(len(v))
		if uint32(len(v)) > in.u32(offset+4) {
			short = true
			return
		}
		copy(c.at(in.u32(offset), uint32(len(v))), v)
	}
	text(0, httpVary, 8, strings.Join(m.vary, " "))
	text(1, httpKeys, 32, strings.Join(m.keys, " "))
	if c.bad {
		return Invalid
	}
	if m.length >= 0 {
		have |= want & httpLength
	}
	if m.sensitive {
		have |= want & httpSensitive
	}
	le := binary.LittleEndian
	le.PutUint64(out, uint64(m.maxAge))
	le.PutUint32(out[8:], texts[0].address)
	le.PutUint32(out[12:], texts[0].length)
	le.PutUint64(out[16:], uint64(m.initialAge))
	le.PutUint64(out[24:], uint64(m.staleWhileRevalidate))
	le.PutUint32(out[32:], texts[1].address)
	le.PutUint32(out[36:], texts[1].length)
	le.PutUint64(out[40:], uint64(max(m.length, 0)))
	le.PutUint64(out[48:], uint64(m.staleIfError))
	c.put32(4, have)
	if short {
		return BufferLength
	}
	return OK
}

// The actions for an answer.
const (
	actionInsert = iota
	actionUpdate
	actionDoNotStore
	actionUncacheable
)

// httpPrepare makes of an answer what is to be stored, and says what to do with
// it: the action goes to parameter 2, the answer to 3. A 304 freshens what is
// stored (RFC 9111, section 4.3.4).
func httpPrepare(c *call, t *transaction) Status {
	r, ok := handle[*response](c, 1)
	if !ok {
		return BadHandle
	}
	fields, status := c.copyOf(&r.header)
	if status != OK {
		return status
	}
	out := *r
	out.header = fields
	freshens := r.status == http.StatusNotModified && t.old != nil && t.old.head != nil
	if freshens {
		out.status = t.old.head.status
		if out.header, status = c.copyOf(&t.old.head.header); status != OK {
			return status
		}
		fields.fields = slices.DeleteFunc(fields.fields, func(f field) bool { return keptByStored[f.name] })
		out.header.replace(&fields)
	}
	_, action := suggest(t, &out)
	if freshens && action == actionInsert {
		action = actionUpdate
	}
	c.put32(2, uint32(action))
	return c.give(3, &out)
}

// httpFound gives the stored answer and its body. Transformed for the client it
// is what the client asked for: nothing if it has it, or a part.
func httpFound(c *call, t *transaction, o *object) Status {
	if o.head == nil {
		return None
	}
	if _, open := c.x.handles.item(t.body).(*body); open && t.body != 0 {
		return BadHandle
	}
	fields, status := c.copyOf(&o.head.header)
	if status != OK {
		return status
	}
	r := *o.head
	r.header = fields
	f, _ := t.about(o)
	r.header.set("age", strconv.FormatInt(int64(f.age.Seconds()), 10))
	length := foundLength(t, o)
	from, end, none := int64(0), int64(-1), false
	if c.u32(1) != 0 {
		from, end, none = forClient(t.http, &r, length)
	}
	b := &body{held: &c.x.held}
	if !none {
		b = c.x.objectBody(o, from, end, length)
	}
	if status = c.give2(2, &r, b); status != OK {
		b.close()
		return status
	}
	t.body = uint32(len(c.x.handles.items))
	return OK
}

// forClient changes a stored answer into what a request asked for: the part
// from one byte to before another, or no body at all.
func forClient(q *request, r *response, length int64) (from, end int64, none bool) {
	if r.status != http.StatusOK {
		return 0, -1, q.method == http.MethodHead
	}
	if notModified(q, r) {
		r.status = http.StatusNotModified
		for _, name := range []string{"content-length", "content-encoding", "content-range"} {
			r.header.remove(name)
		}
		return 0, -1, true
	}
	if q.method == http.MethodHead {
		return 0, -1, true
	}
	first, last, ok := singleRange(q, r, length)
	switch {
	case !ok:
		return 0, -1, false
	case first < 0:
		r.status = http.StatusRequestedRangeNotSatisfiable
		r.header.set("content-range", "bytes */"+strconv.FormatInt(length, 10))
		r.header.set("content-length", "0")
		return 0, -1, true
	}
	r.status = http.StatusPartialContent
	r.header.set("content-range", "bytes "+strconv.FormatInt(first, 10)+"-"+strconv.FormatInt(last, 10)+"/"+strconv.FormatInt(length, 10))
	r.header.set("content-length", strconv.FormatInt(last-first+1, 10))
	return first, last + 1, false
}

func httpSensitiveGet(c *call, _ *transaction, o *object) Status {
	c.putBool(1, o.sensitive)
	return OK
}

func httpKeysGet(c *call, _ *transaction, o *object) Status {
	return answer(c, 1, strings.Join(o.keys, " "))
}

func httpVaryGet(c *call, _ *transaction, o *object) Status {
	return answer(c, 1, strings.Join(o.vary, " "))
}
