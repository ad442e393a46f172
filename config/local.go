package config

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// localForm is the manifest of a service that a node read from its own file: it
// names files of that machine, and ${env:NAME} and ${file:PATH} stand in it as they
// are written. No other machine can run it, and ReadManifest takes none.
type localForm struct {
	Format  int                `json:"format"`
	Local   selvage.RevisionID `json:"local"` // by [Revision], so that other values and other contents of files are another one
	Folder  string             `json:"folder,omitempty"`
	Service json.RawMessage    `json:"service"`
}

// localFormat is the one in which values from elsewhere are not.
const localFormat = 2

// Written is a service as it is shown: ${…} stands where a value comes from elsewhere.
type Written struct {
	Service selvage.Service   // with placeholders for such values
	Values  map[string]string // what is written instead of them, by path
}

// PackLocal is the manifest of a service of this machine's own files. What came
// from elsewhere is not in it. It is not for other machines.
func PackLocal(s selvage.Service, o selvage.Outside) ([]byte, error) {
	e := newEmitter(o.Values)
	e.escape = true
	var service bytes.Buffer
	writeJSON(&service, e.tree(reflect.ValueOf(s), "", nil))
	form := localForm{Format: localFormat, Local: Revision(s), Service: service.Bytes()}
	if len(o.Values) > 0 {
		form.Folder = o.Folder
	}
	data, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("write manifest of service %s: %w", s.Service, err)
	}
	return data, nil
}

// LocalRevision is the name that the revision of a file has on this machine: the
// beginning of its manifest's digest, as of one that is deployed.
func LocalRevision(s selvage.Service, o selvage.Outside) (selvage.RevisionID, error) {
	data, err := PackLocal(s, o)
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(data)
	return selvage.RevisionID(hex.EncodeToString(sum[:8])), nil
}

// newEmitter makes one that writes these texts at their paths.
func newEmitter(values map[string]string) emitter {
	e := emitter{outside: make(map[string]reference, len(values))}
	for path, written := range values {
		e.outside[path] = reference{written: written}
	}
	return e
}

// IsLocal says whether a manifest is one of PackLocal.
func IsLocal(manifest []byte) bool {
	var form localForm
	return json.Unmarshal(manifest, &form) == nil && form.Local != ""
}

// ReadLocal reads a manifest of PackLocal without what ${…} stands for, and says
// which revision of [Revision] it is.
func ReadLocal(manifest []byte) (Written, selvage.RevisionID, error) {
	form, doc, err := readLocal(manifest, &expander{written: true})
	if err != nil {
		return Written{}, "", err
	}
	w := Written{}
	known := doc.decode(reflect.ValueOf(&w.Service).Elem(), nil)
	w.Values = doc.values()
	if !known || slices.ContainsFunc(doc.problems, func(p selvage.Problem) bool { return w.Values[p.Path] == "" }) {
		return Written{}, "", invalid(doc.finish())
	}
	return w, form.Local, nil
}

// Shipped is the service with the names that its files would have in a manifest, by what is in them
// now, so that it can be compared with one that is deployed. What is not there any more has
// the last part of its name: nobody is told where this machine keeps its files.
func (w Written) Shipped() Written {
	p := newPacker(nil)
	_ = eachFile(&w.Service, func(r *fileReference) error { // never fails
		take := p.file
		if r.folder {
			take = p.folder
		}
		name, err := take(*r.name)
		if err != nil {
			name = filepath.Base(*r.name)
		}
		*r.name = name
		return nil
	})
	return w
}

// Shown is a manifest as it is shown to people: one of PackLocal without the places of this machine.
func Shown(manifest []byte) ([]byte, error) {
	if !IsLocal(manifest) {
		return manifest, nil
	}
	w, id, err := ReadLocal(manifest)
	if err != nil {
		return nil, err
	}
	e := newEmitter(w.Values)
	e.escape = true
	var service bytes.Buffer
	writeJSON(&service, e.tree(reflect.ValueOf(w.Shipped().Service), "", nil))
	data, err := json.Marshal(localForm{Format: localFormat, Local: id, Service: service.Bytes()})
	if err != nil {
		return nil, fmt.Errorf("show manifest of service %s: %w", w.Service.Service, err)
	}
	return data, nil
}

// UnpackLocal makes the service of a manifest of PackLocal, with the files and
// the environment of this machine. Where they are not what they were then, it is
// another service, and an Invalid error.
func UnpackLocal(manifest []byte) (selvage.Service, error) {
	x := &expander{env: os.LookupEnv}
	form, doc, err := readLocal(manifest, x)
	if err != nil {
		return selvage.Service{}, err
	}
	x.folder = form.Folder
	var s selvage.Service
	doc.service(&s)
	if problems := doc.finish(); len(problems) > 0 {
		return selvage.Service{}, invalid(problems)
	}
	if Revision(s) != form.Local {
		return selvage.Service{}, invalid(fmt.Errorf("service %s: what its file names on this machine is not what it was: put it back and read the file again", s.Service))
	}
	return s, nil
}

func readLocal(manifest []byte, x *expander) (*localForm, *document, error) {
	form := new(localForm)
	if err := json.Unmarshal(manifest, form); err != nil {
		return nil, nil, invalid(err)
	}
	if form.Format != localFormat {
		return nil, nil, invalid(fmt.Errorf("format %d of a file of the machine: this version knows format %d", form.Format, localFormat))
	}
	t, err := jsonTree(form.Service)
	if err != nil {
		return nil, nil, invalid(fmt.Errorf("service: %w", err))
	}
	src := &source{name: "manifest"}
	return form, &document{name: "manifest", src: src, tree: t, dec: newDecoder(src, x), expand: x}, nil
}

// Difference is one thing that is different between two services.
type Difference struct {
	Part, Sign, Words, Path, Old, New string
}

// Differences says what is different, by the parts of the service and not by
// lines of text: routes are compared by their names, wherever they stand. Values
// that come from elsewhere are not in it, but how they are written.
func Differences(old, next Written) []Difference {
	c := comparison{old: newEmitter(old.Values), next: newEmitter(next.Values)}
	c.values("service", "", shallow(old.Service, &c.old), shallow(next.Service, &c.next))
	names := map[selvage.OriginName]bool{}
	for _, s := range []selvage.Service{old.Service, next.Service} {
		for name := range s.Origins {
			names[name] = true
		}
	}
	for _, name := range sorted(names) {
		path := "origins." + string(name)
		a, had := old.Service.Origins[name]
		b, has := next.Service.Origins[name]
		c.thing(pair{"origin " + string(name), path, path, had, has}, reflect.ValueOf(a), reflect.ValueOf(b))
	}
	functions := map[selvage.FunctionName]bool{}
	for _, s := range []selvage.Service{old.Service, next.Service} {
		for name := range s.Functions {
			functions[name] = true
		}
	}
	for _, name := range sorted(functions) {
		path := "functions." + string(name)
		a, had := old.Service.Functions[name]
		b, has := next.Service.Functions[name]
		p := pair{"function " + string(name), path, path, had, has}
		c.thing(p, reflect.ValueOf(canonicalFunction(a)), reflect.ValueOf(canonicalFunction(b)))
	}
	c.routes(old.Service.Routes, next.Service.Routes)
	return c.found
}

// KindOf says which kind of change is between two services: where all that is
// different has a unit of its own to be tried on, it is of that kind.
func KindOf(old, next Written) selvage.ChangeKind {
	kind := selvage.ChangeKind("")
	for _, d := range Differences(old, next) {
		of := selvage.RevisionChange
		switch {
		case weightPlace.MatchString(d.Path):
			of = selvage.WeightChange
		case within(d.Path, "certificate"):
			of = selvage.CertificateChange
		}
		if kind != "" && kind != of {
			return selvage.RevisionChange
		}
		kind = of
	}
	return cmp.Or(kind, selvage.RevisionChange)
}

// weightPlace is where endpoints' weights are.
var weightPlace = regexp.MustCompile(`^origins\.[^.]+\.weights(\.|$)`)

func sorted[K ~string](m map[K]bool) []K { return slices.Sorted(maps.Keys(m)) }

// shallow is a service without its origins, functions and routes.
func shallow(s selvage.Service, e *emitter) *tree {
	s.Origins, s.Functions, s.Routes = nil, nil, nil
	return e.tree(reflect.ValueOf(s), "", nil)
}

// comparison gathers differences.
type comparison struct {
	old, next emitter
	found     []Difference
}

type pair struct {
	part, was, path string // was: its path in the old one
	had, has        bool
}

// thing compares what may be on one side only.
func (c *comparison) thing(p pair, a, b reflect.Value) {
	switch {
	case p.had && !p.has:
		c.found = append(c.found, Difference{Part: p.part, Sign: "removed", Words: "is removed", Path: p.path})
	case !p.had:
		c.found = append(c.found, Difference{Part: p.part, Sign: "added", Words: "is new", Path: p.path})
	default:
		c.values(p.part, p.path, c.old.tree(a, p.was, nil), c.next.tree(b, p.path, nil))
	}
}

// routes compares routes by their labels. Those on both sides that stand in
// another order are moved: the first that matches wins.
func (c *comparison) routes(old, next []selvage.Route) {
	at := map[selvage.RouteName]int{}
	for i, r := range old {
		at[r.Label()] = i
	}
	last := -1
	for i, r := range next {
		label := r.Label()
		before, known := at[label]
		p := pair{"route " + string(label), fmt.Sprintf("routes[%d]", before), fmt.Sprintf("routes[%d]", i), known, true}
		if !known {
			c.thing(p, reflect.Value{}, reflect.ValueOf(r))
			continue
		}
		if before < last {
			c.found = append(c.found, Difference{Part: p.part, Sign: "moved", Words: "is looked at later than before", Path: p.path})
		}
		last = max(last, before)
		delete(at, label)
		c.thing(p, reflect.ValueOf(old[before]), reflect.ValueOf(r))
	}
	for i, r := range old {
		if _, gone := at[r.Label()]; gone {
			path := fmt.Sprintf("routes[%d]", i)
			c.thing(pair{"route " + string(r.Label()), path, path, true, false}, reflect.ValueOf(r), reflect.Value{})
		}
	}
}

// values compares the leaves of two trees.
func (c *comparison) values(part, path string, a, b *tree) {
	if a != nil && b != nil && a.form == object && b.form == object {
		for _, e := range a.entries {
			c.values(part, below(path, e.key), e.value, b.get(e.key))
		}
		for _, e := range b.entries {
			if a.get(e.key) == nil {
				c.values(part, below(path, e.key), nil, e.value)
			}
		}
		return
	}
	was, is := written(a), written(b)
	if was == is {
		return
	}
	key := path
	if base := basePath(part, path); base != "" {
		key = base
	}
	d := Difference{Part: part, Sign: "changed", Path: path, Old: was, New: is}
	switch {
	case path == "certificate" && b == nil:
		d.Words = "the node file's certificate is shown"
	case path == "certificate", path == "certificate.chain" && is != "":
		d.Words = "another certificate is shown"
	case strings.HasPrefix(is, treePrefix), strings.HasPrefix(is, blobPrefix):
		d.Words = key + ": other files are shipped"
	case a == nil:
		d.Words = fmt.Sprintf("%s is set to %s", key, is)
	case b == nil:
		d.Words = fmt.Sprintf("%s is not set any more, it was %s", key, was)
	default:
		d.Words = fmt.Sprintf("%s %s -> %s", key, was, is)
	}
	c.found = append(c.found, d)
}

func below(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

// basePath is the path without the part that it begins with.
func basePath(part, path string) string {
	for i, dots := 0, 0; i < len(path); i++ {
		if path[i] != '.' {
			continue
		}
		if dots++; part != "service" && (path[:6] == "routes" || dots == 2) {
			return path[i+1:]
		}
	}
	return path
}

// written is a value on one line.
func written(t *tree) string {
	if t == nil {
		return ""
	}
	var b bytes.Buffer
	writeJSON(&b, t)
	if s := b.String(); t.form == text || t.form == word {
		return s[1 : len(s)-1]
	}
	return b.String()
}
