package listen

import (
	"encoding/binary"
	"sync"
)

// maxHello bounds the bytes of a handshake's beginning that are kept, and so the
// ClientHello. A browser's has 2 KiB with the keys of two groups. A longer one
// shakes hands as well, but nobody is told of it. The limit is named client_hello.
const maxHello = 8 << 10

// tap keeps how a handshake began. Taps are used again: what outlives the
// handshake is a copy, as long as the message.
type tap struct{ data []byte }

var taps = sync.Pool{New: func() any { return &tap{make([]byte, 0, maxHello)} }}

func (t *tap) take(p []byte) {
	if t != nil {
		t.data = append(t.data, p[:min(len(p), maxHello-len(t.data))]...)
	}
}

// end gives the tap back and returns the ClientHello. cut: it is too long.
func (t *tap) end() (hello []byte, cut bool) {
	hello = helloOf(t.data)
	cut = hello == nil && len(t.data) == maxHello
	t.data = t.data[:0]
	taps.Put(t)
	return hello, cut
}

// What begins a TLS record and a handshake message (RFC 8446, sections 5.1 and 4).
const (
	recordHeader     = 5
	recordHandshake  = 22
	messageHeader    = 4
	messageHelloType = 1
)

// helloOf is the first message of a handshake, with its type and length, taken out
// of the records that it came in. nil where it is no ClientHello, or not whole.
func helloOf(records []byte) []byte {
	var message []byte
	for len(records) > recordHeader && records[0] == recordHandshake {
		length := int(binary.BigEndian.Uint16(records[3:]))
		records = records[recordHeader:]
		part := records[:min(length, len(records))]
		records = records[len(part):]
		message = append(message, part...)
		if len(message) > 0 && message[0] != messageHelloType {
			return nil
		}
		if len(message) < messageHeader {
			continue
		}
		whole := messageHeader + int(message[1])<<16 + int(binary.BigEndian.Uint16(message[2:]))
		if len(message) >= whole {
			return message[:whole:whole]
		}
	}
	return nil
}
