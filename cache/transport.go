package cache

import (
	"cmp"
	"context"
	"net/http"
	"net/http/httptrace"
	"time"
)

// maxWaits is how many flights a request waits for in vain, because their
// answers are selected by other fields, before it goes on its own.
const maxWaits = 2

// RoundTrip implements http.RoundTripper. The answer's header is the caller's
// own map, but its slices of values are shared: they must be replaced, not
// written to. The record in the request's context is told what was done.
func (t *Transport) RoundTrip(req *http.Request) (*http.Response, error) {
	q := t.newInquiry(req)
	err := q.enter()
	switch {
	case err != nil:
		return nil, err
	case q.fwd == "":
		return t.serve(q)
	case q.fwd == fwdMethod:
		return t.change(q)
	}
	if q.detail == bypassQuery {
		t.store.reached("query")
	}
	return t.pass(q, q.detail)
}

// change passes on what may change something.
func (t *Transport) change(q *inquiry) (*http.Response, error) {
	post := t.newPost(q)
	res, err := t.pass(q, "")
	if err == nil && !isSafe(q.req.Method) {
		post.keep(res, t.store.changed(&t.scope, keyOf(&t.scope, q.req), res))
	}
	return res, err
}

// course is what follows from what is stored.
type course int

const (
	answerFresh     course = iota // with what is stored
	answerMaxStale                // with what is stale: the client takes it
	answerRefresh                 // with what is stale, and fetch a new one meanwhile
	lookForParts                  // then what otherwise says, where they are of no use
	refuseNotCached               // with 504
	passBy                        // to the origin, and store nothing
	fetch                         // from the origin, and store it
)

// decide looks up what is stored for a request and says what to do.
func (t *Transport) decide(q *inquiry) course {
	q.key = t.store.searches.keyed(q.exact)
	switch q.consider(t.lookup(q)) {
	case useFresh:
		return answerFresh
	case useAllowedStale:
		return answerMaxStale
	case useWhileRefresh:
		return answerRefresh
	}
	if q.piecewise() {
		return lookForParts
	}
	return q.otherwise()
}

// otherwise is what to do with a request that nothing is stored for.
func (q *inquiry) otherwise() course {
	switch {
	case q.directives.onlyIfCached:
		return refuseNotCached
	case !q.collects():
		return passBy
	}
	return fetch
}

// prepare makes the request what is sent on.
func (t *Transport) prepare(q *inquiry) {
	q.req = t.keys.narrowed(q.req)
	q.identity(t.scope.Coder)
}

// serve answers from the store, or waits for a flight until one brings an
// answer that may be given.
func (t *Transport) serve(q *inquiry) (*http.Response, error) {
	alone := false
	t.prepare(q)
	for waited := 0; ; waited++ {
		todo := t.decide(q)
		q.lone = waited == 0 && (todo == answerFresh || todo == answerMaxStale)
		if todo == lookForParts {
			if res, ok, err := t.byParts(q); ok {
				return res, err
			}
			todo = q.otherwise()
		}
		switch todo {
		case answerFresh:
			return t.hit(q, ""), nil
		case answerMaxStale:
			return t.hit(q, detailMaxStale), nil
		case answerRefresh:
			t.refresh(q)
			return t.hit(q, detailWhileRevalidate), nil
		case refuseNotCached:
			return t.notCached(q), nil
		case passBy:
			return t.pass(q, t.whyPassed(q))
		}
		f, part := t.join(q, alone || waited >= maxWaits)
		switch part {
		case noPart:
			return t.pass(q, passClosing)
		case lookAgain:
			continue
		}
		res, next, err := t.await(q, f, part == leads)
		if next == done {
			return res, err
		}
		alone = next == goAlone
		q.now = time.Now()
	}
}

// afterwards says what follows on a flight for one of those who waited.
type afterwards int

const (
	done    afterwards = iota
	tryNext            // its answer is selected by other fields, or was made invalid
	goAlone            // its answer is for its leader alone
)

// await waits for a flight's outcome and makes an answer of it.
func (t *Transport) await(q *inquiry, f *flight, leader bool) (*http.Response, afterwards, error) {
	if err := f.wait(q.req.Context(), leader); err != nil {
		f.leave(leader)
		return nil, done, err
	}
	o := &f.outcome
	if leader {
		q.rec.Origin = o.record.Origin
		q.rec.Detail = o.record.Detail
		q.rec.LimitHit = o.record.LimitHit
	}
	c := &q.rec.Cache
	c.Fwd, c.FwdStatus, c.Collapsed = q.fwd, o.status, !leader
	switch {
	case !leader && (o.standIn || o.err != nil) && t.mayStandIn(q) != o.standIn: // by his own wishes
		f.leave(false)
		if o.standIn {
			return nil, goAlone, nil
		}
		return t.standIn(q), done, nil
	case o.standIn:
		f.leave(leader)
		return t.standIn(q), done, nil
	case o.err != nil:
		f.leave(leader)
		return nil, done, o.err
	case o.private != nil && leader:
		return t.handOver(q, f), done, nil
	case o.private != nil:
		f.leave(false)
		if o.why == refusePurged {
			return nil, tryNext, nil
		}
		return nil, goAlone, nil
	case leader:
		c.Stored, c.Detail = o.why == storeIt && !o.validated, cmp.Or(string(o.why), q.found.why())
		return t.respond(q, o.answer, f, o.answer.hadAge), done, nil
	}
	now := time.Now()
	switch {
	case !o.shared || judge(now, &o.answer.terms, requestDirectives{}) != useFresh:
		f.leave(false)
		return nil, goAlone, nil
	case !selected(o.answer.selectors, q.req.Header), f.fate(o.answer) != unpurged:
		f.leave(false)
		return nil, tryNext, nil
	}
	q.now = now
	return t.respond(q, o.answer, f, true), done, nil
}

// wait waits for a flight's outcome, and passes interim answers on to the leader's client.
func (f *flight) wait(ctx context.Context, leader bool) error {
	var heard <-chan interim
	trace := httptrace.ContextClientTrace(ctx)
	if leader && trace != nil && trace.Got1xxResponse != nil {
		heard = f.interim
	}
	for {
		select {
		case <-f.settled:
			// What came before the head goes out before it.
			for len(heard) > 0 {
				if i := <-heard; trace.Got1xxResponse(i.status, i.header) != nil {
					return context.Canceled
				}
			}
			return nil
		case i := <-heard:
			if err := trace.Got1xxResponse(i.status, i.header); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// whyPassed is the word for why the answer to a request that may be answered from
// the store, and was not, is not stored.
func (t *Transport) whyPassed(q *inquiry) string {
	switch {
	case q.directives.noStore:
		return string(refuseRequest)
	case q.found.why() != "":
		return q.found.why()
	case q.req.Method == http.MethodHead:
		return passHead
	}
	if why, known := t.knownUnstorable(q); known && why != storeIt {
		return string(why)
	}
	return passRange
}

// pass forwards a request as it is and stores nothing. detail is why, if that
// needs a word.
func (t *Transport) pass(q *inquiry, detail string) (*http.Response, error) {
	c := &q.rec.Cache
	c.Fwd, c.Detail = q.fwd, detail
	res, err := t.next.RoundTrip(q.req)
	if err == nil {
		c.FwdStatus = res.StatusCode
	}
	failed := err != nil || isFailure(res.StatusCode)
	if failed && q.req.Context().Err() == nil && t.mayStandIn(q) {
		if err == nil {
			res.Body.Close()
		}
		return t.standIn(q), nil
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusSwitchingProtocols {
		return res, nil
	}
	t.learnFromHead(q, res)
	if q.post != nil {
		q.post.hear(res)
	}
	t.takeOurs(res.Header)
	addStatus(res.Header, t.status(q, res.StatusCode))
	return res, nil
}

// mayStandIn says whether what was found may be given in place of an error.
func (t *Transport) mayStandIn(q *inquiry) bool {
	a := q.found.answer
	return a != nil && standsIn(time.Now(), &a.terms, q.directives) && !t.goneNow(q)
}

// goneNow says whether what was found has been purged since.
func (t *Transport) goneNow(q *inquiry) bool {
	f, _ := t.ledger.fate(&q.key, q.found.answer)
	return f.gone()
}

// invalidator is the cache of a route that stores nothing.
type invalidator struct {
	store *Store
	scope Scope
	next  http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (v *invalidator) RoundTrip(req *http.Request) (*http.Response, error) {
	if isSafe(req.Method) {
		return v.next.RoundTrip(req)
	}
	key := keyOf(&v.scope, req)
	res, err := v.next.RoundTrip(req)
	if err == nil {
		v.store.changed(&v.scope, key, res)
	}
	return res, err
}
