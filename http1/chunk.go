package http1

import (
	"bytes"
	"strconv"
)

// maxChunkLine bounds a chunk's size with its extensions.
const maxChunkLine = 128

// chunkScan reads the chunked coding (RFC 9112, section 7.1) but for the data
// and the trailers. It is pure: bytes in, numbers out.
type chunkScan struct {
	left  int64 // data of the running chunk that was not taken yet
	begun bool  // a chunk's data is through, the line break behind it is not
	last  bool  // the last chunk's line is through: the trailers follow
}

// line takes what stands between data at the front of b: the line break behind
// a chunk and the line in front of the next. It says how many bytes that was, 0
// if they are not all there yet. Call it while left is 0 and last is not set.
func (c *chunkScan) line(b []byte) (used int, err error) {
	if c.begun {
		if len(b) > 0 && b[0] != '\r' || len(b) > 1 && b[1] != '\n' {
			return 0, refuse("no line break behind a chunk")
		}
		if len(b) < 2 {
			return 0, nil
		}
		used = 2
	}
	end, next, err := lineEnd(b, used)
	if err != nil {
		return 0, err
	}
	if end < 0 && len(b)-used <= maxChunkLine {
		return 0, c.prefix(b[used:])
	}
	if end < 0 || end-used > maxChunkLine {
		return 0, refuse("chunk line too long")
	}
	size, err := chunkSize(b[used:end])
	if err != nil {
		return 0, err
	}
	c.left, c.begun, c.last = size, size > 0, size == 0
	return next, nil
}

// prefix refuses the beginning of a chunk line that no end could make good.
func (c *chunkScan) prefix(b []byte) error {
	if len(b) > 0 && hexDigit(b[0]) < 0 {
		return refuse("malformed chunk size")
	}
	return nil
}

// took notes that n bytes of data were taken.
func (c *chunkScan) took(n int) { c.left -= int64(n) }

// chunkSize reads a line: one to sixteen hexadecimal digits, and extensions
// that are tokens and nothing else.
func chunkSize(line []byte) (int64, error) {
	var n int64
	digits := 0
	for digits < len(line) && hexDigit(line[digits]) >= 0 {
		if digits == 16 || n > 1<<58 {
			return 0, refuse("chunk size too large")
		}
		n = n<<4 | int64(hexDigit(line[digits]))
		digits++
	}
	if digits == 0 {
		return 0, refuse("malformed chunk size")
	}
	if !isChunkExtension(line[digits:]) {
		return 0, refuse("malformed chunk extension")
	}
	return n, nil
}

// isChunkExtension takes ;token and ;token=token, without spaces. Quoted
// values are where readers differ, and nobody sends them.
func isChunkExtension(b []byte) bool {
	for len(b) > 0 {
		if b[0] != ';' {
			return false
		}
		b = b[1:]
		ext := b
		if i := bytes.IndexByte(b, ';'); i >= 0 {
			ext, b = b[:i], b[i:]
		} else {
			b = nil
		}
		name, value, has := bytes.Cut(ext, []byte{'='})
		if !isToken(name) || has && !isToken(value) {
			return false
		}
	}
	return true
}

func hexDigit(c byte) int {
	switch {
	case '0' <= c && c <= '9':
		return int(c - '0')
	case 'a' <= c && c <= 'f':
		return int(c-'a') + 10
	case 'A' <= c && c <= 'F':
		return int(c-'A') + 10
	}
	return -1
}

// appendChunkLine writes the line in front of n bytes of data. The data's own
// line break has to follow it.
func appendChunkLine(dst []byte, n int) []byte {
	dst = strconv.AppendInt(dst, int64(n), 16)
	return append(dst, "\r\n"...)
}

// lastChunk ends a body without trailers; with them the line break comes after them.
const lastChunk = "0\r\n\r\n"
