package config

import (
	"encoding"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync"

	"github.com/selvage-edge/selvage"
)

// field is what the tags of a struct's field say.
type field struct {
	index    int
	key      string
	required bool
	preset   *tree // the default, nil without one
	enum     []string
	min, max *int64
}

// shape is the fields of a struct in the order in which they stand.
type shape struct {
	fields []field
	byKey  map[string]int
	keys   []string
}

var shapes sync.Map // reflect.Type → *shape

// shapeOf reads the tags of a struct. It panics on tags that make no sense:
// the tests look at every struct.
func shapeOf(t reflect.Type) *shape {
	if r, ok := shapes.Load(t); ok {
		return r.(*shape)
	}
	r := &shape{byKey: map[string]int{}}
	for i := range t.NumField() {
		sf := t.Field(i)
		key := sf.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		f := field{index: i, key: key, required: sf.Tag.Get("required") == "true"}
		if preset, ok := sf.Tag.Lookup("default"); ok {
			f.preset = mustParse(preset)
		}
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.enum = strings.Split(enum, ",")
		}
		f.min, f.max = bound(sf.Tag, "min"), bound(sf.Tag, "max")
		r.byKey[key] = len(r.fields)
		r.fields = append(r.fields, f)
		r.keys = append(r.keys, key)
	}
	shapes.Store(t, r)
	return r
}

func bound(tag reflect.StructTag, name string) *int64 {
	s, ok := tag.Lookup(name)
	if !ok {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		panic(fmt.Sprintf("tag %s:%q: %v", name, s, err))
	}
	return &n
}

// mustParse makes a tree of the text of a tag. Only lists and objects are YAML
// there, all else is text.
func mustParse(s string) *tree {
	if !strings.HasPrefix(s, "[") && !strings.HasPrefix(s, "{") {
		return &tree{form: text, text: s}
	}
	src, problems := newSource("tag", []byte(s))
	if len(problems) == 0 {
		var t *tree
		if t, problems = parse(src); len(problems) == 0 {
			return t
		}
	}
	panic(fmt.Sprintf("default:%q: %v", s, problems))
}

var (
	unmarshaler  = reflect.TypeFor[encoding.TextUnmarshaler]()
	marshaler    = reflect.TypeFor[encoding.TextMarshaler]()
	valuesOf     = reflect.TypeFor[interface{ Values() []string }]()
	routeType    = reflect.TypeFor[selvage.Route]()
	originType   = reflect.TypeFor[selvage.Origin]()
	functionType = reflect.TypeFor[selvage.Function]()
)

// speaksText says that a type reads itself from text.
func speaksText(t reflect.Type) bool { return reflect.PointerTo(t).Implements(unmarshaler) }

// hasKeys says that a type is a struct with keys of its own.
func hasKeys(t reflect.Type) bool { return t.Kind() == reflect.Struct && len(shapeOf(t).fields) > 0 }
