package state_test

import (
	"testing"
	"testing/synctest"

	"github.com/selvage-edge/selvage/state"
	"github.com/selvage-edge/selvage/state/conform"
)

func TestMemoryConforms(t *testing.T) {
	open := func(_ *testing.T, limits state.Limits) state.Store { return state.Memory(limits) }
	for name, test := range conform.Tests() {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, open) })
		})
	}
}
