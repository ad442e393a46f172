package telemetry

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage/record"
)

// sheet is a writer that remembers, and fails as long as it is told to.
type sheet struct {
	mu     sync.Mutex // guards what follows
	text   bytes.Buffer
	writes int
	err    error
	takes  int // how many bytes of a failing write are taken
}

func (s *sheet) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writes++
	if s.err != nil {
		n := min(s.takes, len(p))
		s.text.Write(p[:n])
		s.takes -= n
		return n, s.err
	}
	return s.text.Write(p)
}

func (s *sheet) lines() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Split(strings.TrimSuffix(s.text.String(), "\n"), "\n")
}

func (s *sheet) fail(err error, takes int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err, s.takes = err, takes
}

func (s *sheet) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.writes
}

// onto returns an access log that writes onto s, and runs it until end is
// called, at the latest when the test ends.
func onto(t *testing.T, s *sheet, log *slog.Logger) (l *AccessLog, end func()) {
	l, err := NewAccessLog("stdout", log)
	if err != nil {
		t.Fatal(err)
	}
	l.out = s
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }() // the cleanup waits for it
	end = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	t.Cleanup(end)
	return l, end
}

func TestLinesAreWrittenWithinAQuarterSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sheet
		l, _ := onto(t, &s, nil)
		for range 3 {
			l.Take(plain())
			time.Sleep(10 * time.Millisecond)
		}
		if s.count() != 0 {
			t.Fatalf("%q was written before the time had come", s.lines())
		}
		time.Sleep(flushEvery)
		synctest.Wait()
		if got := s.lines(); len(got) != 3 || s.count() != 1 {
			t.Errorf("%d lines in %d writes, want 3 in 1", len(got), s.count())
		}
	})
}

func TestFullBufferIsWrittenAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sheet
		l, _ := onto(t, &s, nil)
		n := 0
		for size := 0; size < flushAt; n++ {
			l.Take(plain())
			size += len(appendLine(nil, plain(), 1))
		}
		synctest.Wait() // no time passes
		if got := s.lines(); len(got) != n {
			t.Errorf("%d lines of %d were written", len(got), n)
		}
	})
}

func TestLinesThatDoNotFitAreCounted(t *testing.T) {
	l, err := NewAccessLog("stdout", nil)
	if err != nil {
		t.Fatal(err)
	}
	var limits []string
	l.OnLimit = func(limit string) { limits = append(limits, limit) }
	l.Buffer = 2048
	size := len(appendLine(nil, plain(), 1))
	fit := 2048 / size
	for range fit + 5 {
		l.Take(plain()) // nobody writes
	}
	if l.Dropped() != 5 || len(limits) != 5 || limits[0] != "access_log" {
		t.Errorf("dropped %d, limits %q; want 5 of access_log", l.Dropped(), limits)
	}
}

func TestWaitingLinesAreWrittenAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sheet
		l, end := onto(t, &s, nil)
		l.Take(plain())
		end()
		if got := s.lines(); len(got) != 1 || got[0] == "" {
			t.Errorf("%q was written, want one line", got)
		}
	})
}

func TestFullDiskIsReportedOnceAndCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s, notes sheet
		l, _ := onto(t, &s, slog.New(slog.NewTextHandler(&notes, nil)))
		line := len(appendLine(nil, plain(), 1))
		s.fail(errors.New("no space left on device"), line+10)
		for range 3 {
			l.Take(plain())
			l.Take(plain())
			time.Sleep(time.Second)
		}
		s.fail(nil, 0)
		l.Take(plain())
		time.Sleep(time.Second)
		synctest.Wait()
		if l.Lost() != 5 {
			t.Errorf("%d lines lost, want 5", l.Lost())
		}
		got := s.lines()
		if len(got) != 3 || len(got[1]) != 10 {
			t.Fatalf("on the disk %q, want a line, a torn one, and a line", got)
		}
		decode(t, []byte(got[0]))
		decode(t, []byte(got[2]))
		if got := notes.lines(); len(got) != 2 || !strings.Contains(got[0], "cannot be written") || !strings.Contains(got[1], "lines_lost=5") {
			t.Errorf("reported %q, want once that it fails and once that it goes on", got)
		}
	})
}

func TestRenamedFileIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "access.log")
	l, err := NewAccessLog(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- l.Run(ctx) }() // waited for below
	wait := func(path string) {
		t.Helper()
		for range 500 {
			if text, err := os.ReadFile(path); err == nil && strings.HasSuffix(string(text), "\n") {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Fatalf("no line in %s", path)
	}
	l.Take(plain())
	wait(path)
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	l.Reopen()
	for range 500 { // the file appears when it was opened again
		if _, err := os.Stat(path); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	l.Take(plain())
	wait(path)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	old, _ := os.ReadFile(path + ".1")
	if n := strings.Count(string(old), "\n"); n != 1 {
		t.Errorf("%d lines in the renamed file, want 1", n)
	}
}

func TestFileThatCannotBeOpenedIsAnError(t *testing.T) {
	_, err := NewAccessLog(filepath.Join(t.TempDir(), "missing", "access.log"), nil)
	if err == nil || !strings.HasPrefix(err.Error(), "open access log: ") {
		t.Errorf("error %v, want one that says what was opened", err)
	}
}

func TestLogThatIsOffWritesNothing(t *testing.T) {
	l, err := NewAccessLog("off", nil)
	if err != nil {
		t.Fatal(err)
	}
	l.Take(plain())
	if l.pending != nil {
		t.Errorf("%q waits", l.pending)
	}
}

func TestTakingALineAllocatesNothing(t *testing.T) {
	if raced {
		t.Skip("the race detector has pools forget")
	}
	l, err := NewAccessLog("stdout", nil)
	if err != nil {
		t.Fatal(err)
	}
	r := plain()
	l.Take(r)
	if n := testing.AllocsPerRun(200, func() {
		l.pending = l.pending[:0]
		l.Take(r)
	}); n > 0 {
		t.Errorf("%v allocations a line, want 0", n)
	}
}

func TestFanReachesEverySink(t *testing.T) {
	var m Series
	var n Series
	Fan{&m, &n}.Take(&record.Record{Start: time.Unix(100, 0)})
	for _, s := range []*Series{&m, &n} {
		if got := s.Snapshot(time.Unix(100, 0)); len(got) != 1 || got[0].Total.Requests != 1 {
			t.Errorf("snapshot %+v, want one request", got)
		}
	}
}

func BenchmarkAccessLogTake(b *testing.B) {
	l, err := NewAccessLog("stdout", nil)
	if err != nil {
		b.Fatal(err)
	}
	r := plain()
	b.ReportAllocs()
	for b.Loop() {
		l.Take(r)
		if len(l.pending) > 1<<19 {
			l.pending = l.pending[:0]
		}
	}
}
