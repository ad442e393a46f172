package node

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
)

// newTurn is a turn without a program. stop ends its node.
func newTurn(request context.Context) (t *guestTurn, stop func()) {
	ended, stop := context.WithCancel(context.Background())
	c := &call{f: &function{reg: &registry{functions: &functions{
		ended: ended.Done(), atEnd: func(f func()) func() bool { return context.AfterFunc(ended, f) },
	}}}}
	t = &guestTurn{f: c.f, c: c}
	t.w.begin(nil, nil)
	t.ctx.begin(request, t)
	return t, stop
}

func TestATurnEndsWithWhatItBelongsTo(t *testing.T) {
	left := errors.New("the client left")
	for name, c := range map[string]struct {
		end  func(turn *guestTurn, leave context.CancelCauseFunc, stop func())
		want error // why it ended; nil if it goes on
	}{
		"the client left":                         {func(_ *guestTurn, leave context.CancelCauseFunc, _ func()) { leave(left) }, left},
		"the client left behind a whole answer":   {func(turn *guestTurn, leave context.CancelCauseFunc, _ func()) { turn.w.ended = true; leave(left) }, nil},
		"the node ended behind a whole answer":    {func(turn *guestTurn, _ context.CancelCauseFunc, stop func()) { turn.w.ended = true; stop() }, errNodeEnds},
		"the program has ended":                   {func(turn *guestTurn, _ context.CancelCauseFunc, _ func()) { turn.ctx.end() }, context.Canceled},
		"it is still on its way to an answer":     {func(*guestTurn, context.CancelCauseFunc, func()) {}, nil},
		"the program has ended before the client": {func(turn *guestTurn, leave context.CancelCauseFunc, _ func()) { turn.ctx.end(); leave(left) }, context.Canceled},
	} {
		for _, waited := range []bool{false, true} { // somebody waits from the beginning, or only asks
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					request, leave := context.WithCancelCause(context.WithValue(t.Context(), callKey{}, "the request's"))
					defer leave(nil)
					turn, stop := newTurn(request)
					defer stop()
					derived := context.Context(&turn.ctx)
					if waited {
						var cancel context.CancelFunc
						derived, cancel = context.WithCancel(&turn.ctx)
						defer cancel()
					}
					if err := turn.ctx.Err(); err != nil {
						t.Fatalf("it began with %v", err)
					}
					c.end(turn, leave, stop)
					synctest.Wait()
					if got := context.Cause(derived); waited && !errors.Is(got, c.want) {
						t.Errorf("what was derived ended because of %v, want %v", got, c.want)
					}
					if err := turn.ctx.Err(); (err != nil) != (c.want != nil) {
						t.Errorf("who asks is told %v, want %v", err, c.want)
					}
					if got := context.Cause(&turn.ctx); !errors.Is(got, c.want) {
						t.Errorf("it ended because of %v, want %v", got, c.want)
					}
					select {
					case <-turn.ctx.Done():
						if c.want == nil {
							t.Error("who waits is told that it ended")
						}
					default:
						if c.want != nil {
							t.Error("who waits is not told")
						}
					}
					if got := turn.ctx.Value(callKey{}); got != turn.c {
						t.Errorf("the call is %v", got)
					}
					turn.ctx.end()
				})
			})
		}
	}
}

func TestATurnThatWasSeenToHaveEndedStaysSo(t *testing.T) {
	request, leave := context.WithCancel(t.Context())
	turn, stop := newTurn(request)
	defer stop()
	leave()
	if turn.ctx.Err() == nil {
		t.Fatal("the client's leaving was not noticed")
	}
	turn.w.ended = true
	if turn.ctx.Err() == nil {
		t.Error("it goes on again")
	}
}
