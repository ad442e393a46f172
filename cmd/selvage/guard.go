package main

import (
	"context"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/node"
	"github.com/selvage-edge/selvage/rollout"
	"github.com/selvage-edge/selvage/state"
)

// guard leads the changes of an edge: who decides of them and who does it here.
type guard struct {
	changes     *node.Changes
	coordinator *rollout.Coordinator
	agent       *rollout.Agent
	read        chan files // the last that was read and is not noted yet
}

// files is what the files of this machine say, and why they were read.
type files struct {
	services []selvage.Service
	outside  map[selvage.ServiceName]selvage.Outside
	why      string
}

// hear takes what was read, instead of what is not noted yet. One calls it at a time.
func (g *guard) hear(f files) {
	select {
	case <-g.read:
	default:
	}
	g.read <- f
}

// watchOver ties an edge's node to its changes.
func (e *edge) watchOver(conf *selvage.Config, store state.Store) {
	e.guard = &guard{read: make(chan files, 1)}
	// The store is this process's own, which its folder's lock says: whoever held the lease
	// before it is dead, and nobody waits for him.
	e.guard.coordinator = rollout.NewCoordinator(rollout.CoordinatorOptions{
		Store: store, Tenant: selvage.DefaultTenant, Holder: "node " + string(conf.Node.Name), Log: e.log,
	})
	e.guard.changes = &node.Changes{
		Rollouts: rollout.NewChanges(store, selvage.DefaultTenant, e.guard.coordinator),
		Store:    store, Tenant: selvage.DefaultTenant,
	}
	e.guard.agent = e.node.Agent(node.RolloutFolder(conf.Node.Data), e.guard.coordinator)
	e.control.State, e.control.Changes, e.control.History, e.control.Passes = &store, e.guard.changes, e.guard.changes, e.guard.changes
	e.guard.hear(files{conf.Services, conf.Outside, "start"})
}

// lead leads changes until ctx ends. Without it nothing changes, and what is
// served goes on.
func (e *edge) lead(ctx context.Context) {
	var loops sync.WaitGroup
	for name, run := range map[string]func(context.Context) error{"coordinator": e.guard.coordinator.Run, "agent": e.guard.agent.Run} {
		loops.Go(func() {
			if err := run(ctx); err != nil && ctx.Err() == nil {
				e.log.Error("no change can be made any more; requests are served on", "part", name, "error", err)
			}
		})
	}
	loops.Go(func() { e.note(ctx) })
	loops.Wait()
}

// noteWait is how long the store may take to note what a file says, noteAgain how long
// nobody asks it again when it did not.
const (
	noteWait  = 10 * time.Second
	noteAgain = time.Second
)

// note puts what the files say into the log of changes, until ctx ends. What the store
// does not take it is asked to take again: a machine that is busy with its start may
// keep it for longer than noteWait, and nobody reads the file a second time.
func (e *edge) note(ctx context.Context) {
	for ctx.Err() == nil {
		var f files
		select {
		case f = <-e.guard.read:
		case <-ctx.Done():
			return
		}
		f.services = e.noteOnce(ctx, f, true)
		for len(f.services) > 0 && ctx.Err() == nil {
			select {
			case <-time.After(noteAgain):
				f.services = e.noteOnce(ctx, f, false)
			case f = <-e.guard.read:
				f.services = e.noteOnce(ctx, f, true)
			case <-ctx.Done():
			}
		}
	}
}

// noteOnce asks the store to note what the files say, and returns what it is to be asked
// again. say: nobody said yet what it does not take.
func (e *edge) noteOnce(ctx context.Context, f files, say bool) (again []selvage.Service) {
	for _, s := range f.services {
		wait, cancel := context.WithTimeout(ctx, noteWait)
		err := e.guard.changes.Local(wait, s, f.outside[s.Service], "node "+string(e.name), f.why)
		cancel()
		if err == nil || ctx.Err() != nil {
			continue
		}
		if selvage.KindOf(err) != selvage.Invalid {
			again = append(again, s)
		}
		if say {
			e.log.Warn("a file's service is served, and is not in the log of changes", "service", s.Service, "error", err)
		}
	}
	return again
}
