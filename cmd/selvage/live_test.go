package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/selvage-edge/selvage/client"
)

// A terminal that is made narrower breaks the lines that are on it. What is drawn
// over them begins where they began, and breaks no more.
func TestABlockIsDrawnOverItselfAtEveryWidth(t *testing.T) {
	columns, rows := 80, 24
	var out strings.Builder
	b := &block{w: &out, u: ui{colour: true}, size: func() (int, int) { return columns, rows }}
	draw := func(text string, stays bool) string {
		out.Reset()
		b.drawLocked(text, stays)
		return out.String()
	}
	long := "  " + b.u.watch(strings.Repeat("a", 70)) + " end"
	if got := draw("one\n"+long+"\n", false); got != "one\r\n"+long+"\r\n" {
		t.Errorf("at first: %q", got)
	}
	columns = 40 // the second line takes two rows now
	got := draw("one\n"+long+"\n", false)
	if !strings.HasPrefix(got, "\x1b[3A\r\x1b[J") || !strings.Contains(got, "\x1b[0m…") {
		t.Errorf("narrower: %q", got)
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(got, "\x1b[3A\r\x1b[J"), "\r\n") {
		if visible(line) > columns {
			t.Errorf("%d columns at a width of %d: %q", visible(line), columns, line)
		}
	}
	if got := draw(strings.Repeat("x\n", 100), false); !strings.HasPrefix(got, "\x1b[2A") || strings.Count(got, "x") != rows-1 {
		t.Errorf("more lines than rows: %q", got)
	}
	if got := draw(long+"\n", true); !strings.HasPrefix(got, "\x1b[23A") || !strings.Contains(got, " end") {
		t.Errorf("what stays is whole: %q", got)
	}
}

func TestWhoStopsWatchingIsToldThatItGoesOn(t *testing.T) {
	const goes = "c-7 goes on by itself: selvage rollout status c-7\n"
	var out, errs strings.Builder
	if status := (&lines{w: &out, errs: &errs}).left("c-7"); status != notWatched || out.String() != "" || errs.String() != goes {
		t.Errorf("in a pipe: %d, %q, %q", status, out.String(), errs.String())
	}
	for quit, want := range map[bool]int{true: 0, false: notWatched} {
		var out strings.Builder
		b := &block{w: &out, quit: quit, size: func() (int, int) { return 80, 24 }}
		if status := b.left("c-7"); status != want || !strings.Contains(out.String(), strings.TrimSuffix(goes, "\n")) {
			t.Errorf("with q %t: %d, %q", quit, status, out.String())
		}
	}
}

func TestAKeyThatDoesNothingSaysWhy(t *testing.T) {
	var out strings.Builder
	columns := 80
	b := &block{w: &out, size: func() (int, int) { return columns, 24 }}
	b.show(&client.Progress{Rollout: client.Rollout{Change: client.Change{ID: "c-7", State: client.Watching}}})
	b.answered(nil)
	b.answered(errors.New("the role operator is needed for this"))
	b.show(&client.Progress{Rollout: client.Rollout{Change: client.Change{ID: "c-7", State: client.Watching}}})
	if n := strings.Count(out.String(), "■ the role operator is needed for this"); n != 2 {
		t.Errorf("it was said %d times\n%s", n, out.String())
	}
	columns = 30
	const why = "undo c-7: the node answers 403: the role operator is needed for this"
	b.answered(errors.New(why))
	if got := strings.Join(strings.Fields(out.String()), " "); !strings.HasSuffix(got, "■ "+why) {
		t.Errorf("on a narrow terminal: %q", got)
	}
	b.receipt(&client.Rollout{Change: client.Change{ID: "c-7", State: client.Undone}})
	before := out.Len()
	if b.answered(errors.New("it is undone")); out.Len() > before {
		t.Errorf("something is drawn behind the receipt: %q", out.String()[before:])
	}
}

func TestOfSeveralRolloutsTheWorstIsTheExitStatus(t *testing.T) {
	for _, tt := range [][3]int{{0, 0, 0}, {0, exitHeld, exitHeld}, {exitHeld, exitFailed, exitFailed}, {exitFailed, exitHeld, exitFailed}, {exitFailed, 0, exitFailed}} {
		if got := worse(tt[0], tt[1]); got != tt[2] {
			t.Errorf("%d and %d: got %d, want %d", tt[0], tt[1], got, tt[2])
		}
	}
}
