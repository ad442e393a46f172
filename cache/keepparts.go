package cache

import "net/http"

// putPartLocked stores a part of an answer. Parts that are of other bytes, and
// that the request would have been given, are forgotten: they belong to what was.
// Those that hold nothing more than this one are, too. With the last one that was
// missing the whole takes the place of all.
func (s *Store) putPartLocked(key Key, request http.Header, a *answer) {
	var was uses
	same := []*answer{a}
	for e := range s.ofKey(&key) {
		v := s.answerLocked(e)
		switch {
		case !selected(v.selectors, request):
		case e.look(&key, v).gone(), !sameBytes(v, a), v.isPart() && len(gapsIn(v.part, []span{a.part}, 1)) == 0:
			was.proven = was.proven || e.queue == mainQueue
			s.dropLocked(e)
		case v.isPart():
			same = append(same, v)
		}
	}
	if a.total <= s.limit/largestShare {
		// A purge may have ended something of which only what is older has a part.
		if whole := combine(same); whole != nil && whole.fate(&key) == unpurged {
			s.putWholeLocked(key, request, whole)
			return
		}
	}
	if s.addLocked(&key, a, was) {
		s.boundLocked(&key, true, MaxParts, "parts")
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
	for e := range s.ofKey(key) {
		if !e.part {
			continue
		}
		a := s.answerLocked(e)
		fate := e.look(key, a)
		if soft = soft || fate == softPurged; q.looks && fate == softPurged {
			a, fate = a.seen(key), unpurged
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
	for e := range s.ofKey(key) {
		a := s.answerLocked(e)
		if !a.span().holds(pos) || best != nil && best.span().end() >= a.span().end() ||
			!selected(a.selectors, request) || e.look(key, a) != unpurged || !sameBytes(a, whole) || !good(a) {
			continue
		}
		e.used()
		best = a
	}
	return best
}

// freshen gives the parts of one representation that a request selects the terms
// and fields that a 304 brought (RFC 9111, section 4.3.4). Where that said nothing
// of tags or groups each part keeps its own. What was purged is not confirmed.
func (s *Store) freshen(key Key, request http.Header, confirmed *answer) {
	s.eachPart(key, request, confirmed, func(e *entry, old *answer) {
		if e.look(&key, old).gone() {
			s.dropLocked(e)
			return
		}
		a := *confirmed
		if len(a.tags) == 0 {
			a.tags = old.tags
		}
		if len(a.groups) == 0 {
			a.groups = old.groups
		}
		a.body, a.length, a.part, a.total = old.body, old.length, old.part, old.total
		a.mark, a.forms = old.mark, old.forms
		s.letGoLocked(e)
		s.holdLocked(e, &key, &a)
	})
}

// dropParts forgets the parts of a representation.
func (s *Store) dropParts(key Key, request http.Header, of *answer) {
	s.eachPart(key, request, of, func(e *entry, _ *answer) { s.dropLocked(e) })
}

func (s *Store) eachPart(key Key, request http.Header, of *answer, do func(*entry, *answer)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for e := range s.ofKey(&key) {
		if !e.part {
			continue
		}
		if a := s.answerLocked(e); selected(a.selectors, request) && sameBytes(a, of) {
			do(e, a)
		}
	}
	s.makeRoomLocked()
}
