package cache

import (
	"cmp"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"
)

// conditional are the fields that make a request conditional (RFC 9110, section
// 13.1). Those that a cache can answer are the first two; with the others the
// origin is asked (RFC 9111, section 4.3.2). If-Range belongs to Range.
const (
	ifNoneMatch       = "If-None-Match"
	ifModifiedSince   = "If-Modified-Since"
	ifMatch           = "If-Match"
	ifUnmodifiedSince = "If-Unmodified-Since"
)

// withoutConditions takes away what would keep the origin from giving a whole answer.
func withoutConditions(h http.Header) {
	delete(h, ifNoneMatch)
	delete(h, ifModifiedSince)
	delete(h, "Range")
	delete(h, "If-Range")
}

// askWhether makes a request conditional on the stored answer (RFC 9111, section 4.3.1).
// It returns false where the answer has no validator to ask with.
func askWhether(h, stored http.Header) bool {
	if tag := stored["Etag"]; len(tag) == 1 {
		h[ifNoneMatch] = tag[:1:1]
	}
	if modified := stored["Last-Modified"]; len(modified) == 1 {
		h[ifModifiedSince] = modified[:1:1]
	}
	return len(h[ifNoneMatch])+len(h[ifModifiedSince]) > 0
}

// freshens says whether a 304 speaks of the stored answer (RFC 9111, section
// 4.3.4). Without a validator of its own it does: only one answer was asked about.
func freshens(stored, notModified http.Header) bool {
	if tag := notModified["Etag"]; len(tag) > 0 {
		have := stored["Etag"]
		return len(tag) == 1 && len(have) == 1 && (tag[0] == have[0] || isWeak(tag[0]) && weakEqual(tag[0], have[0]))
	}
	if modified := notModified["Last-Modified"]; len(modified) > 0 && len(stored["Last-Modified"]) > 0 {
		return modified[0] == stored["Last-Modified"][0]
	}
	return true
}

// meant is the stored answer that a 304 speaks of, nil if it is none of those that
// were asked about. Of several it must name one.
func (f *flight) meant(notModified http.Header) *answer {
	if asks := cmp.Or(f.candidate, f.about); asks != nil {
		if freshens(asks.header, notModified) {
			return asks
		}
		return nil
	}
	for _, a := range f.others {
		if (len(notModified["Etag"]) > 0 || len(f.others) == 1) && freshens(a.header, notModified) && !f.fate(a).gone() {
			return a
		}
	}
	return nil
}

// tagsOfAll are the entity tags of all answers, as an If-None-Match (RFC 9111, section 4.3.1).
func tagsOfAll(all []*answer) string {
	var tags []string
	for _, a := range all {
		if tag := a.header["Etag"][0]; !slices.Contains(tags, tag) {
			tags = append(tags, tag)
		}
	}
	return strings.Join(tags, ", ")
}

// updated is the stored header with the fields of a 304 (RFC 9111, section
// 3.2). What describes the stored bytes stays with them.
func updated(stored, notModified http.Header) http.Header {
	h := make(http.Header, len(stored))
	maps.Copy(h, stored)
	for name, values := range notModified {
		switch name {
		case "Content-Length", "Content-Encoding", "Content-Range", "Content-Md5", "Content-Type":
		default:
			h[name] = values
		}
	}
	return h
}

// isNotModified evaluates a client's conditions on a whole answer (RFC 9110,
// section 13.2.2; RFC 9111, section 4.3.2). Only those on a 200 count.
func isNotModified(request http.Header, status int, h http.Header, received time.Time) bool {
	if status != http.StatusOK {
		return false
	}
	if lines := request[ifNoneMatch]; len(lines) > 0 {
		tag := ""
		if len(h["Etag"]) == 1 {
			tag = h["Etag"][0]
		}
		return matchesAny(lines, tag)
	}
	since, ok := soleDate(request[ifModifiedSince], received)
	if !ok {
		return false
	}
	modified, ok := soleDate(h["Last-Modified"], received)
	if !ok {
		if len(h["Last-Modified"]) > 0 {
			return false
		}
		if modified, ok = soleDate(h["Date"], received); !ok {
			modified = received.Truncate(time.Second)
		}
	}
	return !modified.After(since)
}

// matchesAny compares an entity tag with those of an If-None-Match, weakly
// (RFC 9110, section 13.1.2). `*` matches whatever there is.
func matchesAny(lines []string, tag string) bool {
	for _, line := range lines {
		if strings.Trim(line, " \t") == "*" {
			return true
		}
		for tag != "" {
			var member string
			if member, line = nextTag(line); member == "" {
				break
			}
			if weakEqual(member, tag) {
				return true
			}
		}
	}
	return false
}

// nextTag cuts the first entity tag off a list. What is not one is cut at the next comma.
func nextTag(list string) (tag, rest string) {
	list = strings.TrimLeft(list, " \t,")
	opaque := strings.TrimPrefix(list, "W/")
	if strings.HasPrefix(opaque, `"`) {
		if end := strings.IndexByte(opaque[1:], '"'); end >= 0 {
			end += len(list) - len(opaque) + 2
			return list[:end], list[end:]
		}
	}
	tag, rest, _ = strings.Cut(list, ",")
	return strings.TrimRight(tag, " \t"), rest
}

func isWeak(tag string) bool { return strings.HasPrefix(tag, "W/") }

// weakEqual is the weak comparison (RFC 9110, section 8.8.3.2).
func weakEqual(a, b string) bool {
	return strings.TrimPrefix(a, "W/") == strings.TrimPrefix(b, "W/")
}

// strongEqual is the strong one.
func strongEqual(a, b string) bool { return a == b && !isWeak(a) }
