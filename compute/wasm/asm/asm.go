// Package asm assembles small WebAssembly modules from text, for the guests of
// tests. It is no part of the product.
//
// Look at [Assemble] first. The text is lines; two semicolons begin a comment.
// Outside of functions there are
//
//	import MODULE NAME $id i32,i32 -> i32
//	memory MIN [MAX]
//	table MIN [MAX]
//	global $id i32 VALUE            (mutable)
//	data OFFSET "text"              (or: data passive "text")
//	elem OFFSET $f $g …             (or: elem passive $f …)
//	start $f
//	func $id [export=NAME] [i32,i32 -> i32] [locals=i32,i64]
//
// and within a function, which ends with endfunc, instructions by their names,
// one or more a line separated by a slash, with their operands in decimal or as
// names. Memory instructions take an offset, call_indirect a type such as
// i32->i32. The memory is exported as memory.
//
// It promises to panic on every mistake: the text is a test's own.
package asm

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage/compute/wasm"
)

type function struct {
	id     string
	typ    int
	export string
	locals []byte
	lines  []string
}

type assembler struct {
	types   []string
	imports [][]byte
	funcs   []function
	names   map[string]int // $id to index, of functions and of globals
	memory  []byte
	table   []byte
	globals [][]byte
	data    [][]byte
	elems   [][]byte
	start   string
}

// Assemble makes a module of text.
func Assemble(text string) []byte {
	a := &assembler{names: map[string]int{}}
	var current *function
	for n, line := range strings.Split(text, "\n") {
		line, _, _ = strings.Cut(line, ";;")
		line = strings.TrimSpace(line)
		switch {
		case line == "":
		case current != nil && line == "endfunc":
			a.funcs = append(a.funcs, *current)
			current = nil
		case current != nil:
			current.lines = append(current.lines, line)
		case strings.HasPrefix(line, "func "):
			current = a.function(line)
		default:
			if !a.directive(line) {
				panic(fmt.Sprintf("line %d: %s", n+1, line))
			}
		}
	}
	return a.encode()
}

func (a *assembler) function(line string) *function {
	words := strings.Fields(line)[1:]
	f := &function{id: words[0]}
	a.names[words[0]] = len(a.imports) + len(a.funcs)
	var signature strings.Builder
	for _, w := range words[1:] {
		if name, ok := strings.CutPrefix(w, "export="); ok {
			f.export = name
		} else if list, ok := strings.CutPrefix(w, "locals="); ok {
			f.locals = types(list)
		} else {
			signature.WriteString(w)
		}
	}
	f.typ = a.typ(signature.String())
	return f
}

func (a *assembler) directive(line string) bool {
	w := strings.Fields(line)
	switch w[0] {
	case "import":
		a.names[w[3]] = len(a.imports)
		e := append(str(str(nil, w[1]), w[2]), 0)
		a.imports = append(a.imports, u32(e, uint64(a.typ(strings.Join(w[4:], "")))))
	case "memory":
		a.memory = limits(nil, w[1:])
	case "table":
		a.table = limits([]byte{byte(wasm.FuncRef)}, w[1:])
	case "global":
		a.names[w[1]] = len(a.globals)
		a.globals = append(a.globals, constant(append(types(w[2]), 1), types(w[2])[0], w[3]))
	case "data":
		rest := strings.TrimSpace(strings.TrimPrefix(line, "data"))
		where, quoted, _ := strings.Cut(rest, " ")
		content, err := strconv.Unquote(strings.TrimSpace(quoted))
		if err != nil {
			panic(err)
		}
		e := []byte{1}
		if where != "passive" {
			e = constant([]byte{0}, byte(wasm.I32), where)
		}
		a.data = append(a.data, str(e, content))
	case "elem":
		e := []byte{1, 0}
		if w[1] != "passive" {
			e = constant([]byte{0}, byte(wasm.I32), w[1])
		}
		e = u32(e, uint64(len(w)-2))
		for _, name := range w[2:] {
			e = append(e, []byte("\x00"+name+"\x00")...) // resolved when all names are known
		}
		a.elems = append(a.elems, e)
	case "start":
		a.start = w[1]
	default:
		return false
	}
	return true
}

// typ is the index of a type such as i32,i64->i32.
func (a *assembler) typ(signature string) int {
	signature = strings.TrimSuffix(signature, "->")
	if i := slices.Index(a.types, signature); i >= 0 {
		return i
	}
	a.types = append(a.types, signature)
	return len(a.types) - 1
}

func types(list string) (out []byte) {
	for name := range strings.SplitSeq(list, ",") {
		switch name {
		case "":
		case "i32":
			out = append(out, byte(wasm.I32))
		case "i64":
			out = append(out, byte(wasm.I64))
		case "f32":
			out = append(out, byte(wasm.F32))
		case "f64":
			out = append(out, byte(wasm.F64))
		case "v128":
			out = append(out, byte(wasm.V128))
		case "funcref":
			out = append(out, byte(wasm.FuncRef))
		default:
			panic("type " + name)
		}
	}
	return out
}

func u32(b []byte, v uint64) []byte { return binary.AppendUvarint(b, v) }

func s64(b []byte, v int64) []byte {
	for v < -64 || v > 63 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}

func str(b []byte, s string) []byte { return append(u32(b, uint64(len(s))), s...) }

func number(s string) int64 {
	v, err := strconv.ParseInt(s, 0, 64)
	if err != nil {
		panic(err)
	}
	return v
}

func limits(b []byte, w []string) []byte {
	b = u32(append(b, byte(len(w)-1)), uint64(number(w[0])))
	if len(w) > 1 {
		b = u32(b, uint64(number(w[1])))
	}
	return b
}

func constant(b []byte, typ byte, value string) []byte {
	switch wasm.ValueType(typ) {
	case wasm.I32:
		b = s64(append(b, 0x41), int64(int32(number(value))))
	case wasm.I64:
		b = s64(append(b, 0x42), number(value))
	case wasm.F32:
		b = binary.LittleEndian.AppendUint32(append(b, 0x43), math.Float32bits(float32(number(value))))
	case wasm.F64:
		b = binary.LittleEndian.AppendUint64(append(b, 0x44), math.Float64bits(float64(number(value))))
	case wasm.V128:
		b = append(append(b, 0xfd, 0x0c), make([]byte, 16)...)
	case wasm.FuncRef:
		b = append(b, 0xd0, 0x70)
	}
	return append(b, 0x0b)
}

// index is a number or a name.
func (a *assembler) index(s string) uint64 {
	if !strings.HasPrefix(s, "$") {
		return uint64(number(s))
	}
	i, ok := a.names[s]
	if !ok {
		panic("no " + s)
	}
	return uint64(i)
}

// body encodes the instructions of a function.
func (a *assembler) body(f *function) []byte {
	b := u32(nil, uint64(len(f.locals)))
	for _, t := range f.locals {
		b = append(b, 1, t)
	}
	for _, line := range f.lines {
		for part := range strings.SplitSeq(line, "/") {
			if w := strings.Fields(part); len(w) > 0 {
				b = a.instruction(b, w)
			}
		}
	}
	b = append(b, 0x0b)
	return append(u32(nil, uint64(len(b))), b...)
}

func (a *assembler) instruction(b []byte, w []string) []byte {
	encoding, shape, ok := wasm.Lookup(w[0])
	if !ok {
		panic("instruction " + w[0])
	}
	b = append(b, encoding...)
	operand := func(i int) string {
		if i < len(w) {
			return w[i]
		}
		return "0"
	}
	switch shape {
	case wasm.ShapeBlock:
		if len(w) > 1 && strings.Contains(w[1], "->") {
			return s64(b, int64(a.typ(w[1])))
		}
		if len(w) > 1 {
			return append(b, types(w[1])...)
		}
		return append(b, 0x40)
	case wasm.ShapeIndex:
		return u32(b, a.index(operand(1)))
	case wasm.ShapeIndexes:
		return u32(u32(b, a.index(operand(1))), a.index(operand(2)))
	case wasm.ShapeLabels:
		b = u32(b, uint64(len(w)-2))
		for _, label := range w[1:] {
			b = u32(b, uint64(number(label)))
		}
		return b
	case wasm.ShapeMemory:
		return u32(append(b, 0), uint64(number(operand(1))))
	case wasm.ShapeI32:
		return s64(b, int64(int32(number(operand(1)))))
	case wasm.ShapeI64:
		return s64(b, number(operand(1)))
	case wasm.ShapeOther:
		return a.special(b, w, operand)
	}
	return b
}

// special encodes what has operands of its own kind.
func (a *assembler) special(b []byte, w []string, operand func(int) string) []byte {
	switch w[0] {
	case "call_indirect", "return_call_indirect":
		return append(u32(b, uint64(a.typ(operand(1)))), 0)
	case "memory.size", "memory.grow", "memory.fill":
		return append(b, 0)
	case "memory.copy":
		return append(b, 0, 0)
	case "memory.init":
		return append(u32(b, a.index(operand(1))), 0)
	case "ref.null":
		return append(b, byte(wasm.FuncRef))
	case "f32.const":
		return binary.LittleEndian.AppendUint32(b, math.Float32bits(float32(number(operand(1)))))
	case "f64.const":
		return binary.LittleEndian.AppendUint64(b, math.Float64bits(float64(number(operand(1)))))
	case "v128.const", "i8x16.shuffle":
		return append(b, make([]byte, 16)...)
	}
	switch name := w[0]; {
	case strings.HasPrefix(name, "v128.load") && strings.HasSuffix(name, "_lane"), strings.HasPrefix(name, "v128.store") && strings.HasSuffix(name, "_lane"):
		return append(u32(append(b, 0), uint64(number(operand(1)))), byte(number(operand(2))))
	case strings.Contains(name, "_lane"):
		return append(b, byte(number(operand(1))))
	}
	panic("operands of " + w[0])
}

func (a *assembler) encode() []byte {
	var bodies, funcs, exports [][]byte
	for i := range a.funcs {
		f := &a.funcs[i]
		bodies = append(bodies, a.body(f))
		funcs = append(funcs, u32(nil, uint64(f.typ)))
		if f.export != "" {
			exports = append(exports, u32(append(str(nil, f.export), 0), uint64(len(a.imports)+i)))
		}
	}
	var signatures [][]byte
	for _, t := range a.types {
		params, results, _ := strings.Cut(t, "->")
		signatures = append(signatures, []byte("\x60"+string(str(nil, string(types(params))))+string(str(nil, string(types(results))))))
	}
	for i, e := range a.elems {
		for _, name := range slices.Sorted(maps.Keys(a.names)) {
			e = []byte(strings.ReplaceAll(string(e), "\x00"+name+"\x00", string(u32(nil, uint64(a.names[name])))))
		}
		a.elems[i] = e
	}
	var memories, tables [][]byte
	if a.memory != nil {
		memories = append(memories, a.memory)
		exports = append(exports, append(str(nil, "memory"), 2, 0))
	}
	if a.table != nil {
		tables = append(tables, a.table)
	}
	out := []byte("\x00asm\x01\x00\x00\x00")
	out = section(out, 1, signatures)
	out = section(out, 2, a.imports)
	out = section(out, 3, funcs)
	out = section(out, 4, tables)
	out = section(out, 5, memories)
	out = section(out, 6, a.globals)
	out = section(out, 7, exports)
	if a.start != "" {
		s := u32(nil, a.index(a.start))
		out = append(append(out, 8, byte(len(s))), s...)
	}
	out = section(out, 9, a.elems)
	if len(a.data) > 0 {
		out = append(out, 12, 1, byte(len(a.data)))
	}
	out = section(out, 10, bodies)
	return a.nameSection(section(out, 11, a.data))
}

// nameSection names the functions by their ids.
func (a *assembler) nameSection(out []byte) []byte {
	names := u32(nil, uint64(len(a.funcs)))
	for i, f := range a.funcs {
		names = str(u32(names, uint64(len(a.imports)+i)), strings.TrimPrefix(f.id, "$"))
	}
	content := append(str(nil, "name"), 1)
	content = append(u32(content, uint64(len(names))), names...)
	return append(u32(append(out, 0), uint64(len(content))), content...)
}

func section(out []byte, id byte, entries [][]byte) []byte {
	if len(entries) == 0 {
		return out
	}
	body := u32(nil, uint64(len(entries)))
	for _, e := range entries {
		body = append(body, e...)
	}
	return append(u32(append(out, id), uint64(len(body))), body...)
}
