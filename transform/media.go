package transform

import "strings"

// compressible are the media types beside text/* and those whose suffix says
// what they are made of. Types that are compressed inside (images, video,
// woff2, PDF, archives) gain nothing and are not here.
var compressible = map[string]bool{
	"application/ecmascript":        true,
	"application/geo+json-seq":      true,
	"application/graphql":           true,
	"application/javascript":        true,
	"application/json":              true,
	"application/json-seq":          true,
	"application/jsonl":             true,
	"application/n-quads":           true,
	"application/n-triples":         true,
	"application/ndjson":            true,
	"application/rtf":               true,
	"application/sql":               true,
	"application/toml":              true,
	"application/trig":              true,
	"application/vnd.ms-fontobject": true,
	"application/wasm":              true,
	"application/x-javascript":      true,
	"application/x-ndjson":          true,
	"application/x-sh":              true,
	"application/x-yaml":            true,
	"application/xml":               true,
	"application/yaml":              true,
	"font/collection":               true,
	"font/otf":                      true,
	"font/sfnt":                     true,
	"font/ttf":                      true,
	"image/bmp":                     true,
	"image/svg+xml":                 true,
	"image/vnd.microsoft.icon":      true,
	"image/x-icon":                  true,
	"model/gltf+json":               true,
	"model/obj":                     true,
}

// mediaType is the type of an answer in lower case without its parameters, or
// "" where it is absent or said twice.
func mediaType(lines []string) string {
	if len(lines) != 1 {
		return ""
	}
	t, _, _ := strings.Cut(lines[0], ";")
	return strings.ToLower(strings.Trim(t, " \t"))
}

// isCompressible says whether a body of the type usually becomes smaller.
func isCompressible(t string) bool {
	if compressible[t] || strings.HasPrefix(t, "text/") {
		return true
	}
	if i := strings.LastIndexByte(t, '+'); i >= 0 {
		switch t[i:] {
		case "+json", "+xml", "+yaml", "+json-seq":
			return true
		}
	}
	return false
}

// eventStream is the type whose events must come out at once, and whose body
// may last for days.
const eventStream = "text/event-stream"
