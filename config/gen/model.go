package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
)

// kind is a kind of file and the struct that it fills.
type kind struct {
	name string
	of   reflect.Type
}

var kinds = []kind{
	{"service", reflect.TypeFor[selvage.Service]()},
	{"node", reflect.TypeFor[selvage.Node]()},
}

// model is what the sources say: the comments by struct and field, and the
// fields of every file in their order.
type model struct {
	comments map[string]string // Route, Route.Match
	fields   []config.Field
}

func readModel(root string) (*model, error) {
	m := &model{comments: map[string]string{}}
	files, err := filepath.Glob(filepath.Join(root, "*.go"))
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ParseComments)
		if err != nil {
			return nil, fmt.Errorf("read comments: %w", err)
		}
		m.readComments(file)
	}
	for _, k := range kinds {
		if err := m.walk(k.name, "", k.of); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *model) readComments(file *ast.File) {
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			ts, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			doc := ts.Doc
			if doc == nil {
				doc = gen.Doc
			}
			m.comments[ts.Name.Name] = oneLine(doc)
			st, ok := ts.Type.(*ast.StructType)
			if !ok {
				continue
			}
			for _, f := range st.Fields.List {
				for _, name := range f.Names {
					m.comments[ts.Name.Name+"."+name.Name] = oneLine(f.Doc)
				}
			}
		}
	}
}

func oneLine(doc *ast.CommentGroup) string {
	return strings.Join(strings.Fields(strings.NewReplacer("[", "", "]", "").Replace(doc.Text())), " ")
}

// walk lists the fields of a struct and of what lies in them.
func (m *model) walk(file, path string, t reflect.Type) error {
	for sf := range t.Fields() {
		key := sf.Tag.Get("yaml")
		if key == "" || key == "-" {
			continue
		}
		f := config.Field{
			File: file, Path: strings.TrimPrefix(path+"."+key, "."), Type: words(sf.Type),
			Required: sf.Tag.Get("required") == "true", Default: sf.Tag.Get("default"), Example: sf.Tag.Get("example"),
			Min: number(sf.Tag, "min"), Max: number(sf.Tag, "max"), Doc: m.comments[t.Name()+"."+sf.Name],
		}
		if enum := sf.Tag.Get("enum"); enum != "" {
			f.Enum = strings.Split(enum, ",")
		}
		if f.Doc == "" {
			return fmt.Errorf("%s.%s has no comment", t.Name(), sf.Name)
		}
		m.fields = append(m.fields, f)
		inner, suffix := unwrap(sf.Type)
		if keyed(inner) {
			if err := m.walk(file, f.Path+suffix, inner); err != nil {
				return err
			}
		}
	}
	return nil
}

// unwrap is the type of what lies in a pointer, a list or a map, and how a path goes there.
func unwrap(t reflect.Type) (inner reflect.Type, suffix string) {
	switch t.Kind() {
	case reflect.Pointer:
		return t.Elem(), ""
	case reflect.Slice:
		return t.Elem(), "[]"
	case reflect.Map:
		return t.Elem(), ".<name>"
	}
	return t, ""
}

// keyed says that a type is a struct with keys.
func keyed(t reflect.Type) bool {
	if t.Kind() != reflect.Struct {
		return false
	}
	for field := range t.Fields() {
		if key := field.Tag.Get("yaml"); key != "" && key != "-" {
			return true
		}
	}
	return false
}

func number(tag reflect.StructTag, name string) *int64 {
	n, err := strconv.ParseInt(tag.Get(name), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// scalar is how a type of its own is called and which texts it takes. The
// pattern is for editors: it never refuses what the decoder takes.
type scalar struct {
	words, pattern, means string
}

var scalars = map[reflect.Type]scalar{
	reflect.TypeFor[selvage.Duration]():  {"duration", `^\+?(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$|^[0-9]+d$`, "a length of time with its unit: `250ms`, `5s`, `1m30s`, `12h`, `7d`"},
	reflect.TypeFor[selvage.ByteSize]():  {"bytes", `^\s*[0-9]+\s*(GiB|MiB|KiB|GB|MB|KB|kB|B)$`, "an amount of bytes with its unit: `512B`, `64KiB`, `10MB`, `1GiB`"},
	reflect.TypeFor[selvage.Rate]():      {"rate", `^\+?[0-9]+/[smh]$`, "a number of requests in a second, a minute or an hour: `20/s`, `600/m`, `1000/h`"},
	reflect.TypeFor[selvage.Percent]():   {"share", `^[^%]+%$`, "from `0%` to `100%`, such as `99.9%`"},
	reflect.TypeFor[selvage.Prefix]():    {"address range", `^[0-9a-fA-F:.]+(/[0-9]+)?$`, "`10.0.0.0/8`, `2001:db8::/32`, or one address"},
	reflect.TypeFor[selvage.LogChoice](): {"log choice", `^(all|errors|none|[^%]+%)$`, "`all`, `errors`, `none`, or a share such as `1%`"},
	reflect.TypeFor[selvage.LimitKey]():  {"limit key", `^(client|route|header:.+)$`, "`client`, `route`, or `header:` and the name of a field"},
}

// words is how a type is called.
func words(t reflect.Type) string {
	if s, ok := scalars[t]; ok {
		return s.words
	}
	if v, ok := reflect.TypeAssert[interface{ Values() []string }](reflect.Zero(t)); ok {
		return oneOf(v.Values())
	}
	switch t.Kind() {
	case reflect.Pointer:
		return words(t.Elem())
	case reflect.Slice:
		if keyed(t.Elem()) {
			return "list"
		}
		return "list of " + words(t.Elem())
	case reflect.Map:
		if keyed(t.Elem()) {
			return "by name"
		}
		return words(t.Elem()) + " by name"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "number"
	case reflect.String:
		return "text"
	}
	return "keys"
}

func oneOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func fieldsJSON(m *model) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(struct {
		Comment string         `json:"comment"`
		Fields  []config.Field `json:"fields"`
	}{"Generated by go generate ./config. Do not edit.", m.fields})
	return b.Bytes(), err
}
