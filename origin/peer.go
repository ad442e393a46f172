package origin

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

// transport speaks a protocol to one address. http1.Transport is one, h2Transport
// the other. Its errors are *http1.AnswerError.
type transport interface {
	RoundTrip(*http.Request) (*http.Response, error)
	// Open is the number of connections, the idle ones too.
	Open() int
	// CloseIdle closes the connections that carry no request.
	CloseIdle()
	// Close does so too and refuses new requests. Those that run end by themselves.
	Close()
}

// peer is one address of an endpoint: its connections, its load, its health.
type peer struct {
	endpoint *endpoint
	addr     string // address:port
	rt       transport
	born     time.Time

	inFlight atomic.Int64
	latency  latency
	retired  atomic.Bool // no longer an address of the endpoint, or the endpoint has no user

	down atomic.Bool // by the verdict of active health
	breaker
	apart breaker // of a canary's requests: they see the one above, and move this one alone

	mu     sync.Mutex // guards all below, and changes of the breakers' outUntil and ejected
	why    string     // it was ejected
	checks checks
	last   lastError
}

// breaker takes a peer out by failures of real requests.
type breaker struct {
	outUntil atomic.Int64 // Unix nanoseconds; 0 is in
	failures atomic.Int32 // in a row
	ejected  atomic.Int32 // times in a row
	probing  atomic.Bool  // outUntil is over and one request finds out
}

// of is the breaker that requests of an arm move.
func (p *peer) of(canary bool) *breaker {
	if canary {
		return &p.apart
	}
	return &p.breaker
}

// mayTry says whether the breaker is closed, or its time is over and nobody tries yet.
func (b *breaker) mayTry(now time.Time) bool {
	until := b.outUntil.Load()
	return until == 0 || (until <= now.UnixNano() && !b.probing.Load())
}

type lastError struct {
	text string
	when time.Time
}

func newPeer(e *endpoint, addr string) *peer {
	p := &peer{endpoint: e, addr: addr, born: time.Now()}
	p.rt = e.newTransport(addr)
	return p
}

// ms is the clock of the peer's latency.
func (p *peer) ms(now time.Time) uint32 { return uint32(now.Sub(p.born) / time.Millisecond) }

// enter counts a request in. It fails if the peer was retired since it was chosen.
func (p *peer) enter() bool {
	p.inFlight.Add(1)
	if p.retired.Load() {
		p.leave()
		return false
	}
	return true
}

// leave counts it out.
func (p *peer) leave() {
	if p.inFlight.Add(-1) == 0 && p.retired.Load() {
		p.rt.Close()
	}
}

// retire takes the peer out of use: requests that run go on, and with the last
// of them its connections close.
func (p *peer) retire() {
	p.retired.Store(true)
	p.rt.CloseIdle()
	if p.inFlight.Load() == 0 {
		p.rt.Close()
	}
}

// free says whether the peer may be given a request: it is in, or its time out is
// over and nobody tries it yet. A canary does not try for others.
func (p *peer) free(now time.Time, canary bool) bool {
	if p.down.Load() || canary && p.outUntil.Load() != 0 {
		return false
	}
	return p.of(canary).mayTry(now)
}

// in says whether the peer is neither down nor ejected.
func (p *peer) in(canary bool) bool {
	return !p.down.Load() && p.outUntil.Load() == 0 && (!canary || p.apart.outUntil.Load() == 0)
}

// claim lets a request in. trial says that the request decides whether the peer
// comes back. It fails if another request was faster to try it.
func (b *breaker) claim(now time.Time) (trial, ok bool) {
	until := b.outUntil.Load()
	switch {
	case until == 0:
		return false, true
	case until > now.UnixNano():
		return true, true // all are out, and one must be asked
	}
	return true, b.probing.CompareAndSwap(false, true)
}

// fail notes a failure of a real request and says whether it is one too many.
func (p *peer) fail(b *breaker, now time.Time, why string) (tooMany bool) {
	p.mu.Lock()
	p.last = lastError{why, now}
	p.mu.Unlock()
	limit := int32(p.endpoint.key.eject.Failures)
	failures := b.failures.Add(1)
	return limit > 0 && failures >= limit
}

// eject takes the peer out: for the configured time, doubled with each time in a
// row, up to ten times as long. It is out already if the request was sent before,
// or because all are out and one had to be asked.
func (p *peer) eject(b *breaker, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if b.outUntil.Load() > now.UnixNano() {
		return
	}
	base := p.endpoint.key.eject.For.Std()
	length := min(base<<min(b.ejected.Load(), 4), 10*base)
	b.ejected.Add(1)
	if b == &p.breaker {
		p.why = p.last.text
	}
	b.outUntil.Store(now.Add(length).UnixNano())
}

// headCame notes a good head that a trial request got: the peer is in again, but
// one more failure in a row is enough to eject it again.
func (p *peer) headCame(b *breaker) {
	p.mu.Lock()
	defer p.mu.Unlock()
	b.failures.Store(max(0, int32(p.endpoint.key.eject.Failures)-1))
	b.outUntil.Store(0)
}

// reset closes the breaker of a canary, for another one.
func (p *peer) reset() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.apart.failures.Store(0)
	p.apart.ejected.Store(0)
	p.apart.outUntil.Store(0)
}

// succeed notes an answer that came whole.
func (b *breaker) succeed() {
	if b.failures.Load() == 0 && b.ejected.Load() == 0 || b.outUntil.Load() != 0 {
		return
	}
	b.failures.Store(0)
	b.ejected.Store(0)
}

// failedStatus says whether an answer counts as a failure of the endpoint.
func failedStatus(status int) bool {
	return status == http.StatusBadGateway || status == http.StatusServiceUnavailable || status == http.StatusGatewayTimeout
}

// endpointKey is the identity of an endpoint. Whatever is part of it is kept
// through a reload as long as it stays the same: connections, latency, health.
// Retries, the total deadline and the Host that is sent are not part of it.
type endpointKey struct {
	tenant     selvage.Tenant
	service    selvage.ServiceName
	scheme     string
	host, port string
	protocol   selvage.Protocol
	tls        string // digest of what the files hold, and the server name
	conns      selvage.OriginConnections
	connect    selvage.Duration
	firstByte  selvage.Duration
	idle       selvage.Duration
	health     selvage.Health // Path is empty without one
	eject      selvage.Eject
}
