package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/rollout"
)

// What of the requests is recorded, and how fast it is played again.
const (
	recordedGETs  = 256     // of a service
	recordOneOf   = 16      // a look at each would cost more than it tells
	recordedField = 1 << 10 // bytes of a field's value; longer ones are left out
	recordedPath  = 4 << 10 // bytes; longer ones are not recorded

	replayShare    = 0.05             // of the requests that the service gets
	replayLeast    = 4.0              // a second, where there are hardly any: who deploys waits for it …
	replayFor      = 12 * time.Second // … and for no longer: at that rate 24 are played, of which 20 convict
	replayDeadline = 5 * time.Second
	replayBody     = 64 << 10
	replayExamples = 5
)

// ReplayField marks a request that is played again, so that an application can tell.
const ReplayField = "Selvage-Replay"

// recordedFields are what of a header is recorded: what selects an answer, and nothing that says who asks.
var recordedFields = [...]string{"Accept", "Accept-Language", "User-Agent"}

// recordings are the last GETs of each service, some of them.
type recordings struct {
	seen atomic.Uint64

	mu   sync.Mutex // guards all below
	each map[selvage.ServiceName]*recording
}

type recording struct {
	ring []recorded
	next int
}

// recorded is a GET without what belongs to whoever asked.
type recorded struct {
	host   string
	target string // path and query, normalised
	route  selvage.RouteName
	header http.Header
	tls    bool
}

// note records a request, once in a while.
func (rs *recordings) note(x *exchange) {
	if rs.seen.Add(1)%recordOneOf != 1 || len(x.path)+len(x.query) > recordedPath || x.r.Header[ReplayField] != nil {
		return
	}
	one := recorded{host: strings.Clone(x.r.Host), target: strings.Clone(x.path), route: x.route.name, header: make(http.Header), tls: x.rec.Client.TLS != 0}
	if x.queried {
		one.target += "?" + x.query
	}
	for _, name := range recordedFields {
		if v := x.r.Header[name]; len(v) == 1 && len(v[0]) <= recordedField {
			one.header[name] = []string{strings.Clone(v[0])}
		}
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	service := x.rev.service.Service
	r := rs.each[service]
	if r == nil {
		if rs.each == nil {
			rs.each = make(map[selvage.ServiceName]*recording)
		}
		r = new(recording)
		rs.each[service] = r
	}
	if slices.ContainsFunc(r.ring, func(old recorded) bool { return old.host == one.host && old.target == one.target }) {
		return
	}
	if len(r.ring) < recordedGETs {
		r.ring = append(r.ring, one)
		return
	}
	r.ring[r.next] = one
	r.next = (r.next + 1) % recordedGETs
}

// of are at most so many of a service's: the newest of each route in turn, so that
// a few are of all that it serves.
func (rs *recordings) of(service selvage.ServiceName, most int) []recorded {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	r := rs.each[service]
	if r == nil {
		return nil
	}
	all := append(slices.Clone(r.ring[r.next:]), r.ring[:r.next]...)
	slices.Reverse(all)
	type turn struct {
		one recorded
		at  int // in its route
	}
	turns, seen := make([]turn, len(all)), map[selvage.RouteName]int{}
	for i, one := range all {
		turns[i] = turn{one, seen[one.route]}
		seen[one.route]++
	}
	slices.SortStableFunc(turns, func(a, b turn) int { return a.at - b.at })
	for i := range turns {
		all[i] = turns[i].one
	}
	return all[:min(len(all), most)]
}

// Replay implements [rollout.Runtime]. It is gentle: both revisions
// together ask the origins for no more than a twentieth of what users do, or four
// requests a second. It ends when it has convicted, or its time is up: what it
// found until then is what it says.
func (n *Node) Replay(ctx context.Context, old, canary selvage.RevisionID, most int) (rollout.ReplayResult, error) {
	var result rollout.ReplayResult
	a, b, err := n.both(old, canary)
	if err != nil {
		return result, err
	}
	defer a.release()
	defer b.release()
	service := b.service.Service
	pause, up := time.NewTimer(0), time.Now().Add(replayFor)
	defer pause.Stop()
	wait := func() error {
		select {
		case <-pause.C:
			pause.Reset(time.Duration(float64(time.Second) / max(replayLeast, replayShare*n.rate(service))))
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	for _, one := range n.registry.recorded.of(service, most) {
		if result.Convicts() || !time.Now().Before(up) {
			break
		}
		var got [2]replayed
		for i, rev := range [...]*revision{a, b} {
			if err := wait(); err != nil {
				return result, fmt.Errorf("replay: %w", err)
			}
			got[i] = n.play(ctx, rev, &one, [...]selvage.Arm{selvage.Baseline, selvage.Canary}[i])
		}
		if ctx.Err() != nil {
			return result, fmt.Errorf("replay: %w", context.Cause(ctx))
		}
		result.Requests++
		was, is := got[0].bad(got[0]), got[1].bad(got[0])
		switch {
		case is && !was:
			result.Worse++
			if path, _, _ := strings.Cut(one.target, "?"); len(result.Examples) < replayExamples {
				result.Examples = append(result.Examples, fmt.Sprintf("GET %s: %s, now %s", path, got[0], got[1]))
			}
		case was && !is:
			result.Better++
		}
	}
	return result, nil
}

// both pins the two revisions.
func (n *Node) both(old, canary selvage.RevisionID) (a, b *revision, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if b = n.prepared[canary]; b != nil {
		a = n.revisionLocked(b.service.Service, old)
	}
	if a == nil || b == nil {
		return nil, nil, selvage.Errorf(selvage.NotFound, "replay: revisions %s and %s of one service are not both prepared", old, canary)
	}
	a.users.Add(1) // the node has one
	b.users.Add(1)
	return a, b, nil
}

// rate is how many requests a second a service gets.
func (n *Node) rate(service selvage.ServiceName) float64 {
	for _, one := range n.registry.series.Snapshot(time.Now()) {
		if one.Tenant == n.tenant && one.Service == service {
			return float64(one.Total.Requests) / float64(max(len(one.Seconds), 1))
		}
	}
	return 0
}

// replayed is what a recorded request came to.
type replayed struct {
	status int
	empty  bool
	err    error
}

// bad says whether it is, beside what the old revision gave.
func (r replayed) bad(old replayed) bool {
	return r.err != nil || r.status >= http.StatusInternalServerError ||
		r.empty && !old.empty && old.status == http.StatusOK && r.status == http.StatusOK
}

func (r replayed) String() string {
	switch {
	case r.err != nil:
		return r.err.Error()
	case r.empty && r.status == http.StatusOK:
		return fmt.Sprintf("%d without a body", r.status)
	}
	return fmt.Sprint(r.status)
}

// play runs a recorded request on a revision: past the cache, past what counts,
// with no client behind it.
func (n *Node) play(ctx context.Context, rev *revision, one *recorded, arm selvage.Arm) replayed {
	ctx, cancel := context.WithTimeoutCause(ctx, replayDeadline, errors.New("no answer in time"))
	defer cancel()
	peer := netip.AddrPortFrom(netip.IPv6Loopback(), 0)
	rec := &record.Record{Start: time.Now(), Place: n.place}
	rec.Client.Peer, rec.Client.Addr = peer, peer.Addr()
	rec.Target.Tenant, rec.Target.Service, rec.Target.Arm = rev.tenant, rev.service.Service, arm
	u, err := url.ParseRequestURI(one.target)
	if err != nil {
		return replayed{err: err}
	}
	req := (&http.Request{
		Method: http.MethodGet, URL: u, Host: one.host, Header: one.header.Clone(), Body: http.NoBody,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, RequestURI: one.target,
	}).WithContext(record.NewContext(ctx, rec))
	req.Header[ReplayField] = []string{"1"}
	x := exchange{node: n, r: req, rec: rec, rev: rev, who: party{client: peer.Addr()}}
	x.path, x.query, x.queried = strings.Cut(one.target, "?")
	m, ok := rev.match(req, x.path)
	if !ok {
		return replayed{status: http.StatusNotFound}
	}
	x.route, x.pol.Captures = &rev.routes[m.Index], m.Captures
	out := &x.outgoing("").req
	if one.tls {
		out.URL.Scheme = "https"
	}
	if a := x.route.policies.Request(x.asked(out)); a != nil {
		return replayed{status: a.Status, empty: a.Body == ""}
	}
	if x.route.played == nil {
		return replayed{status: http.StatusNotFound}
	}
	res, err := x.route.played.RoundTrip(out)
	if err != nil {
		return replayed{err: err}
	}
	defer res.Body.Close()
	size, err := io.CopyN(io.Discard, res.Body, replayBody)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return replayed{res.StatusCode, size == 0, err}
}
