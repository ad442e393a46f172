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
		value, present := selecting(h[name])
		sel[i] = selector{strings.Clone(name), strings.Clone(value), present}
	}
	return sel
}

// selected says whether a request selects what these selectors select. A field
// that was absent must be absent.
func selected(sel []selector, h http.Header) bool {
	for i := range sel {
		if value, present := selecting(h[sel[i].name]); present != sel[i].present || value != sel[i].value {
			return false
		}
	}
	return true
}

// selecting is a field's value for comparing: lines combined and the space
// around commas taken away, which changes no list's meaning.
func selecting(lines []string) (value string, present bool) {
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
