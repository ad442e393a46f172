package judge

import (
	"math/rand/v2"
	"testing"
)

func TestMakersAreCountedAsInAMapThatIsClearedEachWindow(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	var m makers
	for window := int64(0); window < 3*wholeTurn; window += 1 + rnd.Int64N(3) {
		want := map[uint64]int{}
		m.turn(window)
		for range 1 + rnd.IntN(3000) {
			client := rnd.Uint64N(1000) << rnd.IntN(50) // alike in their low bits
			if before, ok := m.count(client); before != want[client] || !ok {
				t.Fatalf("window %d: client %d had %d before (%v), want %d", window, client, before, ok, want[client])
			}
			want[client]++
			if m.used != len(want) {
				t.Fatalf("window %d: %d clients, want %d", window, m.used, len(want))
			}
		}
		if len(m.slots) < 2*m.used {
			t.Fatalf("%d clients in %d slots: not every look-up ends", m.used, len(m.slots))
		}
	}
}

func TestAClientsCountEndsAtItsLimit(t *testing.T) {
	var m makers
	m.turn(1)
	for i := range 2*mostCount + 1 {
		if before, ok := m.count(7); before != min(i, mostMakings) || !ok {
			t.Fatalf("making %d: %d before (%v), want %d", i, before, ok, min(i, mostMakings))
		}
	}
	if before, ok := m.count(8); before != 0 || !ok || m.used != 2 {
		t.Errorf("another client has %d before (%v) of %d clients, want none, of 2", before, ok, m.used)
	}
}

func TestMoreClientsThanTheTableHasRoomForAreNotCounted(t *testing.T) {
	var m makers
	m.turn(1)
	for i := range uint64(maxMakers) {
		if before, ok := m.count(i); before != 0 || !ok {
			t.Fatalf("client %d has %d before (%v), want none", i, before, ok)
		}
	}
	if _, ok := m.count(maxMakers); ok {
		t.Error("one client more than the most was counted")
	}
	if before, ok := m.count(5); before != 1 || !ok {
		t.Errorf("a client that is known has %d before (%v), want 1", before, ok)
	}
}

// TestMakingsOfTheWindowBeforeAreOfThisOne: who begins a making reads the clock before it waits for
// its turn, so at the end of a window some come late. Going back for them would forget how many
// clients there are, until the table is full and a look-up has no end.
func TestMakingsOfTheWindowBeforeAreOfThisOne(t *testing.T) {
	var m makers
	m.turn(7)
	for client := range uint64(1000) {
		m.turn(8 - int64(client)%2)
		if before, ok := m.count(client); before != 0 || !ok {
			t.Fatalf("client %d has %d before (%v), want none", client, before, ok)
		}
		if known := int(client) + 1; m.used != known || len(m.slots) < 2*known {
			t.Fatalf("%d clients in %d slots, want %d", m.used, len(m.slots), known)
		}
	}
	if before, _ := m.count(500); before != 1 {
		t.Errorf("a client has %d before, want the 1 that came late", before)
	}
}
