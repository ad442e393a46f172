// Package record holds the facts of one request.
//
// Look at [Record] first. The server that read the request makes one, the
// stages fill in what they decided, and when the answer is through, the node
// hands it to the sinks: access log, metrics, traces, console and verdicts all
// come from it and from nothing else.
//
// It promises to be a leaf: the standard library only. A record belongs to the
// request's own goroutine until it is handed over; a sink must not keep it.
// It refuses to hold header fields, bodies or credentials.
package record

import (
	"context"
	"net/netip"
	"time"

	"github.com/selvage-edge/selvage"
)

// Record is the facts of one request. Times are the moment it began and
// distances from there; sizes are bytes.
type Record struct {
	Start    time.Time // the first byte of the request head was there
	Place    Place
	Target   Target
	Client   Client
	Request  Request
	Answer   Answer
	Cache    Cache
	Origin   Origin
	Function Function
	Trace    Trace
	Timing   Timing
	WhyBad   WhyBad
	Detail   string // what went wrong in words, for people; empty if nothing did
	LimitHit string // the name of the limit that ended it, as in the configuration: head, target, fields, body, rate …
}

// Place says where it was served.
type Place struct {
	Zone selvage.Zone
	POP  selvage.POP
	Node selvage.NodeName
}

// Target says what served it. All of it is empty if no service matched.
type Target struct {
	Tenant   selvage.Tenant
	Service  selvage.ServiceName
	Route    selvage.RouteName
	Origin   selvage.OriginName
	Revision selvage.RevisionID
	Change   selvage.ChangeID // of the running rollout; empty without one
	Arm      selvage.Arm
	Class    selvage.RouteName // by which the arms are compared: the baseline's route, whatever the arm
	Unit     uint64            // the client, as a hash that says nothing of who it is; 0 without a rollout
	Log      selvage.LogChoice // the route's
	// Rescuable: should the canary fail by itself, the baseline may answer instead. Rescued: it did.
	Rescuable, Rescued bool
	// Forced: an operator's pass chose the arm. It is not counted in the judging.
	Forced bool
}

// Client says who asked, and how.
type Client struct {
	Addr     netip.Addr     // behind trusted proxies the client's, not theirs
	Peer     netip.AddrPort // the other end of the connection
	RTT      time.Duration  // the kernel's smoothed estimate, 0 if unknown
	TLS      uint16         // tls.VersionTLS13 …, 0 without
	Protocol string         // HTTP/1.0, HTTP/1.1, HTTP/2.0
	Reused   bool           // not the first request of its connection
}

// Request says what was asked.
type Request struct {
	Method    string
	Host      string
	Path      string // without the query, which may hold secrets
	HeadBytes int64
	BodyBytes int64
}

// Answer says what was answered.
type Answer struct {
	Status    int   // 0 if the client was gone before there was one
	HeadBytes int64 // 0 where the protocol library does not tell
	BodyBytes int64
	// Coding is the content coding that was made here, empty for none; then
	// UncodedBytes is how long the body was before, as far as it was read.
	Coding       string
	UncodedBytes int64
	Upgraded     bool // the connection went on as something else; BodyBytes counts both ways
	Broken       bool // the answer's head was sent, its end was not
}

// Timing says how long it took, as distances from Start.
type Timing struct {
	Head      time.Duration // the request head was complete
	FirstByte time.Duration // the first byte of the final answer was written
	End       time.Duration
}

// Cache says what the cache did, in the words of RFC 9211.
type Cache struct {
	Hit       bool
	Fwd       string // bypass, method, uri-miss, vary-miss, miss, request, stale, partial; empty on a hit or without a cache
	FwdStatus int    // the status of the forward, if there was one
	TTL       time.Duration
	HasTTL    bool
	Stored    bool
	Collapsed bool
	Stale     bool // the answer was no longer fresh
	Detail    string
	// Incompressible says that compressing what is stored would gain nothing.
	Incompressible bool
}

// Origin says what was asked of an origin. The first attempts are kept, all are counted.
type Origin struct {
	Attempts int
	kept     [3]Attempt
	Dials    int                    // connections that were opened for it
	Type     selvage.ProxyErrorType // why there was no answer to send on
	Fallback string                 // the rung of the failure ladder that answered: stale, default
}

// Attempt is one try at one endpoint.
type Attempt struct {
	Endpoint  string        // host:port
	Start     time.Duration // from Record.Start
	FirstByte time.Duration // from its own start, 0 if none came
	Status    int           // 0 if there was no answer
	Error     selvage.ProxyErrorType
	Reused    bool // on a connection that was open already
}

// Add notes an attempt.
func (o *Origin) Add(a Attempt) {
	if o.Attempts < len(o.kept) {
		o.kept[o.Attempts] = a
	}
	o.Attempts++
}

// Kept are the first attempts, in order.
func (o *Origin) Kept() []Attempt { return o.kept[:min(o.Attempts, len(o.kept))] }

// Function says what a function did. All of it is empty where none ran.
type Function struct {
	Name    selvage.FunctionName
	CPU     time.Duration // 0 if it went on behind its answer
	Memory  int64         // bytes of linear memory at its end
	Fetches int           // requests to origins that it made
	Trap    string        // the fingerprint of its trap
	Failed  string        // what was done when it failed: pass, previous, default; empty for 500
	Streams bool          // it went on behind the head of its answer
}

// Trace is the W3C trace context that was continued or begun.
type Trace struct {
	TraceID [16]byte
	SpanID  [8]byte // ours
	Parent  [8]byte // the caller's, zero if we began the trace
	Flags   byte
	State   string // tracestate, sent on as it came
}

// WhyBad says in one word why a request counts as bad; empty if it does not.
// Answers of 4xx are the client's and not bad.
type WhyBad string

// The reasons.
const (
	Good          WhyBad = ""
	OriginFailed  WhyBad = "origin failed"   // no answer that could be sent on
	OriginError   WhyBad = "origin 5xx"      // it answered so
	OwnError      WhyBad = "own 5xx"         // a defect or a limit of ours
	BrokenAnswer  WhyBad = "broken answer"   // it began and did not end
	ClientGone    WhyBad = "client gone"     // it did not wait; not counted against anybody
	DeadlineTotal WhyBad = "deadline passed" // the total deadline ended it
)

type key struct{}

// NewContext returns a context that carries r.
func NewContext(ctx context.Context, r *Record) context.Context {
	return context.WithValue(ctx, key{}, r)
}

// From is the record that ctx carries. Without one it is a new record that
// nobody reads, so that callers need not ask.
func From(ctx context.Context) *Record {
	if r, ok := ctx.Value(key{}).(*Record); ok {
		return r
	}
	return new(Record)
}

// Key is the context key of a record, for a context type that answers it itself.
var Key any = key{}
