package selvage_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/selvage-edge/selvage"

// imports says what a package may import: packages of ours by their folder,
// "." being the root, and modules of others. The standard library is free.
// A package that is not here fails the test: give it a line.
type imports struct {
	ours   []string
	others []string
}

const (
	everything = "*" // of ours
	unix       = "golang.org/x/sys/unix"
	wazero     = "github.com/tetratelabs/wazero"
	websocket  = "github.com/coder/websocket"
)

var house = map[string]imports{
	".":      {},
	"record": {ours: []string{"."}},

	// The stages, in the order in which a request meets them. They never import each other.
	"listen":    {ours: []string{".", "record", "http1"}, others: []string{unix}},
	"http1":     {ours: []string{".", "record"}, others: []string{unix}},
	"route":     {ours: []string{".", "record"}},
	"policy":    {ours: []string{".", "record"}, others: []string{"golang.org/x/crypto/bcrypt", "github.com/dunglas/httpsfv"}},
	"cache":     {ours: []string{".", "record"}, others: []string{"github.com/dunglas/httpsfv"}},
	"transform": {ours: []string{"."}, others: []string{"github.com/klauspost/compress", "github.com/andybalholm/brotli"}},
	"fallback":  {ours: []string{".", "record"}},
	"origin":    {ours: []string{".", "record", "http1", "spool"}}, // spool is what makes its retries possible
	"spool":     {ours: []string{".", "record"}},

	"config":     {ours: []string{"."}, others: []string{"github.com/goccy/go-yaml"}},
	"config/gen": {ours: []string{".", "config"}},
	"telemetry":  {ours: []string{".", "record"}, others: []string{"github.com/prometheus/client_golang", "github.com/prometheus/client_model"}},
	"control":    {ours: []string{".", "record", "client", "state"}, others: []string{"github.com/danielgtaylor/huma/v2", unix}}, // client has the types of the wire
	"client":     {},

	// Functions. The Wasm engine is behind this wall.
	"compute": {ours: []string{".", "compute/wasm"}, others: []string{wazero, unix}},

	"compute/wasm":                {},
	"compute/abi/fastly":          {ours: []string{"compute"}, others: []string{wazero}},
	"compute/abi/httpwasm":        {ours: []string{".", "compute"}, others: []string{wazero}},
	"compute/abi/wasi":            {ours: []string{"compute", "compute/wasm"}, others: []string{wazero}},
	"compute/abi/fastly/kvstate":  {ours: []string{".", "compute/abi/fastly", "state"}},
	"compute/abi/fastly/geo":      {ours: []string{"compute/abi/fastly"}, others: []string{"github.com/oschwald/maxminddb-golang"}},
	"compute/abi/fastly/manifest": {ours: []string{"compute/abi/fastly"}, others: []string{"github.com/pelletier/go-toml/v2"}},
	"compute/wasm/asm":            {ours: []string{"compute/wasm"}}, // for tests

	// What it remembers. NATS is behind this wall.
	"state":         {ours: []string{".", "state/conform"}, others: []string{"github.com/nats-io", unix}}, // its tests run the suite
	"state/conform": {ours: []string{".", "state"}},

	// What changes it, and judges.
	"judge":          {ours: []string{"."}}, // pure: no I/O, no clock
	"bench/judge":    {ours: []string{".", "judge"}},
	"bench/recovery": {ours: []string{everything}},
	"bench/compute":  {ours: []string{"compute/wasm/asm"}},
	"bench/store":    {ours: []string{".", "cache", "record", "node", "config", "http1"}},
	"rollout":        {ours: []string{".", "judge", "state", "client"}}, // client has the shapes that its log and answers are made of

	// These put it together.
	"node":                       {ours: []string{everything}},
	"edgetest":                   {ours: []string{everything}},
	"cmd/selvage":                {ours: []string{everything}, others: []string{"github.com/spf13/cobra", "github.com/spf13/pflag", "github.com/coreos/go-systemd/v22", unix, "golang.org/x/term"}},
	"examples/shop":              {ours: []string{everything}, others: []string{websocket}},
	"examples/shop/cmd/shop":     {ours: []string{everything}},
	"guest":                      {}, // it runs inside
	"examples/bad-trap/cart":     {ours: []string{"guest"}},
	"examples/functions":         {}, // their test
	"examples/functions/abtest":  {ours: []string{"guest"}},
	"examples/functions/fanout":  {ours: []string{"guest"}},
	"examples/functions/headers": {ours: []string{"guest"}},
	"examples/functions/handler": {},
	"examples/functions/plain":   {},
	"examples/functions/hello":   {ours: []string{"guest"}},
	"examples/functions/redact":  {ours: []string{"guest"}},
	"examples/functions/render":  {ours: []string{"guest"}},
	"examples/functions/signup":  {ours: []string{"guest"}},
	"bench":                      {ours: []string{everything}, others: []string{unix}},
}

// forTests may be imported by the tests of every package, beside edgetest.
var forTests = []string{
	"github.com/google/go-cmp", "github.com/santhosh-tekuri/jsonschema/v6", "github.com/rogpeppe/go-internal",
	"go.uber.org/goleak", "pgregory.net/rapid", "golang.org/x/net", "google.golang.org/grpc", websocket,
}

// source is one Go file of the module.
type source struct {
	name   string // from the module's root, with slashes
	folder string
	file   *ast.File
	fset   *token.FileSet
	test   bool
}

// lines is how many lines a node takes.
func (s source) lines(n ast.Node) int {
	return s.fset.Position(n.End()).Line - s.fset.Position(n.Pos()).Line + 1
}

// sources reads every Go file of the module in the test's own process: a test
// that asks the go command passes falsely from the test cache.
func sources(t *testing.T) []source {
	t.Helper()
	var out []source
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			base := entry.Name()
			if name != "." && (base[0] == '.' || base[0] == '_' || base == "testdata" || base == "node_modules" || hasModule(name)) {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		name = filepath.ToSlash(name)
		out = append(out, source{name, path.Dir(name), file, fset, strings.HasSuffix(name, "_test.go")})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 20 {
		t.Fatalf("only %d Go files were found", len(out))
	}
	return out
}

// hasModule says that a folder is a module of its own.
func hasModule(folder string) bool {
	_, err := os.Stat(filepath.Join(folder, "go.mod"))
	return err == nil
}

func TestPackagesImportOnlyWhatTheyMay(t *testing.T) {
	for _, s := range sources(t) {
		rule, ok := house[s.folder]
		if !ok {
			t.Errorf("%s: package %q has no line in the table of imports", s.name, s.folder)
			continue
		}
		for _, spec := range s.file.Imports {
			what, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if !rule.allows(s, what) {
				t.Errorf("%s: %s may not import %s", s.fset.Position(spec.Pos()), s.folder, what)
			}
		}
	}
}

func (r imports) allows(s source, what string) bool {
	first, _, _ := strings.Cut(what, "/")
	if !strings.Contains(first, ".") {
		return true // the standard library
	}
	if what == module || strings.HasPrefix(what, module+"/") {
		ours := "."
		if what != module {
			ours = strings.TrimPrefix(what, module+"/")
		}
		if slices.Contains(r.ours, everything) || slices.Contains(r.ours, ours) {
			return true
		}
		return s.test && (ours == "edgetest" || ours == "compute/wasm/asm" || ours == s.folder || s.folder == "." ||
			s.folder == "compute" && ours == "compute/abi/fastly") // its benchmarks need an interface
	}
	is := func(allowed string) bool { return what == allowed || strings.HasPrefix(what, allowed+"/") }
	return slices.ContainsFunc(r.others, is) || s.test && slices.ContainsFunc(forTests, is)
}

func TestTheTableOfImportsHasNoDeadLines(t *testing.T) {
	all := sources(t)
	for folder := range house {
		if !slices.ContainsFunc(all, func(s source) bool { return s.folder == folder }) {
			t.Errorf("package %q is in the table of imports and not in the house", folder)
		}
	}
}

func TestTheWallsHold(t *testing.T) {
	rule, s := house["cache"], source{folder: "cache"}
	for what, want := range map[string]bool{
		"net/http": true, module: true, module + "/record": true, module + "/origin": false, module + "/recorder": false,
		"github.com/dunglas/httpsfv": true, "github.com/dunglas/httpsfv2": false, "github.com/google/go-cmp/cmp": false,
	} {
		if got := rule.allows(s, what); got != want {
			t.Errorf("cache importing %s: got %v, want %v", what, got, want)
		}
	}
	s.test = true
	if !rule.allows(s, "github.com/google/go-cmp/cmp") || !rule.allows(s, module+"/edgetest") || rule.allows(s, module+"/origin") {
		t.Error("the tests of a stage may import edgetest and test libraries, and nothing more")
	}
}
