//go:build !linux

package compute

import "runtime"

// bell makes way for others.
type bell struct{ _ byte }

func (*bell) ring() { runtime.Gosched() }
