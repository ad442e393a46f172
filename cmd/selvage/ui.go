package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/selvage-edge/selvage"
)

// ui paints words for one stream: in colour on a terminal that wants it. Colour
// never carries meaning alone.
type ui struct{ colour bool }

// colourVariable says when there is colour, one of colourChoices.
const colourVariable = "SELVAGE_COLOR"

var colourChoices = []string{"auto", "always", "never"}

func newUI(f *os.File) ui {
	var u ui
	switch os.Getenv(colourVariable) {
	case "always":
		u.colour = true
	case "never":
	default:
		u.colour = term.IsTerminal(int(f.Fd())) && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	}
	return u
}

func (u ui) paint(sgr, s string) string {
	if !u.colour {
		return s
	}
	return "\x1b[" + sgr + "m" + s + "\x1b[0m"
}

func (u ui) strong(s string) string { return u.paint("1", s) }
func (u ui) dim(s string) string    { return u.paint("2", s) }
func (u ui) ok(s string) string     { return u.paint("32", s) }
func (u ui) watch(s string) string  { return u.paint("33", s) }
func (u ui) bad(s string) string    { return u.paint("1;31", s) }
func (u ui) link(s string) string   { return u.paint("4", s) }

// glyph is a state at a glance; the word beside it says the same.
type glyph int

const (
	signOK glyph = iota
	signWatch
	signBad
)

// sign is a state's glyph.
func (u ui) sign(g glyph) string {
	switch g {
	case signOK:
		return u.ok("●")
	case signWatch:
		return u.watch("▲")
	}
	return u.bad("■")
}

// maxColumns is the width that is always there.
const maxColumns = 80

// problems writes mistakes in files, painted: the place, and the caret. What to
// do now stands beside the caret, or below it where it is too long for that.
func (u ui) problems(ps selvage.Problems) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 && (p.Excerpt != "" || ps[i-1].Excerpt != "") {
			b.WriteByte('\n')
		}
		hint, last := p.Hint, p.Excerpt[strings.LastIndexByte(p.Excerpt, '\n')+1:]
		gutter := strings.IndexByte(last, '|')
		below := gutter >= 0 && len([]rune(last+" "+hint)) > maxColumns
		if below {
			p.Hint = ""
		}
		text := p.String()
		if p.File != "" && p.Line > 0 {
			place := fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
			text = u.strong(place) + strings.TrimPrefix(text, place)
		}
		if i := strings.LastIndexByte(p.Excerpt, '^'); i >= 0 {
			from := len(strings.TrimRight(p.Excerpt[:i+1], "^"))
			text = strings.Replace(text, p.Excerpt, p.Excerpt[:from]+u.bad(p.Excerpt[from:i+1])+p.Excerpt[i+1:], 1)
		}
		b.WriteString(text + "\n")
		if below {
			b.WriteString(wrap(hint, last[:gutter+1]+" "))
		}
	}
	return b.String()
}

// wrap breaks words into lines that begin with a margin.
func wrap(words, margin string) string { return wrapAt(maxColumns, words, margin) }

func wrapAt(columns int, words, margin string) string {
	var b strings.Builder
	line := margin
	for w := range strings.FieldsSeq(words) {
		if line != margin && len([]rune(line+w)) > columns {
			b.WriteString(strings.TrimRight(line, " ") + "\n")
			line = margin
		}
		line += w + " "
	}
	b.WriteString(strings.TrimRight(line, " ") + "\n")
	return b.String()
}

// word is a flag of text whose help says what kind of text it wants.
type word struct {
	to   *string
	kind string
}

// Set is pflag.Value.
func (w word) Set(s string) error { *w.to = s; return nil }
func (w word) String() string     { return *w.to }

// Type is what stands behind the flag in its help.
func (w word) Type() string { return w.kind }
