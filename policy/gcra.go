package policy

import (
	"math"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

// gcra is the generic cell rate algorithm (ITU-T I.371, annex A, in its virtual
// scheduling form): one moment per key says until when the allowance is used
// up. A request moves it on by one interval; it must not lie further ahead
// than the burst. It is pure: the moment is the caller's.
type gcra struct {
	interval int64 // nanoseconds that one request uses
	burst    int64
	ahead    int64 // interval × burst: how far the moment may lie ahead
}

// longest is how far ahead a moment may lie at all, so that no sum overflows.
const longest = 100 * 365 * 24 * int64(time.Hour)

// newGCRA makes the algorithm for a rate. Without a burst it is one second's worth, at least 1.
func newGCRA(rate selvage.Rate, burst int) (gcra, error) {
	if rate.Requests <= 0 || rate.Per <= 0 || burst < 0 {
		return gcra{}, selvage.Errorf(selvage.Invalid, "rate and burst must be above zero")
	}
	g := gcra{interval: max(1, int64(rate.Per)/rate.Requests), burst: int64(burst)}
	if burst == 0 {
		g.burst = max(1, int64(float64(rate.Requests)/rate.Per.Seconds()))
	}
	if g.burst > math.MaxInt64/g.interval || g.burst*g.interval > longest {
		return gcra{}, selvage.Errorf(selvage.Invalid, "burst %d would take longer than 100 years to come back", burst)
	}
	g.ahead = g.interval * g.burst
	return g, nil
}

// flow is what the algorithm says of one request.
type flow struct {
	admitted  bool
	remaining int64         // requests that could come now
	reset     time.Duration // until all of the burst is there again
	retry     time.Duration // until the next request is admitted; 0 if this one was
}

// take asks for one request at now, in nanoseconds. It may be called from many goroutines.
func (g gcra) take(moment *atomic.Int64, now int64) flow {
	for {
		old := moment.Load()
		// A moment too far ahead is from a larger limit before a reload, or
		// from a clock that was set back: it counts as an empty allowance.
		base := max(min(old, now+g.ahead), now)
		next := base + g.interval
		if over := next - now - g.ahead; over > 0 {
			if base < old && !moment.CompareAndSwap(old, base) {
				continue
			}
			return flow{reset: time.Duration(base - now), retry: time.Duration(over)}
		}
		if moment.CompareAndSwap(old, next) {
			used := next - now
			return flow{admitted: true, remaining: (g.ahead - used) / g.interval, reset: time.Duration(used)}
		}
	}
}

// seconds is d in whole seconds, rounded up, as header fields have it.
func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }
