package cache

import (
	"slices"
	"time"
)

// stamp is the latest positions of purges of one thing. 0 is none.
type stamp struct {
	hard, soft uint64
	softAt     time.Time // of the latest soft one
}

// purgedAt is the stamp of one purge.
func purgedAt(position uint64, soft bool, now time.Time) stamp {
	if soft {
		return stamp{soft: position, softAt: now}
	}
	return stamp{hard: position}
}

// join makes it the latest of both.
func (s *stamp) join(o stamp) {
	s.hard = max(s.hard, o.hard)
	if o.soft > s.soft {
		s.soft, s.softAt = o.soft, o.softAt
	}
}

func (s stamp) latest() uint64 { return max(s.hard, s.soft) }

// kind says what a mark is of.
type kind uint8

const (
	tagMark   kind = iota // name is the tag
	pathMark              // host and name are a URL's host and path
	groupMark             // scheme, host and name are a group of RFC 9875
)

// markKey names what was purged, within a service.
type markKey struct {
	kind               kind
	scheme, host, name string
}

// mark is when something was purged.
type mark struct {
	stamp           // of all of it
	queries []query // of a path: the URLs, where not all of the path was meant
	bytes   int
}

// query is a purged URL of a path.
type query struct {
	text string
	has  bool // tells /a? from /a
	stamp
}

// latest is the position that the mark is as young as.
func (m *mark) latest() uint64 {
	n := m.stamp.latest()
	for i := range m.queries {
		n = max(n, m.queries[i].latest())
	}
	return n
}

// whole is the stamp of all that the mark names.
func (m *mark) whole() stamp {
	s := m.stamp
	for i := range m.queries {
		s.join(m.queries[i].stamp)
	}
	return s
}

// What bounds the memory of purges, for each service.
const (
	// MaxMarks is how many tags and URLs are remembered as purged. Beyond it the
	// one that was purged longest ago is forgotten, and all of the service that was
	// requested before that purge counts as purged.
	MaxMarks = 1 << 16
	// maxMarkBytes is how much their names take at the most.
	maxMarkBytes = 16 << 20
	// maxQueries: of a path with more purged URLs all URLs count as purged.
	maxQueries = 64
)

// marks remembers what was purged, within a bound.
type marks struct {
	at    map[markKey]*mark
	order []marked // the oldest first; those that were renewed since do not count
	bytes int
	floor stamp // the latest of what was forgotten
	most  int   // default MaxMarks
}

type marked struct {
	key      markKey
	position uint64
}

// set notes a purge. key's strings are kept.
func (m *marks) set(key markKey, q *query, s stamp) {
	if m.at == nil {
		m.at = make(map[markKey]*mark)
	}
	one := m.at[key]
	if one == nil {
		one = &mark{bytes: len(key.scheme) + len(key.host) + len(key.name)}
		m.at[key] = one
		m.bytes += one.bytes
	}
	if q == nil {
		one.join(s)
	} else {
		m.setQuery(one, *q, s)
	}
	m.order = append(m.order, marked{key, s.latest()})
	most := m.most
	if most == 0 {
		most = MaxMarks
	}
	for len(m.at) > most || m.bytes > maxMarkBytes {
		m.forget()
	}
	if len(m.order) > 2*most {
		m.order = slices.DeleteFunc(m.order, func(o marked) bool { return !m.current(o) })
	}
}

func (m *marks) setQuery(one *mark, q query, s stamp) {
	for i := range one.queries {
		if have := &one.queries[i]; have.text == q.text && have.has == q.has {
			have.join(s)
			return
		}
	}
	if len(one.queries) == maxQueries {
		one.stamp = one.whole()
		one.join(s)
		for _, old := range one.queries {
			one.bytes -= len(old.text)
			m.bytes -= len(old.text)
		}
		one.queries = nil
		return
	}
	q.stamp = s
	one.queries = append(one.queries, q)
	one.bytes += len(q.text)
	m.bytes += len(q.text)
}

// current says whether a place in the order is the mark's latest.
func (m *marks) current(o marked) bool {
	one := m.at[o.key]
	return one != nil && one.latest() == o.position
}

// forget folds the oldest mark into the floor.
func (m *marks) forget() {
	for {
		oldest := m.order[0]
		m.order[0] = marked{}
		m.order = m.order[1:]
		if m.current(oldest) {
			one := m.at[oldest.key]
			m.floor.join(one.whole())
			m.bytes -= one.bytes
			delete(m.at, oldest.key)
			return
		}
	}
}

// of is the stamp of what has the key, none if nothing has.
func (m *marks) of(key markKey) stamp {
	if one := m.at[key]; one != nil {
		return one.stamp
	}
	return stamp{}
}
