package compute

import (
	"encoding/binary"
	"errors"

	"github.com/selvage-edge/selvage"
)

// Imports are the functions that a module imports, each as module and name, in
// their order. It reads the sections before the code and nothing else; whether
// the module is one that may run, [Engine.Compile] says.
func Imports(module []byte) ([][2]string, error) {
	p := parser{data: module}
	if len(module) < 8 || string(module[:8]) != "\x00asm\x01\x00\x00\x00" {
		return nil, selvage.Errorf(selvage.Invalid, "read imports: it is not a module of WebAssembly")
	}
	p.data = p.data[8:]
	for len(p.data) > 0 {
		id := p.byte()
		section := p.take(p.number())
		if p.bad {
			break
		}
		if id == importSection {
			return importsOf(section)
		}
	}
	if p.bad {
		return nil, errTruncated
	}
	return nil, nil
}

const importSection = 2

var errTruncated = &selvage.Error{Kind: selvage.Invalid, Err: errors.New("read imports: the module is cut off")}

// importsOf reads the section of imports.
func importsOf(section []byte) ([][2]string, error) {
	p := parser{data: section}
	var out [][2]string
	for n := p.number(); n > 0 && !p.bad; n-- {
		module, name := string(p.take(p.number())), string(p.take(p.number()))
		switch p.byte() {
		case 0: // a function, by its type
			p.number()
			out = append(out, [2]string{module, name})
		case 1: // a table
			p.byte()
			p.limits()
		case 2: // a memory
			p.limits()
		case 3: // a global
			p.byte()
			p.byte()
		default:
			p.bad = true
		}
	}
	if p.bad {
		return nil, errTruncated
	}
	return out, nil
}

// parser reads a part of a module. Once something is missing, all else is zero.
type parser struct {
	data []byte
	bad  bool
}

func (p *parser) byte() byte {
	b := p.take(1)
	if p.bad {
		return 0
	}
	return b[0]
}

func (p *parser) number() uint64 {
	v, n := binary.Uvarint(p.data)
	if n <= 0 || v > 1<<32-1 {
		p.bad = true
		return 0
	}
	p.data = p.data[n:]
	return v
}

func (p *parser) take(n uint64) []byte {
	if p.bad || n > uint64(len(p.data)) {
		p.bad = true
		return nil
	}
	b := p.data[:n]
	p.data = p.data[n:]
	return b
}

func (p *parser) limits() {
	if p.byte()&1 != 0 {
		p.number()
	}
	p.number()
}
