// Command gen writes what is generated from the configuration structs: the
// JSON Schemas, the texts of `selvage config explain`, and doc/reference.md.
//
// Look at [generate] first; `go generate ./config` runs it. Its test fails when
// a generated file is not what the sources say.
//
// It promises the same output for the same sources. It refuses a field without
// a comment: the comments are the manual.
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(".."); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run writes the generated files of the module at root.
func run(root string) error {
	outputs, err := generate(root)
	if err != nil {
		return err
	}
	for name, data := range outputs {
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate makes every generated file of the module at root, by its path there.
func generate(root string) (map[string][]byte, error) {
	m, err := readModel(root)
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{"doc/reference.md": reference(m)}
	if out["config/schema/fields.json"], err = fieldsJSON(m); err != nil {
		return nil, err
	}
	for _, kind := range kinds {
		if out["config/schema/"+kind.name+".schema.json"], err = schema(m, kind); err != nil {
			return nil, err
		}
	}
	return out, nil
}
