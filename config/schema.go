package config

import (
	"embed"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
)

//go:generate go run ./gen

//go:embed schema/*.json
var schemas embed.FS

// Kinds are the kinds of files: service and node.
func Kinds() []string { return []string{"service", "node"} }

// Schema is the JSON Schema (draft 2020-12) of a kind of file, for editors. It
// knows the form of a file, not whether its names are defined.
func Schema(kind string) ([]byte, error) {
	data, err := schemas.ReadFile("schema/" + kind + ".schema.json")
	if err != nil || !slices.Contains(Kinds(), kind) {
		hint := ""
		if near := selvage.Nearest(kind, Kinds()); near != "" {
			hint = fmt.Sprintf("; did you mean %q?", near)
		}
		return nil, selvage.Errorf(selvage.NotFound, "%q is not a kind of file: write service or node%s", kind, hint)
	}
	return data, nil
}

// Field is what the manual says of one key of a file. It is generated from the
// comments and tags of the configuration structs.
type Field struct {
	File     string   `json:"file"`               // service or node
	Path     string   `json:"path"`               // routes[].cache.ttl; <name> stands for a name that the user chose
	Type     string   `json:"type"`               // in words
	Required bool     `json:"required,omitempty"` // it has no default
	Default  string   `json:"default,omitempty"`
	Enum     []string `json:"enum,omitempty"`
	Min      *int64   `json:"min,omitempty"`
	Max      *int64   `json:"max,omitempty"`
	Example  string   `json:"example,omitempty"`
	Doc      string   `json:"doc"`
}

// Key is the last part of the path.
func (f Field) Key() string {
	parts := segments(f.Path)
	return parts[len(parts)-1]
}

// Facts are type, default and bounds in one line.
func (f Field) Facts() string {
	out := []string{f.Type}
	if len(f.Enum) > 0 {
		out = []string{oneOf(f.Enum)}
	}
	switch {
	case f.Min != nil && f.Max != nil:
		out = append(out, fmt.Sprintf("%d to %d", *f.Min, *f.Max))
	case f.Min != nil:
		out = append(out, fmt.Sprintf("at least %d", *f.Min))
	case f.Max != nil:
		out = append(out, fmt.Sprintf("at most %d", *f.Max))
	}
	if f.Required {
		out = append(out, "required")
	}
	if f.Default != "" {
		out = append(out, "default "+f.Default)
	}
	return strings.Join(out, ", ")
}

// Fields are all keys of all files, in the order of the manual.
var Fields = sync.OnceValue(func() []Field {
	data, err := schemas.ReadFile("schema/fields.json")
	if err != nil {
		panic(err) // it is embedded
	}
	var file struct{ Fields []Field }
	if err := json.Unmarshal(data, &file); err != nil {
		panic(err) // it is generated, and a test reads it
	}
	return file.Fields
})

// Explain says what a key means, and lists what stands below it. Places in
// lists and names may be left out: routes[2].cache.ttl is routes.cache.ttl.
// The empty path lists the keys of both files. An unknown key is an error of
// kind [selvage.NotFound] that says what is near.
func Explain(path string) (string, error) {
	at, err := follow(path)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if at != nil {
		fmt.Fprintf(&b, "%s: %s\n%s\n", at.Path, at.Facts(), at.Doc)
		if at.Example != "" {
			fmt.Fprintf(&b, "\nexample: %s: %s\n", at.Key(), at.Example)
		}
	}
	for _, kind := range Kinds() {
		below := children(at, kind)
		if len(below) == 0 {
			continue
		}
		title := ""
		if at == nil {
			title = kind + " file"
		}
		b.WriteString(strings.TrimSpace("\n"+title) + "\n")
		width := 0
		for _, f := range below {
			width = max(width, len(f.Key()))
		}
		for _, f := range below {
			fmt.Fprintf(&b, "  %-*s  %s\n", width, f.Key(), f.Facts())
		}
	}
	return strings.TrimLeft(b.String(), "\n"), nil
}

// follow walks along a path as somebody typed it; nil is above all keys.
func follow(path string) (*Field, error) {
	var at *Field
	walked, named := "", false
	for _, seg := range segments(path) {
		var below []Field
		for _, kind := range Kinds() {
			below = append(below, children(at, kind)...)
		}
		i := slices.IndexFunc(below, func(f Field) bool { return f.Key() == seg })
		switch {
		case i >= 0:
			at, named = &below[i], false
			walked += "." + seg
		case at != nil && strings.HasSuffix(at.Type, "by name") && !named:
			named = true // seg is a name of the user's
			walked += "." + seg
		default:
			var keys []string
			for _, f := range below {
				keys = append(keys, f.Key())
			}
			where := "no file has"
			if at != nil {
				where = at.Path + " has no"
			}
			hint := ""
			if near := selvage.Nearest(seg, keys); near != "" {
				hint = fmt.Sprintf(": did you mean %q?", strings.TrimPrefix(walked+"."+near, "."))
			} else if len(keys) > 0 {
				hint = ": known there are " + strings.Join(keys, ", ")
			}
			return nil, selvage.Errorf(selvage.NotFound, "%s key %q%s", where, seg, hint)
		}
	}
	return at, nil
}

// children are the fields directly below one, or at the top of a kind of file.
func children(of *Field, kind string) []Field {
	var out []Field
	for _, f := range Fields() {
		path := f.Path
		if of != nil {
			rest, ok := strings.CutPrefix(f.Path, of.Path)
			if !ok || of.File != kind || rest == "" || rest[0] != '.' && rest[0] != '[' {
				continue
			}
			path = rest
		}
		if f.File == kind && len(segments(path)) == 1 {
			out = append(out, f)
		}
	}
	return out
}

var placeholders = regexp.MustCompile(`\[[^\]]*\]|\.<name>|\.\*`)

// segments are the keys of a path, without places in lists and names that
// stand for any.
func segments(path string) []string {
	path = strings.Trim(placeholders.ReplaceAllString(path, ""), ".")
	if path == "" {
		return nil
	}
	return strings.Split(path, ".")
}
