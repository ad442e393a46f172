package http1

import "context"

type fieldNamesKey struct{}

// FieldNamesOf are the names of a request's fields as they came, in their order and
// spelling, as often as they came; nil where nobody kept them ([Server.KeepNames]), or
// where the request came in another version of HTTP.
func FieldNamesOf(ctx context.Context) []string {
	names, _ := ctx.Value(fieldNamesKey{}).([]string)
	return names
}

// names are the names of the fields. canonicalNames changes how they are spelled.
func (h *Head) names() []string {
	size := 0
	for _, f := range h.list {
		size += int(f.name.to - f.name.from)
	}
	all := make([]byte, 0, size)
	for _, f := range h.list {
		all = append(all, h.at(f.name)...)
	}
	text, out := string(all), make([]string, len(h.list))
	for i, f := range h.list {
		n := f.name.to - f.name.from
		out[i], text = text[:n], text[n:]
	}
	return out
}
