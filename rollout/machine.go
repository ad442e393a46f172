package rollout

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// What a rollout waits for, and for how long.
const (
	hearFor      = 500 * time.Millisecond // for the first words of nodes that are there
	prepareFor   = 30 * time.Second       // for nodes that do not say whether they are ready …
	workFor      = 10 * time.Minute       // … and for those that say they are at work: a large module compiles for minutes
	replayFor    = 30 * time.Second       // for the node that replays
	watchFor     = time.Hour              // a promoted revision's level is watched
	doubtFor     = 2 * time.Minute        // of calm, then what was doubted is believed again
	badBads      = 2                      // that are a fifth of all: it is not for want of traffic that nothing is known
	quietAgainst = 2                      // to one, against the canary: no quiet mode, and none ends with a promotion
	quietLeast   = 3                      // makings without a bad that quiet mode needs
	quietKnown   = 10                     // makings of the canary before there is quiet mode, or the time of a draw
	quietDraw    = 20 * time.Second       // without a making of the canary the units are drawn anew
	purgeFirst   = 0.01                   // of the keys, where all of a service is purged
	strikesOut   = 2                      // shared harm that followed the share so often undoes
	glassStep    = time.Second            // between steps with the glass broken …
	glassQuiet   = 30 * time.Second       // … and instead of two minutes of quiet
	glassExpose  = 0.02                   // every gate is that of this exposure
)

// event is something that happens to a service's rollout.
type event interface {
	// apply changes the document, which is a copy. An error says why it cannot be.
	apply(d *document, now time.Time) error
}

// step is what a rollout does: pure, all of it. now is for people to read and
// decides nothing. What is to be told is in the document's outbox, what is
// to be served follows from document.arms.
func step(d document, e event, now time.Time) (document, error) {
	next := d.clone()
	if err := e.apply(&next, now); err != nil {
		return d, err
	}
	return next, nil
}

// submitted is a change that stands in the log. One that is older than what is
// there was dealt with, or overtaken, which the coordinator says in the log.
type submitted struct {
	change     selvage.Change
	manifest   state.Digest
	breakGlass bool
	secret     [16]byte
	nodes      map[selvage.NodeName]nodeState
}

func (e submitted) apply(d *document, now time.Time) error {
	old := d.Rollout
	if old != nil && number(old.Change.ID) >= number(e.change.ID) {
		return nil
	}
	if old != nil && !old.Phase.over() && !old.Phase.counts() {
		d.end(superseded, "another change", fmt.Sprintf("superseded by %s", e.change.ID), now)
	}
	if e.change.Kind == selvage.LocalChange {
		d.File = e.change.To
	}
	if e.change.Kind.IsPart() && e.change.From != d.Promoted.Revision {
		e.change.Kind = selvage.RevisionChange // it was told from what is promoted no more
	}
	e.change.From = d.Promoted.Revision
	r := &rollout{
		Change: e.change, Manifest: e.manifest, From: d.Promoted, Phase: preparing,
		Secret: e.secret, BreakGlass: e.breakGlass, Nodes: e.nodes,
	}
	d.Rollout = r
	if e.change.To == d.Promoted.Revision && !r.purges() || e.change.Kind == selvage.LocalChange {
		// A local change is served already; what is promoted already needs no rollout.
		d.promote(watched, "at once", now)
	}
	return nil
}

// read is what a node's own file says, where that is promoted already.
type read struct{ revision selvage.RevisionID }

func (e read) apply(d *document, _ time.Time) error {
	d.File = e.revision
	return nil
}

// heard is what a node says of the revision.
type heard struct {
	node selvage.NodeName
	nodeState
}

func (e heard) apply(d *document, _ time.Time) error {
	r := d.Rollout
	if r.Nodes == nil {
		r.Nodes = map[selvage.NodeName]nodeState{}
	}
	have, ok := r.Nodes[e.node]
	if ms := e.MS; ok && r.Phase.over() { // it lets the revision go: that is no news of it
		e.nodeState = have
		e.MS = ms
	}
	if e.MS == 0 {
		e.MS = have.MS
	}
	r.Nodes[e.node] = e.nodeState
	return nil
}

// replayed is what the replay gave.
type replayed struct {
	result ReplayResult
	err    string
}

func (e replayed) apply(d *document, now time.Time) error {
	r := d.Rollout
	if r.Phase != replaying {
		return nil
	}
	r.Replay = &client.Replay{Requests: e.result.Requests, Differ: e.result.Worse, Examples: e.result.Examples}
	if e.err != "" {
		r.Replay.Examples = []string{"the replay could not be made: " + e.err}
	}
	if e.result.Convicts() {
		d.end(refused, "replay", fmt.Sprintf("refused before any user: %d of %d recorded requests fail on %s and not on %s",
			e.result.Worse, e.result.Requests, r.Change.To, r.From.Revision), now)
		return nil
	}
	d.begin(now)
	return nil
}

// Convicts says that a replay is evidence enough, as soon as it is: pairs are drawn at
// even odds, so that a revision that is at most twice as bad has two of three of
// the pairs that differ; the bound is that of an undo, however often one looks.
func (r ReplayResult) Convicts() bool {
	var sum float64
	grid := [...]float64{0.8, 0.95, 0.999}
	for _, p := range grid {
		sum += math.Exp(float64(r.Worse)*math.Log(p/(2.0/3)) + float64(r.Better)*math.Log((1-p)/(1.0/3)))
	}
	return sum/float64(len(grid)) >= 1/judge.Alpha
}

// begin gives the canary its first share.
func (d *document) begin(now time.Time) {
	r := d.Rollout
	if r.From.Revision == "" {
		d.promote(watched, "it is the service's first revision", now)
		return
	}
	r.to(spreading)
	r.Span.Began = now
	if r.First <= 0 {
		r.First = judge.FirstShare(0, judge.UndoTime)
	}
	r.move(r.plan().Start())
	d.note("started", fmt.Sprintf("share %s in %s", percent(r.At.Share), r.where()), now)
}

// purges says that the change makes the service forget what is stored.
func (r *rollout) purges() bool { return r.Change.Kind == selvage.PurgeChange }

// certifies says that the change is of a certificate alone: its makings are handshakes.
func (r *rollout) certifies() bool { return r.Change.Kind == selvage.CertificateChange }

// to enters a phase. A purge that is through has nothing left to compare with.
func (r *rollout) to(p phase) {
	if r.purges() && p.counts() {
		p = finished
	}
	r.Phase, r.Stood = p, 0
}

// move goes to a position.
func (r *rollout) move(p judge.Position) {
	r.At, r.Stood = p, 0
	r.Most = max(r.Most, r.exposure())
	r.Since = Level{}
}

// promote makes the revision the service's, and goes on to a phase in which it is.
func (d *document) promote(to phase, how string, now time.Time) {
	r := d.Rollout
	r.to(to)
	if r.purges() {
		d.Purged = r.Change.ID
	} else {
		d.Promoted, d.Back = promoted{r.Change.To, r.Manifest, r.Change}, r.From
	}
	r.Held, r.Promoted, r.Span.Ended = false, 0, now
	words := r.inItsWords("promoted: " + how)
	r.Receipt = &client.Receipt{
		Outcome: client.Promoted, By: "verdict", Revision: string(r.Change.To), Share: r.Most,
		Seconds: r.Elapsed.Seconds(), Words: words,
	}
	count(r.Receipt, r.said())
	d.note(client.Promoted, words, now)
}

// end ends the rollout for good: what it had is taken back.
func (d *document) end(p phase, by, words string, now time.Time) {
	r := d.Rollout
	if r.Phase.counts() {
		d.Promoted, d.Back = r.From, promoted{}
	}
	words = r.inItsWords(words)
	r.to(p)
	r.Held, r.Frozen, r.HoldBy, r.Span.Ended = false, false, "", now
	r.Receipt = &client.Receipt{
		Outcome: string(p), By: by, Revision: string(d.Promoted.Revision), Share: r.Most,
		Seconds: r.Elapsed.Seconds(), Words: words,
	}
	count(r.Receipt, r.said())
	d.note(string(p), words, now)
}

// note puts what happened into the outbox.
func (d *document) note(event, words string, now time.Time) {
	r := d.Rollout
	d.Outbox = append(d.Outbox, client.LogFact{
		Event: event, When: now, Words: r.inItsWords(words), Change: r.change(), Verdict: r.said(), Receipt: r.Receipt,
	})
}

// where are the POPs that take part, in words.
func (r *rollout) where() string {
	n := min(r.At.POPs, len(r.POPs))
	switch {
	case len(r.POPs) == 0 || n == len(r.POPs) && n > 1:
		return "all POPs"
	case n == 1:
		return fmt.Sprintf("POP %s", r.POPs[0])
	}
	return fmt.Sprintf("%d of %d POPs", n, len(r.POPs))
}

// wanted is a request of somebody.
type wanted struct {
	what     string // undo, hold, promote, break glass
	change   selvage.ChangeID
	who, why string
}

func (e wanted) apply(d *document, now time.Time) error {
	r := d.Rollout
	by := strings.TrimSuffix(e.who+": "+e.why, ": ")
	if r != nil && e.what == "undo" {
		id := e.change
		if id == "" && r.Phase.over() && !r.Phase.counts() {
			id = d.Promoted.Change.ID
		}
		if d.undoEarlier(id, e.who, "undone by "+by, now) {
			return nil
		}
	}
	if r == nil || e.change != "" && r.Change.ID != e.change {
		return selvage.Errorf(selvage.Conflict, "%s %s: it is not the service's last change", e.what, e.change)
	}
	switch {
	case e.what == "undo" && r.purges() && r.Phase.counts():
		return selvage.Errorf(selvage.Conflict, "undo %s: what was forgotten cannot be brought back; name the change that is to be undone", r.Change.ID)
	case e.what == "undo" && r.Phase.counts() && r.From.Revision == "":
		return selvage.Errorf(selvage.Conflict, "undo %s: it is the service's first revision, there is nothing to go back to", r.Change.ID)
	case e.what == "undo" && r.Phase == undone:
		return nil
	case e.what == "undo" && r.Phase.over() && r.Phase != finished, e.what != "undo" && (r.Phase.over() || r.Phase.counts() && e.what != "promote"):
		return selvage.Errorf(selvage.Conflict, "%s %s: it is %s", e.what, r.Change.ID, r.Phase)
	}
	words := e.what + " by " + by
	switch e.what {
	case "undo":
		d.end(undone, e.who, "undone by "+by, now)
	case "hold":
		r.HoldBy = e.who
		d.note(client.Held, words, now)
	case "promote":
		d.goOn(words, now)
	case "break glass":
		r.BreakGlass = true
		d.note("break-glass", words, now)
	}
	if n := len(d.Outbox); n > 0 {
		d.Outbox[n-1].Who = e.who
	}
	return nil
}

// goOn ends a hold and a wait. It opens no gate.
func (d *document) goOn(words string, now time.Time) {
	r := d.Rollout
	r.HoldBy = ""
	switch {
	case r.deserted():
		for name, c := range r.Crashes {
			c.Forgiven = c.Ends
			r.Crashes[name] = c
		}
		d.note("released", words, now)
	case r.Phase == quiet:
		d.promote(watched, words, now)
	case r.Phase == holdingBack, r.Phase == doubted:
		r.to(watched)
		d.note("step", words, now)
	default:
		d.note("released", words, now)
	}
}

// gives says whether a node that ended uncleanly with the canary gives it to users
// again: what is promoted when its crash was weighed, and before that only if
// somebody said that it goes on.
func (r *rollout) gives(node selvage.NodeName, ends int) bool {
	c := r.Crashes[node]
	return c.Ends >= ends && (r.Phase.counts() || c.Forgiven >= ends)
}

// deserted says that all nodes that should give the canary to users ended
// uncleanly with it, which was not evidence enough for an undo: nobody gets it.
func (r *rollout) deserted() bool {
	takes := 0
	for name, n := range r.Nodes {
		if n.State != ready || !r.takesPart(n.POP) {
			continue
		}
		if r.gives(name, r.Crashes[name].Ends) {
			return false
		}
		takes++
	}
	return takes > 0
}

// undoEarlier undoes the promoted change where the service's last one is
// another: that one is superseded, because its baseline is gone.
func (d *document) undoEarlier(id selvage.ChangeID, by, words string, now time.Time) bool {
	r := d.Rollout
	if id == "" || id != d.Promoted.Change.ID || id == r.Change.ID || d.Back.Revision == "" {
		return false
	}
	if !r.Phase.over() {
		d.end(superseded, by, fmt.Sprintf("superseded: its baseline %s was undone", id), now)
	}
	gone := rollout{Change: d.Promoted.Change, Phase: undone}
	gone.Receipt = &client.Receipt{Outcome: client.Undone, By: by, Revision: string(d.Back.Revision), Words: words}
	d.Promoted, d.Back = d.Back, promoted{}
	d.Outbox = append(d.Outbox, client.LogFact{
		Event: client.Undone, When: now, Who: by, Words: words, Change: gone.change(), Receipt: gone.Receipt,
	})
	return true
}

// told is the undo of a node that decided alone.
type told struct {
	node   selvage.NodeName
	change selvage.ChangeID
	words  string
}

func (e told) apply(d *document, now time.Time) error {
	r := d.Rollout
	if r == nil || d.undoEarlier(e.change, string(e.node), e.words, now) {
		return nil
	}
	if r.Change.ID != e.change || r.Phase == undone || r.Phase == refused || r.purges() && r.Phase.counts() {
		return nil
	}
	if r.From.Revision != "" {
		d.end(undone, string(e.node), e.words, now)
	}
	return nil
}

// crashed is an unclean end of a node that had the canary.
type crashed struct {
	node selvage.NodeName
	crashes
}

func (e crashed) apply(d *document, now time.Time) error {
	r := d.Rollout
	e.Forgiven = r.Crashes[e.node].Forgiven
	if r.Phase.over() || r.Crashes[e.node] == e.crashes {
		return nil
	}
	if r.Crashes == nil {
		r.Crashes = map[selvage.NodeName]crashes{}
	}
	r.Crashes[e.node] = e.crashes
	ends, exposure := 0, time.Duration(0)
	for _, c := range r.Crashes {
		ends, exposure = ends+c.Ends, exposure+c.Exposure
	}
	if lnE := judge.Crashes(ends, exposure); lnE >= math.Log(1/judge.Alpha) && r.From.Revision != "" {
		d.end(undone, "crash", fmt.Sprintf("undone after %s %s: node %s, evidence %s to 1",
			crashWords(ends), had(exposure), e.node, thousands(toOne(lnE))), now)
	}
	return nil
}

func crashWords(ends int) string {
	if ends == 1 {
		return "1 crash of a node that had it for"
	}
	return fmt.Sprintf("%d crashes of nodes that had it for", ends)
}

// had is how long nodes had a change, as far as their journals say.
func had(exposure time.Duration) string {
	if exposure < journalFor {
		return fmt.Sprintf("less than %s", journalFor)
	}
	return exposure.Round(time.Second / 10).String()
}

// nodesHeard counts what nodes said; waiting are those that said nothing.
func (r *rollout) nodesHeard() (good, bad, silent int, why string) {
	names := make([]selvage.NodeName, 0, len(r.Nodes))
	for name := range r.Nodes {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		switch n := r.Nodes[name]; n.State {
		case ready:
			good++
		case failing:
			bad++
			if why == "" {
				why = fmt.Sprintf("node %s: %s", name, n.Why)
			}
		default:
			silent++
		}
	}
	return good, bad, silent, why
}
