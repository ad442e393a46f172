//go:build !linux

package main

import "golang.org/x/term"

// makeRaw lets each key be read at once.
func makeRaw(terminal int) (*term.State, error) { return term.MakeRaw(terminal) }
