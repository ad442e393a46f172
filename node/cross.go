package node

import (
	"context"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"slices"
	"sync"

	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/route"
	"github.com/selvage-edge/selvage/telemetry"
)

// crossing is a request as the origin side gets it, with its URL and its context: one
// piece of memory, since all of it is made for nearly every request. The context has
// values of its own, and the end of the client's.
type crossing struct {
	context.Context                 // the client's, with the URL of a rewritten request
	end             context.Context // the client's
	rec             *record.Record
	req             http.Request
	url             url.URL

	mu    sync.Mutex
	w     http.ResponseWriter // guarded by mu; nil without interim answers, and once the final answer is there
	later *exchange           // guarded by mu: whose header is not made over yet, it is the client's as it came; nil: it is
}

// Value implements context.Context. What is asked for interim answers is made when
// there are some.
func (c *crossing) Value(key any) any {
	switch key {
	case record.Key:
		return c.rec
	case traceKey:
		return &httptrace.ClientTrace{Got1xxResponse: c.pass}
	}
	return c.Context.Value(key)
}

// traceKey is where package httptrace looks for a trace.
var traceKey = findTraceKey()

// keyProbe remembers what it was asked for.
type keyProbe struct {
	context.Context
	key any
}

func (p *keyProbe) Value(key any) any {
	p.key = key
	return nil
}

func findTraceKey() any {
	p := &keyProbe{Context: context.Background()}
	httptrace.ContextClientTrace(p)
	return p.key
}

// AfterFunc lets those who wait for the end of the request be told without a goroutine,
// which package context starts where it does not know a parent.
func (c *crossing) AfterFunc(f func()) func() bool { return afterEnd(c.end, f) }

// afterEnd is [context.AfterFunc]. A context that can do it itself is asked, which takes
// less; f must not wait.
func afterEnd(ctx context.Context, f func()) func() bool {
	if own, ok := ctx.(interface{ AfterFunc(func()) func() bool }); ok {
		return own.AfterFunc(f)
	}
	return context.AfterFunc(ctx, f)
}

// passTo hands interim answers of the origin to the client (RFC 9110, section 15.2).
// Call it before the request is sent.
func (c *crossing) passTo(w http.ResponseWriter) { c.w = w }

// pass hands on one of them. 100 is not among them: each side sends its own.
func (c *crossing) pass(code int, header textproto.MIMEHeader) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.w == nil || code == http.StatusContinue || code == http.StatusSwitchingProtocols {
		return nil
	}
	h := c.w.Header()
	maps.Copy(h, header)
	dropHopByHop(h)
	c.w.WriteHeader(code)
	clear(h)
	return nil
}

// stop ends the passing: from here on the header belongs to the final answer.
func (c *crossing) stop() {
	c.mu.Lock()
	c.w = nil
	c.mu.Unlock()
}

// outgoing is the request as the origin side gets it. upgrade is the protocol asked for,
// empty if none.
func (x *exchange) outgoing(upgrade string) *crossing {
	c := x.crossing()
	h := x.madeOver(upgrade, true)
	if x.route.rewrites || x.who.trusted {
		own := c.url
		own.Scheme, own.Host = asForwarded(h, own.Scheme, own.Host)
		c.Context = cache.WithURL(c.end, &own)
	}
	c.req.Header = h
	return c
}

// forFunction is outgoing for a route whose functions alone get the request: its header is made
// when one of them asks for it, which many do not.
func (x *exchange) forFunction() *crossing {
	c := x.crossing()
	c.req.Header, c.later = x.r.Header, x
	return c
}

// whole makes the header of a request over, if that was left for later. A program that has given its
// answer up may ask for it while what answers instead does.
func whole(req *http.Request) {
	c, ok := req.Context().(*crossing)
	if !ok {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.later != nil {
		c.req.Header = c.later.madeOver("", false) // the client's is read beside us
		req.Header, c.later = c.req.Header, nil
	}
}

// crossing is the request without its header.
func (x *exchange) crossing() *crossing {
	end := x.r.Context()
	c := &crossing{Context: end, end: end, rec: x.rec}
	u := &c.url
	*u = url.URL{Scheme: "http", Host: x.r.Host, RawQuery: x.query, ForceQuery: x.queried && x.query == ""}
	if x.rec.Client.TLS != 0 {
		u.Scheme = "https"
	}
	route.SetPath(u, x.path)
	c.req = *x.r.WithContext(c)
	c.req.URL, c.req.RequestURI, c.req.Close = u, "", false
	if c.req.ContentLength == 0 {
		c.req.Body = http.NoBody
	}
	return c
}

// madeOver is the header as the origin side gets it. own says that nobody else reads the client's.
func (x *exchange) madeOver(upgrade string, own bool) http.Header {
	trailers := listHas(x.r.Header["Te"], "trailers")
	h := x.headerAcross(own)
	if upgrade != "" {
		h["Connection"], h["Upgrade"] = []string{"Upgrade"}, []string{upgrade}
	}
	if trailers {
		h["Te"] = []string{"trailers"}
	}
	tls := x.rec.Client.TLS != 0
	forwarded(h, x.who, x.rec.Client.Peer.Addr().Unmap(), x.r.Host, tls)
	if tls {
		tellCertificate(h, x.r.TLS)
	}
	via(h, x.r.Proto)
	if before := h["Cdn-Loop"]; len(before) > 0 {
		h["Cdn-Loop"] = append(slices.Clip(before), x.node.loopEntry...)
	} else {
		h["Cdn-Loop"] = x.node.loopEntry
	}
	telemetry.Inject(h, x.rec)
	return h
}

// fieldsAcross is how many fields a request may gain on its way across.
const fieldsAcross = 9

// headerAcross is the header that is made over for the origin side, without what is of the
// client's connection. A small one is copied, into a map that has room for what is added: adding
// to it would copy it all the same. A large one is made over in place, unless policies look at the
// request as it came, or it may run again: nobody else reads it.
func (x *exchange) headerAcross(own bool) http.Header {
	from := x.r.Header
	if own && len(from)+fieldsAcross > smallMap && x.route.policies.Empty() && !x.rec.Target.Rescuable {
		dropHopByHop(from)
		dropAmbiguous(from)
		return from
	}
	h := make(http.Header, len(from)+fieldsAcross)
	for name, values := range from {
		if !slices.Contains(hopByHop[:], name) && !isAmbiguous(name) {
			h[name] = slices.Clip(values)
		}
	}
	dropNamed(h, from["Connection"])
	return h
}

// smallMap is how many fields fit into a map of two groups. A larger one has room to grow.
const smallMap = 14
