package selvage

import "time"

// ChangeID names a change within its tenant: c-7. The number is that of its
// entry in the log of changes.
type ChangeID string

// ChangeKind says what a change alters.
type ChangeKind string

// The kinds of changes.
const (
	RevisionChange    ChangeKind = "revision"    // of a service: what is deployed
	LocalChange       ChangeKind = "local"       // of a file that a node read by itself: at once, and watched
	UndoChange        ChangeKind = "undo"        // back to an earlier revision
	WeightChange      ChangeKind = "weight"      // of an origin's endpoints
	CertificateChange ChangeKind = "certificate" // of a host
	PurgeChange       ChangeKind = "purge"       // of a whole service's stored answers
)

// Unit is what a rollout gives to one arm or the other, whole: two requests of
// one unit meet the same side of a change.
type Unit string

// The units.
const (
	ByClient     Unit = "client"
	ByEndpoint   Unit = "endpoint"   // each choice of one
	ByConnection Unit = "connection" // each handshake
	ByKey        Unit = "key"
)

// Unit is what changes of this kind are tried on.
func (k ChangeKind) Unit() Unit {
	switch k {
	case WeightChange:
		return ByEndpoint
	case CertificateChange:
		return ByConnection
	case PurgeChange:
		return ByKey
	}
	return ByClient
}

// IsPart says that a change of this kind is of a part of a service alone: there is
// no other difference to what is promoted.
func (k ChangeKind) IsPart() bool { return k == WeightChange || k == CertificateChange }

// Change is anything that alters what runs.
type Change struct {
	ID       ChangeID
	Kind     ChangeKind
	Tenant   Tenant
	Service  ServiceName
	Who      string // asked for it
	When     time.Time
	Why      string     // in their words
	From, To RevisionID // From is empty for a service's first revision
}
