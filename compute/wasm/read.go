package wasm

import (
	"fmt"
	"unicode/utf8"
)

// reader reads a module. The first mistake is kept, and everything after it
// reads as nothing: who loops looks at bad.
type reader struct {
	data []byte
	pos  int
	end  int // of what may be read now
	err  *Error
}

func (r *reader) bad() bool { return r.err != nil }

func (r *reader) fail(at int, op, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{at, op, fmt.Sprintf(format, args...)}
	}
	r.pos = r.end
}

func (r *reader) more() bool { return r.err == nil && r.pos < r.end }

func (r *reader) byte() byte {
	if r.pos >= r.end {
		r.fail(r.pos, "", "unexpected end")
		return 0
	}
	b := r.data[r.pos]
	r.pos++
	return b
}

func (r *reader) bytes(n int) []byte {
	if n < 0 || n > r.end-r.pos {
		r.fail(r.pos, "", "unexpected end")
		return nil
	}
	b := r.data[r.pos : r.pos+n]
	r.pos += n
	return b
}

// u32 reads LEB128 of at most 5 bytes whose unused bits are 0.
func (r *reader) u32() uint32 {
	var v uint32
	for shift := 0; shift < 35; shift += 7 {
		b := r.byte()
		if shift == 28 && b > 0x0f {
			r.fail(r.pos-1, "", "a number of more than 32 bits")
			return 0
		}
		v |= uint32(b&0x7f) << shift
		if b < 0x80 {
			return v
		}
	}
	return 0
}

// signed reads signed LEB128 of this many bits.
func (r *reader) signed(bits int) int64 {
	var v int64
	for shift := 0; ; shift += 7 {
		b := r.byte()
		if left := bits - shift; left < 7 {
			// What is beyond the number repeats its sign, and nothing follows.
			sign := int8(b<<1) >> left // bits left-1 … 6, of which all must be equal
			if b >= 0x80 || sign != 0 && sign != -1 {
				r.fail(r.pos-1, "", "a number of more than %d bits", bits)
				return 0
			}
		}
		v |= int64(b&0x7f) << shift
		if b < 0x80 || r.bad() {
			if shift+7 < 64 {
				v = v << (64 - shift - 7) >> (64 - shift - 7)
			}
			return v
		}
	}
}

// count reads how many things follow, each of which takes at least one byte.
func (r *reader) count(what string, most int) int {
	at := r.pos
	n := r.u32()
	switch {
	case r.bad():
	case int64(n) > int64(most):
		r.fail(at, "", "%d %s, the limit is %d", n, what, most)
	case int64(n) > int64(r.end-r.pos):
		r.fail(at, "", "%d %s do not fit", n, what)
	default:
		return int(n)
	}
	return 0
}

func (r *reader) name() string {
	at := r.pos
	b := r.bytes(r.count("bytes of a name", 100_000))
	if !utf8.Valid(b) {
		r.fail(at, "", "a name that is not UTF-8")
		return ""
	}
	return string(b)
}

func (r *reader) valueType() ValueType {
	at := r.pos
	t := ValueType(r.byte())
	if !t.known() {
		r.fail(at, "", "values of %v are not supported", t)
	}
	return t
}

func (t ValueType) known() bool {
	switch t {
	case I32, I64, F32, F64, V128, FuncRef, ExternRef:
		return true
	}
	return false
}

func (r *reader) refType() ValueType {
	at := r.pos
	t := ValueType(r.byte())
	if t != FuncRef && t != ExternRef {
		r.fail(at, "", "references of %v are not supported", t)
	}
	return t
}

// writing

func appendU32(b []byte, v uint32) []byte {
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func appendS64(b []byte, v int64) []byte {
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(b, c)
		}
		b = append(b, c|0x80)
	}
}

func appendName(b []byte, s string) []byte { return append(appendU32(b, uint32(len(s))), s...) }

func appendTypes(b []byte, ts []ValueType) []byte {
	b = appendU32(b, uint32(len(ts)))
	for _, t := range ts {
		b = append(b, byte(t))
	}
	return b
}
