package rollout

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

var when = time.Date(2026, 11, 21, 0, 0, 0, 0, time.UTC)

// in is a document whose rollout is in a phase, over a promoted revision.
func in(p phase) document {
	from := promoted{Revision: "old", Change: selvage.Change{ID: "c-1", To: "old", Service: "shop"}}
	r := &rollout{
		Change: selvage.Change{ID: "c-5", Kind: selvage.RevisionChange, Service: "shop", Who: "mira", From: "old", To: "new"},
		From:   from, Phase: p, First: 0.01, POPs: []selvage.POP{"a", "b", "c"},
		Nodes: map[selvage.NodeName]nodeState{"n": {POP: "a", State: ready}}, Pinned: 1,
	}
	d := document{Promoted: from, Rollout: r}
	switch p {
	case spreading:
		r.At = judge.Position{Share: 0.01, POPs: 1}
	case quiet, doubted:
		r.At = judge.Position{Share: 0.5, POPs: 3}
	case holdingBack:
		r.At = judge.Position{Share: 0.95, POPs: 3}
	}
	if p.counts() {
		d.Promoted, d.Back = promoted{Revision: "new", Change: r.Change}, from
	}
	return d
}

func at(share float64, pops int) func(*rollout) {
	return func(r *rollout) { r.At = judge.Position{Share: share, POPs: pops} }
}

func stood(d time.Duration) func(*rollout) { return func(r *rollout) { r.Stood = d } }

// seen is a look with a verdict.
func seen(word judge.Word, change ...func(*looked)) looked {
	e := looked{passed: time.Second, rate: 1000, verdict: judge.Verdict{Word: word, Evidence: -1}, plan: func() (float64, []selvage.POP) {
		return 0.02, []selvage.POP{"b", "a"}
	}}
	if word == judge.Undone {
		e.verdict.Evidence = 8
	}
	for _, f := range change {
		f(&e)
	}
	return e
}

func need(more int64) func(*looked) {
	return func(e *looked) { e.verdict.Gate.More, e.verdict.Gate.Short = more, more }
}

// enough were made, and the gate is far away all the same.
func enough(e *looked) { e.verdict.Gate.More, e.verdict.Gate.Short = 100_000, 0 }
func made(n, bad int64) func(*looked) {
	return func(e *looked) { e.made, e.bads = n, bad }
}
func rates(all, canary float64) func(*looked) {
	return func(e *looked) { e.rate, e.canary = all, canary }
}

// trapped has nothing but a trap keep the gate shut.
func trapped(e *looked) {
	e.verdict.Gate = judge.Gate{Trap: "boom", Only: true, More: 5000, Weakest: judge.Trap}
}
func working(e *looked)                    { e.working = 1 }
func advised(a judge.Advice) func(*looked) { return func(e *looked) { e.advice = a } }

// crashedBefore has node n crash, too late for an undo.
func crashedBefore(forgiven int) func(*rollout) {
	return func(r *rollout) { r.Crashes = map[selvage.NodeName]crashes{"n": {1, time.Minute, forgiven}} }
}

var transitions = []struct {
	name  string
	from  phase
	given []func(*rollout)
	event event
	to    phase
	share float64 // of POP a; -1: not looked at
	serve selvage.RevisionID
	noted string // an event in the outbox; empty: none
}{
	{"nodes are waited for", preparing, []func(*rollout){func(r *rollout) { r.Nodes["m"] = nodeState{State: waiting} }, stood(time.Second)}, seen(judge.Watching), preparing, 0, "old", ""},
	{"all are ready", preparing, []func(*rollout){stood(time.Second)}, seen(judge.Watching), replaying, 0, "old", ""},
	{"one does not answer in time", preparing, []func(*rollout){func(r *rollout) { r.Nodes["m"] = nodeState{State: waiting} }, stood(prepareFor)}, seen(judge.Watching), replaying, 0, "old", ""},
	{"one is at work", preparing, []func(*rollout){func(r *rollout) { r.Nodes["m"] = nodeState{State: waiting} }, stood(workFor - 2*time.Second)}, seen(judge.Watching, working), preparing, 0, "old", ""},
	{"one is at work for too long", preparing, []func(*rollout){func(r *rollout) { r.Nodes["m"] = nodeState{State: waiting} }, stood(workFor)}, seen(judge.Watching, working), replaying, 0, "old", ""},
	{"with the glass broken nobody waits for one at work", preparing, []func(*rollout){func(r *rollout) { r.BreakGlass, r.Nodes["m"] = true, nodeState{State: waiting} }, stood(prepareFor)}, seen(judge.Watching, working), replaying, 0, "old", ""},
	{"none can run it", preparing, []func(*rollout){func(r *rollout) { r.Nodes["n"] = nodeState{State: failing, Why: "no"} }, stood(time.Second)}, seen(judge.Watching), refused, 0, "old", client.Refused},
	{"nobody is there", preparing, []func(*rollout){func(r *rollout) { r.Nodes = nil }, stood(time.Hour)}, seen(judge.Watching), preparing, 0, "old", ""},
	{"the replay is good", replaying, nil, replayed{result: ReplayResult{Requests: 500, Worse: 1}}, spreading, 0.01, "old", "started"},
	{"the replay is bad", replaying, nil, replayed{result: ReplayResult{Requests: 500, Worse: 40}}, refused, 0, "old", client.Refused},
	{"both fail in the replay", replaying, nil, replayed{result: ReplayResult{Requests: 500, Worse: 40, Better: 40}}, spreading, 0.01, "old", "started"},
	{"the replay hangs", replaying, []func(*rollout){stood(replayFor)}, seen(judge.Watching), spreading, 0.01, "old", "started"},
	{"a gate is open too early", spreading, nil, seen(judge.Open), spreading, 0.01, "old", ""},
	{"a gate is open", spreading, []func(*rollout){stood(5 * time.Second)}, seen(judge.Open), spreading, 0.02, "old", "step"},
	{"with the glass broken it is not too early", spreading, []func(*rollout){func(r *rollout) { r.BreakGlass = true }}, seen(judge.Open), spreading, 0.02, "old", "step"},
	{"a broken glass opens no gate", spreading, []func(*rollout){func(r *rollout) { r.BreakGlass = true }, stood(time.Hour)}, seen(judge.Watching, need(10)), spreading, 0.01, "old", ""},
	{"a gate is closed", spreading, []func(*rollout){stood(time.Hour)}, seen(judge.Watching, need(10)), spreading, 0.01, "old", ""},
	{"more POPs take part", spreading, []func(*rollout){at(0.02, 1), stood(time.Minute)}, seen(judge.Open), spreading, 0.02, "old", "step"},
	{"the last gate promotes", spreading, []func(*rollout){at(0.5, 3), stood(time.Minute)}, seen(judge.Open), holdingBack, 0.95, "old", client.Promoted},
	{"a trap is told apart at even shares", spreading, []func(*rollout){at(0.5, 3), stood(judge.HoldFor - 2*time.Second)}, seen(judge.Watching, trapped), spreading, 0.5, "old", ""},
	{"a trap is no want of traffic", spreading, []func(*rollout){at(0.5, 3), stood(time.Minute)}, seen(judge.Watching, trapped, rates(0.1, 0.1)), spreading, 0.5, "old", ""},
	{"a trap that nothing shows to be rare is not waited for for ever", spreading, []func(*rollout){at(0.5, 3), stood(judge.HoldFor)}, seen(judge.Watching, trapped), watched, 0, "new", client.Promoted},
	{"a trap that was held by hand is", spreading, []func(*rollout){at(0.5, 3), stood(time.Hour), func(r *rollout) { r.HoldBy = "mira" }}, seen(judge.Watching, trapped), spreading, 0.5, "old", ""},
	{"a trap beside a gate that is shut", spreading, []func(*rollout){at(0.5, 3), stood(time.Hour)}, seen(judge.Watching, trapped, func(e *looked) { e.verdict.Gate.Only = false }), spreading, 0.5, "old", ""},
	{"too little traffic", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(100_000)), quiet, 0.5, "old", "step"},
	{"a bad canary is not too little traffic", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(100_000), made(10, 2), func(e *looked) { e.verdict.Evidence = 1 }), spreading, 0.01, "old", ""},
	{"a bad canary without a baseline is not either", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(-1), made(10, 2)), spreading, 0.01, "old", ""},
	{"a slow canary is not too little traffic", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(100_000), made(11, 0), func(e *looked) { e.verdict.Evidence = math.Log(6) }), spreading, 0.01, "old", ""},
	{"enough traffic and a gate that does not open", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, enough, made(6000, 0)), spreading, 0.01, "old", ""},
	{"too little traffic, and nobody has met it yet", spreading, []func(*rollout){stood(10 * time.Second)}, seen(judge.Watching, need(100_000), made(9, 0)), spreading, 0.01, "old", ""},
	{"too little traffic, and some have met it", spreading, []func(*rollout){stood(10 * time.Second)}, seen(judge.Watching, need(100_000), made(10, 0)), quiet, 0.5, "old", "step"},
	{"the only client is the canary's", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(27), made(1800, 0), rates(1, 1)), quiet, 0.5, "old", "step"},
	{"the canary makes what the old revision has in store, and that makes it too", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(27), made(1800, 0), rates(2, 1)), spreading, 0.01, "old", ""},
	{"quiet, enough traffic and a gate that does not open", quiet, []func(*rollout){stood(time.Hour), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, enough, made(6000, 0)), spreading, 0.01, "old", "step"},
	{"one bad of few does not keep from quiet", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Watching, need(-1), made(3, 1)), quiet, 0.5, "old", "step"},
	{"the evidence is bad", spreading, []func(*rollout){stood(time.Minute)}, seen(judge.Held), spreading, 0.01, "old", client.Held},
	{"held by hand", spreading, []func(*rollout){func(r *rollout) { r.HoldBy = "mira" }, stood(time.Minute)}, seen(judge.Open), spreading, 0.01, "old", ""},
	{"it convicts", spreading, nil, seen(judge.Undone), undone, 0, "old", client.Undone},
	{"it convicts while held", spreading, []func(*rollout){func(r *rollout) { r.HoldBy = "mira" }}, seen(judge.Undone), undone, 0, "old", client.Undone},
	{"both arms suffer", spreading, []func(*rollout){at(0.04, 3)}, seen(judge.Watching, advised(judge.StepBack)), spreading, 0.02, "old", client.Held},
	{"both arms suffer at the first share", spreading, nil, seen(judge.Watching, advised(judge.StepBack)), spreading, 0, "old", client.Held},
	{"frozen", spreading, []func(*rollout){func(r *rollout) { r.Frozen = true }, stood(time.Minute)}, seen(judge.Open, advised(judge.Freeze)), spreading, 0.01, "old", ""},
	{"the harm followed the share once", spreading, []func(*rollout){func(r *rollout) { r.Frozen = true }}, seen(judge.Watching, advised(judge.UndoIt)), spreading, 0.01, "old", "released"},
	{"the harm followed the share twice", spreading, []func(*rollout){func(r *rollout) { r.Strikes = 1 }}, seen(judge.Watching, advised(judge.UndoIt)), undone, 0, "old", client.Undone},
	{"the harm is over", spreading, []func(*rollout){func(r *rollout) { r.Frozen, r.At.Share = true, 0 }}, seen(judge.Watching), spreading, 0.01, "old", "released"},
	{"quiet and good", quiet, []func(*rollout){stood(judge.QuietAfter), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, need(-1), made(20, 0)), watched, 0, "new", client.Promoted},
	{"quiet and too short", quiet, []func(*rollout){stood(time.Minute), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, made(20, 0)), quiet, 0.5, "old", ""},
	{"quiet with a bad", quiet, []func(*rollout){stood(judge.QuietAfter), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, made(20, 1)), quiet, 0.5, "old", ""},
	{"quiet and slow", quiet, []func(*rollout){stood(time.Hour), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, made(1225, 0), func(e *looked) { e.verdict.Evidence = math.Log(6) }), quiet, 0.5, "old", ""},
	{"quiet without any traffic", quiet, []func(*rollout){stood(time.Hour), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, need(-1)), quiet, 0.5, "old", ""},
	{"quiet and convicted", quiet, nil, seen(judge.Undone), undone, 0, "old", client.Undone},
	{"quiet and a gate opens", quiet, []func(*rollout){stood(time.Minute)}, seen(judge.Open, made(500, 0)), watched, 0, "new", client.Promoted},
	{"held back long enough", holdingBack, []func(*rollout){stood(judge.HoldFor)}, seen(judge.Watching), watched, 0, "new", "step"},
	{"quiet with traffic for gates, and a trap", quiet, []func(*rollout){stood(time.Minute), func(r *rollout) { r.Since = Level{1, 1} }}, seen(judge.Watching, trapped, made(2000, 1)), spreading, 0.5, "old", "step"},
	{"held back, and the first trap comes", holdingBack, nil, seen(judge.Watching, trapped), doubted, 0.5, "old", "step"},
	{"held back", holdingBack, nil, seen(judge.Watching), holdingBack, 0.95, "old", ""},
	{"convicted while held back", holdingBack, nil, seen(judge.Undone), undone, 0, "old", client.Undone},
	{"watched", watched, nil, seen(judge.Watching), watched, 0, "new", ""},
	{"watched for an hour", watched, []func(*rollout){func(r *rollout) { r.Promoted = watchFor }}, seen(judge.Watching), finished, 0, "new", ""},
	{"an alarm compares", watched, nil, seen(judge.Watching, func(e *looked) { e.alarm = true }), doubted, 0.5, "old", "step"},
	{"doubted and convicted", doubted, nil, seen(judge.Undone), undone, 0, "old", client.Undone},
	{"doubted and calm", doubted, []func(*rollout){stood(doubtFor), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching), watched, 0, "new", "step"},
	{"doubted for a trap", doubted, []func(*rollout){stood(time.Hour), func(r *rollout) { r.Since, r.Promoted = Level{1, 0}, time.Minute }}, seen(judge.Watching, trapped), doubted, 0.5, "old", ""},
	{"doubted for a trap that is shown to be rare", doubted, []func(*rollout){stood(time.Minute), func(r *rollout) { r.Since, r.Promoted = Level{1, 0}, time.Minute }}, seen(judge.Open), watched, 0, "new", "step"},
	{"doubted for a trap for an hour", doubted, []func(*rollout){stood(time.Hour), func(r *rollout) { r.Since, r.Promoted = Level{1, 0}, watchFor }}, seen(judge.Watching, trapped), watched, 0, "new", "step"},
	{"doubted with bads", doubted, []func(*rollout){stood(doubtFor), func(r *rollout) { r.Since = Level{1, 0} }}, seen(judge.Watching, made(9, 3)), doubted, 0.5, "old", ""},
	{"undone by hand", spreading, nil, wanted{what: "undo", who: "mira"}, undone, 0, "old", client.Undone},
	{"undone by hand after all", finished, nil, wanted{what: "undo", who: "mira"}, undone, 0, "old", client.Undone},
	{"undone twice", undone, nil, wanted{what: "undo", change: "c-5", who: "mira"}, undone, 0, "old", ""},
	{"promoted by hand in quiet mode", quiet, nil, wanted{what: "promote", who: "mira"}, watched, 0, "new", client.Promoted},
	{"promoted by hand opens no gate", spreading, nil, wanted{what: "promote", who: "mira"}, spreading, 0.01, "old", "released"},
	{"the control is given up", holdingBack, nil, wanted{what: "promote", who: "mira"}, watched, 0, "new", "step"},
	{"a node undoes alone", spreading, nil, told{"n", "c-5", "undone alone"}, undone, 0, "old", client.Undone},
	{"a node's undo beats a promotion", finished, nil, told{"n", "c-5", "undone alone"}, undone, 0, "old", client.Undone},
	{"a crash within seconds", spreading, nil, crashed{"n", crashes{1, 3 * time.Second, 0}}, undone, 0, "old", client.Undone},
	{"a crash after hours", holdingBack, nil, crashed{"n", crashes{1, 30 * time.Hour, 0}}, holdingBack, 0.95, "old", ""},
	{"all that had it crashed", spreading, []func(*rollout){crashedBefore(0)}, seen(judge.Watching), spreading, 0.01, "old", client.Held},
	{"somebody lets them have it again", spreading, []func(*rollout){crashedBefore(0)}, wanted{what: "promote", who: "mira"}, spreading, 0.01, "old", "released"},
	{"somebody lets them have it again in quiet mode", quiet, []func(*rollout){crashedBefore(0)}, wanted{what: "promote", who: "mira"}, quiet, 0.5, "old", "released"},
	{"they have it again", spreading, []func(*rollout){crashedBefore(1)}, seen(judge.Watching), spreading, 0.01, "old", ""},
	{"one that crashed is not all", spreading, []func(*rollout){crashedBefore(0), func(r *rollout) { r.Nodes["m"] = nodeState{POP: "a", State: ready} }}, seen(judge.Watching), spreading, 0.01, "old", ""},
	{"superseded", spreading, nil, submitted{change: selvage.Change{ID: "c-9", To: "newer"}}, preparing, 0, "old", client.Superseded},
	{"superseded while held back", holdingBack, nil, submitted{change: selvage.Change{ID: "c-9", To: "newer"}}, preparing, 0, "new", ""},
	{"an older change comes late", spreading, nil, submitted{change: selvage.Change{ID: "c-3", To: "older"}}, spreading, 0.01, "old", ""},
	{"the baseline is undone", spreading, nil, told{"n", "c-1", "undone late"}, spreading, 0.01, "old", ""},
}

func TestEveryTransition(t *testing.T) {
	for _, tc := range transitions {
		t.Run(tc.name, func(t *testing.T) {
			d := in(tc.from)
			for _, f := range tc.given {
				f(d.Rollout)
			}
			before := d.clone()
			got, err := step(d, tc.event, when)
			if err != nil {
				t.Fatal(err)
			}
			arms := got.arms("a")
			if got.Rollout.Phase != tc.to || arms.Share != tc.share || arms.Baseline != tc.serve {
				t.Errorf("got %s, serving %+v; want %s, %s with %v", got.Rollout.Phase, arms, tc.to, tc.serve, tc.share)
			}
			var noted string
			if len(got.Outbox) > 0 {
				noted = got.Outbox[0].Event
			}
			if noted != tc.noted {
				t.Errorf("noted %q, want %q", noted, tc.noted)
			}
			if len(before.Outbox) != len(d.Outbox) || before.Rollout.Phase != d.Rollout.Phase || before.Rollout.Stood != d.Rollout.Stood {
				t.Error("the document that was given was changed")
			}
		})
	}
}

func TestUndoneStaysUndone(t *testing.T) {
	events := []event{
		seen(judge.Open), seen(judge.Watching, advised(judge.GoOn)), replayed{}, heard{"n", nodeState{State: ready}},
		crashed{"n", crashes{1, time.Second, 0}}, told{"n", "c-5", "again"}, wanted{what: "promote", who: "x"}, wanted{what: "hold", who: "x"},
		wanted{what: "break glass", who: "x"}, wanted{what: "undo", who: "x", change: "c-5"},
		submitted{change: selvage.Change{ID: "c-5", To: "new"}}, submitted{change: selvage.Change{ID: "c-4", To: "new"}},
	}
	d := in(undone)
	for _, e := range events {
		next, err := step(d, e, when)
		if err != nil && selvage.KindOf(err) != selvage.Conflict {
			t.Errorf("%#v: %v", e, err)
		}
		if next.Rollout.Phase != undone || next.Promoted.Revision != "old" || len(next.Outbox) > 0 {
			t.Errorf("%#v: %s, promoted %s, %v", e, next.Rollout.Phase, next.Promoted.Revision, next.Outbox)
		}
	}
}

func TestAnEarlierPromotedChangeCanBeUndone(t *testing.T) {
	d := in(spreading)
	d.Back = promoted{Revision: "oldest"}
	got, err := step(d, wanted{what: "undo", change: "c-1", who: "mira"}, when)
	if err != nil {
		t.Fatal(err)
	}
	if got.Promoted.Revision != "oldest" || got.Rollout.Phase != superseded || got.Outbox[1].Change.ID != "c-1" || got.Outbox[1].Event != client.Undone {
		t.Errorf("got %+v", got)
	}
	if _, err := step(in(undone), wanted{what: "undo", who: "mira"}, when); selvage.KindOf(err) != selvage.Conflict && err != nil {
		t.Errorf("got %v", err)
	}
	first := in(watched)
	first.Rollout.From, first.Back = promoted{}, promoted{}
	if _, err := step(first, wanted{what: "undo", who: "mira"}, when); selvage.KindOf(err) != selvage.Conflict || !strings.Contains(err.Error(), "nothing to go back to") {
		t.Errorf("undo of the first revision: got %v", err)
	}
}

func TestClientsAreToldApartByTheSecretAlsoWhenEverybodyHasWhatIsWatched(t *testing.T) {
	d := in(watched)
	d.Rollout.Secret = [16]byte{1}
	if got, want := d.arms("a"), (Arms{Change: "c-5", Baseline: "new", Unit: selvage.ByClient, Secret: [16]byte{1}}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestTheLargestPOPComesLast(t *testing.T) {
	r := in(preparing).Rollout
	r.Nodes = map[selvage.NodeName]nodeState{"d": {POP: "d", State: ready}}
	report := func(pop selvage.POP, rate float64) Report {
		return Report{POP: pop, State: ready, Count: Count{Rate: rate}}
	}
	first, pops := plan(r, []Report{report("a", 50), report("b", 500), report("c", 100)})
	if len(pops) != 4 || pops[0] != "c" || pops[1] != "a" || pops[2] != "b" || pops[3] != "d" || first != judge.FirstShare(100, judge.UndoTime) {
		t.Errorf("got %v, first share %v", pops, first)
	}
	if _, pops := plan(r, []Report{report("a", 50)}); pops[0] != "a" {
		t.Errorf("a POP without traffic comes first: %v", pops)
	}
}

func TestDocumentsSurviveJSON(t *testing.T) {
	for _, p := range []phase{preparing, spreading, holdingBack, undone} {
		d, err := step(in(p), seen(judge.Held), when)
		if err != nil {
			t.Fatal(err)
		}
		data := state.DigestOf(mustJSON(t, d))
		again, err := readDocument(mustJSON(t, d))
		if err != nil || state.DigestOf(mustJSON(t, again)) != data {
			t.Errorf("%s: got %+v, %v", p, again, err)
		}
	}
}

func FuzzDocument(f *testing.F) {
	for _, p := range []phase{preparing, spreading, quiet, holdingBack, watched, doubted, finished, undone} {
		d := in(p)
		f.Add(mustJSON(f, d))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := readDocument(data)
		if err != nil || d.Rollout == nil {
			return
		}
		// Whatever a document says, a look does not panic, and undone stays undone.
		next, err := step(d, seen(judge.Open, made(10, 0)), when)
		if err != nil || d.Rollout.Phase == undone && next.Rollout.Phase != undone {
			t.Errorf("%s becomes %s, %v", d.Rollout.Phase, next.Rollout.Phase, err)
		}
		_ = next.arms("a")
		_ = next.status()
	})
}

func mustJSON(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestAPurgeIsSteppedLikeARevisionAndEndsWithItsPromotion(t *testing.T) {
	d := in(watched)
	before := d.Promoted
	change := selvage.Change{ID: "c-9", Kind: selvage.PurgeChange, Service: "shop", To: before.Revision}
	do := func(e event) {
		t.Helper()
		next, err := step(d, e, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		d = next
	}
	do(submitted{change: change, manifest: before.Manifest, nodes: map[selvage.NodeName]nodeState{"one": {POP: "ams", State: ready}}})
	look := looked{passed: time.Second, verdict: judge.Verdict{Word: judge.Watching}, plan: func() (float64, []selvage.POP) { return 0.1, []selvage.POP{"ams"} }}
	do(look)
	a := d.arms("ams")
	if d.Rollout.Phase != spreading || a.Share != purgeFirst || a.Unit != selvage.ByKey || a.Baseline != before.Revision || a.Canary != before.Revision || a.Purged != "" {
		t.Fatalf("%s with %+v", d.Rollout.Phase, a)
	}
	if back, err := step(d, wanted{what: "undo", who: "ann"}, time.Now()); err != nil || back.arms("ams") != (Arms{Baseline: before.Revision}) {
		t.Errorf("undone: %+v, %v", back.arms("ams"), err)
	}
	look.passed, look.verdict.Word = time.Minute, judge.Open
	for range 20 {
		do(look)
	}
	if got := d.arms("ams"); d.Rollout.Phase != finished || got != (Arms{Baseline: before.Revision, Purged: "c-9"}) || d.Promoted != before {
		t.Errorf("through: %s, %+v, promoted %+v", d.Rollout.Phase, got, d.Promoted)
	}
	if _, err := step(d, wanted{what: "undo", who: "ann"}, time.Now()); selvage.KindOf(err) != selvage.Conflict {
		t.Errorf("undo of what was forgotten: %v", err)
	}
	if next, err := step(d, told{"one", "c-9", "late"}, time.Now()); err != nil || next.Rollout.Phase != finished {
		t.Errorf("a node's late undo: %s, %v", next.Rollout.Phase, err)
	}
}

func TestAChangeOfAPartThatWasToldFromAnotherRevisionIsARevision(t *testing.T) {
	for from, want := range map[selvage.RevisionID]selvage.ChangeKind{"new": selvage.WeightChange, "old": selvage.RevisionChange} {
		change := selvage.Change{ID: "c-9", Kind: selvage.WeightChange, Service: "shop", From: from, To: "newest"}
		d, err := step(in(watched), submitted{change: change}, when)
		if err != nil || d.Rollout.Change.Kind != want || d.Rollout.Change.From != "new" {
			t.Errorf("told from %s: kind %s from %s, %v; want %s", from, d.Rollout.Change.Kind, d.Rollout.Change.From, err, want)
		}
	}
}
