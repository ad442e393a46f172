package cache

import (
	"math"
	"strconv"
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
)

// cacheStatus is the member that this cache adds to Cache-Status (RFC 9211).
func cacheStatus(c *record.Cache) string {
	var buf [128]byte
	b := append(buf[:0], Name...)
	if c.Hit {
		b = append(b, "; hit"...)
	}
	if c.Fwd != "" {
		b = append(append(b, "; fwd="...), c.Fwd...)
		if c.FwdStatus != 0 && (c.Fwd == fwdStale || c.Fwd == fwdRequest) {
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
	return string(b)
}

// seconds are the whole seconds of d, rounded down, also below zero.
func seconds(d time.Duration) int64 { return int64(math.Floor(d.Seconds())) }
