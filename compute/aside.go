package compute

import (
	"os"
	"runtime"
	"sync"
)

// aside lets long work of ours, which cannot yield, run beside requests where
// Go has one processor only: there a request would wait for its slices of
// 10 ms, at every step. With a second one the system shares the core out, and
// it lets a thread that has waited go before one that computes, which says that
// it may be interrupted.
type aside struct {
	mu    sync.Mutex // guards all below
	jobs  int
	added bool // a processor, for them
}

// beside is the process's: its processors are too.
var beside aside

// Beside runs long work beside requests: what a node does that gets another revision ready.
func Beside(job func()) { beside.run(job) }

func (a *aside) run(job func()) {
	a.begin()
	defer a.end()
	interruptibly(job)
}

func (a *aside) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs++; a.jobs == 1 && runtime.GOMAXPROCS(0) == 1 {
		a.added = true
		runtime.GOMAXPROCS(2)
	}
}

func (a *aside) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.jobs--; a.jobs > 0 || !a.added {
		return
	}
	a.added = false
	runtime.GOMAXPROCS(1)
	if os.Getenv("GOMAXPROCS") == "" {
		runtime.SetDefaultGOMAXPROCS() // so that it follows the machine's limits again
	}
}
