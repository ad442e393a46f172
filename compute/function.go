package compute

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/tetratelabs/wazero"
)

// Function is a compiled program with its sandboxes. It is safe for concurrent
// use, and holds memory until Close.
type Function struct {
	engine   *Engine
	program  Program
	handler  Handler // nil: the program handles its request in _start
	metered  *wasm.Metered
	digest   [32]byte
	hosts    []HostFunc
	stubs    map[string]uint32 // results by module and name
	cache    wazero.CompilationCache
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	image    image         // of the memory that a program begins with; nil without one
	slots    chan struct{} // one token for each request inside
	fresh    string        // why it is started anew for each request; empty if it is not

	// mu guards what follows.
	mu     sync.Mutex
	idle   []*sandbox // the last used one last
	spare  int        // the fewest that were idle at once since the last Trim
	inside int
	closed bool
}

// Digest is the SHA-256 of the metered module.
func (f *Function) Digest() [32]byte { return f.digest }

// FreshBecause says why the program is started anew for each request; empty if
// its sandboxes are set back instead.
func (f *Function) FreshBecause() string { return f.fresh }

// prepare makes what all sandboxes share, and the first one: what cannot be
// instantiated is found out now.
func (f *Function) prepare(ctx context.Context) error {
	f.fresh = f.whyFresh()
	for _, kv := range f.program.Env {
		if kv == "" || kv[0] == '=' || strings.Contains(kv, "\x00") {
			return selvage.Errorf(selvage.Invalid, "set environment of function: %q has no name, or a zero byte", kv)
		}
	}
	if segments := f.metered.Image(); len(segments) > 0 {
		pages, _ := f.metered.HasMemory()
		var err error
		if f.image, err = f.engine.memories.image(imageOf(segments, pages)); err != nil {
			return fmt.Errorf("keep first memory of function: %w", err)
		}
	}
	b, err := f.newSandbox(ctx)
	if err != nil {
		return err
	}
	f.idle = append(f.idle, b)
	return nil
}

// checkExports looks for what the module has to export.
func (f *Function) checkExports() error {
	if f.handler == nil {
		if t, ok := f.metered.Exported("_start"); !ok || len(t.Params)+len(t.Results) > 0 {
			return selvage.Errorf(selvage.Invalid, "link module: it exports no function _start, so there is nothing to run")
		}
		return nil
	}
	need := f.handler.Exports()
	for _, name := range slices.Sorted(maps.Keys(need)) {
		t, ok := f.metered.Exported(name)
		switch {
		case !ok:
			return selvage.Errorf(selvage.Invalid, "link module: it exports no function %s, which %s asks for", name, f.program.ABI.Name())
		case !slices.Equal(valueTypes(t.Params), need[name].Params) || !slices.Equal(valueTypes(t.Results), need[name].Results):
			return selvage.Errorf(selvage.Invalid, "link module: it exports %s as a function of another type", name)
		}
	}
	return nil
}

// imageOf lays segments out.
func imageOf(segments []wasm.Segment, pages uint32) []byte {
	size := uint64(0)
	for _, s := range segments {
		size = max(size, uint64(s.At)+uint64(len(s.Data)))
	}
	b := make([]byte, min(size, uint64(pages)*pageSize))
	for _, s := range segments {
		copy(b[s.At:], s.Data)
	}
	return b
}

const pageSize = 65536

func (f *Function) whyFresh() string {
	switch o := f.metered.Obstacles(); {
	case f.program.Fresh:
		return "it was asked for"
	case !engineLayout().ok:
		return "the engine has no compiler for this machine"
	case len(o) > 0:
		return o[0]
	}
	return ""
}

// Serve runs the program for a request. The error is nil when the program
// ended well, whether or not it sent an answer; a [*LimitError], when a limit
// ended it; a [*Failed], when something else than the program failed; a [*Trap],
// when it ended badly, or, with the context's error in its chain, because the
// request was cut.
func (f *Function) Serve(ctx context.Context, in *Invocation) error {
	if in.R == nil {
		in.R = new(http.Request)
	}
	select {
	case f.slots <- struct{}{}:
	default:
		if f.engine.options.OnLimit != nil {
			f.engine.options.OnLimit(string(LimitSandboxes))
		}
		in.Usage.Hit = append(in.Usage.Hit, LimitSandboxes)
		select {
		case f.slots <- struct{}{}:
		case <-ctx.Done():
			return &LimitError{Name: LimitSandboxes, Text: fmt.Sprintf("%d requests are in the function, and none of them ended: %v", cap(f.slots), context.Cause(ctx))}
		}
	}
	defer func() { <-f.slots }()
	b, err := f.take(ctx)
	if err != nil {
		return err
	}
	healthy := false
	defer func() { f.giveBack(b, healthy) }()
	err = b.serve(ctx, in)
	_, blameless := errors.AsType[*Failed](err)
	healthy = (err == nil || blameless || cutOff(err)) && f.fresh == "" && b.back()
	return err
}

// cutOff says that a guest was ended because its request was, and not by
// anything that it did: the sandbox can be set back as after any other.
func cutOff(err error) bool {
	if _, limit := errors.AsType[*LimitError](err); limit {
		return false
	}
	t, ok := errors.AsType[*Trap](err)
	return ok && t.Kind == Interrupted && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

// take gives a sandbox to a request.
func (f *Function) take(ctx context.Context) (*sandbox, error) {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return nil, errClosed
	}
	f.inside++
	var b *sandbox
	if n := len(f.idle); n > 0 {
		b = f.idle[n-1]
		f.idle = f.idle[:n-1]
	}
	f.spare = min(f.spare, len(f.idle))
	f.mu.Unlock()
	if b != nil && !b.current() {
		f.engine.stats.replaced.Add(1)
		b.close()
		b = nil
	}
	if b != nil {
		return b, nil
	}
	b, err := f.newSandbox(context.WithoutCancel(ctx))
	if err != nil {
		f.giveBack(nil, false)
		return nil, err
	}
	return b, nil
}

var errClosed = selvage.Errorf(selvage.Unavailable, "the function is closed")

// giveBack takes a sandbox from a request. One that is not healthy is thrown away.
func (f *Function) giveBack(b *sandbox, healthy bool) {
	if b != nil && !healthy {
		if f.fresh == "" {
			f.engine.stats.replaced.Add(1)
		}
		b.close()
		b = nil
	}
	f.mu.Lock()
	f.inside--
	if b != nil && !f.closed {
		f.idle = append(f.idle, b)
		b = nil
	}
	last := f.closed && f.inside == 0
	f.mu.Unlock()
	if b != nil {
		b.close()
	}
	if last {
		f.closeRuntime(context.Background())
	}
}

// Trim throws away the sandboxes that no request needed since the last Trim,
// and gives their memory back. One stays, so that the next request finds it.
func (f *Function) Trim() {
	f.mu.Lock()
	n := max(min(f.spare, len(f.idle)-1), 0)
	drop := slices.Clone(f.idle[:n])
	f.idle = slices.Delete(f.idle, 0, n)
	f.spare = len(f.idle)
	f.mu.Unlock()
	for _, b := range drop {
		b.close()
	}
}

// Close frees what the function holds. Requests inside go on; the last of them
// frees the rest.
func (f *Function) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.closed = true
	idle, last := f.idle, f.inside == 0
	f.idle = nil
	f.mu.Unlock()
	for _, b := range idle {
		b.close()
	}
	if last {
		f.closeRuntime(context.Background())
	}
}

func (f *Function) closeRuntime(ctx context.Context) {
	_ = f.runtime.Close(ctx) // nothing of it can fail: there is no file, no socket
	if f.cache != nil {
		_ = f.cache.Close(ctx)
		f.cache = nil
	}
	if f.image != nil {
		f.image.close()
		f.image = nil
	}
}
