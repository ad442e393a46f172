package compute

import "time"

// meter measures the CPU time of one request. It reads the clock where the
// guest's fuel runs out and where a host function waits, and nowhere else: what
// a host function computes is the guest's.
//
// It takes the thread's CPU time where the system has it, so that a busy
// machine is no fault of the guest's: nothing moves compiled code to another
// thread, and where a host function was moved, what counts lies between nothing
// and the time that went by.
type meter struct {
	cpu       time.Duration
	since     time.Time
	thread    time.Duration // at since
	hasThread bool
	paused    int
}

func (m *meter) start(now time.Time) {
	*m = meter{since: now}
	m.thread, m.hasThread = threadTime()
}

// tick adds what was used since the last look, and returns the sum.
func (m *meter) tick(now time.Time) time.Duration {
	used := now.Sub(m.since)
	if m.hasThread {
		if at, ok := threadTime(); ok && at >= m.thread {
			used = min(used, at-m.thread)
		}
	}
	m.cpu += used
	m.since, m.hasThread = now, false
	return m.cpu
}

// again is called at the end of a tick, when the guest has its thread.
func (m *meter) again() {
	m.since = time.Now()
	m.thread, m.hasThread = threadTime()
}

func (m *meter) pause(now time.Time) {
	if m.paused++; m.paused == 1 {
		m.tick(now)
	}
}

func (m *meter) resume(now time.Time) {
	if m.paused--; m.paused == 0 {
		m.since = now
		m.thread, m.hasThread = threadTime()
	}
}
