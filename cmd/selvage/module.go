package main

import (
	"encoding/hex"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/node"
)

// checkModules looks at the modules of a service's functions: what is wrong with
// them is a mistake in the file, to be placed there, and what they import in vain is a note.
func checkModules(c *node.Checks, file string, s *selvage.Service, open func(f *selvage.Function) (io.ReadCloser, error)) (notes []string, problems selvage.Problems) {
	for _, name := range slices.Sorted(maps.Keys(s.Functions)) {
		f := s.Functions[name]
		found, err := checkModule(c, &f, open)
		if err != nil {
			problems = append(problems, selvage.Problem{
				File: file, Path: "functions." + string(name) + ".module", Message: fmt.Sprintf("function %q: %v", name, err),
			})
		}
		for _, note := range found {
			notes = append(notes, fmt.Sprintf("%s: function %q: %s", file, name, note))
		}
	}
	return notes, problems
}

func checkModule(c *node.Checks, f *selvage.Function, open func(f *selvage.Function) (io.ReadCloser, error)) ([]string, error) {
	r, err := open(f)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	module, err := io.ReadAll(r)
	if err != nil {
		return nil, fmt.Errorf("read module: %w", err)
	}
	return c.Function(f, module)
}

// openModule opens a module where the file has it.
func openModule(f *selvage.Function) (io.ReadCloser, error) { return os.Open(f.Module) }

// checkBundle is checkModules with what is to be deployed.
func checkBundle(file string, b *config.Bundle) (notes []string, err error) {
	notes, problems := checkModules(new(node.Checks), file, &b.Manifest.Service, func(f *selvage.Function) (io.ReadCloser, error) {
		for _, blob := range b.Blobs {
			if strings.Contains(f.Module, hex.EncodeToString(blob.Digest[:])) { // which is its name there
				return blob.Open()
			}
		}
		return nil, fmt.Errorf("module %s is not in the bundle", f.Module)
	})
	return notes, config.Place(file, problems).Err()
}

// checkFiles is checkModules with the services of files, which have no mistake of their own.
func checkFiles(c *node.Checks, l *config.Loaded) (notes []string, problems selvage.Problems) {
	for i, file := range l.ServiceFiles {
		more, wrong := checkModules(c, file, &l.Services[i], openModule)
		notes, problems = append(notes, more...), append(problems, config.Place(file, wrong)...)
	}
	return notes, problems
}

// sayNotes prints what is no mistake, and should be known.
func sayNotes(w io.Writer, notes []string) {
	for _, note := range notes {
		fmt.Fprintf(w, "%s: %s\n", newUI(os.Stderr).watch("note"), note)
	}
}
