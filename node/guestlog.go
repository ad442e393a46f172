package node

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/selvage-edge/selvage/compute"
)

// maxLogPart is how many bytes of a line are kept until its end comes.
const maxLogPart = 4 << 10

// guestLog hands on what one run of a function writes to its standard output
// and error, by whole lines: those of runs at the same time do not mix. It is
// used by the run alone.
type guestLog struct {
	c    *call
	part []byte // of a line whose end has not come
}

func (l *guestLog) take(p []byte) {
	l.part = append(l.part, p...)
	if end := bytes.LastIndexByte(l.part, '\n') + 1; end > 0 {
		l.say(l.part[:end])
		l.part = append(l.part[:0], l.part[end:]...)
	}
	if len(l.part) > maxLogPart {
		l.say(l.part)
		l.part = l.part[:0]
	}
}

// end hands on the rest, and why the program was ended, with its stack. A client
// that went away is no news.
func (l *guestLog) end(err error, gone bool) {
	if len(l.part) > 0 {
		l.say(l.part)
		l.part = nil
	}
	if err == nil || gone {
		return
	}
	text := err.Error()
	if trap, ok := errors.AsType[*compute.Trap](err); ok {
		text = fmt.Sprintf("%s, trap %s\n%s", err, trap.Fingerprint(), trap.StackText())
	}
	l.say([]byte(text))
}

func (l *guestLog) say(p []byte) {
	l.c.f.say(l.c, "", p)
}
