package wasm

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
)

// What the metered module imports, exports and calls by our own names.
const (
	ownPrefix = "selvage:"
	// HostModule is the module of the functions that [Meter] adds to the imports.
	HostModule = "selvage"
	// Tick is called when the fuel has run out. It has to put new fuel into [Fuel].
	Tick = "tick"
	// Enter is the first thing that [Run] calls. If it returns an i32 other than 0, the program is over.
	Enter = "enter"
	// Fuel is the exported global, an i32, that counts down.
	Fuel = ownPrefix + "fuel"
	// Run is the exported function that begins the program: [Enter], then the
	// start function, then _start, or _initialize where there is no _start.
	Run = ownPrefix + "run"

	addedImports = 2
)

// Rules are what a module has to keep to.
type Rules struct {
	// Pages is the memory that it may begin with, in pages of 64 KiB.
	Pages uint32
	// Elements is how many all its tables may have together, ever.
	Elements uint32
}

// TooMuch is the error of a module that needs more than [Rules] allow.
type TooMuch struct {
	What          string // memory, in pages; tables, in elements
	Need, Allowed uint64
}

func (e *TooMuch) Error() string {
	return fmt.Sprintf("%s: %d are needed, %d are allowed", e.What, e.Need, e.Allowed)
}

// Segment is a part of the memory that a program begins with.
type Segment struct {
	At   uint32
	Data []byte
}

// Metered is a module that is safe to run. Its zero value is none.
type Metered struct {
	code      []byte
	imports   []Import
	exports   map[string]FuncType
	image     []Segment
	globals   int
	obstacles []string
	hasMemory bool
	pages     uint32
	own       uint32 // where the module's own functions begin, as it was
	functions []string
}

// Module is the module for the engine. It is not to be changed.
func (m *Metered) Module() []byte { return m.code }

// Imports are the functions that the program imports, without ours.
func (m *Metered) Imports() []Import { return m.imports }

// Exported is the type of an exported function.
func (m *Metered) Exported(name string) (FuncType, bool) {
	t, ok := m.exports[name]
	return t, ok
}

// Image is what has to be in the memory before [Run]: the module's own data
// segments, taken out of it so that many instances can share them. The
// segments may overlap; later ones go over earlier ones.
func (m *Metered) Image() []Segment { return m.image }

// Size is how many bytes Module and Image take.
func (m *Metered) Size() int64 {
	size := int64(len(m.code))
	for _, s := range m.image {
		size += int64(len(s.Data))
	}
	return size
}

// WithoutModule is what else there is to know: Module and Image, which together
// hold the module as it was, nobody needs once it is compiled.
func (m *Metered) WithoutModule() *Metered {
	rest := *m
	rest.code, rest.image = nil, nil
	return &rest
}

// HasMemory says that the module has a memory, and with how many pages it begins.
func (m *Metered) HasMemory() (pages uint32, ok bool) { return m.pages, m.hasMemory }

// Globals is how many mutable globals there are. They are exported under [GlobalName].
func (m *Metered) Globals() int { return m.globals }

// GlobalName is the exported name of the i-th mutable global.
func GlobalName(i int) string { return ownPrefix + "g" + strconv.Itoa(i) }

// Obstacles are why a running instance cannot be set back to where it was;
// none where it can.
func (m *Metered) Obstacles() []string { return m.obstacles }

// Function is the name of a function by its number in the module as it was:
// from the name section, else a hash of its instructions.
func (m *Metered) Function(index uint32) string {
	if i := int64(index) - int64(m.own); i >= 0 && i < int64(len(m.functions)) {
		return m.functions[i]
	}
	return "function " + strconv.Itoa(int(index))
}

// Meter reads a module and makes the one that may run. Errors are [*Error] and [*TooMuch].
func Meter(data []byte, rules Rules) (*Metered, error) {
	m, err := decode(data)
	if err != nil {
		return nil, err
	}
	if err := m.within(rules); err != nil {
		return nil, err
	}
	w := &meterer{m: m, data: data, out: &Metered{imports: m.imports, exports: map[string]FuncType{}, own: uint32(len(m.imports))}}
	if err := w.bodies(); err != nil {
		return nil, err
	}
	w.facts()
	if err := w.stripData(); err != nil {
		return nil, err
	}
	w.encode()
	return w.out, nil
}

// within checks the sizes, and sets how far tables may grow.
func (m *module) within(rules Rules) error {
	if m.memory != nil && m.memory.min > rules.Pages {
		return &TooMuch{"pages of memory", uint64(m.memory.min), uint64(rules.Pages)}
	}
	need := uint64(0)
	for _, t := range m.tables {
		need += uint64(t.size.min)
	}
	if need > uint64(rules.Elements) {
		return &TooMuch{"elements of tables", need, uint64(rules.Elements)}
	}
	left := rules.Elements - uint32(need)
	for i := range m.tables {
		size := &m.tables[i].size
		if most := size.min + left/uint32(len(m.tables)); !size.hasMax || size.max > most {
			size.max, size.hasMax = most, true
		}
	}
	return nil
}

// meterer makes a metered module.
type meterer struct {
	m      *module
	data   []byte
	out    *Metered
	bulk   uint32 // the type of bulk instructions as functions
	none   uint32 // the type without parameters and results
	answer uint32 // the type with an i32 as its result
	fuel   uint32 // the global
	codes  [][]byte
	helper map[operation]uint32 // memory.copy and memory.fill in pieces, made when needed
	inits  map[uint32]uint32    // memory.init in pieces, by segment
	added  []addedFunc

	usesData, usesTables, usesElems bool // the program changes what a rewind would have to restore
	namesData                       bool // an instruction names a data segment
}

// addedFunc is a function of ours.
type addedFunc struct {
	typ  uint32
	body []byte
}

// bodies meters every function.
func (w *meterer) bodies() error {
	m := w.m
	w.none, w.bulk, w.answer = uint32(len(m.types)), uint32(len(m.types)+1), uint32(len(m.types)+2)
	m.types = append(m.types, FuncType{}, FuncType{Params: []ValueType{I32, I32, I32}}, FuncType{Results: []ValueType{I32}})
	w.fuel = uint32(len(m.globals))
	w.helper, w.inits = map[operation]uint32{}, map[uint32]uint32{}
	w.codes = make([][]byte, 0, len(m.code))
	w.out.functions = make([]string, 0, len(m.code))
	for i, b := range m.code {
		f := newFuncMeter(w, m.types[m.funcs[i]], b)
		f.run()
		if f.r.bad() {
			return f.r.err
		}
		w.codes = append(w.codes, f.out)
		name := m.names[uint32(len(m.imports)+i)]
		if name == "" {
			name = hex.EncodeToString(f.hash.Sum(nil))
		}
		w.out.functions = append(w.out.functions, name)
	}
	return nil
}

// newFunction is the number of a function that is added now.
func (w *meterer) newFunction(typ uint32, body []byte) uint32 {
	w.added = append(w.added, addedFunc{typ, body})
	return uint32(addedImports + len(w.m.imports) + len(w.m.funcs) + len(w.added) - 1)
}

// facts collects what the engine wants to know of the module.
func (w *meterer) facts() {
	m, out := w.m, w.out
	for _, e := range m.exports {
		if e.kind != exportFunc {
			continue
		}
		if int(e.index) < len(m.imports) {
			out.exports[e.name] = m.imports[e.index].Type
		} else {
			out.exports[e.name] = m.types[m.funcs[int(e.index)-len(m.imports)]]
		}
	}
	if m.memory != nil {
		out.hasMemory, out.pages = true, m.memory.min
	}
	for i, g := range m.globals {
		if g.mutable {
			m.exports = append(m.exports, export{GlobalName(out.globals), exportGlobal, uint32(i)})
			out.globals++
		}
	}
	obstacle := func(is bool, what string) {
		if is {
			out.obstacles = append(out.obstacles, what)
		}
	}
	obstacle(w.usesTables, "it changes tables")
	obstacle(w.usesElems, "it drops element segments")
	obstacle(w.usesData, "it drops data segments")
	obstacle(slices.ContainsFunc(m.globals, func(g global) bool { return g.mutable && (g.typ == V128 || g.typ == FuncRef || g.typ == ExternRef) }),
		"it has mutable globals of vectors or references")
}
