package origin

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

const (
	// lookupTimeout bounds one look-up of a name.
	lookupTimeout = 5 * time.Second

	// lookupPause is the least time between two look-ups of a name that has never
	// been resolved, however many requests ask for it.
	lookupPause = time.Second

	// maxAddresses is how many addresses of one name are used.
	maxAddresses = 64
)

// endpoint is one URL of an origin and all addresses behind its name.
type endpoint struct {
	endpointPlan
	reg  *Registry
	refs int                // guarded by reg.mu
	stop context.CancelFunc // of its loop; guarded by reg.mu

	peers   atomic.Pointer[[]*peer] // changed under mu
	changed chan struct{}           // tells the loop of new peers; holds one

	mu         sync.Mutex // guards all below
	closed     bool
	pools      []*Pool
	lookup     chan struct{} // closed at the end of the look-up that runs, nil without
	lookedUp   time.Time     // the end of the last look-up
	resolvedAt time.Time     // of the last one that gave addresses
	resolveErr error         // of the last look-up, nil if it was good
}

func newEndpoint(r *Registry, plan endpointPlan) *endpoint {
	e := &endpoint{endpointPlan: plan, reg: r, changed: make(chan struct{}, 1)}
	e.peers.Store(new([]*peer))
	if a, ok := e.key.fixed(); ok {
		e.peers.Store(&[]*peer{newPeer(e, net.JoinHostPort(a.String(), e.key.port))})
	}
	return e
}

func (e *endpoint) join(p *Pool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pools = append(e.pools, p)
}

func (e *endpoint) leave(p *Pool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.pools = slices.DeleteFunc(e.pools, func(q *Pool) bool { return q == p })
}

// close ends the endpoint's loop and retires its peers.
func (e *endpoint) close() {
	if e.stop != nil {
		e.stop()
	}
	e.mu.Lock()
	e.closed = true
	peers := *e.peers.Load()
	e.mu.Unlock()
	for _, p := range peers {
		p.retire()
	}
}

// needsLoop says whether there is something to do without a request.
func (e *endpoint) needsLoop() bool {
	_, fixed := e.key.fixed()
	return !fixed || e.key.health.Path != ""
}

// run resolves the name again and again and keeps a health check for each of
// its addresses, which it waits for at its end.
func (e *endpoint) run(ctx context.Context) {
	var checks sync.WaitGroup
	defer checks.Wait()
	stops := make(map[*peer]context.CancelFunc)
	defer func() {
		for _, stop := range stops {
			stop()
		}
	}()
	for ctx.Err() == nil {
		var next <-chan time.Time
		if _, fixed := e.key.fixed(); !fixed {
			if wait := e.untilLookup(); wait <= 0 {
				_ = e.lookUp(ctx, true) // the error is kept for Status
				continue
			} else if wait < never {
				next = time.After(wait)
			}
		}
		if e.key.health.Path != "" {
			e.watchPeers(ctx, stops, &checks)
		}
		select {
		case <-ctx.Done():
			return
		case <-next:
		case <-e.changed:
		}
	}
}

// watchPeers starts the checks of new peers and stops those of old ones.
func (e *endpoint) watchPeers(ctx context.Context, stops map[*peer]context.CancelFunc, checks *sync.WaitGroup) {
	peers := *e.peers.Load()
	for p, stop := range stops {
		if !slices.Contains(peers, p) {
			stop()
			delete(stops, p)
		}
	}
	for _, p := range peers {
		if stops[p] == nil {
			ctx, stop := context.WithCancel(ctx)
			stops[p] = stop
			checks.Go(func() { p.watch(ctx) })
		}
	}
}

const never = time.Duration(1<<63 - 1)

// untilLookup is how long the last look-up is good for.
func (e *endpoint) untilLookup() time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	every := e.key.conns.Resolve.Std()
	switch {
	case e.lookedUp.IsZero():
		return 0
	case len(*e.peers.Load()) == 0:
		every = lookupPause
	case every == 0:
		return never
	}
	return time.Until(e.lookedUp.Add(max(every, lookupPause)))
}

// need resolves the name for a request if that was not possible before.
func (e *endpoint) need(ctx context.Context) error { return e.lookUp(ctx, false) }

// lookUp resolves the name; who comes while another does so waits for it. Without
// again it does nothing if there are addresses or the last try was just now.
func (e *endpoint) lookUp(ctx context.Context, again bool) error {
	for {
		e.mu.Lock()
		if !again && len(*e.peers.Load()) > 0 {
			e.mu.Unlock()
			return nil
		}
		if !again && e.resolveErr != nil && time.Since(e.lookedUp) < lookupPause {
			err := e.resolveErr
			e.mu.Unlock()
			return err
		}
		running := e.lookup
		if running == nil {
			break
		}
		e.mu.Unlock()
		select {
		case <-running:
			again = false
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	done := make(chan struct{})
	e.lookup = done
	e.mu.Unlock()

	limited, cancel := context.WithTimeout(ctx, lookupTimeout)
	addrs, err := e.reg.resolve(limited, e.key.host)
	cancel()
	if err == nil && len(addrs) == 0 {
		err = &net.DNSError{Err: "the name has no address", Name: e.key.host, IsNotFound: true}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.lookup = nil
	close(done)
	if err != nil && ctx.Err() != nil {
		return err // the caller gave up; that says nothing about the name
	}
	e.lookedUp = time.Now()
	e.noteLocked(err)
	if err == nil {
		e.resolvedAt = e.lookedUp
		e.applyLocked(addrs)
	}
	return err
}

// noteLocked keeps a look-up's error and tells the log when it changes. The
// last good addresses stay.
func (e *endpoint) noteLocked(err error) {
	before := e.resolveErr
	e.resolveErr = err
	switch {
	case err != nil && before == nil:
		e.reg.logger().Warn("origin name does not resolve", "service", e.key.service, "endpoint", e.url, "addresses_kept", len(*e.peers.Load()), "error", err)
	case err == nil && before != nil:
		e.reg.logger().Info("origin name resolves again", "service", e.key.service, "endpoint", e.url)
	}
}

// applyLocked makes addrs the endpoint's addresses. Those that stay keep their
// peer; the others are retired after all pools know.
func (e *endpoint) applyLocked(addrs []netip.Addr) {
	if e.closed {
		return
	}
	for i := range addrs {
		addrs[i] = addrs[i].Unmap()
	}
	addrs = slices.CompactFunc(slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare), func(a, b netip.Addr) bool { return a == b })
	if len(addrs) > maxAddresses {
		addrs = addrs[:maxAddresses]
		e.reg.limitHit("origin_addresses")
	}
	old := *e.peers.Load()
	var peers []*peer
	for _, a := range addrs {
		addr := net.JoinHostPort(a.String(), e.key.port)
		if i := slices.IndexFunc(old, func(p *peer) bool { return p.addr == addr }); i >= 0 {
			peers = append(peers, old[i])
		} else {
			peers = append(peers, newPeer(e, addr))
		}
	}
	if slices.Equal(peers, old) {
		return
	}
	e.peers.Store(&peers)
	for _, p := range e.pools {
		p.refresh()
	}
	for _, p := range old {
		if !slices.Contains(peers, p) {
			p.retire()
		}
	}
	select {
	case e.changed <- struct{}{}:
	default:
	}
}

// dnsErrorType is the RFC 9209 type of a look-up's error.
func dnsErrorType(err error) selvage.ProxyErrorType {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsTimeout || errors.Is(err, context.DeadlineExceeded) {
		return selvage.DNSTimeout
	}
	return selvage.DNSError
}
