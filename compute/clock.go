package compute

import (
	"runtime"
	"time"
)

// meter measures the CPU time of one request. It reads the clock where the
// guest's fuel runs out and where a host function waits, and nowhere else: what
// a host function computes is the guest's.
//
// Between two such places lie microseconds, and what goes by counts as it is,
// until it is more than patience in all: it may be the machine's doing, which
// gave the processor to others. From then on the thread's own clock is asked,
// which is a system call at both ends of each piece, and most requests never
// need it. A goroutine that makes way in a host function would go on with
// another thread's clock, or with what others used of its own, so it is tied to
// its thread for as long as a piece lasts.
type meter struct {
	cpu     time.Duration
	since   time.Time
	thread  time.Duration // at since, if tied
	tied    bool          // to the thread
	exact   bool          // the thread's clock is asked
	paused  int
	yielded time.Time // when the guest last made way; so that the first time is later than those after it, it begins ahead
}

const patience = 2 * time.Millisecond

func (m *meter) start(now time.Time) {
	*m = meter{since: now}
	m.begin(now)
}

// begin is for a request in which nothing was computed yet.
func (m *meter) begin(now time.Time) { m.cpu, m.yielded = 0, now.Add(longAfter-yieldAfter) }

// tick adds what was used since the last look, and returns the sum. While the
// guest waits that is nothing.
func (m *meter) tick(now time.Time) time.Duration {
	if m.paused > 0 {
		return m.cpu
	}
	used := now.Sub(m.since)
	switch {
	case m.tied:
		if at, ok := threadTime(); ok {
			used = min(used, at-m.thread)
		}
		runtime.UnlockOSThread()
	case !m.exact:
		used = min(used, patience)
	}
	m.cpu += used
	m.since, m.tied, m.exact = now, false, m.exact || m.cpu >= patience
	return m.cpu
}

// again is called when the guest has its thread, after a wait or after it made way.
func (m *meter) again(now time.Time) {
	if m.paused > 0 || m.tied {
		return
	}
	m.since = now
	if !m.exact {
		return
	}
	runtime.LockOSThread()
	if m.thread, m.tied = threadTime(); !m.tied {
		runtime.UnlockOSThread()
	}
}

// charge adds what a host function that waits computed beside, by what it says that it did.
func (m *meter) charge(instructions uint64) {
	m.cpu += time.Duration(min(instructions, 1<<32)) * instructionTime
}

// instructionTime is what a simple instruction takes at most, as a rule.
const instructionTime = time.Nanosecond

func (m *meter) pause(now time.Time) {
	if m.paused == 0 {
		m.tick(now)
	}
	m.paused++
}

func (m *meter) resume(now time.Time) {
	if m.paused--; m.paused == 0 {
		m.again(now)
	}
}
