package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// document is one file on its way to a configuration.
type document struct {
	name     string
	src      *source
	tree     *tree
	dec      *decoder
	expand   *expander
	problems selvage.Problems
	form     int // how many of the problems are of its form, the first ones
}

// open reads a file. What is wrong with it is found by finish.
func open(name string) *document {
	data, err := readBounded(name)
	if bytes.HasPrefix(data, wasmMagic) || err != nil && isModule(name) {
		err = errors.New("it is WebAssembly, not a service file: run it with selvage run --function, or name it under functions of a service")
	}
	if err != nil {
		doc := newDocument(name, nil)
		doc.tree, doc.problems = nil, selvage.Problems{{File: name, Message: err.Error()}}
		return doc
	}
	return newDocument(name, data)
}

// newDocument takes text as a file.
func newDocument(name string, data []byte) *document {
	doc := &document{name: name, expand: &expander{folder: filepath.Dir(name), env: os.LookupEnv}}
	if doc.src, doc.problems = newSource(name, data); len(doc.problems) == 0 {
		doc.tree, doc.problems = parse(doc.src)
	}
	doc.dec = newDecoder(doc.src, doc.expand)
	return doc
}

// outside are the values of the document that come from outside the file.
func (doc *document) outside() map[string]reference { return doc.dec.outside }

// values are those of the document that come from outside the file, as they are written.
func (doc *document) values() map[string]string {
	out := make(map[string]string, len(doc.dec.outside))
	for path, ref := range doc.dec.outside {
		out[path] = ref.written
	}
	return out
}

// service decodes and checks a service.
func (doc *document) service(s *selvage.Service) {
	if doc.decode(reflect.ValueOf(s).Elem(), nodeKeys) {
		doc.found(s.Validate())
		doc.found(doc.serviceFiles(s))
	}
}

// node decodes and checks a node.
func (doc *document) node(n *selvage.Node) {
	if doc.decode(reflect.ValueOf(n).Elem(), serviceKeys) {
		doc.found(n.Validate())
		doc.found(doc.nodeFiles(n))
	}
}

// What only the other kind of file has.
var (
	serviceKeys = []string{"service", "hosts", "routes"}
	nodeKeys    = []string{"listen", "admin", "pop", "data"}
)

// decode fills v. It says whether there is something to check further: after
// an unknown key at the top nobody knows what was meant.
func (doc *document) decode(v reflect.Value, foreign []string) bool {
	if doc.tree == nil {
		return false
	}
	if doc.tree.form != object {
		p := selvage.Problem{Message: fmt.Sprintf("%s are expected here, not %s", object, doc.tree.form)}
		doc.problems = append(doc.problems, doc.src.place(p, doc.tree.at))
		doc.form = len(doc.problems)
		return false
	}
	doc.dec.object(doc.tree, v, spot{})
	doc.problems = append(doc.problems, doc.dec.problems...)
	doc.form = len(doc.problems)
	known := true
	for i := range doc.problems {
		p := &doc.problems[i]
		if !strings.HasPrefix(p.Message, "unknown key") {
			continue
		}
		known = false
		if slices.Contains(foreign, p.Path) {
			p.Hint = "this is read as a service file; a node file is given with -c"
			if foreign[0] == serviceKeys[0] {
				p.Hint = "this is read as a node file; a service file is given without -c"
			}
		}
	}
	return known
}

// found adds what the validation found, unless the form of the same place is
// wrong already: then it would only be a consequence.
func (doc *document) found(problems selvage.Problems) {
	for _, p := range problems {
		consequence := doc.src == nil || slices.ContainsFunc(doc.problems[:doc.form], func(q selvage.Problem) bool {
			return within(p.Path, q.Path) || within(q.Path, p.Path)
		})
		if !consequence && !doc.isPlaceholder(p.Path) {
			doc.problems = append(doc.problems, doc.dec.locate(p))
		}
	}
}

// isPlaceholder says that nobody knows yet what is at a path: a secret is known
// on the nodes only, and checked there.
func (doc *document) isPlaceholder(path string) bool {
	_, outside := doc.dec.outside[path]
	return outside && doc.expand.deployed && doc.expand.secret == nil
}

// secrets reports those that stand where their values would be seen: in logs,
// metrics, status, and what is said of a change.
func (doc *document) secrets() {
	var problems selvage.Problems
	for path := range doc.dec.outside {
		if !secretPlace.MatchString(path) {
			problems = append(problems, selvage.Problem{
				Path: path, Message: path + ": a secret cannot stand here, where its value would be seen",
				Hint: "write the value; secrets stand in headers, in basic_auth.users, in tls.key, and in secrets and env of functions",
			})
		}
	}
	slices.SortFunc(problems, func(a, b selvage.Problem) int { return cmp.Compare(a.Path, b.Path) })
	for _, p := range problems {
		doc.problems = append(doc.problems, doc.dec.locate(p))
	}
}

// secretPlace is where values are that nobody is shown.
var secretPlace = regexp.MustCompile(`^(routes\[\d+\]\.(headers\.(request|response)\.(set|add)|access\.basic_auth\.users)\.|functions\.[^.]+\.(secrets|env)\.|origins\.[^.]+\.tls\.key$|certificate\.key$)`)

// keys reports private keys that are not secrets: what is shipped with a
// revision, everybody reads who may look at revisions.
func (doc *document) keys(s *selvage.Service) {
	keys := map[string]string{"certificate.key": s.TLS.Key}
	for name, o := range s.Origins {
		keys["origins."+string(name)+".tls.key"] = o.TLS.Key
	}
	for _, path := range slices.Sorted(maps.Keys(keys)) {
		if _, outside := doc.dec.outside[path]; keys[path] == "" || outside {
			continue
		}
		doc.problems = append(doc.problems, doc.dec.locate(selvage.Problem{
			Path: path, Message: path + ": a private key is not shipped with a service that is deployed",
			Hint: "write ${secret:NAME}, and the key's file under secrets in the node file",
		}))
	}
}

// within says that a path is the other one, or a part of what it names.
func within(path, whole string) bool {
	rest, ok := strings.CutPrefix(path, whole)
	return ok && (rest == "" || whole == "" || rest[0] == '.' || rest[0] == '[')
}

// finish is every mistake of the document in the order of the places, without
// the values that come from outside.
func (doc *document) finish() selvage.Problems {
	for i := range doc.problems {
		doc.dec.redact(&doc.problems[i])
	}
	slices.SortStableFunc(doc.problems, func(a, b selvage.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
	missing := doc.dec.missing
	if n := len(doc.problems); n > maxProblems {
		missing += n - maxProblems
		doc.problems = doc.problems[:maxProblems]
	}
	if missing > 0 {
		more := selvage.Problem{File: doc.name, Message: fmt.Sprintf("%d more mistakes are not shown", missing)}
		doc.problems = append(doc.problems, more)
	}
	return doc.problems
}

// redact writes ${…} instead of what it stands for. Hints that are made of
// such a value are dropped.
func (d *decoder) redact(p *selvage.Problem) {
	own, isOwn := d.outside[p.Path]
	if isOwn && strings.HasPrefix(p.Hint, "did you mean") {
		p.Hint = ""
	}
	if isOwn && own.value != "" {
		p.Message = strings.ReplaceAll(p.Message, own.value, own.written)
	}
	for _, ref := range d.outside {
		if ref.value == "" {
			continue
		}
		quoted := strconv.Quote(ref.value)
		inner := quoted[1 : len(quoted)-1]
		for _, s := range []*string{&p.Message, &p.Hint} {
			*s = strings.ReplaceAll(*s, quoted, strconv.Quote(ref.written))
			if len(ref.value) >= 4 {
				*s = strings.ReplaceAll(*s, inner, ref.written)
				*s = strings.ReplaceAll(*s, ref.value, ref.written)
			}
		}
	}
}
