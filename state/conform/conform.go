// Package conform is the conformance suite of package state: what every
// implementation of its interfaces promises, as tests.
//
// Look at [Tests] first: each runs on a store of its own. [Write] and
// [CheckWritten] are for stores that survive a kill: a child process writes,
// dies, and what it said is compared with what is there.
//
// It promises to need nothing of a store but its interfaces, so that a store with
// a place elsewhere runs the same suite. It refuses timed assertions: where a test
// waits, it waits for something to happen, and the store's own times are in the test.
package conform

import (
	"context"
	"errors"
	"iter"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/state"
)

// Open makes an empty store for a test, which ends with the test.
type Open func(t *testing.T, limits state.Limits) state.Store

// Tests are the suite: by name, a claim, what must hold.
func Tests() iter.Seq2[string, func(*testing.T, Open)] {
	all := map[string]func(*testing.T, Open){}
	for what, tests := range map[string]map[string]func(*testing.T, Open){
		"documents": documentTests, "blobs": blobTests, "feeds": feedTests, "receipts": receiptTests, "queues": queueTests, "leases": leaseTests,
	} {
		for name, test := range tests {
			all[what+"/"+strings.ReplaceAll(name, " ", "_")] = test
		}
	}
	return func(yield func(string, func(*testing.T, Open)) bool) {
		for _, name := range slices.Sorted(maps.Keys(all)) {
			if !yield(name, all[name]) {
				return
			}
		}
	}
}

const tenant selvage.Tenant = "main"

// ok ends the test on an error.
func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// okay is ok for a goroutine, which cannot end the test.
func okay(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}

// got gives the value, or ends the test.
func got[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		ok(t, err)
		return v
	}
}

// refused says that err has a kind and wraps target, if any.
func refused(t *testing.T, err error, kind selvage.Kind, target error) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("got no error, want %s", kind)
	case selvage.KindOf(err) != kind:
		t.Errorf("got %v, which is %s, want %s", err, selvage.KindOf(err), kind)
	case target != nil && !errors.Is(err, target):
		t.Errorf("got %v, want %v", err, target)
	}
}

// item is what a sequence gave.
type item[T any] struct {
	v   T
	err error
}

// follow reads a sequence in a goroutine that ends with the sequence, and that with ctx.
func follow[T any](seq iter.Seq2[T, error]) <-chan item[T] {
	ch := make(chan item[T], 10_000) // more than any test gives
	go func() {                      // whoever follows ends the context and reads to the end, or the test's end does
		defer close(ch)
		for v, err := range seq {
			ch <- item[T]{v, err}
		}
	}()
	return ch
}

// all reads a sequence that ends by itself.
func all[T any](t *testing.T, seq iter.Seq2[T, error]) []T {
	t.Helper()
	var out []T
	for v, err := range seq {
		ok(t, err)
		out = append(out, v)
	}
	return out
}

// first reads n values of a sequence that does not end, without heartbeats.
func first(t *testing.T, n int, seq iter.Seq2[state.Event, error]) []state.Event {
	t.Helper()
	var out []state.Event
	for e, err := range seq {
		ok(t, err)
		if e.Heartbeat {
			continue
		}
		if out = append(out, e); len(out) == n {
			break
		}
	}
	return out
}

// failure reads a sequence to its error.
func failure[T any](seq iter.Seq2[T, error]) error {
	for _, err := range seq {
		if err != nil {
			return err
		}
	}
	return nil
}

// canceled is a context that ended.
func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}
