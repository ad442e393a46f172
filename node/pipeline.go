package node

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
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
	match    route.Match
	unpinned bool
	path     string // normalised: what is matched is what the origin sees
	query    string
	queried  bool // there is a query: tells /a? from /a
	pol      policy.Exchange
	asked    *http.Request // as it came, outside what an undo cuts
	url      url.URL       // of an answer as it lies
	came     http.Header   // the fields as they came, where the request may run again on the old revision
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
	interim := passInterim{w: w}
	ctx := r.Context()
	if r.ProtoAtLeast(1, 1) {
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{Got1xxResponse: interim.pass})
	}
	out := x.outgoing(ctx, "")
	x.route.coding.delivered.Ask(out.Header)
	if x.answeredByPolicy(out) {
		return
	}
	resp, err := x.forward(out)
	interim.stop()
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
	x.match, x.route = m, &x.rev.routes[m.Index]
	if x.r.Method == http.MethodTrace && !x.route.traces {
		x.madeNothing()
		x.noMethod()
		return false
	}
	t.Route, t.Origin, t.Log, t.Class = x.route.name, x.route.origin, x.route.log, x.route.name
	if x.route.replay && x.r.Method == http.MethodGet {
		x.node.registry.recorded.note(x)
	}
	if t.Arm == selvage.Canary {
		t.Class = x.classOf(x.served.baseline)
	}
	return true
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

// outgoing is the request as the origin side gets it. Without policies that
// look at the request as it came, the client's header is made over in place:
// nobody else reads it, and a copy would cost every request. upgrade is the
// protocol asked for, empty if none.
func (x *exchange) outgoing(ctx context.Context, upgrade string) *http.Request {
	h := x.r.Header
	if !x.route.policies.Empty() {
		h = h.Clone()
	}
	trailers := listHas(h["Te"], "trailers")
	dropHopByHop(h)
	dropAmbiguous(h)
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	tls := x.rec.Client.TLS != 0
	forwarded(h, x.who, x.rec.Client.Peer.Addr().Unmap(), x.r.Host, tls)
	via(h, x.r.Proto)
	if before := h["Cdn-Loop"]; len(before) > 0 {
		h["Cdn-Loop"] = append(slices.Clip(before), x.node.loopEntry...)
	} else {
		h["Cdn-Loop"] = x.node.loopEntry
	}
	telemetry.Inject(h, x.rec)
	u := &url.URL{Scheme: "http", Host: x.r.Host, RawQuery: x.query, ForceQuery: x.queried && x.query == ""}
	if tls {
		u.Scheme = "https"
	}
	route.SetPath(u, x.path)
	if x.route.rewrites || x.who.trusted {
		own := *u
		own.Scheme, own.Host = asForwarded(h, u.Scheme, u.Host)
		ctx = cache.WithURL(ctx, &own)
	}
	if ctx != x.r.Context() {
		ctx = valuesContext{ctx, x.r.Context()}
	}
	out := x.r.WithContext(ctx)
	out.Header, out.URL = h, u
	out.RequestURI = ""
	out.Close = false
	if out.ContentLength == 0 {
		out.Body = http.NoBody
	}
	return out
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

// answeredByPolicy runs the policies of the route, and answers if one of them does.
func (x *exchange) answeredByPolicy(out *http.Request) bool {
	x.pol = policy.Exchange{
		In: x.r, Out: out, Client: x.who.client, Path: x.path, Captures: x.match.Captures, Now: time.Now(),
	}
	a := x.route.policies.Request(&x.pol)
	if a == nil {
		return false
	}
	x.madeByPolicy(a)
	h := x.w.Header()
	maps.Copy(h, a.Header)
	x.route.policies.Response(&x.pol, h)
	x.showArm(h)
	if a.Status >= http.StatusInternalServerError {
		x.rec.WhyBad = record.OwnError
	}
	h["Content-Length"] = []string{strconv.Itoa(len(a.Body))}
	if a.Status == http.StatusNoContent {
		delete(h, "Content-Length")
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

// passInterim hands interim answers of the origin to the client (RFC 9110,
// section 15.2). 100 is not among them: each side sends its own.
type passInterim struct {
	mu sync.Mutex
	w  http.ResponseWriter // guarded by mu; nil once the final answer is there
}

func (p *passInterim) pass(code int, header textproto.MIMEHeader) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.w == nil || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil
	}
	h := p.w.Header()
	maps.Copy(h, header)
	dropHopByHop(h)
	p.w.WriteHeader(code)
	clear(h)
	return nil
}

// stop ends the passing: from here on the header belongs to the final answer.
func (p *passInterim) stop() {
	p.mu.Lock()
	p.w = nil
	p.mu.Unlock()
}
