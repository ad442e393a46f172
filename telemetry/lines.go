package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
)

const (
	// defaultBuffer is how many bytes of lines wait for the disk at the most.
	defaultBuffer = selvage.ByteSize(1 << 20)
	// flushEvery is how long a line waits at the most before it is written.
	flushEvery = 250 * time.Millisecond
	// flushAt is how many bytes are written at once without waiting.
	flushAt = 64 << 10
)

// Lines is a log of lines. Its exported fields are set before the first line.
//
// Lines wait in a bounded buffer for the one goroutine that writes them, for
// 250ms at the most. What does not fit is dropped and counted; a disk that
// takes nothing is reported once, counted, and tried again with the next lines.
type Lines struct {
	// The lines that may wait, in bytes. 0 is 1MiB.
	Buffer selvage.ByteSize
	// Called when a line finds the buffer full.
	OnLimit func(limit string)

	log    *slog.Logger
	what   string // in messages
	limit  string // the name of the limit
	path   string
	off    bool
	wake   chan struct{}
	full   chan struct{}
	reopen chan struct{}

	// Owned by Run.
	out     io.Writer
	file    *os.File // nil for stdout and stderr
	failing bool     // the last write went wrong
	partial bool     // the last write ended inside a line

	scratch sync.Pool // *[]byte

	mu      sync.Mutex // guards pending
	pending []byte

	taken   atomic.Uint64
	dropped atomic.Uint64
	lost    atomic.Uint64
}

// open finds the place that path names.
func (l *Lines) open(path, what string, log *slog.Logger) error {
	l.path, l.what, l.log = path, what, log
	l.wake, l.full, l.reopen = make(chan struct{}, 1), make(chan struct{}, 1), make(chan struct{}, 1)
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	switch path {
	case "off":
		l.off = true
	case "stdout":
		l.out = os.Stdout
	case "stderr", "":
		l.out = os.Stderr
	default:
		f, err := l.openFile()
		if err != nil {
			return err
		}
		l.out, l.file = f, f
	}
	return nil
}

func (l *Lines) openFile() (*os.File, error) {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", l.what, err)
	}
	return f, nil
}

// lend lends memory to make lines in.
func (l *Lines) lend() *[]byte {
	buf, _ := l.scratch.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	return buf
}

func (l *Lines) giveBack(buf *[]byte) {
	if cap(*buf) <= 64<<10 { // a giant one is not kept
		l.scratch.Put(buf)
	}
}

// most is how many bytes of lines may wait.
func (l *Lines) most() int { return int(cmp.Or(l.Buffer, defaultBuffer)) }

// add puts some whole lines into the buffer, all or none.
func (l *Lines) add(text []byte, lines uint64) {
	l.mu.Lock()
	had := len(l.pending)
	fits := had+len(text) <= l.most()
	if fits {
		l.pending = append(l.pending, text...)
	}
	l.mu.Unlock()
	switch {
	case !fits:
		l.dropped.Add(lines)
		if l.OnLimit != nil {
			l.OnLimit(l.limit)
		}
		return
	case had == 0:
		poke(l.wake)
	}
	l.taken.Add(lines)
	if had < flushAt && had+len(text) >= flushAt {
		poke(l.full)
	}
}

// poke leaves a signal for a reader that may be busy. One is enough.
func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Taken is how many lines were put into the buffer.
func (l *Lines) Taken() uint64 { return l.taken.Load() }

// Dropped is how many lines found the buffer full.
func (l *Lines) Dropped() uint64 { return l.dropped.Load() }

// Lost is how many lines the disk did not take.
func (l *Lines) Lost() uint64 { return l.lost.Load() }

// Reopen has the file opened again by its path, as after it was renamed. Until
// that has worked, lines go to the old one. Without a file it does nothing.
func (l *Lines) Reopen() { poke(l.reopen) }

// Run writes lines until ctx ends; then it writes what waits and closes the file.
func (l *Lines) Run(ctx context.Context) error {
	var spare []byte
	timer := time.NewTimer(flushEvery)
	timer.Stop()
	defer timer.Stop()
	for done := false; !done; {
		select {
		case <-ctx.Done():
			done = true
		case <-l.reopen:
			l.openAgain()
			continue
		case <-l.full:
		case <-l.wake:
			timer.Reset(flushEvery)
			continue
		case <-timer.C:
		}
		spare = l.flush(spare)
	}
	if l.file == nil {
		return nil
	}
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("close %s: %w", l.what, err)
	}
	return nil
}

// flush writes what waits, with spare as the next buffer, and returns the one that was written.
func (l *Lines) flush(spare []byte) []byte {
	l.mu.Lock()
	text := l.pending
	l.pending = spare[:0]
	l.mu.Unlock()
	if len(text) > 0 {
		l.write(text)
	}
	return text
}

func (l *Lines) write(text []byte) {
	if l.partial {
		// The torn line ends here, so that the next one can be read.
		if _, err := l.out.Write([]byte{'\n'}); err == nil {
			l.partial = false
		}
	}
	n, err := l.out.Write(text)
	if err == nil {
		if l.failing {
			l.failing = false
			l.log.Info("log is written again", "log", l.what, "path", l.path, "lines_lost", l.lost.Load())
		}
		return
	}
	l.partial = l.partial || n > 0 && text[n-1] != '\n'
	l.lost.Add(uint64(bytes.Count(text[n:], []byte{'\n'})))
	if !l.failing {
		l.failing = true
		l.log.Error("log cannot be written", "log", l.what, "path", l.path, "error", err)
	}
}

func (l *Lines) openAgain() {
	if l.file == nil {
		return
	}
	f, err := l.openFile()
	if err != nil {
		l.log.Error("log keeps its old file", "log", l.what, "path", l.path, "error", err)
		return
	}
	old := l.file
	l.out, l.file, l.partial = f, f, false
	if err := old.Close(); err != nil {
		l.log.Error("close old file of log", "log", l.what, "path", l.path, "error", err)
	}
}
