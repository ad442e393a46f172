package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/client"
)

// rolloutPage writes how a rollout stands or ended for people, in 80 columns.
type rolloutPage struct {
	w io.Writer
	u ui
}

// show writes all of a rollout.
func (g rolloutPage) show(r *client.Rollout) {
	if client.Over(r.Change.State) {
		fmt.Fprint(g.w, g.head(r)+g.receipt(r)+"\n")
		return
	}
	fmt.Fprint(g.w, g.live(r)+"\n")
}

// head is what was asked for, and how far it came before anybody saw it.
func (g rolloutPage) head(r *client.Rollout) string {
	var b strings.Builder
	c := &r.Change
	fmt.Fprintf(&b, "\n  %s  %s  %s", g.u.strong(c.ID), c.Service, fromTo(c))
	if c.Why != "" {
		fmt.Fprintf(&b, "  %q", c.Why)
	}
	b.WriteByte('\n')
	for i, line := range r.Plan {
		name := ""
		if i == 0 {
			name = "plan"
		}
		g.line(&b, signOK, name, cut(line, maxColumns-16))
	}
	g.compiled(&b, r)
	if p := r.Replay; p != nil {
		sign := signOK
		if p.Differ > 0 {
			sign = signBad
		}
		g.line(&b, sign, "replay", fmt.Sprintf("%s recorded GETs, without cookies: %d differ", grouped(int64(p.Requests)), p.Differ))
		for _, e := range p.Examples[:min(len(p.Examples), 3)] {
			fmt.Fprintf(&b, "                %s\n", cut(e, maxColumns-16))
		}
	}
	return b.String()
}

// isPurge says that a change forgets what is stored: there is no other revision to go to, or back to.
func isPurge(c *client.Change) bool { return c.Kind == string(selvage.PurgeChange) }

// fromTo is what a change leads from and to.
func fromTo(c *client.Change) string {
	if isPurge(c) {
		return client.Forgets
	}
	return orNothing(short(c.From)) + " -> " + short(c.To)
}

// line is a state, a name and words.
func (g rolloutPage) line(b *strings.Builder, s glyph, name, words string) {
	sign := g.u.sign(s)
	if name == "" {
		sign = " "
	}
	fmt.Fprintf(b, "  %s %-11s %s\n", sign, name, words)
}

func cut(s string, columns int) string {
	if r := []rune(s); len(r) > columns {
		return string(r[:columns-1]) + "…"
	}
	return s
}

func (g rolloutPage) compiled(b *strings.Builder, r *client.Rollout) {
	if len(r.Nodes) == 0 {
		return
	}
	ready, slowest := 0, 0.0
	for _, n := range r.Nodes {
		if n.State == "ready" {
			ready, slowest = ready+1, max(slowest, n.MS)
		}
	}
	sign, words := signOK, fmt.Sprintf("%d of %s", ready, count(len(r.Nodes), "node"))
	if ready > 0 && slowest > 0 {
		words += fmt.Sprintf(", warm after %.1f s", slowest/1000)
	}
	if ready < len(r.Nodes) {
		sign = signWatch
	}
	g.line(b, sign, "compiled", words)
	for _, n := range r.Nodes {
		if n.State == "failed" || n.State == "lost" {
			fmt.Fprintf(b, "    %s %s: %s\n", g.u.sign(signBad), n.Node, cut(strings.TrimSpace(n.State+" "+n.Why), maxColumns-12))
		}
	}
}

// live is the block of a rollout that goes on.
func (g rolloutPage) live(r *client.Rollout) string {
	var b strings.Builder
	b.WriteString(g.head(r) + "\n")
	state := map[string]string{
		client.Preparing: "preparing", client.Replaying: "replaying", client.Watching: "keep watching", client.Held: "held", client.Promoted: "promoted",
	}[r.Change.State]
	if r.Mode == "quiet" && r.Change.State == client.Watching {
		state += ", quietly"
	}
	where := ""
	switch {
	case r.Change.State == client.Replaying:
		where = "recorded GETs on both revisions, gently: some seconds"
	case r.Share > 0:
		where = percentOf(r.Share) + " of " + r.Change.Service
		if len(r.POPs) > 0 {
			where += ", " + strings.Join(r.POPs, " ")
		}
		where += fmt.Sprintf("   %s", span(time.Duration(r.Seconds*float64(time.Second))))
	}
	fmt.Fprintf(&b, "  %s %s%s%s\n", g.u.sign(signWatch), g.u.watch(state), pad(maxColumns-6-len([]rune(state))-len([]rune(where))), where)
	if r.Change.State == client.Preparing || r.Change.State == client.Replaying {
		return b.String()
	}
	fmt.Fprintf(&b, "    to undo     %s   %s  %s\n", g.bar(r.ToUndo.ToOne, r.ToUndo.Bound, true), g.u.strong(fmt.Sprintf("%-12s", oneIn(r.ToUndo.ToOne))),
		g.u.dim("of "+oneIn(r.ToUndo.Bound)))
	if t := r.Gate; t != nil {
		fmt.Fprintf(&b, "    gate %-6s %s   %-12s  %s\n", percentOf(t.Next), g.bar(t.ToOne, t.Bound, false), few(t.ToOne), g.u.dim("of "+few(t.Bound)))
		if t.Words != "" {
			margin := pad(16)
			for line := range strings.Lines(wrap(t.Words, margin)) {
				b.WriteString(margin + g.u.dim(strings.TrimSpace(line)) + "\n")
			}
		}
	}
	g.counted(&b, r)
	return b.String()
}

// counted is what both arms made, and what of it was bad.
func (g rolloutPage) counted(b *strings.Builder, r *client.Rollout) {
	if len(r.Indicators) == 0 {
		fmt.Fprintf(b, "    %-15s canary 0 bad of %s      baseline 0 bad of %s\n", unitWords(r), grouped(r.Makings[0]), grouped(r.Makings[1]))
	}
	told, widest := r.Indicators[:min(len(r.Indicators), 3)], 0
	for _, i := range told {
		widest = max(widest, len(grouped(i.Bad[0])))
	}
	for _, i := range told {
		bad := grouped(i.Bad[0])
		fmt.Fprintf(b, "    %-15s canary %s of %s%s      baseline %s of %s\n", cut(i.Name, 24),
			g.u.bad(bad), grouped(r.Makings[0]), strings.Repeat(" ", widest-len(bad)), grouped(i.Bad[1]), grouped(r.Makings[1]))
	}
}

// unitWords is what the arms make, in the plural.
func unitWords(r *client.Rollout) string {
	if r.Unit == "" {
		return "makings"
	}
	return r.Unit
}

func pad(n int) string { return strings.Repeat(" ", max(n, 2)) }

// barCells is how long a bar of evidence is. It goes by the logarithm: half of
// it is the root of the bound.
const barCells = 30

func (g rolloutPage) bar(toOne, bound float64, undo bool) string {
	share := 0.0
	if toOne > 1 && bound > 1 {
		share = min(math.Log(toOne)/math.Log(bound), 1)
	}
	n := int(math.Round(share * barCells))
	full, rest, sgr := "▒", "░", "34"
	if undo {
		full, sgr = "█", "1;33"
	}
	return g.u.paint(sgr, strings.Repeat(full, n)) + g.u.dim(strings.Repeat(rest, barCells-n))
}

func percentOf(share float64) string {
	v := share * 100
	switch {
	case v >= 10:
		return fmt.Sprintf("%.0f %%", v)
	case v >= 0.1:
		return fmt.Sprintf("%.1f %%", v)
	}
	return fmt.Sprintf("%.2g %%", v)
}

// receipt is how a rollout ended.
func (g rolloutPage) receipt(r *client.Rollout) string {
	var b strings.Builder
	sign := signOK
	if r.Change.State == client.Held {
		sign = signWatch
	}
	words := endWords(r)
	first, rest, _ := strings.Cut(words, ":")
	fmt.Fprintf(&b, "\n  %s %s", g.u.sign(sign), g.u.strong(strings.ToUpper(r.Change.State)+strings.TrimPrefix(first, r.Change.State)))
	b.WriteByte('\n')
	if c := r.Receipt; rest != "" && (c == nil || c.Bad == 0 || r.Change.State != client.Undone) { // the rows say the same
		b.WriteString(wrap(strings.TrimSpace(rest), "    "))
	}
	c := r.Receipt
	if c == nil {
		return b.String()
	}
	row := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "    %-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	if c.Bad > 0 {
		row(cut(c.Lead, 11), "%s against %s of %s baseline %s", g.u.bad(percentOf(c.Rate)), percentOf(c.Base), grouped(c.Baseline), unitWords(r))
		row("evidence", "%s; undo at 1 in 1,000", oneIn(c.ToOne))
	}
	if w := c.Where; w != nil {
		row("where", "%s", placeWords(w))
	}
	if f := c.First; f != nil && c.Bad+c.Served > 0 { // slow ones alone are in every good change
		row("first", "record %s, %s %s", f.Record, f.Method, cut(f.Path, 30))
	}
	if c.Users > 0 || c.Stored > 0 || c.Rescued > 0 {
		row("hurt", "%s, %d of stored answers; %s rescued", count(int(c.Users), "user"), c.Stored, grouped(c.Rescued))
	}
	if c.Seconds > 0 {
		row("took", "%s from the first canary request", span(time.Duration(c.Seconds*float64(time.Second))))
	}
	if nodes := nodeWords(c.Nodes); nodes != "" {
		row("nodes", "%s", nodes)
	}
	if !r.Until.IsZero() {
		row("watched", "until %s", r.Until.Local().Format("15:04:05"))
	}
	switch over := r.Change.State == client.Undone || r.Change.State == client.Refused; {
	case isPurge(&r.Change) && r.Change.State == client.Promoted:
		row("stored", "all of before is forgotten")
	case isPurge(&r.Change):
		row("stored", "what was not fetched anew is used again")
	case over:
		row("back on", "%s", orNothing(short(c.Revision)))
	default:
		row("runs", "%s", short(c.Revision))
	}
	return b.String()
}

func placeWords(w *client.Where) string {
	var parts []string
	for _, p := range [][2]string{{"zone", w.Zone}, {"POP", w.POP}, {"node", w.Node}, {"route", w.Route}, {"function", w.Function},
		{"origin", w.Origin}, {"method", w.Method}, {"protocol", w.Protocol}, {"network", w.Network}, {"device", w.Device}, {"RTT", w.RTT}} {
		if p[1] != "" {
			parts = append(parts, p[0]+" "+p[1])
		}
	}
	if w.Status > 0 {
		parts = append(parts, fmt.Sprintf("status %d", w.Status))
	}
	return cut(strings.Join(parts, ", "), maxColumns-16)
}

func nodeWords(nodes []client.NodeReceipt) string {
	var parts []string
	for _, n := range nodes {
		ms := fmt.Sprintf("%.1f ms", n.MS)
		if n.Late {
			ms = "late"
		}
		parts = append(parts, n.Node+" "+ms)
	}
	return cut(strings.Join(parts, "   "), maxColumns-16)
}

func (g rolloutPage) hints(r *client.Rollout) string {
	switch r.Change.State {
	case client.Held:
		return fmt.Sprintf("\n  selvage undo %s               go back\n  selvage rollout promote %s    go on\n\n", r.Change.ID, r.Change.ID)
	case client.Promoted:
		if isPurge(&r.Change) {
			return "\n" // there is no way back
		}
		return fmt.Sprintf("\n  selvage undo %s               go back\n\n", r.Change.ID)
	}
	return fmt.Sprintf("\n  selvage rollout show %s       the whole receipt\n\n", r.Change.ID)
}
