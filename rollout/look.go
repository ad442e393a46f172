package rollout

import (
	"fmt"
	"math"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

// looked is a look at the evidence, ten times a second.
type looked struct {
	passed  time.Duration // since the look before, as the coordinator measured it
	verdict judge.Verdict
	made    int64        // by the canary so far, whoever asked
	bads    int64        // of these, those for latency apart
	rate    float64      // makings a second of the POPs that take part
	canary  float64      // and the canary's of these
	advice  judge.Advice // on harm that both arms share
	alarm   bool         // the level of what is promoted is not what it was
	working int          // nodes that have just said that they are preparing the revision
	secret  [16]byte     // for drawing the units anew
	plan    func() (first float64, pops []selvage.POP)
}

func (e looked) apply(d *document, now time.Time) error {
	r := d.Rollout
	if r == nil || r.Phase.over() {
		return nil
	}
	passed := max(e.passed, 0)
	r.Stood += passed
	if r.Phase.counts() {
		r.Promoted += passed
	}
	if r.Phase.armed() {
		r.Elapsed += passed
		v := verdictOf(e.verdict, now)
		r.Verdict = &v
		if e.verdict.Word == judge.Undone {
			d.end(undone, "verdict", e.verdict.String(), now)
			return nil
		}
		e.hold(d, now)
		if e.shared(d, now) {
			return nil
		}
	}
	switch r.Phase {
	case preparing:
		e.prepare(d, now)
	case replaying:
		if r.Stood >= replayFor {
			d.begin(now)
		}
	case spreading:
		e.spread(d, now)
	case quiet:
		e.quiet(d, now)
	case holdingBack:
		e.holdBack(d, now)
	case watched:
		e.watch(d, now)
	case doubted:
		e.doubt(d, now)
	}
	return nil
}

// hold notes that the evidence turned bad, and that it got well again.
func (e looked) hold(d *document, now time.Time) {
	r := d.Rollout
	is, words := e.verdict.Word == judge.Held, e.verdict.String()
	if r.deserted() {
		is, words = true, "held: every node that had it ended uncleanly, and gives it to nobody: undo it, or promote to go on"
		r.Verdict.Word, r.Verdict.Words = string(judge.Held), words
	}
	if is && !r.Held {
		d.note(client.Held, words, now)
	}
	r.Held = is
}

// prepare waits for the nodes: all of them, or those that say something in time.
// Who says that it is at work is given more of it, as long as no glass is broken.
func (e looked) prepare(d *document, now time.Time) {
	r := d.Rollout
	good, bad, silent, why := r.nodesHeard()
	if good+bad == 0 || r.Stood < hearFor || silent > 0 && r.Stood < prepareFor {
		return
	}
	if e.working > 0 && r.Stood < workFor && !r.BreakGlass {
		return
	}
	r.Pinned = len(r.Nodes)
	for name, n := range r.Nodes {
		if n.State == waiting {
			n.State = lost
			r.Nodes[name] = n
		}
	}
	if good == 0 {
		d.end(refused, "nodes", "refused: no node can run it: "+why, now)
		return
	}
	r.First, r.POPs = e.plan()
	if r.purges() {
		r.First = purgeFirst
	}
	if r.From.Revision == "" || r.purges() {
		d.begin(now)
		return
	}
	r.to(replaying)
}

// spread takes the next step, if its gate is open and nothing speaks against it.
func (e looked) spread(d *document, now time.Time) {
	r := d.Rollout
	every := judge.StepEvery
	if r.BreakGlass {
		every = glassStep
	}
	if r.HoldBy != "" || r.Held || r.Frozen || r.Stood < every {
		return
	}
	next, _ := r.plan().Next(r.At)
	switch {
	case e.verdict.Gate.Only && r.Stood >= judge.HoldFor:
		// A control of 5 % for as long would say less than these even shares did.
		d.promote(watched, fmt.Sprintf("its trap was not told apart in %s at even shares: %s", judge.HoldFor, e.verdict.Gate.Trap), now)
	case e.verdict.Word == judge.Open:
		r.move(next)
		if _, last := r.plan().Next(next); last {
			d.promote(holdingBack, e.verdict.String(), now)
			return
		}
		d.note("step", fmt.Sprintf("share %s in %s: %s", percent(r.At.Share), r.where(), e.verdict), now)
	case e.tooQuiet(r):
		r.to(quiet)
		r.move(judge.Position{Share: 0.5, POPs: max(len(r.POPs), 1)})
		d.note("step", "too little traffic for gates: half and half, and watched", now)
	}
}

// tooQuiet says that the next gate is further away than [judge.QuietAfter], for
// want of traffic and not because the canary is bad: a canary as good as the old revision
// would have to wait for so long. A fifth of bad ones is bad
// also where nothing was made by the baseline, which has its answers in store:
// then there is no evidence against the canary, and more would meet it. What is
// slow is no bad here, and its evidence speaks all the same.
func (e looked) tooQuiet(r *rollout) bool {
	if e.made < quietKnown && r.Stood < quietDraw {
		return false // half of the units is much for what nobody has met
	}
	if e.verdict.Evidence >= math.Log(quietAgainst) || e.bads > 0 && e.verdict.Evidence > 0 || e.bads >= badBads && 5*e.bads >= e.made {
		return false
	}
	// What the old revision has in store the canary makes: then it makes more than its share,
	// and the old one as many for comparison. Where it does not, the only client is the canary's.
	return e.verdict.Gate.Short != 0 && judge.Quiet(e.verdict.Gate.Short, max(e.rate*r.At.Share, min(e.canary, e.rate-e.canary)))
}

// quiet promotes after some time without a bad and without evidence to speak of,
// which what is slow gives and no bad. Without a making of the canary it draws
// the units anew: the only client may be on the other side.
func (e looked) quiet(d *document, now time.Time) {
	r := d.Rollout
	after := judge.QuietAfter
	if r.BreakGlass {
		after = glassQuiet
	}
	if r.Since.N == 0 {
		r.Since = Level{e.made + 1, e.bads}
	}
	made := e.made - (r.Since.N - 1)
	switch {
	case e.bads > r.Since.Bad && e.verdict.Word != judge.Open:
		r.Stood, r.Since = 0, Level{e.made + 1, e.bads}
		return
	case r.HoldBy != "" || r.Held || r.Frozen:
		return
	case e.verdict.Word == judge.Open && r.Stood >= judge.StepEvery:
		d.promote(watched, e.verdict.String(), now)
	case e.verdict.Gate.Only: // there is traffic enough for gates, and they say what else is to be seen
		r.to(spreading)
		d.note("step", "half and half until a trap is told apart: "+e.verdict.Gate.Trap, now)
	case e.verdict.Evidence >= math.Log(quietAgainst):
		return
	case r.Stood >= after && e.verdict.Gate.Short == 0:
		r.to(spreading)
		r.move(r.plan().Start())
		d.note("step", "the gate stays closed, and not for want of traffic: back to the first share", now)
	case r.Stood >= after && made >= quietLeast:
		d.promote(watched, fmt.Sprintf("%d makings in %s without a bad; watched for an hour", made, r.Stood.Round(time.Second)), now)
	case made == 0 && r.Stood >= quietDraw:
		r.Secret, r.Stood = e.secret, 0
	}
}

// shared does what is advised about harm of both arms. One outage that ends soon
// after the step back looks like harm that followed the share, so that it has
// to follow twice.
func (e looked) shared(d *document, now time.Time) bool {
	r := d.Rollout
	switch e.advice {
	case judge.StepBack:
		if r.Frozen {
			break
		}
		back := r.plan().Back(r.At)
		if r.Phase == quiet || r.At == r.plan().Start() {
			back.Share = 0
		}
		r.move(back)
		r.Frozen = true
		d.note(client.Held, fmt.Sprintf("both arms are worse than before: back to %s in %s until it is clear why",
			percent(r.At.Share), r.where()), now)
	case judge.UndoIt:
		r.Strikes++
		r.Stood = 0
		if r.Strikes >= strikesOut {
			d.end(undone, "shared harm", fmt.Sprintf("undone because both arms got worse with its share, and well again without, %d times", r.Strikes), now)
			return true
		}
		d.thaw("it got well with the step back; once more", now)
	case judge.GoOn:
		if r.Frozen {
			d.thaw("both arms are as before", now)
		}
	}
	return false
}

// thaw lets the schedule go on after shared harm.
func (d *document) thaw(words string, now time.Time) {
	r := d.Rollout
	r.Frozen, r.Stood = false, 0
	switch {
	case r.Phase == holdingBack || r.Phase == doubted:
		r.move(judge.Position{Share: 0.5, POPs: max(len(r.POPs), 1)})
		r.to(doubted)
	case r.Phase == quiet:
		r.move(judge.Position{Share: 0.5, POPs: max(len(r.POPs), 1)})
	case r.At.Share == 0:
		r.move(r.plan().Start())
	}
	d.note("released", words, now)
}

// holdBack waits for the end of the control. A trap that showed only now is
// compared at even shares: at these a hit says hardly anything.
func (e looked) holdBack(d *document, now time.Time) {
	r := d.Rollout
	switch {
	case e.verdict.Gate.Trap != "":
		r.to(doubted)
		r.move(judge.Position{Share: 0.5, POPs: max(len(r.POPs), 1)})
		d.note("step", "a trap that the old revision does not have: half of the units go back to it, to compare: "+e.verdict.Gate.Trap, now)
	case r.Stood >= judge.HoldFor && !r.Held:
		r.to(watched)
		d.note("step", "the control gets it too", now)
	}
}

// watch looks at the level of what is promoted, for an hour. An alarm alone
// undoes nothing: half of the units go back to the old revision, and the
// comparison decides.
func (e looked) watch(d *document, now time.Time) {
	r := d.Rollout
	switch {
	case e.alarm && r.From.Revision != "" && r.From.Revision != r.Change.To:
		if len(r.POPs) == 0 {
			r.First, r.POPs = e.plan()
		}
		if r.Span.Began.IsZero() {
			r.Span.Began = now
		}
		r.to(doubted)
		r.move(judge.Position{Share: 0.5, POPs: max(len(r.POPs), 1)})
		d.note("step", "worse than before the change: half of the units go back to the old revision, to compare", now)
	case r.Promoted >= watchFor:
		r.to(finished)
	}
}

// doubt ends when nothing was bad for a while.
func (e looked) doubt(d *document, now time.Time) {
	r := d.Rollout
	if r.Since.N == 0 {
		r.Since = Level{1, e.bads}
	}
	switch {
	case e.bads > r.Since.Bad || r.Frozen || r.Held:
		r.Since.Bad, r.Stood = e.bads, 0
		return
	case e.verdict.Gate.Trap != "" && r.Promoted < watchFor:
		return // it is told apart, or shown to be rare
	case e.verdict.Word != judge.Open && r.Stood < doubtFor:
		return
	case r.Stood < judge.StepEvery:
		return
	}
	r.to(watched)
	d.note("step", "no worse than the old revision: everybody gets it again", now)
}

// toOne is evidence as a bet, as far as one can say it.
func toOne(lnE float64) float64 { return min(math.Exp(min(lnE, 50)), 1e18) }
