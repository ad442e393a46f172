//go:build !linux

package compute

const lowestPriorities = ""

func priorities() string { return "" }
