package fastly

import (
	"context"
	"strings"

	"github.com/tetratelabs/wazero/api"

	"github.com/selvage-edge/selvage/compute"
)

// Support says what a function does here.
type Support string

// What a function may do.
const (
	Works   Support = "works"
	Partly  Support = "partly" // with the bounds that the note says
	Nothing Support = "none"   // answers that there is none, or no
	Absent  Support = "unsupported"
)

// Function is one function of the interface.
type Function struct {
	Module, Name string
	// Params are its parameters: i for 32 bits, l for 64. The result is a [Status].
	Params  string
	Support Support
	Note    string // why it is not more than it is
	Waits   bool   // for an origin, a client or a store

	call func(*call) Status
}

// valueTypes are the types of parameters.
func valueTypes(params string) []api.ValueType {
	out := make([]api.ValueType, len(params))
	for i, p := range params {
		out[i] = api.ValueTypeI32
		if p == 'l' {
			out[i] = api.ValueTypeI64
		}
	}
	return out
}

// largeCall is how many bytes a call may touch as a part of its own cost, and
// bytesAnInstruction is how many of the others cost as much as an instruction.
const (
	largeCall          = 4096
	bytesAnInstruction = 8
)

// Functions are all that a guest may import.
func (a *ABI) Functions() []compute.HostFunc {
	table := Table()
	out := make([]compute.HostFunc, 0, len(table))
	for _, f := range table {
		out = append(out, f.host())
	}
	return out
}

// host is the function as the engine links it.
func (f Function) host() compute.HostFunc {
	n := len(f.Params)
	early := f.Module == "fastly_abi" // which leaves nothing behind
	return compute.HostFunc{
		Module: f.Module, Name: f.Name, Params: valueTypes(f.Params), Results: valueTypes("i"), Waits: f.Waits, Early: early,
		Call: func(ctx context.Context, g *compute.Guest, stack []uint64) {
			x, _ := g.Session().(*exchange)
			if x == nil {
				x = &exchange{}
			}
			stack[0] = uint64(x.run(ctx, g, f.call, stack[:n]))
			if touched := x.call.touched; touched > largeCall {
				g.Charge(ctx, touched/bytesAnInstruction)
			}
		},
	}
}

// run calls a function. Whatever it found, a pointer that left the guest's memory makes it Invalid.
func (x *exchange) run(ctx context.Context, p program, do func(*call) Status, args []uint64) Status {
	c := &x.call
	*c = call{ctx: ctx, x: x, mem: p, args: args}
	status := do(c)
	if c.bad && status == OK {
		return Invalid
	}
	return status
}

// IsOurs says whether a module is one of the interface's, known or not.
func IsOurs(module string) bool { return strings.HasPrefix(module, "fastly_") }

// Known says whether the table has a function. What it has not is linked to an
// answer that it is unsupported; check names it to the author.
func Known(module, name string) (Function, bool) {
	for _, f := range Table() {
		if f.Module == module && f.Name == name {
			return f, true
		}
	}
	return Function{}, false
}

// Lacking are the imports that a program will find unsupported, each as
// module.name: those of the table that are absent, and those that it has not.
// Imports come as module.name.
func Lacking(imports []string) []string {
	absent := map[string]bool{}
	for _, f := range Table() {
		absent[f.Module+"."+f.Name] = f.Support == Absent
	}
	var out []string
	for _, name := range imports {
		if is, known := absent[name]; IsOurs(name) && (is || !known) {
			out = append(out, name)
		}
	}
	return out
}
