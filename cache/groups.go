package cache

import (
	"net/http"
	"strings"

	"github.com/dunglas/httpsfv"
)

// The fields of RFC 9875.
const (
	cacheGroups            = "Cache-Groups"
	cacheGroupInvalidation = "Cache-Group-Invalidation"
)

// endGroups makes invalid what the named groups of an origin hold, if it was
// requested before now.
func (s *Store) endGroups(origin *Key, names []string) {
	l := s.purges.ledger(origin.Tenant, origin.Service)
	for _, name := range names {
		s.purges.write(l, func(position uint64) {
			k := origin.group(strings.Clone(name))
			k.scheme, k.host = strings.Clone(k.scheme), strings.Clone(k.host)
			l.groups.set(k, nil, stamp{hard: position})
		})
	}
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
// 9111, section 4.4) and groups (RFC 9875, section 3). It returns the keys that it ended.
func (s *Store) changed(scope *Scope, target Key, res *http.Response) (keys []Key) {
	for _, exact := range invalidated(scope, target, res.StatusCode, res.Header) {
		keys = append(keys, s.keysOf(exact)...)
	}
	s.invalidate(keys)
	if names := groupNames(res.Header[cacheGroupInvalidation]); names != nil {
		s.endGroups(&target, names)
	}
	return keys
}
