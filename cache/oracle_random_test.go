package cache

import (
	"math/rand/v2"
	"testing"
)

// TestNothingIsServedThatMustNotBe plays what FuzzTransport plays, for as long as a test may take.
func TestNothingIsServedThatMustNotBe(t *testing.T) {
	for range 300 {
		playSeed(t, rand.Uint64())
	}
}

func playSeed(t *testing.T, seed uint64) {
	defer func() {
		if t.Failed() {
			t.Logf("seed %d", seed)
		}
	}()
	r := rand.New(rand.NewPCG(seed, 0))
	script := make([]byte, 600)
	for i := range script {
		script[i] = byte(r.Uint32())
	}
	onVirtualTime(t, func(t *testing.T) { play(t, script) })
}
