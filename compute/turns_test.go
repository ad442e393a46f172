package compute

import (
	"context"
	"errors"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// With one processor the scheduler asks the network when nobody can run, and
// else each 10 ms.
func TestABellLetsTheNetworkGoFirst(t *testing.T) {
	reader, writer, err := os.Pipe() // not a connection: what is written to one may take its time
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	defer writer.Close()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	var read atomic.Int64
	var wg sync.WaitGroup
	wg.Go(func() {
		buf := make([]byte, 1)
		for range 20 {
			if _, err := reader.Read(buf); err != nil {
				t.Error(err)
				return
			}
			read.Add(1)
		}
	})
	var b bell
	for want := int64(1); want <= 20; want++ {
		if _, err := writer.Write([]byte{1}); err != nil {
			t.Fatal(err)
		}
		rings := 0
		for end := time.Now().Add(time.Minute); read.Load() < want && time.Now().Before(end); rings++ {
			b.ring()
		}
		if rings > 1000 && !b.bad {
			t.Errorf("the network was asked after %d rings", rings)
		}
	}
	wg.Wait()
	if runtime.GOOS == "linux" && b.bad {
		t.Error("there is no bell")
	}
}

func TestLongGuestsTakeTurns(t *testing.T) {
	e := newTestEngine(t, Options{})
	f := compileText(t, e, "func $_start export=_start\n call $ask / call $answer\n loop\n br 0\n end\n endfunc",
		Program{ABI: &testABI{version: new(int)}, Limits: Limits{CPU: 20 * time.Millisecond}})
	quiet := compileText(t, e, neighbour, Program{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			_, _, err := ask(ctx, f, 1)
			if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Name != LimitCPU {
				t.Errorf("got %v, want each to have its time", err)
			}
		})
	}
	for range 100 {
		wantAnswers(t, quiet, 7, 7)
	}
	wg.Wait()
	if free := len(e.turns); free != cap(e.turns) {
		t.Errorf("%d of %d turns were given back", free, cap(e.turns))
	}
}

func TestALongGuestHasNoTurnWhileItWaits(t *testing.T) {
	inside, leave := make(chan struct{}), make(chan struct{})
	e := newTestEngine(t, Options{})
	f := compileText(t, e, "func $_start export=_start\n call $ask / call $answer\n call $work / call $slow\n endfunc", Program{
		Limits: Limits{CPU: time.Hour},
		ABI: &testABI{version: new(int), slow: func(ctx context.Context, g *Guest) {
			if g.meter.paused == 0 { // it computes
				for g.box.turn == nil {
					work(ctx, g)
				}
				return
			}
			inside <- struct{}{}
			<-leave
		}},
	})
	var wg sync.WaitGroup
	wg.Go(func() { wantAnswers(t, f, 1, 1) })
	<-inside
	if free := len(e.turns); free != cap(e.turns) {
		t.Errorf("%d of %d turns are free while it waits", free, cap(e.turns))
	}
	close(leave)
	wg.Wait()
}
