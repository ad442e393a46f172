package compute

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"strings"
)

// environ is the environment of a sandbox's program.
//
// A variable that differs from request to request ([Program.TraceVariable]) is a riddle: most
// programs copy their environment while they start, and what they have then is
// frozen and comes back for every request. So what a program is told then is a mark,
// random and of the right length. Where the sandbox is frozen its memory is searched for
// it, and for each request the value is put in those places.
type environ struct {
	variables []string // NAME=value, each ended by a zero
	size      int      // of all
	trace     int      // which of them is the request's; negative: none
	mark      [32]byte
	asked     bool     // the program has seen the mark
	places    []uint32 // where it has it
	id        [16]byte // of the request, the first one where it serves several in turn
}

// mostMarks is in how many places of its memory a program may have the mark; others keep it.
const mostMarks = 16

func newEnviron(p *Program) *environ {
	e := &environ{trace: -1}
	at := map[string]int{}
	set := func(name, value string) int {
		i, known := at[name]
		if !known {
			i = len(e.variables)
			at[name], e.variables = i, append(e.variables, "")
		}
		e.variables[i] = name + "=" + value + "\x00"
		return i
	}
	for _, kv := range p.Env {
		if name, value, ok := strings.Cut(kv, "="); ok {
			set(name, value)
		}
	}
	if p.TraceVariable != "" {
		var random [16]byte
		_, _ = rand.Read(random[:]) // it never fails
		hex.Encode(e.mark[:], random[:])
		e.trace = set(p.TraceVariable, string(e.mark[:]))
	}
	for _, v := range e.variables {
		e.size += len(v)
	}
	return e
}

// variable is what the program is told now of one of its variables.
func (b *sandbox) variable(i int) string {
	e := b.environ
	if i != e.trace {
		return e.variables[i]
	}
	if b.frozen == nil && b.f.fresh == "" {
		e.asked = true
		return e.variables[i]
	}
	name, _, _ := strings.Cut(e.variables[i], "=")
	return name + "=" + hex.EncodeToString(e.id[:]) + "\x00"
}

// environSizes is environ_sizes_get: how many variables there are, and of how many bytes.
func (b *sandbox) environSizes(count, size uint32) uint64 {
	g := &b.guest
	if !g.PutUint32(count, uint32(len(b.environ.variables))) || !g.PutUint32(size, uint32(b.environ.size)) {
		return errnoFault
	}
	return 0
}

// environGet is environ_get: the variables, and where each of them is.
func (b *sandbox) environGet(list, text uint32) uint64 {
	g := &b.guest
	if _, ok := g.Bytes(list, uint32(len(b.environ.variables))*4); !ok {
		return errnoFault
	}
	to, ok := g.Bytes(text, uint32(b.environ.size))
	if !ok {
		return errnoFault
	}
	n := uint32(0)
	for i := range b.environ.variables {
		g.PutUint32(list+uint32(i)*4, text+n)
		n += uint32(copy(to[n:], b.variable(i)))
	}
	return 0
}

// searchAtOnce is how many bytes are searched for the mark in one piece, in which nothing
// can make the goroutine stop: pages that the program has not touched are made by it, which
// takes longer than to look at them.
const searchAtOnce = 1 << 20

// findMarks looks where the program has the mark, before it is frozen.
func (b *sandbox) findMarks() {
	e := b.environ
	if !e.asked {
		return
	}
	n := uint64(b.guest.Size())
	if m, ok := b.memory.backing.(interface{ touched(n uint64) uint64 }); ok {
		n = m.touched(n)
	}
	all, _ := b.guest.Bytes(0, uint32(n))
	for from := 0; from < len(all); from += searchAtOnce {
		if from > 0 {
			b.f.engine.makeWay()
		}
		for at := from; len(e.places) < mostMarks; at += len(e.mark) {
			i := bytes.Index(all[at:min(len(all), from+searchAtOnce+len(e.mark)-1)], e.mark[:])
			if i < 0 {
				break
			}
			at += i
			e.places = append(e.places, uint32(at))
		}
	}
}

// putTrace puts the request's value where the program has the mark. The memory is the
// frozen one, so each place is within it.
func (b *sandbox) putTrace() {
	e := b.environ
	for _, at := range e.places {
		if to, ok := b.guest.Bytes(at, uint32(len(e.mark))); ok {
			hex.Encode(to, e.id[:])
		}
	}
}
