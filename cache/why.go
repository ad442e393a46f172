package cache

import (
	"net/http"

	"github.com/selvage-edge/selvage/record"
)

// Why is the account of what the cache would do with a request now, rule by rule.
type Why struct {
	Verdict Verdict
	// Facts are those that the request's record would have, and Cache-Status would
	// say. Of a forward they are what is known before the origin answers.
	Facts record.Cache
	// Status is the member of Cache-Status that says them.
	Status string
	// Words say in a sentence why, Then what follows at the origin; it is empty if
	// nothing does.
	Words, Then string
	Steps       []Step
}

// Verdict is what becomes of a request.
type Verdict string

// The verdicts.
const (
	WouldHit     Verdict = "hit"       // answered with what is stored and fresh
	WouldBeStale Verdict = "stale"     // answered with what is stored and stale
	WouldForward Verdict = "forwarded" // the origin is asked
	WouldRefuse  Verdict = "refused"   // 504
)

// Step is what one rule says.
type Step struct {
	Rule    string // one word: key, variant, lifetime …
	Words   string
	Section string // where the rule comes from; empty for a plain fact
	// Against says that it keeps what is stored from being used.
	Against bool
	// Purge is the position of the purge that the step is about, as [Store.Purge]
	// returned it; 0 for none.
	Purge uint64
}

// Why says what the transport would do with a request, by the functions by which
// it does. It asks nobody and changes nothing: no use is counted, what is stored
// stays as it is. The body of a QUERY is read.
func (t *Transport) Why(req *http.Request) (*Why, error) {
	q := t.newInquiry(req)
	q.rec, q.looks = new(record.Record), true
	w := new(Why)
	if err := q.enter(); err != nil {
		return nil, err
	}
	if q.fwd != "" {
		q.rec.Cache.Detail = q.detail
		w.forwards(q)
		w.Then = "the origin is asked, and what it answers is not stored"
		w.tellKey(t, q)
		return w.told(t, q), nil
	}
	t.prepare(q)
	todo, of := t.decide(q), q.found.answer
	var sub *inquiry
	if todo == lookForParts {
		var s stitches
		if s, sub, todo = t.decideByParts(q); todo == passBy {
			todo = q.otherwise()
		}
		of = s.head
	}
	switch todo {
	case answerFresh:
		q.hitBy(of, freshOrMaxStale(of, q))
	case answerMaxStale:
		q.hitBy(of, detailMaxStale)
	case answerRefresh:
		q.hitBy(of, detailWhileRevalidate)
	case refuseNotCached:
		q.refused()
	}
	t.account(w, q, of)
	w.conclude(t, q, todo, sub)
	return w.told(t, q), nil
}

// told ends the account.
func (w *Why) told(t *Transport, q *inquiry) *Why {
	w.Facts, w.Status = q.rec.Cache, t.status(q, 0)
	return w
}

// conclude says the verdict.
func (w *Why) conclude(t *Transport, q *inquiry, todo course, sub *inquiry) {
	c := &q.rec.Cache
	switch {
	case c.Hit && c.Stale:
		w.Verdict, w.Words = WouldBeStale, reason(details, c.Detail).Words
		if todo == answerRefresh {
			w.Then = "the origin is asked in the background"
		}
	case c.Hit:
		w.Verdict, w.Words = WouldHit, "fresh, "+inSeconds(c.TTL)+" left"
	case todo == refuseNotCached:
		r := reason(details, c.Detail)
		w.Verdict, w.Words = WouldRefuse, r.Words
		w.step(Step{Rule: "request", Words: r.Words, Section: r.Section, Against: true})
	case sub != nil:
		q.fwd = sub.fwd
		w.forwards(q)
		w.Then = "the origin is asked for " + sub.want
	default:
		c.Detail = q.found.why()
		w.forwards(q)
		if todo == passBy {
			c.Detail = t.whyPassed(q)
		}
		w.Then = t.then(q, todo)
	}
}

// forwards says that the origin is asked, and why.
func (w *Why) forwards(q *inquiry) {
	c := &q.rec.Cache
	c.Fwd = q.fwd
	r := reason(forwards, q.fwd)
	w.Verdict, w.Words = WouldForward, r.Words
	if c.Detail != "" {
		r = reason(details, c.Detail)
		w.Words = r.Words
	}
	w.step(Step{Rule: "forward", Words: r.Words, Section: r.Section, Against: true})
}

// then is what follows on a forward.
func (t *Transport) then(q *inquiry, todo course) string {
	a := q.found.answer
	switch {
	case todo == passBy && q.rec.Cache.Detail == detailPurged:
		return "the origin is asked as the client asks, and what it answers is not stored"
	case todo == passBy:
		return "the origin is asked as the client asks, and what it answers is not stored: " + reason(details, q.rec.Cache.Detail).Words
	case a != nil && hasValidator(a.header):
		return "the origin is asked whether what is stored is still right"
	}
	return "the origin is asked, and what it answers is stored if it may be"
}

func (w *Why) step(s Step) { w.Steps = append(w.Steps, s) }
