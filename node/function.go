package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/fallback"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/telemetry"
)

// maxFunctionDepth is how deep functions may call each other. The limit is
// named function_depth.
const maxFunctionDepth = 4

// function is a program at its place in a revision: on a route, or as an origin.
// It is an origin side like any other.
type function struct {
	reg     *registry
	rev     *revision
	name    selvage.FunctionName
	set     selvage.Function
	program *program
	sources map[selvage.OriginName]http.RoundTripper // where its requests go; filled before the first
	own     selvage.OriginName                       // the route's; answers of others are stored under names of their own
	pass    http.RoundTripper                        // nil where there is no origin to pass to
	fixed   http.RoundTripper                        // its default answer; nil without one
}

// newFunction puts a function of the revision at a place.
func (reg *registry) newFunction(rev *revision, name selvage.FunctionName) *function {
	f := &function{
		reg: reg, rev: rev, name: name, set: rev.service.Functions[name], program: rev.functions[name],
		sources: make(map[selvage.OriginName]http.RoundTripper, len(rev.service.Origins)),
	}
	if f.set.OnFailure == selvage.FailWithDefault && f.set.Default != nil {
		f.fixed = fallback.New([]selvage.Rung{{Default: f.set.Default}}, noAnswer{})
	}
	return f
}

// noAnswer is an origin that fails.
type noAnswer struct{}

var errNodeEnds = errors.New("the node ends")

var errNoAnswer = errors.New("the function ended without an answer")

// RoundTrip implements http.RoundTripper.
func (noAnswer) RoundTrip(*http.Request) (*http.Response, error) { return nil, errNoAnswer }

// functionError says that a function gave no answer. It is the revision's own fault.
type functionError struct {
	name selvage.FunctionName
	err  error
}

func (e *functionError) Error() string { return fmt.Sprintf("function %q: %v", e.name, e.err) }

func (e *functionError) Unwrap() error { return e.err }

// asOwn makes what is no trap and no error of an origin an own fault.
func (e *functionError) asOwn() error {
	if selvage.OwnFault(e) {
		return e
	}
	return &selvage.ProxyError{Type: selvage.ProxyInternalError, Err: e}
}

type callKey struct{}

// call is one run of a function, as its requests to origins see it.
type call struct {
	f       *function
	by      *call         // the call that it was made in; nil if a client made it
	rec     record.Record // as it was when the function began; its requests' records begin so
	depth   int
	unsafe  atomic.Bool // it has asked an origin to change something
	dynamic dynamicOrigins
}

// callOf is the call that a request was made in, nil if a client made it.
func callOf(ctx context.Context) *call {
	c, _ := ctx.Value(callKey{}).(*call)
	return c
}

// RoundTrip implements http.RoundTripper: it runs the program, and where that
// fails before the first byte, does what the function says.
func (f *function) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := record.From(req.Context())
	c := &call{f: f, rec: *rec, depth: 1}
	if outer := callOf(req.Context()); outer != nil {
		if c.depth = outer.depth + 1; c.depth > maxFunctionDepth || outer.inside(f.name) {
			f.reg.metrics.LimitHit("function_depth")
			return nil, &selvage.ProxyError{Type: selvage.LoopDetected, Origin: rec.Target.Origin,
				Err: fmt.Errorf("function %q was called by itself, or functions by each other more than %d deep", f.name, maxFunctionDepth)}
		}
		c.by = outer
	}
	body := guestBodyOf(req)
	res, err := f.run(req, f.program, c, body)
	if err == nil || req.Context().Err() != nil {
		return res, err
	}
	if c.unsafe.Load() {
		rec.Target.Rescuable = false
	}
	if failed, ok := errors.AsType[*compute.Failed](err); ok {
		return nil, failed.Err // an origin's fault, and what becomes of that the route says
	}
	noteFunction(rec, err)
	if rec.Target.Rescuable && selvage.OwnFault(err) {
		return nil, err // the old revision has a better answer
	}
	return f.instead(req, c, body, err)
}

// inside says whether a function is among those that have called each other.
func (c *call) inside(name selvage.FunctionName) bool {
	for ; c != nil; c = c.by {
		if c.f.name == name {
			return true
		}
	}
	return false
}

// noteFunction writes down what ended a function, also where something else
// answers then. It does nothing for other errors but to keep their words.
func noteFunction(rec *record.Record, err error) {
	rec.Detail = err.Error()
	if limit, ok := errors.AsType[*compute.LimitError](err); ok {
		rec.LimitHit = "function_" + string(limit.Name)
	}
	if trap, ok := errors.AsType[selvage.Trap](err); ok {
		rec.Function.Trap = trap.Fingerprint()
	}
}

// noteUsage writes down what a function took, if it has ended. A limit that ends
// it goes before one that it went on after (noteFunction).
func noteUsage(rec *record.Record, w *guestAnswer) (ended bool) {
	usage, ended := w.used()
	if !ended {
		return false
	}
	rec.Function.CPU, rec.Function.Memory, rec.Function.Fetches = usage.CPU, int64(usage.Memory), usage.OriginRequests
	if len(usage.Hit) > 0 && rec.LimitHit == "" {
		rec.LimitHit = "function_" + string(usage.Hit[0]) // logs that were cut, fields that were refused, a wait for a sandbox
	}
	return true
}

// instead is what becomes of a request whose function failed.
func (f *function) instead(req *http.Request, c *call, body *guestBody, err error) (*http.Response, error) {
	if body != nil {
		body.end() // a program of several requests goes on, and may still ask for it
	}
	again := (body == nil || !body.touched.Load()) && !c.unsafe.Load()
	rec := record.From(req.Context())
	whole(req)
	switch {
	case f.fixed != nil:
		rec.Function.Failed = selvage.FailWithDefault
		return f.fixed.RoundTrip(req)
	case f.set.OnFailure == selvage.FailPass && f.pass != nil && again:
		rec.Function.Failed = selvage.FailPass
		return f.pass.RoundTrip(req)
	case f.set.OnFailure == selvage.FailWithPrevious && again:
		if old := f.reg.functions.before.of(f); old != nil {
			defer old.release()
			rec.Function.Failed = selvage.FailWithPrevious
			if res, err := f.run(req, old, c, guestBodyOf(req)); err == nil {
				return res, nil
			}
		}
	}
	return nil, err
}

// run runs a program. It returns when the answer's head may be sent on, or
// when there will be none.
func (f *function) run(req *http.Request, p *program, c *call, body *guestBody) (*http.Response, error) {
	if !f.rev.acquire() {
		return nil, selvage.Errorf(selvage.Unavailable, "function %q: its revision has ended", f.name)
	}
	t := f.turn(req, p.keep(), c, body)
	if !p.follows(t) {
		f.reg.functions.running.run(t)
	}
	err := t.w.wait()
	rec := record.From(req.Context())
	rec.Function.Name = f.name
	ended := noteUsage(rec, &t.w)
	if err != nil {
		if cause := context.Cause(req.Context()); cause != nil {
			return nil, fmt.Errorf("function %q: %w", f.name, errors.Join(context.Canceled, cause))
		}
		if failed, ok := errors.AsType[*compute.Failed](err); ok {
			return nil, failed
		}
		return nil, (&functionError{f.name, err}).asOwn()
	}
	rec.Function.Streams = !ended
	return t.w.response(), nil
}

// say hands on what a function writes to a log.
func (f *function) say(c *call, endpoint string, text []byte) {
	f.reg.functions.hear(telemetry.FunctionLine{
		Tenant: f.reg.functions.tenant, Service: f.rev.service.Service, Revision: f.rev.id, Function: f.name, Place: f.reg.functions.place,
		Endpoint: endpoint, TraceID: c.rec.Trace.TraceID, Text: text,
	})
}
