package compute

import (
	"testing"
	"time"
)

// fill writes to every page of the first n bytes.
func fill(m *memory, n uint64) {
	for b := m.Reallocate(n); len(b) > 0; b = b[min(osPage, uint64(len(b))):] {
		b[0] = 1
	}
}

func TestLargeMemoriesAreGivenBackInPieces(t *testing.T) {
	const pieces = 6
	for name, c := range map[string]struct {
		give func(m *memory) bool
		most uint64 // that stays for the next request
	}{
		"closed":   {func(m *memory) bool { m.Free(); return true }, 0},
		"set back": {func(m *memory) bool { return m.back() }, mostHot * osPage},
	} {
		for _, older := range []bool{false, true} {
			ways := uint64(0)
			m, err := newMemories(Options{older: older}, func() { ways++ }).open(64<<20, nil)
			if err != nil {
				t.Fatal(err)
			}
			fill(m, osPage)
			if err := m.freeze(); err != nil {
				t.Fatal(err)
			}
			fill(m, pieces*dropAtOnce+c.most)
			if !c.give(m) {
				t.Fatalf("%s: it was not", name)
			}
			if ways < pieces-1 {
				t.Errorf("%s (older %v): %d MiB went, and others could go first %d times", name, older, (pieces*dropAtOnce+c.most)>>20, ways)
			}
			if name != "closed" {
				m.Free()
			}
		}
	}
}

// What is dropped when a sandbox is frozen or closed takes turns, of which there
// may be one only: who does it must not have it.
func TestALongGuestIsFrozenAndReplacedWithoutItsTurn(t *testing.T) {
	e := newTestEngine(t, Options{})
	for len(e.turns) > 1 {
		<-e.turns
	}
	f := compileText(t, e, `
	memory 1
	global $n i32 0
	func $_start export=_start
		i32.const 65 / memory.grow / drop
		loop
			global.get $n / i32.const 1 / i32.add / global.set $n
			global.get $n / i32.const 3000000 / i32.lt_u
			br_if 0
		end
		call $ask / call $answer
		i32.const 0 / i32.const 2 / i32.const 4259840 / memory.fill
		unreachable
	endfunc`, Program{Limits: Limits{CPU: time.Minute}})
	for range 3 {
		if err := f.Serve(t.Context(), &Invocation{Extra: &exchange{}}); err == nil {
			t.Fatal("it did not trap")
		}
	}
	if got := len(e.turns); got != 1 {
		t.Errorf("%d turns are free, want 1", got)
	}
	if s := e.Stats(); s.Yields == 0 || s.Replaced != 3 {
		t.Errorf("got %+v: it did not make way, or was not replaced", s)
	}
}
