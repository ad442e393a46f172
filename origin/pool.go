package origin

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

// maxAttempts is the most that [selvage.Retry] may ask for.
const maxAttempts = 10

// Pool is one origin: its endpoints with balance and retries, or a folder. It is
// an http.RoundTripper whose errors are *[selvage.ProxyError]; after the head, so
// are those of the answer's body. The body must be read to its end or closed: until
// then the request counts as in flight.
//
// It fills the origin's part of the request's record.
type Pool struct {
	reg        *Registry
	key        poolKey
	set        selvage.Origin
	host       string // the Host sent; empty: the request's own, or the endpoint's if byEndpoint
	byEndpoint bool
	endpoints  []*endpoint
	folder     *folder // nil for one with endpoints
	budget     budget
	apart      budget // of a canary's requests
	refs       int    // guarded by reg.mu

	members atomic.Pointer[members] // changed under mu
	mu      sync.Mutex              // held to change members and to eject
}

// members are the peers of all endpoints that have a weight.
type members struct {
	peers   []*peer
	weights []float64 // of the peers; nil where all are alike
}

func newPool(r *Registry, key poolKey, plan *plan) *Pool {
	p := &Pool{reg: r, key: key, set: plan.origin, refs: 1}
	p.budget.share, p.apart.share = float64(plan.origin.Retry.Budget), float64(plan.origin.Retry.Budget)
	switch plan.origin.Host {
	case "keep":
	case "endpoint":
		p.byEndpoint = true
	default:
		p.host = plan.origin.Host
	}
	if plan.origin.Folder != "" {
		p.folder = &folder{path: plan.origin.Folder, name: key.name}
	}
	p.members.Store(new(members))
	return p
}

// refresh takes over the addresses of the pool's endpoints. A new peer starts
// with the average latency of the others.
func (p *Pool) refresh() {
	p.mu.Lock()
	defer p.mu.Unlock()
	var peers []*peer
	var weights []float64
	uneven := false
	for _, e := range p.endpoints {
		weight, addresses := p.weight(e.url), *e.peers.Load()
		uneven = uneven || weight != 1
		if weight == 0 {
			continue
		}
		peers = append(peers, addresses...)
		for range addresses { // the weight is the endpoint's, however many addresses its name has
			weights = append(weights, weight/float64(len(addresses)))
		}
	}
	if !uneven {
		weights = nil
	}
	now := time.Now()
	var sum float64
	var known int
	for _, m := range peers {
		if average := m.latency.at(m.ms(now)); average > 0 {
			sum += average
			known++
		}
	}
	if known > 0 {
		for _, m := range peers {
			m.latency.seed(m.ms(now), sum/float64(known))
		}
	}
	p.members.Store(&members{peers, weights})
}

// weight is that of an endpoint, by its URL as configured.
func (p *Pool) weight(url string) float64 {
	if w, ok := p.set.Weights[url]; ok {
		return float64(w)
	}
	return 1
}

// eject takes a peer out unless it is the last that is in.
func (p *Pool) eject(c *peer, now time.Time, canary bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.othersIn(c, canary) {
		c.eject(c.of(canary), now)
	}
}

// Trial forgets the failures of earlier canaries: another one begins. Its requests
// see what others know of the endpoints; what they find out themselves counts for
// themselves alone, as does what they retry.
func (p *Pool) Trial() {
	for _, m := range p.members.Load().peers {
		m.reset()
	}
}

// error makes the pool's error.
func (p *Pool) error(t selvage.ProxyErrorType, endpoint string, err error) *selvage.ProxyError {
	return &selvage.ProxyError{Type: t, Origin: p.key.name, Endpoint: endpoint, Err: err}
}

// meansAnother says whether a request may mean another method than it has, to
// frameworks that read these fields.
func meansAnother(h http.Header) bool {
	return h["X-Http-Method-Override"] != nil || h["X-Http-Method"] != nil || h["X-Method-Override"] != nil
}

// idempotent says whether a method may be repeated (RFC 9110, section 9.2.2).
func idempotent(method string) bool {
	switch method {
	case "", http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, http.MethodPut, http.MethodDelete:
		return true
	}
	return false
}

// result is what one attempt came to, as far as a retry depends on it.
type result struct {
	status int                    // 0 without an answer
	err    selvage.ProxyErrorType // empty with an answer
	sent   bool                   // the origin may have seen some of the request
	reused bool                   // on a connection that had carried a request before
	ours   bool                   // the client's doing, or ours: the endpoint is not to blame, and no other would do better
}

// stale says whether a kept connection was most likely closed by the origin
// before it saw the request: the endpoint is not to blame.
func (r result) stale() bool { return r.reused && r.err == selvage.ConnectionTerminated }

// free says whether a retry costs the origin nothing: nobody took the connection.
func (r result) free() bool {
	return r.err == selvage.ConnectionRefused || r.err == selvage.DestinationUnroutable
}

// repeatable says whether a request with this result may be sent again, as far as
// it and the configuration are concerned: not whether there is a try left, time
// or budget. once is a request that must not reach the origin twice.
func repeatable(r result, once bool, statuses []int) bool {
	switch {
	case r.ours:
		return false
	case r.err != "":
		return !r.sent || !once
	}
	return !once && slices.Contains(statuses, r.status)
}

// backoff bounds the wait before a retry; n is the number of tries so far. The
// wait is drawn evenly below it (full jitter), so that those who failed together
// do not come back together.
func backoff(base time.Duration, n int) time.Duration { return base << min(n-1, maxAttempts) }
