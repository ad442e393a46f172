package cache

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/dunglas/httpsfv"
	"github.com/selvage-edge/selvage"
)

// The fields of RFC 9875.
const (
	cacheGroups            = "Cache-Groups"
	cacheGroupInvalidation = "Cache-Group-Invalidation"
)

// groupPlaces is how many invalidated groups are remembered. Beyond it the oldest
// is forgotten, and all answers of any group that are older than it are invalid.
const groupPlaces = 1 << 16

// groupKey names a group: it belongs to one origin (scheme, host and port) of one
// service (RFC 9875, section 2).
type groupKey struct {
	tenant  selvage.Tenant
	service selvage.ServiceName
	scheme  string
	host    string
	name    string
}

// groups remembers when groups were made invalid. A stored answer knows the
// position at which it was requested from the origin and is compared when it is
// looked up: so the cost is constant, however many answers a group has, and an
// answer that was on its way cannot slip in behind its invalidation.
type groups struct {
	position atomic.Uint64 // of the latest invalidation

	mu    sync.RWMutex // guards all below
	since map[groupKey]uint64
	ring  []groupKey // in the order in which they came
	next  int
	floor uint64
}

// invalidate makes invalid what the named groups hold, if it was requested before now.
func (g *groups) invalidate(origin *Key, names []string, places int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, name := range names {
		if g.since == nil {
			g.since = make(map[groupKey]uint64)
		}
		k := origin.group(name)
		k.scheme, k.host, k.name = strings.Clone(k.scheme), strings.Clone(k.host), strings.Clone(name)
		if _, ok := g.since[k]; !ok {
			if len(g.ring) < places {
				g.ring = append(g.ring, k)
			} else {
				g.floor = max(g.floor, g.since[g.ring[g.next]])
				delete(g.since, g.ring[g.next])
				g.ring[g.next] = k
				g.next = (g.next + 1) % places
			}
		}
		g.since[k] = g.position.Load() + 1
		g.position.Add(1)
	}
}

// ended says whether the answer belongs to a group that was made invalid after it was requested.
func (g *groups) ended(origin *Key, a *answer) bool {
	if len(a.groups) == 0 || a.position >= g.position.Load() {
		return false
	}
	g.mu.RLock()
	defer g.mu.RUnlock()
	if a.position < g.floor {
		return true
	}
	for _, name := range a.groups {
		if a.position < g.since[origin.group(name)] {
			return true
		}
	}
	return false
}

// group is the key of a group of the key's origin.
func (k *Key) group(name string) groupKey {
	return groupKey{k.Tenant, k.Service, k.Scheme, k.Host, name}
}

// groupNames reads a list of strings. A field that is something else is ignored (RFC 9875, section 2).
func groupNames(lines []string) (names []string) {
	if len(lines) == 0 {
		return nil
	}
	list, err := httpsfv.UnmarshalList(lines)
	if err != nil {
		return nil
	}
	for _, member := range list {
		item, _ := member.(httpsfv.Item)
		name, ok := item.Value.(string)
		if !ok {
			return nil
		}
		names = append(names, strings.Clone(name))
	}
	return names
}

// changed makes invalid what the answer to an unsafe method makes so: URLs (RFC
// 9111, section 4.4) and groups (RFC 9875, section 3).
func (s *Store) changed(scope *Scope, target Key, res *http.Response) {
	for _, exact := range invalidated(scope, target, res.StatusCode, res.Header) {
		s.invalidate(s.keysOf(exact))
	}
	if names := groupNames(res.Header[cacheGroupInvalidation]); names != nil {
		s.groups.invalidate(&target, names, groupPlaces)
	}
}
