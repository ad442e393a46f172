// Package fastly is the guest interface of Fastly Compute: programs made for it
// with Fastly's own libraries run here as they are.
//
// Look at [New] first, which makes the interface that the engine links, and at
// [Options] for what is behind it. [Table] lists every function with what it
// does here; doc/reference-fastly.md is made of it.
//
// It promises that a guest gets an error code for whatever it passes, that it
// reads and writes nothing outside of its own memory, that all it holds is
// bounded and given back at the end of its request. What has no service behind
// it here (image optimisation, fanout, fingerprints of clients) answers that
// it is unsupported, or that there is none. It refuses to dial: requests go
// through the Fetch of the invocation.
//
// The core cache and the HTTP cache of guests keep what they store in [Objects],
// in memory, beside the cache of the edge, which stores what comes through
// Fetch. A purge by key reaches both.
package fastly

import (
	"context"
	"net/netip"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

//go:generate go test -count=1 -run TestTheReferenceIsCurrent . -generate

// Options are the services behind the interface. What is left out answers that
// there is none of that name, or that it is unsupported.
type Options struct {
	// Region is where the node is; guests may ask for it. Empty: there is none.
	Region string
	// Backends are the origins by name. Nil: Fetch alone knows them.
	Backends Backends
	// Register makes a dynamic backend. Nil: the node does not allow them.
	// The check of what is dialled is the dialler's.
	Register func(ctx context.Context, b DynamicBackend) error
	// Configs are the config stores and dictionaries.
	Configs func(store string) (Values, bool)
	// Secrets are the secret stores that the service was granted.
	Secrets func(store string) (Values, bool)
	// KV are the KV stores.
	KV func(store string) (KV, bool)
	// ACLs are the access control lists.
	ACLs func(name string) (ACL, bool)
	// Geo knows where an address is. Nil: nothing is known of any.
	Geo func(netip.Addr) (Place, bool)
	// Device knows the device of a User-Agent, as JSON that guests read. Nil, or
	// false: what the User-Agent itself tells.
	Device func(agent string) ([]byte, bool)
	// Log takes a line that a guest wrote to a named endpoint. Nil: the
	// function's own log takes it.
	Log func(ctx context.Context, endpoint string, line []byte)
	// Purge marks what carries a surrogate key as unusable, or as stale if it is
	// soft, and says by which name the purge is known. Objects are purged beside.
	// Nil: only they are.
	Purge func(ctx context.Context, key string, soft bool) (id string, err error)
	// Objects is where the caches of guests keep what they store; shared by all
	// functions of a service. Nil: the functions of the caches are unsupported.
	Objects *Objects
	// HTTPCache lets guests cache answers of origins by themselves, with hooks.
	// Without it they leave that to the cache of the edge.
	HTTPCache bool
	// Rates counts for edge rate limiting; shared by all functions of a service. Nil: unsupported.
	Rates *Rates
}

// Facts are what the environment of a guest says of where it runs. It is read
// while the guest starts, so it is the same for all requests.
type Facts struct {
	Customer  string // FASTLY_CUSTOMER_ID
	ServiceID string // FASTLY_SERVICE_ID
	Version   string // FASTLY_SERVICE_VERSION
	Hostname  string // FASTLY_HOSTNAME
	POP       string // FASTLY_POP
	Region    string // FASTLY_REGION
}

// TraceVariable is the variable that each request has a value of its own for:
// the trace of its record, by which libraries know their sandbox ([compute.Program.TraceVariable]).
const TraceVariable = "FASTLY_TRACE_ID"

// Env are the variables, for [compute.Program].
func (f Facts) Env() []string {
	var out []string
	for _, v := range []struct{ name, value string }{
		{"FASTLY_CACHE_GENERATION", "0"}, {"FASTLY_CUSTOMER_ID", f.Customer}, {"FASTLY_IS_STAGING", "0"}, {"FASTLY_HOSTNAME", f.Hostname}, {"FASTLY_POP", f.POP}, {"FASTLY_REGION", f.Region},
		{"FASTLY_SERVICE_ID", f.ServiceID}, {"FASTLY_SERVICE_VERSION", f.Version},
	} {
		if v.value != "" {
			out = append(out, v.name+"="+v.value)
		}
	}
	return out
}

// Request is what a node may say of one request in [compute.Invocation.Extra], as a *Request.
type Request struct {
	// Next waits for another request that the same sandbox is to serve, at most
	// so long; nil if none comes. Nil itself: a sandbox serves one request.
	Next func(ctx context.Context, wait time.Duration) *Following
	// Done is told once that the guest writes no more of an answer although it
	// goes on: it was written whole, or there will be none, or it broke off. cpu is what
	// the guest computed until then; 0 where the answer went on beside it. May be nil.
	Done func(cpu time.Duration)
}

// Following is another request for a sandbox that has answered one. Of its two
// functions one is called, once.
type Following struct {
	// Invocation has a [*Request] as its Extra. The context of its R is the request's.
	Invocation *compute.Invocation
	// Begin says that the sandbox is in this request from now on: the one before is over.
	Begin func()
	// Refuse says that the guest has ended, or does not want it.
	Refuse func()
}

// ABI is the interface, for one function or several of one service. It is safe
// for concurrent use.
type ABI struct{ options Options }

// New makes the interface.
func New(o Options) *ABI { return &ABI{options: o} }

// Name is fastly.
func (*ABI) Name() string { return "fastly" }

// Begin makes what one request's guest sees.
func (a *ABI) Begin(ctx context.Context, in *compute.Invocation) any {
	x := &exchange{abi: a}
	x.handles.items = x.first.handles[:0]
	x.attach(ctx, in)
	return x
}

// Finish implements [compute.Finisher]: a program that has ended well and sent no answer has
// answered 200 with nothing, as on Fastly, unless it gave its answer up when it waited for another request.
func (*ABI) Finish(_ context.Context, g *compute.Guest) {
	if x, ok := g.Session().(*exchange); ok && !x.down.sent && !x.down.givenUp {
		x.send(x.newResponse(), x.newBody())
	}
}

// End closes what the guest left open, and waits until the answer is with the client.
func (*ABI) End(session any) {
	if x, ok := session.(*exchange); ok {
		x.end()
		x.handles = handles{}
	}
}

// Stub answers Unsupported for what is not in the table.
func (*ABI) Stub(module, name string) (result uint32, ok bool) {
	return uint32(Unsupported), IsOurs(module)
}
