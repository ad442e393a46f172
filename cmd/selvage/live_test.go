package main

import (
	"strings"
	"testing"
)

// A terminal that is made narrower breaks the lines that are on it. What is drawn
// over them begins where they began, and breaks no more.
func TestABlockIsDrawnOverItselfAtEveryWidth(t *testing.T) {
	columns, rows := 80, 24
	var out strings.Builder
	b := &block{w: &out, u: ui{colour: true, utf8: true}, size: func() (int, int) { return columns, rows }}
	draw := func(text string, stays bool) string {
		out.Reset()
		b.draw(text, stays)
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
