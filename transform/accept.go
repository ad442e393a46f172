package transform

import "strings"

// Coding is a content coding (RFC 9110, section 8.4.1).
type Coding string

// The codings we can write and read. Zstandard is RFC 8878 with the window of
// RFC 9659, Brotli is RFC 7932.
const (
	Identity Coding = ""
	Gzip     Coding = "gzip"
	Brotli   Coding = "br"
	Zstd     Coding = "zstd"
)

// codings are those that are not the identity; a Coding's place in it is its index.
var codings = [...]Coding{Gzip, Brotli, Zstd}

// index is the place in codings, -1 for what we do not know. Names are compared
// without case, and x-gzip is gzip (RFC 9110, section 8.4.1.3).
func index(name string) int {
	switch {
	case strings.EqualFold(name, "gzip"), strings.EqualFold(name, "x-gzip"):
		return 0
	case strings.EqualFold(name, "br"):
		return 1
	case strings.EqualFold(name, "zstd"):
		return 2
	}
	return -1
}

// maxMembers is how many members an Accept-Encoding may have, empty ones
// included. Beyond it the field counts as malformed; browsers send four.
const maxMembers = 32

// Weights are in thousandths. One that was not given is unset, so that a zero
// Accepted takes only the identity: weights are kept plus one.
type weight uint16

const (
	unset  weight = 0
	refuse weight = 1
	full   weight = 1001
)

// Accepted is what an Accept-Encoding says of the codings we know. The zero
// value takes the identity and nothing else. It is comparable.
type Accepted struct {
	known    [len(codings)]weight
	identity weight
	rest     weight // of *
}

// ParseAccept reads an Accept-Encoding, all its lines (RFC 9110, section
// 12.5.3). It is strict: a field with a member that is not a coding with at most
// a weight, or with too many, is not ok and takes the identity alone, which
// is what everybody can read. So does one that is absent: the RFC would allow
// every coding, but those who send none are those who know none. Of a coding
// that is named twice the lesser weight counts.
func ParseAccept(lines []string) (a Accepted, ok bool) {
	members := 0
	for _, line := range lines {
		for more := true; more; {
			var member string
			member, line, more = strings.Cut(line, ",")
			if members++; members > maxMembers {
				return Accepted{}, false
			}
			member = strings.Trim(member, " \t")
			if member == "" {
				continue // section 5.6.1.2
			}
			name, w, ok := parseMember(member)
			if !ok {
				return Accepted{}, false
			}
			a.add(name, w)
		}
	}
	return a, true
}

func (a *Accepted) add(name string, w weight) {
	at := &a.rest
	if name != "*" {
		switch i := index(name); {
		case i >= 0:
			at = &a.known[i]
		case strings.EqualFold(name, "identity"):
			at = &a.identity
		default:
			return // section 12.5.3 has no list of what exists
		}
	}
	if *at == unset || w < *at {
		*at = w
	}
}

// parseMember reads a coding and its weight.
func parseMember(s string) (name string, w weight, ok bool) {
	name, parameter, weighted := strings.Cut(s, ";")
	name = strings.TrimRight(name, " \t")
	if name == "" {
		return "", 0, false
	}
	for i := range len(name) {
		if !isToken(name[i]) {
			return "", 0, false
		}
	}
	if !weighted {
		return name, full, true
	}
	parameter = strings.TrimLeft(parameter, " \t")
	if len(parameter) < 3 || parameter[0]|0x20 != 'q' || parameter[1] != '=' {
		return "", 0, false
	}
	w, ok = parseWeight(parameter[2:])
	return name, w, ok
}

// parseWeight reads a qvalue (RFC 9110, section 12.4.2): 0 to 1 with at most three decimals.
func parseWeight(s string) (weight, bool) {
	if len(s) > 5 || s[0] != '0' && s[0] != '1' || len(s) > 1 && s[1] != '.' {
		return 0, false
	}
	n := weight(s[0] - '0')
	for i := 2; i < 5; i++ {
		n *= 10
		if i >= len(s) {
			continue
		}
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n += weight(s[i] - '0')
	}
	return n + 1, n <= 1000
}

// isToken says whether a byte may stand in a token (RFC 9110, section 5.6.2).
func isToken(c byte) bool {
	switch {
	case '0' <= c && c <= '9', 'a' <= c|0x20 && c|0x20 <= 'z':
		return true
	}
	return strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0
}

// Takes says whether the client can read a coding, by its name as it stands in
// Content-Encoding. A * stands for all that are not named.
func (a Accepted) Takes(name string) bool {
	w := a.rest
	if i := index(name); i >= 0 && a.known[i] != unset {
		w = a.known[i]
	}
	return w > refuse
}

// Choose is the coding that the client likes best, and among those it likes as
// well the first of prefer. The identity wins only where it is named with more
// weight: it is always possible, and an answer without a coding is better than none,
// even where it was refused (section 12.5.3 leaves it open). A * is given gzip
// and nothing else: who knows no names knows that one.
func (a Accepted) Choose(prefer []Coding) Coding {
	best, most := Identity, max(a.identity, refuse)
	if a.identity == unset {
		most = max(a.rest, refuse)
	}
	for _, c := range prefer {
		i := index(string(c))
		if i < 0 {
			continue
		}
		w := a.known[i]
		if w == unset && c == Gzip {
			w = a.rest
		}
		if w > most || w == most && w > refuse && best == Identity {
			best, most = c, w
		}
	}
	return best
}
