package http1

import "context"

type fieldNamesKey struct{}

// FieldNamesOf are the names of a request's fields as they came, in their order and
// spelling, as often as they came, with line feeds between them; empty where nobody
// kept them ([Server.KeepNames]), or where the request came in another version of HTTP.
func FieldNamesOf(ctx context.Context) string {
	if names, ok := ctx.Value(fieldNamesKey{}).(*string); ok {
		return *names
	}
	return ""
}

// names are the names of the fields. canonicalNames changes how they are spelled.
func (h *Head) names() string {
	var room [256]byte
	all := room[:0]
	for i, f := range h.list {
		if i > 0 {
			all = append(all, '\n')
		}
		all = append(all, h.at(f.name)...)
	}
	return string(all)
}
