// Package cache stores answers and reuses them: RFC 9111 as a shared cache,
// RFC 5861 (stale answers) and RFC 9211 (Cache-Status).
//
// Look at [Transport] first: it stands in front of the origin as an
// http.RoundTripper, one per route and revision. What it remembers is in the
// [Store], one per node. The rules are pure functions in files named after
// what they decide: storable, fresh, age, stale, vary, validate, ranges,
// invalidate, slice, combine. A forward to the origin that several requests may
// wait for is a flight (collapse).
//
// It promises that an answer is given to another request only if the answer
// permits it, the request's fields select it, and it is whole; that a stale one
// is given only where somebody permits it and nobody forbids it; that requests
// for the same thing ask the origin once, and none waits for one that turns out
// to be somebody else's alone; and that the store keeps its bound in bytes.
//
// It refuses to combine parts that are not known to be of one representation, to
// store answers to methods other than GET and QUERY, and whatever its directives
// leave in doubt. It knows nothing of origins: an error says that there is no answer.
//
// Stored data is keyed by [Key], then by the request fields that Vary names. Tags
// and groups (RFC 9875) are no index: a purge writes one number, which a stored
// answer is compared with when it is looked up (purge).
package cache

import (
	"cmp"
	"net/http"
	"time"

	"github.com/selvage-edge/selvage"
)

// Scope says for whom a transport stores answers, and by which policy.
type Scope struct {
	Tenant  selvage.Tenant
	Service selvage.ServiceName
	Policy  selvage.Cache
	// Revision is of the service whose route this is. What is stored says it.
	Revision selvage.RevisionID
	// StaleOnError is set where the route's failure ladder has the rung stale.
	// Without a stale_if_error in the policy it allows [DefaultStaleIfError].
	StaleOnError bool
	// Coder makes other forms of what is stored, nil for none.
	Coder Coder
	// Making says in one form what makes the answers. Where two transports differ in it,
	// see Layer.
	Making string
	// Added are fields that a request has only where it goes across: see [Transport.Ready].
	Added []string
	// Layer is a deployed revision's: it uses nothing that was not made as it
	// would, and may be on trial. Nil is a revision of a file.
	Layer *Layer
}

// The defaults of a policy's fields that have one.
const (
	defaultMaxBody = 64 << 20
)

// rules are the policy with its defaults, for a store of the given size.
func (s *Scope) rules(limit int64) rules {
	ifError := s.Policy.StaleIfError.Std()
	if ifError == 0 && s.StaleOnError {
		ifError = DefaultStaleIfError
	}
	return rules{
		ttl:       cap68(s.Policy.TTL.Std()),
		ttlStatus: newStatusTTL(s.Policy.TTLStatus),
		ignored:   readIgnored(s.Policy.IgnoreRequest),
		stale: staleWindows{
			whileRevalidate: cap68(s.Policy.StaleWhileRevalidate.Std()),
			ifError:         cap68(ifError),
		},
		maxBody: min(cmp.Or(int64(s.Policy.MaxBody), defaultMaxBody), limit/largestShare),
	}
}

// cap68 keeps a duration within what the cache reckons with, 68 years.
func cap68(d time.Duration) time.Duration { return min(d, maxDelta) }

// Transport answers requests from the store, or asks next and stores what it
// may. It belongs to one route of one revision and never changes; what changes
// is in the store. It is safe for concurrent use.
type Transport struct {
	store   *Store
	scope   Scope
	next    http.RoundTripper
	rules   rules
	keys    *keyRules
	readies bool     // see [Scope.readies]
	tags    []string // the fields that name tags
	ours    []string // those of them that nobody else is sent
	ledger  *ledger
	author  *author
}

// NewTransport returns a transport in front of next.
func NewTransport(store *Store, scope Scope, next http.RoundTripper) *Transport {
	keys := newKeyRules(scope.Policy.Key)
	store.learn(&scope, keys)
	read, ours := tagHeaders(scope.Policy.Tags.Header)
	return &Transport{
		store:   store,
		scope:   scope,
		next:    next,
		rules:   scope.rules(store.limit),
		keys:    keys,
		readies: scope.readies(keys),
		tags:    read,
		ours:    ours,
		ledger:  store.purges.ledger(scope.Tenant, scope.Service),
		author:  store.overlays.author(scope.Making),
	}
}

// NewInvalidator returns a transport for routes that store nothing: it only makes
// invalid what requests through it change (RFC 9111, section 4.4), so that a
// POST on one route is seen by the GETs on another.
func NewInvalidator(store *Store, scope Scope, next http.RoundTripper) http.RoundTripper {
	store.purges.ledger(scope.Tenant, scope.Service) // from now on its answers can be dropped
	return &invalidator{store, scope, next}
}
