package compute

import (
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tie lets a process end with this one, and gives it a group of its own, whose
// priority it sets. The system watches the thread that starts it, which is kept
// until the caller releases it.
func tie(cmd *exec.Cmd) (release func()) {
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	return runtime.UnlockOSThread
}

// makeWayForAll gives this process, which leads its group, the lowest priority
// of all, for the processor and for memory.
func makeWayForAll() {
	const lowest = 19
	_ = unix.Setpriority(unix.PRIO_PGRP, 0, lowest) // all threads that there are; else it is only less polite
	longSlices()
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0o600) // the same
}

// ownSlice is how long a thread computes at once for what nobody waits for. It is longer than what a thread
// has that wishes nothing, which is 2.8 ms at most, and not much longer: on a busy machine a thread of
// the lowest priority gets one slice in hundreds, and the first would come after half a minute.
const ownSlice = 4 * time.Millisecond

// longSlices asks for longer slices than others have for all threads, which is to say: interrupt me. Since Linux 6.6
// a thread that computes is left to the end of its slice, some milliseconds, also where one
// of a higher priority has been woken; since 6.12 one that wants shorter slices does not wait for
// that. Older ones know no such wish, and do not need it. Threads that begin later
// have it from the one that began them.
func longSlices() {
	for range 2 { // one may have begun another meanwhile
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return
		}
		for _, thread := range threads {
			if id, err := strconv.Atoi(thread.Name()); err == nil {
				setSlice(id, ownSlice)
			}
		}
	}
}

// setSlice asks for slices for a thread; 0 is its own, and without a wish the
// system decides. What is not granted is only less polite.
func setSlice(thread int, wish time.Duration) {
	attr, err := unix.SchedGetAttr(thread, 0)
	if err != nil || attr.Policy != unix.SCHED_NORMAL {
		return
	}
	attr.Runtime = uint64(wish)
	_ = unix.SchedSetAttr(thread, attr, 0)
}

// hasSlice says whether this thread has asked for a slice.
func hasSlice(wish time.Duration) bool {
	attr, err := unix.SchedGetAttr(0, 0)
	return err == nil && attr.Runtime == uint64(wish)
}

// interruptibly runs a job on a thread that lets others interrupt it.
func interruptibly(job func()) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if !hasSlice(ownSlice) { // else it is a part of another job
		setSlice(0, ownSlice)
		defer setSlice(0, 0)
	}
	job()
}
