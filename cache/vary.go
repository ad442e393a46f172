package cache

import (
	"net/http"
	"slices"
	"strings"
)

// selector is a request field that an answer was chosen by (RFC 9111, section
// 4.1), with the value it had, normalised.
type selector struct {
	name    string
	value   string
	raw     string // as it came, if it came on one line: most requests have just the same
	present bool
}

// varyNames are the fields that the lines of a Vary name, canonical, sorted and
// once each. It is not ok where nothing can be told to match: with `*`, and with
// a member that is not a field name.
func varyNames(lines []string) (names []string, ok bool) {
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			if name == "" {
				continue
			}
			if name == "*" || !isTokens(name) {
				return nil, false
			}
			if name = http.CanonicalHeaderKey(name); name != "Host" { // the key has it
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), true
}

func isTokens(s string) bool {
	for i := range len(s) {
		if !isToken(s[i]) {
			return false
		}
	}
	return true
}

// selectorsOf are the named fields as the request has them.
func selectorsOf(names []string, h http.Header) []selector {
	if len(names) == 0 {
		return nil
	}
	sel := make([]selector, len(names))
	for i, name := range names {
		value, present := selecting(name, h[name])
		sel[i] = selector{name: strings.Clone(name), value: strings.Clone(value), present: present}
		if len(h[name]) == 1 {
			sel[i].raw = strings.Clone(h[name][0])
		}
	}
	return sel
}

// selected says whether a request selects what these selectors select. A field
// that was absent must be absent.
func selected(sel []selector, h http.Header) bool {
	for i := range sel {
		s := &sel[i]
		lines := h[s.name]
		if len(lines) == 1 && s.present && s.raw == lines[0] && s.raw != "" {
			continue
		}
		if value, present := selecting(s.name, lines); present != s.present || value != s.value {
			return false
		}
	}
	return true
}

// selecting is a field's value for comparing. Fields of preferences are brought
// into one form of all that say the same; of others only the lines are combined
// and the space around commas is taken away, which changes no list's meaning.
func selecting(name string, lines []string) (value string, present bool) {
	switch name {
	case "Accept-Encoding", "Accept-Language", "Accept-Charset":
		return preferences(lines), len(lines) > 0
	}
	return combined(lines)
}

// preferences is the one form of fields whose members are weighted and do not
// depend on case or order (RFC 9110, sections 12.5.2 to 12.5.4: that some
// recipients take order for a preference cannot be relied upon).
func preferences(lines []string) string {
	var members []string
	for _, line := range lines {
		for member := range strings.SplitSeq(line, ",") {
			member = strings.ToLower(strings.Map(withoutSpace, member))
			choice, weight, _ := strings.Cut(member, ";q=")
			if strings.IndexByte(weight, '.') >= 0 {
				weight = strings.TrimSuffix(strings.TrimRight(weight, "0"), ".")
			}
			if weight != "" && weight != "1" {
				choice += ";q=" + weight
			}
			if choice != "" {
				members = append(members, choice)
			}
		}
	}
	slices.Sort(members)
	return strings.Join(slices.Compact(members), ",")
}

func withoutSpace(r rune) rune {
	if r == ' ' || r == '\t' {
		return -1
	}
	return r
}

// combined is a field's value with its lines in one.
func combined(lines []string) (value string, present bool) {
	switch len(lines) {
	case 0:
		return "", false
	case 1:
		if strings.IndexByte(lines[0], ',') < 0 {
			return strings.Trim(lines[0], " \t"), true
		}
	}
	var b strings.Builder
	for i, line := range lines {
		for j, member := range strings.Split(line, ",") {
			if i+j > 0 {
				b.WriteByte(',')
			}
			b.WriteString(strings.Trim(member, " \t"))
		}
	}
	return b.String(), true
}
