package http1

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

// malformedAnswers are answers to a GET that are refused at the head or, after
// a good head, in the body.
var malformedAnswers = map[string]struct {
	answer string
	want   selvage.ProxyErrorType
}{
	"no HTTP":                 {"SSH-2.0-OpenSSH_9.2\r\n\r\n", selvage.ResponseProtocolError},
	"HTTP/0.9":                {"<html>\r\n</html>\r\n\r\n", selvage.ResponseProtocolError},
	"HTTP/2 preface":          {"\x00\x00\x12\x04\x00\x00\x00\x00\x00\r\n\r\n", selvage.ResponseProtocolError},
	"empty line first":        {"\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"lower-case version":      {"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"HTTP/1.2":                {"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"HTTP/2.0":                {"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"HTTP/1.10":               {"HTTP/1.10 200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"two spaces":              {"HTTP/1.1  200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"tab in the status line":  {"HTTP/1.1\t200 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"two digits":              {"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"four digits":             {"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"status 099":              {"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"status 600":              {"HTTP/1.1 600 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"signed status":           {"HTTP/1.1 +20 OK\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"no status":               {"HTTP/1.1\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"control in the reason":   {"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"bare LF":                 {"HTTP/1.1 200 OK\nContent-Length: 0\n\n", selvage.ResponseProtocolError},
	"bare LF after a field":   {"HTTP/1.1 200 OK\r\nContent-Length: 0\n\r\n", selvage.ResponseProtocolError},
	"bare CR in a value":      {"HTTP/1.1 200 OK\r\nX: a\rb\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"NUL in a value":          {"HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"DEL in a value":          {"HTTP/1.1 200 OK\r\nX: a\x7fb\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"obs-fold":                {"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"fold in the first field": {"HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 0\r\n\r\n", selvage.ResponseProtocolError},
	"space before the colon":  {"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n", selvage.ResponseProtocolError},
	"no colon":                {"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n", selvage.ResponseProtocolError},
	"no name":                 {"HTTP/1.1 200 OK\r\n: 0\r\n\r\n", selvage.ResponseProtocolError},
	"name with a slash":       {"HTTP/1.1 200 OK\r\nX/Y: 0\r\n\r\n", selvage.ResponseProtocolError},
	"length and chunked":      {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"chunked and length":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"two lengths":             {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello", selvage.ResponseProtocolError},
	"the same length twice":   {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello", selvage.ResponseProtocolError},
	"list of lengths":         {"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\nhello", selvage.ResponseProtocolError},
	"signed length":           {"HTTP/1.1 200 OK\r\nContent-Length: +5\r\n\r\nhello", selvage.ResponseProtocolError},
	"negative length":         {"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", selvage.ResponseProtocolError},
	"hexadecimal length":      {"HTTP/1.1 200 OK\r\nContent-Length: 0x5\r\n\r\nhello", selvage.ResponseProtocolError},
	"empty length":            {"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nhello", selvage.ResponseProtocolError},
	"overflowing length":      {"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551621\r\n\r\nhello", selvage.ResponseProtocolError},
	"unknown coding":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: cow\r\n\r\nhello", selvage.ResponseProtocolError},
	"gzip, chunked":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"identity":                {"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nhello", selvage.ResponseProtocolError},
	"chunked twice":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"two codings":             {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"chunked in HTTP/1.0":     {"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"204 with a body":         {"HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\nhello", selvage.ResponseProtocolError},
	"204 with chunks":         {"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"103 with a length":       {"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello", selvage.ResponseProtocolError},
	"103 with chunks":         {"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n", selvage.ResponseProtocolError},
	"101 unasked":             {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n", selvage.ResponseProtocolError},
	"nine interim answers":    {strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 9) + "HTTP/1.1 200 OK\r\n\r\n", selvage.ResponseProtocolError},
	"large field":             {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", selvage.ResponseHeadTooLarge},
	"endless status line":     {"HTTP/1.1 200 " + strings.Repeat("x", 70<<10), selvage.ResponseHeadTooLarge},
	"many fields":             {"HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 300) + "\r\n", selvage.ResponseHeadTooLarge},
	"nothing":                 {"", selvage.ConnectionTerminated},
	"half a status line":      {"HTTP/1.1 2", selvage.ResponseIncomplete},
	"half a head":             {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", selvage.ResponseIncomplete},
	"half an interim answer":  {"HTTP/1.1 103 Early Hints\r\n\r\nHTTP", selvage.ResponseIncomplete},
	"half a body":             {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", selvage.ResponseIncomplete},
	"no body":                 {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", selvage.ResponseIncomplete},
	"half a chunk line":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5", selvage.ResponseIncomplete},
	"half a chunk":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", selvage.ResponseIncomplete},
	"no last chunk":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", selvage.ResponseIncomplete},
	"half the last chunk":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n", selvage.ResponseIncomplete},
	"half the trailers":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n", selvage.ResponseIncomplete},
	"no chunk size":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", selvage.ResponseProtocolError},
	"0x chunk size":           {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"signed chunk size":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"space after the size":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"overflowing chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"LF behind a chunk size":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"LF behind a chunk":       {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n", selvage.ResponseProtocolError},
	"chunk too long":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"long chunk extension":    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;" + strings.Repeat("x", 5000) + "\r\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"quoted chunk extension":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;a=\"\r\n0\r\n\r\n\"\r\nhello\r\n0\r\n\r\n", selvage.ResponseProtocolError},
	"framing trailer":         {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n", selvage.ResponseProtocolError},
	"folded trailer":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: a\r\n b\r\n\r\n", selvage.ResponseProtocolError},
	"large trailers":          {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + strings.Repeat("x", 70<<10) + "\r\n\r\n", selvage.ResponseHeadTooLarge},
}

func TestMalformedAnswerIsRefusedAndItsConnectionClosed(t *testing.T) {
	for name, test := range malformedAnswers {
		for _, driver := range []string{"tcp", "portable"} {
			t.Run(name+"/"+driver, func(t *testing.T) {
				var limits atomic.Int32
				s, tr := startScripted(t, driver, func(c net.Conn, n int) {
					serve := answering(func(m int, _ *http.Request) string {
						if n == 0 && m == 1 {
							return test.answer
						}
						return countedAnswer("good")
					})
					if n > 0 {
						serve(c, n)
						return
					}
					// The second answer of the first connection is the bad one; then the origin is silent.
					rd := &stopAfter{Conn: c, writes: 2}
					serve(rd, n)
				})
				tr.OnLimit = func(string) { limits.Add(1) }
				mustGet(t, tr, "good")
				_, err := get(t, tr)
				e := wantType(t, err, test.want)
				if !e.Sent || !e.Reused {
					t.Errorf("Sent %v, Reused %v, want both", e.Sent, e.Reused)
				}
				if e.Type == selvage.ResponseIncomplete != errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("error %v is not as its type", err)
				}
				if e.Type == selvage.ResponseHeadTooLarge && limits.Load() != 1 {
					t.Errorf("%d limits noticed, want 1", limits.Load())
				}
				mustGet(t, tr, "good")
				if n := s.dials.Load(); n != 2 {
					t.Errorf("%d connections, want 2", n)
				}
			})
		}
	}
}

// stopAfter ends the connection's sending side after so many writes.
type stopAfter struct {
	net.Conn
	writes int
}

func (s *stopAfter) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p)
	if s.writes--; s.writes == 0 {
		s.Conn.(interface{ CloseWrite() error }).CloseWrite()
	}
	return n, err
}

func TestUnusualAnswersArePassed(t *testing.T) {
	for name, test := range map[string]struct {
		answer, status, body string
		header, trailer      http.Header
	}{
		"unknown status":      {"HTTP/1.1 299 Sure\r\nContent-Length: 1\r\n\r\nx", "299 Sure", "x", http.Header{"Content-Length": {"1"}}, nil},
		"unknown 5xx":         {"HTTP/1.1 599 \r\nContent-Length: 0\r\n\r\n", "599 ", "", http.Header{"Content-Length": {"0"}}, nil},
		"no reason":           {"HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n", "200 ", "", http.Header{"Content-Length": {"0"}}, nil},
		"no space":            {"HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n", "200 ", "", http.Header{"Content-Length": {"0"}}, nil},
		"reason in UTF-8":     {"HTTP/1.1 200 schön\r\nContent-Length: 0\r\n\r\n", "200 schön", "", http.Header{"Content-Length": {"0"}}, nil},
		"until close":         {"HTTP/1.1 200 OK\r\n\r\nhello", "200 OK", "hello", http.Header{}, nil},
		"HTTP/1.0":            {"HTTP/1.0 200 OK\r\n\r\nhello", "200 OK", "hello", http.Header{}, nil},
		"204 with length 0":   {"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", "204 No Content", "", http.Header{}, nil},
		"repeated field":      {"HTTP/1.1 200 OK\r\nSet-Cookie: a\r\nx: 1\r\nset-cookie: b\r\nX: 2\r\nContent-Length: 0\r\n\r\n", "200 OK", "", http.Header{"Set-Cookie": {"a", "b"}, "X": {"1", "2"}, "Content-Length": {"0"}}, nil},
		"white space":         {"HTTP/1.1 200 OK\r\nX:\t a b \t\r\nContent-Length:0\r\n\r\n", "200 OK", "", http.Header{"X": {"a b"}, "Content-Length": {"0"}}, nil},
		"chunk extension":     {"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n000;c\r\n\r\n", "200 OK", "hi", http.Header{}, nil},
		"trailers":            {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 1\r\nX-More: 2\r\n\r\n", "200 OK", "hi", http.Header{}, http.Header{"X-Sum": {"1"}, "X-More": {"2"}}},
		"forbidden trailers":  {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Content-Length, Set-Cookie\r\n\r\n0\r\nSet-Cookie: 1\r\nCache-Control: private\r\nX: y\r\n\r\n", "200 OK", "", http.Header{}, http.Header{"X": {"y"}}},
		"eight interim first": {strings.Repeat("HTTP/1.1 199 Wait\r\n\r\n", 8) + "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "200 OK", "", http.Header{"Content-Length": {"0"}}, nil},
		"large head":          {"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 60<<10) + "\r\nContent-Length: 2\r\n\r\nhi", "200 OK", "hi", http.Header{"X": {strings.Repeat("x", 60<<10)}, "Content-Length": {"2"}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			_, tr := startScripted(t, "tcp", func(c net.Conn, n int) {
				answering(func(int, *http.Request) string { return test.answer })(&stopAfter{c, 1}, n)
			})
			resp, err := tr.RoundTrip(newRequest(t, "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.Status != test.status || string(body) != test.body {
				t.Errorf("got %q %q, want %q %q", resp.Status, body, test.status, test.body)
			}
			if diff := cmp.Diff(test.header, resp.Header); diff != "" {
				t.Errorf("header (-want +got)\n%s", diff)
			}
			if diff := cmp.Diff(test.trailer, resp.Trailer); diff != "" {
				t.Errorf("trailer (-want +got)\n%s", diff)
			}
		})
	}
}

func TestInterimAnswersArePassedInOrder(t *testing.T) {
	_, tr := startScripted(t, "tcp", answering(func(int, *http.Request) string {
		return "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nLink: </b>\r\n\r\n" + countedAnswer("ok")
	}))
	var got []string
	r := newRequest(t, "GET", "/", nil)
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		Got1xxResponse: func(code int, h textproto.MIMEHeader) error {
			got = append(got, fmt.Sprint(code, h["Link"]))
			return nil
		},
		Got100Continue: func() { got = append(got, "continue") },
	}))
	for range 2 {
		resp, err := tr.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
	}
	want := []string{"continue", "100 []", "103 [</a> </b>]", "continue", "100 []", "103 [</a> </b>]"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestHeadAnswerHasNoBody(t *testing.T) {
	for name, answer := range map[string]string{
		"length":  "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n",
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"neither": "HTTP/1.1 200 OK\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s, tr := startScripted(t, "tcp", answering(func(int, *http.Request) string { return answer }))
			for range 2 {
				resp, err := tr.RoundTrip(newRequest(t, "HEAD", "/", nil))
				if err != nil {
					t.Fatal(err)
				}
				want := int64(-1)
				if name == "length" {
					want = 50
				}
				if b, err := io.ReadAll(resp.Body); len(b) > 0 || err != nil || resp.ContentLength != want {
					t.Errorf("%d bytes, %v, length %d", len(b), err, resp.ContentLength)
				}
			}
			if n := s.dials.Load(); n != 1 {
				t.Errorf("%d connections, want 1", n)
			}
		})
	}
}

func TestUpgradeToAnotherProtocolIsRefused(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		want   selvage.ProxyErrorType
	}{
		"other":    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: tcp\r\nConnection: Upgrade\r\n\r\n", selvage.UpgradeFailed},
		"none":     {"HTTP/1.1 101 Switching Protocols\r\n\r\n", selvage.UpgradeFailed},
		"HTTP/1.0": {"HTTP/1.0 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", selvage.ResponseProtocolError},
	} {
		t.Run(name, func(t *testing.T) {
			_, tr := startScripted(t, "tcp", answering(func(int, *http.Request) string { return test.answer }))
			r := newRequest(t, "GET", "/", nil)
			r.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
			_, err := tr.RoundTrip(r)
			wantType(t, err, test.want)
		})
	}
}

func TestBodyIsTheSameByEveryWayOfReading(t *testing.T) {
	big := strings.Repeat("0123456789abcdef", 20<<10)
	answers := map[string]string{
		"counted": countedAnswer(big),
		"small":   countedAnswer("hello"),
		"chunked": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
		"close":   "HTTP/1.1 200 OK\r\n\r\n" + big,
	}
	for at, size := 0, 1; at < len(big); at, size = at+size, size*3 {
		end := min(at+size, len(big))
		answers["chunked"] += fmt.Sprintf("%x\r\n%s\r\n", end-at, big[at:end])
	}
	answers["chunked"] += "0\r\n\r\n"
	for name, answer := range answers {
		want := big
		if name == "small" {
			want = "hello"
		}
		for way, read := range map[string]func(io.Reader) ([]byte, error){
			"all":   io.ReadAll,
			"small": func(r io.Reader) ([]byte, error) { return io.ReadAll(&smallReads{r}) },
			"write to": func(r io.Reader) ([]byte, error) {
				var b bytes.Buffer
				_, err := r.(io.WriterTo).WriteTo(&b)
				return b.Bytes(), err
			},
			"both": func(r io.Reader) ([]byte, error) {
				b := bytes.NewBuffer(make([]byte, 0, 3))
				p := make([]byte, 3)
				n, err := io.ReadFull(r, p)
				b.Write(p[:n])
				if err == nil {
					_, err = r.(io.WriterTo).WriteTo(b)
				}
				return b.Bytes(), err
			},
		} {
			t.Run(name+"/"+way, func(t *testing.T) {
				_, tr := startScripted(t, "tcp", func(c net.Conn, n int) {
					answering(func(int, *http.Request) string { return answer })(&stopAfter{c, 1}, n)
				})
				resp, err := tr.RoundTrip(newRequest(t, "GET", "/", nil))
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if got, err := read(resp.Body); err != nil || string(got) != want {
					t.Errorf("got %d bytes, %v, want %d", len(got), err, len(want))
				}
				if n, err := resp.Body.Read(make([]byte, 1)); n != 0 || err != io.EOF {
					t.Errorf("after the end: %d, %v", n, err)
				}
			})
		}
	}
}

type smallReads struct{ r io.Reader }

func (s *smallReads) Read(p []byte) (int, error) { return s.r.Read(p[:min(len(p), 7)]) }

func TestClosedEarlyIsKeptOnlyIfTheRestIsThere(t *testing.T) {
	for name, test := range map[string]struct {
		answer string
		dials  int32
	}{
		"counted":      {countedAnswer("hello"), 1},
		"chunked":      {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 1},
		"not all":      {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", 2},
		"no end yet":   {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 2},
		"never":        {"HTTP/1.1 200 OK\r\n\r\nhello", 2},
		"large":        {countedAnswer(strings.Repeat("x", 1<<20)), 2},
		"bytes behind": {countedAnswer("hello") + "x", 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, tr := startScripted(t, "tcp", answering(func(int, *http.Request) string { return test.answer }))
			for range 2 {
				resp, err := tr.RoundTrip(newRequest(t, "GET", "/", nil))
				if err != nil {
					t.Fatal(err)
				}
				resp.Body.Close()
				if _, err := resp.Body.Read(make([]byte, 1)); err == nil {
					t.Error("reading after Close succeeded")
				}
			}
			if n := s.dials.Load(); n != test.dials {
				t.Errorf("%d connections, want %d", n, test.dials)
			}
		})
	}
}

func TestCloseEndsARunningRead(t *testing.T) {
	for _, driver := range drivers {
		t.Run(driver, func(t *testing.T) {
			_, tr := startScripted(t, driver, answering(func(int, *http.Request) string {
				return "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello"
			}))
			resp, err := tr.RoundTrip(newRequest(t, "GET", "/", nil))
			if err != nil {
				t.Fatal(err)
			}
			got := make(chan struct{})
			done := make(chan error)
			go func() {
				io.ReadFull(resp.Body, make([]byte, 5))
				close(got)
				_, err := resp.Body.Read(make([]byte, 1))
				done <- err
			}()
			<-got
			resp.Body.Close()
			if err := <-done; err == nil || err == io.EOF {
				t.Errorf("the read ended with %v", err)
			}
			if tr.pool.open != 0 {
				t.Errorf("%d connections are counted, want 0", tr.pool.open)
			}
		})
	}
}
