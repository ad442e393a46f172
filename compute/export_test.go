package compute

import (
	"context"
	"time"
)

// WasReset is what it took to set a sandbox back.
type WasReset struct {
	Took    time.Duration
	Written int // pages that were not what they had been frozen as
}

// ServeAndLook is Serve, and looks at the reset.
func ServeAndLook(ctx context.Context, f *Function, in *Invocation) (r WasReset, err error) {
	b, err := f.take(ctx)
	if err != nil {
		return r, err
	}
	healthy := false
	defer func() { f.giveBack(b, healthy) }()
	if err := b.serve(ctx, in); err != nil {
		return r, err
	}
	if b.frozen != nil && b.memory != nil {
		r.look(b.memory)
	}
	began := time.Now()
	healthy = f.fresh == "" && b.back()
	r.Took = time.Since(began)
	return r, nil
}
