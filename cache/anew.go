package cache

import (
	"net/http"

	"github.com/selvage-edge/selvage/record"
)

// MaxAnew is how many fetches in the background there may be, those of stale answers
// among them, for one more of [Transport.Anew]: the rest is for stale ones.
const MaxAnew = MaxRefreshes / 2

// Anew fetches in the background what a fresh stored answer would answer a GET with, as if
// it were not stored: nothing asks whether it is still right. What comes is read to its end
// and not stored: who makes something to compare it changes nothing for anybody. It
// carries no credentials, as every fetch in the background. rec is whose record it is told to.
//
// It says whether there is such an answer, and whether it fetches: not where that is being
// fetched already, nor where no more fetches may run.
func (t *Transport) Anew(rec *record.Record, req *http.Request) (stored, begun bool) {
	if req.Method != http.MethodGet || len(req.Header["Range"]) > 0 {
		return false, false
	}
	q := t.newInquiry(req)
	q.rec, q.looks = rec, true
	if q.enter() != nil || q.fwd != "" {
		return false, false
	}
	t.prepare(q)
	if t.decide(q) != answerFresh {
		return false, false
	}
	return true, t.background(q, MaxAnew, "controls", func(f *flight) { f.anew = true })
}

// Makes says whether a request would be made of itself: not where what is stored answers it, as
// stale as it allows, nor where it would wait for what another one makes. It notes nothing.
func (t *Transport) Makes(req *http.Request) bool {
	q := t.newInquiry(req)
	q.rec, q.looks = new(record.Record), true
	if q.enter() != nil || q.fwd != "" {
		return true
	}
	t.prepare(q)
	todo := t.decide(q)
	if todo == lookForParts {
		if _, _, todo = t.decideByParts(q); todo == passBy {
			todo = q.otherwise()
		}
	}
	switch todo {
	case answerFresh, answerMaxStale, refuseNotCached:
		return false
	case passBy:
		return true
	}
	s := &t.store.flights
	s.mu.Lock()
	defer s.mu.Unlock()
	if todo == answerRefresh {
		return !s.refreshesLocked(q)
	}
	return t.joinableLocked(q, t.aloneLocked(q)) == nil
}

// Shares says whether what another transport stores is used by this one too, as
// far as the two have a layer each: they make the same.
func (t *Transport) Shares(other *Transport) bool { return t.scope.Making == other.scope.Making }
