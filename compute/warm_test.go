package compute

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"
)

func warm(t *testing.T, f *Function) {
	t.Helper()
	if err := f.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestAWarmProgramHasStartedBeforeItsFirstRequest(t *testing.T) {
	const text = `
	import wasi_snapshot_preview1 fd_write $log i32,i32,i32,i32 -> i32
	memory 1
	global $n i32 1
	data 16 "\x20\x00\x00\x00\x09\x00\x00\x00"
	data 32 "it starts"
	func $_start export=_start
		global.get $n / i32.const 1 / i32.add / global.set $n
		i32.const 1 / i32.const 16 / i32.const 1 / i32.const 8 / call $log / drop
		call $ask / call $answer
		global.get $n / call $answer
		i32.const 7 / global.set $n
	endfunc`
	for _, plain := range []bool{false, true} {
		e := newTestEngine(t, Options{plain: plain})
		f := compileText(t, e, text, Program{})
		warm(t, f)
		warm(t, f) // once is enough
		for i := range uint32(3) {
			var said strings.Builder
			x := &exchange{asked: i}
			in := &Invocation{Extra: x, Log: func(p []byte) { said.Write(p) }}
			if err := f.Serve(t.Context(), in); err != nil {
				t.Fatal(err)
			}
			if len(x.answers) != 2 || x.answers[0] != i || x.answers[1] != 2 || !in.Usage.Rewound {
				t.Errorf("request %d: got %v, set back %v; want [%d 2], set back", i, x.answers, in.Usage.Rewound, i)
			}
			if want := map[bool]string{true: "it starts"}[i == 0]; said.String() != want {
				t.Errorf("request %d: it logged %q, want %q", i, said.String(), want)
			}
		}
		if s := e.Stats(); s.Started != 1 || s.Rewound != 3 || s.Replaced != 0 {
			t.Errorf("got %+v, want one start", s)
		}
	}
}

func TestAGoProgramAndAHandlerAreWarmed(t *testing.T) {
	e := newTestEngine(t, Options{Folder: keptFolder()})
	f, err := e.Compile(t.Context(), goGuest(t, "hello", goHello), Program{ABI: &testABI{version: new(int)}})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	warm(t, f)
	for i := range uint32(5) {
		wantAnswers(t, f, i, i+2)
		wantAnswers(t, f, 100)
	}
	handler := compileText(t, e, `
	global $n i32 1
	func $_start export=_initialize
		global.get $n / i32.const 1 / i32.add / global.set $n
	endfunc
	func $handle export=handle i32 -> i32
		global.get $n
	endfunc`, Program{ABI: handlerABI{&testABI{version: new(int)}}})
	warm(t, handler)
	for range 3 {
		wantAnswers(t, handler, 1, 2)
	}
	if s := e.Stats(); s.Started != 2 || s.Rewound != 13 || s.Replaced != 0 {
		t.Errorf("got %+v, want two starts, each before its first request", s)
	}
}

func TestAProgramThatCannotStartIsToldSoByItsFirstRequest(t *testing.T) {
	hits := 0
	e := newTestEngine(t, Options{OnLimit: func(string) { hits++ }})
	f := compileText(t, e, "func $_start export=_start\n loop\n br 0\n end\n call $ask / call $answer\n endfunc", Program{Limits: Limits{CPU: time.Millisecond}})
	limit, ok := errors.AsType[*LimitError](f.Warm(t.Context()))
	if !ok || limit.Name != LimitCPU || hits != 0 {
		t.Errorf("warming it: got %v and %d limits counted, want the limit of cpu, and none", limit, hits)
	}
	if _, _, err := ask(t.Context(), f, 1); !errors.As(err, &limit) || hits != 1 {
		t.Errorf("asking it: got %v and %d limits counted, want the limit of cpu, once", err, hits)
	}
	asleep := compileText(t, e, `
	import wasi_snapshot_preview1 poll_oneoff $poll i32,i32,i32,i32 -> i32
	memory 1
	data 24 "\x00\x00\x00\x00\x00\x00\x00\x40"
	func $_start export=_start
		i32.const 0 / i32.const 64 / i32.const 1 / i32.const 128 / call $poll / drop
		call $ask / call $answer
	endfunc`, Program{})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := asleep.Warm(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("warming what sleeps: got %v", err)
	}
	silent := compileText(t, e, "func $_start export=_start\nendfunc", Program{})
	warm(t, silent)
	wantAnswers(t, silent, 1)
	fresh := compileText(t, e, echo, Program{Fresh: true})
	warm(t, fresh)
	if in := wantAnswers(t, fresh, 3, 3); in.Usage.Rewound {
		t.Error("a program that is to be started anew for each request was set back")
	}
}
