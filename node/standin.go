package node

import (
	"context"
	"fmt"
	"sync"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/rollout"
)

// standIns are the programs that answer where a function fails whose failure
// mode is previous: for those of a canary the baseline's, and for those of the
// baseline what was promoted before it. The agent says what that is, from the
// state, so that it is known after a start too; between that and for files it is
// what this process served before.
type standIns struct {
	mu        sync.Mutex
	baselines map[selvage.ServiceName]*revision // guarded by mu; kept alive by the table
	programs  map[functionKey]*program          // guarded by mu; each has a user
	ended     bool                              // guarded by mu
}

// functionKey names a function on this node.
type functionKey struct {
	service selvage.ServiceName
	name    selvage.FunctionName
}

// of is the program that may answer for a function; nil without one. The caller
// releases it.
func (b *standIns) of(f *function) *program {
	b.mu.Lock()
	defer b.mu.Unlock()
	service := f.rev.service.Service
	p := b.programs[functionKey{service, f.name}]
	if base := b.baselines[service]; base != nil && base != f.rev {
		p = base.functions[f.name]
	}
	if p == nil || p == f.program || !p.keepAlive() {
		return nil
	}
	return p
}

// turn notes that a service has another baseline; either may be nil.
func (b *standIns) turn(service selvage.ServiceName, old, next *revision) {
	var drop []*program
	b.mu.Lock()
	if b.baselines == nil {
		b.baselines = make(map[selvage.ServiceName]*revision)
	}
	b.baselines[service] = next
	if old != nil && next != nil && old != next {
		for name, p := range old.functions {
			if next.functions[name] != nil && next.functions[name] != p {
				drop = append(drop, b.setLocked(functionKey{service, name}, p.keep()))
			}
		}
	}
	b.mu.Unlock()
	releasePrograms(drop)
}

// setLocked puts a program in the place of another, which the caller releases.
func (b *standIns) setLocked(key functionKey, p *program) (was *program) {
	if b.ended {
		return p
	}
	if b.programs == nil {
		b.programs = make(map[functionKey]*program)
	}
	was = b.programs[key]
	b.programs[key] = p
	return was
}

// replace makes these programs, and no others, what stands in for those of a service.
func (b *standIns) replace(service selvage.ServiceName, programs map[selvage.FunctionName]*program) {
	var drop []*program
	b.mu.Lock()
	for key, p := range b.programs {
		if key.service == service {
			drop = append(drop, p)
			delete(b.programs, key)
		}
	}
	for name, p := range programs {
		drop = append(drop, b.setLocked(functionKey{service, name}, p))
	}
	b.mu.Unlock()
	releasePrograms(drop)
}

func (b *standIns) close() {
	var drop []*program
	b.mu.Lock()
	for _, p := range b.programs {
		drop = append(drop, p)
	}
	b.programs, b.ended = nil, true
	b.mu.Unlock()
	releasePrograms(drop)
}

func releasePrograms(all []*program) {
	for _, p := range all {
		if p != nil {
			p.release()
		}
	}
}

// StandIn implements [rollout.Runtime]: of the functions of a revision those are
// compiled that the service's baseline has too and wants to fall back to.
func (n *Node) StandIn(ctx context.Context, r rollout.Revision) error {
	service := r.Service.Service
	programs := make(map[selvage.FunctionName]*program)
	if r.ID != "" {
		for name, f := range n.baselineFunctions(service) {
			if _, ok := r.Service.Functions[name]; !ok || f.OnFailure != selvage.FailWithPrevious {
				continue
			}
			p, err := n.registry.functions.acquire(ctx, &r.Service, name, false)
			if err != nil {
				for _, p := range programs {
					p.release()
				}
				return fmt.Errorf("stand in with revision %s: function %q: %w", r.ID, name, n.secretless(service, err))
			}
			programs[name] = p
		}
	}
	n.registry.functions.before.replace(service, programs)
	return nil
}

// baselineFunctions are the functions of what is served of a service.
func (n *Node) baselineFunctions(service selvage.ServiceName) map[selvage.FunctionName]selvage.Function {
	for _, s := range n.table.Load().services {
		if s.name == service && s.baseline != nil {
			return s.baseline.service.Functions
		}
	}
	return nil
}
