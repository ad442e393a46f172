package telemetry

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/record"
)

const (
	// defaultBuffer is how many bytes of lines wait for the disk at the most.
	defaultBuffer = selvage.ByteSize(1 << 20)
	// flushEvery is how long a line waits at the most before it is written.
	flushEvery = 250 * time.Millisecond
	// flushAt is how many bytes are written at once without waiting.
	flushAt = 64 << 10
)

// AccessLog writes a line of JSON for every record that its route chose; the
// fields are those of [Fields]. Its exported fields are set before the first
// Take.
//
// Lines wait in a bounded buffer for the one goroutine that writes them, for
// 250ms at the most. What does not fit is dropped and counted; a disk that
// takes nothing is reported once, counted, and tried again with the next lines.
type AccessLog struct {
	// The lines that may wait, in bytes. 0 is 1MiB. Its limit is named access_log.
	Buffer selvage.ByteSize
	// Called when a line finds the buffer full.
	OnLimit func(limit string)

	log    *slog.Logger
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

	dropped atomic.Uint64
	lost    atomic.Uint64
}

// NewAccessLog returns the access log that writes to path: stdout, stderr, off,
// or a file that is made or added to. A file that cannot be opened is an error.
func NewAccessLog(path string, log *slog.Logger) (*AccessLog, error) {
	l := &AccessLog{
		log:    log,
		path:   path,
		wake:   make(chan struct{}, 1),
		full:   make(chan struct{}, 1),
		reopen: make(chan struct{}, 1),
	}
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
		f, err := openLog(path)
		if err != nil {
			return nil, err
		}
		l.out, l.file = f, f
	}
	return l, nil
}

func openLog(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o640)
	if err != nil {
		return nil, fmt.Errorf("open access log: %w", err)
	}
	return f, nil
}

// Take puts r's line into the buffer, if its route wants it written.
func (l *AccessLog) Take(r *record.Record) {
	if l.off {
		return
	}
	weight, ok := chosen(r)
	if !ok {
		return
	}
	buf, _ := l.scratch.Get().(*[]byte)
	if buf == nil {
		buf = new([]byte)
	}
	*buf = appendLine((*buf)[:0], r, weight)
	l.add(*buf)
	if cap(*buf) <= 64<<10 { // a giant one is not kept
		l.scratch.Put(buf)
	}
}

func (l *AccessLog) add(text []byte) {
	limit := int(l.Buffer)
	if limit == 0 {
		limit = int(defaultBuffer)
	}
	l.mu.Lock()
	had := len(l.pending)
	fits := had+len(text) <= limit
	if fits {
		l.pending = append(l.pending, text...)
	}
	l.mu.Unlock()
	switch {
	case !fits:
		l.dropped.Add(1)
		if l.OnLimit != nil {
			l.OnLimit("access_log")
		}
	case had == 0:
		poke(l.wake)
	}
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

// Dropped is how many lines found the buffer full.
func (l *AccessLog) Dropped() uint64 { return l.dropped.Load() }

// Lost is how many lines the disk did not take.
func (l *AccessLog) Lost() uint64 { return l.lost.Load() }

// Reopen has the file opened again by its path, as after it was renamed. Until
// that has worked, lines go to the old one. Without a file it does nothing.
func (l *AccessLog) Reopen() { poke(l.reopen) }

// Run writes lines until ctx ends; then it writes what waits and closes the file.
func (l *AccessLog) Run(ctx context.Context) error {
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
		return fmt.Errorf("close access log: %w", err)
	}
	return nil
}

// flush writes what waits, with spare as the next buffer, and returns the one that was written.
func (l *AccessLog) flush(spare []byte) []byte {
	l.mu.Lock()
	text := l.pending
	l.pending = spare[:0]
	l.mu.Unlock()
	if len(text) > 0 {
		l.write(text)
	}
	return text
}

func (l *AccessLog) write(text []byte) {
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
			l.log.Info("access log is written again", "path", l.path, "lines_lost", l.lost.Load())
		}
		return
	}
	l.partial = l.partial || n > 0 && text[n-1] != '\n'
	l.lost.Add(uint64(bytes.Count(text[n:], []byte{'\n'})))
	if !l.failing {
		l.failing = true
		l.log.Error("access log cannot be written", "path", l.path, "error", err)
	}
}

func (l *AccessLog) openAgain() {
	if l.file == nil {
		return
	}
	f, err := openLog(l.path)
	if err != nil {
		l.log.Error("access log keeps its old file", "path", l.path, "error", err)
		return
	}
	old := l.file
	l.out, l.file, l.partial = f, f, false
	if err := old.Close(); err != nil {
		l.log.Error("close old access log", "path", l.path, "error", err)
	}
}
