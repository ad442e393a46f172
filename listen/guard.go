package listen

import (
	"context"
	"net/http"
	"sync"
	"time"
)

// The names of the deadlines as limits; package http1 has the same.
const (
	limitBody  = "deadline_body"
	limitWrite = "deadline_write"
	limitTotal = "deadline_total"
)

// longAgo is a deadline that has passed.
var longAgo = time.Unix(1, 0)

// lastWords is how long a handler has after the total deadline to end its answer.
const lastWords = 5 * time.Second

// guard keeps the deadlines of a stream with one timer. net/http has deadlines
// of its own, but setting one is a message to the connection's loop, and there
// are two for every part of a body; so it is only told of those that passed.
type guard struct {
	w                  *http.ResponseController
	start              time.Time
	read, write, total time.Duration // 0 is no bound

	mu      sync.Mutex // guards what follows, and is held while net/http is told
	cancel  context.CancelCauseFunc
	timer   *time.Timer
	due     time.Time // when the timer fires; zero if it does not run
	reading time.Time // since when a read waits; zero if none does
	writing time.Time
	over    bool
	passed  string // the first deadline that passed
}

// begin starts the total deadline. cancel is the handler's context's.
func (g *guard) begin(cancel context.CancelCauseFunc) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.cancel = cancel
	if g.total > 0 {
		g.armLocked(g.start.Add(g.total))
	}
}

func (g *guard) reads()      { g.mark(&g.reading, g.read) }
func (g *guard) writes()     { g.mark(&g.writing, g.write) }
func (g *guard) hasRead()    { g.unmark(&g.reading) }
func (g *guard) hasWritten() { g.unmark(&g.writing) }

func (g *guard) mark(since *time.Time, d time.Duration) {
	if d <= 0 {
		return
	}
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	*since = now
	g.armLocked(now.Add(d))
}

func (g *guard) unmark(since *time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	*since = time.Time{}
}

// armLocked has the timer fire at t, if it would not fire sooner. It is never
// put off: when it fires too soon it looks and goes on.
func (g *guard) armLocked(t time.Time) {
	switch {
	case g.over:
	case g.timer == nil:
		g.due = t
		g.timer = time.AfterFunc(time.Until(t), g.fire)
	case g.due.IsZero() || t.Before(g.due):
		g.due = t
		g.timer.Reset(time.Until(t))
	}
}

// fire looks which deadlines have passed. What it tells net/http never waits
// for a handler.
func (g *guard) fire() {
	now := time.Now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.over {
		return
	}
	g.due = time.Time{}
	if at, ok := deadline(g.writing, g.write); ok {
		if !now.Before(at) {
			g.passedLocked(limitWrite)
			_ = g.w.SetWriteDeadline(longAgo) // resets the stream
			return
		}
		g.armLocked(at)
	}
	if at, ok := deadline(g.reading, g.read); ok {
		if !now.Before(at) {
			g.passedLocked(limitBody)
			_ = g.w.SetReadDeadline(longAgo)
			g.reading = time.Time{}
		} else {
			g.armLocked(at)
		}
	}
	g.totalLocked(now)
}

func (g *guard) totalLocked(now time.Time) {
	at, ok := deadline(g.start, g.total)
	switch {
	case !ok:
	case now.Before(at):
		g.armLocked(at)
	case now.Before(at.Add(lastWords)):
		g.passedLocked(limitTotal)
		g.cancel(context.DeadlineExceeded)
		_ = g.w.SetReadDeadline(longAgo)
		g.armLocked(at.Add(lastWords))
	default:
		_ = g.w.SetWriteDeadline(longAgo) // resets the stream
	}
}

func (g *guard) passedLocked(limit string) {
	if g.passed == "" {
		g.passed = limit
	}
}

func deadline(since time.Time, d time.Duration) (time.Time, bool) {
	return since.Add(d), d > 0 && !since.IsZero()
}

// expired is the deadline that passed, empty if none did.
func (g *guard) expired() string {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.passed
}

// end stops the guard. After it nothing of the stream is touched, since
// net/http uses it again.
func (g *guard) end() (passed string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
	if g.timer != nil {
		g.timer.Stop()
	}
	return g.passed
}

// lastWrite gives what net/http still holds of an answer its time: it sends it
// when the handler has returned, and would wait for the client without end.
func (g *guard) lastWrite(n int64) {
	if n > 0 && g.write > 0 {
		_ = g.w.SetWriteDeadline(time.Now().Add(g.write))
	}
}
