package http1

import (
	"io"
	"math/rand/v2"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
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

func TestFieldsAreWrittenInTheOrderOfTheirNames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		h, names := http.Header{}, []string(nil)
		for range rnd.IntN(40) { // also more than nearly every header has
			name := "X-Forwarded-For-And-So-On"[:1+rnd.IntN(24)]
			if rnd.IntN(2) == 0 {
				name = strings.TrimRight(name, "-") + strconv.Itoa(rnd.IntN(100))
			}
			if h[name] == nil {
				names = append(names, name)
			}
			h[name] = []string{"v"}
		}
		slices.Sort(names)
		want := ""
		for _, name := range names {
			want += name + ": v\r\n"
		}
		if got, err := appendFields(nil, h, 0); err != nil || string(got) != want {
			t.Fatalf("got %q, %v, want %q", got, err, want)
		}
	}
}

func TestControlCharactersAreNoPartOfAValue(t *testing.T) {
	for c := range 256 {
		for at := range 20 {
			value := []byte("0123456789abcdefghij")
			value[at] = byte(c)
			if got, want := isFieldValue(string(value)), c >= ' ' && c != 0x7f || c == '\t'; got != want {
				t.Fatalf("character %d at %d: got %v, want %v", c, at, got, want)
			}
		}
	}
}
