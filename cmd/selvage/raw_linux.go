package main

import (
	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// makeRaw lets each key be read at once, and drops what was typed before: the terminal keeps
// an unfinished line until then, and would give it to whoever reads first.
func makeRaw(terminal int) (*term.State, error) {
	_ = unix.IoctlSetInt(terminal, unix.TCFLSH, unix.TCIFLUSH) // without it there is what there was
	return term.MakeRaw(terminal)
}
