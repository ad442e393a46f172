package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// group runs loops together. The zero value is ready.
type group struct {
	wg   sync.WaitGroup
	mu   sync.Mutex
	errs []error // guarded by mu
}

// run starts a loop. If it fails, all of the group are stopped.
func (g *group) run(ctx context.Context, stop context.CancelFunc, name string, loop func(context.Context) error) {
	g.wg.Go(func() { // waited for by wait
		err := loop(ctx)
		if err == nil || ctx.Err() != nil && errors.Is(err, ctx.Err()) {
			return
		}
		g.mu.Lock()
		g.errs = append(g.errs, fmt.Errorf("%s: %w", name, err))
		g.mu.Unlock()
		stop()
	})
}

// wait waits for all loops and returns what went wrong.
func (g *group) wait() error {
	g.wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	return errors.Join(g.errs...)
}
