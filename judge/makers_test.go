package judge

import (
	"math/rand/v2"
	"testing"
)

func TestMakersAreCountedAsInAMapThatIsClearedEachWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var m makers
	for window := range int64(20) {
		want := map[uint64]uint16{}
		m.turn(window)
		for range 1 + rnd.IntN(3000) {
			client := rnd.Uint64N(1000) << rnd.IntN(50) // alike in their low bits
			s := m.find(client)
			if _, known := want[client]; known != (s.window == m.stamp()) {
				t.Fatalf("window %d: client %d is known: %v, want %v", window, client, !known, known)
			} else if !known {
				s = m.take(s, client)
			}
			s.n++
			want[client]++
			if s.n != want[client] || m.used != len(want) {
				t.Fatalf("window %d: client %d has %d of %d clients, want %d of %d", window, client, s.n, m.used, want[client], len(want))
			}
		}
		if len(m.slots) < 2*m.used {
			t.Fatalf("%d clients in %d slots: not every look-up ends", m.used, len(m.slots))
		}
	}
}
