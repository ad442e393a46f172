package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"runtime"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"
)

// source is a body that knows whether it was closed.
type source struct {
	io.Reader
	closed int
}

func (s *source) Close() error { s.closed++; return nil }

func content(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i * 7 / 3)
	}
	return b
}

func open(t *testing.T, s *Spool) *Reader {
	t.Helper()
	r, err := s.NewReader()
	if err != nil {
		t.Fatalf("new reader: %v", err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func TestBodyIsReadAgainWithinTheLimits(t *testing.T) {
	for _, c := range []struct{ size, memory, disk int64 }{
		{0, 10, 0}, {1, 10, 0}, {10, 10, 0}, {0, 0, 0}, {0, 0, 10}, {10, 0, 10},
		{10, 4, 6}, {100_000, 1 << 20, 0}, {100_000, 33_333, 66_667}, {100_000, 0, 1 << 20},
	} {
		t.Run(fmt.Sprintf("%d in %d and %d", c.size, c.memory, c.disk), func(t *testing.T) {
			want := content(int(c.size))
			s := New(io.NopCloser(bytes.NewReader(want)), Options{Memory: c.memory, Disk: c.disk, Folder: t.TempDir(), Digest: true})
			defer s.Close()
			for range 3 {
				got, err := io.ReadAll(open(t, s))
				if err != nil || !bytes.Equal(got, want) {
					t.Fatalf("read %d bytes, %v; want the %d bytes of the source", len(got), err, len(want))
				}
			}
			if digest, ok := s.Digest(); !ok || digest != sha256.Sum256(want) {
				t.Errorf("digest %x, %v; want %x", digest, ok, sha256.Sum256(want))
			}
			if s.Overflowed() || s.Size() != c.size {
				t.Errorf("overflowed %v, size %d; want false, %d", s.Overflowed(), s.Size(), c.size)
			}
		})
	}
}

func TestLongerBodyStreamsOnceOnly(t *testing.T) {
	for _, o := range []Options{{}, {Memory: 99}, {Memory: 50, Disk: 49, Folder: t.TempDir()}} {
		want := content(100)
		s := New(io.NopCloser(iotest.OneByteReader(bytes.NewReader(want))), o)
		behind := open(t, s)
		got, err := io.ReadAll(open(t, s))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%+v: first reader got %d bytes, %v; want all 100", o, len(got), err)
		}
		if !s.Overflowed() {
			t.Errorf("%+v: not overflowed", o)
		}
		if _, err := s.NewReader(); !errors.Is(err, ErrOverflowed) {
			t.Errorf("%+v: new reader: %v; want %v", o, err, ErrOverflowed)
		}
		if _, err := io.ReadAll(behind); !errors.Is(err, ErrOverflowed) {
			t.Errorf("%+v: reader behind: %v; want %v", o, err, ErrOverflowed)
		}
		s.Close()
	}
}

func TestSourceErrorReachesAllReaders(t *testing.T) {
	broken := errors.New("client is gone")
	s := New(io.NopCloser(io.MultiReader(bytes.NewReader(content(10)), iotest.ErrReader(broken))), Options{Memory: 100, Digest: true})
	defer s.Close()
	for range 2 {
		got, err := io.ReadAll(open(t, s))
		if !errors.Is(err, broken) || len(got) != 10 {
			t.Errorf("got %d bytes, %v; want 10, %v", len(got), err, broken)
		}
	}
	if _, ok := s.Digest(); ok {
		t.Error("there is a digest of a body that did not end well")
	}
}

func TestReaderGivenUpInItsTurnLeavesNothingOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		s := New(pr, Options{Memory: 100})
		first, second := open(t, s), open(t, s)
		var wg sync.WaitGroup
		wg.Go(func() { io.ReadAll(first) })
		synctest.Wait() // the first reader is inside the source's Read
		first.Close()
		var got []byte
		wg.Go(func() { got, _ = io.ReadAll(second) })
		synctest.Wait()
		pw.Write([]byte("one "))
		pw.Write([]byte("two"))
		pw.Close()
		wg.Wait()
		if string(got) != "one two" {
			t.Errorf("second reader got %q; want %q", got, "one two")
		}
	})
}

func TestBytesArriveBeforeTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		s := New(pr, Options{Memory: 100})
		for _, r := range []*Reader{open(t, s), open(t, s)} {
			if s.Size() == 0 {
				go pw.Write([]byte("early")) // ends with the read below
			}
			buf := make([]byte, 9)
			if n, err := r.Read(buf); err != nil || string(buf[:n]) != "early" {
				t.Errorf("got %q, %v; want %q", buf[:n], err, "early")
			}
		}
		pw.Close()
	})
}

func TestCloseWakesAReaderThatWaitsForItsTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pr, pw := io.Pipe()
		s := New(pr, Options{Memory: 100})
		first, second := open(t, s), open(t, s)
		var wg sync.WaitGroup
		wg.Go(func() { io.ReadAll(first) })
		synctest.Wait()
		var err error
		wg.Go(func() { _, err = second.Read(make([]byte, 1)) })
		synctest.Wait()
		second.Close()
		synctest.Wait()
		if !errors.Is(err, ErrClosed) {
			t.Errorf("waiting reader: %v; want %v", err, ErrClosed)
		}
		pw.Close()
		wg.Wait()
	})
}

func TestSourceIsClosedWithTheLastUser(t *testing.T) {
	src := &source{Reader: bytes.NewReader(content(10))}
	s := New(src, Options{Memory: 100})
	r := open(t, s)
	s.Close()
	s.Close()
	if _, err := s.NewReader(); !errors.Is(err, ErrClosed) {
		t.Errorf("new reader: %v; want %v", err, ErrClosed)
	}
	if got, err := io.ReadAll(r); err != nil || len(got) != 10 || src.closed != 0 {
		t.Errorf("open reader got %d bytes, %v, source closed %d times; want 10, nil, 0", len(got), err, src.closed)
	}
	r.Close()
	r.Close()
	if src.closed != 1 {
		t.Errorf("source closed %d times; want once", src.closed)
	}
	if _, err := r.Read(make([]byte, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("closed reader: %v; want %v", err, ErrClosed)
	}
}

func TestNothingIsKeptForTheLastReader(t *testing.T) {
	s := New(io.NopCloser(bytes.NewReader(content(1000))), Options{Memory: 1000})
	r := open(t, s)
	io.ReadFull(r, make([]byte, 10))
	s.Close()
	if got, err := io.ReadAll(r); err != nil || len(got) != 990 {
		t.Fatalf("got %d bytes, %v; want 990", len(got), err)
	}
	if len(s.memory) != 0 {
		t.Errorf("%d bytes are kept that nobody can read", len(s.memory))
	}
}

func TestMemoryStaysWithinTheLimit(t *testing.T) {
	s := New(io.NopCloser(iotest.OneByteReader(bytes.NewReader(content(1000)))), Options{Memory: 777, Disk: 1000, Folder: t.TempDir()})
	defer s.Close()
	if err := s.Fill(); err != nil {
		t.Fatal(err)
	}
	if cap(s.memory) > 777 {
		t.Errorf("%d bytes of memory; want at most 777", cap(s.memory))
	}
}

func TestFileHasNoNameAndIsOursAlone(t *testing.T) {
	folder := t.TempDir()
	s := New(io.NopCloser(bytes.NewReader(content(1000))), Options{Disk: 1000, Folder: folder})
	if err := s.Fill(); err != nil {
		t.Fatal(err)
	}
	names, err := os.ReadDir(folder)
	if err != nil || len(names) != 0 {
		t.Errorf("folder holds %v, %v; want nothing", names, err)
	}
	info, err := s.file.Stat()
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != 1000 {
		t.Errorf("file has mode %v, %d bytes, %v; want 0600, 1000", info.Mode(), info.Size(), err)
	}
	s.Close()
	if _, err := s.file.Stat(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("file after Close: %v; want it closed", err)
	}
}

func TestFullDiskIsAnErrorForAll(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has /dev/full")
	}
	s := New(io.NopCloser(bytes.NewReader(content(1000))), Options{Memory: 10, Disk: 1000, Folder: "unused"})
	s.create = func(string) (*os.File, error) { return os.OpenFile("/dev/full", os.O_RDWR, 0) }
	defer s.Close()
	if err := s.Fill(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("fill: %v; want %v", err, syscall.ENOSPC)
	}
	got, err := io.ReadAll(open(t, s))
	if !errors.Is(err, syscall.ENOSPC) || len(got) != 10 {
		t.Errorf("reader got %d bytes, %v; want 10, %v", len(got), err, syscall.ENOSPC)
	}
}

func TestFolderThatIsNotThereIsNamed(t *testing.T) {
	s := New(io.NopCloser(bytes.NewReader(content(1000))), Options{Disk: 1000, Folder: "/nonexistent"})
	defer s.Close()
	if err := s.Fill(); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("fill: %v; want %v", err, os.ErrNotExist)
	}
}

func TestFillRefusesALongerBody(t *testing.T) {
	s := New(io.NopCloser(bytes.NewReader(content(1000))), Options{Memory: 10, Disk: 10, Folder: t.TempDir()})
	defer s.Close()
	if err := s.Fill(); !errors.Is(err, ErrOverflowed) {
		t.Errorf("fill: %v; want %v", err, ErrOverflowed)
	}
}

func TestConcurrentReadersAllSeeTheSame(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	for range 50 {
		want := content(rng.IntN(20_000))
		memory := rng.Int64N(20_000)
		s := New(&source{Reader: iotest.HalfReader(bytes.NewReader(want))}, Options{Memory: memory, Disk: 20_000, Folder: t.TempDir(), Digest: true})
		var wg sync.WaitGroup
		for range 4 {
			r, step, stop := open(t, s), 1+rng.IntN(5000), rng.IntN(40_000)
			wg.Go(func() {
				defer r.Close()
				var got []byte
				for buf := make([]byte, step); len(got) < stop; {
					n, err := r.Read(buf)
					got = append(got, buf[:n]...)
					if errors.Is(err, io.EOF) {
						if !bytes.Equal(got, want) {
							t.Errorf("got %d bytes; want the %d of the source", len(got), len(want))
						}
						return
					}
					if err != nil {
						t.Errorf("read: %v", err)
						return
					}
				}
				if !bytes.HasPrefix(want, got) {
					t.Error("got other bytes than the source's")
				}
			})
		}
		wg.Wait()
		s.Close()
		if n := s.src.(*source).closed; n != 1 {
			t.Fatalf("source closed %d times; want once", n)
		}
	}
}
