package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/selvage-edge/selvage/client"
)

// exitHeld says that a rollout is held.
const exitHeld = 3

// notWatched is in place of an exit status where somebody stopped watching, but with q.
const notWatched = -1

// ended is the error of a command that watched rollouts, nil if all is well.
func ended(status int) error {
	switch status {
	case 0:
		return nil
	case notWatched:
		return &saidError{exitFailed}
	}
	return &saidError{status}
}

// worse is the exit status of two rollouts: one that is held may yet end well.
func worse(a, b int) int {
	if a == exitFailed || b == exitFailed {
		return exitFailed
	}
	return max(a, b)
}

// heldFor is how long evidence may be contradictory before a watcher calls the
// rollout held: most of it is decided within seconds.
const heldFor = time.Minute

func newReader(data []byte) io.Reader { return bytes.NewReader(data) }

// watcher follows a rollout: as a block that redraws itself on a terminal, as
// lines in a pipe.
type watcher struct {
	c         *client.Client
	out, errs io.Writer
	format    string
	keyboard  *keyboard // of all that are watched one after the other
}

// newWatcher is for all that a command watches.
func newWatcher(cmd *cobra.Command, c *client.Client, format string) watcher {
	return watcher{c: c, out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), format: format, keyboard: new(keyboard)}
}

// follow gives the exit status, or [notWatched].
func (w watcher) follow(ctx context.Context, of client.Of) (int, error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var show screen = &lines{w: w.out, errs: w.errs, quiet: w.format == "json"}
	if w.format != "json" && isTerminal(w.out) && os.Getenv("TERM") != "dumb" { // that one cannot draw over anything
		b := &block{w: w.out, u: newUI(os.Stdout), c: w.c, of: of}
		if err := b.keys(ctx, w.keyboard, stop); err != nil {
			return exitFailed, err
		}
		defer b.end()
		show = b
	}
	var last *client.Progress
	var heldSince time.Time
	for p, err := range w.c.Watch(ctx, of) {
		if err != nil {
			if ctx.Err() != nil {
				return show.left(change(of, last)), nil
			}
			return exitFailed, err
		}
		last = p
		show.show(p)
		state := p.Rollout.Change.State
		switch {
		case state != client.Held:
			heldSince = time.Time{}
		case heldSince.IsZero():
			heldSince = time.Now()
		}
		if client.Over(state) || p.Rollout.Hold != "" || !heldSince.IsZero() && time.Since(heldSince) > heldFor {
			break
		}
	}
	if last == nil {
		return show.left(of.Change), nil
	}
	if w.format == "json" {
		return status(&last.Rollout), printJSON(w.out, &last.Rollout)
	}
	show.receipt(&last.Rollout)
	return status(&last.Rollout), nil
}

// change is the id of what is watched.
func change(of client.Of, last *client.Progress) string {
	if last == nil {
		return of.Change
	}
	return last.Rollout.Change.ID
}

// status is the exit status for how a rollout stands.
func status(r *client.Rollout) int {
	switch r.Change.State {
	case client.Promoted:
		return 0
	case client.Held:
		return exitHeld
	}
	return exitFailed
}

// screen is where a rollout's progress is shown.
type screen interface {
	show(p *client.Progress)
	receipt(r *client.Rollout)
	left(change string) int // it goes on without being watched; what follow gives
}

// lines is a screen that is a pipe or a file.
type lines struct {
	w, errs io.Writer
	quiet   bool
}

func (l *lines) show(p *client.Progress) {
	if l.quiet || client.Over(p.Rollout.Change.State) && p.Event == p.Rollout.Change.State {
		return // the receipt says it
	}
	r := &p.Rollout
	text := p.Words
	if p.Event == "watching" {
		text = fmt.Sprintf("watching to_undo=%q gate=%s bad=%d canary=%d", oneIn(r.ToUndo.ToOne), gateWords(r.Gate), badOf(r), r.Makings[0])
	}
	if p.Event == "planned" {
		text = fmt.Sprintf("planned %s %s", r.Change.Service, fromTo(&r.Change))
	}
	if text == "" || !strings.HasPrefix(text, p.Event) {
		text = strings.TrimSpace(p.Event + " " + text)
	}
	fmt.Fprintf(l.w, "%s %s %s\n", p.Time.UTC().Format("15:04:05.000"), r.Change.ID, text)
}

func (l *lines) receipt(r *client.Rollout) {
	fmt.Fprint(l.w, wrap(r.Change.ID+" "+endWords(r), ""))
}

func (l *lines) left(change string) int {
	fmt.Fprint(l.errs, goesOn(change))
	return notWatched
}

// goesOn is what is said of a rollout to who stops watching it.
func goesOn(change string) string {
	return fmt.Sprintf("%s goes on by itself: selvage rollout status %s\n", change, change)
}

// endWords is how a rollout ended, in a sentence.
func endWords(r *client.Rollout) string {
	words := ""
	if r.Receipt != nil {
		words = r.Receipt.Words
	}
	if words == "" {
		words = r.Change.Words
	}
	if !strings.HasPrefix(words, r.Change.State) {
		words = strings.TrimSuffix(r.Change.State+": "+words, ": ")
	}
	if r.Change.State == client.Held && r.Hold != "" {
		words = "held by " + r.Hold
	}
	return words
}

func gateWords(g *client.Gate) string {
	if g == nil {
		return "-"
	}
	return fmt.Sprintf("%s/%s", few(g.ToOne), few(g.Bound))
}

func few(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return grouped(int64(min(math.Round(v), 1e15)))
}

// oneIn is evidence as people read it: 1 in 110.
func oneIn(toOne float64) string {
	return "1 in " + grouped(int64(min(max(math.Round(toOne), 1), 1e15)))
}

// badOf is how many makings of the canary were bad by what says most.
func badOf(r *client.Rollout) int64 {
	if len(r.Indicators) == 0 {
		return 0
	}
	return r.Indicators[0].Bad[0]
}

// block is a screen that redraws its own lines.
type block struct {
	w    io.Writer
	u    ui
	c    *client.Client
	of   client.Of
	size func() (columns, rows int) // of the terminal now; nil: as it says itself
	raw  *term.State
	deaf func() // ends the listening to the keyboard, where raw is set

	mu      sync.Mutex // guards what follows: the keyboard draws too
	quit    bool       // with q
	drawn   []string   // lines on the screen
	page    string     // what they show, without the keys
	refused string     // why a key did nothing
	stays   bool       // nothing is drawn any more
}

func (b *block) ask(ctx context.Context, what func(context.Context, client.Of, string) (*client.Rollout, error)) {
	if _, err := what(ctx, b.of, "at the terminal"); ctx.Err() == nil {
		b.answered(err)
	}
}

// answered shows why a key did nothing, if it did not.
func (b *block) answered(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stays || err == nil {
		return
	}
	b.refused = err.Error()
	b.drawLocked(b.withKeysLocked(), false)
}

// withKeysLocked is the block, and what can be done.
func (b *block) withKeysLocked() string {
	text := b.page + "\n  " + b.u.dim("u, Enter  undo now      h  hold      q  leave it running") + "\n"
	if b.refused != "" {
		columns, _ := b.terminal()
		text += "  " + b.u.sign(signBad) + " " + strings.TrimLeft(wrapAt(columns, b.refused, "    "), " ")
	}
	return text
}

// drawLocked puts lines where those of before were. A terminal that became narrower has
// broken these; of what is drawn now it breaks none. stays: nothing is drawn over it.
func (b *block) drawLocked(text string, stays bool) {
	columns, rows := b.terminal()
	var out strings.Builder
	up := 0
	for _, line := range b.drawn {
		up += 1 + max(visible(line)-1, 0)/columns
	}
	if up > 0 {
		fmt.Fprintf(&out, "\x1b[%dA\r\x1b[J", min(up, rows-1))
	}
	b.drawn = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !stays {
		b.drawn = b.drawn[max(len(b.drawn)-rows+1, 0):] // what scrolled away cannot be drawn over
	}
	for i, line := range b.drawn {
		if !stays {
			b.drawn[i] = cutVisible(line, columns)
		}
		out.WriteString(b.drawn[i] + "\r\n")
	}
	_, _ = io.WriteString(b.w, out.String()) // a terminal that is gone ends the program
}

// terminal is how large it is now.
func (b *block) terminal() (columns, rows int) {
	if b.size != nil {
		return b.size()
	}
	columns, rows, err := term.GetSize(int(os.Stdout.Fd()))
	if err != nil || columns < 2 || rows < 2 {
		return maxColumns, 24
	}
	return columns, rows
}

// visible is how many columns a line takes without what paints it.
func visible(line string) (n int) {
	painting := false
	for _, r := range line {
		switch {
		case r == '\x1b':
			painting = true
		case painting:
			painting = r != 'm'
		default:
			n++
		}
	}
	return n
}

// cutVisible is a line with at most so many columns, and all that paints it.
func cutVisible(line string, columns int) string {
	if visible(line) <= columns {
		return line
	}
	var b strings.Builder
	painting, n := false, 0
	for _, r := range line {
		switch {
		case r == '\x1b' || painting:
			painting = r != 'm'
		default:
			if n++; n > columns-1 {
				continue
			}
		}
		b.WriteRune(r)
	}
	return b.String() + "…"
}

func (b *block) show(p *client.Progress) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.page = rolloutPage{nil, b.u}.live(&p.Rollout)
	b.drawLocked(b.withKeysLocked(), false)
}

func (b *block) receipt(r *client.Rollout) {
	page := rolloutPage{nil, b.u}
	b.stay(page.head(r) + page.receipt(r) + page.hints(r))
}

// stay is the last that is drawn.
func (b *block) stay(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stays = true
	b.drawLocked(text, true)
}

func (b *block) left(change string) int {
	b.stay("\n  " + goesOn(change))
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.quit {
		return 0
	}
	return notWatched
}
