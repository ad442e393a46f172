package rollout

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// sim is the whole loop: a coordinator, an agent for each of three POPs, and what
// nodes do with requests drawn by chance. It drives the loop; nothing of the
// loop is replaced.
type sim struct {
	t       *testing.T
	rng     *rand.Rand
	store   state.Store
	changes *Changes
	lead    atomic.Pointer[Coordinator]
	ctx     context.Context
	stop    context.CancelFunc
	kill    func() // the coordinator, as a process that dies: its lease stays until its time is over
	running sync.WaitGroup
	nodes   []*simNode
	rate    float64 // of all nodes, a second
	clients int
	sticky  bool   // a client's arm is its own, as in a node
	want    string // the outcome that is waited for, if not the first
	out     func(at time.Duration, n *simNode, canary bool) judge.Outcome
	also    func(at time.Duration) // what else comes in; may be nil
	began   time.Time
	first   time.Duration            // of a making of the canary, since the beginning; -1 before
	bads    int                      // served by the canary
	stores  map[simKey]time.Duration // until when an answer is stored; nil: nothing is
	wheel   [400][]simMaking
	slot    int
	every   time.Duration // of slots
}

// simKey is where a node stores an answer for an arm.
type simKey struct {
	node   *simNode
	canary bool
	page   int
}

// simPages is how many pages a site with a cache has, each fresh for simFresh.
const (
	simPages = 400
	simFresh = time.Minute
)

// cached is a request for a page of a site with a cache. ok is false if nothing has to be
// made for it. What the canary makes while the old revision has it in store, that one
// makes too.
func (s *sim) cached(at time.Duration, n *simNode, w *Watch, client uint64, canary, old bool) (m simMaking, ok bool) {
	page := s.rng.IntN(simPages)
	mine, base := simKey{n, canary, page}, simKey{n, false, page}
	if s.stores[mine] > at {
		return m, false
	}
	make := func(at simKey, arm selvage.Arm, client uint64, class string, bad bool) simMaking {
		m := simMaking{n, w, w.Begin(time.Now(), arm, client, class), s.out(time.Since(s.began), n, bad)}
		if m.out.Bad == 0 {
			s.stores[at] = time.Since(s.began) + simFresh
		}
		return m
	}
	if !canary {
		return make(mine, selvage.Baseline, client, "pages", !old), true
	}
	class := "pages"
	if s.stores[base] > at {
		class += Stored
		s.later(make(base, selvage.Baseline, client^1<<63, class, false))
	}
	return make(mine, selvage.Canary, client, class, true), true
}

type simMaking struct {
	n   *simNode
	w   *Watch
	m   Making
	out judge.Outcome
}

// simNode is a runtime that serves what it is told.
type simNode struct {
	name      selvage.NodeName
	pop       selvage.POP
	broken    map[selvage.RevisionID]bool // cannot be compiled
	worse     int                         // what a replay finds
	replayFor time.Duration               // how long it takes
	mu        sync.Mutex                  // guards what follows
	arms      Arms
	watch     *Watch
	prepared  map[selvage.RevisionID]bool
	standsIn  selvage.RevisionID
	greatest  float64
	stop      context.CancelFunc
	slow      map[selvage.RevisionID]time.Duration // to prepare
	blocked   phase                                // in which it stays until it is killed
}

func (n *simNode) Prepare(ctx context.Context, r Revision) error {
	if n.blocked == preparing {
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if n.broken[r.ID] {
		return selvage.Errorf(selvage.Invalid, "compile revision %s: it is broken", r.ID)
	}
	time.Sleep(n.slow[r.ID])
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.prepared == nil {
		n.prepared = map[selvage.RevisionID]bool{}
	}
	n.prepared[r.ID] = true
	return nil
}

func (n *simNode) Serve(_ selvage.ServiceName, a Arms, w *Watch) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.prepared[a.Baseline] || a.Canary != "" && !n.prepared[a.Canary] {
		return fmt.Errorf("serve %+v: not prepared", a)
	}
	n.arms, n.watch = a, w
	n.greatest = max(n.greatest, a.Share)
	return nil
}

func (n *simNode) Forget(id selvage.RevisionID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.prepared, id)
}

func (n *simNode) StandIn(_ context.Context, r Revision) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.standsIn = r.ID
	return nil
}

func (n *simNode) before() selvage.RevisionID {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.standsIn
}

func (n *simNode) Replay(ctx context.Context, _, _ selvage.RevisionID, most int) (ReplayResult, error) {
	if n.blocked == replaying {
		<-ctx.Done()
		return ReplayResult{}, context.Cause(ctx)
	}
	time.Sleep(n.replayFor)
	return ReplayResult{Requests: most, Worse: n.worse}, nil
}

func (n *simNode) serves() (Arms, *Watch) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.arms, n.watch
}

func unpackNothing([]byte, func(state.Digest) (io.ReadCloser, error), string) (selvage.Service, error) {
	return selvage.Service{Service: "shop", Functions: map[selvage.FunctionName]selvage.Function{"f": {OnFailure: selvage.FailWithPrevious}}}, nil
}

// newSim starts the loop over a store, in a bubble.
func newSim(t *testing.T, seed uint64, rate float64) *sim {
	s := &sim{
		t: t, rng: rand.New(rand.NewPCG(seed, 4)), store: state.Memory(state.EdgeLimits(nil)), rate: rate, clients: 100_000,
		began: time.Now(), first: -1, out: healthy, every: 10 * time.Millisecond,
	}
	if rate < 50 {
		s.every = 50 * time.Millisecond
	}
	s.ctx, s.stop = context.WithCancel(t.Context())
	s.coordinate("one")
	for _, pop := range []selvage.POP{"ams", "fra", "iad"} {
		s.node(&simNode{name: selvage.NodeName(pop + "-1"), pop: pop}, "")
	}
	return s
}

// coordinate starts a coordinator; agents report to the last one.
func (s *sim) coordinate(holder string) {
	ctx, stop := context.WithCancel(s.ctx)
	store, dead := s.store, new(bool)
	store.Leases = stubborn{store.Leases, dead}
	s.kill = func() { *dead = true; stop() }
	lead := NewCoordinator(CoordinatorOptions{Store: store, Tenant: "main", Holder: holder, Log: slog.New(slog.NewTextHandler(testWriter{s.t}, nil))})
	s.lead.Store(lead)
	s.changes = NewChanges(s.store, "main", lead)
	s.running.Go(func() { _ = lead.Run(ctx) })
}

func (s *sim) Report(r Report) { s.lead.Load().Report(r) }

func (s *sim) node(n *simNode, folder string) {
	a := NewAgent(AgentOptions{
		Node: n.name, POP: n.pop, Tenant: "main", Folder: folder, Store: s.store, Runtime: n,
		Unpack: unpackNothing, Reports: s,
	})
	var ctx context.Context
	ctx, n.stop = context.WithCancel(s.ctx)
	s.nodes = append(s.nodes, n)
	s.running.Go(func() {
		if err := a.Run(ctx); err != nil {
			s.t.Error(err)
		}
	})
}

func (s *sim) end() {
	s.stop()
	s.running.Wait()
}

// submit deploys a revision that is named by its text.
func (s *sim) submit(text string) selvage.Change {
	s.t.Helper()
	manifest := []byte(text)
	digest := state.DigestOf(manifest)
	if err := s.store.Blobs.Put(s.ctx, state.BlobKey{Tenant: "main", Digest: digest}, strings.NewReader(text)); err != nil {
		s.t.Fatal(err)
	}
	c, err := s.changes.Submit(s.ctx, Submission{Tenant: "main", Service: "shop", Manifest: digest, Who: "mira", Why: text})
	if err != nil {
		s.t.Fatal(err)
	}
	return c
}

var secondRevision = rev("second")

func rev(text string) selvage.RevisionID { return revisionID(state.DigestOf([]byte(text))) }

// deployed starts with a first revision that is promoted, and traffic that was seen for a while.
func (s *sim) deployed() {
	s.submit("first")
	s.until("first is promoted", time.Minute, func(r client.Rollout) bool { return r.Change.State == client.Promoted })
	s.play(20 * time.Second)
}

// play lets traffic flow.
func (s *sim) play(d time.Duration) {
	for range int(d / s.every) {
		s.serve()
	}
}

// until plays until the last rollout is as wanted.
func (s *sim) until(what string, most time.Duration, is func(client.Rollout) bool) client.Rollout {
	s.t.Helper()
	for range int(most / s.every) {
		s.serve()
		if s.slot%max(int(100*time.Millisecond/s.every), 1) != 0 {
			continue
		}
		r, err := s.changes.Status(s.ctx, Request{Service: "shop"})
		if err != nil {
			s.t.Fatal(err)
		}
		if is(r) {
			return r
		}
	}
	r, _ := s.changes.Status(s.ctx, Request{Service: "shop"})
	s.t.Fatalf("%s: not within %s: %s %s, share %v, %+v, %s", what, most, r.Change.ID, r.Change.State, r.Share, r.Makings, r.Change.Words)
	return client.Rollout{}
}

// outcome plays to the outcome of the running change.
func (s *sim) outcome(most time.Duration) client.Rollout {
	s.t.Helper()
	return s.until("an outcome", most, func(r client.Rollout) bool {
		return client.Over(r.Change.State) && (s.want == "" || r.Change.State == s.want)
	})
}

func (s *sim) serve() {
	now := time.Now()
	at := now.Sub(s.began)
	for _, n := range s.nodes {
		arms, watch := n.serves()
		if watch == nil {
			continue
		}
		for range poisson(s.rng, s.rate/float64(len(s.nodes))*s.every.Seconds()) {
			client := s.rng.Uint64N(uint64(s.clients))
			canary := s.rng.Float64() < arms.Share
			if s.sticky {
				canary = s.ownArm(arms, client)
			}
			arm := selvage.Baseline
			if canary {
				arm = selvage.Canary
			}
			var m simMaking
			if s.stores == nil {
				m = simMaking{n, watch, watch.Begin(now, arm, client, fmt.Sprint("route", s.rng.IntN(4))), s.out(at, n, canary || arms.Baseline == secondRevision)}
			} else {
				var made bool
				if m, made = s.cached(at, n, watch, client, canary, arms.Baseline != secondRevision); !made {
					continue
				}
			}
			if canary && s.first < 0 {
				s.first = at
			}
			if canary && m.out.Bad != 0 {
				s.bads++
			}
			s.later(m)
		}
	}
	if s.also != nil {
		s.also(at)
	}
	time.Sleep(s.every)
	s.slot++
	due := &s.wheel[s.slot%len(s.wheel)]
	for _, m := range *due {
		f := Facts{Trace: [16]byte(fmt.Appendf(nil, "%016d", s.slot)), Method: "GET", Status: 200}
		if m.out.Bad != 0 {
			f.Status = 500
		}
		m.w.End(m.m, m.out, &f)
	}
	*due = (*due)[:0]
}

// later has a making end when its answer is there.
func (s *sim) later(m simMaking) {
	due := (s.slot + 1 + int(m.out.Latency/s.every)) % len(s.wheel)
	s.wheel[due] = append(s.wheel[due], m)
}

// ownArm says whether a client gets the canary.
func (s *sim) ownArm(arms Arms, client uint64) bool {
	own := rand.New(rand.NewPCG(binary.LittleEndian.Uint64(arms.Secret[:]), client))
	return own.Float64() < arms.Share
}

func poisson(rng *rand.Rand, mean float64) int {
	n, l := 0, math.Exp(-mean)
	for x := rng.Float64(); x > l; x *= rng.Float64() {
		n++
	}
	return n
}

// outcomes

func drawn(rng *rand.Rand, p float64, slow float64) judge.Outcome {
	o := judge.Outcome{Latency: time.Duration(slow * 20e6 * math.Exp(0.6*rng.NormFloat64())), Bytes: 5000}
	if rng.Float64() < p {
		o.Bad, o.NoBody = failed, true
	}
	return o
}

// rates are a baseline at p0 and a canary at p1.
func (s *sim) rates(p0, p1 float64) {
	s.out = func(_ time.Duration, _ *simNode, canary bool) judge.Outcome {
		if canary {
			return drawn(s.rng, p1, 1)
		}
		return drawn(s.rng, p0, 1)
	}
}

func healthy(time.Duration, *simNode, bool) judge.Outcome {
	return judge.Outcome{Latency: 20 * time.Millisecond, Bytes: 5000}
}

// result is how one simulated change fared.
type result struct {
	client.Rollout
	bads  int
	after time.Duration // from the first making of the canary to the outcome
}

// simulate runs a change to its outcome, with so many seeds.
func simulate(t *testing.T, runs int, rate float64, most time.Duration, world func(s *sim)) []result {
	t.Helper()
	if raced {
		runs = 1
	}
	out := make([]result, runs)
	for i := range runs {
		synctest.Test(t, func(t *testing.T) {
			s := newSim(t, uint64(i)+1, rate)
			defer s.end()
			s.rates(0.001, 0.001)
			s.deployed()
			world(s)
			s.submit("second")
			r := s.outcome(most)
			out[i] = result{r, s.bads, time.Since(s.began) - s.first}
			s.play(time.Second)
			for _, n := range s.nodes {
				arms, _ := n.serves()
				if r.Change.State == client.Undone && (arms.Baseline != rev("first") || arms.Canary != "") {
					t.Errorf("undone, and %s serves %+v", n.name, arms)
				}
			}
		})
	}
	return out
}

func medianOf(rs []result, of func(result) float64) float64 {
	var v []float64
	for _, r := range rs {
		v = append(v, of(r))
	}
	slices.Sort(v)
	return v[len(v)/2]
}

func undos(rs []result) (n int) {
	for _, r := range rs {
		if r.Change.State == client.Undone {
			n++
		}
	}
	return n
}

// slower makes a world in which the canary takes three times as long.
func slower(s *sim) {
	s.out = func(_ time.Duration, _ *simNode, canary bool) judge.Outcome {
		if canary {
			return drawn(s.rng, 0.001, 3)
		}
		return drawn(s.rng, 0.001, 1)
	}
}

// allUndone wants every run undone, and its bads and time within these by the median.
func allUndone(t *testing.T, rs []result, most float64, within time.Duration) {
	t.Helper()
	bads := medianOf(rs, func(r result) float64 { return float64(r.bads) })
	after := medianOf(rs, func(r result) float64 { return r.after.Seconds() })
	t.Logf("%d undone, median %v bads, %.1f s: %s", undos(rs), bads, after, rs[0].Receipt.Words)
	if undos(rs) != len(rs) || bads > most || after > within.Seconds() {
		t.Errorf("%d of %d undone, median %v bads in %.1f s, want at most %v in %s", undos(rs), len(rs), bads, after, most, within)
	}
	for _, r := range rs {
		if r.Receipt == nil || r.Receipt.Baseline == 0 {
			t.Errorf("the receipt does not say what it was compared with: %+v", r.Receipt)
		}
	}
}

func TestBadChangesAreUndoneByTheWholeLoop(t *testing.T) {
	for _, tc := range []struct {
		name  string
		bads  float64
		after time.Duration
		world func(s *sim)
	}{
		{"always 500", 10, 3 * time.Second, func(s *sim) { s.rates(0.001, 1) }},
		{"5 % 500", 15, time.Minute, func(s *sim) { s.rates(0.001, 0.05) }},
		{"three times slower", 1e9, 20 * time.Second, slower},
		{"a trap on 1 in 1,000", 25, 4 * time.Minute, func(s *sim) {
			s.want = client.Undone // by chance it traps too late for the gates, then the control group tells
			s.out = func(_ time.Duration, _ *simNode, canary bool) judge.Outcome {
				o := drawn(s.rng, 0, 1)
				if canary && s.rng.Float64() < 0.001 {
					o.Bad, o.Fingerprint, o.NoBody = o.Bad.With(judge.Trap), "unreachable in boom", true
				}
				return o
			}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			rs := simulate(t, *simulated, 1000, 10*time.Minute, tc.world)
			if *simulated < 20 {
				tc.bads, tc.after = 1.75*tc.bads, tc.after*7/4 // the bounds are for the median of many
			}
			allUndone(t, rs, tc.bads, tc.after)
			for _, r := range rs {
				if r.Receipt == nil || !strings.Contains(r.Receipt.Words, "undone after") {
					t.Errorf("got receipt %+v", r.Receipt)
				}
			}
		})
	}
}

// Behind a proxy that nobody declared, or on a developer's machine, everything
// comes from one client: no arm is compared with the other, and few of its bad
// ones count. That all of them are bad is seen all the same.
func TestAChangeThatFailsAllOfOneClientsRequestsIsUndone(t *testing.T) {
	rs := simulate(t, *simulated, 30, 10*time.Minute, func(s *sim) {
		s.clients, s.sticky = 1, true
		s.rates(0.001, 1)
	})
	for _, r := range rs {
		if t.Logf("%s after %s: %s", r.Change.State, r.after, r.Receipt.Words); r.Change.State != client.Undone {
			t.Errorf("it ended %s", r.Change.State)
		}
	}
}

// simulated is 20 for the figures in the documents.
var simulated = flag.Int("simulated", 3, "how many changes of each sort are simulated")

func TestHealthyChangesArePromotedByTheWholeLoop(t *testing.T) {
	for _, tc := range []struct {
		rate float64
		most time.Duration
	}{{1000, 75 * time.Second}, {100, 150 * time.Second}, {1, 5 * time.Minute}} {
		if raced && tc.rate == 1 {
			continue // minutes of next to nothing
		}
		t.Run(fmt.Sprint(tc.rate), func(t *testing.T) {
			rs := simulate(t, *simulated, tc.rate, 30*time.Minute, func(*sim) {})
			after := medianOf(rs, func(r result) float64 { return r.after.Seconds() })
			t.Logf("%d undone, promoted after %.1f s: %s", undos(rs), after, rs[0].Receipt.Words)
			if *simulated < 20 {
				tc.most = tc.most * 7 / 4 // the bound is for the median of many
			}
			for _, r := range rs {
				if r.Receipt != nil && len(r.Receipt.Nodes) > 0 {
					t.Errorf("nodes that turned back from what was promoted: %+v", r.Receipt.Nodes)
				}
			}
			if undos(rs) > 0 || after > tc.most.Seconds() {
				t.Errorf("%d undone, promoted after %.1f s, want %s", undos(rs), after, tc.most)
			}
		})
	}
}

type testWriter struct{ t *testing.T }

func (w testWriter) Write(b []byte) (int, error) {
	w.t.Logf("%s", b)
	return len(b), nil
}

// stubborn is a store whose leases a dead process keeps until their time is over.
type stubborn struct {
	state.Leases
	dead *bool
}

func (l stubborn) Release(ctx context.Context, lease state.Lease) error {
	if *l.dead {
		return nil
	}
	return l.Leases.Release(ctx, lease)
}
