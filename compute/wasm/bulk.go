package wasm

// bulkOp meters an instruction whose work grows with a number on the stack, or
// that changes what cannot be set back.
//
// The number is the last operand of all of them. Up to a piece of memory is
// done at once and paid for; more goes to a function of ours that does it in
// pieces. Tables are small by [Rules.Elements].
func (f *funcMeter) bulkOp(o operation) {
	w := f.w
	before := *f.r
	encoded := w.m.copyOp(f.r, nil, o)
	if f.r.bad() {
		return
	}
	switch o {
	case misc(miscMemoryCopy), misc(miscMemoryFill):
		f.inPieces(encoded, w.piecewise(o))
		return
	case misc(miscMemoryInit):
		w.namesData = true
		if seg := before.u32(); int64(seg) < int64(len(w.m.data)) && len(w.m.data[seg].data) > piece {
			f.inPieces(encoded, w.piecewiseInit(seg))
			return
		}
		f.pay(f.tee(), 3)
	case misc(miscTableInit), misc(miscTableCopy), misc(miscTableGrow), misc(miscTableFill):
		w.usesTables = true
		f.pay(f.tee(), 1)
	case opTableSet:
		w.usesTables = true
	case misc(miscDataDrop):
		w.usesData, w.namesData = true, true
	case misc(miscElemDrop):
		w.usesElems = true
	}
	f.out = append(f.out, encoded...)
}

// tee keeps the number on the stack.
func (f *funcMeter) tee() assembler { return assembler(f.out).tee(f.scratch) }

// pay takes the kept number, shifted right, out of the fuel. The number may be
// anything: what is too large for the instruction traps in it.
func (f *funcMeter) pay(a assembler, shift int32) {
	a = a.global(f.w.fuel).get(f.scratch).i32(shift).op(opI32ShrU).i32(piece-1).op(opI32And, opI32Sub).setGlobal(f.w.fuel)
	f.out, f.forced = a, true
}

// inPieces does an instruction at once if it is small, by a function else.
func (f *funcMeter) inPieces(encoded []byte, function uint32) {
	a := f.tee().get(f.scratch).i32(piece).op(opI32GtU)
	a = a.block(opIf, int64(f.w.bulk)).call(function).op(opElse)
	f.pay(a, 3)
	f.out = append(append(f.out, encoded...), opEnd)
}

// piecewise is the function that does memory.copy or memory.fill in pieces.
func (w *meterer) piecewise(o operation) uint32 {
	if at, ok := w.helper[o]; ok {
		return at
	}
	var a assembler
	a = a.locals()
	a = a.outside(0, 2)
	if o == misc(miscMemoryCopy) {
		a = a.outside(1, 2).op(opI32Or)
	}
	// What traps does so at once, having done nothing.
	a = a.block(opIf, blockEmpty).get(0).get(1).get(2).bulk(o, 0).op(opReturn, opEnd)
	if o == misc(miscMemoryCopy) {
		a = a.get(0).get(1).op(opI32GtU).block(opIf, blockEmpty)
		a = w.backwards(a, o).op(opReturn, opEnd)
	}
	w.helper[o] = w.newFunction(w.bulk, w.forwards(a, o, 0).op(opEnd))
	return w.helper[o]
}

// piecewiseInit is the function that does memory.init of one segment in pieces.
func (w *meterer) piecewiseInit(seg uint32) uint32 {
	if at, ok := w.inits[seg]; ok {
		return at
	}
	o := misc(miscMemoryInit)
	var a assembler
	a = a.locals().outside(0, 2)
	a = a.get(1).op(opI64ExtendI32U).get(2).op(opI64ExtendI32U, opI64Add).i64(int64(len(w.m.data[seg].data))).op(opI64GtU, opI32Or)
	a = a.block(opIf, blockEmpty).get(0).get(1).get(2).bulk(o, seg).op(opReturn, opEnd)
	w.inits[seg] = w.newFunction(w.bulk, w.forwards(a, o, seg).op(opEnd))
	return w.inits[seg]
}

// forwards does it from the beginning: the target in local 0, the source or
// the value in 1, the length in 2.
func (w *meterer) forwards(a assembler, o operation, seg uint32) assembler {
	a = a.block(opLoop, blockEmpty).pieceLength()
	a = a.get(0).get(1).get(3).bulk(o, seg)
	a = a.get(0).get(3).op(opI32Add).set(0)
	if o != misc(miscMemoryFill) {
		a = a.get(1).get(3).op(opI32Add).set(1)
	}
	a = a.get(2).get(3).op(opI32Sub).set(2)
	return w.payPiece(a).get(2).op(opBrIf, 0, opEnd)
}

// backwards does it from the end, for a target behind its source.
func (w *meterer) backwards(a assembler, o operation) assembler {
	a = a.block(opLoop, blockEmpty).pieceLength()
	a = a.get(2).get(3).op(opI32Sub).set(2)
	a = a.get(0).get(2).op(opI32Add).get(1).get(2).op(opI32Add).get(3).bulk(o, 0)
	return w.payPiece(a).get(2).op(opBrIf, 0, opEnd)
}

// payPiece pays for one piece.
func (w *meterer) payPiece(a assembler) assembler {
	a = a.global(w.fuel).i32(piece >> 3).op(opI32Sub).tee(4).setGlobal(w.fuel).get(4)
	return w.appendTick(a)
}

// assembler is code that is being written.
type assembler []byte

const opI32Or = 0x72

func (a assembler) op(ops ...byte) assembler     { return append(a, ops...) }
func (a assembler) get(i uint32) assembler       { return appendU32(append(a, opLocalGet), i) }
func (a assembler) set(i uint32) assembler       { return appendU32(append(a, opLocalSet), i) }
func (a assembler) tee(i uint32) assembler       { return appendU32(append(a, opLocalTee), i) }
func (a assembler) global(i uint32) assembler    { return appendU32(append(a, opGlobalGet), i) }
func (a assembler) call(i uint32) assembler      { return appendU32(append(a, opCall), i) }
func (a assembler) i32(v int32) assembler        { return appendS64(append(a, opI32Const), int64(v)) }
func (a assembler) i64(v int64) assembler        { return appendS64(append(a, opI64Const), v) }
func (a assembler) locals() assembler            { return append(a, 1, 2, byte(I32)) } // 3: a piece's length, 4: scratch
func (a assembler) setGlobal(i uint32) assembler { return appendU32(append(a, opGlobalSet), i) }

func (a assembler) block(kind byte, typ int64) assembler { return appendS64(append(a, kind), typ) }

func (a assembler) bulk(o operation, seg uint32) assembler {
	a = o.append(a)
	if o == misc(miscMemoryInit) {
		a = appendU32(a, seg)
	} else if o == misc(miscMemoryCopy) {
		a = append(a, 0)
	}
	return append(a, 0)
}

// outside says whether the range of memory at one local, as long as another, leaves the memory.
func (a assembler) outside(at, length uint32) assembler {
	a = a.get(at).op(opI64ExtendI32U).get(length).op(opI64ExtendI32U, opI64Add)
	return a.op(opMemorySize, 0, opI64ExtendI32U).i64(16).op(opI64Shl, opI64GtU)
}

// pieceLength sets local 3 to the lesser of local 2 and a piece.
func (a assembler) pieceLength() assembler {
	return a.i32(piece).get(2).get(2).i32(piece).op(opI32GtU, 0x1b).set(3)
}
