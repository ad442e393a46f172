package fastly

import (
	"crypto/md5" //nolint:gosec // it is the fingerprint's own definition, and keeps no secret
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"strconv"
	"strings"
)

// clientHello is what fingerprints are made of. Values that clients send only so
// that servers get used to unknown ones (RFC 8701) are left out.
type clientHello struct {
	version                           uint16
	ciphers, extensions               []uint16
	groups, signatures, versions      []uint16
	points                            []byte
	alpn                              []byte // the first protocol
	hasVersions, hasALPN, hasServerID bool
}

// The extensions that fingerprints look into (IANA, TLS ExtensionType Values).
const (
	extServerName = 0
	extGroups     = 10
	extPoints     = 11
	extSignatures = 13
	extALPN       = 16
	extVersions   = 43
)

// octets takes apart what TLS writes. After a read beyond the end it is bad.
type octets struct {
	data []byte
	bad  bool
}

func (r *octets) take(n int) []byte {
	if n > len(r.data) {
		r.data, r.bad = nil, true
		return nil
	}
	out := r.data[:n]
	r.data = r.data[n:]
	return out
}

// number is one of size bytes.
func (r *octets) number(size int) (n int) {
	for _, b := range r.take(size) {
		n = n<<8 | int(b)
	}
	return n
}

// vector is what stands behind its length of size bytes.
func (r *octets) vector(size int) *octets {
	part := r.take(r.number(size))
	return &octets{data: part, bad: r.bad}
}

// numbers are all that follow, of two bytes each.
func (r *octets) numbers() (out []uint16) {
	for len(r.data) > 0 {
		if n := uint16(r.number(2)); !r.bad && !isGrease(n) {
			out = append(out, n)
		}
	}
	return out
}

// isGrease says whether a value is one of the 16 of RFC 8701.
func isGrease(n uint16) bool { return n&0x0f0f == 0x0a0a && n>>8 == n&0xff }

// parseHello reads a ClientHello with its type and length (RFC 8446, section
// 4.1.2). One that is malformed is not ok.
func parseHello(message []byte) (h clientHello, ok bool) {
	r := &octets{data: message}
	if r.number(1) != 1 {
		return h, false
	}
	body := r.vector(3)
	h.version = uint16(body.number(2))
	body.take(32)  // random
	body.vector(1) // session
	ciphers := body.vector(2)
	h.ciphers = ciphers.numbers()
	body.vector(1) // compression
	if body.bad || ciphers.bad || len(r.data) > 0 {
		return h, false
	}
	if len(body.data) == 0 {
		return h, true // as before there were extensions
	}
	list := body.vector(2)
	for len(list.data) > 0 && !list.bad {
		kind := uint16(list.number(2))
		inside := list.vector(2)
		if inside.bad {
			return h, false
		}
		if !isGrease(kind) {
			h.extensions = append(h.extensions, kind)
			h.extension(kind, inside)
		}
	}
	return h, !list.bad && !body.bad && len(body.data) == 0
}

// extension notes what one of the extensions says. One that is malformed says
// less; the handshake has refused it, if anybody minds.
func (h *clientHello) extension(kind uint16, r *octets) {
	switch kind {
	case extServerName:
		h.hasServerID = true
	case extGroups:
		h.groups = r.vector(2).numbers()
	case extPoints:
		h.points = r.vector(1).data
	case extSignatures:
		h.signatures = r.vector(2).numbers()
	case extALPN:
		h.hasALPN = true
		h.alpn = r.vector(2).vector(1).data
	case extVersions:
		h.hasVersions = true
		h.versions = r.vector(1).numbers()
	}
}

// ja3 is the text whose MD5 is the JA3 fingerprint, as its authors define it
// (github.com/salesforce/ja3): decimal numbers in the order of the message.
func (h *clientHello) ja3() string {
	points := make([]uint16, 0, len(h.points))
	for _, p := range h.points {
		points = append(points, uint16(p))
	}
	parts := []string{strconv.Itoa(int(h.version))}
	for _, list := range [][]uint16{h.ciphers, h.extensions, h.groups, points} {
		texts := make([]string, 0, len(list))
		for _, n := range list {
			texts = append(texts, strconv.Itoa(int(n)))
		}
		parts = append(parts, strings.Join(texts, "-"))
	}
	return strings.Join(parts, ",")
}

func (h *clientHello) ja3MD5() []byte {
	sum := md5.Sum([]byte(h.ja3())) //nolint:gosec // it is the fingerprint's own definition
	return sum[:]
}

// ja4 is the JA4 fingerprint of a client on TCP, as its authors define it
// (github.com/FoxIO-LLC/ja4, technical_details/JA4.md).
func (h *clientHello) ja4() string {
	a, ciphers, extensions := h.ja4Parts()
	return a + "_" + shortHash(ciphers) + "_" + shortHash(extensions)
}

// ja4Parts are the three parts before the latter two are hashed.
func (h *clientHello) ja4Parts() (a, ciphers, extensions string) {
	to := "i"
	if h.hasServerID {
		to = "d"
	}
	a = "t" + h.ja4Version() + to + twoDigits(len(h.ciphers)) + twoDigits(len(h.extensions)) + h.ja4ALPN()
	rest := slices.DeleteFunc(slices.Clone(h.extensions), func(n uint16) bool { return n == extServerName || n == extALPN })
	extensions = hexList(slices.Sorted(slices.Values(rest)))
	if len(h.signatures) > 0 && extensions != "" {
		extensions += "_" + hexList(h.signatures)
	}
	return a, hexList(slices.Sorted(slices.Values(h.ciphers))), extensions
}

func (h *clientHello) ja4Version() string {
	version := h.version
	if h.hasVersions && len(h.versions) > 0 {
		version = slices.Max(h.versions)
	}
	switch version {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	}
	return "00"
}

// ja4ALPN is the first and the last letter of the first protocol, or of its
// bytes in hexadecimal where one of them is no letter and no digit.
func (h *clientHello) ja4ALPN() string {
	if len(h.alpn) == 0 {
		return "00"
	}
	first, last := h.alpn[0], h.alpn[len(h.alpn)-1]
	if isAlphanumeric(first) && isAlphanumeric(last) {
		return string([]byte{first, last})
	}
	text := hex.EncodeToString(h.alpn)
	return text[:1] + text[len(text)-1:]
}

func isAlphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

func twoDigits(n int) string {
	n = min(n, 99)
	return string([]byte{'0' + byte(n/10), '0' + byte(n%10)})
}

func hexList(list []uint16) string {
	texts := make([]string, 0, len(list))
	for _, n := range list {
		texts = append(texts, hex.EncodeToString([]byte{byte(n >> 8), byte(n)}))
	}
	return strings.Join(texts, ",")
}

// shortHash is how JA4 shortens a list; one of nothing is zeros.
func shortHash(list string) string {
	if list == "" {
		return "000000000000"
	}
	sum := sha256.Sum256([]byte(list))
	return hex.EncodeToString(sum[:6])
}

// rawHello is the message as it came. Over TLS libraries take it for granted:
// where it was not kept, it is empty.
func rawHello(c *call, d *downstream) Status {
	if d.R.TLS == nil {
		return None
	}
	return answer(c, 1, d.Client.Hello)
}

// helloFact is a fingerprint of the message, empty where it was not kept.
func helloFact(of func(*clientHello) string) func(*call) Status {
	return aboutClient(func(c *call, d *downstream) Status {
		if d.R.TLS == nil {
			return None
		}
		h, ok := parseHello(d.Client.Hello)
		if !ok {
			return answer(c, 1, "")
		}
		return answer(c, 1, of(&h))
	})
}

// helloMD5 writes 16 bytes to the address in parameter 1, and how many they are to that in 2.
func helloMD5(c *call, d *downstream) Status {
	out := c.at(c.u32(1), md5.Size)
	c.at(c.u32(2), 4)
	switch {
	case d.R.TLS == nil:
		return None
	case c.bad:
		return Invalid
	}
	h, ok := parseHello(d.Client.Hello)
	if !ok {
		c.put32(2, 0)
		return OK
	}
	c.put32(2, uint32(copy(out, h.ja3MD5())))
	return OK
}

// certificateText is a certificate as guests get it: PEM.
func certificateText(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
