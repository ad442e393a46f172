package compute

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"

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
	_ = unix.Setpriority(unix.PRIO_PGRP, 0, lowest)                     // all threads that there are; else it is only less polite
	_ = os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0o600) // the same
}
