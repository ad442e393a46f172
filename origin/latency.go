package origin

import (
	"math"
	"sync/atomic"
	"time"
)

const (
	// latencyDecay is the time in which an average loses all but a third of
	// its weight. It is Finagle's choice: long enough to remember a pause of a
	// collector, short enough to forgive a restart.
	latencyDecay = 10 * time.Second

	// latencyFloor is what all faster endpoints count as: below it only the
	// requests in flight tell them apart.
	latencyFloor = float64(100 * time.Microsecond)

	// latencyCeiling is what all slower endpoints count as. A failure counts as
	// twice the average, so that without it a row of failures would grow to
	// infinity, from which an average never comes back.
	latencyCeiling = float64(time.Minute)

	// latencyLeap bounds what one answer can do to an average. Without it the one
	// slow report of a mixed load would keep an endpoint out of use for a minute;
	// an endpoint that became slow is still known for it after three answers.
	latencyLeap = 8
)

// latency is a peak-sensitive moving average of the time to the first byte: it
// rises to a slower answer at once and falls with time (Finagle's peak EWMA). It
// is one word, the average in nanoseconds as a float32 over the milliseconds of
// its last change as a uint32, so that the request path takes no lock. Zero is no
// answer yet.
type latency struct{ word atomic.Uint64 }

func unpackLatency(word uint64) (average float64, ms uint32) {
	return float64(math.Float32frombits(uint32(word >> 32))), uint32(word)
}

func packLatency(average float64, ms uint32) uint64 {
	return uint64(math.Float32bits(float32(min(max(average, 1), latencyCeiling))))<<32 | uint64(ms)
}

// remaining is the share of an average that is left after its age.
func remaining(then, now uint32) float64 {
	age := int32(now - then)
	if age <= 0 { // another goroutine's clock reading may be a little later
		return 1
	}
	return math.Exp(-float64(age) / float64(latencyDecay/time.Millisecond))
}

// at is the average, decayed to now; 0 if there was no answer yet. Decay towards
// nothing is what sends a request again to an endpoint that was slow long ago.
func (l *latency) at(now uint32) float64 {
	word := l.word.Load()
	if word == 0 {
		return 0
	}
	average, then := unpackLatency(word)
	return average * remaining(then, now)
}

// observe takes in an answer that took sample nanoseconds.
func (l *latency) observe(now uint32, sample float64) {
	for {
		old := l.word.Load()
		next := packLatency(sample, now)
		if old != 0 {
			average, then := unpackLatency(old)
			left := remaining(then, now)
			switch {
			case sample >= average:
				next = packLatency(min(sample, average*latencyLeap), now)
			case left == 1:
				// The same millisecond: were the time of change renewed for each
				// answer, a busy endpoint's average would never fall.
				return
			default:
				next = packLatency(average*left+sample*(1-left), now)
			}
		}
		if l.word.CompareAndSwap(old, next) {
			return
		}
	}
}

// seed gives an endpoint without an answer yet the average of the others.
func (l *latency) seed(now uint32, average float64) {
	l.word.CompareAndSwap(0, packLatency(average, now))
}

// cost is what one more request here is expected to wait, in nanoseconds.
func cost(average float64, inFlight int64) float64 {
	return max(average, latencyFloor) * float64(inFlight+1)
}
