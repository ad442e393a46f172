package rollout

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
	"github.com/selvage-edge/selvage/judge"
	"github.com/selvage-edge/selvage/state"
)

// led is one service as its coordinator sees it: the document, and the evidence,
// which the nodes say again to whoever asks.
type led struct {
	name   selvage.ServiceName
	key    state.DocumentKey
	at     state.Revision
	doc    document
	looked time.Time
	saved  time.Time
	full   time.Time // when the log refused an entry

	change    selvage.ChangeID // that what follows is about
	panel     *judge.Panel
	nodes     map[selvage.NodeName]*one
	strikes   int
	phase     phase
	verdict   judge.Verdict
	armed     bool  // it has looked at evidence: there is something to explain
	explained phase // that was explained
}

// one is what both arms of one node did.
type one struct {
	shared *judge.Shared
	seen   Level
	advice judge.Advice
}

// follow forgets the evidence of an earlier rollout.
func (s *led) follow() {
	r := s.doc.Rollout
	if r == nil || r.Change.ID == s.change {
		return
	}
	s.change, s.panel, s.nodes, s.strikes = r.Change.ID, nil, map[selvage.NodeName]*one{}, 0
	s.verdict, s.armed, s.explained = judge.Verdict{Word: judge.Watching}, false, ""
}

// unexplained says that an outcome has no words yet on where and to whom.
func (s *led) unexplained(r *rollout) bool {
	return s.armed && r.Receipt != nil && s.explained != r.Phase
}

// events are what the reports say that the document does not know yet.
func (s *led) events(reports []Report) []event {
	r := s.doc.Rollout
	var out []event
	for i := range reports {
		rep := &reports[i]
		n := nodeState{POP: rep.POP, State: rep.State, Why: rep.Why, Took: rep.Took, MS: float64(rep.Turned) / float64(time.Millisecond)}
		have, ok := r.Nodes[rep.Node]
		if ok && r.Phase.over() {
			n = nodeState{have.POP, have.State, have.Why, have.Took, n.MS}
		}
		if have.POP != n.POP || have.State != n.State || have.Why != n.Why || have.MS == 0 && n.MS > 0 {
			out = append(out, heard{rep.Node, n})
		}
		if r.Phase == replaying && (rep.Replay != nil || rep.Refused != "") {
			e := replayed{err: rep.Refused}
			if rep.Replay != nil {
				e.result = *rep.Replay
			}
			out = append(out, e)
		}
		if c := (crashes{rep.Ends, rep.Had, r.Crashes[rep.Node].Forgiven}); c.Ends > 0 && r.Crashes[rep.Node] != c {
			out = append(out, crashed{rep.Node, c})
		}
	}
	return out
}

// evidence looks at what the nodes counted.
func (s *led) evidence(r *rollout, reports []Report, now time.Time, passed time.Duration) looked {
	e := looked{passed: passed, secret: newSecret(), plan: func() (float64, []selvage.POP) { return plan(r, reports) }}
	e.verdict = judge.Verdict{Word: judge.Watching, Gate: judge.Gate{More: -1, Short: -1}}
	for i := range reports {
		c := &reports[i].Count
		e.bads += c.Bad
		e.made += c.Made
		if r.takesPart(reports[i].POP) {
			e.rate += c.Rate
			e.canary += c.Canary
		}
		if reports[i].working() {
			e.working++
		}
	}
	if r.Phase == preparing || r.Phase == replaying {
		return e
	}
	if s.panel == nil {
		s.panel = judge.NewPanel(r.Pinned)
	}
	for i := range reports {
		if rep := &reports[i]; rep.Count.Judged.Node == rep.Node { // a node that does not count yet takes no place
			s.panel.Hear(rep.Count.Judged)
		}
	}
	if r.Phase.armed() {
		next, _ := r.plan().Next(r.At)
		exposed := r.plan().Exposure(next)
		if r.BreakGlass {
			exposed = glassExpose
		}
		f := r.At.Share
		s.verdict = s.panel.Verdict(r.Elapsed, exposed, f/(1-min(f, 0.99)))
		s.place(&s.verdict, r, reports)
		s.armed = true
		e.verdict = s.verdict
	}
	e.advice, e.alarm = s.level(r, reports, now)
	return e
}

// place adds to a verdict what the panel cannot know.
func (s *led) place(v *judge.Verdict, r *rollout, reports []Report) {
	var most int64
	var first First
	for i := range reports {
		c := &reports[i].Count
		if c.Bad > most {
			most, v.POP = c.Bad, reports[i].POP
		}
		if c.First.Record != "" && (first.Record == "" || c.First.At.Before(first.At)) {
			first = c.First
		}
	}
	v.First = first.Record
	v.Unit = r.unit()
	if len(r.POPs) <= 1 {
		v.POP = ""
	}
}

// level watches both arms of every node together.
func (s *led) level(r *rollout, reports []Report, now time.Time) (advice judge.Advice, alarm bool) {
	if s.strikes != r.Strikes || (s.phase == watched) != (r.Phase == watched) {
		s.nodes, s.strikes = map[selvage.NodeName]*one{}, r.Strikes
	}
	s.phase = r.Phase
	var elsewhere bool // what has no canary suffers too
	var all [judge.UndoIt + 1]int
	for i := range reports {
		rep := &reports[i]
		both := Level{rep.Count.Arms[0].N + rep.Count.Arms[1].N, rep.Count.Arms[0].Bad + rep.Count.Arms[1].Bad}
		o := s.nodes[rep.Node]
		if o == nil {
			o = &one{shared: judge.NewShared(rep.Count.Usual.N, rep.Count.Usual.Bad), seen: both}
			s.nodes[rep.Node] = o
		}
		n, bad := max(both.N-o.seen.N, 0), max(both.Bad-o.seen.Bad, 0)
		o.seen = both
		o.advice = o.shared.Add(now, n, bad)
		all[o.advice]++
		if o.advice != judge.GoOn && r.Phase.armed() && !r.takesPart(rep.POP) {
			elsewhere = true
		}
	}
	switch {
	case r.certifies():
		// What was usual was said of requests, and a certificate does not hurt those who are shown another.
		return judge.GoOn, false
	case r.Phase == watched:
		return judge.GoOn, all[judge.StepBack] > 0
	case r.Phase == doubted:
		return judge.GoOn, false
	case all[judge.UndoIt] > 0 && elsewhere:
		s.nodes = map[selvage.NodeName]*one{} // it was not the canary's
		return judge.GoOn, false
	case all[judge.UndoIt] > 0:
		return judge.UndoIt, false
	case all[judge.StepBack] > 0:
		return judge.StepBack, false
	case all[judge.Freeze]+all[judge.Innocent] > 0:
		return judge.Freeze, false
	}
	return judge.GoOn, false
}

// plan is the first share and the order of the POPs: those with traffic first,
// the largest of them last.
func plan(r *rollout, reports []Report) (first float64, pops []selvage.POP) {
	rates := map[selvage.POP]float64{}
	for _, n := range r.Nodes {
		if n.State == ready {
			rates[n.POP] += 0
		}
	}
	for i := range reports {
		if reports[i].State == ready {
			rates[reports[i].POP] += reports[i].Count.Rate
		}
	}
	for pop := range rates {
		pops = append(pops, pop)
	}
	slices.SortFunc(pops, func(a, b selvage.POP) int {
		return cmp.Or(cmp.Compare(rates[b], rates[a]), cmp.Compare(a, b))
	})
	if len(pops) > 1 && rates[pops[1]] > 0 {
		busy := 1
		for busy < len(pops) && rates[pops[busy]] > 0 {
			busy++
		}
		largest := pops[0]
		copy(pops, pops[1:busy])
		pops[busy-1] = largest
	}
	if len(pops) == 0 {
		return judge.FirstShare(0, judge.UndoTime), nil
	}
	return judge.FirstShare(rates[pops[0]], judge.UndoTime), pops
}

// explain says where the bad ones were and what the change did to users.
func (d *document) explain(reports []Report) {
	r := d.Rollout
	if r.Receipt == nil {
		return
	}
	var samples []judge.Sample
	var first First
	r.Receipt.Users, r.Receipt.Stored, r.Receipt.Rescued, r.Receipt.Served = 0, 0, 0, 0
	for i := range reports {
		c := &reports[i].Count
		r.Receipt.Users += c.Users
		r.Receipt.Stored += c.Stored
		r.Receipt.Rescued += c.Rescued
		r.Receipt.Served += c.Bad
		if c.First.Record != "" && (first.Record == "" || c.First.At.Before(first.At)) {
			first = c.First
		}
		samples = append(samples, reports[i].Samples...)
	}
	if first.Record != "" {
		r.Receipt.First = &client.First{Record: first.Record, Method: first.Method, Path: first.Path}
	}
	r.Receipt.Where = where(samples)
	for i := range d.Outbox {
		if d.Outbox[i].Change.ID == string(r.Change.ID) && d.Outbox[i].Receipt != nil {
			d.Outbox[i].Receipt = r.Receipt
		}
	}
}

// where is what the bad samples have in common, as far as it can be told.
func where(samples []judge.Sample) *client.Where {
	suspects := judge.Attribute(samples, 3)
	if len(suspects) == 0 {
		return nil
	}
	out, status := &client.Where{}, ""
	told := map[judge.Dimension]*string{
		judge.ByPOP: &out.POP, judge.ByNode: &out.Node, judge.ByZone: &out.Zone, judge.ByRoute: &out.Route, judge.ByEndpoint: &out.Origin,
		judge.ByMethod: &out.Method, judge.ByProtocol: &out.Protocol, judge.ByNetwork: &out.Network, judge.ByDevice: &out.Device,
		judge.ByRTT: &out.RTT, judge.ByStatus: &status,
	}
	for _, group := range append([][]judge.Condition{suspects[0].Where}, suspects[0].Aliases...) {
		for _, c := range group {
			if value := told[c.Dimension]; value != nil {
				*value = c.Value
			}
		}
	}
	out.Status, _ = strconv.Atoi(status) // 0 where it says nothing
	return out
}
