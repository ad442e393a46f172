package main

import (
	"fmt"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/selvage-edge/selvage"
)

// ui paints words for one stream: in colour on a terminal that wants it, with
// glyphs where the locale has them. Colour never carries meaning alone.
type ui struct{ colour, utf8 bool }

func newUI(f *os.File) ui {
	tty := term.IsTerminal(int(f.Fd()))
	return ui{
		colour: tty && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb",
		utf8:   localeIsUTF8(),
	}
}

func localeIsUTF8() bool {
	for _, name := range []string{"LC_ALL", "LC_CTYPE", "LANG"} {
		if v := os.Getenv(name); v != "" {
			v = strings.ToLower(v)
			return strings.Contains(v, "utf-8") || strings.Contains(v, "utf8")
		}
	}
	return false
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

// sign is a state's glyph, or its form for a terminal without UTF-8.
func (u ui) sign(g glyph) string {
	form := func(utf8, ascii string) string {
		if u.utf8 {
			return utf8
		}
		return ascii
	}
	switch g {
	case signOK:
		return u.ok(form("●", "*"))
	case signWatch:
		return u.watch(form("▲", "!"))
	}
	return u.bad(form("■", "x"))
}

// problems paints mistakes in files: the place, and what is below the caret.
func (u ui) problems(ps selvage.Problems) string {
	var b strings.Builder
	for i, p := range ps {
		if i > 0 && (p.Excerpt != "" || ps[i-1].Excerpt != "") {
			b.WriteByte('\n')
		}
		text := p.String()
		if u.colour && p.File != "" && p.Line > 0 {
			place := fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
			text = u.strong(place) + strings.TrimPrefix(text, place)
		}
		if i := strings.LastIndexByte(p.Excerpt, '^'); u.colour && i >= 0 {
			from := len(strings.TrimRight(p.Excerpt[:i+1], "^"))
			text = strings.Replace(text, p.Excerpt, p.Excerpt[:from]+u.bad(p.Excerpt[from:i+1])+p.Excerpt[i+1:], 1)
		}
		b.WriteString(text + "\n")
	}
	return b.String()
}
