package compute

import (
	"errors"

	"github.com/tetratelabs/wazero/experimental"
)

// memories is a way to keep the linear memories of sandboxes.
type memories interface {
	// image keeps bytes that many memories begin with.
	image(data []byte) (image, error)
	// open makes a memory of at most so many bytes, beginning with an image, or with zeros.
	open(limit uint64, first image) (*memory, error)
}

// image is what a memory begins with.
type image interface{ close() }

// backing is what a [memories] does with one memory.
type backing interface {
	// freeze keeps the first n bytes as they are.
	freeze(n uint64) error
	// back sets the first n bytes back to what was frozen, and to zeros behind that.
	back(n uint64) error
	close()
}

// memory is the linear memory of one sandbox.
type memory struct {
	all     []byte // what there is of it
	limit   uint64
	high    uint64 // how much was ever in use
	refused bool   // it was to grow beyond the limit
	backing backing
}

var _ experimental.LinearMemory = (*memory)(nil)

// Reallocate implements [experimental.LinearMemory].
func (m *memory) Reallocate(size uint64) []byte {
	if size > m.limit {
		m.refused = true
		return nil
	}
	if size > uint64(len(m.all)) { // only where there is less than the limit
		m.all = append(m.all, make([]byte, min(m.limit, max(size, 2*m.high))-uint64(len(m.all)))...)
	}
	m.high = max(m.high, size)
	return m.all[:size:size]
}

// Free implements [experimental.LinearMemory].
func (m *memory) Free() { m.backing.close() }

func (m *memory) freeze() error { return m.backing.freeze(m.high) }

// back sets the memory back to what was frozen.
func (m *memory) back() bool { return m.backing.back(m.high) == nil }

// noMemory stands in where none was to be had: the engine's interface knows no
// error. What it has is thrown away at once.
type noMemory struct{}

func (noMemory) Reallocate(size uint64) []byte { return make([]byte, size) }
func (noMemory) Free()                         {}

// plainMemories work on every system: they copy.
type plainMemories struct{}

type plainImage []byte

func (plainImage) close() {}

func (plainMemories) image(data []byte) (image, error) { return plainImage(data), nil }

func (plainMemories) open(limit uint64, first image) (*memory, error) {
	m := &memory{limit: limit}
	if data, ok := first.(plainImage); ok {
		if uint64(len(data)) > limit {
			return nil, errImage
		}
		m.all = append(m.all, data...)
	}
	m.backing = &plainBacking{m: m}
	return m, nil
}

var errImage = errors.New("the image is larger than the memory")

type plainBacking struct {
	m      *memory
	frozen []byte
}

func (p *plainBacking) freeze(n uint64) error {
	p.frozen = append([]byte(nil), p.m.all[:n]...)
	return nil
}

func (p *plainBacking) back(n uint64) error {
	clear(p.m.all[copy(p.m.all, p.frozen):n])
	return nil
}

func (p *plainBacking) close() { p.m.all, p.frozen = nil, nil }
