package compute

import (
	"context"
	"reflect"
	"slices"
	"sync"
	"unsafe"

	"github.com/selvage-edge/selvage/compute/wasm"
	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/experimental"
)

// This file, and no other, reaches into the engine: for the stack that a
// snapshot holds, for how much of it is in use, and for the length of a memory.
// The fields are found by name and type; where one is missing, nothing is set
// back and every request gets a fresh instance. The engine's version is pinned,
// and a test holds the names.

// layout is where the fields are: of a snapshot the stack, its lower end, and the
// results of the host function that it was taken in; of a call the ends of its stack.
type layout struct {
	ok                        bool
	snapshotSP, snapshotStack uintptr
	snapshotResults           uintptr
	callTop, callSP           uintptr
}

// engineLayout finds the fields by running the smallest of all programs.
var engineLayout = sync.OnceValue(func() (l layout) {
	ctx := context.Background()
	metered, err := wasm.Meter([]byte("\x00asm\x01\x00\x00\x00"), wasm.Rules{})
	if err != nil {
		return l
	}
	r := wazero.NewRuntime(ctx)
	defer func() { _ = r.Close(ctx) }() // there is nothing in it that could fail
	own := r.NewHostModuleBuilder(wasm.HostModule).NewFunctionBuilder()
	own.WithGoFunction(api.GoFunc(func(context.Context, []uint64) {}), nil, nil).Export(wasm.Tick)
	b := own.WithGoFunction(api.GoFunc(func(ctx context.Context, stack []uint64) {
		s := experimental.GetSnapshotter(ctx)
		l = findLayout(reflect.TypeOf(s), reflect.TypeOf(s.Snapshot()))
		stack[0] = 1
	}), nil, []api.ValueType{api.ValueTypeI32}).Export(wasm.Enter)
	if _, err := b.Instantiate(ctx); err != nil {
		return l
	}
	m, err := r.Instantiate(ctx, metered.Module())
	if err != nil {
		return l
	}
	if _, err := m.ExportedFunction(wasm.Run).Call(experimental.WithSnapshotter(ctx)); err != nil {
		l.ok = false
	}
	return l
})

// findLayout looks for the fields in the types of a call and of a snapshot.
func findLayout(call, snapshot reflect.Type) (l layout) {
	field := func(t reflect.Type, kind reflect.Kind, names ...string) (offset uintptr, ok bool) {
		for t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		for _, name := range names {
			if t.Kind() != reflect.Struct {
				return 0, false
			}
			f, found := t.FieldByName(name)
			if !found {
				return 0, false
			}
			offset, t = offset+f.Offset, f.Type
		}
		return offset, t.Kind() == kind
	}
	var ok [5]bool
	l.snapshotSP, ok[0] = field(snapshot, reflect.Uintptr, "sp")
	l.snapshotStack, ok[1] = field(snapshot, reflect.Slice, "stack")
	l.callTop, ok[2] = field(call, reflect.Uintptr, "stackTop")
	l.callSP, ok[3] = field(call, reflect.Pointer, "execCtx", "stackPointerBeforeGoCall")
	l.snapshotResults, ok[4] = field(snapshot, reflect.Slice, "ret")
	l.ok = ok == [5]bool{true, true, true, true, true}
	return l
}

// savedStack is a copy of the used part of a snapshot's stack.
type savedStack struct{ live, saved []byte }

// saveStack copies the stack of a snapshot.
func saveStack(s experimental.Snapshot) savedStack {
	l := engineLayout()
	p := reflect.ValueOf(s).UnsafePointer()
	live := *(*[]byte)(unsafe.Add(p, l.snapshotStack))
	sp := *(*uintptr)(unsafe.Add(p, l.snapshotSP))
	live = live[sp-uintptr(unsafe.Pointer(unsafe.SliceData(live))):]
	return savedStack{live, slices.Clone(live)}
}

func (s savedStack) restore() { copy(s.live, s.saved) }

// goBack restores a snapshot of the call in which the caller is a host function, and which it goes on with
// by returning.
func goBack(s experimental.Snapshot, results []uint64) {
	p := reflect.ValueOf(s).UnsafePointer()
	*(*[]uint64)(unsafe.Add(p, engineLayout().snapshotResults)) = results
	goBackTo(p)
}

// goBackTo is what the engine does where a panic of Restore has come to, which
// costs more than all of the rest.
//
//go:linkname goBackTo github.com/tetratelabs/wazero/internal/engine/wazevo.(*snapshot).doRestore
//go:noescape
func goBackTo(snapshot unsafe.Pointer)

// stackUsed is how many bytes of stack the guest uses that called a host
// function; 0 where that cannot be known.
func stackUsed(ctx context.Context) uint64 {
	l := engineLayout()
	if !l.ok {
		return 0
	}
	p := reflect.ValueOf(experimental.GetSnapshotter(ctx)).UnsafePointer()
	top := *(*uintptr)(unsafe.Add(p, l.callTop))
	sp := *(*uintptr)(unsafe.Add(p, l.callSP))
	return uint64(top - sp)
}

// setPages sets the length of a memory back. The engine can only grow one, so
// its buffer is set to a page less, and grown.
func setPages(m api.Memory, to *memory, pages uint32) bool {
	if m.Size() == pages*pageSize {
		return true
	}
	buffer := reflect.ValueOf(m).Elem().FieldByName("Buffer")
	if pages == 0 || !buffer.CanSet() {
		return false
	}
	less := uint64(pages-1) * pageSize
	buffer.SetBytes(to.all[:less:less])
	_, ok := m.Grow(1)
	return ok && m.Size() == pages*pageSize
}
