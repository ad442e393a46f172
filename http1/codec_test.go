package http1

import (
	"io"
	"net/textproto"
	"strings"
	"testing"
)

var testLimits = headLimits{head: 32 << 10, target: 8 << 10, fields: 128}

func TestCanonicalNamesAreThoseOfNetHTTP(t *testing.T) {
	if nameCount > 64 {
		t.Fatalf("%d names, a set holds 64", nameCount)
	}
	for n := NameOther + 1; n < nameCount; n++ {
		s := n.String()
		if want := textproto.CanonicalMIMEHeaderKey(s); s != want {
			t.Errorf("name %d is %q, net/http has %q", n, s, want)
		}
		for _, v := range []string{s, strings.ToLower(s), strings.ToUpper(s)} {
			if got := LookUpName(v); got != n {
				t.Errorf("LookUpName(%q) = %d, want %d", v, got, n)
			}
		}
	}
	for _, s := range []string{"", "x", "hos", "hostt", "x-forwarded-foo"} {
		if got := LookUpName(s); got != NameOther {
			t.Errorf("LookUpName(%q) = %v, want none", s, got)
		}
	}
}

func TestHeadParsedByteByByteIsTheSame(t *testing.T) {
	text := "POST /a?b=c HTTP/1.1\r\nHost: x.example\r\nx-ODD-name:\t v 1 \r\nCookie: a\r\nCookie: b\r\nEmpty:\r\n\r\nrest"
	want := len(text) - len("rest")
	h := new(Head)
	h.reset(requestHead)
	for i := 1; i < want; i++ {
		if done, err := h.parse([]byte(text[:i]), testLimits); done || err != nil {
			t.Fatalf("after %d bytes: done %v, error %v", i, done, err)
		}
	}
	done, err := h.parse([]byte(text), testLimits)
	if !done || err != nil || h.Size() != want {
		t.Fatalf("done %v, error %v, size %d, want %d", done, err, h.Size(), want)
	}
	header := h.Header()
	if got := header["X-Odd-Name"]; len(got) != 1 || got[0] != "v 1" {
		t.Errorf("X-Odd-Name is %q", got)
	}
	if got := header["Cookie"]; len(got) != 2 || got[0] != "a" || got[1] != "b" {
		t.Errorf("Cookie is %q", got)
	}
	if got, ok := header["Empty"]; !ok || got[0] != "" {
		t.Errorf("Empty is %q", got)
	}
	if string(h.Method()) != "POST" || string(h.Target()) != "/a?b=c" || string(h.Value(NameHost)) != "x.example" {
		t.Errorf("got %s %s at %s", h.Method(), h.Target(), h.Value(NameHost))
	}
}

func readBody(t *testing.T, text string, f framing) (body string, rest string, b *bodyReader, err error) {
	t.Helper()
	in := &input{src: strings.NewReader(text)}
	b = new(bodyReader)
	b.start(in, f, testLimits)
	data, err := io.ReadAll(b)
	left, _ := io.ReadAll(in)
	return string(data), string(left), b, err
}

func TestChunkedBodyEndsAtItsLastByte(t *testing.T) {
	body, rest, b, err := readBody(t, "5\r\nhello\r\n6;a=b;c\r\n world\r\n0\r\nX-Sum: 1\r\nVia: x\r\n\r\nGET ", framing{chunked, -1})
	if err != nil || body != "hello world" || rest != "GET " {
		t.Fatalf("body %q, rest %q, error %v", body, rest, err)
	}
	if got := b.trailer.Get("X-Sum"); got != "1" || len(b.trailer) != 1 {
		t.Errorf("trailers are %v", b.trailer)
	}
}
