package node

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/rollout"
)

// controlUnit tells the client of a control's makings from the one whose request
// caused them: each of the two has bads of his own, which count as a client's do.
const controlUnit = 1 << 63

// pair gives a canary's GET something to be compared with. A change of what a cached
// route answers makes what the old revision has in store, and nobody would make
// that in the other arm. So the old revision makes it too, at the same time and by the same
// way: in the background, for nobody. The two are a class of their own, in which
// each making of the canary has its counterpart: what is in store is seldom like
// what is not.
func (x *exchange) pair(out *http.Request) {
	t := &x.rec.Target
	if t.Arm != selvage.Canary || !t.Rescuable || x.r.Method != http.MethodGet || t.Change == "" {
		return
	}
	old := x.served.baseline
	place, captures := x.place, &x.pol.Captures
	if !x.served.sameRoute {
		m, ok := old.match(x.r, x.path)
		if !ok {
			return
		}
		place, captures = m.Index, &m.Captures
	}
	route, own := &old.routes[place], x.route.cache
	if route.cache == nil || old.service.Routes[place].Function != "" {
		return // all that is asked for is made
	}
	if own != nil && x.rev.service.Routes[x.place].Function == "" && (own.Shares(route.cache) || !own.Makes(out)) {
		return // and this is not
	}
	if !old.acquire() {
		return
	}
	defer old.release()
	control := x.control(old)
	control.pol.Captures, control.route = *captures, route
	req := control.asMade()
	if req == nil {
		return
	}
	switch stored, begun := route.cache.Anew(control.rec, req); {
	case begun:
		t.Class = route.name + rollout.Stored
	case stored: // what is popular, or slow, would be more of one arm than of the other
		t.Class = route.name + rollout.Unpaired
	}
}

// control is the canary's request as the old revision's, with a record of its own.
func (x *exchange) control(old *revision) *exchange {
	rec := &record.Record{
		Start: time.Now(), Place: x.rec.Place, Client: x.rec.Client, Request: x.rec.Request, Trace: x.rec.Trace, Target: x.rec.Target,
	}
	r := x.r.WithContext(record.NewContext(context.Background(), rec))
	r.Header = x.under.came.Clone()
	return &exchange{
		node: x.node, r: r, rec: rec, who: x.who, rev: old, path: x.path, query: x.query, queried: x.queried,
	}
}

// asMade is what goes across, nil where a policy would answer.
func (x *exchange) asMade() *http.Request {
	t := &x.rec.Target
	t.Arm, t.Revision, t.Route, t.Origin, t.Rescuable = selvage.Baseline, x.rev.id, x.route.name, x.route.origin, false
	t.Class, t.Unit = x.route.name+rollout.Stored, t.Unit^controlUnit
	out := &x.outgoing("").req
	x.route.coding.delivered.Ask(out.Header)
	if x.route.policies.Look(x.asked(out)) != nil {
		return nil
	}
	return out
}

// isPaired says whether a making is of what the old revision has in store.
func isPaired(class selvage.RouteName) bool { return strings.HasSuffix(string(class), rollout.Stored) }
