package rollout

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// Agent does on one node what the documents of the rollouts say, and says what
// the node counted. Cut off from the store it goes on with what it has, and never
// raises a share.
type Agent struct {
	o        AgentOptions
	disk     disk
	services map[selvage.ServiceName]*tended
	changed  chan state.Change
	done     chan func()
	running  sync.WaitGroup
}

// AgentOptions are what an agent needs.
type AgentOptions struct {
	Node    selvage.NodeName
	POP     selvage.POP
	Zone    selvage.Zone
	Tenant  selvage.Tenant
	Folder  string // of this agent alone, on the node's own disk; empty: nothing outlives the process
	Store   state.Store
	Runtime Runtime
	// Unpack makes the service of a manifest, with its files in the folder. What is there is not opened.
	Unpack  func(manifest []byte, open func(state.Digest) (io.ReadCloser, error), folder string) (selvage.Service, error)
	Reports Reports // may be nil
	// OnLimit, if set, hears of every limit of the judging that is reached.
	OnLimit func(limit string)
	Log     *slog.Logger
}

const (
	reportEvery = 100 * time.Millisecond
	reportAfter = 5 * time.Second  // the end of a rollout, so that its receipt is whole
	reportMost  = 10 * time.Minute // after it, while nobody has heard that the node turned
	journalFor  = 10 * time.Second
	maxManifest = 8 << 20
	maxReplayed = 64 // recorded requests; 20 that fail convict
	aloneAfter  = 4  // looks at evidence that convicts, for the coordinator to act first
)

// NewAgent makes an agent. It does nothing before Run.
func NewAgent(o AgentOptions) *Agent {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.OnLimit == nil {
		o.OnLimit = func(string) {}
	}
	return &Agent{
		o: o, disk: disk{o.Folder}, services: map[selvage.ServiceName]*tended{},
		changed: make(chan state.Change), done: make(chan func()),
	}
}

// tended is one service on this node.
type tended struct {
	name    selvage.ServiceName
	memory  *memory
	doc     document
	decided time.Time // when the document was written
	watch   *Watch
	preps   map[selvage.RevisionID]*prep
	standIn standIn
	serving Arms
	serves  bool
	begun   selvage.ChangeID
	elapsed time.Duration // since the canary's first share, here
	alone   int
	replay  replay
	turned  time.Duration
	over    time.Time // when the rollout's end was seen
	looked  time.Time
	aged    time.Time
	noted   time.Duration // of the journal's Had
	telling bool
	bads    int64 // of the canary, when samples were last sent
	blocked string
}

// prep is a revision on its way to being served.
type prep struct {
	stored
	state string
	why   string
	took  time.Duration
	falls bool      // a function of it may be stood in for
	retry time.Time // a store that did not answer is asked again
}

type replay struct {
	change selvage.ChangeID
	result *ReplayResult
	err    string
}

// Run tends the node until ctx ends. It begins with what is on the disk, so
// that a node starts without the store.
func (a *Agent) Run(ctx context.Context) error {
	if err := a.start(ctx); err != nil {
		return err
	}
	a.running.Go(func() { a.follow(ctx) })
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			a.running.Wait()
			return a.end()
		case c := <-a.changed:
			a.take(ctx, c)
		case f := <-a.done:
			f()
		case now := <-tick.C:
			for _, s := range a.services {
				a.tick(ctx, s, now)
			}
		}
	}
}

// start serves what the disk says was promoted last. Where the journal has
// something on trial, the last end was not a clean one.
func (a *Agent) start(ctx context.Context) error {
	kept, err := a.disk.load()
	if err != nil {
		return err
	}
	for name, m := range kept {
		s := a.service(name)
		s.memory = m
		from := m.Promoted
		if j := m.Journal; j != nil {
			if m.Crashed == nil || m.Crashed.Change != j.Change {
				m.Crashed = &crash{Change: j.Change}
			}
			m.Crashed.Ends++
			m.Crashed.Had += j.Had
			if j.From.Revision != "" {
				from = j.From
			}
			m.Promoted, m.Journal, m.Back = from, nil, stored{}
			a.o.Log.Warn("the last end was not a clean one, with a change on trial", "service", name, "change", j.Change)
			if err := a.disk.save(name, m); err != nil {
				return err
			}
		}
		if from.Revision != "" {
			s.doc.Promoted = promoted{Revision: from.Revision, Manifest: from.Manifest}
			s.doc.Back = promoted{Revision: m.Back.Revision, Manifest: m.Back.Manifest}
			a.reconcile(ctx, s)
		}
	}
	return nil
}

func (a *Agent) service(name selvage.ServiceName) *tended {
	s := a.services[name]
	if s == nil {
		s = &tended{name: name, memory: new(memory), watch: new(Watch), preps: map[selvage.RevisionID]*prep{}}
		a.services[name] = s
	}
	return s
}

// follow passes on what the documents become, for as long as the store answers.
func (a *Agent) follow(ctx context.Context) {
	var newest state.Revision
	for ctx.Err() == nil {
		for c, err := range a.o.Store.Documents.Watch(ctx, rollouts(a.o.Tenant), newest) {
			if err != nil {
				break
			}
			select {
			case a.changed <- c:
			case <-ctx.Done():
				return
			}
			newest = max(newest, c.Revision)
		}
		sleep(ctx, againIn)
	}
}

// take takes a document as it is now.
func (a *Agent) take(ctx context.Context, c state.Change) {
	if c.Deleted {
		return // a service that is no more is the files' business
	}
	d, err := readDocument(c.Value)
	if err != nil {
		a.o.Log.Error("a rollout cannot be read", "service", c.Key.ID, "error", err)
		return
	}
	s := a.service(selvage.ServiceName(c.Key.ID))
	before := s.doc.Rollout
	s.doc, s.decided = d, decidedAt(c.Time, time.Now())
	if r := d.Rollout; r != nil {
		if before == nil || before.Change.ID != r.Change.ID {
			s.turned, s.over, s.replay = 0, time.Time{}, replay{}
			if s.failed(r.Change.To) {
				delete(s.preps, r.Change.To) // it is asked for again: what it lacked may be there now
			}
		}
		if r.Phase.over() && s.over.IsZero() {
			s.over = time.Now()
		}
	}
	a.reconcile(ctx, s)
}

// clockOff is how far this machine's clock may be from the store's.
const clockOff = time.Minute

// decidedAt is when a document was written, by this machine's clock: that of the
// store, or where the two cannot both be right, when it was heard of.
func decidedAt(written, heard time.Time) time.Time {
	if off := heard.Sub(written); off < 0 || off > clockOff {
		return heard
	}
	return written
}

// end leaves the disk as a clean end does: the journal empty, the count kept.
func (a *Agent) end() error {
	var first error
	for name, s := range a.services {
		m := s.memory
		m.Journal = nil
		if s.begun != "" {
			data, err := s.watch.export()
			if err == nil {
				m.Book = &keptBook{s.begun, s.elapsed, data}
			}
		}
		if err := a.disk.save(name, m); err != nil && first == nil {
			first = err
		}
	}
	return first
}

// tick counts, reports, and acts alone where it has to.
func (a *Agent) tick(ctx context.Context, s *tended, now time.Time) {
	r := s.doc.Rollout
	passed := min(max(now.Sub(s.looked), 0), maxPassed)
	if s.looked.IsZero() {
		passed = 0
	}
	s.looked = now
	if now.Sub(s.aged) >= usualFor {
		s.aged = now
		s.watch.forget()
	}
	a.reconcile(ctx, s)
	if r == nil || r.Phase.over() && s.told(now, r.Nodes[a.o.Node]) {
		return
	}
	if s.serving.Share > 0 {
		s.elapsed += passed
	}
	a.note(s, passed)
	count, alone := s.watch.sum(now, s.elapsed)
	a.report(s, count)
	if alone && r.Phase.armed() && s.serving.Canary != "" && r.From.Revision != "" {
		if s.alone++; s.alone >= aloneAfter {
			a.undoAlone(ctx, s, count)
		}
	} else {
		s.alone = 0
	}
	a.tell(ctx, s)
}

// told says that nobody needs to hear more of a rollout that is over.
func (s *tended) told(now time.Time, known nodeState) bool {
	most := reportAfter
	if known.MS == 0 {
		most = reportMost
	}
	return now.Sub(s.over) > most
}

// report says how the node stands.
func (a *Agent) report(s *tended, count Count) {
	if a.o.Reports == nil {
		return
	}
	r := s.doc.Rollout
	out := Report{
		Tenant: a.o.Tenant, Service: s.name, Change: r.Change.ID, Node: a.o.Node, POP: a.o.POP,
		State: waiting, Count: count, Turned: s.turned,
	}
	if p := s.preps[r.Change.To]; p != nil {
		out.State, out.Why, out.Took = p.state, p.why, p.took
	}
	if s.blocked != "" {
		out.State, out.Why = failing, s.blocked
	}
	if s.replay.change == r.Change.ID {
		out.Replay, out.Refused = s.replay.result, s.replay.err
	}
	out.Why, out.Refused = a.placeless(out.Why), a.placeless(out.Refused)
	if c := s.memory.Crashed; c != nil && c.Change == r.Change.ID {
		out.Ends, out.Had = c.Ends, c.Had
	}
	if bad := count.Bad; bad > 0 && bad != s.bads {
		s.bads = bad
		out.Samples = s.watch.recent()
		for i := range out.Samples {
			out.Samples[i].Values[judge.ByPOP] = string(a.o.POP)
			out.Samples[i].Values[judge.ByNode] = string(a.o.Node)
			out.Samples[i].Values[judge.ByZone] = string(a.o.Zone)
		}
	}
	a.o.Reports.Report(out)
}

// placeless takes out of a text where this machine keeps its files: all who may look read it.
func (a *Agent) placeless(text string) string {
	if a.o.Folder == "" {
		return text
	}
	return strings.ReplaceAll(text, a.o.Folder+string(filepath.Separator), "")
}

// note keeps in the journal for how long the node has had the change.
func (a *Agent) note(s *tended, passed time.Duration) {
	if s.memory.Journal == nil {
		return
	}
	s.noted += passed
	if s.noted < journalFor {
		return
	}
	s.memory.Journal.Had += s.noted
	s.noted = 0
	if err := a.disk.save(s.name, s.memory); err != nil {
		a.o.Log.Warn("the journal is not up to date", "error", err)
	}
}
