package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/examples/shop"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/rollout"
)

// result is one run.
type result struct {
	row     row
	rate    int
	state   string // that it ended in, client.Watching if it had no outcome in time
	made    int64  // by the canary, of what it makes in another way than the baseline
	bads    int64  // of these
	users   int
	lost    int64
	why     error         // of the last that was lost
	asked   time.Duration // from the deploy to the outcome
	took    time.Duration // from the canary's first making to the outcome
	turned  time.Duration // from it to the last making
	back    time.Duration // from the death of the edge to an answer; 0: it did not die
	receipt client.Receipt
}

// How often a run is looked at, and for how long. What was promoted too soon
// may still be undone by what is watched: that is waited for where a fault is rare.
const (
	lookEvery  = 5 * time.Millisecond
	aloneAfter = 2 * time.Second // between two runs, for what is under way
)

// trapper is a change whose function traps so rarely that it takes longer. Nobody
// sees it: the old revision answers instead.
const trapper = "bad-trap"

// limit is how long a run may take.
func limit(name string, rate int) time.Duration {
	switch {
	case name == trapper:
		return judge.HoldFor + 5*time.Minute // its first trap may come after its promotion
	case rate >= 500:
		return 4 * time.Minute
	case rate >= 50:
		return 8 * time.Minute
	}
	return 12 * time.Minute
}

// over says whether a change in a state needs no more looking at.
func (r row) over(state string) bool {
	return client.Over(state) && (r.name != trapper || state != client.Promoted)
}

// play measures an example, on top of what it is to be compared with: of what
// traps, that is the same function that does not, which takes the same time.
func (f *fleet) play(ctx context.Context, example string, r row) (result, error) {
	if r.name != trapper {
		return f.measure(ctx, example, r)
	}
	before := filepath.Join(f.folder, "before")
	if err := f.copyExample(ctx, example, before); err != nil {
		return result{}, err
	}
	file := filepath.Join(before, "change", "shop.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return result{}, err
	}
	if err := os.WriteFile(file, bytes.ReplaceAll(text, []byte(shop.RareField+".bad.example"), []byte("good.example")), 0o600); err != nil {
		return result{}, err
	}
	if err := f.local(ctx, file); err != nil {
		return result{}, err
	}
	if !rest(ctx, warm(f.rate)) {
		return result{}, ctx.Err()
	}
	out, err := f.measure(ctx, example, r)
	if err != nil {
		return result{}, err
	}
	return out, f.local(ctx, filepath.Join(f.folder, "shop.yaml"))
}

// measure deploys an example and waits for what becomes of it.
func (f *fleet) measure(ctx context.Context, example string, r row) (result, error) {
	out := result{row: r, state: client.Watching}
	f.witness.begin()
	began := time.Now()
	change, err := f.deploy(ctx, example)
	if err != nil {
		return out, err
	}
	harm := newHarm(r.outage)
	var now client.Rollout
	said := began
	for time.Since(began) < limit(r.name, f.rate) && !r.over(now.Change.State) {
		if !rest(ctx, lookEvery) {
			return out, ctx.Err()
		}
		made, _, _ := f.witness.now()
		if err := harm.look(f.witness.shop, made.first); err != nil {
			return out, err
		}
		if now, err = f.changes.Status(ctx, "", change.ID); err != nil {
			return out, err
		}
		if err := f.failed(); err != nil {
			return out, err
		}
		if f.trace && time.Since(said) >= time.Second {
			said = said.Add(time.Second)
			fmt.Fprintln(os.Stderr, standing(began, &now))
		}
	}
	decided := time.Now()
	if err := f.witness.shop.Behave(shop.Behaviour{}); err != nil {
		return out, err
	}
	if now.Change.State == client.Promoted || !client.Over(now.Change.State) {
		if err := f.back(ctx, change.ID); err != nil {
			return out, err
		}
	}
	if !rest(ctx, aloneAfter) {
		return out, ctx.Err()
	}
	made, lost, why := f.witness.now()
	out.why = why
	out.made, out.bads, out.users, out.lost = made.n, made.bad, len(made.users), lost
	out.asked = decided.Sub(began)
	if r.name == trapper { // the bad ones are traps, which the old revision makes up for
		out.users = int(made.failed)
	}
	if !made.first.IsZero() {
		out.took, out.turned = decided.Sub(made.first), made.last.Sub(made.first)
	}
	if client.Over(now.Change.State) {
		out.state = now.Change.State
	}
	if now.Receipt != nil {
		out.receipt = *now.Receipt
	}
	return out, nil
}

// standing is how a run stands.
func standing(began time.Time, r *client.Rollout) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%5.1f s %-10s %-9s share %.4f in %v, makings %v, %.3g to 1 (%s)", time.Since(began).Seconds(),
		r.Change.State, r.Mode, r.Share, r.POPs, r.Makings, r.ToUndo.ToOne, r.ToUndo.Lead)
	if g := r.Gate; g != nil {
		fmt.Fprintf(&text, ", gate %.3g of %g, %d more (%s)", g.ToOne, g.Bound, g.More, g.Waiting)
	}
	for _, i := range r.Indicators {
		fmt.Fprintf(&text, ", %s %v", i.Name, i.Bad)
	}
	return text.String() + " " + r.Change.Words
}

// back undoes a change by hand: the next run begins where this one did.
func (f *fleet) back(ctx context.Context, id string) error {
	if err := f.changes.Rollouts.Undo(ctx, rollout.Request{Change: selvage.ChangeID(id), Who: "bench"}); err != nil {
		return err
	}
	for {
		now, err := f.changes.Status(ctx, "", id)
		if err != nil || now.Change.State == client.Undone {
			return err
		}
		if !rest(ctx, lookEvery) {
			return ctx.Err()
		}
	}
}

// harm is an outage of the origin that both arms share.
type harm struct {
	after, lasts time.Duration // from the canary's first making
	share        int           // of 100 requests
	on, over     bool
}

func newHarm(outage bool) *harm {
	return &harm{
		after: rand.N(30 * time.Second), lasts: 3*time.Second + rand.N(40*time.Second), share: 30 + rand.IntN(71), over: !outage,
	}
}

// look begins and ends it when it is time.
func (h *harm) look(s *shop.Shop, first time.Time) error {
	if h.over || first.IsZero() || time.Since(first) < h.after {
		return nil
	}
	if !h.on {
		h.on = true
		return s.Behave(shop.Behaviour{Mode: shop.Error, Share: h.share})
	}
	if time.Since(first) < h.after+h.lasts {
		return nil
	}
	h.over = true
	return s.Behave(shop.Behaviour{})
}

// line is the run for who watches.
func (r *result) line() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-17s %4d/s  %-10s %4d bad of %5d, %4d users", r.row.title(), r.rate, r.state, r.bads, r.made, r.users)
	fmt.Fprintf(&b, "  %6.1f s (%.1f s from the deploy, last making %.1f s)", r.took.Seconds(), r.asked.Seconds(), r.turned.Seconds())
	if r.back > 0 {
		fmt.Fprintf(&b, "  back after %.2f s", r.back.Seconds())
	}
	if r.lost > 0 {
		fmt.Fprintf(&b, "  LOST %d (%v)", r.lost, r.why)
	}
	fmt.Fprintf(&b, "  %s", r.receipt.Words)
	return b.String()
}
