package listen

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"net/netip"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
)

// v2 is a header of version 2 with a body.
func v2(command, family byte, body string) string {
	return proxyV2 + string([]byte{command, family}) + string(binary.BigEndian.AppendUint16(nil, uint16(len(body)))) + body
}

const (
	addrs4 = "\xc0\x00\x02\x07\x0a\x00\x00\x01\x12\x34\x01\xbb" // 192.0.2.7:4660 to 10.0.0.1:443
	addrs6 = "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x07" + "\x20\x01\x0d\xb8\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01" + "\x12\x34\x01\xbb"
)

// sum puts the right checksum over header, in which a CRC32C TLV of zeros is the last.
func sum(header string) string {
	b := []byte(header)
	c := crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))
	binary.BigEndian.PutUint32(b[len(b)-4:], c)
	return string(b)
}

func TestProxyHeaders(t *testing.T) {
	const four, six, none = "192.0.2.7:4660 10.0.0.1:443", "[2001:db8::7]:4660 [2001:db8::1]:443", "invalid AddrPort invalid AddrPort"
	long := "PROXY UNKNOWN " + strings.Repeat("x", 91)
	for _, tt := range []struct{ name, in, want string }{
		{"v1 IPv4", "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n", four},
		{"v1 IPv6", "PROXY TCP6 2001:db8::7 2001:db8::1 4660 443\r\n", six},
		{"v1 IPv4 in IPv6", "PROXY TCP6 ::ffff:192.0.2.7 ::ffff:10.0.0.1 4660 443\r\n", four},
		{"v1 unknown", "PROXY UNKNOWN\r\n", none},
		{"v1 unknown with words", "PROXY UNKNOWN ffff::1 what ever\r\n", none},
		{"v1 of 107 bytes", long + "\r\n", none},
		{"v2 IPv4", v2(0x21, 0x11, addrs4), four},
		{"v2 IPv6", v2(0x21, 0x21, addrs6), six},
		{"v2 unix", v2(0x21, 0x31, strings.Repeat("x", 216)), none},
		{"v2 unknown", v2(0x21, 0x00, ""), none},
		{"v2 local", v2(0x20, 0x00, ""), none},
		{"v2 local with anything", v2(0x20, 0x11, "abc"), none},
		{"v2 with values", v2(0x21, 0x11, addrs4+"\x04\x00\x01x\x20\x00\x00"), four},
		{"v2 with a checksum", sum(v2(0x21, 0x11, addrs4+"\x01\x00\x02h2\x03\x00\x04\x00\x00\x00\x00")), four},
		{"v2 of 4096 bytes", v2(0x21, 0x00, "\x04\x0f\xfd"+strings.Repeat("x", 4093)), none},

		{"nothing of it", "GET / HTTP/1.1\r\n", ""},
		{"v1 lower case", "proxy TCP4 192.0.2.7 10.0.0.1 4660 443\r\n", ""},
		{"v1 of 108 bytes", long + "x\r\n", ""},
		{"v1 without end", strings.Repeat("PROXY ", 30), ""},
		{"v1 two spaces", "PROXY TCP4  192.0.2.7 10.0.0.1 4660 443\r\n", ""},
		{"v1 one more part", "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443 \r\n", ""},
		{"v1 one less", "PROXY TCP4 192.0.2.7 10.0.0.1 4660\r\n", ""},
		{"v1 bare line feed", "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\n", ""},
		{"v1 bare carriage return", "PROXY UNKNOWN \rx\r\n", ""},
		{"v1 NUL", "PROXY UNKNOWN \x00\r\n", ""},
		{"v1 wrong family", "PROXY TCP4 2001:db8::7 2001:db8::1 4660 443\r\n", ""},
		{"v1 wrong family too", "PROXY TCP6 192.0.2.7 10.0.0.1 4660 443\r\n", ""},
		{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::1 4660 443\r\n", ""},
		{"v1 leading zero", "PROXY TCP4 192.0.2.07 10.0.0.1 4660 443\r\n", ""},
		{"v1 port with a zero", "PROXY TCP4 192.0.2.7 10.0.0.1 04660 443\r\n", ""},
		{"v1 port with a sign", "PROXY TCP4 192.0.2.7 10.0.0.1 +4660 443\r\n", ""},
		{"v1 port too large", "PROXY TCP4 192.0.2.7 10.0.0.1 65536 443\r\n", ""},
		{"v1 UDP", "PROXY UDP4 192.0.2.7 10.0.0.1 4660 443\r\n", ""},
		{"v1 only the word", "PROXY \r\n", ""},
		{"v2 version 1", v2(0x11, 0x11, addrs4), ""},
		{"v2 unknown command", v2(0x22, 0x11, addrs4), ""},
		{"v2 datagram", v2(0x21, 0x12, addrs4), ""},
		{"v2 unknown family", v2(0x21, 0x41, addrs4), ""},
		{"v2 short IPv4", v2(0x21, 0x11, addrs4[:11]), ""},
		{"v2 short IPv6", v2(0x21, 0x21, addrs6[:35]), ""},
		{"v2 short unix", v2(0x21, 0x31, "x"), ""},
		{"v2 half a value", v2(0x21, 0x11, addrs4+"\x04\x00"), ""},
		{"v2 value too long", v2(0x21, 0x11, addrs4+"\x04\x00\x02x"), ""},
		{"v2 wrong checksum", v2(0x21, 0x11, addrs4+"\x03\x00\x04\x00\x00\x00\x00"), ""},
		{"v2 short checksum", v2(0x21, 0x11, addrs4+"\x03\x00\x03\x00\x00\x00"), ""},
		{"v2 two checksums", sum(v2(0x21, 0x11, addrs4+"\x03\x00\x04\x00\x00\x00\x00\x03\x00\x04\x00\x00\x00\x00")), ""},
		{"v2 too long", v2(0x21, 0x00, "\x04\x0f\xfe"+strings.Repeat("x", 4094)), ""},
	} {
		h, n, err := parseProxy([]byte(tt.in + "GET"))
		got := h.source.String() + " " + h.destination.String()
		if err != nil {
			got = ""
		}
		if got != tt.want || err == nil && n != len(tt.in) {
			t.Errorf("%s: %q of %d bytes, %v; want %q of %d", tt.name, got, n, err, tt.want, len(tt.in))
		}
		if tt.want == "" && !errors.Is(err, errProxy) {
			t.Errorf("%s: error %v, want that it is malformed", tt.name, err)
		}
		if tt.want == "" {
			continue
		}
		for i := range tt.in {
			if _, _, err := parseProxy([]byte(tt.in[:i])); !errors.Is(err, errMore) {
				t.Errorf("%s: the first %d bytes: %v, want that more are needed", tt.name, i, err)
				break
			}
		}
	}
}

// A verdict on a header must not change when more bytes arrive, and never needs
// more bytes than a header may have.
func FuzzParseProxy(f *testing.F) {
	for _, s := range []string{"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\nGET", "PROXY UNKNOWN\r\n", v2(0x21, 0x11, addrs4) + "x", v2(0x21, 0x21, addrs6), v2(0x20, 0, ""), sum(v2(0x21, 0x11, addrs4+"\x03\x00\x04\x00\x00\x00\x00"))} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		h, n, err := parseProxy(b)
		switch {
		case err == nil:
			if n <= 0 || n > len(b) || n > maxProxyV2 {
				t.Fatalf("%q is %d bytes long", b, n)
			}
			if again, m, err := parseProxy(b[:n]); again != h || m != n || err != nil {
				t.Fatalf("%q alone is %v of %d bytes, %v; before it was %v of %d", b[:n], again, m, err, h, n)
			}
			if h.source.IsValid() != h.destination.IsValid() || h.source.Addr().Is4In6() {
				t.Fatalf("%q is %v", b, h)
			}
		case errors.Is(err, errMore):
			if len(b) >= maxProxyV2 {
				t.Fatalf("%d bytes are not enough", len(b))
			}
		default:
			if _, _, err := parseProxy(append(bytes.Clone(b), "PROXY\r\n"...)); !errors.Is(err, errProxy) {
				t.Fatalf("%q was malformed, with more bytes it is %v", b, err)
			}
		}
		if err != nil && h != (proxied{}) {
			t.Fatalf("%v with %v", err, h)
		}
	})
}

func prefixes(t *testing.T, list ...string) []selvage.Prefix {
	t.Helper()
	out := make([]selvage.Prefix, len(list))
	for i, s := range list {
		if err := out[i].UnmarshalText([]byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	return out
}

// exchange sends text and returns all that comes back.
func exchange(t *testing.T, addr, text string) string {
	t.Helper()
	c := dial(t, addr)
	_, _ = io.WriteString(c, text)
	got, _ := io.ReadAll(c) // a reset is an answer too
	return string(got)
}

func TestProxyHeaderNamesTheClient(t *testing.T) {
	e := start(t, hello, nil)
	addr := e.listenOn(t, selvage.Listener{ProxyProtocol: prefixes(t, "127.0.0.0/8")}, selvage.TLS{})
	const ask = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n"
	for header, want := range map[string]string{
		"PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\n":             "192.0.2.7",
		v2(0x21, 0x21, addrs6):                                   "2001:db8::7",
		v2(0x21, 0x00, "\x04\x0b\xb8"+strings.Repeat("x", 3000)): "127.0.0.1",
		v2(0x20, 0x00, ""):                                       "127.0.0.1",
	} {
		if got := exchange(t, addr, header+ask); !strings.HasSuffix(got, "GET a.example / "+want) {
			t.Errorf("%.40q: %q, want the client %s", header, got, want)
		}
	}
	for _, bad := range []string{ask, "PROXY TCP4 x\r\n" + ask, v2(0x21, 0x12, addrs4) + ask} {
		if got := exchange(t, addr, bad); got != "" {
			t.Errorf("%.40q was answered: %q", bad, got)
		}
	}
	eventually(t, "three failures", func() bool { return e.count(e.fails, "proxy_protocol") == 3 })
}

func TestProxyHeaderFromAnybodyElseIsMalformed(t *testing.T) {
	e := start(t, hello, nil)
	for _, from := range [][]selvage.Prefix{nil, prefixes(t, "10.0.0.0/8")} {
		if err := e.Apply(nil, selvage.TLS{}); err != nil {
			t.Fatal(err)
		}
		addr := e.listenOn(t, selvage.Listener{ProxyProtocol: from}, selvage.TLS{})
		got := exchange(t, addr, "PROXY TCP4 192.0.2.7 10.0.0.1 4660 443\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
		if !strings.HasPrefix(got, "HTTP/1.1 400 ") {
			t.Errorf("with %v: %q, want 400", from, got)
		}
		if got := exchange(t, addr, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200 ") {
			t.Errorf("with %v, without a header: %q, want 200", from, got)
		}
	}
}

func TestProxyHeaderStandsBeforeTLSAndHTTP2(t *testing.T) {
	a := newCA(t)
	conf := selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}}
	for _, tt := range []struct {
		name, scheme string
		h2c          bool
	}{{"HTTP/2 over TLS", "https", false}, {"HTTP/1.1", "http", false}, {"HTTP/2", "http", true}} {
		e := start(t, hello, nil)
		l := selvage.Listener{TLS: tt.scheme == "https", ProxyProtocol: prefixes(t, "127.0.0.1")}
		addr := e.listenOn(t, l, conf)
		if got := viaProxy(t, a, addr, tt.scheme, tt.h2c); !strings.HasSuffix(got, tt.scheme+" GET shop.example / 192.0.2.7") {
			t.Errorf("%s: %q, want the client 192.0.2.7", tt.name, got)
		}
		if r := e.record(t, 0); r.Client.Peer != netip.MustParseAddrPort("192.0.2.7:4660") {
			t.Errorf("%s: the record's peer is %v", tt.name, r.Client.Peer)
		}
	}
}
