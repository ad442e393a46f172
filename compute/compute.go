// Package compute runs functions: WebAssembly programs of the user's, each
// request in a sandbox of its own, with limits that hold.
//
// Look at [Engine.Compile] and [Function.Serve] first. An [ABI] is a guest
// interface: the host functions that a program may import, and the session
// that they share for one request. Interfaces live in packages below abi.
//
// It promises that a module which is not metered never runs, that nothing of
// one request is ever seen by another, that a guest can hold neither a
// neighbour nor the collector, and that whatever a guest passes to a host
// function, memory outside of its own is neither read nor written. It refuses,
// when a module is compiled, what it cannot meter: threads, exceptions, typed
// function references, components.
//
// This package and those below it are the only importers of the engine.
//
// Compiled files are kept in the folder of [Options], one folder for each
// module, named by the SHA-256 of the metered module.
package compute

import (
	"context"
	"net/http"
	"net/netip"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// HostFunc is a function that guests may import.
type HostFunc struct {
	Module, Name    string
	Params, Results []api.ValueType
	// Call gets the parameters in the stack and leaves the results there. A
	// request's context is ctx; it ends with the wall time. A panic with
	// anything but a value of this package ends the guest with a trap of kind
	// [HostPanic].
	Call func(ctx context.Context, g *Guest, stack []uint64)
	// Early says that the answer is the same for every request and that the
	// call leaves nothing in the session, so that a guest may make it while it
	// starts. The sandbox is frozen at the first call of a function that is not
	// early, and goes back to that point for every later request. What an early
	// function reads and somebody may change belongs into [Guest.Remember].
	Early bool
	// Waits says that the call may wait: for an origin, for a client, for a
	// store. That time is not the guest's CPU time.
	Waits bool
}

// ABI is a guest interface.
type ABI interface {
	// Name is one word, as in fastly.
	Name() string
	// Functions are all that a guest may import. The WASI functions are there
	// without being named; one of the same name takes its place.
	Functions() []HostFunc
	// Begin makes the session of a request.
	Begin(ctx context.Context, in *Invocation) any
	// End closes everything that the guest left open. It is called once for
	// each session, also after a trap.
	End(session any)
}

// Stubber is an [ABI] that answers for functions which it does not have.
// Without it, and where ok is false, such an import is an error of Compile.
type Stubber interface {
	// Stub is the result of an unknown function that returns an i32.
	Stub(module, name string) (result uint32, ok bool)
}

// Handler is an [ABI] whose guests export functions that handle a request, and
// do no more than start in _start or _initialize. The sandbox is frozen after
// that, so what a guest calls while it starts has to be early: anything else
// ends it.
type Handler interface {
	// Exports are the functions that a guest must have, by their names.
	Exports() map[string]Signature
	// Serve handles a request by calling what the guest exports. An error that
	// is not the guest's doing is a [*Failed].
	Serve(ctx context.Context, g *Guest) error
}

// Finisher is an [ABI] that looks at what a program did once it has ended well,
// and may still end it badly, with [Guest.Refuse] for instance.
type Finisher interface {
	ABI
	Finish(ctx context.Context, g *Guest)
}

// Signature is the type of a function.
type Signature struct{ Params, Results []api.ValueType }

// Failed is an error for which the guest is not to blame, that of an origin for
// instance. Its sandbox is set back as after any other request.
type Failed struct{ Err error }

func (e *Failed) Error() string { return e.Err.Error() }

// Unwrap is the error itself.
func (e *Failed) Unwrap() error { return e.Err }

// Invocation is one request to a function. It belongs to one call of Serve.
type Invocation struct {
	// W takes the function's answer.
	W http.ResponseWriter
	// R is the request as the edge has it. Its body may be read once, and its
	// header is that of [Invocation.Header].
	R *http.Request
	// Complete puts R's header there, when it is first asked for. Nil: it is.
	Complete func()
	// Client is who asks.
	Client Client
	// Fetch asks an origin, by its name. Guests reach it through [Guest.Fetch],
	// which counts. Nil: there are no origins.
	Fetch func(backend string, r *http.Request) (*http.Response, error)
	// Origin is the backend that stands behind the function, for a guest that
	// has only one. Empty: there is none.
	Origin string
	// Log takes what the function writes to its standard output and error, a
	// line or a part of one at a time. Nil: it is dropped.
	Log func(p []byte)
	// Holds is how many bytes of the answer W takes without waiting for a
	// client. 0: it may wait for each.
	Holds int
	// Extra is what an ABI's maker wants to hand to its sessions.
	Extra any
	// Usage is filled by Serve.
	Usage Usage
}

// Header is the header of R.
func (in *Invocation) Header() http.Header {
	if in.Complete != nil {
		in.Complete()
		in.Complete = nil
	}
	return in.R.Header
}

// Client is who sent a request.
type Client struct {
	Address    netip.AddrPort
	Server     netip.AddrPort // where the connection came in
	TLS        bool
	RequestID  [16]byte // zero: there is none
	ReceivedAt time.Time
	Hello      []byte // its ClientHello, with type and length; nil where it was not kept
	FieldNames string // of its request, as they came, with line feeds between; empty where nobody kept them
	Distrust   error  // why its certificate is not believed; nil: it is, or there is none
}

// Usage is what a request took.
type Usage struct {
	CPU            time.Duration // of the guest, and of the host functions that it called
	Wall           time.Duration
	Memory         uint64 // bytes of linear memory at the end
	OriginRequests int
	LogBytes       int64
	Ticks          int64       // how often the guest's fuel ran out and it yielded
	Rewound        bool        // the sandbox had served before
	Hit            []LimitName // limits that were hit, those that ended nothing too
}
