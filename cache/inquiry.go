package cache

import (
	"net/http"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// inquiry is one request on its way through the cache, as far as the cache
// looks at it. It belongs to the request's own goroutine.
type inquiry struct {
	req        *http.Request
	rec        *record.Record
	exact      Key // of the URL, by the policy's rules
	key        Key // by which it is looked up
	now        time.Time
	directives requestDirectives
	traits     traits
	partial    bool   // it has a Range
	form       string // the variant of the coder that the client wants, empty for none
	// What was stored and why it did not do, once looked up.
	found found
	views *views // what was found may be in
	visit *visit // that it is a part of
	// lone: the request is a hit, and nobody else has seen anything of the visit.
	lone bool
	fwd  string
	// detail is why the cache keeps out of it.
	detail string
	// looks: nothing is done to the request, and what is stored does not notice.
	looks bool
	order // of one forward, where it is for a part
	// The origin failed: what is stored is used as far as it may stand in.
	standsIn bool
	post     *posted   // of a POST whose answer may be one to GET
	override *Override // nil: there is none
	// content is the body of a QUERY, which every forward sends.
	content []byte
}

// order is what a forward for a part of an answer is to bring.
type order struct {
	want   string  // the Range, empty for the whole
	wantAt int64   // the position that it must bring
	about  *answer // the whole whose stored parts are asked about; may be nil
	whole  *answer // the stored whole that it is to belong to; may be nil
	ahead  bool    // nobody waits for it yet, see [source.lookAhead]
	// For the whole: stored answers that other fields select, one of which the origin may choose.
	others []*answer
}

// traits are what keeps two requests for one key from waiting for one forward
// while nobody knows whether its answer can be shared.
type traits struct{ authorization, cookie, certificate bool }

// traitsOf are those of a request's header. Cookies that are in the key are none, nor is a certificate that is.
func (t *Transport) traitsOf(h http.Header) traits {
	return traits{len(h["Authorization"]) > 0, !t.keys.coversCookies(h), len(h["Client-Cert"]) > 0 && !t.keys.has("Client-Cert")}
}

func (t *Transport) newInquiry(req *http.Request) *inquiry {
	key, override := keyAndOverride(&t.scope, req)
	q := t.inquire(visits.Get().(*visit), req, record.From(req.Context()), key)
	q.override = override
	return q
}

// inquire begins a visit with a request, which has this key but for what the policy makes of it.
func (t *Transport) inquire(v *visit, req *http.Request, rec *record.Record, key Key) *inquiry {
	h := req.Header
	key = t.keys.applied(key)
	key.Fields, key.Overlay = t.keys.fields(h), t.scope.Layer.id()
	q := &v.inquiry
	q.visit, q.views = v, &v.views
	q.req, q.rec, q.now = req, rec, time.Now()
	q.exact, q.key = key, key
	q.directives = readRequestDirectives(h["Cache-Control"]).without(t.rules.ignored)
	q.traits = t.traitsOf(h)
	q.partial = req.Method == http.MethodGet && len(h["Range"]) > 0
	return q
}

// overrides are fields by which frameworks let a request mean another method
// or another path than it says. What they change is not in the key.
var overrides = [...]string{
	"X-Http-Method-Override", "X-Http-Method", "X-Method-Override", "X-Original-Url", "X-Rewrite-Url",
}

// Why a request bypasses the cache.
const (
	bypassBody         = "body"         // a GET or HEAD has one
	bypassQuery        = "query-size"   // a QUERY's is too long to be in the key
	bypassUpgrade      = "upgrade"      // to another protocol
	bypassPrecondition = "precondition" // what the origin has must be compared with
	bypassOverride     = "override"     // a field that may mean another method or path
)

// enter says in fwd and detail what keeps the cache out of the request; fwd is
// empty if nothing does. The body of a QUERY is read to its end: it is part of the key.
func (q *inquiry) enter() error {
	switch q.req.Method {
	case http.MethodGet, http.MethodHead:
		if hasBody(q.req) {
			q.fwd, q.detail = fwdBypass, bypassBody
			return nil
		}
	case methodQuery:
		whole, err := q.readContent()
		if err != nil {
			return err
		}
		if !whole {
			q.fwd, q.detail = fwdBypass, bypassQuery
			return nil
		}
	default:
		q.fwd = fwdMethod
		return nil
	}
	if q.detail = bypass(q.req.Header); q.detail == "" && q.override != nil && q.override.Pass {
		q.detail = bypassPass
	}
	if q.detail != "" {
		q.fwd = fwdBypass
	}
	return nil
}

func hasBody(req *http.Request) bool {
	return req.ContentLength != 0 || len(req.TransferEncoding) > 0 || req.Body != nil && req.Body != http.NoBody
}

// bypass says why the cache keeps out of a request with this header, empty if it does not.
func bypass(h http.Header) string {
	switch {
	case len(h["Upgrade"]) > 0:
		return bypassUpgrade
	case len(h[ifMatch])+len(h[ifUnmodifiedSince]) > 0:
		return bypassPrecondition
	}
	for _, name := range overrides {
		if len(h[name]) > 0 {
			return bypassOverride
		}
	}
	return ""
}

// consider looks at what is stored for the request and notes, where it does
// not do, why.
func (q *inquiry) consider(f found) verdict {
	q.found = f
	v := needsValidation
	switch {
	case f.answer != nil:
		v = judge(q.now, &f.answer.terms, q.directives)
		q.fwd = fwdStale
		if v == requestForbids {
			q.fwd = fwdRequest
		}
	case f.known:
		q.fwd = fwdVaryMiss
	default:
		q.fwd = fwdURIMiss
	}
	return v
}

// collects says whether the forward of this request may bring an answer that
// is stored. One that may not goes on as it came. A range or a HEAD can only ask
// anew for the whole that is there already.
func (q *inquiry) collects() bool {
	switch {
	case q.directives.noStore, q.req.Method == http.MethodHead:
		return false
	}
	return !q.partial || q.found.answer != nil
}
