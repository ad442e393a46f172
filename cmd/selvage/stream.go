package main

import (
	"encoding/json"
	"io"
	"os"
	"strings"
	"unicode/utf8"
)

// newStream is where commands write for people: as it is where the locale has UTF-8, else
// in ASCII. Nobody who writes asks which.
func newStream(f *os.File) io.Writer {
	if localeIsUTF8() {
		return f
	}
	return ascii{f}
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

// descriptor is a stream that may be a terminal.
type descriptor interface{ Fd() uintptr }

// ascii is a file to which nothing but ASCII is written: a byte for each letter, so that what is
// as wide as the terminal stays so. Letters are whole in every write.
type ascii struct{ f *os.File }

// Fd is the file's.
func (a ascii) Fd() uintptr { return a.f.Fd() }

// Write is io.Writer.
func (a ascii) Write(p []byte) (int, error) {
	if _, err := a.f.Write(toASCII(p)); err != nil {
		return 0, err
	}
	return len(p), nil
}

// forms are what stands for the letters and glyphs that are ours.
var forms = map[rune]byte{'●': '*', '▲': '!', '■': 'x', '█': '#', '▒': '=', '░': '.', '…': '~', 'ε': 'e', 'µ': 'u'}

func toASCII(p []byte) []byte {
	out := make([]byte, 0, len(p))
	for _, r := range string(p) {
		switch {
		case r < utf8.RuneSelf:
			out = append(out, byte(r))
		case forms[r] != 0:
			out = append(out, forms[r])
		default:
			out = append(out, '?')
		}
	}
	return out
}

// asIs is a stream for what programs read: JSON, files, logs.
func asIs(w io.Writer) io.Writer {
	if a, ok := w.(ascii); ok {
		return a.f
	}
	return w
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(asIs(w))
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}
