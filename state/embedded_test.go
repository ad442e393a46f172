package state_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"

	"github.com/selvage-edge/selvage/state"
	"github.com/selvage-edge/selvage/state/conform"
)

// run opens and runs a store until the test ends or stop is called.
func run(t *testing.T, o state.Options) (store state.Store, stop func()) {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	e, err := state.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	}
	t.Cleanup(stop)
	return e.Store(), stop
}

func TestEmbeddedConforms(t *testing.T) {
	open := func(t *testing.T, limits state.Limits) state.Store {
		store, _ := run(t, state.Options{Folder: t.TempDir(), Limits: limits})
		return store
	}
	for name, test := range conform.Tests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is spent with waiting
			test(t, open)
		})
	}
}
