package conform

import (
	"bytes"
	"context"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

var purges = state.FeedKey{Tenant: tenant, Name: "purge"}

// fill appends n entries that say their own position.
func fill(t *testing.T, feeds state.Feeds, key state.FeedKey, n int) {
	t.Helper()
	for range n {
		h := got(feeds.Head(t.Context(), key))(t)
		data := strconv.AppendUint(nil, uint64(h.Last)+1, 10)
		if p := got(feeds.Append(t.Context(), key, state.Entry{Data: data, After: &h.Last}))(t); p != h.Last+1 {
			t.Fatalf("got position %d after %d", p, h.Last)
		}
	}
}

// inOrder says that the events are the feed's entries from a position on.
func inOrder(t *testing.T, events []state.Event, from state.Position) {
	t.Helper()
	for i, e := range events {
		if want := from + state.Position(i); e.Position != want || string(e.Data) != strconv.FormatUint(uint64(want), 10) {
			t.Fatalf("got %q at %d, want position %d", e.Data, e.Position, want)
		}
		if e.Head < e.Position || e.Time.IsZero() || e.Incarnation == "" || e.After != nil {
			t.Errorf("got %+v", e)
		}
	}
}

var feedTests = map[string]func(*testing.T, Open){
	"positions are 1 2 3": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{}).Feeds
		h := got(feeds.Head(ctx, purges))(t)
		if h.First != 1 || h.Last != 0 || h.Incarnation == "" {
			t.Errorf("a new feed has %+v", h)
		}
		fill(t, feeds, purges, 150)
		fill(t, feeds, state.FeedKey{Tenant: "other", Name: purges.Name}, 2)
		if is := got(feeds.Head(ctx, purges))(t); is != (state.Head{Incarnation: h.Incarnation, First: 1, Last: 150}) {
			t.Errorf("got %+v", is)
		}
		inOrder(t, first(t, 150, feeds.Read(ctx, purges, state.Cursor{})), 1)
		inOrder(t, first(t, 21, feeds.Read(ctx, purges, state.Cursor{After: 129, Incarnation: h.Incarnation})), 130)
	},
	"every reader sees the same whole order": func(t *testing.T, open Open) {
		feeds := open(t, state.Limits{}).Feeds
		ctx, end := context.WithCancel(t.Context())
		defer end()
		const writers, each = 4, 40
		readers := []<-chan item[state.Event]{follow(feeds.Read(ctx, purges, state.Cursor{})), follow(feeds.Read(ctx, purges, state.Cursor{}))}
		said := make([]string, writers*each+1)
		var wg sync.WaitGroup
		for w := range writers {
			wg.Go(func() {
				for i := range each {
					data := strconv.Itoa(w*each + i)
					p, err := feeds.Append(ctx, purges, state.Entry{ID: data, Data: []byte(data)})
					if err != nil || int(p) >= len(said) {
						t.Errorf("got position %d, %v", p, err)
						return
					}
					said[p] = data // no two have the same
				}
			})
		}
		wg.Wait()
		for _, reader := range readers {
			next := state.Position(1)
			for e := range reader {
				ok(t, e.err)
				if e.v.Heartbeat {
					continue
				}
				if e.v.Position != next || string(e.v.Data) != said[next] || e.v.ID != said[next] {
					t.Fatalf("read %q at %d, want %q at %d", e.v.Data, e.v.Position, said[next], next)
				}
				if next++; int(next) == len(said) {
					break
				}
			}
		}
	},
	"a reader that is killed goes on where it was": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{}).Feeds
		var writer sync.WaitGroup
		writer.Go(func() {
			for i := range 120 {
				if _, err := feeds.Append(ctx, purges, state.Entry{Data: strconv.AppendInt(nil, int64(i)+1, 10)}); err != nil {
					t.Error(err)
				}
			}
		})
		var read []state.Event
		var at state.Cursor
		for n := 1; len(read) < 120; n = n%7 + 1 {
			part := first(t, min(n, 120-len(read)), feeds.Read(ctx, purges, at))
			read = append(read, part...)
			at = state.Cursor{Incarnation: part[len(part)-1].Incarnation, After: part[len(part)-1].Position}
		}
		writer.Wait()
		inOrder(t, read, 1)
	},
	"an id is appended once": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{}).Feeds
		p := got(feeds.Append(ctx, purges, state.Entry{ID: "a", Data: []byte("1")}))(t)
		fill(t, feeds, purges, 3)
		for range 2 {
			if again := got(feeds.Append(ctx, purges, state.Entry{ID: "a", Data: []byte("other")}))(t); again != p {
				t.Errorf("got position %d, want the first one's, %d", again, p)
			}
		}
		inOrder(t, first(t, 4, feeds.Read(ctx, purges, state.Cursor{})), 1)
		if h := got(feeds.Head(ctx, purges))(t); h.Last != 4 {
			t.Errorf("got %+v, want 4 entries", h)
		}
	},
	"an append can ask what it follows": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{}).Feeds
		_, err := feeds.Append(ctx, purges, state.Entry{After: new(state.Position(1))})
		refused(t, err, selvage.Conflict, nil)
		fill(t, feeds, purges, 2)
		_, err = feeds.Append(ctx, purges, state.Entry{After: new(state.Position(0))})
		refused(t, err, selvage.Conflict, nil)
		_, err = feeds.Append(ctx, purges, state.Entry{After: new(state.Position(1))})
		refused(t, err, selvage.Conflict, nil)
		got(feeds.Append(ctx, purges, state.Entry{ID: "x", After: new(state.Position(2))}))(t)
		// The answer was lost, and the same is asked again.
		if p := got(feeds.Append(ctx, purges, state.Entry{ID: "x", After: new(state.Position(2))}))(t); p != 3 {
			t.Errorf("got position %d, want 3", p)
		}
	},
	"an idle reader hears the head": func(t *testing.T, open Open) {
		feeds := open(t, state.Limits{}).Feeds
		ctx, end := context.WithCancel(t.Context())
		defer end()
		fill(t, feeds, purges, 2)
		events := follow(feeds.Read(ctx, purges, state.Cursor{After: 1}))
		inOrder(t, []state.Event{(<-events).v}, 2)
		for range 2 {
			e := <-events
			ok(t, e.err)
			if !e.v.Heartbeat || e.v.Head != 2 || e.v.Position != 2 || e.v.Data != nil || e.v.Incarnation == "" {
				t.Errorf("got %+v, want a heartbeat at 2", e.v)
			}
		}
		end()
		for e := range events {
			if e.err != nil {
				refused(t, e.err, selvage.Unavailable, context.Canceled)
			}
		}
	},
	"a reader learns that it missed something": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{}).Feeds
		fill(t, feeds, purges, 10)
		h := got(feeds.Head(ctx, purges))(t)
		ok(t, feeds.Trim(ctx, purges, 4))
		if is := got(feeds.Head(ctx, purges))(t); is.First != 5 || is.Last != 10 {
			t.Errorf("got %+v, want 5 to 10", is)
		}
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{})), selvage.Conflict, state.ErrTrimmed)
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{After: 3})), selvage.Conflict, state.ErrTrimmed)
		inOrder(t, first(t, 6, feeds.Read(ctx, purges, state.Cursor{After: 4})), 5)
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{After: 11})), selvage.Conflict, state.ErrRecreated)
		refused(t, feeds.Trim(ctx, purges, 11), selvage.Invalid, nil)
		ok(t, feeds.Trim(ctx, purges, 10))
		if is := got(feeds.Head(ctx, purges))(t); is.First != 11 || is.Last != 10 {
			t.Errorf("a feed that is trimmed to its end has %+v", is)
		}
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{After: 9})), selvage.Conflict, state.ErrTrimmed)
		fill(t, feeds, purges, 1) // positions go on
		inOrder(t, first(t, 1, feeds.Read(ctx, purges, state.Cursor{After: 10, Incarnation: h.Incarnation})), 11)
	},
	"a reader learns that the feed is another": func(t *testing.T, open Open) {
		feeds := open(t, state.Limits{}).Feeds
		ctx, end := context.WithCancel(t.Context())
		defer end()
		fill(t, feeds, purges, 3)
		h := got(feeds.Head(ctx, purges))(t)
		waiting := follow(feeds.Read(ctx, purges, state.Cursor{Incarnation: h.Incarnation, After: 3}))
		ok(t, feeds.Delete(ctx, purges))
		fill(t, feeds, purges, 5)
		if is := got(feeds.Head(ctx, purges))(t); is.Incarnation == h.Incarnation || is.First != 1 || is.Last != 5 {
			t.Errorf("got %+v after %+v", is, h)
		}
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{Incarnation: h.Incarnation, After: 3})), selvage.Conflict, state.ErrRecreated)
		for e := range waiting {
			if e.err != nil {
				refused(t, e.err, selvage.Conflict, state.ErrRecreated)
			} else if !e.v.Heartbeat {
				t.Errorf("read %+v of another feed", e.v)
			}
		}
		inOrder(t, first(t, 5, feeds.Read(ctx, purges, state.Cursor{})), 1)
	},
	"a full feed refuses": func(t *testing.T, open Open) {
		limit := ""
		feeds := open(t, state.Limits{
			Feeds:   map[string]state.FeedPolicy{purges.Name: {MaxBytes: 256 << 10}},
			OnLimit: func(l string) { limit = l },
		}).Feeds
		ctx, n := t.Context(), 0
		var err error
		for ; err == nil && n < 40; n++ {
			_, err = feeds.Append(ctx, purges, state.Entry{Data: make([]byte, 16<<10)})
		}
		refused(t, err, selvage.Unavailable, state.ErrFull)
		if n < 13 || n > 17 || limit != "feed" {
			t.Errorf("256KiB is full after %d times 16KiB, the limit is called %q", n, limit)
		}
		if h := got(feeds.Head(ctx, purges))(t); h.First != 1 || int(h.Last) != n-1 {
			t.Errorf("got %+v, want all %d", h, n-1)
		}
		ok(t, feeds.Trim(ctx, purges, 3))
		if p := got(feeds.Append(ctx, purges, state.Entry{}))(t); int(p) != n {
			t.Errorf("got position %d, want %d: a refused append takes none", p, n)
		}
	},
	"a feed that trims itself keeps its end": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{
			Feeds: map[string]state.FeedPolicy{purges.Name: {MaxBytes: 256 << 10, Trim: true}},
		}).Feeds
		for range 40 {
			got(feeds.Append(ctx, purges, state.Entry{Data: bytes.Repeat([]byte("x"), 16<<10)}))(t)
		}
		h := got(feeds.Head(ctx, purges))(t)
		if h.Last != 40 || h.First < 24 || h.First > 32 {
			t.Errorf("got %+v", h)
		}
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{After: h.First - 2})), selvage.Conflict, state.ErrTrimmed)
		events := first(t, int(h.Last-h.First)+1, feeds.Read(ctx, purges, state.Cursor{After: h.First - 1}))
		if events[0].Position != h.First {
			t.Errorf("got %d first, want %d", events[0].Position, h.First)
		}
	},
	"old entries go": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{
			Feeds: map[string]state.FeedPolicy{purges.Name: {MaxAge: time.Second}},
		}).Feeds
		fill(t, feeds, purges, 3)
		for got(feeds.Head(ctx, purges))(t).First != 4 {
			time.Sleep(50 * time.Millisecond)
		}
		refused(t, failure(feeds.Read(ctx, purges, state.Cursor{})), selvage.Conflict, state.ErrTrimmed)
		if p := got(feeds.Append(ctx, purges, state.Entry{}))(t); p != 4 {
			t.Errorf("got position %d, want 4", p)
		}
	},
	"feeds and queues are bounded together": func(t *testing.T, open Open) {
		limit := ""
		store := open(t, state.Limits{Streams: 3, OnLimit: func(l string) { limit = l }})
		ctx := t.Context()
		fill(t, store.Feeds, state.FeedKey{Tenant: tenant, Name: "a"}, 1)
		fill(t, store.Feeds, state.FeedKey{Tenant: tenant, Name: "b"}, 1)
		ok(t, store.Queues.Push(ctx, inbox, state.Message{}))
		_, err := store.Feeds.Append(ctx, purges, state.Entry{})
		refused(t, err, selvage.Unavailable, state.ErrFull)
		refused(t, store.Queues.Push(ctx, state.QueueKey{Tenant: tenant, Name: "c"}, state.Message{}), selvage.Unavailable, state.ErrFull)
		if limit != "streams" {
			t.Errorf("the limit is called %q", limit)
		}
		ok(t, store.Feeds.Delete(ctx, state.FeedKey{Tenant: tenant, Name: "a"}))
		fill(t, store.Feeds, purges, 1)
	},
	"what can never be appended is invalid": func(t *testing.T, open Open) {
		ctx, feeds := t.Context(), open(t, state.Limits{}).Feeds
		_, err := feeds.Append(ctx, purges, state.Entry{Data: make([]byte, state.MaxValue+1)})
		refused(t, err, selvage.Invalid, nil)
		_, err = feeds.Append(ctx, purges, state.Entry{ID: string(make([]byte, state.MaxID+1))})
		refused(t, err, selvage.Invalid, nil)
		_, err = feeds.Append(ctx, state.FeedKey{}, state.Entry{})
		refused(t, err, selvage.Invalid, nil)
		refused(t, failure(feeds.Read(ctx, state.FeedKey{}, state.Cursor{})), selvage.Invalid, nil)
		_, err = feeds.Append(canceled(), purges, state.Entry{})
		refused(t, err, selvage.Unavailable, context.Canceled)
		id := "line\r\nbreak: \x00é" // any bytes
		got(feeds.Append(ctx, purges, state.Entry{ID: id, Data: make([]byte, state.MaxValue)}))(t)
		if e := first(t, 1, feeds.Read(ctx, purges, state.Cursor{}))[0]; e.ID != id || len(e.Data) != state.MaxValue {
			t.Errorf("got id %q and %d bytes", e.ID, len(e.Data))
		}
	},
}

var receiptTests = map[string]func(*testing.T, Open){
	"a wait ends with the last node's receipt": func(t *testing.T, open Open) {
		store := open(t, state.Limits{})
		ctx, feeds, receipts := t.Context(), store.Feeds, store.Receipts
		fill(t, feeds, purges, 3)
		h := got(feeds.Head(ctx, purges))(t)
		acknowledge := func(node selvage.NodeName, p state.Position, took time.Duration) {
			t.Helper()
			ok(t, receipts.Acknowledge(ctx, purges, state.Receipt{Node: node, Incarnation: h.Incarnation, Position: p, Took: took, Local: p == 3}))
		}
		acknowledge("ams-1", 1, time.Millisecond)
		acknowledge("ams-1", 2, 2*time.Millisecond)
		acknowledge("ams-1", 3, 3*time.Millisecond)
		acknowledge("fra-1", 1, 4*time.Millisecond)
		acknowledge("not.asked", 2, 0)
		var late sync.WaitGroup
		late.Go(func() { acknowledge("fra-1", 3, 5*time.Millisecond) })
		out := got(state.AwaitReceipts(ctx, receipts, purges, 2, []selvage.NodeName{"fra-1", "ams-1"}))(t)
		late.Wait()
		for i := range out {
			if out[i].Time.IsZero() {
				t.Error("a receipt has no time")
			}
			out[i].Time = time.Time{}
		}
		want := []state.Receipt{
			{Node: "ams-1", Incarnation: h.Incarnation, Position: 2, Took: 2 * time.Millisecond},
			{Node: "fra-1", Incarnation: h.Incarnation, Position: 3, Took: 5 * time.Millisecond, Local: true},
		}
		if len(out) != 2 || out[0] != want[0] || out[1] != want[1] {
			t.Errorf("got %+v, want %+v", out, want)
		}
	},
	"a wait that ends early says what came": func(t *testing.T, open Open) {
		store := open(t, state.Limits{})
		fill(t, store.Feeds, purges, 1)
		h := got(store.Feeds.Head(t.Context(), purges))(t)
		ok(t, store.Receipts.Acknowledge(t.Context(), purges, state.Receipt{Node: "ams-1", Incarnation: h.Incarnation, Position: 1}))
		var out []state.Receipt
		for wait := 300 * time.Millisecond; len(out) == 0 && wait < 2*time.Minute; wait *= 2 { // a busy machine reads none in a short one
			ctx, cancel := context.WithTimeout(t.Context(), wait)
			var err error
			out, err = state.AwaitReceipts(ctx, store.Receipts, purges, 1, []selvage.NodeName{"fra-1", "ams-1"})
			cancel()
			refused(t, err, selvage.Unavailable, context.DeadlineExceeded)
		}
		if len(out) != 1 || out[0].Node != "ams-1" {
			t.Errorf("got %+v, want the one that came", out)
		}
	},
	"a receipt that cannot be true is refused": func(t *testing.T, open Open) {
		store := open(t, state.Limits{})
		ctx := t.Context()
		fill(t, store.Feeds, purges, 1)
		h := got(store.Feeds.Head(ctx, purges))(t)
		refused(t, store.Receipts.Acknowledge(ctx, purges, state.Receipt{Node: "n", Incarnation: h.Incarnation, Position: 2}), selvage.Invalid, nil)
		refused(t, store.Receipts.Acknowledge(ctx, purges, state.Receipt{Node: "n", Incarnation: "x", Position: 1}), selvage.Conflict, state.ErrRecreated)
		refused(t, store.Receipts.Acknowledge(ctx, purges, state.Receipt{Incarnation: h.Incarnation, Position: 1}), selvage.Invalid, nil)
	},
	"receipts end with their feed": func(t *testing.T, open Open) {
		store := open(t, state.Limits{})
		ctx, end := context.WithCancel(t.Context())
		defer end()
		fill(t, store.Feeds, purges, 1)
		h := got(store.Feeds.Head(ctx, purges))(t)
		waiting := follow(store.Receipts.Receipts(ctx, purges, 1))
		ok(t, store.Receipts.Acknowledge(ctx, purges, state.Receipt{Node: "n", Incarnation: h.Incarnation, Position: 1}))
		if r := <-waiting; r.err != nil || r.v.Node != "n" {
			t.Fatalf("got %+v", r)
		}
		ok(t, store.Feeds.Delete(ctx, purges))
		r := <-waiting
		refused(t, r.err, selvage.Conflict, state.ErrRecreated)
		fill(t, store.Feeds, purges, 1)
		short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
		defer cancel()
		out, err := state.AwaitReceipts(short, store.Receipts, purges, 1, []selvage.NodeName{"n"})
		refused(t, err, selvage.Unavailable, context.DeadlineExceeded)
		if len(out) != 0 {
			t.Errorf("got %+v, the receipt of another incarnation", out)
		}
	},
	"the newest receipts of each node are kept": func(t *testing.T, open Open) {
		store := open(t, state.Limits{})
		ctx := t.Context()
		const n = state.ReceiptsKept + 5
		fill(t, store.Feeds, purges, n)
		h := got(store.Feeds.Head(ctx, purges))(t)
		ok(t, store.Receipts.Acknowledge(ctx, purges, state.Receipt{Node: "quiet", Incarnation: h.Incarnation, Position: 1}))
		for p := range state.Position(n) {
			ok(t, store.Receipts.Acknowledge(ctx, purges, state.Receipt{Node: "busy", Incarnation: h.Incarnation, Position: p + 1}))
		}
		out := got(state.AwaitReceipts(ctx, store.Receipts, purges, 1, []selvage.NodeName{"busy", "quiet"}))(t)
		if len(out) != 2 || out[0].Node != "quiet" || out[1].Position != n-state.ReceiptsKept+1 {
			t.Errorf("got %+v, want the oldest of the last %d", out, state.ReceiptsKept)
		}
	},
}
