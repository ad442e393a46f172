package listen

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol is https://www.haproxy.org/download/2.9/doc/proxy-protocol.txt,
// sections 2.1 (version 1, one line of text) and 2.2 (version 2, binary).

const (
	proxyV1     = "PROXY "
	proxyV2     = "\r\n\r\n\x00\r\nQUIT\n"
	maxProxyV1  = 107
	maxProxyV2  = 16 + 4096 // the specification knows no bound; nobody sends a tenth of it
	proxyLocal  = 0x20
	proxyProxy  = 0x21
	typeCRC32C  = 0x03
	inet4Length = 12
	inet6Length = 36
	unixLength  = 216
)

// proxied is who a PROXY protocol header says is at the other end. Both are
// invalid where it says that the connection is the proxy's own, or does not know.
type proxied struct{ source, destination netip.AddrPort }

// errMore says that a header may be complete with more bytes.
var errMore = errors.New("more bytes are needed")

var errProxy = errors.New("malformed PROXY protocol header")

// parseProxy reads the header at the front of b and says how long it is. It
// takes nothing that the specification does not have.
func parseProxy(b []byte) (h proxied, n int, err error) {
	if len(b) == 0 {
		return h, 0, errMore
	}
	switch k := min(len(b), len(proxyV1)); {
	case string(b[:k]) == proxyV1[:k]:
		return parseProxyV1(b)
	}
	if k := min(len(b), len(proxyV2)); string(b[:k]) == proxyV2[:k] {
		return parseProxyV2(b)
	}
	return h, 0, errProxy
}

func parseProxyV1(b []byte) (h proxied, n int, err error) {
	line := b[:min(len(b), maxProxyV1)]
	text, _, ok := strings.Cut(string(line), "\r\n")
	if !ok {
		if len(b) >= maxProxyV1 || strings.Contains(strings.TrimSuffix(text, "\r"), "\r") || strings.Contains(text, "\n") {
			return h, 0, errProxy
		}
		return h, 0, errMore
	}
	n = len(text) + 2
	if strings.ContainsAny(text, "\r\n\x00") {
		return h, 0, errProxy
	}
	parts := strings.Split(text, " ")
	if parts[1] == "UNKNOWN" {
		return h, n, nil
	}
	if len(parts) != 6 || parts[1] != "TCP4" && parts[1] != "TCP6" {
		return h, 0, errProxy
	}
	src, ok1 := textAddr(parts[2], parts[4], parts[1] == "TCP4")
	dst, ok2 := textAddr(parts[3], parts[5], parts[1] == "TCP4")
	if !ok1 || !ok2 {
		return h, 0, errProxy
	}
	return proxied{src, dst}, n, nil
}

// textAddr reads an address and a port in the only way in which each can be written.
func textAddr(addr, port string, v4 bool) (netip.AddrPort, bool) {
	a, err := netip.ParseAddr(addr)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return netip.AddrPort{}, false
	}
	p, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(p, 10) != port {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a.Unmap(), uint16(p)), true
}

func parseProxyV2(b []byte) (h proxied, n int, err error) {
	if len(b) < 16 {
		return h, 0, errMore
	}
	command, family, length := b[12], b[13], int(binary.BigEndian.Uint16(b[14:]))
	if command != proxyLocal && command != proxyProxy || 16+length > maxProxyV2 {
		return h, 0, errProxy
	}
	if n = 16 + length; len(b) < n {
		return h, 0, errMore
	}
	if command == proxyLocal {
		return h, n, nil // the rest of it means nothing
	}
	body := b[16:n]
	size := 0
	switch family {
	case 0x00: // unknown: TLVs may follow
	case 0x11: // TCP over IPv4
		if size = inet4Length; length < size {
			return h, 0, errProxy
		}
		h.source = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body)), binary.BigEndian.Uint16(body[8:]))
		h.destination = netip.AddrPortFrom(netip.AddrFrom4([4]byte(body[4:])), binary.BigEndian.Uint16(body[10:]))
	case 0x21: // TCP over IPv6
		if size = inet6Length; length < size {
			return h, 0, errProxy
		}
		h.source = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body)).Unmap(), binary.BigEndian.Uint16(body[32:]))
		h.destination = netip.AddrPortFrom(netip.AddrFrom16([16]byte(body[16:])).Unmap(), binary.BigEndian.Uint16(body[34:]))
	case 0x31: // a stream over a unix socket: its paths mean nothing here
		if size = unixLength; length < size {
			return h, 0, errProxy
		}
	default: // datagrams, and what nobody has defined
		return h, 0, errProxy
	}
	if !validTLVs(b[:n], 16+size) {
		return proxied{}, 0, errProxy
	}
	return h, n, nil
}

// validTLVs says whether what follows the addresses from at on are whole
// type-length-values, and their checksum, if there is one, is right (section 2.2.3).
func validTLVs(header []byte, at int) bool {
	summed := false
	for at < len(header) {
		if len(header)-at < 3 {
			return false
		}
		kind, length := header[at], int(binary.BigEndian.Uint16(header[at+1:]))
		value := at + 3
		if at = value + length; at > len(header) {
			return false
		}
		if kind != typeCRC32C {
			continue
		}
		if summed || length != 4 {
			return false
		}
		summed = true
		table := crc32.MakeTable(crc32.Castagnoli)
		sum := crc32.Update(0, table, header[:value])
		sum = crc32.Update(sum, table, make([]byte, 4)) // the checksum counts as zeros
		sum = crc32.Update(sum, table, header[value+4:])
		if sum != binary.BigEndian.Uint32(header[value:]) {
			return false
		}
	}
	return true
}
