package wasm

import "strconv"

// stripData takes active data segments out of the module, where all of them
// have plain offsets: they become the image of the memory.
func (w *meterer) stripData() error {
	m := w.m
	for _, s := range m.data {
		if !s.passive && !s.constant {
			return nil
		}
	}
	for i, s := range m.data {
		if s.passive {
			continue
		}
		if m.memory == nil || uint64(s.at)+uint64(len(s.data)) > uint64(m.memory.min)*pageSize {
			return &Error{0, "", "data segment " + strconv.Itoa(i) + " is outside of the memory"}
		}
		w.out.image = append(w.out.image, Segment{s.at, s.data})
		// An empty one in its place behaves as an active one does once it was used.
		m.data[i] = segment{passive: true}
	}
	if !w.namesData {
		passive := m.data[:0]
		m.data = passive // nothing can reach the others either
		m.dataCount = -1
	}
	return nil
}

// encode writes the module.
func (w *meterer) encode() {
	m := w.m
	w.out.functions = append([]string(nil), w.out.functions...)
	run := w.newFunction(w.none, w.runBody())
	m.exports = append(m.exports, export{Fuel, exportGlobal, w.fuel})
	m.globals = append(m.globals, global{I32, true, []byte{opI32Const, 0, opEnd}})

	size := 1 << 16
	for _, c := range w.codes {
		size += len(c) + 5
	}
	out := append(make([]byte, 0, size), magic...)
	out = appendSection(out, secType, len(m.types), func(b []byte, i int) []byte {
		return appendTypes(appendTypes(append(b, 0x60), m.types[i].Params), m.types[i].Results)
	})
	out = appendSection(out, secImport, len(m.imports)+addedImports, w.importEntry)
	out = appendSection(out, secFunction, len(m.funcs)+len(w.added), func(b []byte, i int) []byte {
		if i < len(m.funcs) {
			return appendU32(b, m.funcs[i])
		}
		return appendU32(b, w.added[i-len(m.funcs)].typ)
	})
	out = appendSection(out, secTable, len(m.tables), func(b []byte, i int) []byte {
		return m.tables[i].size.append(append(b, byte(m.tables[i].elem)))
	})
	if m.memory != nil {
		out = appendSection(out, secMemory, 1, func(b []byte, _ int) []byte { return m.memory.append(b) })
	}
	out = appendSection(out, secGlobal, len(m.globals), func(b []byte, i int) []byte {
		mutable := byte(0)
		if m.globals[i].mutable {
			mutable = 1
		}
		return append(append(b, byte(m.globals[i].typ), mutable), m.globals[i].init...)
	})
	out = appendSection(out, secExport, len(m.exports)+1, func(b []byte, i int) []byte {
		if i == len(m.exports) {
			return appendU32(append(appendName(b, Run), exportFunc), run)
		}
		e := m.exports[i]
		if e.kind == exportFunc {
			e.index = m.newIndex(e.index)
		}
		return appendU32(append(appendName(b, e.name), e.kind), e.index)
	})
	out = appendSection(out, secElement, len(m.elems), func(b []byte, i int) []byte { return m.elems[i].append(b) })
	if m.dataCount >= 0 {
		out = append(out, secDataCount)
		out = appendU32(out, uint32(len(appendU32(nil, uint32(m.dataCount)))))
		out = appendU32(out, uint32(m.dataCount))
	}
	out = appendSection(out, secCode, len(w.codes)+len(w.added), func(b []byte, i int) []byte {
		if i >= len(w.codes) {
			code := w.added[i-len(w.codes)].body
			return append(appendU32(b, uint32(len(code))), code...)
		}
		code := w.codes[i]
		return append(appendU32(b, uint32(len(code))), code...)
	})
	out = appendSection(out, secData, len(m.data), func(b []byte, i int) []byte {
		s := m.data[i]
		if s.passive {
			b = append(b, 1)
		} else {
			b = append(append(b, 0), s.offset...)
		}
		return append(appendU32(b, uint32(len(s.data))), s.data...)
	})
	w.out.code = w.appendNames(out)
}

// appendSection writes a section that is a list; nothing if it is empty.
func appendSection(out []byte, id byte, n int, entry func(b []byte, i int) []byte) []byte {
	if n == 0 {
		return out
	}
	// The size stands in five bytes, so that nothing has to be moved.
	out = append(out, id, 0x80, 0x80, 0x80, 0x80, 0)
	from := len(out)
	out = appendU32(out, uint32(n))
	for i := range n {
		out = entry(out, i)
	}
	size := len(out) - from
	for i := range 5 {
		out[from-5+i] = out[from-5+i]&0x80 | byte(size>>(7*i))&0x7f
	}
	return out
}

func (w *meterer) importEntry(b []byte, i int) []byte {
	m := w.m
	if i < len(m.imports) {
		b = appendName(appendName(b, m.imports[i].Module), m.imports[i].Name)
		return appendU32(append(b, exportFunc), m.importType[i])
	}
	name, typ := Tick, w.none
	if i > len(m.imports) {
		name, typ = Enter, w.answer
	}
	return appendU32(append(appendName(appendName(b, HostModule), name), exportFunc), typ)
}

// runBody is the code of [Run].
func (w *meterer) runBody() []byte {
	m := w.m
	a := assembler{0}.call(uint32(len(m.imports)+1)).block(opIf, blockEmpty).op(opReturn, opEnd)
	if m.start >= 0 {
		a = a.call(m.newIndex(uint32(m.start)))
	}
	for _, name := range []string{"_start", "_initialize"} {
		if t, ok := w.out.exports[name]; !ok || len(t.Params)+len(t.Results) > 0 {
			continue
		}
		for _, e := range m.exports {
			if e.kind == exportFunc && e.name == name {
				return a.call(m.newIndex(e.index)).op(opEnd)
			}
		}
	}
	return a.op(opEnd)
}

func (l limits) append(b []byte) []byte {
	if !l.hasMax {
		return appendU32(append(b, 0), l.min)
	}
	return appendU32(appendU32(append(b, 1), l.min), l.max)
}

func (e *elements) append(b []byte) []byte {
	b = appendU32(b, e.flags)
	if e.flags&1 == 0 {
		if e.flags&2 != 0 {
			b = appendU32(b, e.table)
		}
		b = append(b, e.offset...)
	}
	if e.flags&3 != 0 {
		b = append(b, e.kind)
	}
	return append(appendU32(b, uint32(e.count)), e.body...)
}

// appendNames names every function by the number that it had, which is what a
// stack then shows. Ours have names.
func (w *meterer) appendNames(out []byte) []byte {
	m := w.m
	var names []byte
	names = appendU32(names, uint32(len(m.funcs)))
	for i := range m.funcs {
		old := uint32(len(m.imports) + i)
		names = appendName(appendU32(names, m.newIndex(old)), strconv.Itoa(int(old)))
	}
	content := appendName(nil, "name")
	content = appendU32(append(content, 1), uint32(len(names)))
	content = append(content, names...)
	return append(appendU32(append(out, secCustom), uint32(len(content))), content...)
}
