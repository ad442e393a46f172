package node

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// A heap may grow by as much as lives in it before it is collected, but at least
// by heapFloor: a node that stores little would otherwise collect a hundred
// times a second under load. Beyond heapDoubles it may grow by an eighth of what is
// more: what fills a large heap is stored answers, of which the collector looks at
// the heads only, and doubling it would cost as much memory again.
const (
	heapFloor   = 32 << 20
	heapDoubles = 256 << 20
)

// A node that allocates less than quietBytes in a second is idle. When it has
// become so, what its busy time left is collected and given back, quietRounds
// times: stacks shrink by half each time.
const (
	quietBytes  = 256 << 10
	quietRounds = 3
)

// TuneCollector keeps the collector's goal by how much lives, and gives memory back when the node has become idle,
// until ctx ends. Whoever sets GOGC has decided otherwise.
func TuneCollector(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	now := []metrics.Sample{{Name: "/gc/heap/live:bytes"}, {Name: "/gc/heap/allocs:bytes"}}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	var idle idleness
	for {
		metrics.Read(now)
		debug.SetGCPercent(collectorPercent(now[0].Value.Uint64()))
		if idle.giveBack(now[1].Value.Uint64()) {
			debug.FreeOSMemory()
		}
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
	room := min(live, heapDoubles) + (max(live, heapDoubles)-heapDoubles)/8
	return int(min(100*max(room, heapFloor)/live, 800))
}

// idleness finds the end of a busy time.
type idleness struct {
	allocated uint64 // in all, a second ago
	busy      bool   // since memory was given back last
	quiet     int    // seconds in a row
}

// giveBack says whether to give memory back now, given the bytes that were
// allocated in all. It is asked once a second.
func (i *idleness) giveBack(allocated uint64) bool {
	fresh := allocated - i.allocated
	i.allocated = allocated
	if fresh >= quietBytes {
		i.busy, i.quiet = true, 0
		return false
	}
	if !i.busy {
		return false
	}
	i.quiet++
	i.busy = i.quiet < quietRounds
	return true
}
