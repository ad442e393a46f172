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
	each  map[string]*dynamicOrigin // guarded by mu: by a digest of all that a function says of one, its key included
	clock uint64                    // guarded by mu: how often one was named
}

const (
	// maxDynamicPools is how many are kept for a revision; the longest unused goes. The limit is
	// named function_dynamic_origins.
	maxDynamicPools = 32
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

// keep keeps an origin, unless somebody else was first: then it is theirs. full says that another had to go.
func (p *dynamicPools) keep(key string, o *dynamicOrigin) (kept *dynamicOrigin, full bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if have := p.findLocked(key); have != nil {
		return have, false
	}
	if p.each == nil {
		p.each = make(map[string]*dynamicOrigin)
	}
	if full = len(p.each) >= maxDynamicPools; full {
		p.dropLocked()
	}
	p.clock++
	o.used = p.clock
	p.each[key] = o
	return o, full
}

// dropLocked drops the longest unused. What goes on with it goes on.
func (p *dynamicPools) dropLocked() {
	var oldest string
	var found *dynamicOrigin
	for key, o := range p.each {
		if found == nil || o.used < found.used {
			oldest, found = key, o
		}
	}
	found.CloseIdleConnections()
	delete(p.each, oldest)
}

// close closes all connections: the revision has gone, and all its requests with it.
func (p *dynamicPools) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, o := range p.each {
		o.CloseIdleConnections()
	}
	p.each = nil
}
