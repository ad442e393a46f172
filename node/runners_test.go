package node

import (
	"sync"
	"testing"
	"testing/synctest"
)

// running is a run.
type running func()

func (f running) serve() { f() }

func TestAGoroutineOfAFunctionIsUsedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRunners()
		for range 10 {
			var done sync.WaitGroup
			done.Add(1)
			r.run(running(done.Done))
			done.Wait()
			synctest.Wait()
		}
		if n := r.idle.Load(); n != 1 {
			t.Errorf("%d goroutines wait after ten functions, one after the other, want 1", n)
		}
		var inside, leave sync.WaitGroup
		inside.Add(4)
		leave.Add(1)
		for range 4 {
			r.run(running(func() { inside.Done(); leave.Wait() }))
		}
		inside.Wait()
		leave.Done()
		synctest.Wait()
		for _, want := range []int64{4, 2, 1, 0, 0} {
			if n := r.idle.Load(); n != want {
				t.Errorf("%d goroutines wait, want %d", n, want)
			}
			r.trim()
			synctest.Wait()
		}
		r.wait()
	})
}
