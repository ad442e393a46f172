package policy

import (
	"hash/maphash"
	"net/http"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// limit is a compiled rate limit.
type limit struct {
	gcra     gcra
	counters *counters
	key      func(*Exchange) uint64 // nil: one allowance for the route
	name     string                 // of the policy in RateLimit, a structured string
	policy   string                 // RateLimit-Policy
}

// compileLimit admits a flow of requests; beyond it the answer is 429 (RFC
// 6585, section 4) with Retry-After. Every answer says what is left, in the
// fields of draft-ietf-httpapi-ratelimit-headers.
func compileLimit(scope Scope, rt *selvage.Route) (policy, error) {
	if rt.Limit == nil {
		return policy{}, nil
	}
	g, err := newGCRA(rt.Limit.Rate, rt.Limit.Burst)
	if err != nil {
		return policy{}, selvage.Errorf(selvage.Invalid, "limit: %w", err)
	}
	per := rt.Limit.Per
	if per == "" {
		per = selvage.PerClient
	}
	l := &limit{gcra: g, name: `"` + string(per) + `"`}
	field, byHeader := per.Header()
	switch {
	case byHeader && isToken(field):
		field = http.CanonicalHeaderKey(field)
		per = selvage.LimitKey("header:" + field)
		l.name = `"header"`
		l.key = func(x *Exchange) uint64 { return l.headerKey(x.In, field) }
	case per == selvage.PerClient:
		l.key = l.clientKey
	case per != selvage.PerRoute:
		return policy{}, selvage.Errorf(selvage.Invalid, "limit: per %q: write client, route or header:NAME", per)
	}
	l.counters = scope.Limits.acquire(limitID{scope.Tenant, scope.Service, routeIdentity(rt), per})
	l.policy = l.name + ";q=" + strconv.FormatInt(g.burst, 10) + ";w=" + strconv.FormatInt(max(1, (g.ahead+1e9-1)/1e9), 10)
	return policy{request: l.request, look: func(*Exchange) *Answer { return nil }, response: l.response}, nil
}

// routeIdentity is what makes two routes of two revisions the same: the name,
// or else what they match.
func routeIdentity(rt *selvage.Route) string {
	if rt.Name != "" {
		return "name " + string(rt.Name)
	}
	return strings.Join(rt.Match.Methods, ",") + " " + rt.Match.Path + " " + strings.Join(rt.Match.Hosts, ",")
}

// clientKey is the client's address; in IPv6 the /56 that a household gets, so
// that nobody has 2⁷² allowances.
func (l *limit) clientKey(x *Exchange) uint64 {
	a := x.Client.Unmap()
	b := a.As16()
	if a.Is4() {
		return maphash.Bytes(l.counters.seed, b[:])
	}
	return maphash.Bytes(l.counters.seed, b[:7])
}

// headerKey is a field's values. Requests without the field share one allowance.
func (l *limit) headerKey(r *http.Request, name string) uint64 {
	if name == "Host" {
		return maphash.String(l.counters.seed, r.Host)
	}
	values := r.Header[name]
	if len(values) == 1 {
		return maphash.String(l.counters.seed, values[0])
	}
	return maphash.String(l.counters.seed, strings.Join(values, ","))
}

func (l *limit) request(x *Exchange) *Answer {
	now := x.Now.UnixNano()
	moment := &l.counters.one
	if l.key != nil {
		moment = l.counters.moment(l.key(x), now)
	}
	x.flow, x.limited = l.gcra.take(moment, now), true
	if x.flow.admitted {
		return nil
	}
	hit(x, "rate")
	retry := strconv.FormatInt(seconds(x.flow.retry), 10)
	a := refuse(x, http.StatusTooManyRequests, "Too many requests. Try again in "+retry+" s.\n", "limit: beyond "+l.policy)
	a.Header["Retry-After"] = []string{retry}
	return a
}

// response adds to what the origin may say of a limit of its own.
func (l *limit) response(x *Exchange, h http.Header) {
	if !x.limited {
		return
	}
	f := x.flow
	after := f.reset
	if !f.admitted {
		after = f.retry // the same moment as Retry-After, as the draft wants it
	}
	b := make([]byte, 0, 48)
	b = append(b, l.name...)
	b = strconv.AppendInt(append(b, ";r="...), f.remaining, 10)
	b = strconv.AppendInt(append(b, ";t="...), seconds(after), 10)
	h.Add("Ratelimit-Policy", l.policy)
	h.Add("Ratelimit", string(b))
}
