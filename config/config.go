// Package config reads the files that people write and makes the
// configuration of a process of them: syntax, positions, defaults, hints, the
// JSON Schema, and the reference.
//
// Look at [Load] first; [ParseService] and [ParseNode] do the same with text.
// What is wrong comes back as [selvage.Problems], all of it at once, each with
// its place, the line and, where there is one, what was probably meant.
//
// It promises that a file is accepted whole or not at all, that every accepted
// configuration can be shown and read again unchanged, that what ${env:NAME}
// and ${file:PATH} put in is never shown, and that no file, however broken or
// hostile, makes it panic or take more than a small multiple of the file's size.
// It refuses of YAML what files of people do not need: anchors, aliases, tags,
// merge keys, several documents. It is the only package that knows YAML.
package config

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/selvage-edge/selvage"
)

// Loaded is a configuration and the files it came from.
type Loaded struct {
	selvage.Config
	// NodeFile is the node file, empty without one.
	NodeFile string
	// ServiceFiles are the files of the services, one for each of them.
	ServiceFiles []string
	// Read are the absolute paths of all files whose content matters, also those that the files name.
	Read []string

	node     map[string]reference
	services []map[string]reference
}

// Load reads a node file and service files, and checks them alone and
// together. Without a node file every setting of the node has its default. The
// error is of type [selvage.Problems] and has the mistakes of all files.
func Load(nodeFile string, serviceFiles []string) (*Loaded, error) {
	l := &Loaded{NodeFile: nodeFile, ServiceFiles: serviceFiles}
	var docs []*document
	if nodeFile == "" {
		l.Node = DefaultNode()
	} else {
		doc := open(nodeFile)
		doc.node(&l.Node)
		l.node = doc.outside()
		docs = append(docs, doc)
	}
	l.Services = make([]selvage.Service, len(serviceFiles))
	services := make([]*document, len(serviceFiles))
	for i, file := range serviceFiles {
		services[i] = open(file)
		services[i].service(&l.Services[i])
		l.services = append(l.services, services[i].outside())
		if l.Outside == nil {
			l.Outside = make(map[selvage.ServiceName]selvage.Outside, len(serviceFiles))
		}
		l.Outside[l.Services[i].Service] = selvage.Outside{Folder: resolve("", services[i].expand.folder), Values: services[i].values()}
	}
	for _, p := range l.Conflicts() {
		number, path, _ := strings.Cut(strings.TrimPrefix(p.Path, "services["), "].")
		if i, err := strconv.Atoi(number); err == nil {
			p.Path = path
			services[i].found(selvage.Problems{p})
		}
	}
	var problems selvage.Problems
	for _, doc := range append(docs, services...) {
		problems = append(problems, doc.finish()...)
		l.Read = append(l.Read, resolve("", doc.name))
		l.Read = append(l.Read, doc.expand.read...)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return l, nil
}

// LoadServices reads service files; see [Load].
func LoadServices(files []string) ([]selvage.Service, error) {
	l, err := Load("", files)
	if err != nil {
		return nil, err
	}
	return l.Services, nil
}

// LoadNode reads a node file; see [Load].
func LoadNode(file string) (selvage.Node, error) {
	l, err := Load(file, nil)
	if err != nil {
		return selvage.Node{}, err
	}
	return l.Node, nil
}

// ParseService makes a service of text as if it stood in a file of this name,
// in whose folder relative files are looked for.
func ParseService(file string, data []byte) (selvage.Service, error) {
	s, _, err := ParseOutside(file, data)
	return s, err
}

// ParseOutside is [ParseService], and says what came from outside the text.
func ParseOutside(file string, data []byte) (selvage.Service, selvage.Outside, error) {
	var s selvage.Service
	doc := newDocument(file, data)
	doc.service(&s)
	if problems := doc.finish(); len(problems) > 0 {
		return selvage.Service{}, selvage.Outside{}, problems
	}
	return s, selvage.Outside{Folder: resolve("", doc.expand.folder), Values: doc.values()}, nil
}

// ParseNode makes a node of text as if it stood in a file of this name.
func ParseNode(file string, data []byte) (selvage.Node, error) {
	var n selvage.Node
	doc := newDocument(file, data)
	doc.node(&n)
	if problems := doc.finish(); len(problems) > 0 {
		return selvage.Node{}, problems
	}
	return n, nil
}

// DefaultNode is a node with every default.
func DefaultNode() selvage.Node {
	var n selvage.Node
	newDecoder(nil, nil).presets(reflect.ValueOf(&n).Elem())
	return n
}

// Quick is the service of `selvage run --origin URL`: every host, every path,
// what the origin lets be stored is, and it is used when the origin fails. Of
// a URL without a scheme it is said what was probably meant.
func Quick(originURL string) (selvage.Service, error) {
	quoted := strconv.QuoteToASCII(originURL)
	s, err := ParseService("--origin", fmt.Appendf(nil, `service: quick
hosts: ["*"]
origins: {web: {endpoints: [%s]}}
routes: [{match: {path: /*}, origin: web, cache: {}, on_failure: [stale]}]
`, escape(quoted)))
	if problems, ok := errors.AsType[selvage.Problems](err); ok {
		for i := range problems { // the text is ours, nobody wants to see it
			problems[i] = selvage.Problem{File: "--origin", Message: strings.TrimPrefix(problems[i].Message, `origin "web": `), Hint: problems[i].Hint}
		}
		return selvage.Service{}, problems
	}
	return s, err
}

// FindService is the service file that is used when none is named:
// ./selvage.yaml, or one of this name in $XDG_CONFIG_HOME/selvage or
// /etc/selvage. It is empty if there is none.
func FindService() string {
	return find(append([]string{"selvage.yaml"}, configFolders("selvage.yaml")...))
}

// FindNode is the node file that is used when none is named: node.yaml in
// $XDG_CONFIG_HOME/selvage or /etc/selvage. It is empty if there is none.
func FindNode() string { return find(configFolders("node.yaml")) }

func configFolders(name string) []string {
	var out []string
	folder := os.Getenv("XDG_CONFIG_HOME")
	if home, err := os.UserHomeDir(); folder == "" && err == nil {
		folder = filepath.Join(home, ".config")
	}
	if filepath.IsAbs(folder) {
		out = append(out, filepath.Join(folder, "selvage", name))
	}
	return append(out, filepath.Join("/etc/selvage", name))
}

func find(paths []string) string {
	i := slices.IndexFunc(paths, func(p string) bool {
		info, err := os.Stat(p)
		return err == nil && !info.IsDir()
	})
	if i < 0 {
		return ""
	}
	return paths[i]
}
