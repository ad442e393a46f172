package origin

import (
	"math/rand/v2"
	"slices"
	"time"
)

// How good a choice a peer is, best first. A peer that the request has tried
// already is worse than one that it has not, and better than one that is out.
const (
	rankFree = iota
	rankTried
	rankOut      // ejected by failures of real requests, or on trial by another one
	rankOutTried // the same, and tried
	rankDown     // by active health: not chosen at all
)

func (p *peer) rank(now time.Time, tried []*peer, canary bool) int {
	if p.down.Load() {
		return rankDown
	}
	rank := rankFree
	if !p.free(now, canary) {
		rank = rankOut
	}
	if slices.Contains(tried, p) {
		rank++
	}
	return rank
}

// pick chooses a peer: of two at random, the one where a request is expected to
// wait less (the power of two choices). It is nil if there is none or all are down
// by active health. If all that are not down are ejected, they are used
// nevertheless: an ejection is a guess from failures, and an answer from a
// shaky endpoint is better than none.
//
// The peer is entered: the caller must leave it.
func (p *Pool) pick(now time.Time, tried []*peer, canary bool) (chosen *peer, trial bool) {
	// Each round may lose a race for a trial or against a peer's retirement.
	for range 8 {
		chosen := p.choose(now, tried, canary)
		if chosen == nil {
			return nil, false
		}
		if !chosen.enter() {
			continue
		}
		trial, ok := chosen.of(canary).claim(now)
		if ok {
			return chosen, trial
		}
		chosen.leave()
	}
	return nil, false
}

// choose is pick without entering.
func (p *Pool) choose(now time.Time, tried []*peer, canary bool) *peer {
	m := p.members.Load()
	if m.weights != nil {
		return p.weighed(m, now, tried, canary)
	}
	a, b := p.two(m.peers, now, tried, canary)
	if a == nil {
		return nil
	}
	return lighter(a, b, now)
}

// weighed draws twice by weight among the peers of the best rank there is, and takes
// the one with less under way for its weight; the first where that is the same. So
// weights hold as they are where there is little to do, and nearly where there is much.
func (p *Pool) weighed(m *members, now time.Time, tried []*peer, canary bool) *peer {
	best, sum := rankDown, 0.0
	for i, c := range m.peers {
		switch rank := c.rank(now, tried, canary); {
		case rank == rankDown || rank > best:
		case rank < best:
			best, sum = rank, m.weights[i]
		default:
			sum += m.weights[i]
		}
	}
	if best == rankDown {
		return nil
	}
	draw := func() (at int) {
		left := float64(p.intn(1<<30)) / (1 << 30) * sum
		for i, c := range m.peers {
			if c.rank(now, tried, canary) != best { // one that changed meanwhile is passed over
				continue
			}
			at = i
			if left -= m.weights[i]; left < 0 {
				break
			}
		}
		return at
	}
	a, b := draw(), draw()
	if load(m, b) < load(m, a) {
		a = b
	}
	return m.peers[a]
}

// load is what a peer has under way for its weight.
func load(m *members, i int) float64 { return float64(m.peers[i].inFlight.Load()) / m.weights[i] }

// two samples two different peers of the best rank there is; b is nil if only one has it.
func (p *Pool) two(peers []*peer, now time.Time, tried []*peer, canary bool) (a, b *peer) {
	n := len(peers)
	if n > 1 {
		// Mostly all are well, and two draws are enough.
		i, j := p.intn(n), p.intn(n-1)
		if j >= i {
			j++
		}
		a, b = peers[i], peers[j]
		if a.rank(now, tried, canary) == rankFree && b.rank(now, tried, canary) == rankFree {
			return a, b
		}
	}
	best, seen := rankDown, 0
	a, b = nil, nil
	for _, c := range peers {
		rank := c.rank(now, tried, canary)
		switch {
		case rank == rankDown || rank > best:
		case rank < best:
			best, seen, a, b = rank, 1, c, nil
		default:
			seen++
			// A uniform sample of two in one pass.
			switch k := p.intn(seen); {
			case seen == 2:
				b = c
			case k == 0:
				a = c
			case k == 1:
				b = c
			}
		}
	}
	if b != nil && p.intn(2) == 0 {
		a, b = b, a // where they are equal the first is taken
	}
	return a, b
}

// lighter is the peer with the lower cost. Where one of them has not answered
// yet, only the requests in flight are compared: it counts as average.
func lighter(a, b *peer, now time.Time) *peer {
	if b == nil {
		return a
	}
	inA, inB := a.inFlight.Load(), b.inFlight.Load()
	avgA, avgB := a.latency.at(a.ms(now)), b.latency.at(b.ms(now))
	if avgA == 0 || avgB == 0 {
		avgA, avgB = 1, 1
	}
	if cost(avgB, inB) < cost(avgA, inA) {
		return b
	}
	return a
}

// othersIn says whether a peer besides this one is in.
func (p *Pool) othersIn(but *peer, canary bool) bool {
	return slices.ContainsFunc(p.members.Load().peers, func(c *peer) bool { return c != but && c.in(canary) })
}

// othersFree says whether a peer may be asked that was not tried yet.
func (p *Pool) othersFree(now time.Time, tried []*peer, canary bool) bool {
	return slices.ContainsFunc(p.members.Load().peers, func(c *peer) bool { return c.rank(now, tried, canary) == rankFree })
}

func (p *Pool) intn(n int) int {
	if p.reg.random != nil {
		return p.reg.random(n)
	}
	return rand.IntN(n)
}
