package http1

import (
	"net"
	"sync"
	"time"
)

// clock keeps the deadlines of a client's connection. Setting one on a
// connection is dear, so it is lazy: what is set may be earlier than the
// deadline that is meant, never later. When it passes, the clock sees that
// there is time left, sets the right one, and the wait goes on. So a busy
// connection sets a deadline a few times in an idle time, and not twice a
// request.
type clock struct {
	nc    net.Conn
	waits *waits

	mu        sync.Mutex // guards what follows: handlers set deadlines from anywhere
	until     time.Time  // the read deadline that is meant; zero is none
	name      string     // its name as a limit
	armed     time.Time  // the read deadline that is set; zero is none
	total     time.Time  // the end of the request and its answer; zero is none
	userRead  time.Time  // what a handler set
	userWrite time.Time
}

// waits are the deadlines of a server, by what is waited for.
type waits struct {
	read  [serving + 1]time.Duration // serving is the wait for a part of a body
	write time.Duration
	total time.Duration
}

var phaseLimit = [...]string{fresh: "deadline_head", idle: "deadline_idle", inHead: "deadline_head", serving: "deadline_body"}

// waitForHead means the deadline of a phase that began at since.
func (k *clock) waitForHead(p phase, since time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.total, k.userRead, k.userWrite = time.Time{}, time.Time{}, time.Time{}
	k.until, k.name = after(since, k.waits.read[p]), phaseLimit[p]
	k.armLocked()
}

// waitForBody means the deadline for the next part of a body.
func (k *clock) waitForBody(now time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.until, k.name = after(now, k.waits.read[serving]), phaseLimit[serving]
	if sooner(k.total, k.until) {
		k.until, k.name = k.total, "deadline_total"
	}
	if sooner(k.userRead, k.until) {
		k.until, k.name = k.userRead, ""
	}
	k.armLocked()
}

// armLocked sets the deadline that is meant, unless an earlier one is set.
func (k *clock) armLocked() {
	if sooner(k.until, k.armed) {
		k.armed = k.until
		_ = k.nc.SetReadDeadline(k.armed)
	}
}

// readPassed is asked when a read deadline passed: was it the one that is
// meant? If not it sets that one.
func (k *clock) readPassed(now time.Time) (name string, passed bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if sooner(k.userRead, k.until) {
		k.until, k.name = k.userRead, ""
	}
	if !k.until.IsZero() && !now.Before(k.until) {
		return k.name, true
	}
	k.armed = k.until
	_ = k.nc.SetReadDeadline(k.armed)
	return "", false
}

// disarm takes the read deadline away.
func (k *clock) disarm() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.armed = time.Time{}
	_ = k.nc.SetReadDeadline(time.Time{})
}

// begin forgets what the last handler set, and notes when this one has to be through.
func (k *clock) begin(total time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.total, k.userRead, k.userWrite = total, time.Time{}, time.Time{}
}

// waitForWrite sets the deadline for the next part of an answer and says which
// it is.
func (k *clock) waitForWrite(now time.Time) (until time.Time, name string, err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	until, name = after(now, k.waits.write), "deadline_write"
	if sooner(k.total, until) {
		until, name = k.total, "deadline_total"
	}
	if sooner(k.userWrite, until) {
		until, name = k.userWrite, ""
	}
	return until, name, k.nc.SetWriteDeadline(until)
}

// setRead is a handler's read deadline.
func (k *clock) setRead(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.userRead = t
	if t.IsZero() {
		return nil
	}
	k.armed = t
	return k.nc.SetReadDeadline(t)
}

// interrupt ends a read that waits for a body.
func (k *clock) interrupt() { _ = k.setRead(longAgo) }

// setWrite is a handler's write deadline.
func (k *clock) setWrite(t time.Time) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.userWrite = t
	return k.nc.SetWriteDeadline(t)
}

// after is d after t, and no deadline if d is 0.
func after(t time.Time, d time.Duration) time.Time {
	if d <= 0 {
		return time.Time{}
	}
	return t.Add(d)
}

// sooner says whether a is a deadline and passes before b, which may be none.
func sooner(a, b time.Time) bool {
	return !a.IsZero() && (b.IsZero() || a.Before(b))
}

// deadlineError says which deadline passed.
type deadlineError struct {
	limit string // empty for one that a handler set
	err   error
}

func (e *deadlineError) Error() string { return "deadline passed: " + e.err.Error() }
func (e *deadlineError) Unwrap() error { return e.err }

// Timeout makes it a timeout for net and net/http.
func (e *deadlineError) Timeout() bool { return true }
