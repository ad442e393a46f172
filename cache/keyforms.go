package cache

import (
	"slices"
	"sync"

	"github.com/selvage-edge/selvage"
)

// maxKeyRules is how many different rules for keys are known of a service. What
// was stored by those that were compiled the longest time ago is forgotten with them.
const maxKeyRules = 1024

// ruleBook is the rules for keys by which answers of a service may be stored:
// those of all revisions that were compiled. What makes a URL invalid finds by
// them what is stored for it, also what comes back into use by an undo.
type ruleBook struct {
	mu        sync.RWMutex // guards all below
	byService map[serviceKey][]*keyRules
}

type serviceKey struct {
	tenant  selvage.Tenant
	service selvage.ServiceName
}

// know notes rules. It returns those that had to be forgotten for them, nil if none had.
func (b *ruleBook) know(scope *Scope, r *keyRules, most int) (forgotten *keyRules) {
	if r == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.byService == nil {
		b.byService = make(map[serviceKey][]*keyRules)
	}
	k := serviceKey{scope.Tenant, scope.Service}
	known := slices.DeleteFunc(b.byService[k], func(other *keyRules) bool { return other.text == r.text })
	if len(known) >= most {
		forgotten = known[0]
		known = slices.Delete(known, 0, 1)
	}
	b.byService[k] = append(known, r)
	return forgotten
}

// named are the rules by which a key was made, nil if they are not known any more.
func (b *ruleBook) named(k *Key) *keyRules {
	b.mu.RLock()
	defer b.mu.RUnlock()
	for _, r := range b.byService[serviceKey{k.Tenant, k.Service}] {
		if r.text == k.Rules {
			return r
		}
	}
	return nil
}

// forms are all keys under which answers for a URL may be stored: as it is, and
// as every rule has it. Those that fields of requests and the content of a QUERY
// tell apart are under them (see [Key.url]).
func (b *ruleBook) forms(exact Key) []Key {
	b.mu.RLock()
	defer b.mu.RUnlock()
	keys := []Key{exact}
	for _, r := range b.byService[serviceKey{exact.Tenant, exact.Service}] {
		keys = append(keys, r.applied(exact))
	}
	return keys
}

// learn notes a transport's rules.
func (s *Store) learn(scope *Scope, r *keyRules) {
	gone := s.rules.know(scope, r, maxKeyRules)
	if gone == nil {
		return
	}
	s.reached("key_rules")
	unreachable := func(k *Key) bool {
		return k.Tenant == scope.Tenant && k.Service == scope.Service && k.Rules == gone.text
	}
	s.flights.mu.Lock()
	for k, same := range s.flights.running {
		for f := range same {
			if unreachable(&k) {
				f.doom = urlGone
				s.flights.closeLocked(f)
			}
		}
	}
	s.flights.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.objects.all() {
		if k := s.keyLocked(e); unreachable(&k) {
			s.dropLocked(e)
		}
	}
}

// keysOf are the keys by which answers for a URL are found, under the rules and
// by what was learned of the path's queries. The URL is as it came.
func (s *Store) keysOf(exact Key) []Key {
	keys := s.rules.forms(exact)
	layers := s.layers()
	for _, k := range keys {
		for _, layer := range layers {
			of := k
			of.Overlay = layer
			for _, varied := range s.searches.variedKeys(of) {
				keys = append(keys, varied.url())
			}
		}
	}
	return keys
}
