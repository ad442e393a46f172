//go:build !linux

package compute

func newMemories(Options, func()) memories { return plainMemories{} }
