package main

import (
	"os"
	"strings"

	"golang.org/x/term"
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

// The states' glyphs, each with its form for a terminal without UTF-8.
func (u ui) okGlyph() string    { return u.ok(u.glyph("●", "*")) }
func (u ui) watchGlyph() string { return u.watch(u.glyph("▲", "!")) }
func (u ui) badGlyph() string   { return u.bad(u.glyph("■", "x")) }

func (u ui) glyph(utf8, ascii string) string {
	if u.utf8 {
		return utf8
	}
	return ascii
}
