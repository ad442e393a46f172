package cache

import (
	"net/http"
	"time"
)

// terms is what freshness and staleness are reckoned from, fixed when an
// answer comes or is validated.
type terms struct {
	received   time.Time     // when its head came
	initialAge time.Duration // its age then
	lifetime   time.Duration
	source     lifetimeSource // of the lifetime, as the answer came
	noCache    bool           // never used without validation
	immutable  bool           // a client's wish for a younger one is overlooked while it is fresh (RFC 8246)
	neverStale bool           // never used stale, whoever permits it
	spent      bool           // it was purged softly: not fresh, also for who has looked at the clock before that
	stale      staleWindows
}

// age is current_age of RFC 9111, section 4.2.3.
func (t *terms) age(now time.Time) time.Duration {
	return t.initialAge + min(max(0, now.Sub(t.received)), maxDelta)
}

// ttl is how long it is still fresh; negative for how long it is stale.
func (t *terms) ttl(now time.Time) time.Duration {
	left := t.lifetime - t.age(now)
	if t.spent {
		return min(left, 0)
	}
	return left
}

// verdict says what a stored answer is good for.
type verdict int

const (
	useFresh        verdict = iota
	useAllowedStale         // the client takes it stale (max-stale)
	useWhileRefresh         // it is stale, and a new one is fetched meanwhile
	requestForbids          // it is fresh, and the request does not want it
	needsValidation         // it is stale, or never to be used unasked
)

// judge decides whether a stored answer may satisfy a request without asking
// the origin (RFC 9111, sections 4.2 and 5.2.1).
func judge(now time.Time, t *terms, r requestDirectives) verdict {
	ttl := t.ttl(now)
	tooOld := r.maxAge.set && t.age(now) > r.maxAge.d && (!t.immutable || ttl <= 0)
	refused := r.noCache || tooOld || r.minFresh.set && ttl < r.minFresh.d
	switch {
	case t.noCache:
		return needsValidation
	case ttl > 0 && refused:
		return requestForbids
	case ttl > 0:
		return useFresh
	case refused || t.neverStale:
		return needsValidation
	case r.maxStale.set && -ttl <= r.maxStale.d:
		return useAllowedStale
	case -ttl < t.stale.whileRevalidate:
		return useWhileRefresh
	}
	return needsValidation
}

// explicitLifetime is how long an answer says that it is fresh (RFC 9111,
// section 4.2.1): s-maxage before max-age before Expires. What does not parse
// is 0. Expires does not count beside a targeted field (RFC 9213, section 2.2).
// An answer that is validated each time has said so with no-cache.
func explicitLifetime(h http.Header, d answerDirectives, received time.Time) (lifetime time.Duration, from lifetimeSource) {
	switch {
	case d.sharedMaxAge.set:
		return d.sharedMaxAge.d, fromSharedMaxAge
	case d.maxAge.set:
		return d.maxAge.d, fromMaxAge
	case len(h["Expires"]) > 0 && !d.targeted:
		expires, ok := soleDate(h["Expires"], received)
		if !ok {
			return 0, fromExpires
		}
		date, ok := soleDate(h["Date"], received)
		if !ok {
			date = received
		}
		return min(max(0, expires.Sub(date)), maxDelta), fromExpires
	case d.noCache:
		return 0, fromNoCache
	}
	return 0, fromNothing
}

// lifetimeSource is what an answer's lifetime comes from.
type lifetimeSource uint8

const (
	fromNothing lifetimeSource = iota
	fromSharedMaxAge
	fromMaxAge
	fromExpires
	fromNoCache
	fromStatusTTL // the policy's, for the status
	fromTTL       // the policy's
	fromHeuristic
)

// The lifetime that is guessed from Last-Modified.
const (
	heuristicPart = 10 // one of so many parts of the time that it has not changed
	heuristicMost = time.Hour
)

// heuristicLifetime is how long an answer that does not say it is taken to be
// fresh (RFC 9111, section 4.2.2): the longer it has not changed, the longer.
// Without a Last-Modified it is 0.
func heuristicLifetime(h http.Header, received time.Time) time.Duration {
	modified, ok := soleDate(h["Last-Modified"], received)
	if !ok {
		return 0
	}
	date, ok := soleDate(h["Date"], received)
	if !ok {
		date = received
	}
	return min(max(0, date.Sub(modified))/heuristicPart, heuristicMost)
}
