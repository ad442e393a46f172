package listen

import (
	"bytes"
	"context"
	"encoding/binary"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/http1"
)

// records are a message in handshake records of the given size.
func records(message []byte, size int) (out []byte) {
	for len(message) > 0 {
		part := message[:min(size, len(message))]
		message = message[len(part):]
		out = append(out, recordHandshake, 3, 1)
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(part))), part...)
	}
	return out
}

func someHello(length int) []byte {
	return append([]byte{messageHelloType, byte(length >> 16), byte(length >> 8), byte(length)}, bytes.Repeat([]byte("h"), length)...)
}

func TestHelloIsTakenOutOfItsRecords(t *testing.T) {
	hello := someHello(700)
	other := append([]byte{14, 0, 0, 1}, 'x')
	for name, c := range map[string]struct {
		came []byte
		want []byte
	}{
		"one record":                    {records(hello, 1<<14), hello},
		"many records":                  {records(hello, 7), hello},
		"more behind it":                {append(records(hello, 1<<14), "change cipher spec and so on"...), hello},
		"another message in its record": {records(append(someHello(3), other...), 1<<14), someHello(3)},
		"cut":                           {records(hello, 1<<14)[:300], nil},
		"cut in a header":               {records(hello, 7)[:14], nil},
		"another message":               {records(other, 1<<14), nil},
		"an alert":                      {append([]byte{21, 3, 1, 0, 2, 2, 40}, records(hello, 100)...), nil},
		"empty records for ever":        {bytes.Repeat([]byte{22, 3, 1, 0, 0}, 100), nil},
		"nothing":                       {nil, nil},
	} {
		if got := helloOf(c.came); !bytes.Equal(got, c.want) {
			t.Errorf("%s: got %d bytes, want %d", name, len(got), len(c.want))
		}
	}
}

func FuzzHelloOf(f *testing.F) {
	f.Add(records(someHello(20), 7))
	f.Add(records(someHello(20), 100)[:20])
	f.Fuzz(func(t *testing.T, came []byte) {
		hello := helloOf(came)
		if hello == nil {
			return
		}
		if len(hello) < messageHeader || len(hello) != messageHeader+(int(hello[1])<<16|int(hello[2])<<8|int(hello[3])) {
			t.Errorf("%d bytes, but it says %x", len(hello), hello[:4])
		}
		if got := helloOf(append(bytes.Clone(came), 1, 2, 3)); !bytes.Equal(got, hello) {
			t.Error("what comes behind it changes it")
		}
	})
}

// heard is a connection that remembers what was written to it first.
type heard struct {
	net.Conn
	first []byte
}

func (h *heard) Write(p []byte) (int, error) {
	if h.first == nil {
		h.first = bytes.Clone(p)
	}
	return h.Conn.Write(p)
}

// keeping is a group whose handler hands on the handshake of its requests.
func keeping(t *testing.T, set func(*Group)) (*edge, chan *http1.Handshake) {
	t.Helper()
	shakes := make(chan *http1.Handshake, 10)
	return start(t, func(_ http.ResponseWriter, r *http.Request) { shakes <- http1.HandshakeOf(r.Context()) }, set), shakes
}

func TestRequestsKnowHowTheirConnectionBegan(t *testing.T) {
	a := newCA(t)
	e, shakes := keeping(t, nil)
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}})
	for name, set := range map[string]func(*http.Protocols){"HTTP/1.1": onlyHTTP1, "HTTP/2": onlyH2} {
		c := client(t, a.pool, set)
		var said *heard
		c.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			nc, err := new(net.Dialer).DialContext(ctx, network, addr)
			said = &heard{Conn: nc}
			return said, err
		}
		for range 2 {
			get(t, c, "https://"+addr)
			if got := (<-shakes).Hello; len(got) == 0 || !bytes.Equal(got, helloOf(said.first)) {
				t.Errorf("%s: the hello has %d bytes, want the %d that were sent", name, len(got), len(said.first)-recordHeader)
			}
		}
	}
	get(t, client(t, nil, onlyHTTP1), "http://"+plain(t, e))
	if got := <-shakes; got.Hello != nil || got.Distrust != nil {
		t.Errorf("without TLS: %+v", got)
	}
}

func TestAHelloThatIsTooLongIsNotKept(t *testing.T) {
	a := newCA(t)
	e, shakes := keeping(t, nil)
	addr := e.listenOn(t, selvage.Listener{TLS: true}, selvage.TLS{Certificates: []selvage.Certificate{a.issue(t, "shop", soon(), "shop.example")}})
	c := client(t, a.pool, onlyHTTP1)
	for i := range 100 { // each name has a length of its own, up to 255 bytes
		c.Transport.(*http.Transport).TLSClientConfig.NextProtos = append(c.Transport.(*http.Transport).TLSClientConfig.NextProtos, strings.Repeat("p", 100+i))
	}
	c.Transport.(*http.Transport).TLSClientConfig.NextProtos = append(c.Transport.(*http.Transport).TLSClientConfig.NextProtos, "http/1.1")
	get(t, c, "https://"+addr)
	if got := (<-shakes).Hello; got != nil {
		t.Errorf("%d bytes are kept", len(got))
	}
	if n := e.count(e.hits, "client_hello"); n != 1 {
		t.Errorf("counted %d times, want once", n)
	}
}

// What is kept of a handshake is the message alone: what it was read into is used again.
func TestKeepingAHelloCostsOnePieceOfMemory(t *testing.T) {
	came := records(someHello(1700), 1<<14)
	var kept []byte
	if n := testing.AllocsPerRun(100, func() { kept = helloOf(came) }); n > 1 {
		t.Errorf("%v allocations, want the message alone", n)
	}
	if len(kept) != 1704 || &kept[0] == &came[recordHeader] {
		t.Errorf("%d bytes are kept, want a copy of 1704", len(kept))
	}
}
