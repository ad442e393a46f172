package fastly

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"net"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// writing is a message in the making.
type writing []byte

func (w *writing) numbers(list ...uint16) {
	for _, n := range list {
		*w = binary.BigEndian.AppendUint16(*w, n)
	}
}

// vector writes what stands behind its length of size bytes.
func (w *writing) vector(size int, inside func(*writing)) {
	var part writing
	inside(&part)
	for shift := 8 * (size - 1); shift >= 0; shift -= 8 {
		*w = append(*w, byte(len(part)>>shift))
	}
	*w = append(*w, part...)
}

// written is a hello by hand, of which a test says what fingerprints look at.
type written struct {
	version           uint16
	ciphers           []uint16
	extensions        []uint16 // nil: it has no list of them
	groups, versions  []uint16
	points            []byte
	signatures        []uint16
	alpn              []string
	session, trailing string
}

func (h written) message() []byte {
	out := writing{1}
	out.vector(3, func(w *writing) {
		w.numbers(h.version)
		*w = append(*w, make([]byte, 32)...)
		w.vector(1, func(w *writing) { *w = append(*w, h.session...) })
		w.vector(2, func(w *writing) { w.numbers(h.ciphers...) })
		w.vector(1, func(w *writing) { *w = append(*w, 0) })
		if h.extensions == nil {
			return
		}
		w.vector(2, func(w *writing) {
			for _, kind := range h.extensions {
				w.numbers(kind)
				w.vector(2, func(w *writing) { h.extension(w, kind) })
			}
		})
	})
	return append(out, h.trailing...)
}

func (h written) extension(w *writing, kind uint16) {
	list := map[uint16][]uint16{extGroups: h.groups, extSignatures: h.signatures}
	switch kind {
	case extGroups, extSignatures:
		w.vector(2, func(w *writing) { w.numbers(list[kind]...) })
	case extVersions:
		w.vector(1, func(w *writing) { w.numbers(h.versions...) })
	case extPoints:
		w.vector(1, func(w *writing) { *w = append(*w, h.points...) })
	case extALPN:
		w.vector(2, func(w *writing) {
			for _, name := range h.alpn {
				w.vector(1, func(w *writing) { *w = append(*w, name...) })
			}
		})
	}
}

// browser is the hello of the example in the definition of JA4, with values of
// RFC 8701 wherever that browser puts them.
func browser() written {
	return written{
		version: 0x0303, session: strings.Repeat("s", 32),
		ciphers: []uint16{0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035},
		extensions: []uint16{
			0x4a4a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023, 0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0xfafa,
		},
		groups: []uint16{0x2a2a, 29, 23, 24}, versions: []uint16{0x1a1a, 0x0304, 0x0303}, points: []byte{0},
		signatures: []uint16{0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601}, alpn: []string{"h2", "http/1.1"},
	}
}

func TestFingerprintsAreThoseOfTheirDefinitions(t *testing.T) {
	for _, c := range []struct {
		name             string
		hello            written
		ja3, ja3MD5, ja4 string
	}{
		{
			name:  "an example of JA3",
			hello: written{version: 769, ciphers: []uint16{47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4}, extensions: []uint16{0, 10, 11}, groups: []uint16{23, 24, 25}, points: []byte{0}},
			ja3:   "769,47-53-5-10-49161-49162-49171-49172-50-56-19-4,0-10-11,23-24-25,0", ja3MD5: "ada70206e40642a3e4461f35503241d5",
		},
		{
			name:  "an example of JA3 without extensions",
			hello: written{version: 769, ciphers: []uint16{4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99}},
			ja3:   "769,4-5-10-9-100-98-3-6-19-18-99,,,", ja3MD5: "de350869b8c85de67a350c8d186f11e6",
			ja4: "t10i110000_" + shortHash("0003,0004,0005,0006,0009,000a,0012,0013,0062,0063,0064") + "_000000000000",
		},
		{
			name: "the example of JA4", hello: browser(), ja4: "t13d1516h2_8daaf6152771_e5627efa2ab1",
			ja3: "771,4865-4866-4867-49195-49199-49196-49200-52393-52392-49171-49172-156-157-47-53,27-0-51-16-17513-23-45-13-5-35-18-43-65281-11-10-21,29-23-24,0",
		},
		{name: "no cipher", hello: written{version: 0x0302}, ja4: "t11i000000_000000000000_000000000000"},
		{name: "only what JA4 leaves out", hello: written{version: 0x0300, extensions: []uint16{0, 16}, alpn: []string{"x"}}, ja4: "ts3d0002xx_000000000000_000000000000"},
		{name: "a version of nobody's", hello: written{version: 0x0909}, ja4: "t00i000000_000000000000_000000000000"},
	} {
		h, ok := parseHello(c.hello.message())
		if !ok {
			t.Errorf("%s: it is not read", c.name)
			continue
		}
		if got := h.ja3(); c.ja3 != "" && got != c.ja3 {
			t.Errorf("%s: JA3 of\n%s, want\n%s", c.name, got, c.ja3)
		}
		if got := hex.EncodeToString(h.ja3MD5()); c.ja3MD5 != "" && got != c.ja3MD5 {
			t.Errorf("%s: JA3 %s, want %s", c.name, got, c.ja3MD5)
		}
		if got := h.ja4(); c.ja4 != "" && got != c.ja4 {
			t.Errorf("%s: JA4 %s, want %s", c.name, got, c.ja4)
		}
	}
}

func TestJA4TellsProtocolsByTheirEnds(t *testing.T) {
	for alpn, want := range map[string]string{
		"h2": "h2", "http/1.1": "h1", "h": "hh", "\xab": "ab", "\xab\xcd": "ad", "\x30\xab": "3b", "\x30\x31\xab\xcd": "3d", "\x30\xab\xcd\x31": "01",
	} {
		h := browser()
		h.alpn = []string{alpn, "other"}
		parsed, ok := parseHello(h.message())
		if got := parsed.ja4ALPN(); !ok || got != want {
			t.Errorf("ALPN %q: got %q, want %q", alpn, got, want)
		}
	}
	h := browser()
	h.ciphers = nil
	for n := range uint16(120) {
		h.ciphers = append(h.ciphers, 0x0100+n)
	}
	if parsed, _ := parseHello(h.message()); !strings.HasPrefix(parsed.ja4(), "t13d9916h2_") {
		t.Errorf("of 120 ciphers: %s", parsed.ja4())
	}
}

// goHello is what a client of the standard library says, and what the standard library's server reads.
func goHello(t *testing.T, conf *tls.Config) ([]byte, *tls.ClientHelloInfo) {
	t.Helper()
	client, server := net.Pipe()
	done := make(chan error, 1)
	go func() { done <- tls.Client(client, conf).Handshake() }() // waited for below
	var read *tls.ClientHelloInfo
	heard := &hearing{Conn: server}
	err := tls.Server(heard, &tls.Config{GetConfigForClient: func(info *tls.ClientHelloInfo) (*tls.Config, error) {
		read = info
		return nil, errTest
	}}).Handshake()
	server.Close()
	<-done
	if !errors.Is(err, errTest) || read == nil {
		t.Fatalf("handshake: %v", err)
	}
	return heard.data[5 : 5+int(binary.BigEndian.Uint16(heard.data[3:]))], read
}

type hearing struct {
	net.Conn
	data []byte
}

func (h *hearing) Read(p []byte) (int, error) {
	n, err := h.Conn.Read(p)
	h.data = append(h.data, p[:n]...)
	return n, err
}

func TestHellosAreReadAsTheStandardLibraryReadsThem(t *testing.T) {
	for _, conf := range []*tls.Config{
		{ServerName: "shop.example", NextProtos: []string{"h2", "http/1.1"}},
		{InsecureSkipVerify: true},
		{ServerName: "shop.example", MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256}},
		{ServerName: "shop.example", MinVersion: tls.VersionTLS13, CurvePreferences: []tls.CurveID{tls.CurveP256}},
	} {
		message, info := goHello(t, conf)
		h, ok := parseHello(message)
		if !ok {
			t.Errorf("%v: it is not read", conf.ServerName)
			continue
		}
		var groups, signatures []uint16
		for _, g := range info.SupportedCurves {
			groups = append(groups, uint16(g))
		}
		for _, s := range info.SignatureSchemes {
			signatures = append(signatures, uint16(s))
		}
		alpn := ""
		if len(info.SupportedProtos) > 0 {
			alpn = info.SupportedProtos[0]
		}
		if !slices.Equal(h.ciphers, info.CipherSuites) || !slices.Equal(h.extensions, info.Extensions) || !slices.Equal(h.groups, groups) ||
			!slices.Equal(h.signatures, signatures) || !bytes.Equal(h.points, info.SupportedPoints) || string(h.alpn) != alpn ||
			h.hasServerID != (info.ServerName != "") || h.hasVersions && !slices.Equal(h.versions, info.SupportedVersions) {
			t.Errorf("got %+v\nwant %+v", h, info)
		}
	}
}

// overTLS is a request of a client with a certificate or without.
func overTLS(t *testing.T, hello []byte, distrust error, state tls.ConnectionState) (*bench, uint32) {
	t.Helper()
	r := httptest.NewRequest("GET", "https://shop.example/", nil)
	r.TLS = &state
	b := newBench(t, Options{}, r, nil)
	b.x.down.Client.Hello, b.x.down.Client.Distrust = hello, distrust
	b.must("http_req.body_downstream_get", 0, 4)
	return b, b.u32(0)
}

func TestGuestsAreToldHowTheHandshakeBegan(t *testing.T) {
	message := browser().message()
	b, h := overTLS(t, message, nil, tls.ConnectionState{Version: tls.VersionTLS13})
	b.must("http_downstream.downstream_tls_client_hello", h, buffer, bufferSize, 0)
	if b.got() != string(message) {
		t.Errorf("the hello is %d bytes, want %d", len(b.got()), len(message))
	}
	b.refused(BufferLength, "http_downstream.downstream_tls_client_hello", h, buffer, 16, 0)
	if int(b.u32(0)) != len(message) {
		t.Errorf("it needs %d bytes, want %d", b.u32(0), len(message))
	}
	b.must("http_downstream.downstream_tls_ja3_md5", h, buffer, 0)
	parsed, _ := parseHello(message)
	if b.got() != string(parsed.ja3MD5()) {
		t.Errorf("JA3 is %x", b.got())
	}
	b.refused(Invalid, "http_downstream.downstream_tls_ja3_md5", h, 1<<16-15, 0)
	for _, name := range []string{"http_downstream.downstream_tls_ja4", "http_req.downstream_tls_ja4"} {
		args := []any{h, buffer, bufferSize, 0}
		if strings.HasPrefix(name, "http_req.") {
			args = args[1:]
		}
		b.must(name, args...)
		if b.got() != "t13d1516h2_8daaf6152771_e5627efa2ab1" {
			t.Errorf("%s: %s", name, b.got())
		}
	}
}

// Fastly's library for Go ends a program that is told over TLS that there is no hello, no name or no fingerprint.
func TestOverTLSWhatIsNotKnownIsEmpty(t *testing.T) {
	b, h := overTLS(t, nil, nil, tls.ConnectionState{})
	for _, name := range []string{"client_hello", "ja4", "client_servername", "cipher_openssl_name", "protocol", "raw_client_certificate"} {
		b.must("http_downstream.downstream_tls_"+name, h, buffer, bufferSize, 0)
		if b.u32(0) != 0 && name != "cipher_openssl_name" {
			t.Errorf("%s: got %q, want nothing", name, b.got())
		}
	}
	b.must("http_downstream.downstream_tls_ja3_md5", h, buffer, 0)
	if b.u32(0) != 0 {
		t.Errorf("JA3: got %d bytes, want none", b.u32(0))
	}
	b.must("http_downstream.downstream_tls_client_cert_verify_result", h, 0)
	if b.u32(0) != certificateMissing {
		t.Errorf("without a certificate: %d", b.u32(0))
	}
}

func TestGuestsAreToldWhatIsThoughtOfACertificate(t *testing.T) {
	cert := &x509.Certificate{Raw: []byte("some DER")}
	for _, c := range []struct {
		why    error
		chains [][]*x509.Certificate
		want   uint32
	}{
		{nil, [][]*x509.Certificate{{cert}}, certificateGood},
		{nil, nil, certificateUnknown},
		{x509.UnknownAuthorityError{}, nil, certificateNobodys},
		{x509.CertificateInvalidError{Reason: x509.Expired}, nil, certificateExpired},
		{x509.CertificateInvalidError{Reason: x509.IncompatibleUsage}, nil, certificateBad},
	} {
		b, h := overTLS(t, nil, c.why, tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}, VerifiedChains: c.chains})
		b.must("http_downstream.downstream_tls_client_cert_verify_result", h, 0)
		if b.u32(0) != c.want {
			t.Errorf("%v: got %d, want %d", c.why, b.u32(0), c.want)
		}
		b.must("http_downstream.downstream_tls_raw_client_certificate", h, buffer, bufferSize, 0)
		if block, rest := pem.Decode([]byte(b.got())); block == nil || string(block.Bytes) != "some DER" || len(rest) > 0 {
			t.Errorf("the certificate is %q, want PEM", b.got())
		}
	}
}

var ja4Form = regexp.MustCompile(`^t(13|12|11|10|s3|s2|00)[di]\d\d\d\d[0-9A-Za-z]{2}_[0-9a-f]{12}_[0-9a-f]{12}$`)

// FuzzClientHello reads whatever bytes: a fingerprint has its form, and is the
// same for the same message.
func FuzzClientHello(f *testing.F) {
	f.Add(browser().message())
	f.Add(written{version: 0x0301, ciphers: []uint16{1}}.message())
	f.Add(written{version: 0x0303, trailing: "more"}.message())
	f.Fuzz(func(t *testing.T, message []byte) {
		h, ok := parseHello(message)
		if !ok {
			return
		}
		if !ja4Form.MatchString(h.ja4()) || strings.Count(h.ja3(), ",") != 4 {
			t.Errorf("JA4 %q, JA3 %q", h.ja4(), h.ja3())
		}
		if _, ok := parseHello(message[:len(message)-1]); ok {
			t.Error("a message that is cut is read too")
		}
		again, _ := parseHello(slices.Clone(message))
		if again.ja4() != h.ja4() || again.ja3() != h.ja3() {
			t.Error("it is another one when it is read again")
		}
	})
}
