package compute

import (
	"runtime"
	"time"
)

// A guest that has run for longAfter makes way for others, and then after each yieldAfter.
// Most are done before: those that took turns from the beginning would only drive
// each other's memory out of the processor's caches: sixteen JavaScript programs at once
// then take a fourth more. One that has computed for longAfter is long: of those no
// more compute at once than leave a processor to the others, and they take turns, so
// that however many there are a request beside them waits for a slice of one.
const (
	longAfter  = time.Millisecond
	yieldAfter = 100 * time.Microsecond
)

// turns are what long guests compute with: each needs one, and a bell is in it.
type turns chan *bell

func newTurns() turns {
	n := max(1, runtime.GOMAXPROCS(0)-1)
	t := make(turns, n)
	for range n {
		t <- new(bell)
	}
	return t
}

// makeWay lets others go first, and returns when the guest may go on.
func (b *sandbox) makeWay() {
	b.f.engine.stats.yields.Add(1)
	if b.guest.meter.cpu < longAfter {
		runtime.Gosched()
		return
	}
	if b.turn == nil {
		b.takeTurn()
		return
	}
	b.turn.ring()
	b.leaveTurn()
	b.takeTurn()
}

// makeWay lets others go first beside work of ours for a guest that is out of
// its request: what it does is as long as a long guest's.
func (e *Engine) makeWay() {
	e.stats.yields.Add(1)
	turn := <-e.turns
	turn.ring()
	e.turns <- turn
}

// takeTurn waits for a turn, or for the end of the request, which the next look at the clock finds.
func (b *sandbox) takeTurn() {
	select {
	case b.turn = <-b.f.engine.turns:
	case <-b.request.Done():
	}
}

// leaveTurn gives the turn to another.
func (b *sandbox) leaveTurn() {
	if b.turn != nil {
		b.f.engine.turns <- b.turn
		b.turn = nil
	}
}

// wait calls what waits, and says when it was done: that is not the guest's time, nor its turn.
func (b *sandbox) wait(f func()) time.Time {
	b.leaveTurn()
	b.guest.meter.pause(time.Now())
	f()
	now := time.Now()
	b.guest.meter.resume(now)
	return now
}
