package node

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/policy"
	"github.com/selvage-edge/selvage/record"
)

// joinArm prepares a canary's request for what may become of it: its arm may be
// undone while it runs, and it may have to run again on the old revision.
func (x *exchange) joinArm() {
	if x.rec.Target.Arm != selvage.Canary || x.served.cut == nil {
		return
	}
	x.rec.Target.Rescuable = x.served.baseline != nil && !x.rec.Target.Forced && isIdempotent(x.r.Method) &&
		(x.r.Body == nil || x.r.Body == http.NoBody) && upgradeOf(x.r.Header) == ""
	x.under = x.served.cut.join(x.r.Context())
	if x.rec.Target.Rescuable {
		x.under.came = x.r.Header // which stays as it came: see headerAcross
	}
	x.under.req = *x.r.WithContext(x.under)
	x.r = &x.under.req
}

func (x *exchange) leaveArm() {
	if x.under != nil {
		x.served.cut.leave(x.under)
	}
}

// isIdempotent says whether a method may be repeated (RFC 9110, section 9.2.2).
func isIdempotent(method string) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodPut, http.MethodDelete, "QUERY":
		return true
	}
	return false
}

// rescue runs a request that a canary failed by its own fault once more, on the
// old revision, if nothing of an answer was sent. Who asked is not hurt; the
// making was counted as bad. It says whether it did.
func (x *exchange) rescue(err error) bool {
	t := &x.rec.Target
	undone := errors.Is(context.Cause(x.r.Context()), errUndone)
	if t.Arm != selvage.Canary || !t.Rescuable || x.rec.Answer.Status != 0 || !undone && (!selvage.OwnFault(err) || x.r.Context().Err() != nil) {
		return false
	}
	old := x.served.baseline
	if !old.acquire() {
		return false
	}
	if watch := x.served.watch.of(x.rec); watch != nil && !undone {
		watch.Rescued()
	}
	x.rev.release()
	x.leaveArm()
	x.rev, t.Arm, t.Rescued, t.Rescuable = old, selvage.Baseline, true, false
	x.rec.Origin, x.rec.Cache, x.rec.Detail, x.rec.LimitHit = record.Origin{}, record.Cache{}, "", ""
	x.pol = policy.Exchange{}
	clear(x.w.Header())
	x.r = x.r.WithContext(x.under.Context)
	x.r.Header = x.under.came
	if x.findIn() {
		x.serve()
	}
	return true
}

// classOf is the class by which the arms are compared: the route that rev has
// for the request. A canary may rename its routes and split them.
func (x *exchange) classOf(rev *revision) selvage.RouteName {
	if rev != nil {
		if m, ok := rev.match(x.r, x.path); ok {
			return rev.routes[m.Index].name
		}
	}
	return "none"
}

// other is the route that the other arm has for the request, nil if it has none
// or there is no other arm.
func (x *exchange) other() *compiledRoute {
	rev := x.served.canary
	if x.rec.Target.Arm == selvage.Canary {
		rev = x.served.baseline
	}
	if rev == nil {
		return nil
	}
	m, ok := rev.match(x.r, x.path)
	if !ok {
		return nil
	}
	return &rev.routes[m.Index]
}

// madeNothing counts that an arm has no route where the other one has. Where both
// have none, it says nothing of the change.
func (x *exchange) madeNothing() {
	if x.served.canary == nil {
		return
	}
	if x.other() == nil {
		return
	}
	x.rec.Target.Class = x.classOf(x.served.baseline)
	x.made(http.StatusNotFound, nil, 0)
}

// madeByPolicy counts an answer of a policy where the arms' routes differ: what
// both would say in the same words tells nothing of the change, and a flood of it
// would open the gates.
func (x *exchange) madeByPolicy(a *policy.Answer) {
	if x.served.canary == nil {
		return
	}
	if other := x.other(); a.Status < http.StatusInternalServerError && other != nil && other.rules == x.route.rules && other.rules != "" {
		return
	}
	x.made(a.Status, a.Header, len(a.Body))
}

// made counts an answer that the arm made without asking anybody.
func (x *exchange) made(status int, h http.Header, bytes int) {
	watch := x.served.watch.of(x.rec)
	if watch == nil {
		return
	}
	m := begin(watch, x.rec, x.r, time.Now())
	o := judge.Outcome{
		Latency: max(time.Since(x.rec.Start)-x.rec.Timing.Head, 1), Bytes: int64(bytes),
		NoBody: status == http.StatusNoContent || x.r.Method == http.MethodHead,
	}
	switch {
	case status >= http.StatusInternalServerError:
		o.Bad, o.NoBody = o.Bad.With(judge.OwnError), true
	case redirects(status) && circles(x.rec, x.query, h):
		o.Bad, o.NoBody = o.Bad.With(judge.Hollow), true
	}
	m.status = status
	m.end(o)
}

// givenAgain counts an answer of failure that the canary made once and that is
// given to one more user.
func (x *exchange) givenAgain(status int) {
	if status < http.StatusInternalServerError || x.rec.Target.Arm != selvage.Canary || !x.rec.Cache.Hit && !x.rec.Cache.Collapsed {
		return
	}
	if watch := x.served.watch.of(x.rec); watch != nil {
		watch.Stored()
	}
}
