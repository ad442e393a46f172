package transform

import (
	"bytes"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
)

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnEncoderTakesNoMoreThanItsCost(t *testing.T) {
	data := corpus(t, "html", 3<<20)
	const many = 4
	for k := range kinds {
		t.Run(fmt.Sprintf("%s-%d", k.coding(), k.purpose()), func(t *testing.T) {
			var all [many]*encoder
			before := heap()
			for i := range all {
				all[i] = newEncoder(k)
				all[i].begin()
				for rest := data; len(rest) > 0; rest = rest[min(len(rest), inBuffer):] {
					all[i].to.Write(rest[:min(len(rest), inBuffer)])
					all[i].out.take(make([]byte, len(all[i].out.made)))
				}
			}
			each := (heap() - before) / many
			t.Logf("%d KiB, reckoned %d KiB", each>>10, k.cost()>>10)
			if each > k.cost() {
				t.Errorf("an encoder takes %d KiB, reckoned are %d KiB", each>>10, k.cost()>>10)
			}
			if each < k.cost()/5 {
				t.Errorf("an encoder takes %d KiB only, reckoned are %d KiB", each>>10, k.cost()>>10)
			}
			runtime.KeepAlive(&all)
		})
	}
}

func TestADecoderTakesNoMoreThanItsCost(t *testing.T) {
	data := bytes.Repeat(corpus(t, "code", 1<<20), 20)
	coded := map[string][]byte{"gzip": encode(t, Gzip, data)}
	for _, bits := range []int{16, 20, 24} {
		var b bytes.Buffer
		w := brotli.NewWriterOptions(&b, brotli.WriterOptions{Quality: 2, LGWin: bits})
		w.Write(data)
		w.Close()
		coded[fmt.Sprintf("br-%d", bits)] = b.Bytes()
	}
	for _, bits := range []int{16, 20, 23} {
		var b bytes.Buffer
		w, err := zstd.NewWriter(&b, zstd.WithWindowSize(1<<bits), zstd.WithEncoderConcurrency(1))
		if err != nil {
			t.Fatal(err)
		}
		w.Write(data)
		w.Close()
		coded[fmt.Sprintf("zstd-%d", bits)] = b.Bytes()
	}
	for name, body := range coded {
		t.Run(name, func(t *testing.T) {
			coding, _, _ := strings.Cut(name, "-")
			m := NewMemory(1 << 30)
			d := NewDecompress(m, DecompressOptions{})
			res := answer(io.NopCloser(bytes.NewReader(body)), -1)
			res.Header["Content-Encoding"] = []string{coding}
			before := heap()
			if why := d.Apply("", res); why != "" {
				t.Fatal(why)
			}
			if _, err := io.CopyN(io.Discard, res.Body, int64(len(data))-100); err != nil {
				t.Fatal(err)
			}
			took, reckoned := heap()-before, m.Stats().Bytes
			t.Logf("%d KiB, reckoned %d KiB", took>>10, reckoned>>10)
			if took > reckoned {
				t.Errorf("a decoder takes %d KiB, reckoned are %d KiB", took>>10, reckoned>>10)
			}
			res.Body.Close()
			settled(t, m)
		})
	}
}
