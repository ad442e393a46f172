package cache

import (
	"net/http"
	"net/textproto"
	"slices"
	"strings"
)

// What bounds the tags of one answer. One with more is not stored: a purge of a
// tag that was forgotten would miss it.
const (
	MaxTags     = 1024
	maxTagBytes = 16 << 10
)

// tagFields are where answers name their tags, whatever the policy says.
var tagFields = [...]string{"Surrogate-Key", "Cache-Tag"}

// tagHeaders are the fields that a route reads tags from, and those of them that
// end here. Where the policy names another field, the usual ones are for
// whoever is in front of us.
func tagHeaders(policy string) (read, ours []string) {
	read = tagFields[:]
	own := textproto.CanonicalMIMEHeaderKey(policy)
	if own == "" || own == tagFields[0] {
		return read, read
	}
	if !slices.Contains(read, own) {
		read = append(slices.Clone(read), own)
	}
	return read, []string{own}
}

// tagsOf are the tags that a head names, divided by spaces or commas, each once and in
// memory of their own. It is not ok if there are too many.
func tagsOf(h http.Header, fields []string) (tags []string, ok bool) {
	size := 0
	for _, field := range fields {
		for _, line := range h[field] {
			if size += len(line); size > maxTagBytes {
				return nil, false
			}
			tags = append(tags, strings.FieldsFunc(line, func(r rune) bool { return r == ' ' || r == ',' || r == '\t' })...)
		}
	}
	if len(tags) == 0 {
		return nil, true
	}
	slices.Sort(tags)
	tags = slices.Compact(tags)
	return clones(tags), len(tags) <= MaxTags
}
