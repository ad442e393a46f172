package wasm

import "bytes"

// The sections, in their order in a file.
const (
	secCustom    = 0
	secType      = 1
	secImport    = 2
	secFunction  = 3
	secTable     = 4
	secMemory    = 5
	secTag       = 13
	secGlobal    = 6
	secExport    = 7
	secStart     = 8
	secElement   = 9
	secDataCount = 12
	secCode      = 10
	secData      = 11
)

var (
	magic     = []byte("\x00asm\x01\x00\x00\x00")
	component = []byte("\x00asm\x0d\x00\x01\x00")
)

// sectionOrder are the sections in their order.
var sectionOrder = []byte{secType, secImport, secFunction, secTable, secMemory, secTag, secGlobal, secExport, secStart, secElement, secDataCount, secCode, secData}

// What an export is.
const (
	exportFunc   = 0
	exportTable  = 1
	exportMemory = 2
	exportGlobal = 3
)

type limits struct {
	min, max uint32
	hasMax   bool
}

type table struct {
	elem ValueType
	size limits
}

type global struct {
	typ     ValueType
	mutable bool
	init    []byte // encoded
}

type export struct {
	name  string
	kind  byte
	index uint32
}

// segment is a data segment.
type segment struct {
	passive  bool
	offset   []byte // encoded, of an active one
	constant bool   // the offset is a plain number
	at       uint32
	data     []byte
}

// elements is an element segment. The functions in it are encoded, with their
// new numbers.
type elements struct {
	flags  uint32
	table  uint32
	offset []byte
	kind   byte
	count  int
	body   []byte
}

// body is the place of a function in the code section.
type body struct{ from, to int }

// module is a decoded module. Functions have the numbers that they had, but
// those in encoded expressions have the new ones.
type module struct {
	types      []FuncType
	imports    []Import
	importType []uint32
	funcs      []uint32 // types of the module's own functions
	tables     []table
	memory     *limits
	globals    []global
	exports    []export
	start      int // -1: none
	elems      []elements
	dataCount  int // -1: none
	code       []body
	data       []segment
	names      map[uint32]string
}

// newIndex is the number of a function in the metered module: ours come after
// those that the module imports.
func (m *module) newIndex(f uint32) uint32 {
	if int(f) < len(m.imports) {
		return f
	}
	return f + addedImports
}

// decode reads a module.
func decode(data []byte) (*module, error) {
	if bytes.HasPrefix(data, component) {
		return nil, &Error{4, "", "this is a component (WASI 0.2), which is not supported: build a module for WASI preview 1"}
	}
	if !bytes.HasPrefix(data, magic) {
		return nil, &Error{0, "", "this is no WebAssembly module"}
	}
	m := &module{start: -1, dataCount: -1, names: map[uint32]string{}}
	r := &reader{data: data, pos: len(magic), end: len(data)}
	rank := 0
	for r.more() {
		at := r.pos
		id := r.byte()
		size := r.u32()
		from := r.pos
		if r.bytes(int(size)); r.bad() {
			break
		}
		if id != secCustom {
			next := bytes.IndexByte(sectionOrder[rank:], id)
			if next < 0 {
				r.fail(at, "", "section %d is unknown, there twice, or in the wrong place", id)
				break
			}
			rank += next + 1
		}
		s := &reader{data: data, pos: from, end: from + int(size)}
		m.section(id, s)
		if s.err == nil && s.pos != s.end {
			s.fail(s.pos, "", "%d bytes too many in section %d", s.end-s.pos, id)
		}
		if s.bad() && id != secCustom {
			return nil, s.err
		}
	}
	if r.bad() {
		return nil, r.err
	}
	return m, m.consistent(len(data))
}

func (m *module) section(id byte, r *reader) {
	switch id {
	case secCustom:
		m.custom(r)
	case secType:
		m.readTypes(r)
	case secImport:
		m.readImports(r)
	case secFunction:
		for range r.count("functions", maxFunctions) {
			m.funcs = append(m.funcs, m.typeIndex(r))
		}
	case secTable:
		m.readTables(r)
	case secMemory:
		at := r.pos
		if n := r.count("memories", maxTables); n > 1 {
			r.fail(at, "", "several memories are not supported")
		} else if n == 1 {
			l := m.readLimits(r, maxPages)
			m.memory = &l
		}
	case secTag:
		r.fail(r.pos, "", "exceptions are not supported")
	case secGlobal:
		m.readGlobals(r)
	case secExport:
		m.readExports(r)
	case secStart:
		m.start = int(r.u32())
	case secElement:
		for range r.count("element segments", maxSegments) {
			m.elems = append(m.elems, m.readElements(r))
			if r.bad() {
				return
			}
		}
	case secDataCount:
		m.dataCount = int(r.u32())
	case secCode:
		m.readCode(r)
	case secData:
		for range r.count("data segments", maxSegments) {
			m.data = append(m.data, m.readData(r))
			if r.bad() {
				return
			}
		}
	}
}

// consistent checks what needs more than one section.
func (m *module) consistent(end int) error {
	functions := len(m.imports) + len(m.funcs)
	switch {
	case len(m.code) != len(m.funcs):
		return &Error{end, "", "the numbers of functions and of their bodies differ"}
	case m.dataCount >= 0 && m.dataCount != len(m.data):
		return &Error{end, "", "the number of data segments is not the one announced"}
	case m.start >= functions:
		return &Error{end, "", "the start function does not exist"}
	}
	for _, e := range m.exports {
		if e.kind == exportFunc && int(e.index) >= functions {
			return &Error{end, "", "the exported function " + e.name + " does not exist"}
		}
	}
	return nil
}

func (m *module) typeIndex(r *reader) uint32 {
	at := r.pos
	t := r.u32()
	if int64(t) >= int64(len(m.types)) {
		r.fail(at, "", "type %d does not exist", t)
		return 0
	}
	return t
}

func (m *module) readTypes(r *reader) {
	for range r.count("types", maxTypes) {
		at := r.pos
		if form := r.byte(); form != 0x60 {
			r.fail(at, "", "types of form %#x are not supported", form)
			return
		}
		var t FuncType
		for range r.count("parameters", maxParams) {
			t.Params = append(t.Params, r.valueType())
		}
		for range r.count("results", maxResults) {
			t.Results = append(t.Results, r.valueType())
		}
		m.types = append(m.types, t)
		if r.bad() {
			return
		}
	}
}

func (m *module) readImports(r *reader) {
	for range r.count("imports", maxImports) {
		i := Import{Module: r.name(), Name: r.name()}
		at := r.pos
		if kind := r.byte(); kind != exportFunc {
			r.fail(at, "", "%s.%s: only functions can be imported", i.Module, i.Name)
			return
		}
		t := m.typeIndex(r)
		if r.bad() {
			return
		}
		i.Type = m.types[t]
		m.imports = append(m.imports, i)
		m.importType = append(m.importType, t)
	}
}

func (m *module) readTables(r *reader) {
	for range r.count("tables", maxTables) {
		at := r.pos
		elem := ValueType(r.byte())
		if elem != FuncRef && elem != ExternRef {
			r.fail(at, "", "tables of %v, or with a first value, are not supported", elem)
			return
		}
		m.tables = append(m.tables, table{elem, m.readLimits(r, 1<<32-1)})
	}
}

func (m *module) readLimits(r *reader, most uint32) (l limits) {
	at := r.pos
	switch flags := r.byte(); flags {
	case 0:
		l.min = r.u32()
	case 1:
		l.min, l.max, l.hasMax = r.u32(), 0, true
		l.max = r.u32()
	case 2, 3:
		r.fail(at, "", "shared memory (threads) is not supported")
	case 4, 5, 6, 7:
		r.fail(at, "", "64-bit memory is not supported")
	default:
		r.fail(at, "", "limits of form %#x", flags)
	}
	if l.min > most || l.hasMax && (l.max > most || l.max < l.min) {
		r.fail(at, "", "limits out of order")
	}
	return l
}

func (m *module) readGlobals(r *reader) {
	for range r.count("globals", maxGlobals) {
		g := global{typ: r.valueType()}
		at := r.pos
		flag := r.byte()
		if flag > 1 {
			r.fail(at, "", "a global of form %#x", flag)
		}
		g.mutable = flag == 1
		g.init, _, _ = m.constant(r)
		if r.bad() {
			return
		}
		m.globals = append(m.globals, g)
	}
}

func (m *module) readExports(r *reader) {
	for range r.count("exports", maxExports) {
		at := r.pos
		e := export{name: r.name(), kind: r.byte(), index: r.u32()}
		if e.kind > exportGlobal {
			r.fail(at, "", "an export of kind %d", e.kind)
		}
		if bytes.HasPrefix([]byte(e.name), []byte(ownPrefix)) {
			r.fail(at, "", "exports that begin with %q are ours", ownPrefix)
		}
		if r.bad() {
			return
		}
		m.exports = append(m.exports, e)
	}
}

// constant reads a constant expression and encodes it again. Where it is one
// i32.const, plain is true and value is its value.
func (m *module) constant(r *reader) (out []byte, value uint32, plain bool) {
	for n := 0; !r.bad(); n++ {
		at := r.pos
		o := r.op()
		switch o {
		case opI32Const:
			v := r.signed(32)
			value, plain = uint32(int32(v)), n == 0
			out = appendS64(append(out, opI32Const), v)
			continue
		case opEnd:
			return append(out, opEnd), value, plain && n == 1
		case opI64Const, opF32Const, opF64Const, opGlobalGet, opRefNull, opRefFunc, opVec<<8 | vecConst,
			opI32Add, opI32Sub, opI32Mul, opI64Add, opI64Add + 1, opI64Mul:
			out = m.copyOp(r, out, o)
		default:
			if !r.bad() {
				r.fail(at, o.info().name, "not a constant")
			}
		}
	}
	return nil, 0, false
}

func (m *module) readElements(r *reader) (e elements) {
	at := r.pos
	e.flags = r.u32()
	if e.flags > 7 {
		r.fail(at, "", "an element segment of form %d", e.flags)
		return e
	}
	active, explicit, exprs := e.flags&1 == 0, e.flags&2 != 0, e.flags&4 != 0
	if active {
		if explicit {
			e.table = r.u32()
		}
		e.offset, _, _ = m.constant(r)
	}
	if e.flags&3 != 0 {
		at := r.pos
		e.kind = r.byte()
		if exprs && ValueType(e.kind) != FuncRef && ValueType(e.kind) != ExternRef || !exprs && e.kind != 0 {
			r.fail(at, "", "elements of kind %#x are not supported", e.kind)
		}
	}
	e.count = r.count("elements", 10_000_000)
	for range e.count {
		if exprs {
			c, _, _ := m.constant(r)
			e.body = append(e.body, c...)
		} else {
			e.body = appendU32(e.body, m.newIndex(r.u32()))
		}
		if r.bad() {
			return e
		}
	}
	return e
}

func (m *module) readData(r *reader) (s segment) {
	at := r.pos
	switch flags := r.u32(); flags {
	case 2:
		if r.u32() != 0 {
			r.fail(at, "", "several memories are not supported")
		}
		fallthrough
	case 0:
		s.offset, s.at, s.constant = m.constant(r)
	case 1:
		s.passive = true
	default:
		r.fail(at, "", "a data segment of form %d", flags)
	}
	s.data = r.bytes(r.count("bytes of a data segment", 1<<31-1))
	return s
}

func (m *module) readCode(r *reader) {
	for range r.count("function bodies", maxFunctions) {
		size := r.count("bytes of a function", maxBody)
		from := r.pos
		r.bytes(size)
		if r.bad() {
			return
		}
		m.code = append(m.code, body{from, from + size})
	}
}

// custom keeps the names of functions. A broken name section is none.
func (m *module) custom(r *reader) {
	if r.name() != "name" {
		return
	}
	names := map[uint32]string{}
	for r.more() {
		id := r.byte()
		size := r.count("bytes of names", len(r.data))
		end := r.pos + size
		if id == 1 {
			for range r.count("names", maxFunctions) {
				f := r.u32()
				name := r.name()
				if r.bad() {
					return
				}
				names[f] = name
			}
		}
		if r.pos > end {
			return
		}
		r.pos = end
	}
	if !r.bad() {
		m.names = names
	}
}
