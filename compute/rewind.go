package compute

import (
	"context"
	"slices"
	"time"

	"github.com/tetratelabs/wazero/experimental"
)

// frozen is the state of a sandbox where its program first asked for a request:
// memory, globals, and the stack of the compiled code.
//
// The stack is the delicate part. The engine can take a snapshot of a running
// call and restore it, from within a later call of the same function too: what
// it needs of the later call stands outside of the stack. But a restored stack
// is used up, so a copy of it is kept and put back before each restoring.
type frozen struct {
	pages   uint32
	globals []uint64
	// host is the call in which the program was frozen. It is made again for each request.
	host   *HostFunc
	params []uint64

	snapshot experimental.Snapshot // nil where a handler calls the program
	stack    savedStack
}

// wayOut is the place where a program begins, which is where it goes when it
// exits: a restored call returns from there, and the program with it. That
// costs less than a panic through all of its frames.
type wayOut struct {
	snapshot experimental.Snapshot
	stack    savedStack
}

func newWayOut(ctx context.Context) *wayOut {
	s := experimental.GetSnapshotter(ctx).Snapshot()
	return &wayOut{s, saveStack(s)}
}

// leave ends the program. It does not return.
func (o *wayOut) leave() {
	o.stack.restore()
	o.snapshot.Restore([]uint64{1})
}

// freezeAt freezes the sandbox in a host call.
func (b *sandbox) freezeAt(ctx context.Context, h *HostFunc, stack []uint64) error {
	// What it takes to freeze a sandbox is not the program's doing.
	b.guest.meter.pause(time.Now())
	defer func() { b.guest.meter.resume(time.Now()) }()
	if err := b.freeze(h, stack); err != nil {
		return err
	}
	s := experimental.GetSnapshotter(ctx).Snapshot()
	b.frozen.snapshot, b.frozen.stack = s, saveStack(s)
	return nil
}

// freeze keeps memory and globals as they are.
func (b *sandbox) freeze(h *HostFunc, stack []uint64) error {
	b.leaveTurn() // what is dropped meanwhile takes turns of its own
	f := &frozen{host: h, params: slices.Clone(stack)}
	for _, g := range b.globals {
		f.globals = append(f.globals, g.Get())
	}
	if b.memory != nil {
		b.findMarks()
		f.pages = b.guest.memory.Size() / pageSize
		if err := b.memory.freeze(); err != nil {
			return err
		}
		b.putTrace()
	}
	b.frozen = f
	return nil
}

// back sets the sandbox back after a request. What the request left is gone
// when it returns; false if the sandbox is of no more use.
func (b *sandbox) back() bool {
	if b.frozen == nil {
		return false // it ended without asking for its request
	}
	if b.memory != nil {
		if !b.memory.back() || !setPages(b.guest.memory, b.memory, b.frozen.pages) {
			return false
		}
	}
	for i, g := range b.globals {
		g.Set(b.frozen.globals[i])
	}
	b.guest.in = nil
	return true
}

// rewind goes on where the program was frozen, as soon as the host function
// that calls it returns. Nothing may be written to its own stack after this.
func (b *sandbox) rewind(ctx context.Context) {
	f := b.frozen
	stack := append(b.params[:0], f.params...)
	b.params = stack
	b.answer(ctx, f.host, stack)
	f.stack.restore()
	goBack(f.snapshot, stack[:len(f.host.Results)])
}
