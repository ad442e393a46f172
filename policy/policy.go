// Package policy is what is done to a request before it is answered: who may,
// how often, where to, with which header fields; and what of that is said in
// the answer.
//
// Look at [Compile] first: it makes the [Chain] of one route. The order of the
// policies is written once, in order; each has a file of its own. Two
// registries, [Limits] and [Passwords], hold all that changes while it runs.
//
// It promises that a chain is immutable and safe for concurrent use, that
// counters outlive it, that a route without policies costs no allocation, and
// that nothing which a client sent gets into a Location or a path without
// being escaped. It refuses to read a clock, to log, and to touch the fields
// that frame a message.
package policy

import (
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

// MaxCaptures is how many `*` of a route's path an [Exchange] can hold.
const MaxCaptures = 8

// Exchange is a request on its way through the policies of its route. It
// belongs to the request's goroutine.
type Exchange struct {
	// In is the request as it came. It is not edited.
	In *http.Request
	// Out is what is sent on. Policies edit its URL, header fields and body; its header map must not be In's.
	Out *http.Request
	// Client is who asks; behind trusted proxies the client, not them.
	Client netip.Addr
	// Path is the path that was matched: clean, percent-encoded, without the query.
	Path string
	// Captures are what each `*` of the match took of it.
	Captures [MaxCaptures]string
	// Now is when the request is looked at.
	Now time.Time

	flow      flow // what the limit said
	limited   bool // there is a limit that said something
	preflight bool // the answer is to a CORS preflight request
}

// Answer is an answer made here. Its header fields are the caller's, who
// passes them through [Chain.Response] as those of every answer.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Chain is the compiled policies of one route. It is immutable.
type Chain struct {
	requests   []func(*Exchange) *Answer
	looks      []func(*Exchange) *Answer // what stands for each of them where nothing may change
	responses  []func(*Exchange, http.Header)
	waits      bool
	preflights bool
}

// Scope is whose route it is, and the registries that outlive it.
type Scope struct {
	Tenant    selvage.Tenant
	Service   selvage.ServiceName
	Limits    *Limits
	Passwords *Passwords
}

// policy is one compiled policy: what it does to a request, and to the answer. Either may be nil.
type policy struct {
	request  func(*Exchange) *Answer
	look     func(*Exchange) *Answer // nil: request itself
	response func(*Exchange, http.Header)
}

// order is the order of the policies, for the request and for the answer.
//
// What costs nothing and tells a stranger least goes first: a denied address
// is not even counted. Preflight requests carry no credentials and must be
// answered before any are asked for; and they are not counted, because the
// browser sends them, not the page. The limit stands before the password,
// since that is where guessing is dear. Nobody learns of a redirect or of the
// largest body without the password. What changes the request comes last,
// the fields after the path, so that a fixed field is what the origin sees;
// for the same reason an answer's fields have the last word there.
var order = []struct {
	waits   bool // it may wait or burn time: not decidable from the head alone
	compile func(Scope, *selvage.Route) (policy, error)
}{
	{false, compileAccess},
	{false, compileCORS},
	{false, compileLimit},
	{true, compileBasicAuth},
	{false, compileMaxBody},
	{false, compileRedirect},
	{false, compileRewrite},
	{false, compileHeaders},
}

// Compile compiles the policies of a route. Errors are of kind
// [selvage.Invalid] and say which field is wrong. A scope without registries
// gets its own, which end with the chain.
func Compile(scope Scope, rt selvage.Route) (*Chain, error) {
	if scope.Limits == nil {
		scope.Limits = new(Limits)
	}
	if scope.Passwords == nil {
		scope.Passwords = new(Passwords)
	}
	c := &Chain{preflights: rt.CORS != nil}
	for _, o := range order {
		p, err := o.compile(scope, &rt)
		if err != nil {
			return nil, selvage.Errorf(selvage.Invalid, "compile policies: %w", err)
		}
		if p.request != nil {
			c.requests = append(c.requests, p.request)
			if p.look == nil {
				p.look = p.request
			}
			c.looks = append(c.looks, p.look)
			c.waits = c.waits || o.waits
		}
		if p.response != nil {
			c.responses = append(c.responses, p.response)
		}
	}
	return c, nil
}

// Request does to the request what the policies say. An answer ends its way.
func (c *Chain) Request(x *Exchange) *Answer { return first(c.requests, x) }

// Look does to a request what Request would do, as far as the head decides it:
// nothing is counted, and a password is not looked at but taken for right.
func (c *Chain) Look(x *Exchange) *Answer { return first(c.looks, x) }

func first(policies []func(*Exchange) *Answer, x *Exchange) *Answer {
	for _, f := range policies {
		if a := f(x); a != nil {
			return a
		}
	}
	return nil
}

// Response edits the header fields of the answer, whoever made it: the
// origin, the cache, the fallback or a policy.
func (c *Chain) Response(x *Exchange, h http.Header) {
	for _, f := range c.responses {
		f(x, h)
	}
}

// Plain says whether all is decided from the request's head without waiting.
func (c *Chain) Plain() bool { return !c.waits }

// Empty says whether there is nothing to do, neither to a request nor to an answer.
func (c *Chain) Empty() bool { return len(c.requests) == 0 && len(c.responses) == 0 }

// Preflights says whether the route answers CORS preflight requests. Such a
// request is to be routed as the method that [Preflight] finds in it.
func (c *Chain) Preflights() bool { return c.preflights }

// refuse makes an answer that a person can read, and says in the record why.
func refuse(x *Exchange, status int, text, detail string) *Answer {
	r := record.From(x.In.Context())
	r.Detail = detail
	return &Answer{Status: status, Body: text, Header: http.Header{
		"Content-Type":           {"text/plain; charset=utf-8"},
		"Content-Length":         {strconv.Itoa(len(text))},
		"Cache-Control":          {"no-store"},
		"X-Content-Type-Options": {"nosniff"},
	}}
}

// hit notes the limit that ended the request.
func hit(x *Exchange, limit string) { record.From(x.In.Context()).LimitHit = limit }
