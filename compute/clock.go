package compute

import "time"

// meter measures the CPU time of one request. It reads the clock where the
// guest's fuel runs out and where a host function waits, and nowhere else: what
// a host function computes is the guest's.
//
// Between two such places lie microseconds, and what goes by counts as it is. A
// piece that took longer than patience may be the machine's doing, which gave
// the processor to others: it counts as patience, once, and from then on the
// thread's own clock is asked too. That is a system call at both ends of each
// piece, which most requests never need. Nothing moves compiled code to another
// thread, and where a host function was moved, what counts lies between nothing
// and the time that went by.
type meter struct {
	cpu       time.Duration
	since     time.Time
	thread    time.Duration // at since, with hasThread
	hasThread bool
	exact     bool // a piece was longer than patience
	paused    int
	yielded   time.Time // when the guest last made way, or began
}

const patience = 2 * time.Millisecond

func (m *meter) start(now time.Time) { *m = meter{since: now, yielded: now} }

// tick adds what was used since the last look, and returns the sum.
func (m *meter) tick(now time.Time) time.Duration {
	used := now.Sub(m.since)
	switch {
	case m.hasThread:
		if at, ok := threadTime(); ok && at >= m.thread {
			used = min(used, at-m.thread)
		}
	case used > patience && !m.exact:
		used, m.exact = patience, true
	}
	m.cpu += used
	m.since, m.hasThread = now, false
	return m.cpu
}

// again is called when the guest has its thread, after a wait or after it made way.
func (m *meter) again(now time.Time) {
	m.since = now
	if m.exact {
		m.thread, m.hasThread = threadTime()
	}
}

func (m *meter) pause(now time.Time) {
	if m.paused++; m.paused == 1 {
		m.tick(now)
	}
}

func (m *meter) resume(now time.Time) {
	if m.paused--; m.paused == 0 {
		m.again(now)
	}
}
