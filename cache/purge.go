package cache

import (
	"iter"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

// Purge is what a service is to forget. What was requested from the origin
// before it is not given any more (hard), or is stale (soft).
type Purge struct {
	Tenant  selvage.Tenant
	Service selvage.ServiceName
	Soft    bool
	All     bool          // all of the service
	Tags    []selvage.Tag // what has one of them
	URLs    []*url.URL    // absolute, by whichever scheme; each with all that is stored for it
}

// Purge applies a purge. What it costs does not depend on how much is stored: it
// writes a number for each tag and URL. When it has returned, nothing that was
// requested from the origin before is given to a request that comes after.
// The position is the store's own; [Why] names purges by it.
func (s *Store) Purge(p Purge) (position uint64) {
	l, now := s.purges.ledger(p.Tenant, p.Service), time.Now()
	s.purges.write(l, func(at uint64) {
		position = at
		p.note(l, purgedAt(at, p.Soft, now))
	})
	return position
}

// note writes the purge into a ledger, whose lock is held.
func (p *Purge) note(l *ledger, at stamp) {
	if p.All {
		l.all.join(at)
		return
	}
	for _, tag := range p.Tags {
		l.marks.set(markKey{kind: tagMark, name: strings.Clone(string(tag))}, nil, at)
	}
	for _, u := range p.URLs {
		k := keyOfURL(&Scope{}, u.Scheme, u.Host, u)
		q := query{text: strings.Clone(k.Query), has: k.HasQuery}
		l.marks.set(markKey{kind: pathMark, host: purgedHost(strings.Clone(k.Host)), name: strings.Clone(k.Path)}, &q, at)
	}
}

// Forget drops all that is stored, and lets nothing that is on its way take its
// place: nobody knows any more what was purged.
func (s *Store) Forget() {
	s.purges.writeAll(func(l *ledger, position uint64) { l.all.join(stamp{hard: position}) })
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.objects.all() {
		s.dropLocked(e)
	}
}

// purges are the purges of all services of a store. Positions are the store's
// own and order purges and requests to the origin.
type purges struct {
	// position is that of the latest purge. It is written last: who reads it sees
	// the purge, and who asks the origin after that asks after the purge.
	position atomic.Uint64

	mu       sync.Mutex // guards all below; one purge at a time
	services map[serviceKey]*ledger
}

// ledger is what was purged of one service. A stored answer knows the position
// at which it was requested from the origin and is compared when it is looked
// up: so a purge costs the same, however much it hits, and an answer that was on
// its way cannot slip in behind it.
type ledger struct {
	last atomic.Uint64 // position of the latest purge of anything

	mu     sync.RWMutex // guards all below
	all    stamp
	trial  *tried // nil without one
	marks  marks  // tags and URLs
	groups marks  // of RFC 9875; answers to unsafe requests write them
}

// ledger is that of a service, made where it is not there yet. It stays as long as the store.
func (p *purges) ledger(tenant selvage.Tenant, name selvage.ServiceName) *ledger {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := p.services[serviceKey{tenant, name}]
	if l == nil {
		if p.services == nil {
			p.services = make(map[serviceKey]*ledger)
		}
		l = new(ledger)
		p.services[serviceKey{tenant, name}] = l
	}
	return l
}

// write notes a purge at the next position.
func (p *purges) write(l *ledger, note func(position uint64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.writeLocked(l, note)
}

func (p *purges) writeLocked(l *ledger, note func(position uint64)) {
	position := p.position.Load() + 1
	l.mu.Lock()
	note(position)
	l.last.Store(position)
	l.mu.Unlock()
	p.position.Store(position)
}

// writeAll notes a purge in every ledger.
func (p *purges) writeAll(note func(l *ledger, position uint64)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, l := range p.services {
		p.writeLocked(l, func(position uint64) { note(l, position) })
	}
}

// fate is what purges have made of an answer.
type fate int

const (
	unpurged   fate = iota
	softPurged      // it is stale
	hardPurged      // it is never used again, not to ask about it and not instead of an error
	groupEnded      // the same, by an answer of the origin
)

func (f fate) gone() bool { return f >= hardPurged }

// fate compares an answer with what was purged since it was requested. softAt
// is when it became stale, softly.
func (l *ledger) fate(key *Key, a *answer) (f fate, soft stamp) {
	if l == nil || a.position >= l.last.Load() {
		return unpurged, stamp{}
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.of(key, a)
	switch {
	case a.position < s.hard:
		return hardPurged, stamp{}
	case l.groupEnded(key, a):
		return groupEnded, stamp{}
	case max(a.position, a.softened) < s.soft:
		return softPurged, s
	}
	return unpurged, stamp{}
}

// of joins the stamps of all that an answer is purged by. The lock is held.
func (l *ledger) of(key *Key, a *answer) stamp {
	var s stamp
	for _, one := range l.touching(key, a) {
		s.join(one)
	}
	return s
}

// cause is what was purged.
type cause struct {
	what string // service, tag, url, or old for what is not known any more
	name string // of the tag, or the URL without its scheme
}

// touching are the purges of all that an answer is purged by. The lock is held.
func (l *ledger) touching(key *Key, a *answer) iter.Seq2[cause, stamp] {
	return func(yield func(cause, stamp) bool) {
		if !yield(cause{what: "service"}, l.all) || !yield(cause{what: "service"}, l.trial.of(key)) || !yield(cause{what: "old"}, l.marks.floor) || len(l.marks.at) == 0 {
			return
		}
		for _, names := range [...][]string{a.tags, a.groups} { // a group's name is a tag, too
			for _, name := range names {
				if !yield(cause{"tag", name}, l.marks.of(markKey{kind: tagMark, name: name})) {
					return
				}
			}
		}
		for one := range l.paths(key) {
			if !yield(cause{what: "url"}, one.stamp) {
				return
			}
			for i := range one.queries {
				if q := &one.queries[i]; a.answers(key, q.text, q.has) && !yield(cause{what: "url"}, q.stamp) {
					return
				}
			}
		}
	}
}

func (l *ledger) groupEnded(key *Key, a *answer) bool {
	if len(a.groups) == 0 {
		return false
	}
	s := l.groups.floor
	for _, name := range a.groups {
		s.join(l.groups.of(key.group(name)))
	}
	return a.position < s.hard
}

// before says whether a purge that came after a position may concern an answer for a URL,
// of which no more is known. One of any URL of the path may.
func (l *ledger) before(key *Key, position uint64) bool {
	if position >= l.last.Load() {
		return false
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	s := l.all
	s.join(l.trial.of(key))
	s.join(l.marks.floor)
	for one := range l.paths(key) {
		s.join(one.whole())
	}
	return position < s.latest()
}

// paths are the marks of the key's path. Behind proxies a key may have several
// hosts (see [WithURL]): whichever is purged, the answer is. The lock is held.
func (l *ledger) paths(key *Key) iter.Seq[*mark] {
	return func(yield func(*mark) bool) {
		for host := range strings.SplitSeq(key.Host, ",") {
			one := l.marks.at[markKey{kind: pathMark, host: purgedHost(host), name: key.Path}]
			if one != nil && !yield(one) {
				return
			}
		}
	}
}

// purgedHost makes equal what may name the same host by any scheme: a purge goes by none.
func purgedHost(host string) string {
	return normalHost("https", normalHost("http", strings.Trim(host, " \t")))
}

// group is the mark of a group of the key's origin: scheme, host and port of
// one service (RFC 9875, section 2).
func (k *Key) group(name string) markKey {
	return markKey{kind: groupMark, scheme: k.Scheme, host: k.Host, name: name}
}

// answers says whether the answer, stored under key, is what a URL of the key's
// path would be answered with. It asks the rule that the answer itself is keyed by,
// whichever rule holds now: another revision may find the answer again.
func (a *answer) answers(key *Key, query string, has bool) bool {
	if key.Query == query && key.HasQuery == has {
		return true
	}
	rules, search := key.Rules != "", key.variedBy() != ""
	switch {
	case !rules && !search:
		return false
	case rules && a.keys == nil, search && a.search == nil:
		return true // nobody knows: then it goes
	}
	url := *key
	url.Query, url.HasQuery = query, has
	url = a.search.applied(a.keys.applied(url))
	return url.Query == key.Query && url.HasQuery == key.HasQuery
}

// fate is what purges have made of an answer that is, or would be, stored for the key.
func (a *answer) fate(key *Key) fate {
	f, _ := a.ledger.fate(key, a)
	return f
}

// fate is what purges have made of a flight's answer or of the one it is about.
func (f *flight) fate(a *answer) fate {
	verdict, _ := f.transport.ledger.fate(&f.key, a)
	if !verdict.gone() && f.place != f.key && f.place != (Key{}) {
		placed, _ := f.transport.ledger.fate(&f.place, a)
		verdict = max(verdict, placed)
	}
	return verdict
}

// look compares an entry, which holds the answer, with what was purged. Where nothing was since the last
// time it costs one comparison.
func (e *entry) look(key *Key, a *answer) fate {
	l := a.ledger
	if l == nil {
		return unpurged
	}
	last := l.last.Load()
	if last <= e.checked.Load() {
		return unpurged
	}
	f := a.fate(key)
	if f == unpurged {
		e.checked.Store(last)
	}
	return f
}

// soften makes stale what was purged softly for a key. What is there is
// replaced, not written to: others may look at it.
func (s *Store) soften(key *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.ofKey(key) {
		a := s.answerLocked(e)
		if stale := a.seen(key); stale != a {
			s.letGoLocked(e)
			s.holdLocked(e, key, stale)
		}
	}
}

// seen is the answer, stale if it was purged softly and is not yet.
func (a *answer) seen(key *Key) *answer {
	f, at := a.ledger.fate(key, a)
	if f != softPurged {
		return a
	}
	stale := *a
	stale.softened = at.soft
	stale.terms.lifetime, stale.terms.spent = min(a.terms.lifetime, a.terms.age(at.softAt)), true
	return &stale
}
