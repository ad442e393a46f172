package selvage

import (
	"cmp"
	"fmt"
	"iter"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Problem is one mistake in a configuration: where it is, what it is, and what
// to do now. Validation fills Path, Message and Hint; the reader of the file
// turns the path into a position.
type Problem struct {
	File    string `json:"file,omitempty"`
	Line    int    `json:"line,omitempty"`   // from 1; 0 where the mistake has no place in a file
	Column  int    `json:"column,omitempty"` // from 1, in characters
	Path    string `json:"path,omitempty"`   // such as routes[2].origin
	Message string `json:"message"`
	Hint    string `json:"hint,omitempty"`
	Excerpt string `json:"excerpt,omitempty"` // the line with its number, and below it a caret

	// AtKey says that the key at Path is wrong, not its value.
	AtKey bool `json:"-"`
}

// String is the mistake as it is printed: its place and what it is, the
// excerpt, and what to do now beside the caret.
func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", p.Line, p.Column)
		}
		b.WriteString(": ")
	}
	b.WriteString(p.Message)
	if p.Excerpt == "" {
		if p.Hint != "" {
			b.WriteString(" (" + p.Hint + ")")
		}
		return b.String()
	}
	b.WriteString("\n" + p.Excerpt)
	if p.Hint != "" {
		b.WriteString(" " + p.Hint)
	}
	return b.String()
}

// Problems are all mistakes of a configuration, in the order of their places.
type Problems []Problem

// Error is every mistake, one below the other.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err is nil if there is no mistake.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

// Validate finds what is wrong with the configuration of a process beyond the
// form of its files. Paths begin with node or services[N].
func (c *Config) Validate() Problems {
	all := prefixed("node.", c.Node.Validate())
	for i := range c.Services {
		all = append(all, prefixed(fmt.Sprintf("services[%d].", i), c.Services[i].Validate())...)
	}
	return append(all, c.Conflicts()...)
}

func prefixed(prefix string, ps Problems) Problems {
	for i := range ps {
		ps[i].Path = prefix + ps[i].Path
	}
	return ps
}

// Conflicts finds names and hosts that two services claim. Paths begin with
// services[N], N being the second of them.
func (c *Config) Conflicts() Problems {
	var v checker
	names := map[ServiceName]bool{}
	owners := map[string]ServiceName{}
	for i := range c.Services {
		s := &c.Services[i]
		at := fmt.Sprintf("services[%d]", i)
		if names[s.Service] && s.Service != "" { // a missing one is reported already
			v.mistake(at+".service", "", "another service has the name %q too", s.Service)
		}
		mine := map[string]bool{}
		for j, h := range s.Hosts {
			owner, taken := owners[h]
			if taken && !mine[h] {
				v.mistake(fmt.Sprintf("%s.hosts[%d]", at, j), "", "host %q belongs to service %q already", h, owner)
				continue
			}
			owners[h], mine[h] = s.Service, true
		}
		names[s.Service] = true
	}
	return v.problems
}

// checker gathers mistakes. subject names the thing that is being checked and
// goes before every message.
type checker struct {
	problems Problems
	subject  string
}

func (c *checker) mistake(path, hint, format string, args ...any) {
	c.problems = append(c.problems, Problem{Path: path, Message: c.subject + fmt.Sprintf(format, args...), Hint: hint})
}

// keyMistake is a mistake in the key at path.
func (c *checker) keyMistake(path, hint, format string, args ...any) {
	c.mistake(path, hint, format, args...)
	c.problems[len(c.problems)-1].AtKey = true
}

// name checks a name that appears in metrics, keys and addresses.
func (c *checker) name(path, what, s string) {
	if !validName(s) {
		c.mistake(path, "write lower-case letters, digits and hyphens, at most 63", "%s %q is not a name", what, s)
	}
}

// unique reports the second of two equal values.
func unique[T comparable](c *checker, path, what string, values []T) {
	seen := map[T]bool{}
	for i, v := range values {
		if seen[v] {
			c.mistake(fmt.Sprintf("%s[%d]", path, i), "", "%s %q stands here twice", what, fmt.Sprint(v))
		}
		seen[v] = true
	}
}

func validName(s string) bool {
	ok := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' }
	return s != "" && len(s) <= 63 && s[0] != '-' && s[len(s)-1] != '-' && all(s, ok)
}

func all(s string, ok func(rune) bool) bool {
	for _, r := range s {
		if !ok(r) {
			return false
		}
	}
	return true
}

// validHost accepts a DNS name or an address as it stands in a Host field,
// without a port and in lower case. Underscores are let through: people have them.
func validHost(s string) bool {
	if inner, ok := strings.CutPrefix(s, "["); ok {
		a, err := netip.ParseAddr(strings.TrimSuffix(inner, "]"))
		return err == nil && a.Is6() && a.Zone() == "" && strings.HasSuffix(s, "]") && s == strings.ToLower(s)
	}
	if s == "" || len(s) > 253 {
		return false
	}
	for label := range strings.SplitSeq(s, ".") {
		ok := func(r rune) bool { return r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' }
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' || !all(label, ok) {
			return false
		}
	}
	last := s[strings.LastIndexByte(s, '.')+1:]
	if all(last, func(r rune) bool { return r >= '0' && r <= '9' }) {
		_, err := netip.ParseAddr(s) // a name that ends in a number is an address or nothing
		return err == nil
	}
	return true
}

// validHostPort accepts a host with or without a port.
func validHostPort(s string) bool {
	host, port, ok := cutPort(s)
	return validHost(host) && (!ok || validPort(port, 1))
}

// cutPort cuts the port off a host; ok says that there was a colon for one.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

func validPort(s string, least uint64) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n >= least && s == strconv.FormatUint(n, 10)
}

// validToken accepts a token (RFC 9110, section 5.6.2): methods and field names.
func validToken(s string) bool {
	return s != "" && all(s, func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("!#$%&'*+-.^_`|~", r)
	})
}

// validFieldValue accepts what can be sent as a field's value (RFC 9110, section 5.5).
func validFieldValue(s string) bool {
	return utf8.ValidString(s) && s == strings.Trim(s, " \t") &&
		all(s, func(r rune) bool { return r == '\t' || r >= ' ' && r != 0x7f })
}

// visible says that s holds only what may stand in a URL, percent-encodings whole.
func visible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || strings.IndexByte("\"<>\\^`{|}", s[i]) >= 0 {
			return false
		}
		if s[i] == '%' && (i+2 >= len(s) || !hexDigit(s[i+1]) || !hexDigit(s[i+2])) {
			return false
		}
	}
	return true
}

func hexDigit(b byte) bool {
	return b >= '0' && b <= '9' || b >= 'a' && b <= 'f' || b >= 'A' && b <= 'F'
}

// dotSegment says that a path has a segment that means "here" or "above",
// plain or percent-encoded (RFC 3986, section 3.3).
func dotSegment(path string) bool {
	for seg := range strings.SplitSeq(path, "/") {
		switch strings.ReplaceAll(strings.ToLower(seg), "%2e", ".") {
		case ".", "..":
			return true
		}
	}
	return false
}

// Nearest is the one of names that somebody who wrote name probably meant,
// empty if none is near: at most a third of its characters are wrong, two
// neighbours in the wrong order counting once. Among more than 1000 names it
// does not look.
func Nearest[S ~string](name S, names []S) S {
	best, least := S(""), max(1, len(name)/3)+1
	if len(names) > 1000 {
		return ""
	}
	for _, n := range slices.SortedFunc(slices.Values(names), cmp.Compare[S]) {
		if d := distance(strings.ToLower(string(name)), strings.ToLower(string(n))); d < least && n != "" {
			best, least = n, d
		}
	}
	return best
}

// didYouMean is the hint that goes with an unknown name. After very many
// mistakes nobody reads it, and it is not made.
func didYouMean[S ~string](c *checker, name S, names iter.Seq[S]) string {
	if len(c.problems) > 100 {
		return ""
	}
	if n := Nearest(name, slices.Collect(names)); n != "" && n != name {
		return fmt.Sprintf("did you mean %q?", string(n))
	}
	return ""
}

// distance is the optimal string alignment distance, over bytes.
func distance(a, b string) int {
	if abs := len(a) - len(b); abs > 16 || abs < -16 || len(a) > 256 {
		return 1 << 20 // too far or too long to matter
	}
	rows := [3][]int{make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)}
	for j := range rows[1] {
		rows[1][j] = j
	}
	for i := range len(a) {
		before, last, row := rows[i%3], rows[(i+1)%3], rows[(i+2)%3]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+cost)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
	}
	return rows[(len(a)+1)%3][len(b)]
}
