package config

import (
	"encoding"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// decoder fills the structs of the configuration from a tree and gathers every
// mistake. It remembers where everything stands, and which values were put in
// from outside.
type decoder struct {
	src      *source
	expand   *expander // nil: ${…} is text, as in the defaults
	problems selvage.Problems
	keys     map[string]position // by path: where the key stands
	values   map[string]position // by path: where the value stands, of scalars and of items
	outside  map[string]reference
	missing  int // mistakes that are not shown
}

// reference is a value that was put in from outside the file.
type reference struct{ written, value string }

// spot is where in the configuration the decoder is. subject names the route
// or the origin that is at base.
type spot struct{ path, subject, base string }

func (s spot) key(k string) spot {
	if s.path != "" {
		k = s.path + "." + k
	}
	return spot{k, s.subject, s.base}
}

func (s spot) item(i int) spot {
	return spot{fmt.Sprintf("%s[%d]", s.path, i), s.subject, s.base}
}

// label goes before a message: `route "/x": cache.ttl: `.
func (s spot) label() string {
	rest := s.path
	if s.subject != "" {
		rest = strings.TrimPrefix(strings.TrimPrefix(s.path, s.base), ".")
	}
	var out strings.Builder
	for _, part := range []string{s.subject, rest} {
		if part != "" {
			out.WriteString(part + ": ")
		}
	}
	return out.String()
}

func newDecoder(src *source, expand *expander) *decoder {
	return &decoder{
		src: src, expand: expand,
		keys: map[string]position{}, values: map[string]position{}, outside: map[string]reference{},
	}
}

// mistake notes a mistake at a position.
func (d *decoder) mistake(at spot, pos position, hint, format string, args ...any) {
	if len(d.problems) >= maxProblems {
		d.missing++
		return
	}
	p := selvage.Problem{Path: at.path, Message: at.label() + fmt.Sprintf(format, args...), Hint: hint}
	d.problems = append(d.problems, d.src.place(p, pos))
}

// value fills v from a tree.
func (d *decoder) value(t *tree, v reflect.Value, at spot, f *field) {
	switch {
	case v.Kind() == reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		d.value(t, v.Elem(), at, f)
	case hasKeys(v.Type()) && t.form == object:
		d.object(t, v, at)
	case hasKeys(v.Type()) && t.form == empty && !speaksText(v.Type()):
		d.object(&tree{form: object, at: t.at}, v, at)
	case t.form == empty:
		hint := "write one, or take the key away"
		if k := v.Kind(); k == reflect.Slice || k == reflect.Map {
			hint = "write [] or {} for none, or take the key away"
		}
		d.mistake(at, d.keyOr(at.path, t.at), hint, "it has no value")
	case speaksText(v.Type()):
		d.text(t, v, at)
	case hasKeys(v.Type()):
		d.mistake(at, t.at, "", "%s are expected here, not %s", object, t.form)
	case v.Kind() == reflect.Slice:
		d.list(t, v, at)
	case v.Kind() == reflect.Map:
		d.table(t, v, at)
	default:
		d.scalar(t, v, at, f)
	}
}

// object fills a struct. Keys that are absent get their defaults.
func (d *decoder) object(t *tree, v reflect.Value, at spot) {
	r := shapeOf(v.Type())
	seen := map[string]position{}
	for _, e := range t.entries {
		i, known := r.byKey[e.key]
		first, twice := seen[e.key]
		switch {
		case !known:
			d.unknown(e, at, r)
		case twice:
			d.mistake(at, e.at, fmt.Sprintf("the first one is in line %d", first.line), "key %q stands here twice", e.key)
		default:
			seen[e.key] = e.at
			f := &r.fields[i]
			child := at.key(e.key)
			d.keys[child.path] = e.at
			before := len(d.problems) + d.missing
			d.value(e.value, v.Field(f.index), child, f)
			if f.required && before == len(d.problems)+d.missing && isEmpty(v.Field(f.index)) {
				d.mistake(child, e.at, "", "it must not be empty")
			}
		}
	}
	for i := range r.fields {
		f := &r.fields[i]
		if _, ok := seen[f.key]; ok {
			continue
		}
		if f.required {
			d.mistake(spot{at.key(f.key).path, at.subject, at.base}, d.keyOr(at.path, t.at), "add it", "it is missing")
			continue
		}
		d.preset(f, v.Field(f.index))
	}
}

// isEmpty says that a value that must be there is not. What a struct must have
// its own fields say.
func isEmpty(v reflect.Value) bool { return v.Kind() != reflect.Struct && v.IsZero() }

func (d *decoder) unknown(e entry, at spot, r *shape) {
	if len(d.problems) >= maxProblems {
		d.missing++
		return
	}
	hint := ""
	before, _, colon := strings.Cut(e.key, ":")
	if colon && slices.Contains(r.keys, before) {
		hint = "write a space after the colon"
	} else if near := selvage.Nearest(e.key, r.keys); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	} else if len(r.keys) <= 16 {
		hint = "known here: " + strings.Join(r.keys, ", ")
	}
	d.mistake(at, e.at, hint, "unknown key %q", e.key)
	d.problems[len(d.problems)-1].Path = at.key(e.key).path
}

// preset fills v with a field's default, and what lies within it.
func (d *decoder) preset(f *field, v reflect.Value) {
	switch {
	case f.preset != nil:
		inner := newDecoder(d.src, nil)
		inner.value(f.preset, v, spot{path: f.key}, nil)
		if len(inner.problems) > 0 {
			panic(inner.problems.Error()) // the tests look at every default
		}
	case hasKeys(v.Type()):
		d.presets(v)
	}
}

// presets fills a struct with its defaults.
func (d *decoder) presets(v reflect.Value) {
	r := shapeOf(v.Type())
	for i := range r.fields {
		d.preset(&r.fields[i], v.Field(r.fields[i].index))
	}
}

func (d *decoder) list(t *tree, v reflect.Value, at spot) {
	if t.form != list {
		hint := ""
		if t.form == text || t.form == number {
			hint = fmt.Sprintf("did you mean [%s]?", t.text)
		}
		d.mistake(at, t.at, d.private(t, hint), "%s is expected here, not %s", list, t.form)
		return
	}
	if len(t.items) == 0 {
		v.SetZero()
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(t.items), len(t.items)))
	for i, item := range t.items {
		child := at.item(i)
		d.values[child.path] = item.at
		if v.Type().Elem() == routeType {
			child.subject, child.base = routeSubject(item, i), child.path
		}
		d.value(item, v.Index(i), child, nil)
	}
}

// routeSubject names a route as [selvage.Route.Label] will.
func routeSubject(t *tree, i int) string {
	var r selvage.Route
	if name := t.get("name"); name != nil {
		r.Name = selvage.RouteName(name.text)
	}
	if match := t.get("match"); match != nil {
		if path := match.get("path"); path != nil {
			r.Match.Path = path.text
		}
		if methods := match.get("methods"); methods != nil {
			for _, m := range methods.items {
				r.Match.Methods = append(r.Match.Methods, m.text)
			}
		}
	}
	if r.Name == "" && r.Match.Path == "" {
		return fmt.Sprintf("route %d", i+1)
	}
	return fmt.Sprintf("route %q", r.Label())
}

func (d *decoder) table(t *tree, v reflect.Value, at spot) {
	if t.form != object {
		d.mistake(at, t.at, "", "%s are expected here, not %s", object, t.form)
		return
	}
	v.SetZero()
	seen := map[string]position{}
	for _, e := range t.entries {
		if first, twice := seen[e.key]; twice {
			d.mistake(at, e.at, fmt.Sprintf("the first one is in line %d", first.line), "key %q stands here twice", e.key)
			continue
		}
		seen[e.key] = e.at
		child := at.key(e.key)
		d.keys[child.path] = e.at
		if v.Type().Elem() == originType {
			child.subject, child.base = fmt.Sprintf("origin %q", e.key), child.path
		}
		if v.Type().Elem() == functionType {
			child.subject, child.base = fmt.Sprintf("function %q", e.key), child.path
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, elem, child, nil)
		if v.IsNil() {
			v.Set(reflect.MakeMap(v.Type()))
		}
		v.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), elem)
	}
}

// text fills what reads itself from text.
func (d *decoder) text(t *tree, v reflect.Value, at spot) {
	d.values[at.path] = t.at
	if t.form == list || t.form == object {
		d.mistake(at, t.at, "", "%s is expected here, not %s", text, t.form)
		return
	}
	s, ok := d.written(t, at)
	if !ok {
		return
	}
	err := v.Addr().Interface().(encoding.TextUnmarshaler).UnmarshalText([]byte(s))
	if err == nil {
		return
	}
	message, hint := splitHint(err.Error())
	if v.Type().Implements(valuesOf) {
		if near := selvage.Nearest(s, v.Interface().(interface{ Values() []string }).Values()); near != "" {
			hint = fmt.Sprintf("did you mean %q?", near)
		}
	}
	d.mistake(at, t.at, hint, "%s", message)
}

// splitHint divides `"x" is not a duration: write 5s` at what to do now.
func splitHint(s string) (message, hint string) {
	for _, sep := range []string{": write ", ": did you mean "} {
		if i := strings.LastIndex(s, sep); i >= 0 {
			return s[:i], s[i+2:]
		}
	}
	return s, ""
}

// scalar fills a string, a number or a boolean. A string takes what is written,
// also where YAML sees a number: a version 1.20 stays 1.20.
func (d *decoder) scalar(t *tree, v reflect.Value, at spot, f *field) {
	d.values[at.path] = t.at
	want := map[reflect.Kind]form{reflect.String: text, reflect.Int: number, reflect.Bool: boolean}[v.Kind()]
	if t.form == list || t.form == object {
		d.mistake(at, t.at, "", "%s is expected here, not %s", want, t.form)
		return
	}
	s, ok := d.written(t, at)
	if !ok {
		return
	}
	_, outside := d.outside[at.path]
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
		if f != nil && len(f.enum) > 0 && !slices.Contains(f.enum, s) {
			d.enumMistake(at, t, f, s)
		}
	case reflect.Bool:
		b := s == "true" || s == "True" || s == "TRUE"
		if no := s == "false" || s == "False" || s == "FALSE"; !b && !no || t.form != boolean && !outside && d.expand != nil {
			d.mistake(at, t.at, "write true or false, without quotes", "%q is neither true nor false", s)
			return
		}
		v.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(s, 10, 32)
		if err != nil || s != strconv.FormatInt(n, 10) || t.form != number && !outside && d.expand != nil {
			d.mistake(at, t.at, "write digits, without quotes", "%q is not a whole number", s)
			return
		}
		v.SetInt(n)
		d.bounds(at, t, f, n)
	default:
		panic("config: no way to fill a " + v.Type().String())
	}
}

func (d *decoder) enumMistake(at spot, t *tree, f *field, s string) {
	hint := "write " + oneOf(f.enum)
	if near := selvage.Nearest(s, f.enum); near != "" && len(near) > 3 {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	d.mistake(at, t.at, hint, "%q is not one of its values", s)
}

// oneOf writes a choice: a, b or c.
func oneOf(words []string) string {
	last := len(words) - 1
	if last < 1 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func (d *decoder) bounds(at spot, t *tree, f *field, n int64) {
	switch {
	case f == nil:
	case len(f.enum) > 0 && !slices.Contains(f.enum, strconv.FormatInt(n, 10)):
		d.enumMistake(at, t, f, strconv.FormatInt(n, 10))
	case f.min != nil && n < *f.min || f.max != nil && n > *f.max:
		d.mistake(at, t.at, f.span(), "%d is out of bounds", n)
	}
}

// span writes the bounds of a number.
func (f *field) span() string {
	switch {
	case f.max == nil:
		return fmt.Sprintf("write at least %d", *f.min)
	case f.min == nil:
		return fmt.Sprintf("write at most %d", *f.max)
	}
	return fmt.Sprintf("write %d to %d", *f.min, *f.max)
}

// written is the text of a scalar, with what ${…} stands for.
func (d *decoder) written(t *tree, at spot) (s string, ok bool) {
	if d.expand == nil {
		return t.text, true
	}
	s, used, err := d.expand.expand(t.text)
	if err != nil {
		message, hint := splitHint(err.Error())
		d.mistake(at, t.at, hint, "%s", message)
		return "", false
	}
	if used {
		d.outside[at.path] = reference{t.text, s}
	}
	return s, true
}

// private withholds a hint that repeats a value that may come from outside.
func (d *decoder) private(t *tree, hint string) string {
	if d.expand != nil && strings.Contains(t.text, "${") {
		return ""
	}
	return hint
}

func (d *decoder) keyOr(path string, pos position) position {
	if at, ok := d.keys[path]; ok {
		return at
	}
	if path == "" {
		return position{1, 1}
	}
	return pos
}

// locate finds the place of a mistake of the validation: its own, or that of
// what is around it.
func (d *decoder) locate(p selvage.Problem) selvage.Problem {
	for path := p.Path; path != ""; path = parent(path) {
		if at, ok := d.values[path]; ok && (!p.AtKey || path != p.Path || d.keys[path] == position{}) {
			return d.src.place(p, at)
		}
		if at, ok := d.keys[path]; ok {
			return d.src.place(p, at)
		}
	}
	return d.src.place(p, position{1, 1})
}

// parent is the path of what is around.
func parent(path string) string { return path[:max(strings.LastIndexAny(path, ".["), 0)] }
