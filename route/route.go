// Package route finds the route of a request: host, path and method in, the
// index of the first matching route of the file out.
//
// Look at [Table] first; [Hosts] stands before it where there are many
// services, and [Clean] before both, because what the edge matches and what
// the origin is sent must be the same path.
//
// It promises that a table is immutable and that a match allocates nothing,
// takes time linear in the path and never longer than looking at every route.
// It refuses to say whether a route can be reached at all: that is part of
// the validation of a service.
package route

import (
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// MaxCaptures is how many `*` a path pattern may have.
const MaxCaptures = 8

// Miss says why no route matched.
type Miss uint8

// The reasons, each further than the one before.
const (
	Found    Miss = iota
	NoHost        // answer 404; with TLS 421 (RFC 9110, section 15.5.20) where the connection is for another service
	NoPath        // answer 404
	NoMethod      // answer 405 with Allow (RFC 9110, section 15.5.6)
)

// Match is the outcome of a look-up. It holds substrings of the path that was matched.
type Match struct {
	// Index is the route's place in the file, from 0. It means nothing without a match.
	Index int
	// Miss says why there is none.
	Miss Miss
	// N is how many captures there are.
	N int
	// Captures are what each `*` took, still percent-encoded.
	Captures [MaxCaptures]string
}

// Table is the compiled routes of a service. It is immutable.
type Table struct {
	hosts    byHost[*tree]
	patterns []pattern
}

// pattern is one route's: its segments, where "*" is a wildcard.
type pattern struct {
	segments []string
	rest     bool     // it ends in `/*`, which is not among the segments
	methods  []string // nil: all
}

// Compile compiles the routes of a service. Errors are of kind
// [selvage.Invalid] and name the route by its place, from 1.
func Compile(s selvage.Service) (*Table, error) {
	hosts, err := checkHosts(s.Hosts, nil)
	if err != nil {
		return nil, selvage.Errorf(selvage.Invalid, "service %q: %w", s.Service, err)
	}
	t := &Table{hosts: newByHost[*tree]()}
	of := make([][]string, len(s.Routes)) // each route's hosts
	classes := slices.Clone(hosts)
	for i, r := range s.Routes {
		p, err := compilePattern(r.Match)
		if err != nil {
			return nil, selvage.Errorf(selvage.Invalid, "service %q: route %d: %w", s.Service, i+1, err)
		}
		t.patterns = append(t.patterns, p)
		of[i] = hosts
		if len(r.Match.Hosts) > 0 {
			if of[i], err = checkHosts(r.Match.Hosts, hosts); err != nil {
				return nil, selvage.Errorf(selvage.Invalid, "service %q: route %d: %w", s.Service, i+1, err)
			}
			classes = append(classes, of[i]...)
		}
	}
	t.plant(classes, of)
	return t, nil
}

// plant makes a tree for every class of hosts: all hosts whose best pattern is
// the same have the same routes. Classes with the same routes share one tree.
func (t *Table) plant(classes []string, of [][]string) {
	shared := map[string]*tree{}
	for _, class := range classes {
		var key strings.Builder
		var routes []int
		for i, hosts := range of {
			if slices.ContainsFunc(hosts, func(h string) bool { return covers(h, class) }) {
				routes = append(routes, i)
				key.WriteByte('1')
			} else {
				key.WriteByte('0')
			}
		}
		root := shared[key.String()]
		if root == nil {
			root = newTree(t.patterns, routes)
			shared[key.String()] = root
		}
		t.hosts.put(class, root)
	}
}

// checkHosts cleans patterns, each of which one of within must cover unless that is nil.
func checkHosts(patterns, within []string) ([]string, error) {
	var clean []string
	for _, p := range patterns {
		c, err := checkHost(p)
		if err != nil {
			return nil, err
		}
		if within != nil && !slices.ContainsFunc(within, func(h string) bool { return covers(h, c) }) {
			return nil, selvage.Errorf(selvage.Invalid, "host %q is not one of the service's hosts", p)
		}
		clean = append(clean, c)
	}
	return clean, nil
}

func compilePattern(m selvage.Match) (pattern, error) {
	path, err := Clean(m.Path)
	if err != nil || path[0] != '/' || strings.ContainsRune(path, '?') {
		return pattern{}, selvage.Errorf(selvage.Invalid, "path %q: it must be a clean path that begins with a slash", m.Path)
	}
	p := pattern{segments: strings.Split(path[1:], "/")}
	stars := 0
	for _, s := range p.segments {
		if s == "*" {
			stars++
		} else if strings.ContainsRune(s, '*') {
			return pattern{}, selvage.Errorf(selvage.Invalid, "path %q: * must be a whole segment; write %%2A for the character", m.Path)
		}
	}
	if stars > MaxCaptures {
		return pattern{}, selvage.Errorf(selvage.Invalid, "path %q: %d of *, the most is %d", m.Path, stars, MaxCaptures)
	}
	if last := len(p.segments) - 1; p.segments[last] == "*" {
		p.segments, p.rest = p.segments[:last], true
	}
	p.methods = slices.Clone(m.Methods)
	return p, nil
}

// takes says whether the pattern is for a method. GET includes HEAD.
func (p *pattern) takes(method string) bool {
	if p.methods == nil {
		return true
	}
	for _, m := range p.methods {
		if m == method || m == "GET" && method == "HEAD" {
			return true
		}
	}
	return false
}

// Match finds the first route in file order that takes the request. path is
// what [Clean] returned, without the query; host may be a Host field as it
// came. The result is true if there is a route; if not, m.Miss says why.
func (t *Table) Match(host, method, path string) (m Match, ok bool) {
	root, ok := t.hosts.find(CleanHost(host))
	if !ok {
		m.Miss = NoHost
		return m, false
	}
	if path == "" || path[0] != '/' {
		m.Miss = NoPath
		return m, false
	}
	s := search{patterns: t.patterns, method: method, path: path, best: len(t.patterns)}
	s.walk(root, 1)
	switch {
	case s.best < len(t.patterns):
		m.Index = s.best
		t.patterns[s.best].capture(path, &m)
		return m, true
	case s.pathFits:
		m.Miss = NoMethod
	default:
		m.Miss = NoPath
	}
	return m, false
}

// Allow lists the methods that the path would be routed with, sorted, as the
// Allow field of a 405 wants them. It is nil if the path has no route, or one that takes all methods.
func (t *Table) Allow(host, path string) []string {
	root, ok := t.hosts.find(CleanHost(host))
	if !ok {
		return nil
	}
	var allow []string
	for _, i := range root.routes {
		p := &t.patterns[i]
		if !p.fits(path) {
			continue
		}
		if p.methods == nil {
			return nil
		}
		allow = append(allow, p.methods...)
		if slices.Contains(p.methods, "GET") {
			allow = append(allow, "HEAD")
		}
	}
	slices.Sort(allow)
	return slices.Compact(allow)
}
