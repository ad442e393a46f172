package compute

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"iter"
	"net/http"
	"time"

	"github.com/tetratelabs/wazero/api"
)

// Guest is what a host function sees of the program that called it, and of the
// request that it is called for. It is not safe for concurrent use, and the
// slices that it gives out end with the call: the guest may move its memory.
type Guest struct {
	in      *Invocation
	session any
	limits  *Limits
	memory  api.Memory // nil: the module has none
	onLimit func(limit string)
	meter   meter
	box     *sandbox

	headerBytes int
}

// Session is what [ABI.Begin] made for this request.
func (g *Guest) Session() any { return g.session }

// Invocation is the request.
func (g *Guest) Invocation() *Invocation { return g.in }

// Limits are the function's.
func (g *Guest) Limits() Limits { return *g.limits }

// Size is the length of the guest's memory in bytes.
func (g *Guest) Size() uint32 {
	if g.memory == nil {
		return 0
	}
	return g.memory.Size()
}

// Bytes is a part of the guest's memory itself, for reading and writing; false
// if any of it is outside. A part of length 0 is within at any place.
func (g *Guest) Bytes(at, length uint32) ([]byte, bool) {
	if length == 0 {
		return nil, true
	}
	if g.memory == nil {
		return nil, false
	}
	return g.memory.Read(at, length)
}

// String is a copy of a part of the guest's memory; false if any of it is outside.
func (g *Guest) String(at, length uint32) (string, bool) {
	b, ok := g.Bytes(at, length)
	return string(b), ok
}

// Write writes all of p into the guest's memory, or nothing and false if any of it would be outside.
func (g *Guest) Write(at uint32, p []byte) bool {
	b, ok := g.within(at, len(p))
	if ok {
		copy(b, p)
	}
	return ok
}

// within is Bytes for lengths of the host.
func (g *Guest) within(at uint32, length int) ([]byte, bool) {
	if uint64(length) > uint64(g.Size()) {
		return nil, false
	}
	return g.Bytes(at, uint32(length))
}

// Uint8 reads a byte.
func (g *Guest) Uint8(at uint32) (uint8, bool) {
	b, ok := g.Bytes(at, 1)
	if !ok {
		return 0, false
	}
	return b[0], true
}

// Uint16 reads 16 bits, little endian, of any alignment.
func (g *Guest) Uint16(at uint32) (uint16, bool) {
	b, ok := g.Bytes(at, 2)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint16(b), true
}

// Uint32 reads 32 bits, little endian, of any alignment.
func (g *Guest) Uint32(at uint32) (uint32, bool) {
	b, ok := g.Bytes(at, 4)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint32(b), true
}

// Uint64 reads 64 bits, little endian, of any alignment.
func (g *Guest) Uint64(at uint32) (uint64, bool) {
	b, ok := g.Bytes(at, 8)
	if !ok {
		return 0, false
	}
	return binary.LittleEndian.Uint64(b), true
}

// PutUint8 writes a byte.
func (g *Guest) PutUint8(at uint32, v uint8) bool { return g.Write(at, []byte{v}) }

// PutUint16 writes 16 bits, little endian.
func (g *Guest) PutUint16(at uint32, v uint16) bool {
	b, ok := g.Bytes(at, 2)
	if ok {
		binary.LittleEndian.PutUint16(b, v)
	}
	return ok
}

// PutUint32 writes 32 bits, little endian.
func (g *Guest) PutUint32(at, v uint32) bool {
	b, ok := g.Bytes(at, 4)
	if ok {
		binary.LittleEndian.PutUint32(b, v)
	}
	return ok
}

// PutUint64 writes 64 bits, little endian.
func (g *Guest) PutUint64(at uint32, v uint64) bool {
	b, ok := g.Bytes(at, 8)
	if ok {
		binary.LittleEndian.PutUint64(b, v)
	}
	return ok
}

var errNoOrigins = errors.New("there are no origins here")

// Fetch asks an origin, within the limit of requests. Beyond it the error is a
// [*LimitError]. The function that calls it is one that waits.
func (g *Guest) Fetch(backend string, r *http.Request) (*http.Response, error) {
	if g.in.Fetch == nil {
		return nil, errNoOrigins
	}
	if g.in.Usage.OriginRequests >= g.limits.OriginRequests {
		g.hit(LimitOriginRequests)
		return nil, limitErrorf(LimitOriginRequests, "%d requests to origins are allowed", g.limits.OriginRequests)
	}
	g.in.Usage.OriginRequests++
	return g.in.Fetch(backend, r)
}

// Log hands what the guest logs to a writer, within the limit of bytes that all
// logs of a request share. What is more is dropped, and the limit noted.
// A nil writer means the function's own log.
func (g *Guest) Log(w io.Writer, p []byte) {
	room := g.limits.LogBytes - g.in.Usage.LogBytes
	if int64(len(p)) > room {
		g.hit(LimitLogBytes)
		p = p[:max(room, 0)]
	}
	if len(p) == 0 {
		return
	}
	g.in.Usage.LogBytes += int64(len(p))
	switch {
	case w != nil:
		_, _ = w.Write(p) // a log that is full is no error of the guest
	case g.in.Log != nil:
		g.in.Log(p)
	}
}

// Vectors are the parts of the guest's memory that an array of pointers and
// lengths names, as functions of WASI have it; false with the first that is
// outside. The guest pays for each.
func (g *Guest) Vectors(ctx context.Context, at, count uint32) iter.Seq2[[]byte, bool] {
	return func(yield func([]byte, bool) bool) {
		if uint64(count)*8 > uint64(g.Size()) {
			yield(nil, false)
			return
		}
		for i := range count {
			pointer, ok := g.Uint32(at + 8*i)
			length, okLength := g.Uint32(at + 8*i + 4)
			b, within := g.Bytes(pointer, length)
			if whole := ok && okLength && within; !yield(b, whole) || !whole {
				return
			}
			const each = 10
			g.Charge(ctx, each)
		}
	}
}

// HeaderBytes counts n more bytes of response fields; false if they are more
// than the limit.
func (g *Guest) HeaderBytes(n int) bool {
	if n < 0 || n > g.limits.HeaderBytes-g.headerBytes {
		g.hit(LimitHeaderBytes)
		return false
	}
	g.headerBytes += n
	return true
}

// Abort ends the guest with an error, which Serve returns within a [*Trap]. It
// does not return.
func (g *Guest) Abort(err error) { panic(abort{err}) }

// Refuse ends the guest because of what it passed to a host function, with a trap of kind [BadCall]. It does not return.
func (g *Guest) Refuse(text string) { panic(abort{badCall(text)}) }

// badCall is what was wrong with a call.
type badCall string

func (e badCall) Error() string { return string(e) }

// abort is the panic that ends a guest.
type abort struct{ err error }

func (a abort) Error() string { return a.err.Error() }

func (a abort) Unwrap() error { return a.err }

// Limit notes that a limit was hit, and is the error that says so.
func (g *Guest) Limit(name LimitName, format string, args ...any) *LimitError {
	g.hit(name)
	return limitErrorf(name, format, args...)
}

// Check ends the guest when a limit of time is reached or the request was cut,
// and then does not return. It is for after [Guest.Wait].
func (g *Guest) Check() { g.box.checkTime(time.Now()) }

// Keep keeps a value for as long as the sandbox has its memory: what a program
// of a [Handler] said while it started. Later it does nothing.
func (g *Guest) Keep(v any) {
	if g.box.running {
		g.box.kept = v
	}
}

// Kept is what was kept, nil at first.
func (g *Guest) Kept() any { return g.box.kept }

// Wait runs f without counting its time as the guest's, for a function that
// waits only sometimes.
func (g *Guest) Wait(f func()) { g.box.wait(f) }

// Charge says that a host function did work that costs as much as this many
// instructions, so that the guest yields as often as if it had done it itself.
// It ends the guest when it is over a limit, and then does not return.
func (g *Guest) Charge(ctx context.Context, instructions uint64) { g.box.charge(ctx, instructions) }

// Remember says that an early function read something that may change. While
// unchanged returns true the sandbox goes on; once it returns false it is
// thrown away and a new one starts. After the sandbox was frozen it does
// nothing. It must be quick: it is asked before each request.
func (g *Guest) Remember(unchanged func() bool) { g.box.remember(unchanged) }

// Call calls a function that the guest exports, for an ABI that is a [Handler].
// An error is one that [Handler.Serve] should return as it is.
func (g *Guest) Call(ctx context.Context, name string, params ...uint64) ([]uint64, error) {
	return g.box.call(ctx, name, params)
}

// Exports says whether the guest exports a function of this name.
func (g *Guest) Exports(name string) bool { return g.box.exports(name) }
