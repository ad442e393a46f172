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
// It says whether there is such an answer: also where it is being fetched already, and where
// no more fetches may run.
func (t *Transport) Anew(rec *record.Record, req *http.Request) bool {
	if req.Method != http.MethodGet || len(req.Header["Range"]) > 0 {
		return false
	}
	q := t.newInquiry(req)
	q.rec, q.looks = rec, true
	if q.enter() != nil || q.fwd != "" {
		return false
	}
	t.prepare(q)
	if t.decide(q) != answerFresh {
		return false
	}
	t.background(q, MaxAnew, "controls", func(f *flight) { f.anew = true })
	return true
}

// Fresh says whether a fresh answer to a request is stored. It notes nothing.
func (t *Transport) Fresh(req *http.Request) bool {
	q := t.newInquiry(req)
	q.rec, q.looks = new(record.Record), true
	if q.enter() != nil || q.fwd != "" {
		return false
	}
	t.prepare(q)
	return t.decide(q) == answerFresh
}

// Shares says whether what another transport stores is used by this one too, as
// far as the two have a layer each: they make the same.
func (t *Transport) Shares(other *Transport) bool { return t.scope.Making == other.scope.Making }
