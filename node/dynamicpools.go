package node

import (
	"sync"
	"time"
)

// dynamicPools are the origins that the functions of a revision have named, with the
// connections that they keep for the next request that names one in the very same way: name, target,
// TLS, certificates, times. What they may reach is checked when a connection is made, each time.
// Nothing of it is shared between services, since revisions are a service's own. Its zero value works.
type dynamicPools struct {
	mu    sync.Mutex
	each  map[string]*dynamicOrigin // guarded by mu: by poolKey
	clock uint64                    // guarded by mu: how often one was named
}

const (
	// maxDynamicPools is how many are kept for a revision, as many as one request may name; the longest
	// unused goes. The limit is named function_dynamic_origins.
	maxDynamicPools = 64
	// dynamicConns is how many connections without a request each of them keeps, over HTTP/1.
	dynamicConns = 8
	// dynamicIdle is how long at most. Functions may say less.
	dynamicIdle = 30 * time.Second
)

// find is an origin that was named so before; nil if there is none.
func (p *dynamicPools) find(key string) *dynamicOrigin {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.findLocked(key)
}

func (p *dynamicPools) findLocked(key string) *dynamicOrigin {
	o := p.each[key]
	if o != nil {
		p.clock++
		o.used = p.clock
	}
	return o
}

// has says whether it keeps this one.
func (p *dynamicPools) has(o *dynamicOrigin) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.each[o.key] == o
}

// keep keeps an origin, unless somebody else was first: then it is theirs. dropped is one that had to go, the longest
// unused: what goes on with it goes on, and whoever named it closes what is left (dynamicOrigins.close).
func (p *dynamicPools) keep(key string, o *dynamicOrigin) (kept, dropped *dynamicOrigin) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.findLocked(key); have != nil {
		return have, nil
	}
	if p.each == nil {
		p.each = make(map[string]*dynamicOrigin)
	}
	if len(p.each) >= maxDynamicPools {
		for _, old := range p.each {
			if dropped == nil || old.used < dropped.used {
				dropped = old
			}
		}
		delete(p.each, dropped.key)
	}
	p.clock++
	o.key, o.used = key, p.clock
	p.each[key] = o
	return o, dropped
}

// close closes all connections: the revision has gone, and all its requests with it.
func (p *dynamicPools) close() {
	p.mu.Lock()
	each := p.each
	p.each = nil
	p.mu.Unlock()
	for _, o := range each {
		o.CloseIdleConnections()
	}
}
