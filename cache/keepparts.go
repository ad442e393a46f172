package cache

import (
	"net/http"
	"slices"
)

// putPartLocked stores a part of an answer. Parts that are of other bytes, and
// that the request would have been given, are forgotten: they belong to what was.
// Those that hold nothing more than this one are, too. With the last one that was
// missing the whole takes the place of all.
func (s *Store) putPartLocked(key Key, request http.Header, a *answer) {
	e := new(entry)
	e.holds(a)
	proven := false
	same := []*answer{a}
	if o := s.objects.find(&key); o != nil {
		for _, v := range slices.Concat(o.variants, o.parts) {
			switch {
			case !selected(v.answer.selectors, request):
			case v.look(&key).gone(), !sameBytes(v.answer, a), v.answer.isPart() && len(gapsIn(v.answer.part, []span{a.part}, 1)) == 0:
				proven = proven || v.queue == &s.queues.main
				s.dropLocked(v)
			case v.answer.isPart():
				same = append(same, v.answer)
			}
		}
	}
	if a.total <= s.limit/largestShare {
		// A purge may have ended something of which only what is older has a part.
		if whole := combine(same); whole != nil && whole.fate(&key) == unpurged {
			s.putWholeLocked(key, request, whole)
			return
		}
	}
	o := s.addLocked(&key, e, proven)
	if o == nil {
		return
	}
	o.parts = slices.Insert(o.parts, 0, e)
	if len(o.parts) > MaxParts {
		s.dropLocked(o.parts[MaxParts])
		s.reached("parts")
	}
}

// stitches are the parts of one representation that a request may be given.
type stitches struct {
	head  *answer // of the whole, nil without any
	spans []span  // what is there
}

// stitches finds what is stored in parts for a request: of the newest
// representation, and only what is good for use.
func (t *Transport) stitches(q *inquiry, good func(*answer) bool) stitches {
	for {
		found, soft := t.findStitches(q, good)
		if !soft || q.looks {
			return found
		}
		t.store.soften(&q.key)
	}
}

// findStitches is stitches. With soft something was purged softly and must be made stale first.
func (t *Transport) findStitches(q *inquiry, good func(*answer) bool) (found stitches, soft bool) {
	s, key := t.store, &q.key
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.objects.find(key)
	if o == nil {
		return stitches{}, false
	}
	for _, e := range o.parts {
		a, fate := e.answer, e.look(key)
		if soft = soft || fate == softPurged; q.looks && fate == softPurged {
			a, fate = e.seen(key), unpurged
		}
		switch {
		case !selected(a.selectors, q.req.Header) || fate != unpurged || !t.uses(a):
		case found.head == nil:
			found.head = a.asWhole()
			if good(a) {
				found.spans = append(found.spans, a.part)
			}
		case sameBytes(found.head, a) && good(a):
			found.head.include(a)
			found.spans = append(found.spans, a.part)
		}
	}
	return found, soft
}

// piece finds the stored answer that holds the most of a whole from a position on.
func (s *Store) piece(key *Key, request http.Header, whole *answer, pos int64, good func(*answer) bool) (best *answer) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	o := s.objects.find(key)
	if o == nil {
		return nil
	}
	for _, list := range [...][]*entry{o.variants, o.parts} {
		for _, e := range list {
			a := e.answer
			if !a.span().holds(pos) || best != nil && best.span().end() >= a.span().end() ||
				!selected(a.selectors, request) || e.look(key) != unpurged || !sameBytes(a, whole) || !good(a) {
				continue
			}
			e.used()
			best = a
		}
	}
	return best
}

// freshen gives the parts of one representation that a request selects the terms
// and fields that a 304 brought (RFC 9111, section 4.3.4). Where that said nothing
// of tags or groups each part keeps its own. What was purged is not confirmed.
func (s *Store) freshen(key Key, request http.Header, confirmed *answer) {
	s.eachPart(key, request, confirmed, func(e *entry) {
		if e.look(&key).gone() {
			s.dropLocked(e)
			return
		}
		a := *confirmed
		if len(a.tags) == 0 {
			a.tags = e.answer.tags
		}
		if len(a.groups) == 0 {
			a.groups = e.answer.groups
		}
		a.body, a.length, a.part, a.total = e.answer.body, e.answer.length, e.answer.part, e.answer.total
		a.mark, a.forms = e.answer.mark, e.answer.forms
		size := a.size(key)
		more := size - e.size
		e.holds(&a)
		e.size = size
		e.queue.bytes += more
		s.used += more
	})
}

// dropParts forgets the parts of a representation.
func (s *Store) dropParts(key Key, request http.Header, of *answer) {
	s.eachPart(key, request, of, func(e *entry) { s.dropLocked(e) })
}

func (s *Store) eachPart(key Key, request http.Header, of *answer, do func(*entry)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.objects.find(&key)
	if o == nil {
		return
	}
	for _, e := range slices.Clone(o.parts) {
		if selected(e.answer.selectors, request) && sameBytes(e.answer, of) {
			do(e)
		}
	}
	s.makeRoomLocked()
}
