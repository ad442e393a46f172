package state_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/selvage-edge/selvage"

	"github.com/selvage-edge/selvage/state"
	"github.com/selvage-edge/selvage/state/conform"
)

// childFolder is set for a process that writes until it is killed.
const childFolder = "SELVAGE_STATE_TEST_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(childFolder); folder != "" {
		fmt.Fprintln(os.Stderr, child(folder, os.Args[1]))
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// child writes to the store of a folder.
func child(folder, life string) error {
	e, err := state.Open(state.Options{Folder: folder, Limits: conform.WrittenLimits()})
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancelCause(context.Background())
	go func() { stop(e.Run(ctx)) }() // ends with the process
	return conform.Write(ctx, e.Store(), life, os.Stdout)
}

// run opens and runs a store until the test ends or stop is called.
func run(t *testing.T, o state.Options) (store state.Store, stop func()) {
	t.Helper()
	o.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	e, err := state.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		if err := e.Run(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	stop = func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
		running.Wait()
	}
	t.Cleanup(stop)
	return e.Store(), stop
}

func TestEmbeddedConforms(t *testing.T) {
	open := func(t *testing.T, limits state.Limits) state.Store {
		store, _ := run(t, state.Options{Folder: t.TempDir(), Limits: limits})
		return store
	}
	for name, test := range conform.Tests() {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of the time is spent with waiting
			test(t, open)
		})
	}
}

func TestNothingAcknowledgedIsLostInAKill(t *testing.T) {
	folder := t.TempDir()
	conform.Killed(t, conform.Killing{
		Writer: func(life string) *exec.Cmd {
			cmd := exec.CommandContext(t.Context(), os.Args[0], life)
			cmd.Env = append(os.Environ(), childFolder+"="+folder)
			return cmd
		},
		Open: func(t *testing.T) (state.Store, func()) {
			return run(t, state.Options{Folder: folder, Limits: conform.WrittenLimits()})
		},
		Lives: 5,
	})
}

func TestAFolderBelongsToOneProcess(t *testing.T) {
	folder := t.TempDir()
	_, stop := run(t, state.Options{Folder: folder})
	_, err := state.Open(state.Options{Folder: folder})
	if selvage.KindOf(err) != selvage.Conflict || !strings.Contains(err.Error(), fmt.Sprintf("pid %d", os.Getpid())) {
		t.Errorf("got %v, want a conflict that names the process", err)
	}
	stop()
	e, err := state.Open(state.Options{Folder: folder})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil { // without having run
		t.Error(err)
	}
	_, stop = run(t, state.Options{Folder: folder})
	stop()
}

func TestEverythingIsThereAfterAnotherStart(t *testing.T) {
	folder, ctx := t.TempDir(), t.Context()
	key := state.FeedKey{Tenant: "main", Name: "change"}
	store, stop := run(t, state.Options{Folder: folder})
	for range 5 {
		if _, err := store.Feeds.Append(ctx, key, state.Entry{ID: "", Data: []byte("x")}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := store.Feeds.Append(ctx, key, state.Entry{ID: "last"}); err != nil {
		t.Fatal(err)
	}
	before, err := store.Feeds.Head(ctx, key)
	if err != nil {
		t.Fatal(err)
	}
	stop()

	// Smaller limits are no reason to lose anything.
	limits := state.Limits{Streams: 1, Feeds: map[string]state.FeedPolicy{"change": {MaxBytes: 100}}}
	store, stop = run(t, state.Options{Folder: folder, Limits: limits})
	if after, err := store.Feeds.Head(ctx, key); err != nil || after != before {
		t.Errorf("got %+v, %v after a start, want %+v", after, err, before)
	}
	if p, err := store.Feeds.Append(ctx, key, state.Entry{ID: "last"}); err != nil || p != 6 {
		t.Errorf("the id was forgotten: got %d, %v", p, err)
	}
	if _, err := store.Feeds.Append(ctx, key, state.Entry{}); !errors.Is(err, state.ErrFull) {
		t.Errorf("got %v, want full", err)
	}
	if err := store.Feeds.Trim(ctx, key, 6); err != nil {
		t.Error(err)
	}
	if _, err := store.Feeds.Head(ctx, state.FeedKey{Tenant: "main", Name: "other"}); !errors.Is(err, state.ErrFull) {
		t.Errorf("got %v for a second stream, want full", err)
	}
	stop()

	store, _ = run(t, state.Options{Folder: folder})
	if p, err := store.Feeds.Append(ctx, key, state.Entry{}); err != nil || p != 7 {
		t.Errorf("a trimmed feed goes on at %d, %v, want 7", p, err)
	}
}

func TestADiskThatIsAlmostFullIsOnlyRead(t *testing.T) {
	folder, ctx := t.TempDir(), t.Context()
	doc, feed := state.Collection{Tenant: "main", Name: "c"}.Key("d"), state.FeedKey{Tenant: "main", Name: "f"}
	store, stop := run(t, state.Options{Folder: folder})
	if _, err := store.Documents.Put(ctx, doc, []byte("x"), state.Absent); err != nil {
		t.Fatal(err)
	}
	if _, err := store.Feeds.Append(ctx, feed, state.Entry{Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	stop()

	refused := map[string]int{}
	store, _ = run(t, state.Options{Folder: folder, MinFree: 1 << 60, Limits: state.Limits{OnLimit: func(l string) { refused[l]++ }}})
	_, put := store.Documents.Put(ctx, doc, nil, state.Any)
	_, app := store.Feeds.Append(ctx, feed, state.Entry{})
	_, lease := store.Leases.Acquire(ctx, state.LeaseKey{Tenant: "main", Name: "l"}, "a", state.MinLease)
	for what, err := range map[string]error{
		"put": put, "append": app, "acquire": lease,
		"push": store.Queues.Push(ctx, state.QueueKey{Tenant: "main", Name: "q"}, state.Message{}),
		"blob": store.Blobs.Put(ctx, state.BlobKey{Tenant: "main", Digest: state.DigestOf(nil)}, bytes.NewReader(nil)),
	} {
		if selvage.KindOf(err) != selvage.Unavailable || !errors.Is(err, state.ErrFull) {
			t.Errorf("%s: got %v, want full", what, err)
		}
	}
	if refused["disk"] != 5 {
		t.Errorf("OnLimit heard %v, want the disk five times", refused)
	}
	if d, err := store.Documents.Get(ctx, doc); err != nil || string(d.Value) != "x" {
		t.Errorf("got %q, %v", d.Value, err)
	}
	if h, err := store.Feeds.Head(ctx, feed); err != nil || h.Last != 1 {
		t.Errorf("got %+v, %v", h, err)
	}
	if err := store.Documents.Delete(ctx, doc, state.Any); err != nil {
		t.Errorf("what makes room is refused: %v", err)
	}
}

// A limit on the size of files does to the engine what a full disk does, and needs no root.
func TestWhatCouldNotBeWrittenIsWrittenWhenThereIsRoom(t *testing.T) {
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_FSIZE, &before); err != nil {
		t.Skip(err)
	}
	signal.Ignore(unix.SIGXFSZ)
	defer signal.Reset(unix.SIGXFSZ)
	store, _ := run(t, state.Options{Folder: t.TempDir()})
	ctx, key := t.Context(), state.FeedKey{Tenant: "main", Name: "f"}
	for range 3 {
		if _, err := store.Feeds.Append(ctx, key, state.Entry{Data: []byte("before")}); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setrlimit(unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: 64, Max: before.Max}); err != nil {
		t.Skip(err)
	}
	_, err := store.Feeds.Append(ctx, key, state.Entry{ID: "id", Data: []byte("x")})
	if e := unix.Setrlimit(unix.RLIMIT_FSIZE, &before); e != nil {
		t.Fatal(e)
	}
	if selvage.KindOf(err) != selvage.Unavailable || !errors.Is(err, state.ErrFull) {
		t.Fatalf("got %v, want full", err)
	}
	if h, err := store.Feeds.Head(ctx, key); err != nil || h.Last != 3 {
		t.Errorf("got %+v, %v while nothing can be written", h, err)
	}
	for {
		p, err := store.Feeds.Append(ctx, key, state.Entry{ID: "id", Data: []byte("x")})
		if err == nil {
			if p != 4 {
				t.Errorf("got position %d, want 4", p)
			}
			break
		}
		if selvage.KindOf(err) != selvage.Unavailable {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func TestAClosedStoreIsUnavailable(t *testing.T) {
	store, stop := run(t, state.Options{Folder: t.TempDir()})
	key := state.FeedKey{Tenant: "main", Name: "f"}
	ended := make(chan error)
	go func() { // ends with the store, whose end is waited for below
		var last error
		for e, err := range store.Feeds.Read(context.Background(), key, state.Cursor{}) {
			if last = err; err == nil && e.Heartbeat {
				ended <- nil
			}
		}
		ended <- last
	}()
	<-ended // it waits now
	go stop()
	for err := range ended {
		if err == nil {
			continue // one more heartbeat
		}
		if selvage.KindOf(err) != selvage.Unavailable || !errors.Is(err, state.ErrClosed) {
			t.Errorf("a reader got %v, want closed", err)
		}
		break
	}
	stop()
	_, err := store.Feeds.Head(t.Context(), key)
	if selvage.KindOf(err) != selvage.Unavailable || !errors.Is(err, state.ErrClosed) {
		t.Errorf("got %v, want closed", err)
	}
}

func TestCallsWaitForTheStart(t *testing.T) {
	e, err := state.Open(state.Options{Folder: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := e.Store().Feeds.Head(ctx, state.FeedKey{Tenant: "main", Name: "f"}); err != nil {
			t.Error(err)
		}
		cancel()
	})
	if err := e.Run(ctx); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if err := e.Run(t.Context()); selvage.KindOf(err) != selvage.Conflict {
		t.Errorf("got %v for a second run, want a conflict", err)
	}
	if err := e.Close(); err != nil {
		t.Error(err)
	}
}

// Who leaves while a feed is made leaves the engine to go on with it, and in nobody's way.
func TestAFeedIsMadeWhereSomebodyElseGaveItUp(t *testing.T) {
	store, _ := run(t, state.Options{Folder: t.TempDir()})
	for i := range 40 {
		key := state.FeedKey{Tenant: "main", Name: fmt.Sprint("f", i)}
		ctx, leave := context.WithTimeout(t.Context(), time.Duration(i*50)*time.Microsecond)
		_, _ = store.Feeds.Append(ctx, key, state.Entry{}) // it may come in time
		leave()
		if _, err := store.Feeds.Append(t.Context(), key, state.Entry{}); err != nil {
			t.Fatalf("feed %d: %v", i, err)
		}
	}
}

func TestLimitsThatPromiseTooMuchAreInvalid(t *testing.T) {
	_, err := state.Open(state.Options{Folder: t.TempDir(), MaxBytes: 1 << 20})
	if selvage.KindOf(err) != selvage.Invalid {
		t.Errorf("got %v, want invalid", err)
	}
}

func TestAnUploadThatWasKilledIsSweptUp(t *testing.T) {
	folder, ctx := t.TempDir(), t.Context()
	content := bytes.Repeat([]byte("x"), 700<<10)
	key := state.BlobKey{Tenant: "main", Digest: state.DigestOf(content)}
	limits := state.Limits{Blobs: 1 << 20}
	store, stop := run(t, state.Options{Folder: folder, Limits: limits})
	// The store ends in the middle of an upload, which cannot clean up then.
	pause := &pausing{content: content, at: 600 << 10, then: stop}
	if err := store.Blobs.Put(ctx, key, pause); err == nil {
		t.Fatal("the upload outlived its store")
	}
	store, _ = run(t, state.Options{Folder: folder, Limits: limits})
	if err := store.Blobs.Put(ctx, key, bytes.NewReader(content)); err != nil {
		t.Errorf("there is no room after an upload that was not finished: %v", err)
	}
	if data, err := state.ReadBlob(ctx, store.Blobs, key, 1<<20); err != nil || !bytes.Equal(data, content) {
		t.Errorf("got %d bytes, %v", len(data), err)
	}
}

// pausing is a reader that does something in the middle.
type pausing struct {
	content []byte
	at      int
	then    func()
}

func (p *pausing) Read(b []byte) (int, error) {
	if p.at <= 0 && p.then != nil {
		p.then()
		p.then = nil
	}
	if len(p.content) == 0 {
		return 0, io.EOF
	}
	n := copy(b, p.content)
	p.content, p.at = p.content[n:], p.at-n
	return n, nil
}

func TestALookIntoTheStoreTakesLittleMemory(t *testing.T) {
	// An edge looks some times a second for what others may have written, for as long as it runs.
	store, _ := run(t, state.Options{Folder: t.TempDir()})
	empty := state.Collection{Tenant: selvage.DefaultTenant, Name: "empty"}
	look := func() {
		for _, err := range store.Documents.List(t.Context(), empty) {
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	look()
	const looks, most = 20, 64 << 10 // bytes a look, with what the engine does meanwhile
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range looks {
		look()
	}
	runtime.ReadMemStats(&after)
	if got := (after.TotalAlloc - before.TotalAlloc) / looks; got > most {
		t.Errorf("a look takes %d bytes, want at most %d", got, most)
	}
}
