package wasm

import (
	"fmt"
	"strings"
	"sync"
)

// immediate says what follows an opcode.
type immediate byte

const (
	immUnknown immediate = iota // not an instruction that we take
	immNone
	immBlock     // a block type
	immLabel     // a label
	immLabels    // the labels of br_table
	immFunc      // a function
	immIndirect  // a type and a table
	immLocal     // a local
	immGlobal    // a global
	immTable     // a table
	immMem       // an alignment and an offset
	immZero      // memory 0
	immZeros     // memory 0 twice
	immI32       // a number
	immI64       // a number
	imm4         // four bytes
	imm8         // eight bytes
	imm16        // sixteen bytes: v128.const
	immLanes     // sixteen lanes
	immLane      // a lane
	immMemLane   // an alignment, an offset and a lane
	immTypes     // the types of select
	immRef       // a type of references
	immData      // a data segment
	immDataZero  // a data segment and memory 0
	immElem      // an element segment
	immElemTable // an element segment and a table
	immTables    // two tables
)

// The opcodes that the rewriter treats in a way of their own, or writes.
const (
	opUnreachable        = 0x00
	opBlock              = 0x02
	opLoop               = 0x03
	opIf                 = 0x04
	opElse               = 0x05
	opEnd                = 0x0b
	opBr                 = 0x0c
	opBrIf               = 0x0d
	opBrTable            = 0x0e
	opReturn             = 0x0f
	opCall               = 0x10
	opCallIndirect       = 0x11
	opReturnCall         = 0x12
	opReturnCallIndirect = 0x13
	opLocalGet           = 0x20
	opLocalSet           = 0x21
	opLocalTee           = 0x22
	opGlobalGet          = 0x23
	opGlobalSet          = 0x24
	opTableSet           = 0x26
	opMemorySize         = 0x3f
	opMemoryGrow         = 0x40
	opI32Const           = 0x41
	opI64Const           = 0x42
	opF32Const           = 0x43
	opF64Const           = 0x44
	opI32Eqz             = 0x45
	opI32LtS             = 0x48
	opI32GtU             = 0x4b
	opI32LeU             = 0x4d
	opI64GtU             = 0x56
	opI32Add             = 0x6a
	opI32Sub             = 0x6b
	opI32Mul             = 0x6c
	opI32And             = 0x71
	opI32ShrU            = 0x76
	opI64Add             = 0x7c
	opI64Mul             = 0x7e
	opI64Shl             = 0x86
	opI64ExtendI32U      = 0xad
	opRefNull            = 0xd0
	opRefFunc            = 0xd2
	opMisc               = 0xfc
	opVec                = 0xfd
	opAtomic             = 0xfe
	opGC                 = 0xfb

	miscMemoryInit = 8
	miscDataDrop   = 9
	miscMemoryCopy = 10
	miscMemoryFill = 11
	miscTableInit  = 12
	miscElemDrop   = 13
	miscTableCopy  = 14
	miscTableGrow  = 15
	miscTableFill  = 17

	vecConst = 12

	blockEmpty = -64 // the block type without values
)

// opInfo is what we know of an opcode.
type opInfo struct {
	name string
	imm  immediate
	cost int // about as many simple instructions; 0 for what is no work
}

// ops are the tables of opcodes: plain, and behind the prefixes 0xfc and 0xfd.
type ops struct {
	plain, misc, vec [256]opInfo
}

// opTables are made once, from the lists below.
var opTables = sync.OnceValue(func() *ops {
	t := &ops{}
	fill(&t.plain, 0x00, immNone, "unreachable nop")
	fill(&t.plain, 0x02, immBlock, "block loop if")
	fill(&t.plain, 0x05, immNone, "else")
	fill(&t.plain, 0x0b, immNone, "end")
	fill(&t.plain, 0x0c, immLabel, "br br_if")
	fill(&t.plain, 0x0e, immLabels, "br_table")
	fill(&t.plain, 0x0f, immNone, "return")
	fill(&t.plain, 0x10, immFunc, "call")
	fill(&t.plain, 0x11, immIndirect, "call_indirect")
	fill(&t.plain, 0x12, immFunc, "return_call")
	fill(&t.plain, 0x13, immIndirect, "return_call_indirect")
	fill(&t.plain, 0x1a, immNone, "drop select")
	fill(&t.plain, 0x1c, immTypes, "select")
	fill(&t.plain, 0x20, immLocal, "local.get local.set local.tee")
	fill(&t.plain, 0x23, immGlobal, "global.get global.set")
	fill(&t.plain, 0x25, immTable, "table.get table.set")
	fill(&t.plain, 0x28, immMem, memoryNames)
	fill(&t.plain, 0x3f, immZero, "memory.size memory.grow")
	fill(&t.plain, 0x41, immI32, "i32.const")
	fill(&t.plain, 0x42, immI64, "i64.const")
	fill(&t.plain, 0x43, imm4, "f32.const")
	fill(&t.plain, 0x44, imm8, "f64.const")
	fill(&t.plain, 0x45, immNone, numericNames)
	fill(&t.plain, 0xd0, immRef, "ref.null")
	fill(&t.plain, 0xd1, immNone, "ref.is_null")
	fill(&t.plain, 0xd2, immFunc, "ref.func")
	fill(&t.misc, 0, immNone, satNames)
	fill(&t.misc, miscMemoryInit, immDataZero, "memory.init")
	fill(&t.misc, miscDataDrop, immData, "data.drop")
	fill(&t.misc, miscMemoryCopy, immZeros, "memory.copy")
	fill(&t.misc, miscMemoryFill, immZero, "memory.fill")
	fill(&t.misc, miscTableInit, immElemTable, "table.init")
	fill(&t.misc, miscElemDrop, immElem, "elem.drop")
	fill(&t.misc, miscTableCopy, immTables, "table.copy")
	fill(&t.misc, miscTableGrow, immTable, "table.grow table.size table.fill")
	fill(&t.vec, 0x00, immMem, vecMemoryNames)
	fill(&t.vec, vecConst, imm16, "v128.const")
	fill(&t.vec, 0x0d, immLanes, "i8x16.shuffle")
	fill(&t.vec, 0x0e, immNone, "i8x16.swizzle i8x16.splat i16x8.splat i32x4.splat i64x2.splat f32x4.splat f64x2.splat")
	fill(&t.vec, 0x15, immLane, vecLaneNames)
	fill(&t.vec, 0x23, immNone, vecCompareNames)
	fill(&t.vec, 0x54, immMemLane, "v128.load8_lane v128.load16_lane v128.load32_lane v128.load64_lane "+
		"v128.store8_lane v128.store16_lane v128.store32_lane v128.store64_lane")
	fill(&t.vec, 0x5c, immMem, "v128.load32_zero v128.load64_zero")
	fill(&t.vec, 0x5e, immNone, vecNames)
	t.costs()
	return t
})

// fill puts names, separated by spaces, at consecutive opcodes. A dash is none.
func fill(table *[256]opInfo, at int, imm immediate, names string) {
	for name := range strings.FieldsSeq(names) {
		if name != "-" {
			table[at] = opInfo{name, imm, 1}
		}
		at++
	}
}

// costs sets what is not 1.
func (t *ops) costs() {
	set := func(table *[256]opInfo, cost int, at ...int) {
		for _, op := range at {
			table[op].cost = cost
		}
	}
	set(&t.plain, 0, 0x01, opBlock, opLoop, opElse, opEnd, 0x1a)
	set(&t.plain, 3, opBrTable, 0x25, opTableSet)
	set(&t.plain, costCall, opCall, opCallIndirect, opReturnCall, opReturnCallIndirect)
	set(&t.plain, costGrow, opMemoryGrow)
	set(&t.plain, 8, 0x6d, 0x6e, 0x6f, 0x70, 0x7f, 0x80, 0x81, 0x82, 0x91, 0x95, 0x9f, 0xa3)
	for op := miscMemoryInit; op <= miscTableFill; op++ {
		t.misc[op].cost = costBulk
	}
	for op := range t.vec {
		t.vec[op].cost *= 2
	}
}

// operation is a decoded opcode. What is above 0xff has the prefix in its second byte.
type operation uint16

func misc(sub int) operation { return opMisc<<8 | operation(sub) }

func (o operation) info() *opInfo {
	t := opTables()
	switch o >> 8 {
	case opMisc:
		return &t.misc[o&0xff]
	case opVec:
		return &t.vec[o&0xff]
	}
	return &t.plain[o&0xff]
}

func (o operation) append(b []byte) []byte {
	if o < 0x100 {
		return append(b, byte(o))
	}
	return appendU32(append(b, byte(o>>8)), uint32(o&0xff))
}

// op reads an opcode, one that we take.
func (r *reader) op() operation {
	at := r.pos
	first := r.byte()
	o := operation(first)
	switch first {
	case opMisc, opVec:
		sub := r.u32()
		if sub > 0xff {
			r.fail(at, foreignName(first, sub), "not supported")
			return 0
		}
		o = operation(first)<<8 | operation(sub)
	case opAtomic, opGC:
		r.fail(at, foreignName(first, r.u32()), "not supported")
		return 0
	}
	if r.bad() {
		return 0
	}
	if o.info().imm == immUnknown {
		r.fail(at, foreignName(first, uint32(o&0xff)), "not supported")
	}
	return o
}

// foreignName is how an instruction is called that we do not take.
func foreignName(first byte, sub uint32) string {
	plain := map[byte]string{
		0x06: "try", 0x07: "catch", 0x08: "throw", 0x09: "rethrow", 0x0a: "throw_ref", 0x14: "call_ref", 0x15: "return_call_ref",
		0x18: "delegate", 0x19: "catch_all", 0x1f: "try_table", 0xd3: "ref.eq", 0xd4: "ref.as_non_null", 0xd5: "br_on_null", 0xd6: "br_on_non_null",
	}
	if name := plain[first]; name != "" {
		return name
	}
	switch first {
	case opAtomic:
		if name := atomicName(sub); name != "" {
			return name
		}
		return fmt.Sprintf("atomic instruction %#x", sub)
	case opGC:
		return fmt.Sprintf("instruction %#x of collected types", sub)
	case opVec:
		if sub >= 0x100 && sub <= 0x113 {
			return fmt.Sprintf("relaxed SIMD instruction %#x", sub)
		}
		return fmt.Sprintf("SIMD instruction %#x", sub)
	case opMisc:
		return fmt.Sprintf("instruction 0xfc %#x", sub)
	}
	return fmt.Sprintf("instruction %#x", first)
}

func atomicName(sub uint32) string {
	names := strings.Fields("memory.atomic.notify memory.atomic.wait32 memory.atomic.wait64 atomic.fence")
	access := strings.Fields("i32.atomic.load i64.atomic.load i32.atomic.load8_u i32.atomic.load16_u i64.atomic.load8_u i64.atomic.load16_u " +
		"i64.atomic.load32_u i32.atomic.store i64.atomic.store i32.atomic.store8 i32.atomic.store16 i64.atomic.store8 i64.atomic.store16 i64.atomic.store32")
	widths := strings.Fields("i32.atomic.rmw i64.atomic.rmw i32.atomic.rmw8 i32.atomic.rmw16 i64.atomic.rmw8 i64.atomic.rmw16 i64.atomic.rmw32")
	kinds := strings.Fields("add sub and or xor xchg cmpxchg")
	switch {
	case int(sub) < len(names):
		return names[sub]
	case sub >= 0x10 && int(sub-0x10) < len(access):
		return access[sub-0x10]
	case sub >= 0x1e && int(sub-0x1e) < len(widths)*len(kinds):
		name := widths[(sub-0x1e)%7] + "." + kinds[(sub-0x1e)/7]
		if (sub-0x1e)%7 > 1 {
			name += "_u"
		}
		return name
	}
	return ""
}

// Shape is what follows an opcode in text, for an assembler.
type Shape byte

// The shapes.
const (
	ShapeNone    Shape = iota
	ShapeBlock         // a block type
	ShapeIndex         // an index: of a label, a local, a function …
	ShapeIndexes       // two of them
	ShapeLabels        // any number of labels, the last for all other values
	ShapeMemory        // an offset
	ShapeI32           // a number
	ShapeI64           // a number
	ShapeOther         // what the assembler does not write
)

// Instructions are the names of all that [Meter] takes.
func Instructions() []string {
	var names []string
	t := opTables()
	for _, table := range []*[256]opInfo{&t.plain, &t.misc, &t.vec} {
		for i := range table {
			if table[i].imm != immUnknown && table[i].imm != immTypes {
				names = append(names, table[i].name)
			}
		}
	}
	return names
}

// Lookup finds an instruction by its name. The encoding is complete but for
// what the shape says; memories are memory 0.
func Lookup(name string) (encoding []byte, shape Shape, ok bool) {
	t := opTables()
	for prefix, table := range map[operation]*[256]opInfo{0: &t.plain, opMisc: &t.misc, opVec: &t.vec} {
		for op := range table {
			if i := &table[op]; i.name == name && i.imm != immTypes {
				return (prefix<<8 | operation(op)).append(nil), i.imm.shape(), true
			}
		}
	}
	return nil, 0, false
}

func (i immediate) shape() Shape {
	switch i {
	case immNone:
		return ShapeNone
	case immBlock:
		return ShapeBlock
	case immLabel, immFunc, immLocal, immGlobal, immTable, immData, immElem:
		return ShapeIndex
	case immElemTable, immTables:
		return ShapeIndexes
	case immLabels:
		return ShapeLabels
	case immMem:
		return ShapeMemory
	case immI32:
		return ShapeI32
	case immI64:
		return ShapeI64
	}
	return ShapeOther
}
