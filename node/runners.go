package node

import (
	"sync"
	"sync/atomic"
)

// runners are the goroutines that functions run on. One whose function has
// ended waits for the next: its stack has grown to what functions need, and a
// request need not begin with that. They end with the node, and half of those
// that nobody needed go each time somebody trims.
type runners struct {
	all  sync.WaitGroup
	next chan run // nil ends who takes it
	idle atomic.Int64
}

// run is a run of a function. A [guestTurn] is one.
type run interface{ serve() }

func newRunners() *runners { return &runners{next: make(chan run)} }

// run serves beside the caller.
func (r *runners) run(t run) {
	select {
	case r.next <- t:
	default:
		r.all.Go(func() { r.loop(t) }) // wait waits for it
	}
}

func (r *runners) loop(t run) {
	for t != nil {
		t.serve()
		r.idle.Add(1)
		t = <-r.next
		r.idle.Add(-1)
	}
}

// trim ends half of those that wait.
func (r *runners) trim() {
	for range (r.idle.Load() + 1) / 2 {
		select {
		case r.next <- nil:
		default:
		}
	}
}

// wait ends them all, and returns when the last function has. Nobody runs one any more.
func (r *runners) wait() {
	over := make(chan struct{})
	go func() { // the loop below waits for it
		r.all.Wait()
		close(over)
	}()
	for {
		select {
		case r.next <- nil:
		case <-over:
			return
		}
	}
}
