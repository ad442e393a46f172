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
	all   sync.WaitGroup
	next  chan func()
	fewer chan struct{}
	end   chan struct{}
	idle  atomic.Int64
}

func newRunners() *runners {
	return &runners{next: make(chan func()), fewer: make(chan struct{}), end: make(chan struct{})}
}

// run runs f beside the caller.
func (r *runners) run(f func()) {
	select {
	case r.next <- f:
	default:
		r.all.Go(func() { r.loop(f) }) // wait waits for it
	}
}

func (r *runners) loop(f func()) {
	for f != nil {
		f()
		r.idle.Add(1)
		select {
		case f = <-r.next:
		case <-r.fewer:
			f = nil
		case <-r.end:
			f = nil
		}
		r.idle.Add(-1)
	}
}

// trim ends half of those that wait.
func (r *runners) trim() {
	for range (r.idle.Load() + 1) / 2 {
		select {
		case r.fewer <- struct{}{}:
		default:
		}
	}
}

// wait ends them all, and returns when the last function has. Nobody runs one any more.
func (r *runners) wait() {
	close(r.end)
	r.all.Wait()
}
