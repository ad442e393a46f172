package route

import "strings"

// tree is the routes of one class of hosts by the segments of their paths.
type tree struct {
	routes []int // all of them, ascending; at the root only
	least  int   // the lowest index in this subtree: nothing here can beat a lower one

	static map[string]*tree
	star   *tree // a segment `*`
	ends   []int // routes that end here, ascending
	rests  []int // routes that end in `/*` here, ascending
}

func newTree(patterns []pattern, routes []int) *tree {
	root := &tree{routes: routes}
	if len(routes) > 0 {
		root.least = routes[0]
	}
	for _, i := range routes {
		root.add(&patterns[i], i)
	}
	return root
}

// add puts in a pattern. Indices come in ascending order, so that the first
// to reach a node is its least.
func (t *tree) add(p *pattern, index int) {
	for _, s := range p.segments {
		next := t.star
		if s != "*" {
			next = t.static[s]
		}
		if next == nil {
			next = &tree{least: index}
			if s == "*" {
				t.star = next
			} else {
				if t.static == nil {
					t.static = map[string]*tree{}
				}
				t.static[s] = next
			}
		}
		t = next
	}
	if p.rest {
		t.rests = append(t.rests, index)
	} else {
		t.ends = append(t.ends, index)
	}
}

// search is one look-up: it walks the tree, both ways where a segment could be
// a name or a `*`, and leaves out every subtree that cannot beat the best so far.
type search struct {
	patterns []pattern
	method   string
	path     string
	best     int
	pathFits bool // some route's path fitted, whatever its methods
}

// walk goes on at byte pos of the path, where a segment begins; past the end
// of the path there is none.
func (s *search) walk(t *tree, pos int) {
	if t.least >= s.best {
		return
	}
	if pos > len(s.path) {
		s.offer(t.ends)
		return
	}
	s.offer(t.rests)
	end := segmentEnd(s.path, pos)
	if t.static != nil {
		if next := t.static[s.path[pos:end]]; next != nil {
			s.walk(next, end+1)
		}
	}
	if t.star != nil && end > pos {
		s.walk(t.star, end+1)
	}
}

// offer takes the first of the routes that takes the method, if it beats the best.
func (s *search) offer(routes []int) {
	for _, i := range routes {
		if i >= s.best {
			return
		}
		s.pathFits = true
		if s.patterns[i].takes(s.method) {
			s.best = i
			return
		}
	}
}

func segmentEnd(path string, pos int) int {
	if i := strings.IndexByte(path[pos:], '/'); i >= 0 {
		return pos + i
	}
	return len(path)
}

// capture notes what each `*` of the pattern takes of a path that fits it.
func (p *pattern) capture(path string, m *Match) {
	pos := 1
	for _, s := range p.segments {
		end := segmentEnd(path, pos)
		if s == "*" {
			m.Captures[m.N] = path[pos:end]
			m.N++
		}
		pos = end + 1
	}
	if p.rest {
		m.Captures[m.N] = path[pos:]
		m.N++
	}
}

// fits says whether the pattern takes a path.
func (p *pattern) fits(path string) bool {
	pos := 1
	for _, s := range p.segments {
		if pos > len(path) {
			return false
		}
		end := segmentEnd(path, pos)
		if seg := path[pos:end]; seg != s && (s != "*" || seg == "") {
			return false
		}
		pos = end + 1
	}
	return p.rest && pos <= len(path) || !p.rest && pos == len(path)+1
}
