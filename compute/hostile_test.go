package compute

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// hostile are programs that hurt if they can. Each does what it does for the
// request 1, and is well behaved else.
var hostile = map[string]struct {
	text  string
	limit LimitName
}{
	"plain loop": {`
	func $_start export=_start
		call $ask / call $answer
		loop / br 0 / end
	endfunc`, LimitCPU},
	"recursion that returns": {`
	func $fib i32 -> i32
		local.get 0 / i32.const 2 / i32.lt_u
		if i32
			i32.const 1
		else
			local.get 0 / i32.const 1 / i32.sub / call $fib
			local.get 0 / i32.const 2 / i32.sub / call $fib / i32.add
		end
	endfunc
	func $_start export=_start
		call $ask / call $answer
		i32.const 70 / call $fib / drop
	endfunc`, LimitCPU},
	"tail calls": {`
	func $again
		return_call $again
	endfunc
	func $_start export=_start
		call $ask / call $answer
		call $again
	endfunc`, LimitCPU},
	"jumps through a table": {`
	table 1
	elem 0 $again
	func $again
		i32.const 0 / return_call_indirect ->
	endfunc
	func $_start export=_start
		call $ask / call $answer
		i32.const 0 / call_indirect ->
	endfunc`, LimitCPU},
	"large fills": {`
	memory 1000
	func $_start export=_start
		call $ask / call $answer
		loop
			i32.const 0 / i32.const 7 / i32.const 65000000 / memory.fill
			i32.const 0 / i32.const 100 / i32.const 65000000 / memory.copy
			br 0
		end
	endfunc`, LimitCPU},
	"slow host calls": {`
	func $_start export=_start
		call $ask / call $answer
		loop / call $work / br 0 / end
	endfunc`, LimitCPU},
	"growing": {`
	memory 1
	func $_start export=_start
		call $ask / call $answer
		loop
			i32.const 16 / memory.grow / i32.const -1 / i32.eq
			if
				unreachable
			end
			memory.size / i32.const 65536 / i32.mul / i32.const 4 / i32.sub / i32.const 1 / i32.store
			br 0
		end
	endfunc`, LimitMemory},
	"deep recursion": {`
	func $down i64 -> i64
		local.get 0 / i64.const 1 / i64.add / call $down
		local.get 0 / i64.mul
	endfunc
	func $_start export=_start
		call $ask / call $answer
		i64.const 0 / call $down / drop
	endfunc`, LimitStack},
	"deep recursion of large frames": {`
	func $down i64 -> i64 locals=` + strings.Repeat("i64,", 300) + `i64
		local.get 0 / i64.const 1 / i64.add / local.set 200
		local.get 200 / call $down / local.set 100
		local.get 100 / local.get 200 / i64.mul
	endfunc
	func $_start export=_start
		call $ask / call $answer
		i64.const 0 / call $down / drop
	endfunc`, LimitStack},
	"waiting": {`
	func $_start export=_start
		call $ask / call $answer
		loop / call $slow / br 0 / end
	endfunc`, LimitWall},
}

const neighbour = `
	memory 1
	func $_start export=_start
		call $ask / call $answer
	endfunc`

// work is a host function that computes, and says so.
func work(ctx context.Context, g *Guest) {
	sum := 0
	for i := range 100_000 {
		sum += i
	}
	runtime.KeepAlive(sum)
	g.Charge(ctx, 100_000)
}

func TestAHostileProgramIsEndedByItsLimit(t *testing.T) {
	for name, c := range hostile {
		t.Run(name, func(t *testing.T) {
			if c.limit == LimitWall { // which goes by while nobody computes: on virtual time it is never over too soon
				synctest.Test(t, func(t *testing.T) { wantEndedBy(t, c.text, c.limit) })
				return
			}
			wantEndedBy(t, c.text, c.limit)
		})
	}
}

// wantEndedBy lets a hostile program be ended, and looks at what is said of that.
func wantEndedBy(t *testing.T, text string, want LimitName) {
	t.Helper()
	abi := &testABI{version: new(int), slow: work}
	limits := Limits{}
	if want == LimitWall {
		limits.CPU = time.Hour
		abi.slow = func(ctx context.Context, _ *Guest) { <-ctx.Done() }
	}
	if want == LimitStack {
		limits.CPU = time.Minute
	}
	f := compileText(t, newTestEngine(t, Options{}), text, Program{ABI: abi, Limits: limits})
	for range 2 { // once in a sandbox that starts, once in another
		answers, in, err := ask(t.Context(), f, 1)
		limit, ok := errors.AsType[*LimitError](err)
		if !ok || limit.Name != want || len(answers) != 1 {
			t.Fatalf("got %v after %d answers, want the limit %s", err, len(answers), want)
		}
		if len(in.Usage.Hit) != 1 || in.Usage.Hit[0] != want {
			t.Errorf("got %v as what was hit", in.Usage.Hit)
		}
		if limit.Trap == nil || len(limit.Trap.Stack) == 0 {
			t.Errorf("the error has no stack: %+v", limit)
		}
		if want == LimitCPU && (in.Usage.Ticks < 1 || in.Usage.CPU < 50*time.Millisecond) {
			t.Errorf("got %d ticks in %v", in.Usage.Ticks, in.Usage.CPU)
		}
	}
}

// TestANeighbourIsAnswered runs a program without end on the only processor,
// and counts: the neighbour gets all its answers and the collector its rounds
// while that goes on.
func TestANeighbourIsAnswered(t *testing.T) {
	before := runtime.GOMAXPROCS(1)
	defer runtime.GOMAXPROCS(before)
	e := newTestEngine(t, Options{})
	good := compileText(t, e, neighbour, Program{})
	wantAnswers(t, good, 7, 7)
	for name, c := range hostile {
		if c.limit != LimitCPU {
			continue
		}
		t.Run(name, func(t *testing.T) {
			asked := make(chan struct{})
			abi := &testABI{version: new(int), slow: work}
			bad := compileText(t, e, strings.Replace(c.text, "call $ask", "call $slow / call $ask", 1), Program{
				ABI: &beginning{abi, asked}, Limits: Limits{CPU: time.Hour, Wall: time.Hour},
			})
			ctx, cancel := context.WithCancel(t.Context())
			var wg sync.WaitGroup
			var err error
			var in *Invocation
			wg.Go(func() { _, in, err = ask(ctx, bad, 1) })
			<-asked
			for i := range uint32(20) {
				wantAnswers(t, good, i, i)
				runtime.GC()
			}
			cancel()
			wg.Wait()
			if trap, ok := errors.AsType[*Trap](err); !ok || trap.Kind != Interrupted || !errors.Is(err, context.Canceled) {
				t.Errorf("got %v, want to have been interrupted", err)
			}
			if in.Usage.Ticks == 0 {
				t.Error("it never made way")
			}
			// Nothing is wrong with the sandbox: it only lost its client.
			again, cancel := context.WithCancel(t.Context())
			cancel()
			if _, in, err := ask(again, bad, 2); err == nil || in.Usage.Rewound != (bad.FreshBecause() == "") {
				t.Errorf("got %v, rewound %v", err, in.Usage.Rewound)
			}
		})
	}
}

// beginning says once when the slow function was called the first time.
type beginning struct {
	*testABI
	asked chan struct{}
}

func (b *beginning) Functions() []HostFunc {
	fs := b.testABI.Functions()
	var once sync.Once
	for i := range fs {
		if fs[i].Name == "slow" {
			fs[i].Call = func(context.Context, *Guest, []uint64) { once.Do(func() { close(b.asked) }) }
		}
	}
	return fs
}

func TestWhatOthersComputeIsNotTheGuests(t *testing.T) {
	if _, ok := threadTime(); !ok {
		t.Skip("this system does not say what a thread used")
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1)) // whoever makes way lets another compute in its place
	const others = 100 * time.Millisecond
	now := time.Now()
	var m meter
	m.start(now)
	m.tick(now.Add(patience))
	m.again(time.Now())
	before := m.cpu
	done := make(chan struct{})
	go func() {
		defer close(done)
		for used := time.Duration(0); used < others; { // by its thread's clock, and whatever the others do
			runtime.LockOSThread()
			from, _ := threadTime()
			for range 1_000_000 {
				runtime.KeepAlive(&used)
			}
			to, _ := threadTime()
			used += to - from
			runtime.UnlockOSThread()
			runtime.Gosched()
		}
	}()
	<-done // as a host function does that is given no turn for long
	if used := m.tick(time.Now()) - before; used > others/2 {
		t.Errorf("%v were counted while others computed for %v", used, others)
	}
	if m.tied {
		t.Error("it is tied to its thread after the piece")
	}
}

func TestTheThreadsClockIsAskedAfterPatience(t *testing.T) {
	var m meter
	now := time.Now()
	m.start(now)
	for range 9 {
		now = now.Add(patience / 10)
		m.tick(now)
		m.again(now)
	}
	if m.exact || m.cpu != patience*9/10 {
		t.Fatalf("got %v and %v for pieces that are shorter than patience together", m.exact, m.cpu)
	}
	now = now.Add(time.Hour)
	if m.tick(now); !m.exact || m.cpu != patience*19/10 {
		t.Errorf("got %v and %v, want the hour to count as patience, and the clock to be asked from then on", m.exact, m.cpu)
	}
}

func TestAnEndlessLoopIsNotGivenMoreThanItsLimit(t *testing.T) {
	if _, ok := threadTime(); !ok {
		t.Skip("this system does not say what a thread used")
	}
	runtime.LockOSThread() // so that the thread's clock is this goroutine's, around the meter too
	defer runtime.UnlockOSThread()
	var m meter
	from, _ := threadTime()
	m.start(time.Now())
	for m.cpu < 50*time.Millisecond {
		m.again(time.Now())
		for range 100_000 {
			runtime.KeepAlive(&m)
		}
		m.tick(time.Now())
	}
	// What is not counted is the time between pieces, and all but patience of a first one that was long.
	if to, _ := threadTime(); to-from > 75*time.Millisecond {
		t.Errorf("50 ms were counted when %v had been computed", to-from)
	}
}

func TestAWaitingHostFunctionCountsByWhatItDid(t *testing.T) {
	const text = `
	func $_start export=_start
		call $ask / call $answer
		loop / call $slow / br 0 / end
	endfunc`
	calls := 0
	f := compileText(t, newTestEngine(t, Options{}), text, Program{
		Limits: Limits{CPU: 50 * time.Millisecond, Wall: time.Hour},
		ABI: &testABI{version: new(int), slow: func(ctx context.Context, g *Guest) {
			before := g.meter.cpu
			g.meter.since = g.meter.since.Add(-time.Hour) // it has waited for long
			g.Charge(ctx, 10_000_000)
			if used := g.meter.cpu - before; used != 10*time.Millisecond {
				t.Errorf("%v were counted", used)
			}
			calls++
		}},
	})
	_, _, err := ask(t.Context(), f, 1)
	if limit, ok := errors.AsType[*LimitError](err); !ok || limit.Name != LimitCPU || calls > 6 {
		t.Errorf("got %v after %d calls, want the work to be what ends it", err, calls)
	}
}

func TestASlowHostFunctionIsPaidFor(t *testing.T) {
	const text = `
	func $_start export=_start locals=i32
		call $ask / call $answer
		loop
			call $work
			local.get 0 / i32.const 1 / i32.add / local.tee 0 / i32.const 20 / i32.lt_u / br_if 0
		end
	endfunc`
	in := wantAnswers(t, compileText(t, newTestEngine(t, Options{}), text, Program{
		ABI: &testABI{version: new(int), slow: work}, Limits: Limits{CPU: time.Hour},
	}), 1, 1)
	if in.Usage.Ticks < 20 { // each of the calls charges more than fuel for one
		t.Errorf("got %d ticks in 20 calls", in.Usage.Ticks)
	}
}

func TestWaitingIsNotComputing(t *testing.T) {
	var m meter
	now := time.Now()
	m.start(now)
	m.pause(now.Add(time.Millisecond))
	m.resume(now.Add(time.Hour))
	if got := m.tick(now.Add(time.Hour + 2*time.Millisecond)); got > 3*time.Millisecond {
		t.Errorf("%v were counted, want 3 ms at most", got)
	}
}

func TestRequestsWaitForASandbox(t *testing.T) {
	var names []string
	var mu sync.Mutex
	e := newTestEngine(t, Options{OnLimit: func(name string) {
		mu.Lock()
		defer mu.Unlock()
		names = append(names, name)
	}})
	entered, leave := make(chan struct{}), make(chan struct{})
	f := compileText(t, e, `
	func $_start export=_start
		call $ask / call $answer / call $slow
	endfunc`, Program{Limits: Limits{Sandboxes: 1}, ABI: &testABI{version: new(int), slow: func(context.Context, *Guest) {
		entered <- struct{}{}
		<-leave
	}}})
	var wg sync.WaitGroup
	wg.Go(func() { wantAnswers(t, f, 1, 1) })
	<-entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, in, err := ask(ctx, f, 2); err == nil || len(in.Usage.Hit) == 0 || in.Usage.Hit[0] != LimitSandboxes {
		t.Errorf("got %v, want to have waited in vain", err)
	}
	wg.Go(func() { wantAnswers(t, f, 3, 3) })
	close(leave)
	<-entered
	wg.Wait()
	if len(names) == 0 || names[0] != string(LimitSandboxes) {
		t.Errorf("got %v as limits that were hit", names)
	}
}
