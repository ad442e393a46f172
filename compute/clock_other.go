//go:build !linux

package compute

import "time"

// threadTime is not to be had here.
func threadTime() (time.Duration, bool) { return 0, false }
