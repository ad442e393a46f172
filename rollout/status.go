package rollout

import (
	"context"
	"fmt"
	"iter"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
)

// publish keeps how a rollout stands for whoever asks in this process.
func (l *leading) publish(s *led, d *document) {
	out := d.status()
	if r := d.Rollout; r.Phase.armed() && s.panel != nil {
		tally := s.panel.Tally()
		out.Makings = [2]int64{tally.N[1], tally.N[0]}
		out.Indicators = indicators(&tally, s.verdict.Lead)
		for i := range out.Indicators {
			out.Indicators[i].Name = r.inItsWords(out.Indicators[i].Name)
		}
		out.ToUndo = client.Evidence{ToOne: toOne(s.verdict.Evidence), Bound: 1 / judge.Alpha, Lead: r.inItsWords(s.verdict.Lead.String())}
		if s.verdict.Fingerprint != "" {
			out.ToUndo.Lead = s.verdict.Fingerprint
		}
		next, last := r.plan().Next(r.At)
		if g := s.verdict.Gate; !last && r.Phase != doubted {
			out.Gate = &client.Gate{
				Next: next.Share, Epsilon: g.Epsilon, ToOne: toOne(g.Proof), Bound: 1 / judge.Beta, Open: g.Open,
				Waiting: r.inItsWords(g.Weakest.String()), Makings: g.Makings, More: g.More, Words: r.inItsWords(s.verdict.String()),
			}
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.status[s.name] = out
}

// indicators are those with a bad, the leading one first.
func indicators(t *judge.Tally, lead judge.Indicator) []client.Indicator {
	var out []client.Indicator
	for k := range judge.Indicator(judge.Indicators) {
		if t.Bad[0][k]+t.Bad[1][k] == 0 {
			continue
		}
		one := client.Indicator{Name: k.String(), Bad: [2]int64{t.Bad[1][k], t.Bad[0][k]}}
		if k == lead {
			out = slices.Insert(out, 0, one)
		} else {
			out = append(out, one)
		}
	}
	return out
}

// status is what the document alone says of its rollout.
func (d *document) status() client.Rollout {
	r := d.Rollout
	out := client.Rollout{
		Change: r.change(), BreakGlass: r.BreakGlass, Hold: r.HoldBy, Began: r.Span.Began, Seconds: r.Elapsed.Seconds(),
		Exposure: r.exposure(), Replay: r.Replay, Unit: r.unit(), Verdict: r.said(), Receipt: r.Receipt,
		ToUndo: client.Evidence{ToOne: 1, Bound: 1 / judge.Alpha},
	}
	if r.Phase == quiet || r.Phase == spreading {
		out.Mode = string(r.Phase)
	}
	if r.Phase.armed() {
		out.Share = r.At.Share
		for _, pop := range r.POPs[:min(r.At.POPs, len(r.POPs))] {
			out.POPs = append(out.POPs, string(pop))
		}
	}
	if r.Receipt != nil {
		out.Change.Ended = r.Span.Ended
	}
	for _, name := range slices.Sorted(maps.Keys(r.Nodes)) {
		n := r.Nodes[name]
		out.Nodes = append(out.Nodes, client.RolloutNode{
			Node: string(name), POP: string(n.POP), State: n.State, Why: n.Why, MS: float64(n.Took) / float64(time.Millisecond),
		})
	}
	if r.Receipt != nil {
		receipt := *r.Receipt
		if receipt.Outcome == client.Undone { // else none turns back
			receipt.Nodes = r.turned()
		}
		out.Receipt = &receipt
	}
	return out
}

// turned says how long each node took to turn back.
func (r *rollout) turned() []client.NodeReceipt {
	var out []client.NodeReceipt
	for _, name := range slices.Sorted(maps.Keys(r.Nodes)) {
		n := r.Nodes[name]
		if n.State == ready {
			out = append(out, client.NodeReceipt{Node: string(name), POP: string(n.POP), MS: n.MS, Late: n.MS == 0})
		}
	}
	return out
}

// Status says how a rollout stands: that of a change, or the last of a service,
// or the last of all.
func (c *Changes) Status(ctx context.Context, r Request) (client.Rollout, error) {
	service, err := c.find(ctx, &r)
	if err != nil {
		return client.Rollout{}, err
	}
	d, _, err := c.document(ctx, service)
	if err != nil {
		return client.Rollout{}, err
	}
	if d.Rollout == nil || r.Change != "" && d.Rollout.Change.ID != r.Change {
		return c.past(r.Change)
	}
	out := d.status()
	if c.live != nil {
		c.live.mu.Lock()
		live, ok := c.live.status[service]
		c.live.mu.Unlock()
		if ok && live.Change.ID == out.Change.ID && live.Change.State == out.Change.State {
			return live, nil
		}
	}
	return out, nil
}

// past is what the log says of a change that the service is beyond, or not at yet.
func (c *Changes) past(id selvage.ChangeID) (client.Rollout, error) {
	h, ok := c.log.change(id)
	if !ok {
		return client.Rollout{}, selvage.Errorf(selvage.NotFound, "change %q: there is none of that name", id)
	}
	out := client.Rollout{Change: h.latest.Change, Verdict: h.latest.Verdict, Receipt: h.latest.Receipt,
		ToUndo: client.Evidence{ToOne: 1, Bound: 1 / judge.Alpha}}
	if out.Change.ID == "" {
		out.Change = h.submitted.Change
	}
	if client.Over(out.Change.State) {
		out.Change.Ended = h.latest.When
	}
	return out, nil
}

// Changes gives the last so many changes, the newest first.
func (c *Changes) Changes(ctx context.Context, most int) ([]client.Change, error) {
	if err := c.log.sync(ctx); err != nil {
		return nil, err
	}
	c.log.mu.Lock()
	defer c.log.mu.Unlock()
	var out []client.Change
	for _, id := range slices.Backward(c.log.order) {
		if len(out) >= most {
			break
		}
		out = append(out, c.log.changes[id].latest.Change)
	}
	return out, nil
}

// How often a stream of progress looks, and how often it tells mere numbers.
const (
	progressEvery = 100 * time.Millisecond
	numbersEvery  = 500 * time.Millisecond
	receiptWait   = 2 * time.Second // for the nodes to say that they turned, before the outcome is told
)

// Watch tells how a change goes on until it has an outcome or ctx ends.
func (c *Changes) Watch(ctx context.Context, id selvage.ChangeID) iter.Seq2[client.Progress, error] {
	return func(yield func(client.Progress, error) bool) {
		var last client.Rollout
		var told, ended time.Time
		seq := uint64(0)
		for {
			now, err := c.Status(ctx, Request{Change: id})
			if err != nil {
				yield(client.Progress{}, err)
				return
			}
			if ended.IsZero() && client.Over(now.Change.State) {
				ended = time.Now()
			}
			if late(&now) && time.Since(ended) < receiptWait {
				sleep(ctx, progressEvery)
				continue
			}
			for _, event := range happened(&last, &now, seq == 0) {
				if event == client.Watching && time.Since(told) < numbersEvery {
					continue
				}
				told = time.Now()
				seq++
				if !yield(client.Progress{Seq: seq, Time: told, Event: event, Words: words(event, &now), Rollout: now}, nil) {
					return
				}
			}
			if last = now; client.Over(now.Change.State) {
				return
			}
			sleep(ctx, progressEvery)
			if ctx.Err() != nil {
				yield(client.Progress{}, context.Cause(ctx))
				return
			}
		}
	}
}

// late says that a node is not known to have turned back yet.
func late(r *client.Rollout) bool {
	return r.Change.State == client.Undone && r.Receipt != nil &&
		slices.ContainsFunc(r.Receipt.Nodes, func(n client.NodeReceipt) bool { return n.Late })
}

// happened are the events between two looks.
func happened(last, now *client.Rollout, first bool) []string {
	var out []string
	if first {
		out = append(out, "planned")
	}
	before, after := settled(last.Nodes), settled(now.Nodes)
	if after[1] > before[1] {
		out = append(out, "failed")
	}
	if now.Change.State != client.Preparing && last.Change.State == client.Preparing || first && now.Change.State != client.Preparing {
		out = append(out, "ready")
	}
	if now.Replay != nil && last.Replay == nil {
		out = append(out, "replayed")
	}
	if now.Share != last.Share && now.Share > 0 || len(now.POPs) > len(last.POPs) {
		out = append(out, "share")
	}
	switch state := now.Change.State; {
	case client.Over(state):
		return append(out, state)
	case state == client.Held && last.Change.State != client.Held:
		out = append(out, "held")
	case state == client.Watching && last.Change.State == client.Held:
		out = append(out, "released")
	case now.Makings != last.Makings:
		out = append(out, "watching")
	}
	return out
}

func settled(nodes []client.RolloutNode) (n [2]int) {
	for _, one := range nodes {
		switch one.State {
		case ready:
			n[0]++
		case failing:
			n[1]++
		}
	}
	return n
}

// words say an event in a line.
func words(event string, r *client.Rollout) string {
	switch event {
	case "planned":
		if r.Change.Kind == string(selvage.PurgeChange) {
			return r.Change.Service + " " + client.Forgets
		}
		return fmt.Sprintf("%s %s -> %s", r.Change.Service, short(r.Change.From), short(r.Change.To))
	case "ready", "failed":
		n := settled(r.Nodes)
		return fmt.Sprintf("%d of %d nodes", n[map[string]int{"ready": 0, "failed": 1}[event]], len(r.Nodes))
	case "replayed":
		return fmt.Sprintf("%d requests, %d differ", r.Replay.Requests, r.Replay.Differ)
	case "share":
		where := "all"
		if len(r.POPs) == 1 {
			where = r.POPs[0]
		} else if r.Share > 0 && math.Abs(r.Exposure-r.Share) > 1e-9 {
			where = fmt.Sprint(r.POPs)
		}
		return fmt.Sprintf("%s pop=%s", percent(r.Share), where)
	case "watching", "held":
		if r.Verdict != nil {
			return r.Verdict.Words
		}
	case "released": // what was last said of it is why it was held
		return ""
	}
	return r.Change.Words
}

func short(revision string) string { return revision[:min(len(revision), 8)] }
