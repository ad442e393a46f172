package selvage_test

import (
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode"
)

func TestEveryPackageHasOneComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test {
			continue
		}
		comments[s.folder] = append(comments[s.folder], nil...)
		if s.file.Doc != nil && strings.TrimSpace(s.file.Doc.Text()) != "" {
			comments[s.folder] = append(comments[s.folder], s.name)
			text := s.file.Doc.Text()
			if !strings.HasPrefix(text, "Package "+s.file.Name.Name) && !strings.HasPrefix(text, "Command ") {
				t.Errorf("%s: the comment of package %s begins with %.30q", s.name, s.file.Name.Name, text)
			}
		}
	}
	for folder, names := range comments {
		if len(names) != 1 {
			t.Errorf("package %q has %d comments, want 1: %v", folder, len(names), names)
		}
	}
}

// documents are the Markdown files of the module.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := entry.Name(); entry.IsDir() && name != "." && (base[0] == '.' || base == "node_modules" || base == "testdata") {
			return filepath.SkipDir
		}
		if entry.IsDir() || !strings.HasSuffix(name, ".md") {
			return nil
		}
		data, err := os.ReadFile(name)
		out[filepath.ToSlash(name)] = string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(out) == 0 {
		t.Fatal("there are no documents")
	}
	return out
}

var (
	codeBlock = regexp.MustCompile("(?ms)^ *```(\\w*)[^\n]*\n(.*?)^ *```")
	codeSpan  = regexp.MustCompile("`[^`\n]*`")
	link      = regexp.MustCompile(`\]\(([^)\s]+)[^)]*\)`)
	heading   = regexp.MustCompile(`(?m)^#+ +(.+?) *$`)
)

func TestLinksInDocumentsLeadSomewhere(t *testing.T) {
	docs := documents(t)
	for name, text := range docs {
		prose := codeSpan.ReplaceAllString(codeBlock.ReplaceAllString(text, ""), "")
		for _, m := range link.FindAllStringSubmatch(prose, -1) {
			target, fragment, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			at := name
			if target != "" {
				at = filepath.ToSlash(filepath.Join(filepath.Dir(name), target))
			}
			if _, err := os.Stat(at); err != nil {
				t.Errorf("%s: the link %q leads nowhere", name, m[1])
				continue
			}
			if other, ok := docs[at]; ok && fragment != "" && !slices.Contains(anchors(other), fragment) {
				t.Errorf("%s: %s has no heading for %q", name, at, m[1])
			}
		}
	}
}

// anchors are the fragments of a document's headings, as they are made on GitHub.
func anchors(text string) []string {
	var out []string
	for _, m := range heading.FindAllStringSubmatch(codeBlock.ReplaceAllString(text, ""), -1) {
		out = append(out, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r) || unicode.IsDigit(r) || r == '-' || r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, m[1]))
	}
	return out
}

// TestCommandsOfTheReadmeExist compares the first words behind `selvage` and
// `make` in the README's shell blocks with the sources of the command line and the Makefile.
func TestCommandsOfTheReadmeExist(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	makefile, err := os.ReadFile("Makefile")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string][]string{"selvage": append(commands(t), "help", "completion")}
	for _, m := range regexp.MustCompile(`(?m)^([a-z0-9-]+):`).FindAllStringSubmatch(string(makefile), -1) {
		known["make"] = append(known["make"], m[1])
	}
	for _, block := range codeBlock.FindAllStringSubmatch(string(readme), -1) {
		if block[1] != "sh" {
			continue
		}
		for line := range strings.Lines(block[2]) {
			words := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "$ "))
			if len(words) < 2 || strings.HasPrefix(words[1], "-") {
				continue
			}
			program := filepath.Base(words[0])
			if names, ok := known[program]; ok && !slices.Contains(names, words[1]) {
				t.Errorf("README: `%s` has no %q: %s", program, words[1], strings.TrimSpace(line))
			}
		}
	}
}

// commands are the names of the subcommands, read from the sources: the first
// word of every Use.
func commands(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, s := range sources(t) {
		if s.folder != "cmd/selvage" || s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			kv, ok := n.(*ast.KeyValueExpr)
			if !ok {
				return true
			}
			key, isName := kv.Key.(*ast.Ident)
			value, isText := kv.Value.(*ast.BasicLit)
			if isName && isText && key.Name == "Use" {
				if use, err := strconv.Unquote(value.Value); err == nil {
					name, _, _ := strings.Cut(use, " ")
					out = append(out, name)
				}
			}
			return true
		})
	}
	if len(out) == 0 {
		t.Fatal("the command line has no subcommands")
	}
	return out
}

// TestEveryClauseOfTheCacheNamesTestsThatExist reads the last cell of each row of doc/conformance-cache.md.
func TestEveryClauseOfTheCacheNamesTestsThatExist(t *testing.T) {
	text, err := os.ReadFile("doc/conformance-cache.md")
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	for _, s := range sources(t) {
		for _, d := range s.file.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && s.test && f.Recv == nil {
				known[f.Name.Name] = true
			}
		}
	}
	rows := 0
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(strings.TrimSpace(line), "|")
		if len(cells) < 3 || cells[0] != "" || strings.HasPrefix(cells[1], "-") || strings.TrimSpace(cells[len(cells)-2]) == "tests" {
			continue
		}
		rows++
		names := codeSpan.FindAllString(cells[len(cells)-2], -1)
		if len(cells) != 5 || len(names) == 0 {
			t.Errorf("a row of %d cells names %d tests: %s", len(cells)-2, len(names), line)
		}
		for _, name := range names {
			name = strings.Trim(name, "`")
			if _, err := os.Stat("testdata/scenario/" + name + ".txt"); err != nil && !known[name] {
				t.Errorf("there is no test %q: %s", name, cells[2])
			}
		}
	}
	if rows < 80 {
		t.Errorf("%d rows were read, want at least 80", rows)
	}
}
