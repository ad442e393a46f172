package route

import (
	"strings"

	"github.com/selvage-edge/selvage"
)

// maxName is the longest DNS name. A longer host is matched by `*` alone, so
// that nobody has the wildcards of a name of 8 KiB looked up label by label.
const maxName = 253

// CleanHost is the host of a Host field or an authority as the matchers know
// it: without port, brackets and the final dot, in small letters. It does not
// validate. A host that is clean already is returned without an allocation.
func CleanHost(host string) string {
	if strings.HasPrefix(host, "[") {
		if end := strings.IndexByte(host, ']'); end > 0 {
			host = host[1:end]
		}
	} else if i := strings.LastIndexByte(host, ':'); i >= 0 && strings.IndexByte(host, ':') == i {
		host = host[:i]
	}
	if len(host) > 1 {
		host = strings.TrimSuffix(host, ".")
	}
	return strings.ToLower(host)
}

// byHost maps host patterns to values: exact before the longest wildcard before `*`.
type byHost[T any] struct {
	exact map[string]T
	below map[string]T // `*.x` under x
	all   T
	some  bool // there is an all
}

func newByHost[T any]() byHost[T] {
	return byHost[T]{exact: map[string]T{}, below: map[string]T{}}
}

// put sets the value of a clean pattern and says whether there was none.
func (b *byHost[T]) put(pattern string, v T) bool {
	if pattern == "*" {
		fresh := !b.some
		b.all, b.some = v, true
		return fresh
	}
	m, key := b.exact, pattern
	if suffix, ok := strings.CutPrefix(pattern, "*."); ok {
		m, key = b.below, suffix
	}
	_, there := m[key]
	m[key] = v
	return !there
}

// find is the value of the best pattern for a clean host.
func (b *byHost[T]) find(host string) (T, bool) {
	if v, ok := b.exact[host]; ok {
		return v, true
	}
	if len(b.below) > 0 && len(host) <= maxName {
		for i := 1; i < len(host); i++ {
			if host[i] != '.' {
				continue
			}
			if v, ok := b.below[host[i+1:]]; ok {
				return v, true
			}
		}
	}
	return b.all, b.some
}

// covers says whether every host that matches inner matches outer too.
func covers(outer, inner string) bool {
	if outer == "*" || outer == inner {
		return true
	}
	suffix, ok := strings.CutPrefix(outer, "*")
	return ok && len(inner) > len(suffix) && strings.HasSuffix(inner, suffix)
}

// checkHost says whether a pattern of hosts is one, and cleans it.
func checkHost(pattern string) (string, error) {
	name := strings.TrimPrefix(pattern, "*.")
	if pattern == "*" {
		return pattern, nil
	}
	if name == "" || strings.ContainsAny(name, "*/@?# \t\\") {
		return "", selvage.Errorf(selvage.Invalid, "host %q: write a name, *.name or *", pattern)
	}
	return pattern[:len(pattern)-len(name)] + CleanHost(name), nil
}

// Hosts finds the service of a request by its host, over many services. It is immutable.
type Hosts struct {
	services byHost[int]
}

// NewHosts compiles the hosts of services. It refuses a host that two of them
// have, with an error of kind [selvage.Invalid].
func NewHosts(services []selvage.Service) (*Hosts, error) {
	h := &Hosts{newByHost[int]()}
	for i, s := range services {
		for _, pattern := range s.Hosts {
			clean, err := checkHost(pattern)
			if err != nil {
				return nil, selvage.Errorf(selvage.Invalid, "service %q: %w", s.Service, err)
			}
			if !h.services.put(clean, i) {
				return nil, selvage.Errorf(selvage.Invalid, "service %q: host %q is another service's already", s.Service, pattern)
			}
		}
	}
	return h, nil
}

// Find is the index of the service that answers to host: an exact name goes
// before the longest wildcard, that before `*`. host may be a Host field as it came.
func (h *Hosts) Find(host string) (int, bool) { return h.services.find(CleanHost(host)) }
