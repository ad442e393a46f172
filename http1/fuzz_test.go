package http1

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
)

// goodRequests are whole requests, for seeds and for comparing with net/http.
var goodRequests = []string{
	usualText,
	"GET / HTTP/1.0\r\n\r\n",
	"HEAD /a?b=c HTTP/1.1\r\nHost: x:80\r\n\r\n",
	"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
	"GET http://x.example/a%20b?c=%zz HTTP/1.1\r\nHost: X.example\r\n\r\n",
	"GET //a//b/../c;d=e?f?g HTTP/1.1\r\nHost: [::1]:8080\r\nX-Empty:\r\nx_under: 1\r\n\r\n",
	"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
	"POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: Chunked\r\nTrailer: X-Sum\r\n\r\n5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n",
	"DELETE /a HTTP/1.1\r\nHost: x\r\nConnection: close, te\r\nTE: trailers\r\nCookie: a\r\nCookie: b\r\n\r\n",
	"get /%41%00|{}^<>\"\\ HTTP/1.1\r\nHost: a-b_c.d\r\nX-Opaque: \xe4\xf6\t\xfc\r\n\r\n",
	"PUT /? HTTP/1.1\r\nHost: x.\r\nContent-Length: 0\r\nExpect: 100-continue\r\nContent-Type: a/b\r\n\r\n",
}

const usualText = "GET /path/of/a/page?q=1 HTTP/1.1\r\nHost: shop.example\r\nUser-Agent: test/1.0\r\nAccept: */*\r\n" +
	"Accept-Encoding: gzip\r\nCookie: a=b; c=d\r\n\r\n"

func seeds(f *testing.F, add func(text string)) {
	f.Helper()
	for _, text := range goodRequests {
		add(text)
	}
	for _, m := range malformed {
		if len(m.text) < 1000 {
			text := strings.Replace(m.text, "BODY", "POST /body HTTP/1.1\r\nHOSTTransfer-Encoding: chunked\r\n\r\n", 1)
			add(strings.Replace(text, "HOST", "Host: x\r\n", 1))
		}
	}
}

// seenRequest is what both readers have to agree on.
type seenRequest struct {
	Method, Host, URI, Proto string
	URL                      url.URL
	Header, Trailer          http.Header
	Length                   int64
	Coding                   []string
	Body                     string
}

func seen(r *http.Request, body []byte) seenRequest {
	header := r.Header.Clone()
	if header.Get("Pragma") == "no-cache" {
		delete(header, "Cache-Control") // net/http adds one
	}
	trailer := maps.Clone(r.Trailer)
	maps.DeleteFunc(trailer, func(k string, v []string) bool { return len(v) == 0 || neverTrailer.has(LookUpName(k)) })
	if len(trailer) == 0 {
		trailer = nil
	}
	return seenRequest{r.Method, r.Host, r.RequestURI, r.Proto, *r.URL, header, trailer, r.ContentLength, r.TransferEncoding, string(body)}
}

// readOne serves text and says what the first request was, if one was let
// through with its whole body.
func readOne(text []byte) (got seenRequest, ok bool) {
	first := true
	s := &Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !first {
			return
		}
		first = false
		body, err := io.ReadAll(r.Body)
		if err == nil {
			got, ok = seen(r, body), true
		}
		panic(http.ErrAbortHandler)
	})}
	_, server := memPair()
	server.in.ended = true
	s.ServeConn(context.Background(), server, testInfo, text)
	return got, ok
}

// FuzzRequest holds the server's reading of a request against net/http's: what
// it lets through net/http reads too, and the same.
func FuzzRequest(f *testing.F) {
	seeds(f, func(text string) { f.Add([]byte(text)) })
	f.Fuzz(func(t *testing.T, text []byte) {
		got, ok := readOne(text)
		if !ok {
			return
		}
		r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			t.Fatalf("let through %q, which net/http refuses: %v", text, err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatalf("let through the body of %q, which net/http refuses: %v", text, err)
		}
		if got.URI[0] != '/' && got.URI != "*" {
			r.Host = got.Host // net/http takes the target's spelling, which is ours; they agree but for case
		}
		delete(r.Header, "Upgrade")
		delete(got.Header, "Upgrade")
		delete(r.Header, "Http2-Settings")
		delete(got.Header, "Http2-Settings")
		if diff := cmp.Diff(seen(r, body), got); diff != "" {
			t.Fatalf("%q is read differently (-net/http +ours)\n%s", text, diff)
		}
	})
}

// FuzzChunked holds the chunk reader against net/http's, in pieces of any size.
func FuzzChunked(f *testing.F) {
	for _, m := range malformed {
		if body, ok := strings.CutPrefix(m.text, "BODY"); ok && len(body) < 1000 {
			f.Add([]byte(body), uint8(3), uint8(2))
		}
	}
	f.Add([]byte("5;a=b\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nrest"), uint8(1), uint8(7))
	f.Fuzz(func(t *testing.T, text []byte, piece, room uint8) {
		in := &input{src: &pieces{text, int(piece)%9 + 1}}
		var b bodyReader
		b.start(in, framing{chunked, -1}, testLimits)
		var body []byte
		buf := make([]byte, int(room)%17+1)
		for {
			n, err := b.Read(buf)
			body = append(body, buf[:n]...)
			if err == nil {
				continue
			}
			if err != io.EOF {
				if _, bad := errors.AsType[*Refusal](err); !bad && err != io.ErrUnexpectedEOF {
					t.Fatalf("unknown error %v", err)
				}
				return
			}
			break
		}
		const head = "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		br := bufio.NewReader(strings.NewReader(head + string(text)))
		r, err := http.ReadRequest(br)
		if err != nil {
			t.Fatal(err)
		}
		want, err := io.ReadAll(r.Body)
		if err != nil || !bytes.Equal(body, want) {
			t.Fatalf("%q is read as %q, by net/http as %q with %v", text, body, want, err)
		}
		ours, _ := io.ReadAll(in)
		theirs, _ := io.ReadAll(br)
		if !bytes.Equal(ours, theirs) {
			t.Fatalf("%q ends before %q, for net/http before %q", text, ours, theirs)
		}
	})
}

// pieces is a reader that gives a few bytes at a time.
type pieces struct {
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.left[:min(p.size, len(p.left))])
	p.left = p.left[n:]
	return n, nil
}

// FuzzServer gives a server bytes in pieces: it never panics, and it answers
// the same however they are cut, and whatever driver reads them.
func FuzzServer(f *testing.F) {
	seeds(f, func(text string) {
		f.Add([]byte(text+smuggled), uint32(0x01020304), false)
		f.Add([]byte(goodRequests[6]+text), uint32(0xffff0007), true)
	})
	f.Fuzz(func(t *testing.T, text []byte, cuts uint32, socket bool) {
		if len(text) > 4<<10 {
			return
		}
		var whole, cut string
		synctest.Test(t, func(*testing.T) { whole = play(text, nil) })
		sizes := binary.BigEndian.AppendUint32(nil, cuts)
		synctest.Test(t, func(*testing.T) { cut = play(text, sizes) })
		if whole != cut {
			t.Fatalf("%q is answered\n%q, in pieces\n%q", text, whole, cut)
		}
		if socket {
			if raw := playSocket(t, text, sizes); raw != whole {
				t.Fatalf("%q is answered\n%q, over a socket\n%q", text, whole, raw)
			}
		}
	})
}

// fuzzHandler answers with what it read.
func fuzzHandler(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		w.WriteHeader(500)
		return
	}
	w.Header()["Date"] = nil
	w.Header().Set("X-Seen", url.QueryEscape(r.Method+" "+r.Host+" "+r.RequestURI))
	_, _ = w.Write(body)
}

func play(text, sizes []byte) string {
	client, server := memPair()
	done := make(chan bool)
	s := &Server{Handler: http.HandlerFunc(fuzzHandler)}
	go func() {
		s.ServeConn(context.Background(), server, testInfo, nil)
		close(done)
	}()
	sendPieces(client, text, sizes, synctest.Wait)
	_ = client.CloseWrite()
	got, _ := io.ReadAll(client)
	client.Close()
	<-done
	return withoutDate(string(got))
}

func playSocket(t *testing.T, text, sizes []byte) string {
	client, wait := connectTo(t, serverDrivers[1], &Server{Handler: http.HandlerFunc(fuzzHandler)})
	defer wait()
	defer client.Close()
	sendPieces(client, text, sizes, func() {})
	_ = client.(*net.TCPConn).CloseWrite()
	got, _ := io.ReadAll(client)
	return withoutDate(string(got))
}

func sendPieces(w io.Writer, text, sizes []byte, between func()) {
	for i := 0; len(text) > 0; i++ {
		n := len(text)
		if len(sizes) > 0 {
			n = min(n, int(sizes[i%len(sizes)])+1)
		}
		if _, err := w.Write(text[:n]); err != nil {
			return
		}
		text = text[n:]
		between()
	}
}

func TestPlainTargetsAreReadAsByNetURL(t *testing.T) {
	for _, target := range []string{"/", "/a", "//a", "/a/../b", "/a?b", "/a?b?c", "/a?%zz", "/~a.b_c-d", "/a?b c"[:4]} {
		var u url.URL
		if !plainTarget(&u, target) {
			t.Errorf("%q is plain", target)
		}
		want, err := url.ParseRequestURI(target)
		if err != nil || u != *want {
			t.Errorf("%q is %+v, for net/url %+v, %v", target, u, want, err)
		}
	}
	for _, target := range []string{"*", "/a%20b", "/a?", "/a;b", "/a:b", "http://x/", "/a\xff", "/(a)", "/a*"} {
		if plainTarget(new(url.URL), target) {
			t.Errorf("%q is not plain", target)
		}
	}
	for c := range 256 {
		if !plainPath[c] {
			continue
		}
		target := "/a" + string(rune(c)) + "b"
		var u url.URL
		want, err := url.ParseRequestURI(target)
		if !plainTarget(&u, target) || err != nil || u != *want {
			t.Errorf("%q is %+v, for net/url %+v", target, u, want)
		}
	}
}
