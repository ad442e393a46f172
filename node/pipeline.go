package node

import (
	"io"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/policy"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/route"
	"github.com/selvage-edge/selvage/telemetry"
)

// exchange is one request on its way through the stages. It lives as long as
// the handler runs and is not shared.
type exchange struct {
	node     *Node
	w        http.ResponseWriter
	r        *http.Request
	rec      *record.Record
	who      party
	served   *served
	unit     [16]byte // its hash is made in place
	ticket   ticket
	pass     string // to an arm
	rev      *revision
	route    *compiledRoute
	place    int    // the route's, in its revision
	path     string // normalised: what is matched is what the origin sees
	query    string
	queried  bool // there is a query: tells /a? from /a
	unpinned bool
	pol      policy.Exchange
	under    *cutContext // what an undo cuts; nil where none can
	url      url.URL     // of an answer as it lies
}

// ServeHTTP is the order of the stages, and the only place that has it: host,
// route, policies, then across to the origin side, where the failure ladder is
// around the cache and the cache around the origin, and back.
func (n *Node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	x := exchange{node: n, w: w, r: r, rec: record.From(r.Context())}
	x.begin()
	if !x.findRoute() {
		return
	}
	defer x.unpin()
	x.serve()
}

// serve runs the request on its revision.
func (x *exchange) serve() {
	r, w := x.r, x.w
	if ask := upgradeOf(r.Header); ask != "" && r.ProtoMajor == 1 && r.ProtoMinor > 0 {
		x.upgrade(ask)
		return
	}
	if x.answeredAsItLies() {
		return
	}
	if x.route.upstream == nil && x.answeredByPolicy(&http.Request{Header: http.Header{}, Body: r.Body}) {
		return // nothing goes across: no policy of such a route looks at more
	}
	var out *crossing
	if x.route.function && r.ContentLength == 0 && !x.who.trusted && x.rec.Target.Arm != selvage.Canary {
		out = x.forFunction()
	} else {
		out = x.outgoing("")
	}
	if r.ProtoAtLeast(1, 1) {
		out.passTo(w)
	}
	x.route.coding.delivered.Ask(out.req.Header)
	if x.answeredByPolicy(&out.req) {
		return
	}
	x.pair(&out.req)
	resp, err := x.forward(&out.req)
	out.stop()
	if err != nil {
		if !x.rescue(err) {
			x.fail(err)
		}
		return
	}
	x.answer(resp)
}

// begin notes who asks, before anything is decided.
func (x *exchange) begin() {
	rec, n := x.rec, x.node
	rec.Place = n.place
	peer := rec.Client.Peer.Addr().Unmap()
	x.who = whoAsks(peer, x.r.Header, n.settings().TrustedProxies)
	rec.Client.Addr = x.who.client
	x.takePass()
	telemetry.Continue(x.r.Header, rec)
}

// findRoute finds the service and the route and pins the revision. Without one
// it answers.
func (x *exchange) findRoute() bool {
	r, rec := x.r, x.rec
	switch {
	case r.Method == http.MethodConnect:
		x.noMethod()
		return false
	case looped(r.Header["Cdn-Loop"], x.node.place.Node):
		rec.Detail, rec.WhyBad = "loop: CDN-Loop names this node", record.OwnError
		x.w.Header().Set("Proxy-Status", Pseudonym+"; error=proxy_loop_detected")
		refuse(x.w, rec, http.StatusLoopDetected, "the request has been here before")
		return false
	case r.RequestURI == "*" || r.Method == http.MethodOptions && lastHop(r.Header):
		x.w.Header().Set("Allow", "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS")
		x.w.WriteHeader(http.StatusNoContent)
		return false
	}
	clean, err := route.Clean(target(r))
	if err != nil {
		rec.Detail = err.Error()
		if r.ProtoMajor == 1 { // as for everything else that is malformed
			x.w.Header()["Connection"] = []string{"close"}
		}
		refuse(x.w, rec, http.StatusBadRequest, "the path is malformed")
		return false
	}
	x.path, x.query, x.queried = strings.Cut(clean, "?")
	rec.Request.Path = x.path
	if !x.pin() {
		x.noService()
		return false
	}
	if r.Method == methodPurge {
		rec.Target.Tenant, rec.Target.Service, rec.Target.Revision = x.rev.tenant, x.rev.service.Service, x.rev.id
		x.purge()
		x.unpin()
		return false
	}
	if !x.findIn() {
		x.unpin()
		return false
	}
	x.joinArm()
	return true
}

// findIn finds the route in the pinned revision. Without one it answers.
func (x *exchange) findIn() bool {
	t := &x.rec.Target
	t.Tenant, t.Service, t.Revision = x.rev.tenant, x.rev.service.Service, x.rev.id
	m, ok := x.rev.match(x.r, x.path)
	if !ok {
		x.madeNothing()
		x.noRoute(m.Miss)
		return false
	}
	x.pol.Captures, x.place, x.route = m.Captures, m.Index, &x.rev.routes[m.Index]
	if x.r.Method == http.MethodTrace && !x.route.traces {
		x.madeNothing()
		x.noMethod()
		return false
	}
	t.Route, t.Origin, t.Log, t.Class = x.route.name, x.route.origin, x.route.log, x.route.name
	if x.route.replay && x.r.Method == http.MethodGet {
		x.node.registry.recorded.note(x)
	}
	switch {
	case t.Arm != selvage.Canary:
	case x.served.sameRoute:
		t.Class = x.served.baseline.routes[m.Index].name
	default:
		t.Class = x.classOf(x.served.baseline)
	}
	return true
}

// matchesAs says whether match finds the same route in both, by its place.
func (rev *revision) matchesAs(other *revision) bool {
	return slices.Equal(rev.service.Hosts, other.service.Hosts) &&
		slices.EqualFunc(rev.service.Routes, other.service.Routes, func(a, b selvage.Route) bool {
			return reflect.DeepEqual(a.Match, b.Match) && (a.CORS == nil) == (b.CORS == nil)
		})
}

func (x *exchange) noMethod() {
	x.rec.Detail = "method " + x.r.Method + " is not served"
	refuse(x.w, x.rec, http.StatusMethodNotAllowed, "this method is not served here")
}

// match matches a CORS preflight request as the request that it asks for, if
// that route has CORS: OPTIONS itself seldom has a route.
func (rev *revision) match(r *http.Request, path string) (route.Match, bool) {
	if method, ok := policy.Preflight(r); ok {
		m, ok := rev.table.Match(r.Host, method, path)
		if ok && rev.routes[m.Index].policies.Preflights() {
			return m, true
		}
	}
	return rev.table.Match(r.Host, r.Method, path)
}

// noService answers for a host that nobody has. Over TLS the client may have
// come on a connection that it opened for another name (RFC 9110, section 15.5.20).
func (x *exchange) noService() {
	status := http.StatusNotFound
	if x.rec.Client.TLS != 0 {
		status = http.StatusMisdirectedRequest
	}
	refuse(x.w, x.rec, status, "no service has this host")
}

func (x *exchange) noRoute(why route.Miss) {
	if why == route.NoHost { // the other arm's
		x.noService()
		return
	}
	if why == route.NoMethod {
		x.w.Header().Set("Allow", strings.Join(x.rev.table.Allow(x.r.Host, x.path), ", "))
		refuse(x.w, x.rec, http.StatusMethodNotAllowed, "this method is not served here")
		return
	}
	refuse(x.w, x.rec, http.StatusNotFound, "nothing is here")
}

// unpin lets go of the revision, once.
func (x *exchange) unpin() {
	if x.rev == nil || x.unpinned {
		return
	}
	x.unpinned = true
	x.rev.release()
	x.leaveArm()
}

// target is the request's path and query as they came. The absolute form was
// checked against Host by the parser.
func target(r *http.Request) string {
	if strings.HasPrefix(r.RequestURI, "/") {
		return r.RequestURI
	}
	t := r.URL.EscapedPath()
	if t == "" {
		t = "/"
	}
	if r.URL.RawQuery != "" || r.URL.ForceQuery {
		t += "?" + r.URL.RawQuery
	}
	return t
}

// forward sends the request across.
func (x *exchange) forward(out *http.Request) (*http.Response, error) {
	if out.Body != nil && out.Body != http.NoBody { // outside what the policies made of it
		dropFromTrailer(out.Trailer, out.Header)
		out.Body = &clientBody{
			ReadCloser: out.Body, out: out, rec: x.rec, total: x.node.settings().Deadlines.Total.Std(), w: x.w,
		}
	}
	return x.route.upstream.RoundTrip(out)
}

// asked is what the policies are asked about. What the match captured is there already.
func (x *exchange) asked(out *http.Request) *policy.Exchange {
	x.pol.In, x.pol.Out, x.pol.Client, x.pol.Path, x.pol.Now = x.r, out, x.who.client, x.path, time.Now()
	return &x.pol
}

// answeredByPolicy runs the policies of the route, and answers if one of them does.
func (x *exchange) answeredByPolicy(out *http.Request) bool {
	if x.route.policies.Empty() {
		return false
	}
	a := x.route.policies.Request(x.asked(out))
	if a == nil {
		return false
	}
	x.madeByPolicy(a)
	h := a.Header // the answer's own
	if s, ok := x.w.(interface{ SetHeader(http.Header) }); ok {
		s.SetHeader(h)
	} else {
		h = x.w.Header()
		maps.Copy(h, a.Header)
	}
	x.route.policies.Response(&x.pol, h)
	x.showArm(h)
	if a.Status >= http.StatusInternalServerError {
		x.rec.WhyBad = record.OwnError
	}
	if a.Status == http.StatusNoContent {
		delete(h, "Content-Length")
	} else {
		h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	}
	x.w.WriteHeader(a.Status)
	_, _ = io.WriteString(x.w, a.Body) // the server sees that the client is gone
	return true
}

// fail answers for an origin that gave no answer. The route's policies have
// their say on that answer too, so that a page on another site can read it.
func (x *exchange) fail(err error) {
	x.route.policies.Response(&x.pol, x.w.Header())
	x.showArm(x.w.Header())
	originFailed(x.w, x.r, x.rec, err)
}
