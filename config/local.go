package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
)

// localForm is the manifest of a service that a node read from its own file: it
// names files of that machine and holds what the environment put in. No other
// machine can run it, and ReadManifest takes none.
type localForm struct {
	Format  int                `json:"format"`
	Local   selvage.RevisionID `json:"local"` // by [Revision], so that other contents of files are another one
	Service json.RawMessage    `json:"service"`
}

// PackLocal is the manifest of a service of this machine's own files. It is not
// for other machines and not to be shown: it has what ${env:NAME} stood for.
func PackLocal(s selvage.Service) ([]byte, error) {
	e := emitter{escape: true}
	var service bytes.Buffer
	writeJSON(&service, e.tree(reflect.ValueOf(s), "", nil))
	data, err := json.Marshal(localForm{manifestFormat, Revision(s), service.Bytes()})
	if err != nil {
		return nil, fmt.Errorf("write manifest of service %s: %w", s.Service, err)
	}
	return data, nil
}

// IsLocal says whether a manifest is one of PackLocal.
func IsLocal(manifest []byte) bool {
	var form localForm
	return json.Unmarshal(manifest, &form) == nil && form.Local != ""
}

// UnpackLocal makes the service of a manifest of PackLocal, with the files of
// this machine as they are now.
func UnpackLocal(manifest []byte) (selvage.Service, error) {
	var form localForm
	if err := json.Unmarshal(manifest, &form); err != nil {
		return selvage.Service{}, invalid(err)
	}
	t, err := jsonTree(form.Service)
	if err != nil {
		return selvage.Service{}, invalid(fmt.Errorf("service: %w", err))
	}
	src := &source{name: "manifest"}
	x := &expander{} // only $${ is in it
	doc := &document{name: "manifest", src: src, tree: t, dec: newDecoder(src, x), expand: x}
	var s selvage.Service
	doc.service(&s)
	if problems := doc.finish(); len(problems) > 0 {
		return selvage.Service{}, invalid(problems)
	}
	return s, nil
}

// Difference is one thing that is different between two services.
type Difference struct {
	Part, Sign, Words, Path, Old, New string
}

// Differences says what is different, by the parts of the service and not by
// lines of text: routes are compared by their names, wherever they stand.
func Differences(old, next selvage.Service) []Difference {
	var c comparison
	c.values("service", "", shallow(old), shallow(next))
	names := map[selvage.OriginName]bool{}
	for _, s := range []selvage.Service{old, next} {
		for name := range s.Origins {
			names[name] = true
		}
	}
	for _, name := range sorted(names) {
		part, path := "origin "+string(name), "origins."+string(name)
		a, had := old.Origins[name]
		b, has := next.Origins[name]
		c.thing(pair{part, path, had, has}, reflect.ValueOf(a), reflect.ValueOf(b))
	}
	c.routes(old.Routes, next.Routes)
	return c.found
}

func sorted[K ~string](m map[K]bool) []K {
	var out []K
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// shallow is a service without its origins and routes.
func shallow(s selvage.Service) *tree {
	s.Origins, s.Routes = nil, nil
	e := emitter{}
	return e.tree(reflect.ValueOf(s), "", nil)
}

// comparison gathers differences.
type comparison struct{ found []Difference }

type pair struct {
	part, path string
	had, has   bool
}

// thing compares what may be on one side only.
func (c *comparison) thing(p pair, a, b reflect.Value) {
	e := emitter{}
	switch {
	case p.had && !p.has:
		c.found = append(c.found, Difference{Part: p.part, Sign: "removed", Words: "is removed", Path: p.path})
	case !p.had:
		c.found = append(c.found, Difference{Part: p.part, Sign: "added", Words: "is new", Path: p.path})
	default:
		c.values(p.part, p.path, e.tree(a, "", nil), e.tree(b, "", nil))
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
		p := pair{"route " + string(label), fmt.Sprintf("routes[%d]", i), false, true}
		before, known := at[label]
		if p.had = known; !known {
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
			c.thing(pair{"route " + string(r.Label()), fmt.Sprintf("routes[%d]", i), true, false}, reflect.ValueOf(r), reflect.Value{})
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
