package cache

import (
	"encoding/binary"
	"net/http"
	"slices"
	"time"
	"unsafe"

	"github.com/selvage-edge/selvage"
)

// A packed answer is a record of bytes: its key, what is reckoned with, its
// header, its forms, and its body. Most stored answers are: those that are whole, small and
// not changing. A request that finds one copies the record (see view) and reads
// the copy.

// fieldNames are the names that are one byte in a record. They are in memory only:
// their order may change with a release.
var fieldNames = [...]string{
	"Content-Type", "Content-Length", "Etag", "Last-Modified", "Cache-Control", "Date", "Server", "Vary",
	"Expires", "Content-Encoding", "Content-Language", "Accept-Ranges", "Link", "Location", "Set-Cookie",
	"Access-Control-Allow-Origin", "Access-Control-Expose-Headers", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers",
	"Access-Control-Allow-Credentials", "Access-Control-Max-Age", "Content-Disposition", "Content-Security-Policy",
	"Strict-Transport-Security", "X-Content-Type-Options", "X-Frame-Options", "X-Xss-Protection", "Referrer-Policy",
	"Permissions-Policy", "Cross-Origin-Resource-Policy", "Cross-Origin-Opener-Policy", "Cross-Origin-Embedder-Policy",
	"Timing-Allow-Origin", "Server-Timing", "Alt-Svc", "Via", "Cache-Status", "Cdn-Cache-Control", "Surrogate-Key", "Cache-Tag",
	"Cache-Groups", "X-Powered-By", "X-Request-Id", "X-Cache", "Pragma", "Warning", "Content-Md5", "Digest", "Repr-Digest",
	"Content-Digest", "X-Robots-Tag", "Nel", "Report-To", "Reporting-Endpoints", "Origin-Agent-Cluster", "Accept-Ch",
	"Content-Location", "No-Vary-Search", "Retry-After", "Allow", "Trailer", "X-Amz-Request-Id", "X-Amz-Id-2", "Cf-Ray",
}

var fieldNumbers = numbersOf(fieldNames[:])

func numbersOf(names []string) map[string]byte {
	m := make(map[string]byte, len(names))
	for i, name := range names {
		m[name] = byte(i + 1) // 0 says that a name follows
	}
	return m
}

// The yes or no of a record, as bits.
const (
	bitHasQuery = 1 << iota
	bitLedger
	bitNoCache
	bitImmutable
	bitNeverStale
	bitSpent
	bitDeployed
	bitForms
	bitHadAge
	bitReady
)

// packs says whether an answer may be packed: it is whole, nobody adds to it, and it has no trailers.
func (s *Store) packs(a *answer) bool {
	return !a.isPart() && a.mark == nil && a.search == nil && a.body != nil && a.body.whole.Load() && len(a.body.trailer) == 0 &&
		a.body.size < int64(s.slabs.most()) && (a.forms == nil || a.forms.making == 0)
}

// pack makes the record of an answer, in memory that is used again by the next; nil
// where it stays open. It is called with the store's lock.
func (s *Store) pack(key *Key, a *answer) []byte {
	if !s.packs(a) {
		return nil
	}
	b := append(s.packing[:0], 0, 0, 0, 0)
	b = packBits(b, key, a)
	b = packKey(b, key)
	b = s.packFacts(b, a)
	for _, list := range [...][]string{a.tags, a.groups, a.surrogate} {
		b = packList(b, list)
	}
	b = packSelectors(b, a.selectors)
	b = packHeader(b, a.header)
	b = packForms(b, a.forms)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	for _, chunk := range a.body.chunks {
		b = append(b, chunk...)
	}
	s.packing = b[:0]
	if len(b) > s.slabs.most() {
		if cap(s.packing) > mostSegment {
			s.packing = nil
		}
		return nil
	}
	return b
}

// keyStrings is how many strings a key has.
const keyStrings = 9

func packKey(b []byte, k *Key) []byte {
	for _, s := range [...]string{string(k.Tenant), string(k.Service), k.Scheme, k.Host, k.Path, k.Query, k.Rules, k.Fields, k.Content} {
		b = packString(b, s)
	}
	return binary.AppendUvarint(b, uint64(k.Overlay))
}

func packBits(b []byte, key *Key, a *answer) []byte {
	var bits uint64
	for _, one := range [...]struct {
		bit uint64
		set bool
	}{
		{bitHasQuery, key.HasQuery}, {bitLedger, a.ledger != nil}, {bitNoCache, a.terms.noCache}, {bitImmutable, a.terms.immutable},
		{bitNeverStale, a.terms.neverStale}, {bitSpent, a.terms.spent}, {bitDeployed, a.from.deployed}, {bitForms, a.forms != nil},
		{bitHadAge, a.hadAge}, {bitReady, a.isReady()},
	} {
		if one.set {
			bits |= one.bit
		}
	}
	return binary.AppendUvarint(b, bits)
}

func (s *Store) packFacts(b []byte, a *answer) []byte {
	b = binary.AppendUvarint(b, uint64(a.status))
	b = binary.AppendVarint(b, a.length)
	// Distances from the store's own beginning keep the monotonic clock: an age must not jump with the other one.
	for _, d := range [...]time.Duration{
		a.terms.received.Sub(s.epoch), a.terms.initialAge, a.terms.lifetime, a.terms.stale.whileRevalidate, a.terms.stale.ifError,
	} {
		b = binary.AppendVarint(b, int64(d))
	}
	b = append(b, byte(a.terms.source))
	for _, n := range [...]uint64{a.position, a.softened, a.from.life} {
		b = binary.AppendUvarint(b, n)
	}
	return packString(b, string(a.revision))
}

func packString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func packList(b []byte, list []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	for _, s := range list {
		b = packString(b, s)
	}
	return b
}

func packSelectors(b []byte, all []selector) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for i := range all {
		one := &all[i]
		present := byte(0)
		if one.present {
			present = 1
		}
		b = packString(packString(packString(append(b, present), one.name), one.value), one.raw)
	}
	return b
}

func packHeader(b []byte, h http.Header) []byte {
	values := 0
	for _, lines := range h {
		values += len(lines)
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(len(h))), uint64(values))
	var few [24]string
	names := few[:0]
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names) // as they are sent
	for _, name := range names {
		n := fieldNumbers[name]
		if b = append(b, n); n == 0 {
			b = packString(b, name)
		}
		b = packList(b, h[name])
	}
	return b
}

func packForms(b []byte, f *forms) []byte {
	if f == nil {
		return b
	}
	if f.state == formsPacked && f.record != nil {
		return append(b, f.record...)
	}
	b = binary.AppendUvarint(b, uint64(len(f.whole)))
	for _, one := range f.whole {
		b = packString(packString(b, one.variant), one.why)
		b = binary.AppendUvarint(b, uint64(one.size()))
		if one.body != nil {
			for _, chunk := range one.body.chunks {
				b = append(b, chunk...)
			}
		}
	}
	return b
}

// unpacker reads a record that pack wrote. Its strings share the record's memory.
type unpacker struct{ b []byte }

func (u *unpacker) uint() uint64 {
	if c := u.b[0]; c < 0x80 {
		u.b = u.b[1:]
		return uint64(c)
	}
	v, n := binary.Uvarint(u.b)
	u.b = u.b[n:]
	return v
}

func (u *unpacker) int() int64 {
	v := u.uint()
	return int64(v>>1) ^ -int64(v&1)
}

func (u *unpacker) bytes() []byte {
	n := u.uint()
	p := u.b[:n:n]
	u.b = u.b[n:]
	return p
}

func (u *unpacker) string() string { return shared(u.bytes()) }

// shared is a string in the memory of p, which must not change as long as the string is used.
func shared(p []byte) string { return unsafe.String(unsafe.SliceData(p), len(p)) }

// list appends the strings of a list.
func (u *unpacker) list(to []string) []string {
	for range u.uint() {
		to = append(to, u.string())
	}
	return to
}

// isKey skips a record's key and says whether it is this one.
func (u *unpacker) isKey(k *Key, bits uint64) bool {
	if bits&bitHasQuery != 0 != k.HasQuery {
		return false
	}
	for _, s := range [...]string{string(k.Tenant), string(k.Service), k.Scheme, k.Host, k.Path, k.Query, k.Rules, k.Fields, k.Content} {
		if string(u.bytes()) != s {
			return false
		}
	}
	return u.uint() == uint64(k.Overlay)
}

// skipKey skips a record's key.
func (u *unpacker) skipKey() {
	for range keyStrings {
		u.bytes()
	}
	u.uint()
}

// key reads the key, in memory of its own.
func (u *unpacker) key(bits uint64) Key {
	var all [keyStrings]string
	for i := range all {
		all[i] = string(u.bytes())
	}
	return Key{
		Tenant: selvage.Tenant(all[0]), Service: selvage.ServiceName(all[1]),
		Scheme: all[2], Host: all[3], Path: all[4], Query: all[5], HasQuery: bits&bitHasQuery != 0,
		Rules: all[6], Fields: all[7], Content: all[8], Overlay: uint32(u.uint()),
	}
}

// view is the private copy of a packed answer that one request reads. All that
// it has shares the copy's memory: it goes when the view is used for another one.
type view struct {
	answer    answer
	body      body
	forms     forms
	record    []byte
	chunk     [1][]byte
	header    http.Header
	values    []string
	lists     []string
	selectors []selector
	asItLies  bool // without a header
}

// facts reads what packFacts wrote.
func (v *view) facts(u *unpacker, bits uint64, epoch time.Time) {
	a := &v.answer
	a.status = int(u.uint())
	a.length = u.int()
	t := &a.terms
	t.received = epoch.Add(time.Duration(u.int()))
	t.initialAge = time.Duration(u.int())
	t.lifetime = time.Duration(u.int())
	t.stale.whileRevalidate = time.Duration(u.int())
	t.stale.ifError = time.Duration(u.int())
	t.source = lifetimeSource(u.b[0])
	u.b = u.b[1:]
	t.noCache, t.immutable = bits&bitNoCache != 0, bits&bitImmutable != 0
	t.neverStale, t.spent = bits&bitNeverStale != 0, bits&bitSpent != 0
	a.position, a.softened = u.uint(), u.uint()
	a.from = provenance{u.uint(), bits&bitDeployed != 0}
	a.revision = selvage.RevisionID(u.string())
	a.hadAge = bits&bitHadAge != 0
}

// read makes the view that of an entry's record, without the body. The key is the
// record's; l is the ledger of its service, if it is at hand. It is called with the store's lock.
func (v *view) read(s *Store, e *entry, key *Key, l *ledger) {
	record := s.slabs.at(e.where)
	u := unpacker{record[4:binary.LittleEndian.Uint32(record)]}
	bits := u.uint()
	u.skipKey()
	v.record = append(v.record[:0], u.b...)
	u.b = v.record
	a := &v.answer
	*a = answer{serial: e.serial}
	v.facts(&u, bits, s.epoch)
	if bits&bitLedger != 0 {
		if l == nil {
			l = s.purges.ledger(key.Tenant, key.Service)
		}
		a.ledger = l
	}
	if key.Rules != "" {
		a.keys = s.rules.named(key)
	}
	v.unpackLists(&u)
	if v.asItLies {
		if bits&bitReady != 0 {
			a.wire = u.b
		}
		return
	}
	v.unpackHeader(&u)
	if bits&bitForms != 0 {
		v.forms.packed(e, u.b)
		a.forms = &v.forms
	}
}

func (v *view) unpackLists(u *unpacker) {
	v.lists = v.lists[:0]
	a := &v.answer
	for _, to := range [...]*[]string{&a.tags, &a.groups, &a.surrogate} {
		from := len(v.lists)
		if v.lists = u.list(v.lists); len(v.lists) > from {
			*to = v.lists[from:len(v.lists):len(v.lists)]
		}
	}
	v.selectors = v.selectors[:0]
	for range u.uint() {
		one := selector{present: u.b[0] != 0}
		u.b = u.b[1:]
		one.name, one.value, one.raw = u.string(), u.string(), u.string()
		v.selectors = append(v.selectors, one)
	}
	if len(v.selectors) > 0 {
		a.selectors = v.selectors
	}
}

func (v *view) unpackHeader(u *unpacker) {
	fields, values := u.uint(), int(u.uint())
	if v.header == nil {
		v.header = make(http.Header, fields+3)
	}
	clear(v.header)
	v.values = slices.Grow(v.values[:0], values)
	for range fields {
		n := u.b[0]
		u.b = u.b[1:]
		var name string
		if n > 0 {
			name = fieldNames[n-1]
		} else {
			name = u.string()
		}
		from := len(v.values)
		v.values = u.list(v.values)
		v.header[name] = v.values[from:len(v.values):len(v.values)]
	}
	v.answer.header = v.header
}

// readBody copies the body, too. It is called with the store's lock, after read.
func (v *view) readBody(s *Store, e *entry) {
	record := s.slabs.at(e.where)
	bytes := record[binary.LittleEndian.Uint32(record):]
	b := &v.body
	b.chunks, b.start, b.size, b.ended = nil, 0, int64(len(bytes)), true
	b.whole.Store(true)
	b.holders.Store(0)
	if len(bytes) > 0 {
		v.chunk[0] = append(v.chunk[0][:0], bytes...)
		b.chunks = v.chunk[:]
	}
	v.answer.body = b
}
