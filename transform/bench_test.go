package transform

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// corpus is a body to measure with: sources of ours for scripts, and a page
// and an API's answer made of the words of our documents.
func corpus(t testing.TB, name string, size int) []byte {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, 2))
	pattern := "../http1/*.go"
	if name != "code" {
		pattern = "../doc/*.md"
	}
	files, err := filepath.Glob(pattern)
	if err != nil || len(files) == 0 {
		t.Fatalf("no files %s: %v", pattern, err)
	}
	var text []byte
	for _, f := range files {
		data, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		text = append(text, data...)
	}
	words := strings.Fields(string(text))
	some := func(n int) string {
		at := rnd.IntN(len(words) - n)
		return strings.Join(words[at:at+n], " ")
	}
	var b bytes.Buffer
	for i := 0; b.Len() < size; i++ {
		switch name {
		case "code":
			b.Write(text)
		case "html":
			fmt.Fprintf(&b, "<article class=\"card card--%d\" data-id=\"%d\">\n  <a href=\"/products/%x\"><img src=\"/img/%x.webp\" width=\"320\" height=\"240\" alt=\"%s\"></a>\n  <h2 class=\"card__title\">%s</h2>\n  <p class=\"card__text\">%s</p>\n</article>\n",
				i%3, 1000+i, rnd.Uint32(), rnd.Uint64(), some(3), some(4), some(25))
		default:
			fmt.Fprintf(&b, `{"id":%d,"sku":"%08x","price":%d.%02d,"stock":%d,"updated":"2026-11-%02dT%02d:%02d:00Z","name":"%s","tags":["%s","%s"]},`,
				i, rnd.Uint32(), rnd.IntN(300), rnd.IntN(100), rnd.IntN(50), 1+rnd.IntN(28), rnd.IntN(24), rnd.IntN(60), some(4), some(1), some(1))
		}
	}
	return b.Bytes()[:size]
}

// BenchmarkLevels is where the tunings come from: bytes out of a hundred, and speed.
func BenchmarkLevels(b *testing.B) {
	levels := [len(codings)][]tuning{
		{{level: 1}, {level: 2}, {level: 3}, {level: 4}, {level: 5}, {level: 6}, {level: 9}},
		{
			{level: 1, window: 18}, {level: 2, window: 18}, {level: 3, window: 18}, {level: 4, window: 18},
			{level: 5, window: 18}, {level: 5, window: 20}, {level: 6, window: 20}, {level: 9, window: 20},
		},
		{
			{level: int(zstd.SpeedFastest), window: 17}, {level: int(zstd.SpeedFastest), window: 18}, {level: int(zstd.SpeedDefault), window: 18},
			{level: int(zstd.SpeedBetterCompression), window: 20}, {level: int(zstd.SpeedBestCompression), window: 20},
		},
	}
	for _, body := range []struct {
		name string
		size int
	}{{"html", 16 << 10}, {"html", 128 << 10}, {"json", 64 << 10}, {"code", 256 << 10}} {
		data := corpus(b, body.name, body.size)
		for i, list := range levels {
			for _, t := range list {
				b.Run(fmt.Sprintf("%s-%dK/%s-%d-w%d", body.name, body.size>>10, codings[i], t.level, t.window), func(b *testing.B) {
					c := newCompressor(codings[i], t)
					var out bytes.Buffer
					b.SetBytes(int64(len(data)))
					b.ReportAllocs()
					for b.Loop() {
						out.Reset()
						c.Reset(&out)
						c.Write(data)
						c.Close()
					}
					b.ReportMetric(100*float64(out.Len())/float64(len(data)), "%")
				})
			}
		}
	}
}

// BenchmarkFlush is what flushing costs a body that comes in pieces, in bytes out of a hundred.
func BenchmarkFlush(b *testing.B) {
	data := corpus(b, "html", 128<<10)
	for i, c := range codings {
		for _, piece := range []int{0, 32 << 10, 8 << 10, 1 << 10} {
			b.Run(fmt.Sprintf("%s/every-%d", c, piece), func(b *testing.B) {
				w := newCompressor(c, kindOf(i, delivering).tuning())
				var out bytes.Buffer
				b.SetBytes(int64(len(data)))
				for b.Loop() {
					out.Reset()
					w.Reset(&out)
					for rest := data; len(rest) > 0; {
						n := len(rest)
						if piece > 0 {
							n = min(piece, n)
						}
						w.Write(rest[:n])
						if rest = rest[n:]; piece > 0 && len(rest) > 0 {
							w.Flush()
						}
					}
					w.Close()
				}
				b.ReportMetric(100*float64(out.Len())/float64(len(data)), "%")
			})
		}
	}
}

// BenchmarkDeliver is a whole answer through the filter, as node runs it.
func BenchmarkDeliver(b *testing.B) {
	data := corpus(b, "html", 16<<10)
	for _, accept := range []string{"gzip", "br", "zstd", "identity"} {
		b.Run(accept, func(b *testing.B) {
			f, err := NewCompress(Delivered, nil, CompressOptions{})
			if err != nil {
				b.Fatal(err)
			}
			chain := Chain{f}
			request := http.Header{"Accept-Encoding": {accept}}
			b.SetBytes(int64(len(data)))
			b.ReportAllocs()
			for b.Loop() {
				res := &http.Response{
					StatusCode: 200, Header: http.Header{"Content-Type": {"text/html"}, "Etag": {`"a"`}},
					Body: io.NopCloser(bytes.NewReader(data)), ContentLength: int64(len(data)),
				}
				chain.Deliver(request, res)
				io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
}

func BenchmarkParseAccept(b *testing.B) {
	lines := []string{"gzip, deflate, br, zstd"}
	b.ReportAllocs()
	for b.Loop() {
		ParseAccept(lines)
	}
}
