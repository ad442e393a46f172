package compute

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/selvage-edge/selvage/compute/wasm/asm"
	"github.com/tetratelabs/wazero"
)

// A program that these would let go on would never end, and hold its test: so they
// are asked without one.
func TestWhoIsOverALimitOfTimeIsEnded(t *testing.T) {
	left := errors.New("the client left")
	gone, leave := context.WithCancelCause(t.Context())
	leave(left)
	for name, c := range map[string]struct {
		ctx       context.Context
		cpu, wall time.Duration // used
		limit     LimitName
		cause     error
	}{
		"within":           {t.Context(), time.Second, time.Second, "", nil},
		"of the processor": {t.Context(), time.Second + 1, time.Second, LimitCPU, nil},
		"of the clock":     {t.Context(), 0, 2 * time.Second, LimitWall, nil},
		"the client left":  {gone, 0, 0, "", left},
	} {
		now := time.Now()
		b := &sandbox{request: &requestContext{Context: c.ctx, deadline: now.Add(2 * time.Second)}}
		b.guest = Guest{limits: &Limits{CPU: time.Second, Wall: 2 * time.Second}, in: &Invocation{}, box: b}
		b.guest.meter.cpu = c.cpu
		err := guarded(func() error {
			b.checkTime(now.Add(c.wall))
			return nil
		})
		limit, _ := errors.AsType[*LimitError](err)
		switch {
		case c.limit == "" && c.cause == nil && err != nil,
			c.limit != "" && (limit == nil || limit.Name != c.limit || b.cut != limit),
			c.cause != nil && !errors.Is(err, c.cause):
			t.Errorf("%s: got %v, want the limit %q, the cause %v", name, err, c.limit, c.cause)
		}
	}
}

func TestALoopIsPaidForEachTimeAround(t *testing.T) {
	const times, fuel = 1000, 200 // the fuel is that of runBare
	const count = "local.get 0 / i32.const 1 / i32.sub / local.tee 0"
	for name, body := range map[string]string{
		"br_if":         "loop\n" + count + " / br_if 0\nend",
		"br out of if":  "loop\n" + count + "\nif\nbr 1\nend\nend",
		"in a loop":     "loop\nloop\n" + count + " / br_if 1\nend\nend",
		"in the else":   "loop\n" + count + " / i32.eqz\nif\nelse\nbr 1\nend\nend",
		"behind a call": "loop\ncall $leaf\n" + count + " / br_if 0\nend",
	} {
		metered, err := wasm.Meter(asm.Assemble("memory 1\nfunc $leaf\nendfunc\nfunc $main export=main i32,i64 -> i64\n"+body+"\ni64.const 0\nendfunc"), roomy)
		if err != nil {
			t.Fatal(err)
		}
		b, err := runBare(t, wazero.NewRuntimeConfig(), nil, metered)
		if err != nil {
			t.Fatal(err)
		}
		before := b.ticks
		if _, err := b.module.ExportedFunction("main").Call(t.Context(), times, 0); err != nil {
			t.Fatal(err)
		}
		// Five instructions and more each time.
		if got := b.ticks - before; got < times*5/fuel || got > times*40/fuel {
			t.Errorf("%s: %d times around a loop took the fuel of %d ticks", name, times, got)
		}
		b.close()
	}
}

func TestRandomProgramsComputeWithEveryTypeOfNumbers(t *testing.T) {
	var all strings.Builder
	for seed := range uint64(20) {
		all.WriteString(randomProgram(seed))
	}
	for _, want := range []string{
		"i32.add", "i64.mul", "f32.", "f64.sqrt", "i8x16.", "i16x8.", "i32x4.", "i64x2.", "v128.load", "v128.store", "global.set $gv128", "loop", "br_table", "call_indirect", "memory.grow",
	} {
		if !strings.Contains(all.String(), want) {
			t.Errorf("no random program has %s", want)
		}
	}
}
