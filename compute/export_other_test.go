//go:build !linux

package compute

// look counts nothing where memory is copied.
func (*WasReset) look(*memory) {}
