//go:build race

package telemetry

// raced: the race detector has pools forget on purpose, so allocations cannot be counted.
const raced = true
