package cache

import (
	"net/http"
	"time"
)

// DefaultStaleIfError is how long after its lifetime a stored answer may stand
// in for a failing origin where the route's ladder has the rung stale and
// neither the answer nor the policy says how long.
const DefaultStaleIfError = 24 * time.Hour

// staleWindows says for how long after its lifetime an answer may be used (RFC 5861).
type staleWindows struct {
	whileRevalidate time.Duration
	ifError         time.Duration
}

// windows takes what the answer says, and what the policy says where the answer
// does not. An answer that is stale from its beginning, and is not said to be
// public, has only the windows that it names itself: max-age=0 and a past Expires
// are how many applications say that a page is for one person, and nobody asks
// them before a stale answer is used.
func windows(d answerDirectives, policy staleWindows, lifetime time.Duration) staleWindows {
	if lifetime == 0 && !d.public {
		policy = staleWindows{}
	}
	if d.staleWhileRevalidate.set {
		policy.whileRevalidate = d.staleWhileRevalidate.d
	}
	if d.staleIfError.set {
		policy.ifError = d.staleIfError.d
	}
	return policy
}

// neverStale says whether the answer forbids its use when stale (RFC 9111,
// section 4.2.4). s-maxage does so too (section 5.2.2.10).
func neverStale(d answerDirectives) bool {
	return d.mustRevalidate || d.proxyRevalidate || d.sharedMaxAge.set || d.noCache
}

// standsIn says whether the stored answer may be given in place of an error:
// while it is fresh, and after that as long as its window allows, or the request
// (RFC 5861, section 4). The other wishes of the request do not matter: they prefer, the
// origin forbids.
func standsIn(now time.Time, t *terms, r requestDirectives) bool {
	ttl := t.ttl(now)
	return !t.noCache && (ttl > 0 || !t.neverStale && -ttl < t.errorWindow(r.staleIfError))
}

// errorWindow is how long after its lifetime the answer may stand in for an error: a
// request has its own word on that, but opens no window where the answer was stale
// from its beginning, see [windows].
func (t *terms) errorWindow(wish delta) time.Duration {
	switch {
	case !wish.set:
		return t.stale.ifError
	case t.lifetime == 0:
		return min(wish.d, t.stale.ifError)
	}
	return wish.d
}

// isFailure says whether a status is one of the errors of RFC 5861, section 4.
func isFailure(status int) bool {
	switch status {
	case http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}
