package node

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/http1"
	"github.com/selvage-edge/selvage/route"
)

// A hit that nobody between the cache and the client changes is written as it lies
// in the store: no request is made of it that would go across, and no header of its
// own. All that says otherwise takes the ordinary way, which gives the same answer.

// addedAcross are the fields that outgoing adds or changes.
var addedAcross = []string{
	"Cdn-Loop", clientCert, "Connection", "Forwarded", "Te", "Traceparent", "Tracestate", "Upgrade", "Via",
	"X-Forwarded-For", "X-Forwarded-Host", "X-Forwarded-Proto", "X-Request-Id",
}

// leavesAsItLies says whether a route changes nothing of what its cache has. A
// rewrite is a policy, and a cache that compresses has nothing ready.
func (cr *compiledRoute) leavesAsItLies() bool { return cr.cache != nil && cr.policies.Empty() }

// asksPlainly says whether a header goes across with nothing taken out of it.
func asksPlainly(h http.Header) bool {
	for name, values := range h {
		if name == "Connection" && len(values) == 1 && (values[0] == "keep-alive" || values[0] == "close") {
			continue
		}
		if isAmbiguous(name) || isHearsay(name) || slices.Contains(hopByHop[:], name) {
			return false
		}
	}
	return true
}

// answeredAsItLies answers with a hit as it lies in the store, if it can. Ours of
// HTTP/1.1 alone can write that.
func (x *exchange) answeredAsItLies() bool {
	w, own := x.w.(interface{ SetFields(http1.Fields, int64) })
	r := x.r
	if !own || !x.route.asItLies || r.Method != http.MethodGet || r.Body != http.NoBody || x.who.trusted || x.rec.Target.Forced ||
		!asksPlainly(r.Header) {
		return false
	}
	x.url = url.URL{Scheme: "http", Host: r.Host, RawQuery: x.query, ForceQuery: x.queried && x.query == ""}
	if x.rec.Client.TLS != 0 {
		x.url.Scheme = "https"
	}
	route.SetPath(&x.url, x.path)
	hit := x.route.cache.Ready(x.rec, r.Header, &x.url)
	if hit == nil {
		return false
	}
	defer hit.Close()
	w.SetFields(readyFields{hit}, hit.Len())
	x.w.WriteHeader(http.StatusOK)
	if _, err := x.w.Write(hit.Body()); err != nil {
		x.broken(&copyError{err: err})
	}
	return true
}

// readyFields are the stored fields and our entry of Via: what is stored has none.
type readyFields struct{ *cache.Ready }

// AppendFields implements http1.Fields.
func (f readyFields) AppendFields(b []byte) []byte {
	return append(f.Ready.AppendFields(b), "Via: 1.1 "+Pseudonym+"\r\n"...)
}
