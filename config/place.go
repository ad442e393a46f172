package config

import (
	"reflect"

	"github.com/selvage-edge/selvage"
)

// Place gives mistakes their lines in a service file, by their paths: those that
// were found in what the file names, such as a function's module. Without the
// file they stay as they are.
func Place(file string, problems selvage.Problems) selvage.Problems {
	if len(problems) == 0 {
		return nil
	}
	doc := open(file)
	var s selvage.Service
	if doc.tree == nil || !doc.decode(reflect.ValueOf(&s).Elem(), nodeKeys) {
		return problems
	}
	doc.problems, doc.form = nil, 0 // its own mistakes are those of who read it
	doc.found(problems)
	return doc.finish()
}
