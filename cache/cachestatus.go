package cache

import (
	"encoding/hex"
	"fmt"
	"hash/maphash"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// Name is how this cache calls itself in Cache-Status.
const Name = "selvage"

// The words of Cache-Status for why a request went on to the origin (RFC 9211, section 2.2).
const (
	fwdBypass   = "bypass"    // the cache was told not to handle it
	fwdMethod   = "method"    // its method
	fwdURIMiss  = "uri-miss"  // nothing is stored for the URL
	fwdVaryMiss = "vary-miss" // something is, but not for these fields
	fwdRequest  = "request"   // what is stored is fresh, but the request does not want it
	fwdStale    = "stale"     // what is stored is not fresh
)

// The words for a stored answer's use that the origin did not confirm.
const (
	detailMaxStale        = "max-stale"
	detailWhileRevalidate = "stale-while-revalidate"
	detailIfError         = "stale-if-error"
	detailOnlyIfCached    = "only-if-cached"
	detailPurged          = "purged" // what was stored
)

// Why what the origin answers to a request that the cache lets by is not stored.
const (
	passHead    = "head"    // it is a HEAD
	passRange   = "range"   // it has a Range that is not cut into slices
	passClosing = "closing" // nothing is stored any more
)

// appendCacheStatus appends the member that this cache adds to Cache-Status (RFC 9211) of an
// answer with this status. Without a fwd-status, that is the one of the forward too.
func appendCacheStatus(b []byte, c *record.Cache, answered int) []byte {
	b = append(b, Name...)
	if c.Hit {
		b = append(b, "; hit"...)
	}
	if c.Fwd != "" {
		b = append(append(b, "; fwd="...), c.Fwd...)
		if c.FwdStatus != 0 && (c.Fwd == fwdStale || c.Fwd == fwdRequest || c.FwdStatus != answered) {
			b = strconv.AppendInt(append(b, "; fwd-status="...), int64(c.FwdStatus), 10)
		}
	}
	if c.HasTTL {
		b = strconv.AppendInt(append(b, "; ttl="...), seconds(c.TTL), 10)
	}
	if c.Stored {
		b = append(b, "; stored"...)
	}
	if c.Collapsed {
		b = append(b, "; collapsed"...)
	}
	if c.Detail != "" {
		b = append(append(b, "; detail="...), c.Detail...)
	}
	return b
}

// status is the member that this cache adds to an answer to q with this status.
func (t *Transport) status(q *inquiry, answered int) string {
	return string(t.appendStatus(nil, q, answered))
}

func (t *Transport) appendStatus(b []byte, q *inquiry, answered int) []byte {
	b = appendCacheStatus(b, &q.rec.Cache, answered)
	if t.scope.Policy.ShowKey {
		b = append(append(b, "; key="...), quoted(q.key.text()+t.fieldsText(&q.key))...)
	}
	return b
}

// text is a key as people read it: the URL, what of its query matters where that
// is not all of it, and the beginning of a QUERY's digest.
func (k *Key) text() string {
	s := k.Scheme + "://" + k.Host + k.Path
	if form, rest, ok := strings.Cut(strings.TrimPrefix(k.Query, "\x00"), "\x00"); ok {
		s += "?" + strings.TrimPrefix(rest, "&") + " no-vary-search=" + form
	} else if k.HasQuery {
		s += "?" + k.Query
	}
	if k.Content != "" {
		s += " sha256=" + hex.EncodeToString([]byte(k.Content[:8]))
	}
	return s
}

// fieldsText shows that fields and cookies are in a key, and tells two keys apart
// without their values: those may be secrets, and must not be guessed from what is shown.
func (t *Transport) fieldsText(k *Key) string {
	if k.Fields == "" {
		return ""
	}
	names := append(slices.Clip(t.keys.headers), t.keys.cookies...)
	return fmt.Sprintf(" %s=%016x", strings.Join(names, ","), maphash.String(t.store.objects.seed, k.Fields))
}

// quoted is s as a string of a structured field (RFC 9651, section 3.3.3). What
// cannot stand in one is escaped as in a URL.
func quoted(s string) string {
	b := append(make([]byte, 0, len(s)+2), '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			b = append(b, '\\', c)
		case c < ' ' || c > '~':
			b = fmt.Appendf(b, "%%%02X", c)
		default:
			b = append(b, c)
		}
	}
	return string(append(b, '"'))
}

// seconds are the whole seconds of d, rounded down, also below zero.
func seconds(d time.Duration) int64 { return int64(math.Floor(d.Seconds())) }
