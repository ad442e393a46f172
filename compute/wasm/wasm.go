// Package wasm reads WebAssembly modules, adds what makes them safe to run, and
// writes them again.
//
// Look at [Meter] first: it is the only way to a [Metered], and a [Metered] is
// the only thing that the engine takes. Every instruction is decoded and
// encoded anew, so that what was judged is what runs.
//
// It promises that of any way through a metered module no more than a bounded
// number of instructions lies between two checks of the fuel, that bulk
// instructions work in pieces, that the meaning of the program is otherwise
// kept, and that random bytes give an error with their offset, never a panic.
// It refuses what it does not know, and what cannot be metered or limited:
// threads, exceptions, typed function references, garbage-collected types,
// relaxed SIMD, 64-bit and several memories, imported memories, tables and
// globals, and components. Its limits are those of the WebAssembly JavaScript
// interface.
//
// It does not check types: the engine does that, with what was written.
package wasm

import "fmt"

// Error says what is wrong with a module, and where.
type Error struct {
	Offset int    // from the module's first byte
	Op     string // the instruction, where it is one
	Text   string
}

func (e *Error) Error() string {
	if e.Op == "" {
		return fmt.Sprintf("offset %#x: %s", e.Offset, e.Text)
	}
	return fmt.Sprintf("offset %#x: %s: %s", e.Offset, e.Op, e.Text)
}

// The limits of a module, as the WebAssembly JavaScript interface has them.
const (
	maxTypes     = 1_000_000
	maxFunctions = 1_000_000
	maxImports   = 1_000_000
	maxExports   = 1_000_000
	maxGlobals   = 1_000_000
	maxSegments  = 100_000
	maxTables    = 100_000
	maxParams    = 1_000
	maxResults   = 1_000
	maxLocals    = 50_000
	maxBody      = 7_654_321
	maxNesting   = 100_000
	maxPages     = 65_536
	pageSize     = 65_536
)

// ValueType is the type of a value, as it is encoded.
type ValueType byte

// The types of values.
const (
	I32       ValueType = 0x7f
	I64       ValueType = 0x7e
	F32       ValueType = 0x7d
	F64       ValueType = 0x7c
	V128      ValueType = 0x7b
	FuncRef   ValueType = 0x70
	ExternRef ValueType = 0x6f
)

func (t ValueType) String() string {
	switch t {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	case V128:
		return "v128"
	case FuncRef:
		return "funcref"
	case ExternRef:
		return "externref"
	}
	return fmt.Sprintf("type %#x", byte(t))
}

// FuncType is the type of a function.
type FuncType struct{ Params, Results []ValueType }

// Import is a function that a module imports.
type Import struct {
	Module, Name string
	Type         FuncType
}
