package conform

import (
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

var (
	inbox = state.QueueKey{Tenant: tenant, Name: "inbox"}
	quick = state.Limits{Queues: map[string]state.QueuePolicy{"inbox": {AckWait: time.Second}}}
)

var queueTests = map[string]func(*testing.T, Open){
	"messages come in order and stay until they are acknowledged": func(t *testing.T, open Open) {
		ctx, queues := t.Context(), open(t, state.Limits{}).Queues
		for i := range 5 {
			ok(t, queues.Push(ctx, inbox, state.Message{Data: []byte{byte(i)}}))
		}
		ok(t, queues.Push(ctx, state.QueueKey{Tenant: "other", Name: inbox.Name}, state.Message{}))
		for i := range 5 {
			d := got(queues.Pull(ctx, inbox))(t)
			if len(d.Data) != 1 || d.Data[0] != byte(i) || d.Attempt != 1 || d.Queue != inbox || d.Time.IsZero() {
				t.Errorf("got %+v, want message %d", d, i)
			}
			if n := got(queues.Len(ctx, inbox))(t); n != 5-i {
				t.Errorf("%d messages are there, want %d", n, 5-i)
			}
			ok(t, queues.Ack(ctx, d))
			ok(t, queues.Ack(ctx, d)) // a second time is nothing
		}
		if n := got(queues.Len(ctx, inbox))(t); n != 0 {
			t.Errorf("%d messages are there after all acknowledgements", n)
		}
	},
	"what is not acknowledged is delivered again": func(t *testing.T, open Open) {
		ctx, queues := t.Context(), open(t, quick).Queues
		ok(t, queues.Push(ctx, inbox, state.Message{ID: "m", Data: []byte("x")}))
		d1 := got(queues.Pull(ctx, inbox))(t) // by a consumer that dies
		d2 := got(queues.Pull(ctx, inbox))(t)
		if d1.Attempt != 1 || d2.Attempt != 2 || string(d2.Data) != "x" || d2.ID != "m" {
			t.Errorf("got %+v, then %+v", d1, d2)
		}
		ok(t, queues.Ack(ctx, d1)) // it was only slow: this counts
		if n := got(queues.Len(ctx, inbox))(t); n != 0 {
			t.Errorf("%d messages are there after a late acknowledgement", n)
		}
		ok(t, queues.Ack(ctx, d2))
	},
	"a nak delivers again after its delay": func(t *testing.T, open Open) {
		ctx, queues := t.Context(), open(t, state.Limits{}).Queues
		ok(t, queues.Push(ctx, inbox, state.Message{Data: []byte("x")}))
		ok(t, queues.Push(ctx, inbox, state.Message{Data: []byte("y")}))
		x := got(queues.Pull(ctx, inbox))(t)
		const delay = 300 * time.Millisecond
		asked := time.Now()
		ok(t, queues.Nak(ctx, x, delay))
		y := got(queues.Pull(ctx, inbox))(t)
		late := string(y.Data) == "x" // it may come first where the machine took longer than the delay
		if late && time.Since(asked) < delay {
			t.Errorf("it came %v after a nak of %v, want the other message first", time.Since(asked), delay)
		}
		again := y
		if late {
			y = got(queues.Pull(ctx, inbox))(t)
		}
		ok(t, queues.Ack(ctx, y))
		if !late {
			again = got(queues.Pull(ctx, inbox))(t)
		}
		if string(again.Data) != "x" || again.Attempt != 2 {
			t.Errorf("got %+v, want the second attempt", again)
		}
		ok(t, queues.Nak(ctx, again, 0))
		if d := got(queues.Pull(ctx, inbox))(t); d.Attempt != 3 {
			t.Errorf("got %+v, want the third attempt", d)
		}
	},
	"an id is pushed once": func(t *testing.T, open Open) {
		ctx, queues := t.Context(), open(t, state.Limits{}).Queues
		for range 3 {
			ok(t, queues.Push(ctx, inbox, state.Message{ID: "same"}))
			ok(t, queues.Push(ctx, inbox, state.Message{}))
		}
		if n := got(queues.Len(ctx, inbox))(t); n != 4 {
			t.Errorf("got %d messages, want 4", n)
		}
	},
	"many consumers lose nothing": func(t *testing.T, open Open) {
		queues := open(t, quick).Queues
		const messages = 60
		ctx, end := context.WithCancel(t.Context())
		defer end()
		var mu sync.Mutex // guards done
		done := map[string]bool{}
		var wg sync.WaitGroup
		for c := range 3 {
			wg.Go(func() {
				for i := 0; ; i++ {
					d, err := queues.Pull(ctx, inbox)
					if err != nil {
						refused(t, err, selvage.Unavailable, context.Canceled)
						return
					}
					if c == 0 && i == 3 {
						continue // dies in the middle
					}
					if err := queues.Ack(t.Context(), d); err != nil {
						t.Error(err)
					}
					mu.Lock()
					done[string(d.Data)] = true
					if len(done) == messages {
						end()
					}
					mu.Unlock()
				}
			})
		}
		for i := range messages {
			ok(t, queues.Push(t.Context(), inbox, state.Message{Data: strconv.AppendInt(nil, int64(i), 10)}))
		}
		wg.Wait()
	},
	"full is said, and an acknowledgement makes room": func(t *testing.T, open Open) {
		limit := ""
		queues := open(t, state.Limits{
			Queues:  map[string]state.QueuePolicy{"inbox": {MaxMessages: 3}, "bytes": {MaxBytes: 256 << 10}},
			OnLimit: func(l string) { limit = l },
		}).Queues
		ctx := t.Context()
		for range 3 {
			ok(t, queues.Push(ctx, inbox, state.Message{}))
		}
		refused(t, queues.Push(ctx, inbox, state.Message{}), selvage.Unavailable, state.ErrFull)
		if limit != "queue" {
			t.Errorf("the limit is called %q", limit)
		}
		ok(t, queues.Ack(ctx, got(queues.Pull(ctx, inbox))(t)))
		ok(t, queues.Push(ctx, inbox, state.Message{}))
		bytes := state.QueueKey{Tenant: tenant, Name: "bytes"}
		ok(t, queues.Push(ctx, bytes, state.Message{Data: make([]byte, 200<<10)}))
		refused(t, queues.Push(ctx, bytes, state.Message{Data: make([]byte, 200<<10)}), selvage.Unavailable, state.ErrFull)
		refused(t, queues.Push(ctx, bytes, state.Message{Data: make([]byte, state.MaxValue+1)}), selvage.Invalid, nil)
		refused(t, queues.Push(ctx, state.QueueKey{}, state.Message{}), selvage.Invalid, nil)
	},
}
