package selvage_test

import (
	"fmt"
	"go/ast"
	"go/token"
	"go/types"
	"strings"
	"testing"
)

// The budgets are smoke alarms: what exceeds one is probably two things.
const (
	maxFileLines     = 800
	maxFuncLines     = 100
	maxParameters    = 5
	maxStructFields  = 25
	maxInterfaceFuns = 5
)

// exceptions are what may exceed a budget, each with its reason. The key is
// the file and what is in it: node/node.go Run.
var exceptions = map[string]string{
	"compute/abi/fastly/call.go call":         "one call of a host function",
	"compute/context.go requestContext":       "it is a context itself",
	"node/cross.go crossing":                  "it is a context itself",
	"compute/abi/fastly/exchange.go exchange": "one request, which lives as long as its context",
	"edgetest/client.go client1":              "a test's client ends with the test's context",
	"edgetest/player.go player":               "a scenario ends with the test's context",
	"edgetest/script.go wire":                 "one method for each verb of a script",
	"examples/shop/page.go shared":            "the handler's two arguments, and what differs between the pages",
	"http1/conn.go conn":                      "what ServeConn was given, for as long as it runs",
	"node/guestcontext.go turnContext":        "it is a context itself",
	"listen/listen.go Group":                  "its options are its fields, as in http.Server",
	"function.go Function":                    "its fields are what a file may say of a function",
	"origin/attempt.go attempt":               "one attempt, which lives as long as its request",
	"origin/call.go call":                     "one request, which lives as long as its context",
	"origin/h2.go h2Exchange":                 "one request, which lives as long as its context",
	"origin/registry.go Registry":             "what Run was given: the loops of later pools end with it",
}

// alarm is one exceeded budget.
type alarm struct{ key, message string }

func TestBudgetsAreKept(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		if s.test || ast.IsGenerated(s.file) {
			continue
		}
		for _, a := range alarms(s) {
			if exceptions[a.key] != "" {
				used[a.key] = true
				continue
			}
			t.Errorf("%s: %s", a.key, a.message)
		}
	}
	for key := range exceptions {
		if !used[key] {
			t.Errorf("the exception %q is not needed any more", key)
		}
	}
}

// alarms are the budgets that a file exceeds.
func alarms(s source) []alarm {
	var out []alarm
	add := func(what, format string, args ...any) {
		out = append(out, alarm{strings.TrimSpace(s.name + " " + what), fmt.Sprintf(format, args...)})
	}
	if n := s.fset.Position(s.file.End()).Line; n > maxFileLines {
		add("", "%d lines, the limit is %d", n, maxFileLines)
	}
	for _, decl := range s.file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			if d.Recv == nil && d.Name.Name == "init" {
				add("init", "nothing happens by itself at the start")
			}
			if n := s.lines(d); n > maxFuncLines {
				add(d.Name.Name, "%d lines, the limit is %d", n, maxFuncLines)
			}
			if n := d.Type.Params.NumFields(); n > maxParameters && d.Body != nil { // those of a host are its own
				add(d.Name.Name, "%d parameters, the limit is %d", n, maxParameters)
			}
		case *ast.GenDecl:
			for _, spec := range d.Specs {
				if ts, ok := spec.(*ast.TypeSpec); ok {
					typeAlarms(ts, add)
				}
			}
		}
	}
	return out
}

func typeAlarms(ts *ast.TypeSpec, add func(what, format string, args ...any)) {
	switch t := ts.Type.(type) {
	case *ast.StructType:
		if n := t.Fields.NumFields(); n > maxStructFields {
			add(ts.Name.Name, "%d fields, the limit is %d", n, maxStructFields)
		}
		for _, f := range t.Fields.List {
			// An embedded one is no context in a struct: the struct is a context.
			if sel, ok := f.Type.(*ast.SelectorExpr); ok && sel.Sel.Name == "Context" && len(f.Names) > 0 {
				if pkg, ok := sel.X.(*ast.Ident); ok && pkg.Name == "context" {
					add(ts.Name.Name, "a context in a struct")
				}
			}
		}
	case *ast.InterfaceType:
		if n := t.Methods.NumFields(); n > maxInterfaceFuns {
			add(ts.Name.Name, "%d methods, the limit is %d", n, maxInterfaceFuns)
		}
	}
}

// The core cache of functions and the cache of the edge may not know of each other, and
// guess alike how long what does not say it is fresh.
func TestLifetimesAreGuessedByOneRule(t *testing.T) {
	said := map[string]string{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.CONST {
				for _, spec := range g.Specs {
					v := spec.(*ast.ValueSpec)
					for i, value := range v.Values {
						said[s.folder+" "+v.Names[i].Name] = types.ExprString(value)
					}
				}
			}
		}
	}
	for a, b := range map[string]string{
		"cache heuristicPart": "compute/abi/fastly guessedPart",
		"cache heuristicMost": "compute/abi/fastly guessedMost",
	} {
		if said[a] == "" || said[a] != said[b] {
			t.Errorf("%s is %q, %s is %q", a, said[a], b, said[b])
		}
	}
}
