package compute

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// lowestPriorities is what priorities are where others go first.
const lowestPriorities = "threads 19, short slices 0, memory 1000"

// priorities are those of this process: of all its threads, how many of those would be left to the end of a short
// slice, and of its memory.
func priorities() string {
	short := 0
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err.Error()
	}
	var all []string
	for _, thread := range threads {
		id, err := strconv.Atoi(thread.Name())
		if err != nil {
			return err.Error()
		}
		raw, err := unix.Getpriority(unix.PRIO_PROCESS, id) // 20 less what is meant
		if err == nil {                                     // else it has just ended
			all = append(all, strconv.Itoa(20-raw))
		}
		// A system that does not know the wish says nothing of slices.
		if attr, err := unix.SchedGetAttr(id, 0); err == nil && attr.Runtime > 0 && attr.Runtime != uint64(ownSlice) {
			short++
		}
	}
	slices.Sort(all)
	memory, err := os.ReadFile("/proc/self/oom_score_adj")
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("threads %s, short slices %d, memory %s", strings.Join(slices.Compact(all), " "), short, strings.TrimSpace(string(memory)))
}

func TestWorkBesideRequestsMayBeInterrupted(t *testing.T) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	slice := func() uint64 {
		attr, err := unix.SchedGetAttr(0, 0)
		if err != nil {
			t.Fatal(err)
		}
		return attr.Runtime
	}
	before := slice()
	if before == 0 {
		t.Skip("this system knows no wishes for slices")
	}
	var within uint64
	a := new(aside)
	a.run(func() {
		a.run(func() {}) // it leaves its caller what it has
		within = slice()
	})
	if within != uint64(ownSlice) {
		t.Errorf("its slice was %d ns, want %d", within, ownSlice)
	}
	if after := slice(); after != before {
		t.Errorf("the thread's slice is %d ns after it, was %d", after, before)
	}
}
