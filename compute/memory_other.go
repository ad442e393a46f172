//go:build !linux

package compute

func newMemories(bool) memories { return plainMemories{} }
