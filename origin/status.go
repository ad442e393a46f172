package origin

import "time"

// State says whether an endpoint's address is used.
type State string

// The states.
const (
	StateIn         State = "in"
	StateDown       State = "down"       // by active health
	StateEjected    State = "ejected"    // by failures of real requests
	StateTrying     State = "trying"     // its time out is over, and one request at a time finds out
	StateUnresolved State = "unresolved" // its name has no address yet
)

// EndpointStatus is one address of an endpoint, or an endpoint without one.
type EndpointStatus struct {
	URL         string // as configured; the path of a folder
	Address     string // address:port, empty for a name that never resolved and for a folder
	State       State
	Why         string        // it is not in
	Until       time.Time     // the end of its time out, if it is ejected
	InFlight    int           // requests, until the end of their answers
	Latency     time.Duration // moving average of the time to the first byte, 0 if unknown
	Connections int           // the idle ones too
	LastError   string        // of a real request
	LastErrorAt time.Time
	ResolvedAt  time.Time // when the name gave this address last; zero for an address
	ResolveErr  string    // why it does not now
}

// Status says how every endpoint is.
func (p *Pool) Status() []EndpointStatus {
	if p.folder != nil {
		return []EndpointStatus{p.folder.status()}
	}
	var all []EndpointStatus
	for _, e := range p.endpoints {
		all = append(all, e.status()...)
	}
	return all
}

func (e *endpoint) status() []EndpointStatus {
	e.mu.Lock()
	base := EndpointStatus{URL: e.url, State: StateUnresolved, ResolvedAt: e.resolvedAt}
	if e.resolveErr != nil {
		base.ResolveErr = e.resolveErr.Error()
	}
	e.mu.Unlock()
	peers := *e.peers.Load()
	if len(peers) == 0 {
		return []EndpointStatus{base}
	}
	now := time.Now()
	all := make([]EndpointStatus, 0, len(peers))
	for _, p := range peers {
		s := base
		p.status(&s, now)
		all = append(all, s)
	}
	return all
}

func (p *peer) status(s *EndpointStatus, now time.Time) {
	s.Address = p.addr
	s.InFlight = int(p.inFlight.Load())
	s.Latency = time.Duration(p.latency.at(p.ms(now)))
	s.Connections = p.rt.Open()
	p.mu.Lock()
	defer p.mu.Unlock()
	s.LastError, s.LastErrorAt = p.last.text, p.last.when
	until := p.outUntil.Load()
	switch {
	case p.down.Load():
		s.State, s.Why = StateDown, p.checks.why
	case until == 0:
		s.State = StateIn
	case until > now.UnixNano():
		s.State, s.Why, s.Until = StateEjected, p.why, time.Unix(0, until)
	default:
		s.State, s.Why = StateTrying, p.why
	}
}
