package transform

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
)

func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAnEncoderTakesNoMoreThanItsCost(t *testing.T) {
	data := corpus(t, "html", 3<<19)
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
	long := bytes.Repeat(corpus(t, "code", 1<<20), 17)
	for _, c := range []struct {
		coding Coding
		bits   int
	}{{Gzip, 15}, {Brotli, 16}, {Brotli, 20}, {Brotli, 24}, {Zstd, 16}, {Zstd, 20}, {Zstd, 23}} {
		t.Run(fmt.Sprintf("%s-%d", c.coding, c.bits), func(t *testing.T) {
			data := long[:min(len(long), 2<<c.bits)] // beyond the window
			var coded bytes.Buffer
			w := newCompressor(c.coding, tuning{level: 1, window: c.bits})
			w.Reset(&coded)
			w.Write(data)
			w.Close()
			m := NewMemory(1 << 30)
			res := answer(io.NopCloser(&coded), -1)
			res.Header["Content-Encoding"] = []string{string(c.coding)}
			before := heap()
			if why := NewDecompress(m, DecompressOptions{}).Apply("", res); why != "" {
				t.Fatal(why)
			}
			if _, err := io.CopyN(io.Discard, res.Body, int64(len(data))-1); err != nil {
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

func TestManyAtOnceStayWithinTheMemory(t *testing.T) {
	data := corpus(t, "html", 30<<10)
	m := NewMemory(16 << 20)
	filters := [...]*Compress{newCompress(t, Delivered, m), newCompress(t, Stored, m)}
	var wg sync.WaitGroup
	for worker := range 12 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(uint64(worker), 1))
			for range 25 {
				c, body := codings[rnd.IntN(len(codings))], data[rnd.IntN(len(data)/2):]
				res := answer(cut(rnd, body), -1)
				if rnd.IntN(3) == 0 {
					res.Header["Content-Type"] = []string{eventStream}
				}
				why := filters[rnd.IntN(2)].Apply(string(c), res)
				if s := m.Stats(); s.Bytes > 16<<20 || s.Streams > 8<<20 {
					t.Errorf("got %+v, the limit is 16 MiB", s)
				}
				if rnd.IntN(3) == 0 {
					res.Body.Read(make([]byte, 100))
					res.Body.Close()
					continue
				}
				got, err := io.ReadAll(res.Body)
				if err == nil && why == "" {
					got, err = decode(t, c, got)
				}
				if err != nil || !bytes.Equal(got, body) {
					t.Errorf("%s (%s): got %d bytes and %v, want %d", c, why, len(got), err, len(body))
				}
				res.Body.Close()
			}
		})
	}
	wg.Wait()
	settled(t, m)
}
