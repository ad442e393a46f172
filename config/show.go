package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/selvage-edge/selvage"
)

// Show writes the whole configuration as files, with every default: the
// node's, then the services', divided by lines of ---. Each of them can be
// read again and is then the same. Values that came from outside the files are
// written as they stand there, ${env:NAME} and ${file:PATH}.
func (l *Loaded) Show() []byte {
	out := []byte("# node" + from(l.NodeFile) + "\n")
	out = append(out, show(l.Node, l.node)...)
	for i, s := range l.Services {
		file, outside := "", map[string]reference(nil)
		if i < len(l.ServiceFiles) && i < len(l.services) {
			file, outside = l.ServiceFiles[i], l.services[i]
		}
		out = fmt.Appendf(out, "---\n# service%s\n", from(file))
		out = append(out, show(s, outside)...)
	}
	return out
}

func from(file string) string {
	if file == "" {
		return ""
	}
	return ", from " + strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return '·'
		}
		return r
	}, file)
}

// ShowService writes a service as a file, with every default.
func ShowService(s selvage.Service) []byte { return show(s, nil) }

// ShowNode writes a node as a file, with every default.
func ShowNode(n selvage.Node) []byte { return show(n, nil) }

func show(v any, outside map[string]reference) []byte {
	e := emitter{outside: outside, escape: true}
	var w writer
	w.block(e.tree(reflect.ValueOf(v), "", nil), 0)
	return []byte(w.String())
}

// emitter makes a tree of a configuration: what the decoder reads, backwards.
type emitter struct {
	outside map[string]reference
	escape  bool // ${ in text is written so that it stays text
}

// tree is the value at a path. It is nil for what is not set and has no
// default: it says nothing.
func (e *emitter) tree(v reflect.Value, path string, f *field) *tree {
	silent := v.IsZero() && (f == nil || f.preset == nil)
	if ref, ok := e.outside[path]; ok && path != "" {
		return &tree{form: text, text: ref.written}
	}
	switch {
	case v.Kind() == reflect.Pointer:
		if v.IsNil() {
			return nil
		}
		t := e.tree(v.Elem(), path, nil)
		if t == nil {
			t = &tree{form: object}
		}
		return t
	case hasKeys(v.Type()):
		return e.object(v, path)
	case v.Type().Implements(marshaler):
		if silent {
			return nil
		}
		s, err := v.Interface().(encoding.TextMarshaler).MarshalText()
		if err != nil {
			return nil // the zero value of a type that has no word for it
		}
		return &tree{form: word, text: string(s)}
	case v.Kind() == reflect.Slice:
		if silent {
			return nil
		}
		t := &tree{form: list}
		for i := range v.Len() {
			if item := e.item(v.Index(i), fmt.Sprintf("%s[%d]", path, i)); item != nil {
				t.items = append(t.items, item)
			}
		}
		return t
	case v.Kind() == reflect.Map:
		return e.table(v, path, silent)
	}
	return e.scalar(v, silent)
}

// item is an element of a list or a map, which is there also if it is zero.
func (e *emitter) item(v reflect.Value, path string) *tree {
	if t := e.tree(v, path, &field{preset: &tree{}}); t != nil {
		return t
	}
	return &tree{form: object}
}

func (e *emitter) object(v reflect.Value, path string) *tree {
	t := &tree{form: object}
	choice := speaksText(v.Type()) // what is not chosen is not shown
	s := shapeOf(v.Type())
	for i := range s.fields {
		f := &s.fields[i]
		child := v.Field(f.index)
		if choice && child.IsZero() {
			continue
		}
		key := f.key
		if path != "" {
			key = path + "." + key
		}
		if value := e.tree(child, key, f); value != nil {
			t.entries = append(t.entries, entry{key: f.key, value: value})
		}
	}
	if len(t.entries) == 0 {
		return nil
	}
	return t
}

func (e *emitter) table(v reflect.Value, path string, silent bool) *tree {
	if silent {
		return nil
	}
	t := &tree{form: object}
	keys := v.MapKeys()
	slices.SortFunc(keys, func(a, b reflect.Value) int { return strings.Compare(a.String(), b.String()) })
	for _, k := range keys {
		t.entries = append(t.entries, entry{key: k.String(), value: e.item(v.MapIndex(k), path+"."+k.String())})
	}
	return t
}

func (e *emitter) scalar(v reflect.Value, silent bool) *tree {
	switch v.Kind() {
	case reflect.Bool:
		return &tree{form: boolean, text: strconv.FormatBool(v.Bool())}
	case reflect.Int:
		if silent {
			return nil
		}
		return &tree{form: number, text: strconv.FormatInt(v.Int(), 10)}
	}
	if silent {
		return nil
	}
	s := v.String()
	if e.escape {
		s = escape(s)
	}
	return &tree{form: text, text: s}
}

// writer writes a tree as YAML: keys and lists in lines of their own, lists of
// scalars in brackets.
type writer struct{ strings.Builder }

func (w *writer) block(t *tree, indent int) {
	if t == nil {
		return
	}
	for i, e := range t.entries {
		if i > 0 {
			w.WriteString(strings.Repeat(" ", indent))
		}
		w.WriteString(quote(e.key) + ":")
		w.value(e.value, indent)
	}
}

// value writes what stands behind a colon, with the end of the line.
func (w *writer) value(t *tree, indent int) {
	switch {
	case t.form == object && len(t.entries) > 0:
		w.WriteString("\n" + strings.Repeat(" ", indent+2))
		w.block(t, indent+2)
	case t.form == list && slices.ContainsFunc(t.items, func(i *tree) bool { return i.form == object }):
		for _, item := range t.items {
			w.WriteString("\n" + strings.Repeat(" ", indent+2) + "- ")
			if len(item.entries) == 0 {
				w.WriteString(flow(item))
				continue
			}
			var inner writer
			inner.block(item, indent+4)
			w.WriteString(strings.TrimSuffix(inner.String(), "\n"))
		}
		w.WriteString("\n")
	default:
		w.WriteString(" " + flow(t) + "\n")
	}
}

// flow writes a scalar, an empty object, or a list of scalars.
func flow(t *tree) string {
	switch t.form {
	case object:
		return "{}"
	case list:
		items := make([]string, len(t.items))
		for i, item := range t.items {
			items[i] = flow(item)
		}
		return "[" + strings.Join(items, ", ") + "]"
	case text:
		return quote(t.text)
	}
	if strings.Contains(t.text, ":") {
		return quote(t.text)
	}
	return t.text
}

// quote writes text so that it is read as text: plain where there is no
// doubt, else in double quotes.
func quote(s string) string {
	plain := s != "" && s != "true" && s != "false" && s != "null" && !strings.HasSuffix(s, ":") &&
		(s[0] >= 'a' && s[0] <= 'z' || s[0] >= 'A' && s[0] <= 'Z' || s[0] == '/')
	for i := 0; plain && i < len(s); i++ {
		c := s[i]
		plain = c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_./:+@;=*$", c) >= 0
	}
	lower := strings.ToLower(s)
	if plain && !slices.Contains([]string{"true", "false", "null", "yes", "no", "on", "n", "y"}, lower) {
		return s
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == ' ' || unicode.IsPrint(r):
			b.WriteRune(r)
		case r > 0xffff:
			fmt.Fprintf(&b, `\U%08X`, r)
		default:
			fmt.Fprintf(&b, `\u%04X`, r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
