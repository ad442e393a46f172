package conform

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/state"
)

// fact is what a writer says: that it begins something, or that it was acknowledged.
type fact struct {
	What   string // append, push, ack, put, count, blob, token, receipt
	Done   bool
	ID     string
	Number uint64 // position, revision, count, token
}

// WrittenLimits are what a store that [Write] writes to is opened with.
func WrittenLimits() state.Limits { return quick }

// Write writes everything at once until ctx ends, its process is killed or
// something fails, and says so on out. life tells it from other writers of the same store.
func Write(ctx context.Context, store state.Store, life string, out io.Writer) error {
	w := &writer{store: store, life: life, out: json.NewEncoder(out)}
	steps := []func(context.Context, int) error{w.feed, w.queue, w.document, w.count, w.blob, w.lease}
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var wg sync.WaitGroup
	for _, step := range steps {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if err := step(ctx, i); err != nil {
					stop(err)
				}
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

type writer struct {
	store state.Store
	life  string

	mu  sync.Mutex // guards out
	out *json.Encoder
}

func (w *writer) say(f fact) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.out.Encode(f)
}

// done says that something was acknowledged, unless it failed.
func (w *writer) done(err error, what, id string, number uint64) error {
	if err != nil {
		return fmt.Errorf("%s %s: %w", what, id, err)
	}
	return w.say(fact{what, true, id, number})
}

func (w *writer) id(i int) string { return fmt.Sprintf("%s-%d", w.life, i) }

func (w *writer) feed(ctx context.Context, i int) error {
	id := w.id(i)
	if err := w.say(fact{What: "append", ID: id}); err != nil {
		return err
	}
	p, err := w.store.Feeds.Append(ctx, purges, state.Entry{ID: id, Data: []byte(id)})
	if err := w.done(err, "append", id, uint64(p)); err != nil || i%5 != 0 {
		return err
	}
	h, err := w.store.Feeds.Head(ctx, purges)
	if err != nil {
		return err
	}
	err = w.store.Receipts.Acknowledge(ctx, purges, state.Receipt{Node: "writer", Incarnation: h.Incarnation, Position: p})
	return w.done(err, "receipt", id, uint64(p))
}

func (w *writer) queue(ctx context.Context, i int) error {
	id := w.id(i)
	if err := w.done(w.store.Queues.Push(ctx, inbox, state.Message{ID: id, Data: []byte(id)}), "push", id, 0); err != nil || i%3 == 0 {
		return err
	}
	d, err := w.store.Queues.Pull(ctx, inbox)
	if err != nil {
		return err
	}
	if err := w.say(fact{What: "ack", ID: string(d.Data)}); err != nil {
		return err
	}
	return w.done(w.store.Queues.Ack(ctx, d), "ack", string(d.Data), 0)
}

func (w *writer) document(ctx context.Context, i int) error {
	id := fmt.Sprint("k", i%20)
	r, err := w.store.Documents.Put(ctx, things.Key(id), []byte(w.id(i)), state.Any)
	return w.done(err, "put", id, uint64(r))
}

func (w *writer) count(ctx context.Context, _ int) error {
	return w.done(increment(ctx, w.store.Documents, things.Key("count")), "count", "", 0)
}

func (w *writer) blob(ctx context.Context, i int) error {
	data := bytes.Repeat([]byte(w.id(i)), 30_000)
	key := state.BlobKey{Tenant: tenant, Digest: state.DigestOf(data)}
	return w.done(w.store.Blobs.Put(ctx, key, bytes.NewReader(data)), "blob", key.Digest.String(), uint64(len(data)))
}

func (w *writer) lease(ctx context.Context, _ int) error {
	l, err := w.store.Leases.Acquire(ctx, coordinator, "writer", time.Minute)
	return w.done(err, "token", "", uint64(l.Token))
}

// Killing is how a store is written to by a process that can be killed.
type Killing struct {
	Writer func(life string) *exec.Cmd                         // calls Write on its standard output
	Open   func(t *testing.T) (store state.Store, stop func()) // what the writer wrote to
	Lives  int
}

// Killed kills a writer in the middle, again and again, and looks each time
// whether everything is there that was acknowledged, once and in its place.
func Killed(t *testing.T, k Killing) {
	said := &record{done: map[string]map[string]uint64{}, begun: map[string]map[string]bool{}}
	for life := range k.Lives {
		facts := 100 + rand.IntN(400)
		t.Logf("life %d is killed after %d facts", life, facts)
		said.live(t, k.Writer(fmt.Sprint("life", life)), facts)
		store, stop := k.Open(t)
		said.check(t, store)
		stop()
	}
}

// record is what all writers said.
type record struct {
	done  map[string]map[string]uint64 // what, id: the last number
	begun map[string]map[string]bool
	count uint64
}

// live runs a writer, kills it after some facts, and takes down what it said.
func (s *record) live(t *testing.T, cmd *exec.Cmd, facts int) {
	t.Helper()
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.StdoutPipe()
	ok(t, err)
	ok(t, cmd.Start())
	lines := bufio.NewScanner(out)
	n := 0
	for ; lines.Scan(); n++ {
		if n == facts {
			ok(t, cmd.Process.Kill()) // and what it had said until then is read to the end
		}
		var f fact
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			break // a line that was cut off says nothing
		}
		s.take(f)
	}
	err = cmd.Wait()
	if exit, is := errors.AsType[*exec.ExitError](err); !is || exit.Exited() || n < facts {
		t.Fatalf("the writer ended after %d facts by itself: %v\n%s", n, err, complaint.String())
	}
}

func (s *record) take(f fact) {
	if s.done[f.What] == nil {
		s.done[f.What], s.begun[f.What] = map[string]uint64{}, map[string]bool{}
	}
	switch {
	case !f.Done:
		s.begun[f.What][f.ID] = true
	case f.What == "count":
		s.count++
	default:
		s.done[f.What][f.ID] = max(s.done[f.What][f.ID], f.Number)
	}
}

func (s *record) check(t *testing.T, store state.Store) {
	t.Helper()
	s.checkFeed(t, store)
	s.checkQueue(t, store)
	ctx := t.Context()
	for id, revision := range s.done["put"] {
		if d := got(store.Documents.Get(ctx, things.Key(id)))(t); uint64(d.Revision) < revision {
			t.Errorf("document %s is at revision %d, %d was acknowledged", id, d.Revision, revision)
		}
	}
	counter := got(store.Documents.Get(ctx, things.Key("count")))(t)
	count := got(strconv.ParseUint(string(counter.Value), 10, 64))(t)
	if count < s.count {
		t.Errorf("the counter is %d, %d were acknowledged", count, s.count)
	}
	s.count = count
	for digest, size := range s.done["blob"] {
		key := state.BlobKey{Tenant: tenant, Digest: got(state.ParseDigest(digest))(t)}
		if data, err := state.ReadBlob(ctx, store.Blobs, key, 1<<20); err != nil || uint64(len(data)) != size {
			t.Errorf("blob %s has %d bytes, want %d: %v", digest, len(data), size, err)
		}
	}
	l := got(store.Leases.Acquire(ctx, coordinator, "writer", time.Minute))(t)
	if last := s.done["token"][""]; uint64(l.Token) <= last {
		t.Errorf("got token %d after %d", l.Token, last)
	}
}

// checkFeed repeats what was not acknowledged, with the same ids, and reads all.
func (s *record) checkFeed(t *testing.T, store state.Store) {
	t.Helper()
	ctx := t.Context()
	for id := range s.begun["append"] {
		if _, acknowledged := s.done["append"][id]; !acknowledged {
			s.done["append"][id] = uint64(got(store.Feeds.Append(ctx, purges, state.Entry{ID: id, Data: []byte(id)}))(t))
		}
	}
	h := got(store.Feeds.Head(ctx, purges))(t)
	events := first(t, int(h.Last), store.Feeds.Read(ctx, purges, state.Cursor{}))
	seen := map[string]bool{}
	for i, e := range events {
		id := string(e.Data)
		if e.Position != state.Position(i+1) || seen[id] || e.ID != id || s.done["append"][id] != uint64(e.Position) {
			t.Fatalf("position %d is %q (seen: %v), acknowledged at %d; want it once, at %d", e.Position, id, seen[id], s.done["append"][id], i+1)
		}
		seen[id] = true
	}
	if len(seen) != len(s.done["append"]) {
		t.Errorf("the feed has %d entries, %d were acknowledged", len(seen), len(s.done["append"]))
	}
	var last uint64
	for _, p := range s.done["receipt"] {
		last = max(last, p)
	}
	if last == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for r, err := range store.Receipts.Receipts(ctx, purges, state.Position(last)) {
		if err != nil || r.Node != "writer" {
			t.Errorf("no receipt for %d: %v", last, err)
		}
		break
	}
}

// checkQueue empties the queue: what nobody began to acknowledge must be in it.
func (s *record) checkQueue(t *testing.T, store state.Store) {
	t.Helper()
	ctx := t.Context()
	there := map[string]bool{}
	for got(store.Queues.Len(ctx, inbox))(t) > 0 {
		d := got(store.Queues.Pull(ctx, inbox))(t)
		there[string(d.Data)] = true
		ok(t, store.Queues.Ack(ctx, d))
	}
	for id := range s.done["push"] {
		if !there[id] && !s.begun["ack"][id] {
			t.Errorf("message %s was acknowledged to its sender and is not there", id)
		}
	}
	for id := range there { // it has been taken out now
		s.begun["ack"][id] = true
	}
}
