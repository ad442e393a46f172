package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/cache"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/telemetry"
)

// fetch asks an origin for a function. It may be called by several goroutines
// at once, each with a request of its own.
func (c *call) fetch(backend string, r *http.Request) (*http.Response, error) {
	source, name, err := c.source(backend)
	if err != nil {
		return nil, err
	}
	if !isSafe(r.Method) {
		c.unsafe.Store(true)
	}
	rec := c.rec // of its own: a request of a function may go on beside others
	rec.Target.Origin, rec.Target.Rescuable = name, false
	rec.Request.Method, rec.Request.Host, rec.Request.Path = r.Method, r.Host, r.URL.Path
	h := r.Header
	dropHopByHop(h)
	dropAmbiguous(h)
	if !looped(h["Cdn-Loop"], rec.Place.Node) {
		h["Cdn-Loop"] = append(slices.Clip(h["Cdn-Loop"]), c.f.reg.loopEntry...)
	}
	if len(h["Via"]) == 0 {
		h["Via"] = via11
	}
	telemetry.Inject(h, &rec)
	out := r.WithContext(c.fetchContext(r, name, &rec))
	out.RequestURI, out.Close = "", false
	res, err := source.RoundTrip(out)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", backend, err)
	}
	if n := rec.Origin.Attempts; n > 0 && n <= len(rec.Origin.Kept()) {
		if at, err := netip.ParseAddrPort(rec.Origin.Kept()[n-1].Endpoint); err == nil {
			fastly.AnsweredFrom(r.Context(), at)
		}
	}
	switch c := &rec.Cache; {
	case c.Hit:
		fastly.AnsweredByCache(r.Context(), true)
	case c.Fwd != "" && c.Fwd != "bypass" && c.Fwd != "method":
		fastly.AnsweredByCache(r.Context(), false)
	}
	dropHopByHop(res.Header)
	return res, nil
}

// isSafe says whether a method asks for nothing to be changed (RFC 9110, section 9.2.1).
func isSafe(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "QUERY":
		return true
	}
	return false
}

// source is where requests to a backend go.
func (c *call) source(backend string) (http.RoundTripper, selvage.OriginName, error) {
	name := selvage.OriginName(backend)
	if alias, ok := c.f.set.Backends[backend]; ok {
		name = alias
	}
	if source := c.f.sources[name]; source != nil {
		return source, name, nil
	}
	if source := c.dynamic.find(backend); source != nil {
		return source, "", nil
	}
	if source := c.f.sources[c.f.set.OtherBackends]; source != nil {
		return source, c.f.set.OtherBackends, nil
	}
	return nil, "", &selvage.ProxyError{Type: selvage.DestinationNotFound, Origin: name,
		Err: errors.Join(fmt.Errorf("function %q asked for a backend that the service does not have", c.f.name), fastly.ErrNoBackend)}
}

// fetchContext has of the function's request its end, its record and its call,
// and nothing else: what belongs to the client's request is not the fetch's.
func (c *call) fetchContext(r *http.Request, name selvage.OriginName, rec *record.Record) context.Context {
	ctx := record.NewContext(bareContext{r.Context()}, rec)
	ctx = context.WithValue(ctx, callKey{}, c)
	if name != c.f.own {
		// The same URL at another origin is something else.
		u := *r.URL
		u.Host = r.Host + "@" + string(name)
		if r.Host == "" {
			u.Host = r.URL.Host + "@" + string(name)
		}
		ctx = cache.WithURL(ctx, &u)
	}
	return overridden(ctx, fastly.OverrideOf(r.Context()))
}

// overridden puts what a function wants of the cache into the context of its request.
func overridden(ctx context.Context, wants fastly.CacheOverride) context.Context {
	o := cache.Override{
		Pass: wants.Pass, TTL: wants.TTL, StaleWhileRevalidate: wants.StaleWhileRevalidate, Tags: strings.Fields(wants.SurrogateKeys),
	}
	if !o.Pass && o.TTL == nil && o.StaleWhileRevalidate == nil && len(o.Tags) == 0 {
		return ctx
	}
	return cache.WithOverride(ctx, &o)
}

// bareContext is a context without its values.
type bareContext struct{ context.Context }

// Value implements context.Context.
func (bareContext) Value(any) any { return nil }

// AfterFunc spares those who derive from it a goroutine.
func (c bareContext) AfterFunc(f func()) func() bool { return afterEnd(c.Context, f) }
