package main

import "testing"

func TestSmallHeapsGrowToTheFloorAndLargeOnesDouble(t *testing.T) {
	for _, tt := range []struct {
		live uint64
		want int
	}{{0, 800}, {1 << 20, 800}, {4 << 20, 800}, {8 << 20, 400}, {16 << 20, 200}, {32 << 20, 100}, {1 << 30, 100}} {
		if got := collectorPercent(tt.live); got != tt.want {
			t.Errorf("%d live bytes: %d %%, want %d", tt.live, got, tt.want)
		}
	}
}
