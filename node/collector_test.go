package node

import (
	"slices"
	"testing"
)

func TestHeapsGrowByWhatLivesWithinBounds(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{{0, 800}, {1 << 20, 800}, {4 << 20, 800}, {8 << 20, 400}, {16 << 20, 200}, {32 << 20, 100}, {256 << 20, 100}, {512 << 20, 56}, {2 << 30, 23}, {64 << 30, 12}} {
		if got := collectorPercent(tt.live); got != tt.want {
			t.Errorf("%d live bytes: %d %%, want %d", tt.live, got, tt.want)
		}
	}
}

func TestMemoryIsGivenBackOnceAfterABusyTime(t *testing.T) {
	var i idleness
	allocated := uint64(0)
	var got []bool
	for _, fresh := range []uint64{0, 10 << 20, 10 << 20, 1000, 1000, 1000, 1000, 1000, 10 << 20, 1000, 10 << 20, 1000} {
		allocated += fresh
		got = append(got, i.giveBack(allocated))
	}
	want := []bool{false, false, false, true, true, true, false, false, false, true, false, true}
	if !slices.Equal(got, want) {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}
