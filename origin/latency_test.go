package origin

import (
	"math"
	"testing"
	"time"
)

func TestAverageRisesAtOnceAndFallsWithTime(t *testing.T) {
	const ms = float64(time.Millisecond)
	var l latency
	if got := l.at(5); got != 0 {
		t.Errorf("without an answer: %v; want 0", got)
	}
	steps := []struct {
		what     string
		at       uint32
		sample   float64
		from, to float64
	}{
		{"first answer", 100, 10 * ms, 10 * ms, 10 * ms},
		{"slower answer counts at once", 100, 50 * ms, 50 * ms, 50 * ms},
		{"faster answer in the same millisecond does not", 100, 1 * ms, 50 * ms, 50 * ms},
		{"faster answer counts with time", 1100, 1 * ms, 44 * ms, 46 * ms},
		{"and more with more", 31100, 1 * ms, 2 * ms, 4 * ms},
		{"one outlier is bounded", 31100, 60_000 * ms, 8 * 2 * ms, 8 * 4 * ms},
		{"an earlier clock is no harm", 31000, 1 * ms, 8 * 2 * ms, 8 * 4 * ms},
	}
	for _, s := range steps {
		l.observe(s.at, s.sample)
		// float32 holds seven digits.
		if got := l.at(s.at); got < s.from*0.999999 || got > s.to*1.000001 {
			t.Errorf("%s: %v; want %v to %v", s.what, time.Duration(got), time.Duration(s.from), time.Duration(s.to))
		}
	}
	if now, later := l.at(31100), l.at(61100); later > now/10 {
		t.Errorf("after half a minute %v is left of %v; want less than a tenth", time.Duration(later), time.Duration(now))
	}
}

func TestBusyEndpointsAverageFallsToo(t *testing.T) {
	var l latency
	l.observe(0, 1e9)
	for i := range 200_000 { // four answers in each millisecond
		l.observe(uint32(i/4), 1e6)
	}
	if got := l.at(50_000); got > 20e6 {
		t.Errorf("after 50 s of fast answers: %v; want less than 20ms", time.Duration(got))
	}
}

func TestSeedDoesNotReplaceAnAnswer(t *testing.T) {
	var l latency
	l.seed(0, 5e6)
	l.seed(0, 9e6)
	if got := l.at(0); got != 5e6 {
		t.Errorf("got %v; want 5ms", time.Duration(got))
	}
}

func TestClockOfTheAverageMayWrap(t *testing.T) {
	var l latency
	l.observe(1<<32-500, 1e9)
	if got := l.at(500); got > 0.95e9 || got < 0.85e9 {
		t.Errorf("a second later, over the wrap: %v; want about 0.9s", time.Duration(got))
	}
}

func TestRowOfFailuresIsForgivenInTime(t *testing.T) {
	var l latency
	for range 1000 { // as a failure that was fast counts
		l.observe(0, max(float64(time.Millisecond), 2*l.at(0)))
	}
	if got := l.at(0); math.Abs(got-latencyCeiling) > 1e5 {
		t.Errorf("after 1000 failures: %v; want the ceiling", got)
	}
	if got := l.at(150_000); got > latencyFloor {
		t.Errorf("150 s later: %v; want less than %v", got, latencyFloor)
	}
}
