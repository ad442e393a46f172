package wasm

import (
	"hash"
	"hash/fnv"
	"slices"
)

// What things cost, in simple instructions.
const (
	costCall = 20   // with what a leaf may do without a check
	costHost = 200  // a call out of the sandbox
	costGrow = 2000 // memory.grow
	costBulk = 16   // a bulk instruction, without its size

	// stride is how much may go unpaid on any way through a function before a
	// check is put there.
	stride = 256
	// leaf is how much a function may do that has no check of its own: one
	// without calls, loops and bulk instructions.
	leaf = 40
	// frameCost is paid for every so many locals: a deep recursion of large
	// frames reaches its tick before it has used much stack.
	frameCost = 2
	// piece is how many bytes a bulk instruction does between two checks.
	piece = 65536
)

// label is a block, a loop, an if, or the function.
type label struct {
	kind    byte
	most    int  // the most that is unpaid on any branch to it
	reached bool // by a branch
	before  int  // of an if: what is unpaid where the condition is known
	live    bool // where it began
	price   int  // of a loop: where the price of its check stands in the output
}

// funcMeter meters one function. It knows for every place the most that is
// unpaid on any way that leads there. A check pays for what is behind it, so
// that the price of a loop's check is that of the dearest way around, and the
// function's entry pays for the dearest way out.
type funcMeter struct {
	w       *meterer
	r       *reader
	out     []byte
	labels  []label
	unpaid  int
	live    bool
	plain   bool // no call, no loop, no check so far: it may be a leaf
	forced  bool // a check has to follow
	scratch uint32
	entry   [2]int // where the entry's check is in the output
	price   int
	base    int // what the entry pays in any case
	hash    hash.Hash64
}

func newFuncMeter(w *meterer, t FuncType, b body) *funcMeter {
	f := &funcMeter{w: w, r: &reader{data: w.data, pos: b.from, end: b.to}, live: true, plain: true, hash: fnv.New64a()}
	f.out = make([]byte, 0, (b.to-b.from)*5/4+32)
	groups := f.r.count("groups of locals", maxLocals)
	f.out = appendU32(f.out, uint32(groups+1))
	locals := len(t.Params)
	for range groups {
		at := f.r.pos
		n := f.r.u32()
		typ := f.r.valueType()
		if int64(n)+int64(locals) > maxLocals {
			f.r.fail(at, "", "too many locals, the limit is %d", maxLocals)
		}
		if f.r.bad() {
			return f
		}
		locals += int(n)
		f.out = append(appendU32(f.out, n), byte(typ))
	}
	f.out = append(f.out, 1, byte(I32)) // scratch
	f.scratch = uint32(locals)
	f.base = 2 + locals/frameCost
	return f
}

func (f *funcMeter) run() {
	f.entry[0] = len(f.out)
	f.price = f.check(0)
	f.entry[1] = len(f.out)
	f.labels = append(f.labels, label{kind: opBlock, live: true})
	for f.r.more() && len(f.labels) > 0 {
		f.step()
		if f.live && len(f.labels) > 0 && (f.unpaid >= stride || f.forced) {
			f.plain, f.forced = false, false
			f.check(f.unpaid)
			f.unpaid = 0
		}
	}
	if f.r.bad() {
		return
	}
	if len(f.labels) > 0 || f.r.pos != f.r.end {
		f.r.fail(f.r.pos, "", "a function does not end where its last block does")
		return
	}
	total := f.base + f.unpaid
	if f.plain && total <= leaf {
		f.out = slices.Delete(f.out, f.entry[0], f.entry[1])
		return
	}
	f.setPrice(f.price, total)
}

// check puts a check of the fuel here, and returns where its price stands.
func (f *funcMeter) check(price int) int {
	f.out = appendU32(append(f.out, opGlobalGet), f.w.fuel)
	f.out = append(f.out, opI32Const)
	at := len(f.out)
	f.out = append(f.out, 0x80, 0x80, 0)
	f.setPrice(at, price)
	f.out = appendU32(append(f.out, opI32Sub, opLocalTee), f.scratch)
	f.out = appendU32(append(f.out, opGlobalSet), f.w.fuel)
	f.out = appendU32(append(f.out, opLocalGet), f.scratch)
	f.out = f.w.appendTick(f.out)
	return at
}

// appendTick calls the host if the number on the stack is below zero.
func (w *meterer) appendTick(out []byte) []byte {
	out = append(out, opI32Const, 0, opI32LtS, opIf, 0x40, opCall)
	return append(appendU32(out, uint32(len(w.m.imports))), opEnd)
}

// setPrice writes a price in the three bytes that are kept for it.
func (f *funcMeter) setPrice(at, price int) {
	price = min(price, 1<<20-1)
	f.out[at], f.out[at+1], f.out[at+2] = byte(price)&0x7f|0x80, byte(price>>7)&0x7f|0x80, byte(price>>14)&0x7f
}

// branch notes a branch to a label.
func (f *funcMeter) branch(at int, depth uint32) {
	if int64(depth) >= int64(len(f.labels)) {
		f.r.fail(at, "", "a branch to label %d, which does not exist", depth)
		return
	}
	if l := &f.labels[len(f.labels)-1-int(depth)]; f.live {
		l.most, l.reached = max(l.most, f.unpaid), true
	}
}

// dead says that nothing comes here.
func (f *funcMeter) dead() { f.live, f.unpaid = false, 0 }

// step meters one instruction.
func (f *funcMeter) step() {
	r := f.r
	at := r.pos
	o := r.op()
	if r.bad() {
		return
	}
	f.hash.Write([]byte{byte(o >> 8), byte(o)})
	if f.live {
		f.unpaid += o.info().cost
	}
	switch o {
	case opBlock, opLoop, opIf:
		f.open(byte(o))
	case opElse:
		f.otherwise(at)
	case opEnd:
		f.close()
	case opBr, opBrIf:
		depth := r.u32()
		f.out = appendU32(append(f.out, byte(o)), depth)
		if f.branch(at, depth); o == opBr {
			f.dead()
		}
	case opBrTable:
		f.branches(at)
	case opReturn, opReturnCall, opReturnCallIndirect:
		f.plain = f.plain && o == opReturn
		f.out = f.w.m.copyOp(r, f.out, o)
		f.branch(at, uint32(len(f.labels)-1))
		f.dead()
	case opUnreachable:
		f.out = append(f.out, opUnreachable)
		f.dead()
	case opCall:
		f.call()
	case opCallIndirect:
		f.plain = false
		f.out = f.w.m.copyOp(r, f.out, o)
	default:
		if o>>8 == opMisc && o&0xff >= miscMemoryInit || o == opTableSet {
			f.bulkOp(o)
			return
		}
		f.out = f.w.m.copyOp(r, f.out, o)
	}
}

// open begins a block, a loop or an if.
func (f *funcMeter) open(kind byte) {
	if len(f.labels) >= maxNesting {
		f.r.fail(f.r.pos, "", "blocks are nested too deep")
		return
	}
	f.out = f.w.m.copyOp(f.r, f.out, operation(kind))
	l := label{kind: kind, before: f.unpaid, live: f.live}
	if kind == opLoop {
		f.plain = false
		l.most = f.unpaid
		l.price = f.check(0)
		f.unpaid = 0
	}
	f.labels = append(f.labels, l)
}

// otherwise is the else of an if.
func (f *funcMeter) otherwise(at int) {
	l := &f.labels[len(f.labels)-1]
	if l.kind != opIf {
		f.r.fail(at, "else", "there is no if")
		return
	}
	if f.live {
		l.most, l.reached = max(l.most, f.unpaid), true
	}
	l.kind = opElse
	f.live, f.unpaid = l.live, 0
	if l.live {
		f.unpaid = l.before
	}
	f.out = append(f.out, opElse)
}

// close ends the innermost block, or the function.
func (f *funcMeter) close() {
	l := f.labels[len(f.labels)-1]
	f.labels = f.labels[:len(f.labels)-1]
	f.out = append(f.out, opEnd)
	if l.kind == opLoop {
		f.setPrice(l.price, l.most)
		return
	}
	if l.kind == opIf && l.live { // the way around it
		l.most, l.reached = max(l.most, l.before), true
	}
	if l.reached {
		if !f.live {
			f.unpaid = 0
		}
		f.live, f.unpaid = true, max(f.unpaid, l.most)
	}
}

func (f *funcMeter) branches(at int) {
	r := f.r
	n := r.count("labels", maxBody)
	f.out = appendU32(append(f.out, opBrTable), uint32(n))
	for range n + 1 {
		depth := r.u32()
		if f.branch(at, depth); r.bad() {
			return
		}
		f.out = appendU32(f.out, depth)
	}
	f.dead()
}

// call is a call of a function that is known.
func (f *funcMeter) call() {
	f.plain = false
	callee := f.r.u32()
	if int(callee) < len(f.w.m.imports) && f.live {
		f.unpaid += costHost
	}
	f.out = appendU32(append(f.out, opCall), f.w.m.newIndex(callee))
}

// copyOp decodes what follows an opcode and encodes both.
func (m *module) copyOp(r *reader, out []byte, o operation) []byte {
	at := r.pos
	out = o.append(out)
	zero := func() {
		if r.byte() != 0 {
			r.fail(at, o.info().name, "several memories are not supported")
		}
		out = append(out, 0)
	}
	switch o.info().imm {
	case immBlock:
		t := r.signed(33)
		if t < 0 && t != blockEmpty && !ValueType(t&0x7f).known() || t >= 0 && t >= int64(len(m.types)) {
			r.fail(at, o.info().name, "a block of a type that is not supported")
		}
		out = appendS64(out, t)
	case immFunc:
		out = appendU32(out, m.newIndex(r.u32()))
	case immIndirect, immElemTable, immTables:
		out = appendU32(out, r.u32())
		out = appendU32(out, r.u32())
	case immLabel, immLocal, immGlobal, immTable, immData, immElem:
		out = appendU32(out, r.u32())
	case immMem, immMemLane:
		align := r.u32()
		if align > 4 {
			r.fail(at, o.info().name, "an alignment of 2^%d", align)
		}
		out = appendU32(out, align)
		out = appendU32(out, r.u32())
		if o.info().imm == immMemLane {
			out = append(out, r.byte())
		}
	case immZero:
		zero()
	case immZeros:
		zero()
		zero()
	case immDataZero:
		out = appendU32(out, r.u32())
		zero()
	case immI32:
		out = appendS64(out, r.signed(32))
	case immI64:
		out = appendS64(out, r.signed(64))
	case imm4:
		out = append(out, r.bytes(4)...)
	case imm8:
		out = append(out, r.bytes(8)...)
	case imm16, immLanes:
		out = append(out, r.bytes(16)...)
	case immLane:
		out = append(out, r.byte())
	case immTypes:
		out = appendU32(out, uint32(r.count("types", maxResults)))
		out = append(out, byte(r.valueType()))
	case immRef:
		out = append(out, byte(r.refType()))
	}
	return out
}
