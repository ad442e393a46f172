package cache

import (
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"
	"unique"

	"github.com/selvage-edge/selvage"
)

// answer is a whole or growing answer that may be given to several requests.
// Nothing in it changes once it is made but its body, which grows to its end: an
// update by 304 makes a new answer with the same body.
type answer struct {
	status    int
	header    http.Header // without hop-by-hop fields, Age and the tags
	body      *body
	forms     *forms // of the body; nil without a coder
	length    int64  // of the body, -1 while it grows and nobody has said
	terms     terms
	selectors []selector
	tags      []string  // by which it is purged, sorted
	groups    []string  // the groups it belongs to (RFC 9875)
	ledger    *ledger   // of its service
	position  uint64    // of purges when it was requested from the origin, or confirmed last
	softened  uint64    // of the soft purge that has made it stale
	keys      *keyRules // by which it is keyed, and this
	search    *variance
	surrogate []string // the lines of Surrogate-Control, which nobody else is sent
	from      provenance
	revision  selvage.RevisionID // that stored it, or confirmed it last
	hadAge    bool               // it came with an Age: somebody before us stored it
	// Of an answer that is a part: which one, and of how many bytes in all, which
	// is 0 for all others. Its header and status are those of the whole.
	part  span
	total int64
	mark  *body  // of the part that this is, or is the head of the whole of
	wire  []byte // the header in its record, where that is read as it lies
	// serial is that of the entry whose record it was copied from, 0 without one.
	serial uint64
}

// is says whether both are the same stored answer: each look at a packed one makes another copy.
func (a *answer) is(b *answer) bool {
	return a == b || a != nil && b != nil && a.serial != 0 && a.serial == b.serial
}

// notStored are the fields that belong to a connection or to the proxy itself
// (RFC 9110, section 7.6.1; RFC 9111, section 3.1), and Age, which is reckoned anew.
var notStored = [...]string{
	"Connection", "Keep-Alive", "Proxy-Connection", "Proxy-Authenticate", "Proxy-Authentication-Info",
	"Proxy-Authorization", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Age",
}

// storedHeader is what is kept of a header, in memory of its own: the values of
// one that was just read share the whole head's memory. Date is there afterwards
// (RFC 9110, section 6.6.1).
func storedHeader(h http.Header, received time.Time) http.Header {
	named := connectionNamed(h["Connection"])
	kept := make([]string, 0, len(h))
	size, values := 0, 0
	for name, lines := range h {
		if slices.Contains(notStored[:], name) || slices.Contains(named, name) {
			continue
		}
		kept = append(kept, name)
		values += len(lines)
		if !fewValues(name) {
			for _, line := range lines {
				size += len(line)
			}
		}
	}
	fields := len(kept)
	if len(h["Date"]) == 0 {
		fields++
	}
	copied := make(http.Header, fields) // a map of more than eight is twice as large
	var text strings.Builder
	text.Grow(size)
	backing := make([]string, 0, values)
	add := func(s string) string {
		from := text.Len()
		text.WriteString(s)
		return text.String()[from:]
	}
	for _, name := range kept {
		from := len(backing)
		keep := add
		if fewValues(name) {
			keep = once
		}
		for _, line := range h[name] {
			backing = append(backing, keep(line))
		}
		copied[once(name)] = backing[from:len(backing):len(backing)]
	}
	if len(copied["Date"]) == 0 {
		copied["Date"] = []string{received.UTC().Format(http.TimeFormat)}
	}
	return copied
}

// fewValues says whether a field has the same few values everywhere, so that they
// need to lie in memory once only, as the names of fields do.
func fewValues(name string) bool {
	switch name {
	case "Content-Type", "Content-Encoding", "Cache-Control", "Cdn-Cache-Control", "Vary", "Server", "Accept-Ranges":
		return true
	}
	return false
}

// once is the one copy of a string that all share who ask for it.
func once(s string) string { return unique.Make(s).Value() }

// connectionNamed are the fields that Connection says are for this connection only.
func connectionNamed(lines []string) (names []string) {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			names = append(names, textproto.CanonicalMIMEHeaderKey(strings.Trim(name, " \t")))
		}
	}
	return names
}

// clones are the strings in memory of their own.
func clones(lines []string) []string {
	if len(lines) == 0 {
		return nil
	}
	out := make([]string, len(lines))
	for i, line := range lines {
		out[i] = strings.Clone(line)
	}
	return out
}

// completed is the answer once its body is whole: now its length is known to
// everybody. The answer given to the first readers stays as it is.
func (a *answer) completed(size int64) *answer {
	if a.length >= 0 {
		return a
	}
	c := *a
	c.length = size
	if c.status != http.StatusNoContent {
		c.header = make(http.Header, len(a.header)+1)
		maps.Copy(c.header, a.header)
		c.header["Content-Length"] = []string{strconv.FormatInt(size, 10)}
	}
	return &c
}

// The costs of what Go keeps for a stored answer beyond its strings and bytes,
// in bytes. They are on the safe side: the bound must hold.
const (
	costFixed    = 800 // entry, key, answer, body, and their places in tables, which may be half empty
	costMap      = 420 // a header map with up to eight fields
	costSlot     = 100 // each further field: such a map may be half empty, too
	costQuery    = 600 // the key once more, in a table of its own, and the digest
	costSelector = 64
	costForms    = 400 // with three of them
)

// cost is what the answer takes in memory, without the bytes of its body.
func (a *answer) cost(k Key) int64 {
	n := costFixed + costMap + costSlot*max(0, len(a.header)-8) +
		len(k.Scheme) + len(k.Host) + len(k.Path) + len(k.Query) + len(k.Fields)
	n += int(queryCost(&k))
	for _, names := range [...][]string{a.tags, a.groups} {
		for _, name := range names {
			n += 16 + len(name)
		}
	}
	for name, values := range a.header {
		n += len(name)
		for _, v := range values {
			n += 16 + len(v)
		}
	}
	for _, s := range a.selectors {
		n += costSelector + len(s.name) + len(s.value) + len(s.raw)
	}
	for _, line := range a.surrogate {
		n += 16 + len(line)
	}
	return int64(n)
}

// chunkCost is what n bytes take as a chunk: Go rounds up to its size classes,
// beyond 32 KiB to pages.
func chunkCost(n int64) int64 {
	if n > 32<<10 {
		return (n+8<<10-1)/(8<<10)*(8<<10) + 24
	}
	return n + n/8 + 40
}
