package config

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/selvage-edge/selvage"
)

// Bounds on what is read. A file of people stays far below them.
const (
	maxFile     = 1 << 20 // bytes of a configuration file, and of a file that it names
	maxDepth    = 64      // levels of nesting, in brackets or by lines
	maxColumn   = 1024    // columns of indentation and length of a key
	maxHollow   = 1000    // keys and places in lists that have no value
	maxKeys     = 4096    // keys that stand together without braces
	maxProblems = 100     // mistakes that are shown of one file
	excerptSize = 100     // characters of a line that are shown
)

// position is a place in a file, line and column from 1, columns in characters.
type position struct{ line, column int }

// source is the text of one file.
type source struct {
	name  string
	text  string
	lines []string
}

// readBounded reads a file of at most maxFile bytes. It refuses what is not a
// regular file, so that no pipe or device can keep it waiting.
func readBounded(name string) ([]byte, error) {
	info, err := os.Stat(name)
	switch {
	case err != nil:
		return nil, plainError(err)
	case info.IsDir():
		return nil, fmt.Errorf("it is a folder")
	case !info.Mode().IsRegular():
		return nil, fmt.Errorf("it is not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("it has %s, the limit is %s", selvage.ByteSize(info.Size()), selvage.ByteSize(maxFile))
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, plainError(err)
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("it grew beyond the limit of %s", selvage.ByteSize(maxFile))
	}
	return data, nil
}

// newSource takes text as a file. Lines may end in CR LF; a byte order mark at
// the beginning is left out.
func newSource(name string, data []byte) (*source, selvage.Problems) {
	src := &source{name: name}
	if len(data) > maxFile {
		return src, selvage.Problems{{File: name, Message: fmt.Sprintf("the file has %s, the limit is %s", selvage.ByteSize(len(data)), selvage.ByteSize(maxFile))}}
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	src.text = strings.ReplaceAll(string(data), "\r\n", "\n")
	src.lines = strings.Split(src.text, "\n")
	for i, line := range src.lines {
		column := 0
		for j, r := range line {
			column++
			message := ""
			switch _, size := utf8.DecodeRuneInString(line[j:]); {
			case r == utf8.RuneError && size == 1:
				message = fmt.Sprintf("byte 0x%02X is not UTF-8", line[j])
			case r == '\r':
				message = "carriage return without a line feed"
			case r < ' ' && r != '\t', r >= 0x7f && r < 0xa0 && r != 0x85, r == 0xfeff, r == 0xfffe, r == 0xffff:
				message = fmt.Sprintf("control character %U", r)
			}
			if message != "" {
				p := selvage.Problem{Message: message, Hint: "take it away"}
				return src, selvage.Problems{src.place(p, position{i + 1, column})}
			}
		}
	}
	return src, nil
}

// place puts a mistake at a position, which is moved into the file if it is
// not in it.
func (s *source) place(p selvage.Problem, at position) selvage.Problem {
	p.File = s.name
	if len(s.lines) == 0 {
		return p
	}
	at.line = min(max(at.line, 1), len(s.lines))
	line := []rune(strings.ToValidUTF8(s.lines[at.line-1], "\ufffd"))
	at.column = min(max(at.column, 1), len(line)+1)
	p.Line, p.Column = at.line, at.column
	p.Excerpt = excerpt(at, line)
	return p
}

// excerpt shows a line with its number and a caret below the column. Of a long
// line it shows the part around the caret. What a terminal would not print as
// one character is shown as a dot.
func excerpt(at position, line []rune) string {
	from, caret := 0, at.column-1
	if caret >= excerptSize {
		from = caret - excerptSize/2
	}
	shown := line[from:min(len(line), from+excerptSize)]
	text := strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '·'
		}
		return r
	}, string(shown))
	if from > 0 {
		text = "…" + text
		caret++
	}
	if from+len(shown) < len(line) {
		text += "…"
	}
	first := strings.TrimRight(fmt.Sprintf("%6d | %s", at.line, text), " ")
	return first + fmt.Sprintf("\n       | %s^", strings.Repeat(" ", caret-from))
}
