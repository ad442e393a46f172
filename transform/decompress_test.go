package transform

import (
	"bytes"
	stdgzip "compress/gzip"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/selvage-edge/selvage"
)

// coded is an answer with a coded body.
func coded(c Coding, body io.ReadCloser) *http.Response {
	res := answer(body, -1)
	res.Header["Content-Encoding"] = []string{string(c)}
	return res
}

func TestWhatOthersHaveCodedIsRead(t *testing.T) {
	want, err := os.ReadFile("testdata/words.txt")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Coding{
		"words.txt.gz": Gzip, "words.txt.br": Brotli, "words-w10.txt.br": Brotli, "words-w16.txt.br": Brotli, "words-w17.txt.br": Brotli,
		"words.txt.zst": Zstd, "words-stream.txt.zst": Zstd,
	} {
		data, err := os.ReadFile("testdata/" + name)
		if err != nil {
			t.Fatal(err)
		}
		m := NewMemory(0)
		rnd := rand.New(rand.NewPCG(1, uint64(len(data))))
		for range 20 {
			res := coded(c, cut(rnd, data))
			if why := NewDecompress(m, DecompressOptions{}).Apply("", res); why != "" {
				t.Fatalf("%s: %s", name, why)
			}
			got, err := io.ReadAll(res.Body)
			if err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: got %d bytes and %v, want %d", name, len(got), err, len(want))
			}
			if e := res.Header.Get("Content-Encoding"); e != "" {
				t.Errorf("%s: Content-Encoding %s is left", name, e)
			}
		}
		settled(t, m)
	}
}

// TestOthersReadWhatWeCode runs the reference implementations, where they are installed.
func TestOthersReadWhatWeCode(t *testing.T) {
	data := corpus(t, "html", 300<<10)
	for c, command := range map[Coding][]string{
		Gzip:   {"gzip", "-dc"},
		Zstd:   {"zstd", "-dcq"},
		Brotli: {"node", "-e", `process.stdin.pipe(require("zlib").createBrotliDecompress()).pipe(process.stdout)`},
	} {
		t.Run(string(c), func(t *testing.T) {
			program, err := exec.LookPath(command[0])
			if err != nil {
				t.Skipf("%s is not installed", command[0])
			}
			for _, mode := range []Mode{Delivered, Stored} {
				for _, kind := range []string{"text/html", eventStream} {
					res := answer(cut(rand.New(rand.NewPCG(3, 4)), data), -1)
					res.Header["Content-Type"] = []string{kind}
					newCompress(t, mode, nil).Apply(string(c), res)
					cmd := exec.Command(program, command[1:]...)
					cmd.Stdin = res.Body
					got, err := cmd.Output()
					if err != nil || !bytes.Equal(got, data) {
						t.Errorf("mode %d, %s: got %d bytes and %v, want %d", mode, kind, len(got), err, len(data))
					}
				}
			}
		})
	}
}

func TestADecodedEventComesOutBeforeTheNextIsWaitedFor(t *testing.T) {
	for i, c := range codings {
		t.Run(string(c), func(t *testing.T) {
			e := newEncoder(kindOf(i, streaming))
			e.begin()
			src, events := new(pieces), []string{}
			for i := range 40 {
				event := strings.Repeat("data: event\n", 1+i) + "\n"
				io.WriteString(e.to, event)
				e.to.Flush()
				src.list = append(src.list, bytes.Clone(e.out.made))
				e.out.take(make([]byte, len(e.out.made)))
				events = append(events, event)
			}
			res := coded(c, src)
			if why := NewDecompress(nil, DecompressOptions{}).Apply("", res); why != "" {
				t.Fatal(why)
			}
			defer res.Body.Close()
			for i, event := range events {
				got := make([]byte, len(event))
				_, err := io.ReadFull(res.Body, got)
				if left := len(events) - len(src.list); err != nil || string(got) != event || left > i+1 {
					t.Fatalf("event %d: got %q, %v, and %d events were asked for", i, got, err, left)
				}
			}
		})
	}
}

func TestABombIsDefused(t *testing.T) {
	zeros := make([]byte, 12<<20)
	for name, c := range map[string]struct {
		coding Coding
		max    selvage.ByteSize
		want   error
		most   int
	}{
		"zstd by its ratio": {Zstd, 0, ErrBomb, 2 << 20},
		"br by its ratio":   {Brotli, 0, ErrBomb, 2 << 20},
		"gzip may be dense": {Gzip, 0, nil, len(zeros)},
		"gzip by its size":  {Gzip, 5 << 20, ErrBomb, 5 << 20},
		"exactly the size":  {Gzip, 12 << 20, nil, len(zeros)},
		"zstd by its size":  {Zstd, 1 << 20, ErrBomb, 1 << 20},
	} {
		m := NewMemory(0)
		body := encode(t, c.coding, zeros)
		if c.coding == Gzip {
			var b bytes.Buffer
			w, _ := stdgzip.NewWriterLevel(&b, 9)
			w.Write(zeros)
			w.Close()
			body = b.Bytes()
		}
		res := coded(c.coding, io.NopCloser(bytes.NewReader(body)))
		if why := NewDecompress(m, DecompressOptions{MaxDecoded: c.max}).Apply("", res); why != "" {
			t.Fatalf("%s: %s", name, why)
		}
		n, err := io.Copy(io.Discard, res.Body)
		if !errors.Is(err, c.want) || n > int64(c.most) {
			t.Errorf("%s: got %d bytes and %v, want at most %d and %v", name, n, err, c.most, c.want)
		}
		settled(t, m)
	}
}

func TestWhatCannotBeReadGoesOutAsItIs(t *testing.T) {
	large, err := os.ReadFile("testdata/words-large.txt.br")
	if err != nil {
		t.Fatal(err)
	}
	var wide bytes.Buffer
	w, err := zstd.NewWriter(&wide, zstd.WithWindowSize(16<<20), zstd.WithEncoderConcurrency(1))
	if err != nil {
		t.Fatal(err)
	}
	w.Write(make([]byte, 17<<20))
	w.Close()
	for name, c := range map[string]struct {
		coding string
		body   []byte
		want   string
	}{
		"no gzip":         {"gzip", []byte("<html>"), WhyBroken},
		"half a magic":    {"gzip", []byte{0x1f}, WhyBroken},
		"no zstd":         {"zstd", []byte("<html>"), WhyBroken},
		"half a header":   {"zstd", []byte{0x28, 0xb5, 0x2f}, WhyBroken},
		"a dictionary":    {"zstd", []byte{0x28, 0xb5, 0x2f, 0xfd, 0x01, 0x50, 0x07, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, WhyBroken},
		"a large window":  {"br", large, WhyBroken},
		"a wide window":   {"zstd", wide.Bytes(), WhyWindow},
		"another coding":  {"deflate", []byte("abc"), WhyCoding},
		"two codings":     {"gzip, br", []byte("abc"), WhyCoding},
		"coding of none":  {"identity", []byte("abc"), WhyCoding},
		"too much memory": {"br", []byte{0x0f, 0}, WhyMemory},
	} {
		m := NewMemory(4 << 20)
		res := coded(Coding(c.coding), &pieces{list: [][]byte{c.body}})
		res.ContentLength = int64(len(c.body))
		before := res.Header.Clone()
		if why := NewDecompress(m, DecompressOptions{}).Apply("", res); why != c.want {
			t.Errorf("%s: got %q, want %q", name, why, c.want)
		}
		got, err := io.ReadAll(res.Body)
		if err != nil || !bytes.Equal(got, c.body) || res.ContentLength != int64(len(c.body)) {
			t.Errorf("%s: got %d bytes and %v, want the %d as they were", name, len(got), err, len(c.body))
		}
		delete(res.Header, "Vary")
		if diff := cmp.Diff(before, res.Header); diff != "" {
			t.Errorf("%s: the head is not as it was:\n%s", name, diff)
		}
		settled(t, m)
	}
}

func TestACodedBodyThatBreaksNeverEndsWell(t *testing.T) {
	data := corpus(t, "html", 100<<10)
	for _, c := range codings {
		whole := encode(t, c, data)
		for name, body := range map[string][]byte{
			"cut":        whole[:len(whole)/2],
			"cut late":   whole[:len(whole)-1],
			"more after": append(bytes.Clone(whole), "garbage, garbage"...),
			"changed":    append(append(bytes.Clone(whole[:30]), 0xff, 0xff, 0xff, 0xff), whole[34:]...),
		} {
			m := NewMemory(0)
			res := coded(c, io.NopCloser(bytes.NewReader(body)))
			if why := NewDecompress(m, DecompressOptions{}).Apply("", res); why != "" {
				t.Fatalf("%s, %s: %s", c, name, why)
			}
			got, err := io.ReadAll(res.Body)
			if err == nil && (name != "changed" || c != Brotli) { // Brotli has no checksum
				t.Errorf("%s, %s: got %d bytes and a clean end", c, name, len(got))
			}
			settled(t, m)
		}
		res := coded(c, io.NopCloser(bytes.NewReader(whole)))
		res.ContentLength = int64(len(whole)) + 1
		NewDecompress(nil, DecompressOptions{}).Apply("", res)
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Errorf("%s: a body shorter than announced ended well", c)
		}
	}
}

func TestNothingCodedIsNothing(t *testing.T) {
	for _, c := range codings {
		res := coded(c, &pieces{})
		if why := NewDecompress(nil, DecompressOptions{}).Apply("", res); why != "" {
			t.Fatal(why)
		}
		if got, err := io.ReadAll(res.Body); len(got) != 0 || err != nil {
			t.Errorf("%s: got %q, %v", c, got, err)
		}
	}
}

func TestWhoReadsACodingGetsIt(t *testing.T) {
	d := NewDecompress(nil, DecompressOptions{})
	for _, c := range []struct {
		accept []string
		coding Coding
		want   string
	}{
		{[]string{"gzip, br"}, Brotli, WhyUnwanted},
		{[]string{"gzip"}, Brotli, ""},
		{[]string{"*"}, Zstd, WhyUnwanted},
		{[]string{"gzip;q=0"}, Gzip, ""},
		{nil, Gzip, ""},
	} {
		res := coded(c.coding, io.NopCloser(bytes.NewReader(encode(t, c.coding, []byte("hello")))))
		if got := d.Apply(d.Variant(http.Header{"Accept-Encoding": c.accept}), res); got != c.want {
			t.Errorf("%q, %s: got %q, want %q", c.accept, c.coding, got, c.want)
		}
		if res.Header.Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q, %s: Vary is %q", c.accept, c.coding, res.Header.Get("Vary"))
		}
		res.Body.Close()
	}
}

func TestOneCodingBecomesAnother(t *testing.T) {
	data := corpus(t, "html", 20<<10)
	m := NewMemory(0)
	chain := Chain{NewDecompress(m, DecompressOptions{}), newCompress(t, Delivered, m)}
	res := coded(Brotli, io.NopCloser(bytes.NewReader(encode(t, Brotli, data))))
	chain.Deliver(http.Header{"Accept-Encoding": {"gzip"}}, res)
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := decode(t, Gzip, body); err != nil || !bytes.Equal(got, data) || res.Header.Get("Content-Encoding") != "gzip" || res.Header.Get("Vary") != "Accept-Encoding" {
		t.Errorf("got %d bytes, %v, %v", len(got), err, res.Header)
	}
	res.Body.Close()
	settled(t, m)
}

func TestADecodedBodyMayBeClosedWhileItIsRead(t *testing.T) {
	for _, c := range codings {
		whole := encode(t, c, corpus(t, "html", 100<<10))
		m := NewMemory(0)
		g := &gate{make(chan struct{}), make(chan struct{})}
		res := coded(c, struct {
			io.Reader
			io.Closer
		}{io.MultiReader(bytes.NewReader(whole[:len(whole)/2]), g), g})
		NewDecompress(m, DecompressOptions{}).Apply("", res)
		read := make(chan error)
		go func() { // its end is waited for below
			_, err := io.Copy(io.Discard, res.Body)
			read <- err
		}()
		<-g.entered
		res.Body.Close()
		if err := <-read; err == nil {
			t.Errorf("%s: got a clean end", c)
		}
		settled(t, m)
	}
}

func FuzzDecompress(f *testing.F) {
	for i, c := range codings {
		f.Add(encode(f, c, []byte("hello, hello, hello")), uint8(i), uint64(1))
		f.Add(encode(f, c, make([]byte, 2<<20)), uint8(i), uint64(2))
	}
	f.Add([]byte{0x50, 0x2a, 0x4d, 0x18, 1, 0, 0, 0, 7}, uint8(2), uint64(3))
	const most = 2 << 20
	f.Fuzz(func(t *testing.T, data []byte, which uint8, seed uint64) {
		c := codings[int(which)%len(codings)]
		m := NewMemory(0)
		res := coded(c, cut(rand.New(rand.NewPCG(seed, 0)), data))
		why := NewDecompress(m, DecompressOptions{MaxDecoded: most}).Apply("", res)
		got, err := io.ReadAll(res.Body)
		if why != "" {
			if !bytes.Equal(got, data) || err != nil {
				t.Fatalf("%s: not decoded (%s), and %d of %d bytes with %v", c, why, len(got), len(data), err)
			}
			return
		}
		if len(got) > most || len(got) > ratioFrom && len(got)/maxRatio > len(data) {
			t.Fatalf("%s: %d bytes became %d", c, len(data), len(got))
		}
		if s := m.Stats(); s.Lent != 0 || s.Bytes != 0 {
			t.Fatalf("%s: after the end: %+v", c, s)
		}
		if c == Gzip && len(data) > 0 && !errors.Is(err, ErrBomb) {
			want, werr := decode(t, Gzip, data)
			if (werr == nil) != (err == nil) || err == nil && !bytes.Equal(got, want) {
				t.Fatalf("got %d bytes and %v, the standard library %d and %v", len(got), err, len(want), werr)
			}
		}
	})
}
