package cache

import (
	"net/http"
	"strings"
	"time"

	"github.com/dunglas/httpsfv"
)

// The fields that speak to caches like this one alone, in canonical form.
const (
	cdnCacheControl  = "Cdn-Cache-Control"
	surrogateControl = "Surrogate-Control"
)

// control is what an answer says about its storing: CDN-Cache-Control if there is
// a valid one, then Surrogate-Control, then Cache-Control (RFC 9213, section 2.2).
// The first that counts counts alone.
func control(h http.Header, surrogate []string) answerDirectives {
	d, _ := controlling(h, surrogate)
	return d
}

// controlling is control, with the name of the field that counts.
func controlling(h http.Header, surrogate []string) (d answerDirectives, field string) {
	if d, ok := readTargeted(h[cdnCacheControl]); ok {
		return d, "CDN-Cache-Control"
	}
	if d, ok := readSurrogate(surrogate); ok {
		return d, surrogateControl
	}
	return readAnswerDirectives(h["Cache-Control"]), "Cache-Control"
}

// readTargeted reads a targeted field, a dictionary of structured fields (RFC
// 9213, section 2.1). It is not ok where there is none, it is empty, does not
// parse, or has something else than an integer where seconds belong: then the
// next field is looked at.
func readTargeted(lines []string) (d answerDirectives, ok bool) {
	if len(lines) == 0 {
		return answerDirectives{}, false
	}
	members, err := httpsfv.UnmarshalDictionary(lines)
	if err != nil || len(members.Names()) == 0 {
		return answerDirectives{}, false
	}
	for _, name := range members.Names() {
		member, _ := members.Get(name)
		if !d.take(name, member) {
			return answerDirectives{}, false
		}
	}
	d.targeted = true
	return d, true
}

// take notes one member of a targeted field. A word counts unless it is false,
// whatever else it carries.
func (d *answerDirectives) take(name string, member httpsfv.Member) bool {
	item, isItem := member.(httpsfv.Item)
	if v := d.number(name); v != nil {
		n, isInteger := item.Value.(int64)
		if !isItem || !isInteger {
			return false
		}
		*v = delta{min(time.Duration(max(0, n)), maxDelta/time.Second) * time.Second, true}
	} else if b := d.word(name); b != nil {
		*b = !isItem || item.Value != false
	}
	return true
}

// readSurrogate reads a Surrogate-Control: as a targeted field, with the
// conventions of the Edge Architecture Specification (W3C Note, 2001). A member
// with a parameter is for the surrogate of that name only, in max-age=60+30 the
// second number is for how long it may be used stale, and no-store-remote is for us.
func readSurrogate(lines []string) (d answerDirectives, ok bool) {
	var extension *answerDirectives
	for _, text := range surrogateMembers(lines) {
		text, stale, extended := cutExtension(text)
		members, err := httpsfv.UnmarshalDictionary([]string{text})
		if err != nil {
			return answerDirectives{}, false
		}
		for _, name := range members.Names() {
			member, _ := members.Get(name)
			if item, isItem := member.(httpsfv.Item); isItem && len(item.Params.Names()) > 0 {
				if _, mine := item.Params.Get(Name); !mine {
					continue
				}
			}
			ok = true
			if name == "no-store-remote" {
				name = "no-store"
			}
			if !d.take(name, member) {
				return answerDirectives{}, false
			}
			if extended {
				extension = &answerDirectives{staleWhileRevalidate: stale, staleIfError: stale}
			}
		}
	}
	if extension != nil && !d.staleWhileRevalidate.set {
		d.staleWhileRevalidate = extension.staleWhileRevalidate
	}
	if extension != nil && !d.staleIfError.set {
		d.staleIfError = extension.staleIfError
	}
	d.targeted = ok
	return d, ok
}

// surrogateMembers divides the lines at the commas outside of quotes.
func surrogateMembers(lines []string) (members []string) {
	for _, line := range lines {
		from, quoted := 0, false
		for i := 0; i < len(line); i++ {
			switch {
			case quoted && line[i] == '\\':
				i++
			case line[i] == '"':
				quoted = !quoted
			case line[i] == ',' && !quoted:
				members = append(members, strings.Trim(line[from:i], " \t"))
				from = i + 1
			}
		}
		members = append(members, strings.Trim(line[from:], " \t"))
	}
	return members
}

// cutExtension takes the second number off max-age=60+30.
func cutExtension(member string) (rest string, stale delta, ok bool) {
	value, found := strings.CutPrefix(member, "max-age=")
	if !found {
		return member, delta{}, false
	}
	first, second, found := strings.Cut(value, "+")
	second, params, _ := strings.Cut(second, ";")
	seconds, ok := parseSeconds(strings.TrimRight(second, " "))
	if !found || !ok {
		return member, delta{}, false
	}
	rest = "max-age=" + first
	if params != "" {
		rest += ";" + params
	}
	return rest, delta{seconds, true}, true
}
