package compute

import (
	"context"
	"errors"
	"io"
	"testing"
	"time"
)

// chain walks what an error wraps, and fails where that has no end.
func chain(t *testing.T, err error) (length int) {
	t.Helper()
	for ; err != nil; err = errors.Unwrap(err) {
		if length++; length > 10 {
			t.Fatalf("the chain of %T has no end", err)
		}
	}
	return length
}

func TestAnErrorOfALimitHasAnEnd(t *testing.T) {
	e := newTestEngine(t, Options{})
	for name, f := range map[string]*Function{
		"cpu":    compileText(t, e, "memory 1\nfunc $_start export=_start\nloop\nbr 0\nend\nendfunc", Program{Limits: Limits{CPU: time.Millisecond}}),
		"stack":  compileText(t, e, "memory 1\nfunc $_start export=_start\ncall $_start\nendfunc", Program{Limits: Limits{CPU: time.Minute}}),
		"memory": compileText(t, e, "memory 1\nfunc $_start export=_start\ni32.const 100 / memory.grow / drop\nunreachable\nendfunc", Program{Limits: Limits{Memory: 2 << 16, CPU: time.Minute}}),
		"bodies": compileText(t, e, "memory 1\nfunc $_start export=_start\ncall $work\nendfunc", Program{ABI: &testABI{version: new(int), slow: hostLimit}, Limits: Limits{CPU: time.Minute}}),
	} {
		_, in, err := ask(t.Context(), f, 0)
		limit, ok := errors.AsType[*LimitError](err)
		trap, isTrap := errors.AsType[*Trap](err)
		if !ok || string(limit.Name) != name || !isTrap || limit.Trap != trap || len(in.Usage.Hit) == 0 {
			t.Errorf("%s: got %v, hit %v", name, err, in.Usage.Hit)
		}
		if chain(t, err) < 2 || errors.Is(err, io.EOF) {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// hostLimit is a host function that has a limit of its own.
func hostLimit(_ context.Context, g *Guest) { g.Abort(g.Limit("bodies", "too much")) }

func TestAnOriginsErrorIsNoTrap(t *testing.T) {
	if err := (&Failed{io.ErrUnexpectedEOF}); chain(t, err) != 2 || !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != io.ErrUnexpectedEOF.Error() {
		t.Errorf("got %v", err)
	}
}
