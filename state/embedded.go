package state

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/selvage-edge/selvage"
)

// Options says where and how an [Embedded] store keeps what it remembers.
type Options struct {
	Folder   string           // made if it is not there; one process at a time
	MaxBytes selvage.ByteSize // that may be promised to all limits together; default 8GiB
	MinFree  selvage.ByteSize // with less room on the disk nothing is written; default 64MiB
	Limits   Limits
	Log      *slog.Logger // default: nothing is logged
}

// Embedded is the store that is durable on one machine: NATS JetStream in this
// process, without a socket, each write synced before it is acknowledged.
type Embedded struct {
	options Options
	limits  Limits
	lock    *os.File
	disk    disk

	quit    chan struct{} // closed by Close
	done    chan struct{} // closed when Run ended, or Close without it
	changed *signal       // live

	mu      sync.Mutex // guards what follows
	live    *live      // nil before the engine has started, and while it starts again
	running bool
	closed  bool
	failure error // why Run ended
}

// live is the running engine.
type live struct {
	nc    *nats.Conn
	js    jetstream.JetStream
	gone  chan struct{}               // closed when the engine ends
	fixed map[string]jetstream.Stream // those that are always there
	// guard ends a call after callTimeout, and when the engine could not write: it does not answer then.
	guard  func(context.Context) (context.Context, context.CancelFunc)
	broken func() bool // the engine could not write, and writes nothing any more until it is started again

	mu        sync.Mutex                  // guards what follows; held while a stream is made, which is I/O, so that the count is right
	streams   map[string]jetstream.Stream // feeds and queues that were asked for
	consumers map[QueueKey]jetstream.Consumer
	count     int // feeds and queues on the disk
}

// callTimeout ends every call to the engine: on a full disk it does not answer.
const callTimeout = 10 * time.Second

// Open takes the folder. [Embedded.Run] must run for the store to answer;
// calls before that wait for it. Conflict if another process has the folder.
func Open(o Options) (*Embedded, error) {
	o.MaxBytes = orDefault(o.MaxBytes, 8<<30)
	o.MinFree = orDefault(o.MinFree, 64<<20)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	limits := o.Limits.withDefaults()
	if sum := limits.Documents + limits.Blobs + limits.Receipts + limits.Leases + 2*reserve; sum > o.MaxBytes {
		return nil, selvage.Errorf(selvage.Invalid, "open state %s: the limits need %s, max_bytes is %s", o.Folder, sum, o.MaxBytes)
	}
	if err := os.MkdirAll(o.Folder, 0o700); err != nil {
		return nil, selvage.Errorf(selvage.Unavailable, "open state: %w", err)
	}
	lock, err := lockFile(filepath.Join(o.Folder, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open state %s: %w", o.Folder, err)
	}
	return &Embedded{
		options: o, limits: limits, lock: lock, disk: disk{folder: o.Folder, least: int64(o.MinFree)},
		quit: make(chan struct{}), done: make(chan struct{}), changed: newSignal(),
	}, nil
}

// reserve is the room for what must be written when a limit is reached: that something is deleted.
const reserve = 1 << 20

// Store is the parts of the store. They may be taken before Run.
func (e *Embedded) Store() Store {
	feeds := &embeddedFeeds{e}
	return Store{
		Documents: &embeddedDocuments{e: e},
		Blobs:     &embeddedBlobs{e},
		Feeds:     feeds,
		Receipts:  feeds,
		Queues:    &embeddedQueues{e},
		Leases:    &embeddedLeases{e},
	}
}

// Run starts the engine, and ends it when ctx ends or Close is called. Then the
// folder is free for others. It can be called once.
func (e *Embedded) Run(ctx context.Context) error {
	e.mu.Lock()
	if e.running || e.closed {
		defer e.mu.Unlock()
		if e.running {
			return selvage.Errorf(selvage.Conflict, "run state %s: it runs, or did", e.options.Folder)
		}
		return nil // closed before it began
	}
	e.running = true
	e.mu.Unlock()

	var err error
	for again := true; again; {
		again, err = e.run(ctx)
	}
	if err != nil {
		err = fmt.Errorf("run state %s: %w", e.options.Folder, err)
	}
	e.mu.Lock()
	e.closed, e.failure = true, err
	e.mu.Unlock()
	err = errors.Join(err, e.lock.Close())
	close(e.done)
	return err
}

// Close ends Run, waits for it, and gives the folder free. It may be called more than once.
func (e *Embedded) Close() error {
	e.mu.Lock()
	first := !e.closed
	running := e.running
	e.closed = true
	e.mu.Unlock()
	if first {
		close(e.quit)
	}
	if first && !running {
		err := e.lock.Close()
		close(e.done)
		return err
	}
	<-e.done
	return nil
}

// run has one engine. It says whether another one must take its place: what
// could not write once, because the disk was full, never writes again.
func (e *Embedded) run(ctx context.Context) (again bool, err error) {
	writes, stopWrites := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWrites()
	log := &engineLog{log: e.options.Log, critical: stopWrites}
	srv, err := server.NewServer(&server.Options{
		ServerName: "selvage", DontListen: true, NoSigs: true, DisableJetStreamBanner: true,
		JetStream: true, StoreDir: filepath.Join(e.options.Folder, "engine"), SyncAlways: true,
		JetStreamMaxMemory: 16 << 20, JetStreamMaxStore: int64(e.options.MaxBytes),
		MaxPayload: MaxValue + 64<<10,
	})
	if err != nil {
		return false, err
	}
	srv.SetLoggerV2(log, false, false, false)
	var engine sync.WaitGroup
	engine.Go(srv.Start)
	defer func() {
		srv.Shutdown()
		srv.WaitForShutdown()
		engine.Wait()
	}()
	for !srv.ReadyForConnections(100 * time.Millisecond) { // recovering many streams takes its time
		if ctx.Err() != nil || log.fatal() != nil || e.quitting() {
			return false, log.fatal()
		}
	}
	if !srv.JetStreamEnabled() {
		return false, selvage.Errorf(selvage.Unavailable, "the engine did not start: %w", cmp.Or(log.fatal(), errors.New("no reason given")))
	}
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.Name("state"), nats.MaxReconnects(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { log.Warnf("%v", err) }))
	if err != nil {
		return false, err
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		return false, err
	}
	l := &live{
		nc: nc, js: js, gone: make(chan struct{}), fixed: map[string]jetstream.Stream{}, streams: map[string]jetstream.Stream{}, consumers: map[QueueKey]jetstream.Consumer{},
		broken: func() bool { return writes.Err() != nil },
		guard: func(ctx context.Context) (context.Context, context.CancelFunc) {
			call, cancel := context.WithTimeout(ctx, callTimeout)
			stop := context.AfterFunc(writes, cancel)
			return call, func() { stop(); cancel() }
		},
	}
	defer close(l.gone)
	if err := e.prepareInTime(ctx, l); err != nil {
		return false, err
	}
	e.serve(l)
	defer e.serve(nil)
	select {
	case <-ctx.Done():
		return false, nil
	case <-e.quit:
		return false, nil
	case <-writes.Done():
	}
	for { // what is there can be read meanwhile
		select {
		case <-ctx.Done():
			return false, nil
		case <-e.quit:
			return false, nil
		case <-time.After(roomEvery):
			if e.disk.hasRoom() {
				return true, nil
			}
		}
	}
}

// roomEvery is how often a disk that was full is looked at.
const roomEvery = time.Second

// serve gives the engine, or none, to who waits for it.
func (e *Embedded) serve(l *live) {
	e.mu.Lock()
	e.live = l
	e.mu.Unlock()
	e.changed.wake()
}

func (e *Embedded) quitting() bool {
	select {
	case <-e.quit:
		return true
	default:
		return false
	}
}

// The streams that are always there.
const (
	documentStream = "DOCUMENTS"
	blobStream     = "BLOBS"
	receiptStream  = "RECEIPTS"
	leaseStream    = "LEASES"
)

// stored is where the engine says that it has stored something: the subject behind it.
const stored = "stored."

// prepareInTime prepares as often as it takes: what the engine does not answer in time, on a
// machine that is busy with its start, is no reason to remember nothing until the next one.
func (e *Embedded) prepareInTime(ctx context.Context, l *live) error {
	for {
		err := e.prepare(ctx, l)
		if !errors.Is(err, context.DeadlineExceeded) || ctx.Err() != nil || e.quitting() || l.broken() {
			return err
		}
		e.options.Log.Warn("state engine is slow to start", "error", err)
	}
}

// prepare makes the streams that are always there, counts the others, and
// sweeps up blobs that were not finished.
func (e *Embedded) prepare(ctx context.Context, l *live) error {
	for _, c := range []jetstream.StreamConfig{
		{Name: documentStream, Subjects: []string{"document.>"}, MaxMsgsPerSubject: 1, MaxBytes: int64(e.limits.Documents) + reserve, AllowMsgTTL: true},
		{Name: blobStream, Subjects: []string{"blob.>"}, MaxBytes: int64(e.limits.Blobs)},
		{Name: receiptStream, Subjects: []string{"receipt.>"}, MaxMsgsPerSubject: ReceiptsKept, MaxBytes: int64(e.limits.Receipts), Discard: jetstream.DiscardOld},
		{Name: leaseStream, Subjects: []string{"lease.>"}, MaxMsgsPerSubject: 1, MaxBytes: int64(e.limits.Leases), AllowMsgTTL: true},
	} {
		if c.Name != receiptStream {
			c.Discard = jetstream.DiscardNew
		}
		stream, err := l.js.CreateOrUpdateStream(ctx, durable(c))
		if err != nil {
			return fmt.Errorf("make stream %s: %w", c.Name, err)
		}
		l.fixed[c.Name] = stream
	}
	l.count = 0
	names := l.js.StreamNames(ctx)
	for name := range names.Name() {
		if strings.HasPrefix(name, "F_") || strings.HasPrefix(name, "Q_") {
			l.count++
		}
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list streams: %w", err)
	}
	return sweepBlobs(ctx, l)
}

// durable adds what all streams have.
func durable(c jetstream.StreamConfig) jetstream.StreamConfig {
	c.Storage, c.Replicas, c.AllowDirect = jetstream.FileStorage, 1, true
	c.Duplicates = orDefault(c.Duplicates, DedupWindow)
	c.RePublish = &jetstream.RePublish{Source: ">", Destination: stored + ">", HeadersOnly: true}
	return c
}

// engine waits for Run to have started the engine.
func (e *Embedded) engine(ctx context.Context) (*live, error) {
	for {
		if ctx.Err() != nil {
			return nil, ended(ctx)
		}
		changed := e.changed.next()
		e.mu.Lock()
		l, closed, failure := e.live, e.closed, e.failure
		e.mu.Unlock()
		if closed {
			return nil, selvage.Errorf(selvage.Unavailable, "%w", cmp.Or(failure, ErrClosed))
		}
		if l != nil {
			return l, nil
		}
		select {
		case <-changed:
		case <-e.done:
		case <-ctx.Done():
		}
	}
}

// writer is engine for who is about to write: it refuses when the disk is full.
func (e *Embedded) writer(ctx context.Context) (*live, error) {
	if !e.disk.hasRoom() {
		return nil, e.diskFull()
	}
	return e.engine(ctx)
}

func (e *Embedded) diskFull() error {
	e.limits.OnLimit("disk")
	return selvage.Errorf(selvage.Unavailable, "the disk of %s has less than %s free, or nothing can be written to it: %w", e.options.Folder, e.options.MinFree, ErrFull)
}

// engineLog hands on what the engine has to complain about.
type engineLog struct {
	log      *slog.Logger
	critical func() // is called when the engine could not write

	mu   sync.Mutex // guards last
	last error
}

func (l *engineLog) Noticef(string, ...any) {}
func (l *engineLog) Debugf(string, ...any)  {}
func (l *engineLog) Tracef(string, ...any)  {}

// Warnf is what the engine says when it finds its files as a kill left them, and repairs them.
func (l *engineLog) Warnf(format string, args ...any) {
	l.log.Info("state engine", "message", fmt.Sprintf(format, args...))
}

func (l *engineLog) Errorf(format string, args ...any) {
	message := fmt.Sprintf(format, args...)
	l.log.Error("state engine", "message", message)
	if strings.Contains(strings.ToLower(message), "critical write error") { // nothing else says it
		l.critical()
	}
}

// Fatalf is called where the engine cannot start. It does not end the process.
func (l *engineLog) Fatalf(format string, args ...any) {
	l.Errorf(format, args...)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last = selvage.Errorf(selvage.Unavailable, format, args...)
}

func (l *engineLog) fatal() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}
