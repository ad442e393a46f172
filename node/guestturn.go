package node

import (
	"cmp"
	"context"
	"net/http"
	"time"

	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
)

// guestTurn is one request in a sandbox. Most sandboxes have one turn and are
// set back; those of a function with reuse may have several.
type guestTurn struct {
	f   *function
	p   *program
	c   *call
	w   guestAnswer
	in  compute.Invocation
	req http.Request // as the program gets it
	log guestLog
	ctx turnContext // the program's
}

// turn makes the turn of a request, which has a user of the program and of the revision.
func (f *function) turn(req *http.Request, p *program, c *call, body *guestBody) *guestTurn {
	t := &guestTurn{f: f, p: p, c: c, log: guestLog{c: c}}
	t.w.begin(req, body)
	t.ctx.begin(req.Context(), t)
	t.req = *req.WithContext(&t.ctx)
	if body != nil {
		t.req.Body = body
	}
	t.in = compute.Invocation{
		W: &t.w, R: &t.req, Client: clientOf(req.Context(), &c.rec), Fetch: c.fetch, Log: t.log.take,
		Holds: answerBuffer, Origin: string(cmp.Or(f.own, f.set.OtherBackends)), Complete: t.complete,
	}
	return t
}

// complete makes the header of the request, if that was left for later.
func (t *guestTurn) complete() { whole(t.w.req); t.req.Header = t.w.req.Header }

// over ends the turn: the program has ended with err, or is in another request.
func (t *guestTurn) over(err error) {
	defer t.f.rev.release()
	defer t.p.release()
	t.log.end(err, err != nil && t.ctx.Err() != nil)
	t.ctx.end()
	t.c.dynamic.close(&t.c.f.rev.dynamic)
	t.w.finish(err, t.in.Usage)
}

// serve runs the program for a request, and for those that follow it in the same sandbox.
func (t *guestTurn) serve() {
	p := t.p
	if p.reuse == 0 {
		t.over(p.fn.Serve(&t.ctx, &t.in))
		return
	}
	select {
	case p.seats <- struct{}{}:
	default:
		p.of.onLimit("function_sandboxes")
		select {
		case p.seats <- struct{}{}:
		case p.next <- t:
			return // a sandbox was done with another request
		case <-t.ctx.Done():
			t.over(context.Cause(&t.ctx))
			return
		}
	}
	s := &sequence{p: p, now: t, left: p.reuse - 1}
	t.in.Extra = s.request(t)
	err := p.fn.Serve(&t.ctx, &t.in)
	<-p.seats
	s.now.over(err)
}

// follows gives a request to a sandbox that waits for one; false if none does.
func (p *program) follows(t *guestTurn) bool {
	select {
	case p.next <- t: // never, if it is nil
		return true
	default:
		return false
	}
}

// sequence is a sandbox that serves several requests in turn. It belongs to the
// goroutine of the sandbox, but for next, which is called by one other at a time.
type sequence struct {
	p    *program
	now  *guestTurn
	left int // how many may follow
}

// maxNextWait is how long a sandbox waits for another request at most.
const maxNextWait = 10 * time.Second

func (s *sequence) request(t *guestTurn) *fastly.Request {
	r := &fastly.Request{Done: func(cpu time.Duration) {
		var u compute.Usage
		if cpu > 0 { // it is the guest that says so, and not what goes on beside it
			u = t.in.Usage
			u.CPU = cpu
		}
		t.w.finish(nil, u)
	}}
	if s.left > 0 {
		r.Next = s.next
	}
	return r
}

// next waits for another request.
func (s *sequence) next(ctx context.Context, wait time.Duration) *fastly.Following {
	timeout := time.NewTimer(min(wait, maxNextWait))
	defer timeout.Stop()
	select {
	case t := <-s.p.next:
		return &fastly.Following{
			Invocation: &t.in,
			Begin: func() {
				s.now.over(nil)
				s.now = t
				s.left--
				t.in.Extra = s.request(t)
			},
			Refuse: func() { s.p.of.running.run(t) },
		}
	case <-timeout.C:
	case <-ctx.Done():
	}
	return nil
}
