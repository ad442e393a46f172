package edgetest

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/selvage-edge/selvage"
)

// field is a header or trailer field as it was written.
type field struct{ name, value string }

var fieldLine = regexp.MustCompile("^([A-Za-z0-9!#$%&'*+.^_`|~-]+):(?:[ \t]+(.*))?$")

// parseField reads "Name: value".
func parseField(s string) (field, bool) {
	m := fieldLine.FindStringSubmatch(s)
	if m == nil {
		return field{}, false
	}
	return field{m[1], strings.TrimRight(m[2], " \t")}, true
}

// word cuts the first word of s.
func word(s string) (first, rest string) {
	first, rest, _ = strings.Cut(strings.TrimLeft(s, " \t"), " ")
	return first, strings.TrimLeft(rest, " \t")
}

var filler = regexp.MustCompile(`^\{([0-9]+(?:B|KiB|MiB|GiB|KB|MB))\}`)

// fill is size letters from a to z, over and over, so that a byte in the
// wrong place is seen.
func fill(size int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz"
	return strings.Repeat(letters, size/len(letters)+1)[:size]
}

// unescape reads the escapes of a text: \r \n \t \s (a space) \0 \\ \xNN, and
// {64KiB}, which stands for that many letters.
func unescape(s string) (string, error) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch s[i] {
		case '{':
			m := filler.FindStringSubmatch(s[i:])
			if m == nil {
				b.WriteByte('{')
				continue
			}
			var size selvage.ByteSize
			if err := size.UnmarshalText([]byte(m[1])); err != nil {
				return "", err
			}
			b.WriteString(fill(int(size)))
			i += len(m[0]) - 1
		case '\\':
			c, n, err := escape(s[i+1:])
			if err != nil {
				return "", err
			}
			b.WriteByte(c)
			i += n
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// escape reads what stands behind a backslash and says how long it was.
func escape(s string) (c byte, n int, err error) {
	if s == "" {
		return 0, 0, fmt.Errorf(`a \ at the end of a text: write \\ for a backslash`)
	}
	if i := strings.IndexByte(`rnts0\`, s[0]); i >= 0 {
		return "\r\n\t \x00\\"[i], 1, nil
	}
	if s[0] == 'x' && len(s) >= 3 {
		v, err := strconv.ParseUint(s[1:3], 16, 8)
		if err == nil {
			return byte(v), 3, nil
		}
	}
	return 0, 0, fmt.Errorf(`\%c is not an escape: write \r \n \t \s \0 \\ or \xNN`, s[0])
}

// text is unescape for a text that may stand in double quotes, which show
// where it begins and ends.
func text(s string) (string, error) {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		s = s[1 : len(s)-1]
	}
	return unescape(s)
}

// duration reads a length of time as service files have it.
func duration(s string) (time.Duration, error) {
	var d selvage.Duration
	if err := d.UnmarshalText([]byte(s)); err != nil {
		return 0, err
	}
	return d.Std(), nil
}

// nearest is the one of words that a mistyped word was probably meant to be,
// empty if none is near.
func nearest(typed string, words []string) string {
	best, least := "", 3
	for _, w := range words {
		if d := distance(typed, w); d < least && d < len(w) {
			best, least = w, d
		}
	}
	return best
}

// distance is how many letters must be changed, added or dropped to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// unknown is the error for a word that the language has not.
func unknown(kind, typed string, words []string) error {
	if near := nearest(typed, words); near != "" {
		return fmt.Errorf("%q is not a %s: did you mean %q?", typed, kind, near)
	}
	return fmt.Errorf("%q is not a %s: there are %s", typed, kind, strings.Join(words, ", "))
}
