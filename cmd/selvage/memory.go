package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapFloor is how much a small heap may grow before it is collected: a node
// that stores little would otherwise collect a hundred times a second under load.
const heapFloor = 32 << 20

// tuneCollector keeps the collector's goal at twice what lives, but at least
// heapFloor above it, until ctx ends. Whoever sets GOGC has decided otherwise.
func tuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		metrics.Read(live)
		debug.SetGCPercent(collectorPercent(live[0].Value.Uint64()))
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// collectorPercent is the growth that is allowed over so many live bytes.
func collectorPercent(live uint64) int {
	if live == 0 {
		return 800
	}
	return int(min(max(100*heapFloor/live, 100), 800))
}
