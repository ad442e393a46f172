package selvage

import (
	"slices"
	"strings"
)

// reach is the routes so far, to be asked whether one of them takes all
// requests of a later one. They are kept by their first segment, because files
// have thousands of routes.
type reach map[string][]reached

type reached struct {
	route    *Route
	hosts    hostSet
	segments []string
}

func (r reach) add(route *Route) {
	if route.Match.Path == "" {
		return // its absence is reported already
	}
	segments := strings.Split(strings.TrimPrefix(route.Match.Path, "/"), "/")
	r[segments[0]] = append(r[segments[0]], reached{route, newHostSet(route.Match.Hosts), segments})
}

// takesAllOf is the first route that matches every request that later matches,
// nil if there is none. It says so only where it is certain.
func (r reach) takesAllOf(later *Route) *Route {
	segments := strings.Split(strings.TrimPrefix(later.Match.Path, "/"), "/")
	keys := []string{segments[0]}
	if segments[0] != "*" {
		keys = append(keys, "*")
	}
	for _, key := range keys {
		for _, e := range r[key] {
			if coversPath(e.segments, segments) && coversMethods(e.route.Match.Methods, later.Match.Methods) && coversHosts(e.hosts, later.Match.Hosts) {
				return e.route
			}
		}
	}
	return nil
}

func coversHosts(wide hostSet, narrow []string) bool {
	return len(wide) == 0 || len(narrow) > 0 && !slices.ContainsFunc(narrow, func(h string) bool { return !wide.covers(h) })
}

// coversMethods knows that GET includes HEAD, and that none means all.
func coversMethods(wide, narrow []string) bool {
	missing := func(m string) bool {
		return !slices.Contains(wide, m) && (m != "HEAD" || !slices.Contains(wide, "GET"))
	}
	return len(wide) == 0 || len(narrow) > 0 && !slices.ContainsFunc(narrow, missing)
}

// coversPath compares two patterns segment by segment. A * at the end is all
// the rest, also nothing; elsewhere it is one segment.
func coversPath(wide, narrow []string) bool {
	for i, seg := range wide {
		if seg == "*" && i == len(wide)-1 {
			return len(narrow) > i // also where that ends in a * itself
		}
		if i >= len(narrow) || narrow[i] == "*" && i == len(narrow)-1 {
			return false // it is shorter, or takes a rest that wide does not
		}
		if seg == "*" && narrow[i] == "" || seg != "*" && seg != narrow[i] {
			return false
		}
	}
	return len(narrow) == len(wide)
}
