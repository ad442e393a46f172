package node

import (
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/record"
	"github.com/selvage-edge/selvage/rollout"
)

// watches are the watches of the node's services.
type watches struct {
	mu   sync.Mutex
	each map[selvage.ServiceName]*watching // guarded by mu
}

// watching is who counts what is made of a service, from one moment to the next.
type watching struct{ now atomic.Pointer[watched] }

type watched struct {
	change selvage.ChangeID // of the running rollout
	watch  counter
}

// counter counts makings. A [rollout.Watch] is one.
type counter interface {
	Begin(now time.Time, arm selvage.Arm, client uint64, class string) rollout.Making
	End(m rollout.Making, o judge.Outcome, k rollout.Known) judge.Set
	Stored()
	Rescued()
}

// watch is a service's, for good.
func (reg *registry) watch(service selvage.ServiceName) *watching {
	reg.watches.mu.Lock()
	defer reg.watches.mu.Unlock()
	w := reg.watches.each[service]
	if w == nil {
		if reg.watches.each == nil {
			reg.watches.each = make(map[selvage.ServiceName]*watching)
		}
		w = new(watching)
		reg.watches.each[service] = w
	}
	return w
}

// turn lets another watch count, or none.
func (w *watching) turn(change selvage.ChangeID, watch counter) {
	w.now.Store(&watched{change, watch})
}

// stop lets nobody count.
func (w *watching) stop() { w.now.Store(nil) }

// of is who counts what is made for a request, nil if nobody does: a
// request that began in another rollout says nothing in this one, nor does one
// that was given to another arm than the draw said.
func (w *watching) of(rec *record.Record) counter {
	if now := w.now.Load(); now != nil && now.change == rec.Target.Change && !rec.Target.Rescued && !rec.Target.Forced {
		return now.watch
	}
	return nil
}

// making is one that is under way. It is a value, and takes no memory of its own before
// there is an answer: what a request has touched is out of the processor's caches when the origin
// has answered.
type making struct {
	watch    counter
	m        rollout.Making
	rec      *record.Record // whose facts are fixed by now
	asked    *http.Request
	agent    string // of its fields, which are not ours to read later
	status   int    // of the first attempt
	endpoint string // that it went to
}

// begin notes that an arm makes an answer: a run of a function, a forward, a
// collapsed flight. watch is what [watching.of] says.
func begin(watch counter, rec *record.Record, asked *http.Request, now time.Time) making {
	t := &rec.Target
	m := making{watch: watch, m: watch.Begin(now, t.Arm, t.Unit, string(t.Class)), rec: rec, asked: asked}
	if agent := asked.Header["User-Agent"]; len(agent) > 0 {
		m.agent = agent[0]
	}
	return m
}

// end notes what became of it.
func (m making) end(o judge.Outcome) { m.watch.End(m.m, o, &m) }

// Facts implements [rollout.Known].
func (m *making) Facts() rollout.Facts {
	rec := m.rec
	t := &rec.Target
	f := rollout.Facts{
		Trace: rec.Trace.TraceID, Revision: t.Revision, Method: rec.Request.Method, Path: rec.Request.Path, Endpoint: m.endpoint,
		Protocol: rec.Client.Protocol, Status: m.status, Client: rec.Client.Addr, RTT: rec.Client.RTT, Agent: m.agent,
	}
	if t.Arm == selvage.Canary {
		f.Change = t.Change
	}
	return f
}

// maker counts what the arms make: it stands around what makes answers, and the
// cache around it, so that what is stored is never counted.
type maker struct {
	next  http.RoundTripper
	watch *watching
	own   bool // a function: what it asks origins for is not its answer
}

// RoundTrip implements http.RoundTripper.
func (k *maker) RoundTrip(req *http.Request) (*http.Response, error) {
	rec := record.From(req.Context())
	watch := k.watch.of(rec)
	if watch == nil {
		return k.next.RoundTrip(req)
	}
	began := time.Now()
	m := begin(watch, rec, req, began)
	from := rec.Timing.Head                      // as all times of a record from its start
	if from <= 0 || isPaired(rec.Target.Class) { // whose counterpart has no head to wait for
		from = began.Sub(rec.Start)
	}
	own, before := k.own, rec.Origin.Attempts
	res, err := k.next.RoundTrip(req)
	var first record.Attempt
	var ended time.Duration
	if own && res != nil {
		first.Status = res.StatusCode
	} else if !own {
		first, ended = firstOf(rec, before, res, err)
	}
	m.status, m.endpoint = first.Status, first.Endpoint
	if ended <= 0 {
		ended = time.Since(rec.Start)
	}
	o := judge.Outcome{NoBody: true, Latency: max(ended-from, 1)}
	switch {
	case err != nil:
		o.Bad, o.Fingerprint = whyBad(req.Context(), err)
	case first.Error != "" || first.Status >= http.StatusInternalServerError:
		o.Bad = o.Bad.With(judge.OriginError)
	case res.StatusCode == http.StatusSwitchingProtocols:
	case redirects(res.StatusCode) && circles(rec, req.URL.RawQuery, res.Header):
		o.Bad = o.Bad.With(judge.Hollow)
	default:
		watchBody(m, o, res)
		return res, nil
	}
	m.end(o)
	return res, err
}

// firstOf is the first attempt of a call, also where another one saved the user,
// and when it ended, as a distance from the record's start; 0 if that is now.
func firstOf(rec *record.Record, before int, res *http.Response, err error) (a record.Attempt, ended time.Duration) {
	kept := rec.Origin.Kept()
	for i := before; i < len(kept); i++ {
		last := i == rec.Origin.Attempts-1
		if stale := kept[i].Reused && kept[i].Error == selvage.ConnectionTerminated; stale && !last {
			continue // the origin had closed the kept connection before it saw the request
		}
		switch a = kept[i]; {
		case a.FirstByte > 0:
			ended = a.Start + a.FirstByte
		case i+1 < len(kept):
			ended = kept[i+1].Start
		}
		return a, ended
	}
	if err == nil { // a folder, or more attempts than are kept
		a.Status = res.StatusCode
	}
	return a, 0
}

// whyBad says whose fault a call without an answer is. A client that left has
// seen nothing, and half a request is its own.
func whyBad(ctx context.Context, err error) (bad judge.Set, fingerprint string) {
	if limit, ok := errors.AsType[*compute.LimitError](err); ok && ctx.Err() == nil {
		if limit.Trap == nil {
			return bad.With(judge.OverLimit), ""
		}
		return bad.With(judge.OverLimit), limit.Trap.Fingerprint()
	}
	if t, ok := errors.AsType[selvage.Trap](err); ok {
		return bad.With(judge.Trap), t.Fingerprint()
	}
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return bad.With(judge.OverLimit), ""
	case ctx.Err() != nil, isClients(err):
		return 0, ""
	case selvage.OwnFault(err):
		return bad.With(judge.OwnError), ""
	}
	return bad.With(judge.OriginError), ""
}

// isClients says whether an error is the client's own: its request had no proper end.
func isClients(err error) bool {
	pe, ok := errors.AsType[*selvage.ProxyError](err)
	return ok && pe.Type == selvage.RequestError
}

// The body of a making is watched to its end, but not for longer than this: a
// stream has no end, and a client may read as slowly as it likes.
const (
	watchedBody = 64 << 10 // bytes; so much is not empty
	watchedFor  = 5 * time.Second
)

// watchBody ends the making with the answer's body.
func watchBody(m making, o judge.Outcome, res *http.Response) {
	switch {
	case m.asked.Method == http.MethodHead, res.StatusCode == http.StatusNoContent, res.StatusCode == http.StatusNotModified,
		isEvents(res.Header):
		m.end(o)
		return
	case res.Body == http.NoBody || res.Body == nil:
		o.NoBody, o.Bytes = false, max(res.ContentLength, 0)
		m.end(o)
		return
	}
	res.Body = &madeBody{ReadCloser: res.Body, making: m, outcome: o, length: res.ContentLength}
}

func isEvents(h http.Header) bool {
	if len(h["Content-Type"]) == 0 {
		return false
	}
	const events = "text/event-stream"
	text := strings.TrimLeft(h["Content-Type"][0], " \t")
	if len(text) < len(events) || !strings.EqualFold(text[:len(events)], events) {
		return false // as nearly all of them
	}
	t, _, _ := mime.ParseMediaType(text)
	return t == events
}

// madeBody is the body of an answer whose making is not yet over.
type madeBody struct {
	io.ReadCloser
	making  making
	outcome judge.Outcome
	length  int64 // -1 if unknown
	read    atomic.Int64
	timer   *time.Timer // set after the first read that is not the last
	done    atomic.Bool
}

// Read implements io.Reader.
func (b *madeBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if b.done.Load() {
		return n, err
	}
	total := b.read.Add(int64(n))
	switch {
	case err == io.EOF, err == nil && b.length >= 0 && total >= b.length:
		b.over(false, nil)
	case err != nil:
		b.over(true, err)
	case total >= watchedBody:
		b.over(true, nil)
	case b.timer == nil:
		b.timer = time.AfterFunc(watchedFor, func() { b.finish(true, nil) })
	}
	return n, err
}

// Close implements io.Closer. Whoever did not read to the end does not know how long it is.
func (b *madeBody) Close() error {
	b.over(true, nil)
	return b.ReadCloser.Close()
}

// over is finish for who reads.
func (b *madeBody) over(open bool, err error) {
	if b.timer != nil {
		b.timer.Stop()
	}
	b.finish(open, err)
}

// finish ends the making, once. open says that the body was not read to its end.
func (b *madeBody) finish(open bool, err error) {
	if !b.done.CompareAndSwap(false, true) {
		return
	}
	o := b.outcome
	switch {
	case b.length >= 0:
		o.NoBody, o.Bytes = false, b.length
	case !open:
		o.NoBody, o.Bytes = false, b.read.Load()
	}
	if err != nil && b.making.asked.Context().Err() == nil {
		o.Bad, o.NoBody = o.Bad.With(judge.OriginError), true // it broke off
	}
	b.making.watch.End(b.making.m, o, &b.making)
}
