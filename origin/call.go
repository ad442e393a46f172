package origin

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/spool"
)

var errTotal = errors.New("the total deadline passed")

// call is one request with all its attempts.
type call struct {
	pool   *Pool
	req    *http.Request
	rec    *record.Record
	start  time.Time
	canary bool         // of a rollout: what fails for it says nothing to others
	once   bool         // the request must not reach the origin twice
	spool  *spool.Spool // of the body; nil without one, or with one try only

	ctx    context.Context         // the caller's, with the total deadline if there is a timer
	cancel context.CancelCauseFunc // ends ctx; nil if it is the caller's
	timer  *time.Timer             // the total deadline, until the head is there

	tries     int
	tried     [maxAttempts]*peer
	usedStale bool // a retry was made because of a stale connection
}

// RoundTrip is http.RoundTripper.
func (p *Pool) RoundTrip(req *http.Request) (*http.Response, error) {
	c := call{pool: p, req: req, ctx: req.Context(), start: time.Now()}
	c.rec = record.From(c.ctx) //nolint:contextcheck // it is the request's
	if p.folder != nil {
		return c.file()
	}
	c.canary = c.rec.Target.Arm == selvage.Canary
	c.budget().request(c.start)
	c.prepare()
	for now := c.start; ; now = time.Now() {
		peer, trial := p.pick(now, c.tried[:c.tries], c.canary)
		if peer == nil {
			// Only a name that never resolved is worth a second look.
			if err := c.resolve(); err != nil {
				return nil, c.fail(err)
			}
			if peer, trial = p.pick(time.Now(), c.tried[:c.tries], c.canary); peer == nil {
				return nil, c.fail(p.error(selvage.DestinationDown, "", errors.New("every endpoint is out")))
			}
		}
		a := c.attempt(peer, trial, now) //nolint:contextcheck // the call carries it
		if !c.again(a) {
			if a.err != nil {
				return nil, c.fail(a.err)
			}
			return c.pass(a), nil
		}
	}
}

func (c *call) budget() *budget {
	if c.canary {
		return &c.pool.apart
	}
	return &c.pool.budget
}

// file answers from a folder.
func (c *call) file() (*http.Response, error) {
	if c.req.Body != nil {
		c.req.Body.Close()
	}
	resp, err := c.pool.folder.roundTrip(c.req)
	if err != nil {
		return nil, c.note(err)
	}
	return resp, nil
}

// prepare decides what the request needs beside its first attempt.
func (c *call) prepare() {
	hasBody := c.req.Body != nil && c.req.Body != http.NoBody
	c.once = !idempotent(c.req.Method) || c.req.Header["Upgrade"] != nil || meansAnother(c.req.Header)
	if hasBody && c.pool.set.Retry.Attempts > 1 {
		c.spool = spool.New(c.req.Body, spool.Options{Memory: int64(c.pool.set.Retry.Body)})
	}
	// A first attempt without a body waits for a connection, dials, and waits for
	// the head, each with its own bound. Where these end before the total deadline
	// would, the plain path is spared its timer.
	t := &c.pool.set.Timeout
	alone := 2*t.Connect.Std() + t.FirstByte.Std()
	if hasBody || t.Connect == 0 || t.FirstByte == 0 || alone > t.Total.Std() {
		c.limit()
	}
}

// limit puts the total deadline over ctx.
func (c *call) limit() {
	total := c.pool.set.Timeout.Total.Std()
	if total <= 0 || c.timer != nil {
		return
	}
	ctx, cancel := context.WithCancelCause(c.req.Context())
	c.ctx, c.cancel = ctx, cancel
	c.timer = time.AfterFunc(total-time.Since(c.start), func() { cancel(errTotal) })
}

// resolve looks up the names of endpoints without an address. It is nil if there
// is one now, or if all have some and none may be used.
func (c *call) resolve() *selvage.ProxyError {
	if len(c.pool.members.Load().peers) > 0 {
		return nil
	}
	c.limit()
	var failed error
	for _, e := range c.pool.endpoints {
		err := e.need(c.ctx)
		if err == nil {
			return nil
		}
		failed = err
	}
	if cause := context.Cause(c.ctx); cause != nil && c.req.Context().Err() == nil {
		return c.pool.error(selvage.DNSTimeout, "", cause)
	}
	return c.pool.error(dnsErrorType(failed), "", failed)
}

// again says whether the request is sent once more, and waits as long as it should.
// The attempt is then given up.
func (c *call) again(a *attempt) bool {
	set, now := &c.pool.set.Retry, time.Now()
	switch {
	case c.tries >= set.Attempts || !repeatable(a.result, c.once, set.Statuses):
		return false
	case c.req.Context().Err() != nil:
		return false
	case c.spool != nil && c.spool.Overflowed():
		return false
	}
	others := c.pool.othersFree(now, c.tried[:c.tries], c.canary)
	if a.result.err == selvage.ConnectionLimit && !others {
		return false
	}
	var wait time.Duration
	switch {
	case a.stale() && !c.usedStale:
		// The connection used last is the youngest: all that are kept are as old or older.
		c.usedStale = true
		a.peer.rt.CloseIdle()
	case a.free() && others:
	case !c.budget().retry(now):
		c.budgetHit()
		return false
	default:
		if d := backoff(set.Backoff.Std(), c.tries); d > 0 {
			wait = rand.N(d)
		}
	}
	if total := c.pool.set.Timeout.Total.Std(); total > 0 && now.Add(wait).Sub(c.start) >= total {
		return false
	}
	a.giveUp()
	c.limit()
	if wait > 0 {
		c.sleep(wait)
	}
	return true
}

// sleep waits. If the request ends before, the next attempt finds that out.
func (c *call) sleep(d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-c.ctx.Done():
	}
}

func (c *call) budgetHit() {
	const limit = "retry_budget"
	if c.req.Context().Value(record.Key) == nil {
		c.pool.reg.limitHit(limit)
		return
	}
	c.rec.LimitHit = limit
}

// pass gives the answer to the caller.
func (c *call) pass(a *attempt) *http.Response {
	if c.timer != nil {
		c.timer.Stop() // if it ran in this moment, reading the body says so
	}
	a.cancel = c.cancel
	if c.spool != nil {
		_ = c.spool.Close() // the attempt's reader is still open
	}
	return a.handOver(c.req)
}

// fail ends the call without an answer.
func (c *call) fail(err *selvage.ProxyError) error {
	if c.timer != nil {
		c.timer.Stop()
	}
	if c.cancel != nil {
		c.cancel(err)
	}
	switch {
	case c.spool != nil:
		_ = c.spool.Close() // the error was given out by a reader
	case c.req.Body != nil:
		c.req.Body.Close()
	}
	return c.note(err)
}

// note tells the record why there is no answer.
func (c *call) note(err *selvage.ProxyError) error {
	c.rec.Origin.Type = err.Type
	if c.rec.Detail == "" {
		c.rec.Detail = err.Error()
	}
	return err
}
