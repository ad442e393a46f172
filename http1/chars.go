package http1

import (
	"encoding/binary"
	"math/bits"
	"unsafe"
)

// lower folds the characters of a token (RFC 9110, section 5.6.2) to lower
// case. It is 0 for every character that no token holds.
var lower = newLower()

func newLower() (t [256]byte) {
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz") {
		t[c] = c
	}
	for c := byte('A'); c <= 'Z'; c++ {
		t[c] = c - 'A' + 'a'
	}
	return t
}

func isToken[T ~string | ~[]byte](s T) bool {
	for i := range len(s) {
		if lower[s[i]] == 0 {
			return false
		}
	}
	return len(s) > 0
}

// isFieldValue says whether s can stand in a field: no control character but
// the tabulator. Bytes beyond ASCII are opaque and allowed (RFC 9110, section 5.5).
func isFieldValue(s string) bool {
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // which is read only
	for i := controlIndex(b, 0); i < len(b); i = controlIndex(b, i+1) {
		if b[i] != '\t' {
			return false
		}
	}
	return true
}

// controlIndex is the index of the first control character (0 to 31 and 127)
// of b at or after i, or len(b). It looks at eight bytes at once.
func controlIndex(b []byte, i int) int {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for i+8 <= len(b) {
		x := binary.LittleEndian.Uint64(b[i:])
		y := x ^ 0x7f*ones
		// A borrow can only mark bytes above a true mark, so the lowest is right.
		if m := ((x-0x20*ones)&^x | (y-ones)&^y) & highs; m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
		i += 8
	}
	for ; i < len(b); i++ {
		if b[i] < ' ' || b[i] == 0x7f {
			return i
		}
	}
	return i
}

// lineEnd finds the CRLF that ends the line at the front of b[from:]. It
// returns its index; -1 and where to go on looking if it is not there yet; or an
// error at any other control character but the tabulator.
func lineEnd(b []byte, from int) (end, next int, err error) {
	for i := from; ; i++ {
		i = controlIndex(b, i)
		switch {
		case i >= len(b):
			return -1, i, nil
		case b[i] == '\t':
		case b[i] != '\r':
			return 0, 0, refuse("control character in a line")
		case i+1 == len(b):
			return -1, i, nil
		case b[i+1] != '\n':
			return 0, 0, refuse("carriage return without a line feed")
		default:
			return i, i + 2, nil
		}
	}
}

func trimOWS(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}
