package main

import (
	"context"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/state"
)

// busyBlobs are of a store that takes nothing for a while.
type busyBlobs struct {
	state.Blobs
	busy  *atomic.Bool
	asked *atomic.Int64
}

func (b busyBlobs) Put(ctx context.Context, key state.BlobKey, from io.Reader) error {
	if b.asked.Add(1); b.busy.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	return b.Blobs.Put(ctx, key, from)
}

// What a file says stands in the log in the end, also where the store was busy when it was read.
func TestWhatAFileSaysIsNotedByAStoreThatWasBusy(t *testing.T) {
	t.Run("bubble", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var busy atomic.Bool
			var asked atomic.Int64
			busy.Store(true)
			store := state.Memory(state.Limits{})
			store.Blobs = busyBlobs{store.Blobs, &busy, &asked}
			var said strings.Builder
			e := &edge{name: "ams-1", log: slog.New(slog.NewTextHandler(&said, nil)), guard: &guard{
				read: make(chan files, 1),
				changes: &node.Changes{
					Rollouts: rollout.NewChanges(store, selvage.DefaultTenant, rollout.NewCoordinator(rollout.CoordinatorOptions{Store: store, Tenant: selvage.DefaultTenant, Holder: "one"})),
					Store:    store, Tenant: selvage.DefaultTenant,
				},
			}}
			read := func(owner string) {
				s, err := config.ParseService("shop.yaml", []byte("service: shop\nowner: "+owner+"\nhosts: [\"*\"]\nroutes: [{match: {path: /*}, redirect: {to: /x}}]\n"))
				if err != nil {
					t.Fatal(err)
				}
				e.guard.hear(files{services: []selvage.Service{s}, why: owner})
			}
			ctx, stop := context.WithCancel(t.Context())
			over := make(chan struct{})
			go func() {
				defer close(over)
				e.note(ctx)
			}()
			noted := func() (whys []string) {
				list, err := e.guard.changes.Rollouts.Changes(t.Context(), 10)
				if err != nil {
					t.Fatal(err)
				}
				for _, c := range list {
					whys = append(whys, c.Why)
				}
				return whys
			}
			read("first")
			time.Sleep(time.Minute)
			if got := noted(); asked.Load() < 3 || len(got) != 0 {
				t.Errorf("a busy store was asked %d times, and has noted %q", asked.Load(), got)
			}
			read("second")
			time.Sleep(noteWait)
			busy.Store(false)
			time.Sleep(noteWait + noteAgain)
			if got := noted(); len(got) != 1 || got[0] != "second" {
				t.Errorf("noted is %q, want what the file says now", got)
			}
			before := asked.Load()
			time.Sleep(time.Hour)
			if asked.Load() != before {
				t.Error("what is noted is noted again and again")
			}
			stop()
			<-over
			if n := strings.Count(said.String(), "is not in the log of changes"); n != 2 {
				t.Errorf("it is said %d times, want once for each reading:\n%s", n, &said)
			}
		})
	})
}
