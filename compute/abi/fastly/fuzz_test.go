package fastly

import (
	"context"
	"encoding/binary"
	"math"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/compute"
)

// wild are the parameters that programs get wrong.
var wild = []uint64{
	0, 1, 2, 3, 4, 7, 8, 16, 64, 512, 1024, 4095, buffer, 1<<16 - 1, 1<<16 - 4, 1 << 16, 1<<16 + 1, 1 << 31, math.MaxInt32,
	math.MaxUint32 - 7, math.MaxUint32 - 1, math.MaxUint32, math.MaxInt64, math.MaxUint64,
}

// everything is options with every service, so that every function has something to do.
func everything() Options {
	kv := &MemoryKV{Bytes: 1 << 20}
	return Options{
		Backends: backends{"a": {Host: "a"}}, Register: func(context.Context, DynamicBackend) error { return nil },
		Configs: func(string) (Values, bool) { return Map{"a": "b"}, true }, Secrets: func(string) (Values, bool) { return Map{"a": "b"}, true },
		KV: func(string) (KV, bool) { return kv, true }, ACLs: func(string) (ACL, bool) { return Prefixes{}, true },
		Geo:     func(netip.Addr) (Place, bool) { return Place{}, true },
		Objects: &Objects{Bytes: 1 << 20, ObjectBytes: 1 << 18}, HTTPCache: true, Rates: &Rates{Most: 100},
	}
}

// FuzzHostFunctions calls functions with whatever parameters, and with handles of every kind: what
// they answer is a status, they do not panic, and they touch nothing outside of the memory.
func FuzzHostFunctions(f *testing.F) {
	table := Table()
	for i := range table {
		f.Add([]byte{byte(i), 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, byte(i), 12, 12, 12, 12, 12, 12, 12})
	}
	f.Add([]byte("a program that makes many calls with all sorts of parameters, one after the other, and then some more"))
	f.Fuzz(func(t *testing.T, program []byte) {
		b := newBench(t, everything(), httptest.NewRequest("POST", "http://a/", strings.NewReader("body")), func(name string, r *http.Request) (*http.Response, error) {
			if r.Body != nil {
				_ = r.Body.Close()
			}
			return fetched(200, "answer", "Cache-Control", "max-age=5")(name, r)
		})
		defer b.end()
		b.kinds()
		handles := uint64(len(b.x.handles.items))
		ctx, cancel := context.WithTimeout(b.x.context(), 50*time.Millisecond) // what waits for ever is ended by the wall time
		defer cancel()
		defer context.AfterFunc(ctx, b.x.cancel)()
		outside := strings.Repeat("\xa5", 64)
		all := append(make([]byte, 1<<16), outside...)
		p := &program64k{memory: all[:1<<16]}
		x := b.x
		next := func() byte {
			if len(program) == 0 {
				return 0
			}
			b := program[0]
			program = program[1:]
			return b
		}
		for calls := 0; len(program) > 0 && calls < 64; calls++ {
			fn := table[int(next())%len(table)]
			args := make([]uint64, len(fn.Params))
			for i := range args {
				n := uint64(next())
				if args[i] = wild[n%uint64(len(wild))]; n >= 128 {
					args[i] = n % 128 % (handles + 2)
				}
				if fn.Params[i] == 'i' {
					args[i] = uint64(uint32(args[i]))
				}
			}
			if status := x.run(ctx, p, fn.call, args); status > Again {
				t.Fatalf("%s.%s%v answers %d", fn.Module, fn.Name, args, status)
			}
			binary.LittleEndian.PutUint32(p.memory[512:], uint32(next())) // a handle, for lists of them
		}
		if string(all[1<<16:]) != outside {
			t.Fatal("memory outside was written to")
		}
	})
}

func TestEveryFunctionTakesWildParameters(t *testing.T) {
	for _, fn := range Table() {
		for _, v := range wild {
			in := &compute.Invocation{W: httptest.NewRecorder(), R: httptest.NewRequest("GET", "http://a/", nil), Fetch: fetched(200, "")}
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			a := New(everything())
			x := a.Begin(ctx, in).(*exchange)
			args := slices.Repeat([]uint64{v}, len(fn.Params))
			if status := x.run(ctx, &program64k{memory: make([]byte, 1<<16)}, fn.call, args); status > Again {
				t.Errorf("%s.%s with %d answers %d", fn.Module, fn.Name, v, status)
			}
			a.End(x)
			cancel()
		}
	}
}
