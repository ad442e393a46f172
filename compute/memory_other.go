//go:build !linux

package compute

func newMemories(Options) memories { return plainMemories{} }
