//go:build !linux

package compute

import "runtime"

// bell makes way for others.
type bell struct {
	bad bool // never: there is always a way to make way
}

func (*bell) ring() { runtime.Gosched() }
