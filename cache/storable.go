package cache

import (
	"mime"
	"net/http"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
)

// refusal is why an answer is not stored, as Cache-Status tells it; empty if it is.
type refusal string

// The reasons, with the section of RFC 9111 that each comes from. Those without
// one are ours.
const (
	storeIt           refusal = ""
	refuseRequest     refusal = "request-no-store" // 5.2.1.5
	refuseStatus      refusal = "status"           // 3
	refuseMalformed   refusal = "malformed"        // Cache-Control that does not parse
	refuseUnknown     refusal = "must-understand"  // 5.2.2.3
	refuseNoStore     refusal = "no-store"         // 5.2.2.5
	refusePrivate     refusal = "private"          // 5.2.2.7
	refuseVary        refusal = "vary"             // 4.1
	refuseStream      refusal = "event-stream"
	refuseAuthorized  refusal = "authorization" // 3.5
	refuseSetCookie   refusal = "set-cookie"
	refuseCookie      refusal = "cookie"
	refuseCertificate refusal = "client-cert"
	refuseNoLifetime  refusal = "no-lifetime" // 3
	refuseUseless     refusal = "no-use"      // neither fresh nor to be validated nor to be used stale
	refuseTooLarge    refusal = "max-body"
	refuseSearch      refusal = "no-vary-search" // it varies by something else than it was asked for by
	refuseOverwhelmed refusal = "memory"         // the store has no room to receive it
	refuseTags        refusal = "tags"           // it has too many
	refusePurged      refusal = detailPurged     // while it was on its way
)

// exchange is what the rules for storing look at: a request as far as it
// matters, and the head of its answer. The method is GET, and the request does not
// say no-store: nothing else comes here.
type exchange struct {
	authorization bool // the request has such a field
	cookie        bool // and such a one
	certificate   bool // and a Client-Cert
	status        int
	header        http.Header
	length        int64  // of the body, -1 if unknown
	position      uint64 // of purges when it was requested
	tags          []string
	manyTags      bool
	surrogate     []string // the lines of Surrogate-Control, which is not in header any more
	override      *Override
}

// rules is what a route's policy says, with the defaults filled in.
type rules struct {
	ttl       time.Duration
	ttlStatus statusTTL
	stale     staleWindows
	maxBody   int64
	ignored   ignored
}

// storable decides whether an answer to GET is stored (RFC 9111, section 3, as
// a shared cache), and for how long it is then fresh.
func storable(x *exchange, d answerDirectives, r rules, received time.Time) (lifetime time.Duration, from lifetimeSource, why refusal) {
	if why := forbidden(x, d); why != storeIt {
		return 0, fromNothing, why
	}
	lifetime, from = explicitLifetime(x.header, d, received)
	if from == fromNothing {
		lifetime, from = r.lifetime(x.status, x.header, received)
		switch {
		case lifetime == 0 || !heuristic(x.status) && (!d.public || isFailure(x.status)):
			return 0, fromNothing, refuseNoLifetime
		case x.authorization:
			return 0, fromNothing, refuseAuthorized
		case x.cookie:
			return 0, fromNothing, refuseCookie
		case x.certificate:
			return 0, fromNothing, refuseCertificate
		}
	}
	w := windows(d, r.stale, lifetime)
	usableStale := !neverStale(d) && max(w.whileRevalidate, w.ifError) > 0
	if lifetime == 0 && !usableStale && !hasValidator(x.header) {
		return 0, fromNothing, refuseUseless
	}
	if x.length > r.maxBody {
		return 0, fromNothing, refuseTooLarge
	}
	return lifetime, from, storeIt
}

// lifetime is what an answer gets that does not say its own: for its status, for
// all, or guessed.
func (r *rules) lifetime(status int, h http.Header, received time.Time) (lifetime time.Duration, from lifetimeSource) {
	if own, ok := r.ttlStatus.of(status); ok {
		return own, fromStatusTTL
	}
	if r.ttl > 0 {
		return r.ttl, fromTTL
	}
	return heuristicLifetime(h, received), fromHeuristic
}

// forbidden applies the rules that no lifetime overrides.
func forbidden(x *exchange, d answerDirectives) refusal {
	_, selectable := varyNames(x.header["Vary"])
	forAll := d.public || d.sharedMaxAge.set
	switch {
	case x.status < 200 || x.status == http.StatusPartialContent || x.status == http.StatusNotModified || ofTheRequest(x.status):
		return refuseStatus
	case d.malformed:
		return refuseMalformed
	case d.mustUnderstand && !understood(x.status):
		return refuseUnknown
	case d.noStore && !d.mustUnderstand:
		return refuseNoStore
	case d.private:
		return refusePrivate
	case !selectable:
		return refuseVary
	case isEventStream(x.header):
		return refuseStream
	case x.authorization && !forAll && !d.mustRevalidate:
		return refuseAuthorized
	case len(x.header["Set-Cookie"]) > 0 && !forAll:
		return refuseSetCookie
	}
	return storeIt
}

// ofTheRequest says whether a status tells of a request, or of who sent it, and not
// of what the URL names: of its length or its pace, of a field that the key does not
// have. Four of them must not be stored (RFC 6585, sections 3 to 6); with any an
// attacker would take the page from everybody.
func ofTheRequest(status int) bool {
	switch status {
	case http.StatusPreconditionRequired, http.StatusTooManyRequests, http.StatusRequestHeaderFieldsTooLarge,
		http.StatusNetworkAuthenticationRequired,
		http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusPreconditionFailed, http.StatusRequestEntityTooLarge,
		http.StatusRequestedRangeNotSatisfiable, http.StatusExpectationFailed, http.StatusTooEarly, http.StatusUpgradeRequired:
		return true
	}
	return false
}

// isEventStream knows the one type whose beginning is worthless to those who come later.
func isEventStream(h http.Header) bool {
	if len(h["Content-Type"]) == 0 {
		return false
	}
	t, _, _ := mime.ParseMediaType(h["Content-Type"][0])
	return t == "text/event-stream"
}

// heuristicStatuses are the statuses that may be given a lifetime by
// configuration or by guess.
var heuristicStatuses = selvage.HeuristicStatuses()

func heuristic(status int) bool { return slices.Contains(heuristicStatuses, status) }

// understood says whether the cache knows what the status asks of it: for
// these, nothing beyond RFC 9111.
func understood(status int) bool {
	switch status {
	case 302, 303, 307, 400, 403, 406, 409, 421, 500, 502, 503, 504:
		return true
	}
	return heuristic(status)
}

// hasValidator says whether the answer can be asked about with a condition.
func hasValidator(h http.Header) bool {
	return len(h["Etag"]) > 0 || len(h["Last-Modified"]) > 0
}
