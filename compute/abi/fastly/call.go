package fastly

import (
	"context"
	"encoding/binary"
	"io"
	"math"
	"time"
	"unicode/utf8"

	"github.com/selvage-edge/selvage/compute"
)

// program is what the host functions need of the guest. *compute.Guest is one.
type program interface {
	memory
	meter
	waiter
	turner
}

type turner interface {
	// Turn puts the guest into another request, whose context it returns. at is that of the call.
	Turn(at, ctx context.Context, in *compute.Invocation) context.Context
}

type memory interface {
	// Bytes is a part of the guest's memory itself; false if any of it is outside.
	Bytes(at, length uint32) ([]byte, bool)
	// Size is the length of the memory.
	Size() uint32
}

type meter interface {
	// CountFetch counts a request to an origin, or says that it is one too many.
	CountFetch() error
	// HeaderBytes counts bytes of response fields; false beyond the limit.
	HeaderBytes(n int) bool
	// Hit notes that a limit was reached.
	Hit(name compute.LimitName)
	// Log writes a line within the limit of log bytes.
	Log(w io.Writer, p []byte)
	// CPU is what the request took until now.
	CPU() time.Duration
}

type waiter interface {
	// Wait runs f, whose time is not the guest's.
	Wait(f func())
	// Check ends the guest when a limit of time is reached.
	Check()
}

// The limits of the interface's own, by their names in records and metrics.
const (
	LimitHandles     compute.LimitName = "handles"
	LimitBodies      compute.LimitName = "bodies"
	LimitFields      compute.LimitName = "fields"
	LimitDynBackends compute.LimitName = "dynamic_backends"
)

// invalidHandle is the handle that never is one.
const invalidHandle uint32 = math.MaxUint32

// call is one call of a host function. A read or a write outside of the guest's
// memory makes it bad: then it answers Invalid, whatever else it found. A
// function that has effects asks for bad before.
type call struct {
	ctx  context.Context
	x    *exchange
	mem  program
	args []uint64
	bad  bool

	touched uint64 // bytes of the guest's memory
}

// waiting waits with f, in a function that as a rule does not wait.
func (c *call) waiting(f func()) {
	c.mem.Wait(f)
	c.mem.Check()
}

// u32 is a parameter.
func (c *call) u32(i int) uint32 { return uint32(c.args[i]) }

// u64 is a parameter.
func (c *call) u64(i int) uint64 { return c.args[i] }

// at reads from an address; nil, and bad, if any of it is outside.
func (c *call) at(address, length uint32) []byte {
	b, ok := c.mem.Bytes(address, length)
	if !ok {
		c.bad = true
		return nil
	}
	c.touched += uint64(length)
	return b
}

// bytes is the memory that the parameters i and i+1 name: address and length.
// It is the guest's own and ends with the call.
func (c *call) bytes(i int) []byte { return c.at(c.u32(i), c.u32(i+1)) }

// text is a copy of the UTF-8 that the parameters i and i+1 name.
func (c *call) text(i int) string {
	b := c.bytes(i)
	if !utf8.Valid(b) {
		c.bad = true
		return ""
	}
	return string(b)
}

// short is a copy of the UTF-8 that the parameters i and i+1 name, if that is
// at most so long: what is longer is not looked at.
func (c *call) short(i int, most uint32) string {
	if c.u32(i+1) > most {
		c.bad = true
		return ""
	}
	return c.text(i)
}

// maxTexts is how many bytes of fields and secrets the host keeps for one
// request of a guest, whatever it closes of them. Default 16 MiB.
const maxTexts = 16 << 20

// textOverhead is what each of them takes beside its bytes.
const textOverhead = 32

// keep counts a text of n bytes that the host is to keep; false if it is one too many.
func (c *call) keep(n int) bool {
	if c.x.texts+n+textOverhead > maxTexts {
		c.mem.Hit(LimitFields)
		return false
	}
	c.x.texts += n + textOverhead
	return true
}

// put32 writes to the address in parameter i.
func (c *call) put32(i int, v uint32) { c.put32at(c.u32(i), v) }

// put64 writes to the address in parameter i.
func (c *call) put64(i int, v uint64) {
	if b := c.at(c.u32(i), 8); b != nil {
		binary.LittleEndian.PutUint64(b, v)
	}
}

// put16 writes to the address in parameter i.
func (c *call) put16(i int, v uint16) {
	if b := c.at(c.u32(i), 2); b != nil {
		binary.LittleEndian.PutUint16(b, v)
	}
}

// putBool writes a truth as 32 bits to the address in parameter i.
func (c *call) putBool(i int, v bool) {
	n := uint32(0)
	if v {
		n = 1
	}
	c.put32(i, n)
}

func (c *call) put32at(address, v uint32) {
	if b := c.at(address, 4); b != nil {
		binary.LittleEndian.PutUint32(b, v)
	}
}

// answer writes v into the buffer of parameters i (address) and i+1 (its
// length), and the length of v to the address in i+2, also when it does not
// fit.
func answer[T string | []byte](c *call, i int, v T) Status {
	c.put32(i+2, uint32(len(v)))
	if c.bad {
		return Invalid
	}
	if uint64(len(v)) > uint64(c.u32(i+1)) {
		return BufferLength
	}
	copy(c.at(c.u32(i), uint32(len(v))), v)
	return OK
}

// list writes values, each ended by a zero, as many as fit, beginning with the
// one that the cursor says. The parameters from i on: buffer, its length, the
// cursor, where the cursor of the next call is to be put (-1 after the last),
// where the number of bytes. If not one fits, that number is what it needs.
func (c *call) list(i int, values []string) Status {
	buf, cursor := c.bytes(i), int(c.u32(i+2))
	c.at(c.u32(i+3), 8)
	c.at(c.u32(i+4), 4)
	if c.bad {
		return Invalid
	}
	n := 0
	for ; cursor < len(values); cursor++ {
		v := values[cursor]
		if n+len(v)+1 > len(buf) {
			break
		}
		copy(buf[n:], v)
		buf[n+len(v)] = 0
		n += len(v) + 1
	}
	if cursor < len(values) && n == 0 {
		c.put32(i+4, uint32(len(values[cursor])+1))
		return BufferLength
	}
	next := int64(-1)
	if cursor < len(values) {
		next = int64(cursor)
	}
	c.put64(i+3, uint64(next))
	c.put32(i+4, uint32(n))
	return OK
}

// record reads a structure at the address in parameter i. Fields are read with
// the methods of [fields].
func (c *call) record(i, size int) fields { return c.at(c.u32(i), uint32(size)) }

// fields is a structure in the guest's memory. Of one that lies outside, every field is 0.
type fields []byte

func (f fields) u32(offset int) uint32 {
	if f == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(f[offset:])
}

func (f fields) u64(offset int) uint64 {
	if f == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(f[offset:])
}

// span is a copy of the bytes whose address and length are at the offset.
func (c *call) span(f fields, offset int) []byte {
	b := c.at(f.u32(offset), f.u32(offset+4))
	return append([]byte(nil), b...)
}

// cancellable is the request's context with an end of its own.
func (c *call) cancellable() (context.Context, context.CancelFunc) { return context.WithCancel(c.ctx) }

// deadline is the request's context with a time of its own, in milliseconds; 0: without one.
func (c *call) deadline(ms uint32) (context.Context, context.CancelFunc) {
	if ms == 0 {
		return c.cancellable()
	}
	return context.WithTimeout(c.ctx, time.Duration(ms)*time.Millisecond)
}
