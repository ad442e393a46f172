package transform

import (
	"net/http"
	"slices"
	"strings"
)

// Effects are what a filter does to the head of an answer that it changes. They
// are not only told but carried out: there is no other code that does it.
type Effects struct {
	// WeakensETag: the bytes are others and mean the same, so a strong validator
	// becomes a weak one (RFC 9110, section 8.8.1). A suffix would keep it strong and
	// promise the same bytes from every node, level and release: nobody can.
	WeakensETag bool
	// LosesLength: Content-Length goes, the length is known at the end.
	LosesLength bool
	// LosesRanges: Accept-Ranges goes. A request with Range is not served in
	// this form, and If-Range with a date does not count: the date is the same for all forms.
	LosesRanges bool
	// LosesDigests: Content-Digest, Repr-Digest, Digest (RFC 9530, RFC 3230)
	// and Content-MD5 go, from the trailers too. All of them count the coding in.
	LosesDigests bool
	// Varies is the request field by which the filter chooses, canonical.
	Varies string
}

// digests are the fields that vouch for the bytes of a body.
var digests = [...]string{"Content-Digest", "Repr-Digest", "Digest", "Content-Md5"}

// changed carries the effects out on the head of an answer whose body becomes another.
func (e Effects) changed(res *http.Response) {
	h := res.Header
	if e.WeakensETag {
		weaken(h)
	}
	if e.LosesLength {
		delete(h, "Content-Length")
		res.ContentLength = -1
	}
	if e.LosesRanges {
		delete(h, "Accept-Ranges")
	}
	if e.LosesDigests {
		dropDigests(h)
		dropDigests(res.Trailer)
		withoutDigests(h, "Trailer")
	}
}

// chosen notes in Vary that the answer was chosen by a request field (RFC 9110, section 12.5.5).
func (e Effects) chosen(h http.Header) {
	if e.Varies == "" {
		return
	}
	for _, line := range h["Vary"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.Trim(name, " \t"); name == "*" || strings.EqualFold(name, e.Varies) {
				return
			}
		}
	}
	h["Vary"] = append(slices.Clip(h["Vary"]), e.Varies)
}

// notModified makes a 304 speak of what the client has: whoever asks with the
// weak form of a tag has the answer as we changed it, and finds it again by no
// other (RFC 9111, section 4.3.4).
func (e Effects) notModified(request, h http.Header) {
	if e.WeakensETag && len(h["Etag"]) == 1 && !isWeak(h["Etag"][0]) && listsTag(request["If-None-Match"], "W/"+h["Etag"][0]) {
		weaken(h)
	}
	if e.LosesDigests {
		dropDigests(h)
	}
	if e.LosesRanges {
		delete(h, "Accept-Ranges")
	}
}

// ask takes from a request what would give it a part of one form for a part of
// another: all forms have the same date, and weak tags match in no If-Range.
func (e Effects) ask(request http.Header) {
	if !e.LosesRanges || len(request["If-Range"]) == 0 {
		return
	}
	if v := request["If-Range"]; len(v) != 1 || !strings.HasPrefix(strings.TrimLeft(v[0], " \t"), `"`) {
		delete(request, "Range")
		delete(request, "If-Range")
	}
}

// weaken makes a strong entity tag a weak one. What is no entity tag goes.
func weaken(h http.Header) {
	tags := h["Etag"]
	if len(tags) == 0 {
		return
	}
	tag := tags[0]
	switch {
	case len(tags) > 1:
		delete(h, "Etag")
	case isWeak(tag):
	case len(tag) >= 2 && tag[0] == '"' && tag[len(tag)-1] == '"':
		h["Etag"] = []string{"W/" + tag}
	default:
		delete(h, "Etag")
	}
}

func isWeak(tag string) bool { return strings.HasPrefix(tag, "W/") }

// listsTag says whether an If-None-Match has exactly this tag. Opaque tags may have commas.
func listsTag(lines []string, tag string) bool {
	for _, line := range lines {
		for from := 0; ; {
			i := strings.Index(line[from:], tag)
			if i < 0 {
				break
			}
			from += i
			before := strings.TrimRight(line[:from], " \t")
			if before == "" || strings.HasSuffix(before, ",") {
				return true
			}
			from += len(tag)
		}
	}
	return false
}

func dropDigests(h http.Header) {
	for _, name := range digests {
		delete(h, name)
	}
}

// withoutDigests takes the digests out of a list of field names.
func withoutDigests(h http.Header, field string) {
	lines := h[field]
	if len(lines) == 0 {
		return
	}
	var kept []string
	for _, line := range lines {
		for name := range strings.SplitSeq(line, ",") {
			name = strings.Trim(name, " \t")
			if name != "" && !slices.ContainsFunc(digests[:], func(d string) bool { return strings.EqualFold(d, name) }) {
				kept = append(kept, name)
			}
		}
	}
	if len(kept) == 0 {
		delete(h, field)
		return
	}
	h[field] = []string{strings.Join(kept, ", ")}
}
