package node

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/route"
)

// whyFrom is who asks where the question does not say.
var whyFrom = netip.AddrFrom4([4]byte{127, 0, 0, 1})

// Why says what would be done with a request, by the stages that do it, and why.
// No origin is asked, no allowance is taken, and nothing that is stored notices.
// An error is of kind [selvage.Invalid] for a request that cannot be, of kind
// [selvage.NotFound] where no service has its host.
func (n *Node) Why(ctx context.Context, r client.WhyRequest) (*client.Why, error) {
	rec := new(record.Record)
	req, err := whyRequest(record.NewContext(ctx, rec), &r, rec)
	if err != nil {
		return nil, err
	}
	x := exchange{node: n, r: req, rec: rec}
	x.begin()
	clean, err := route.Clean(target(req))
	if err != nil {
		return nil, selvage.Errorf(selvage.Invalid, "%.80q: %w", r.URL, err)
	}
	x.path, x.query, x.queried = strings.Cut(clean, "?")
	if !x.pin() {
		return nil, selvage.Errorf(selvage.NotFound, "no service has the host %.80q", req.Host)
	}
	defer x.rev.release()
	w := &client.Why{
		Node: string(n.place.Node), POP: string(n.place.POP), At: time.Now(),
		Service: string(x.rev.service.Service), Revision: string(x.rev.id), Steps: []client.WhyStep{},
	}
	if x.served.canary != nil { // where all have the same there are no sides
		w.Change, w.Arm = string(rec.Target.Change), string(rec.Target.Arm)
	}
	if err := x.why(w); err != nil {
		return nil, err
	}
	return w, n.whyElsewhere(ctx, w)
}

// why fills in what the stages from the route on would do.
func (x *exchange) why(w *client.Why) error {
	step := func(rule, format string, args ...any) {
		w.Steps = append(w.Steps, client.WhyStep{Rule: rule, Words: fmt.Sprintf(format, args...)})
	}
	m, ok := x.rev.match(x.r, x.path)
	if !ok {
		w.Verdict, w.Words = "refused", "404: no route of "+w.Service+" matches"
		if m.Miss == route.NoMethod {
			w.Words = "405: no route of " + w.Service + " takes " + x.r.Method + " here"
		}
		return nil
	}
	x.route, x.pol.Captures = &x.rev.routes[m.Index], m.Captures
	w.Route = string(x.route.name)
	how := "not cached"
	if x.route.cache != nil {
		how = "cached"
	}
	step("route", "%s of %s, %s", w.Route, w.Service, how)
	if w.Change != "" {
		step("rollout", "%s: this client is on the side of the %s", w.Change, w.Arm)
	}
	out := &x.outgoing(upgradeOf(x.r.Header)).req
	x.route.coding.delivered.Ask(out.Header)
	if a := x.route.policies.Look(x.asked(out)); a != nil {
		w.Verdict, w.Words = "answered", strings.TrimSuffix(fmt.Sprintf("%d by a policy: %s", a.Status, cmp.Or(x.rec.Detail, a.Header.Get("Location"))), ": ")
		return nil
	}
	if words := ladder(x.rev.service.Routes[m.Index].OnFailure); words != "" {
		step("failure", "%s", words)
	}
	if x.byFunction(w, &x.rev.service.Routes[m.Index]) {
		return nil
	}
	if x.route.cache == nil {
		w.Verdict, w.Words, w.Then = "forwarded", "the route has no cache", "the origin is asked each time"
		return nil
	}
	account, err := x.route.cache.Why(out)
	if err != nil {
		return selvage.Errorf(selvage.Invalid, "read the request: %w", err)
	}
	x.node.tellWhy(w, account)
	return nil
}

// byFunction says what functions have to do with the route, and whether one answers
// on it: then the cache is asked by what the function asks for.
func (x *exchange) byFunction(w *client.Why, r *selvage.Route) bool {
	s := &x.rev.service
	if r.Function == "" {
		if maker := s.Origins[r.Origin].Function; maker != "" {
			words := fmt.Sprintf("the function %s makes what origin %s answers", maker, r.Origin)
			w.Steps = append(w.Steps, client.WhyStep{Rule: "function", Words: words})
		}
		return false
	}
	w.Verdict, w.Words = "answered", fmt.Sprintf("by the function %s, which runs for each request", r.Function)
	if x.route.cache != nil {
		w.Then = "what it asks its origins for goes through the route's cache"
	}
	return true
}

// ladder is a route's failure ladder in words, empty for one without rungs.
func ladder(rungs []selvage.Rung) string {
	var words []string
	for _, r := range rungs {
		if r.Stale {
			words = append(words, "what is stored, stale")
		}
		if r.Default != nil {
			words = append(words, fmt.Sprintf("the default answer, %d", r.Default.Status))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return "where the origin fails: " + strings.Join(words, ", then ")
}

// tellWhy puts the cache's account into a node's, with what the feed says of purges.
func (n *Node) tellWhy(w *client.Why, account *cache.Why) {
	w.Verdict, w.Words, w.Then, w.CacheStatus = string(account.Verdict), account.Words, account.Then, account.Status
	for _, s := range account.Steps {
		one := client.WhyStep{Rule: s.Rule, Words: s.Words, Section: s.Section, Against: s.Against}
		if p, ok := n.purges.known(s.Purge); ok {
			one.Purge = &client.WhyPurge{Position: uint64(p.feed), At: p.time, Who: p.who}
			if account.Facts.Detail == "purged" {
				w.Words = fmt.Sprintf("nothing fresh is stored, it was purged %d s ago", int(w.At.Sub(p.time).Seconds()))
			}
		}
		w.Steps = append(w.Steps, one)
	}
}

// whyElsewhere names the other nodes. Who has them in his process asks them.
func (n *Node) whyElsewhere(ctx context.Context, w *client.Why) error {
	nodes, err := n.nodes(ctx)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(nodes)) {
		if name != n.place.Node {
			w.Elsewhere = append(w.Elsewhere, client.WhyElsewhere{
				Node: string(name), POP: string(nodes[name].POP), Words: "not asked: name its admin address with --address",
			})
		}
	}
	return nil
}

// whyRequest is the request that is asked about, as the server would have read it.
func whyRequest(ctx context.Context, r *client.WhyRequest, rec *record.Record) (*http.Request, error) {
	u, err := url.Parse(r.URL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || len(r.URL) > maxURL:
		return nil, selvage.Errorf(selvage.Invalid, "%.80q is no URL that begins with http:// or https://", r.URL)
	case u.User != nil:
		return nil, selvage.Errorf(selvage.Invalid, "%.80q: a URL with a user is never stored", r.URL)
	}
	method := cmp.Or(r.Method, http.MethodGet)
	switch method {
	case http.MethodConnect, http.MethodTrace, methodPurge:
		return nil, selvage.Errorf(selvage.Invalid, "method %s: the cache is asked nothing by it", method)
	}
	from := whyFrom
	if r.From != "" {
		if from, err = netip.ParseAddr(r.From); err != nil {
			return nil, selvage.Errorf(selvage.Invalid, "from %.80q: write an IP address", r.From)
		}
	}
	rec.Client.Peer = netip.AddrPortFrom(from, 0)
	if u.Scheme == "https" {
		rec.Client.TLS = tls.VersionTLS13
	}
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", method, u.RequestURI(), u.Host)
	for _, line := range r.Fields {
		name, value, ok := strings.Cut(line, ":")
		if !ok || name == "" || strings.ContainsAny(name, " \t\"(),/;<=>?@[\\]{}") || strings.ContainsAny(line, "\r\n") {
			return nil, selvage.Errorf(selvage.Invalid, "%.80q is no header field: write Name: value", line)
		}
		fmt.Fprintf(&head, "%s: %s\r\n", name, strings.Trim(value, " \t"))
	}
	req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head.String() + "\r\n")))
	if err != nil {
		return nil, selvage.Errorf(selvage.Invalid, "read the request: %w", err)
	}
	req.Body, req.ContentLength = http.NoBody, int64(len(r.Body))
	if r.Body != "" {
		req.Body = io.NopCloser(strings.NewReader(r.Body))
	}
	return req.WithContext(ctx), nil
}
