package config

import (
	"bytes"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/selvage-edge/selvage"
)

// samePrefix compares address ranges as the language does.
var samePrefix = cmp.Comparer(func(a, b selvage.Prefix) bool { return a == b })

// fakeEnv is an environment for documents of tests.
func fakeEnv(name string) (string, bool) {
	v, ok := map[string]string{
		"HOST": "shop.example", "TOKEN": "s3cret-v4lue", "NUMBER": "2", "YES": "true", "TTL": "90s", "EMPTY": "", "BAD": "not valid at all",
	}[name]
	return v, ok
}

// readTest reads text as a file of a kind in a folder, with fakeEnv.
func readTest(name string, data []byte, into any) (*document, selvage.Problems) {
	doc := newDocument(name, data)
	doc.expand.env = fakeEnv
	switch v := into.(type) {
	case *selvage.Service:
		doc.service(v)
	case *selvage.Node:
		doc.node(v)
	}
	return doc, doc.finish()
}

// seeds are files, good and bad, in both of the fuzz tests and the test of agreement.
var seeds = []string{
	goodService, goodNode, fullService,
	"", "\n", "# only a comment\n", "---\n", "--- \nservice: a\n...\n", "a: b\n---\nc: d\n", "service", "- a\n", "42", "[", "{", "]", "}", "[[[[", "a: [b", "a: {b", "a: 'b", "a: \"b",
	"\tservice: a\n", "service:\n\t- a\n", "a: b: c\n", "? a\n: b\n", "? [a]\n: b\n", "<<: {a: b}\n", "a: &x b\nc: *x\n", "a: !!str b\n", "%YAML 1.2\n---\na: b\n",
	"hosts: [*]\n", "hosts: *.shop.example\n", "a: @b\n", "a: `b`\n", "a: |\n  b\n   c\n\nd: >-\n  e\n  f\n", "a: |", "a: >\n", "a: \"\\u0041\\x42\\U00000043\\e\"\n",
	"\xef\xbb\xbfservice: a\r\nhosts: [b]\r\n", "a: \x00\n", "a: \xff\n", "a: b\rc: d\n", "a: \u0085\u2028\n", "service: ${env:HOST}\n", "tier: ${env:NUMBER}\n",
	"service: a\nhosts: [\"${env:HOST}\", \"$${env:X}\", '${file:/nowhere}', \"${secret:x}\", \"${\", \"${x}\"]\nroutes: [{match: {path: /}, redirect: {to: /x}}]\n",
	"tls:\n  development: ${env:YES}\nlisten: [{address: \":8443\", tls: true}]\n", "deadlines: {head: ${env:TTL}}\n", "deadlines:\n  head: ${env:BAD}\n",
	"service: a\nservice: b\nhosts: []\nroutes:\n", "routes: [{}, null, {match: }, 5, [], \"x\"]\n", "origins: {a: , b: {}, c: 5, \"\": {folder: .}}\n",
	"routes:\n- on_failure: [stale, stael, {stale: true, default: {}}, {}, null, 5]\n",
}

func FuzzService(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var s selvage.Service
		doc, problems := readTest("shop.yaml", data, &s)
		if len(problems) > 0 {
			checkPlaces(t, data, problems)
			return
		}
		var again selvage.Service
		shown := show(s, doc.outside())
		if _, problems := readTest("again.yaml", shown, &again); len(problems) > 0 {
			t.Fatalf("what is shown is refused:\n%s\n%v", shown, problems)
		}
		if diff := cmp.Diff(s, again, samePrefix); diff != "" {
			t.Fatalf("shown and read again it is another (-first +again):\n%s\n%s", diff, shown)
		}
		if a, b := Revision(s), Revision(again); a != b {
			t.Fatalf("the same service has the revisions %s and %s", a, b)
		}
	})
}

func FuzzNode(f *testing.F) {
	for _, s := range seeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var n selvage.Node
		doc, problems := readTest("node.yaml", data, &n)
		if len(problems) > 0 {
			checkPlaces(t, data, problems)
			return
		}
		var again selvage.Node
		shown := show(n, doc.outside())
		if _, problems := readTest("again.yaml", shown, &again); len(problems) > 0 {
			t.Fatalf("what is shown is refused:\n%s\n%v", shown, problems)
		}
		if diff := cmp.Diff(n, again, samePrefix); diff != "" {
			t.Fatalf("shown and read again it is another (-first +again):\n%s\n%s", diff, shown)
		}
	})
}

// FuzzExpand checks that escaped text stays the same, whatever it holds.
func FuzzExpand(f *testing.F) {
	for _, s := range []string{"", "$", "${", "$${", "$$${", "${env:HOST}", "a$${b}${env:HOST}", "${env:", "${}", "${file:}", "$}{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		x := &expander{env: fakeEnv, folder: t.TempDir()}
		got, used, err := x.expand(escape(text))
		if err != nil || used || got != text {
			t.Fatalf("expand(%q) = %q, %v, %v; want %q", escape(text), got, used, err, text)
		}
		if !strings.Contains(text, "file:") {
			x.expand(text) // must not panic
		}
	})
}

// checkPlaces checks that every mistake has a place in the file and a caret below it.
func checkPlaces(t *testing.T, data []byte, problems selvage.Problems) {
	t.Helper()
	text := strings.ReplaceAll(string(bytes.TrimPrefix(data, []byte("\ufeff"))), "\r\n", "\n")
	lines := strings.Split(text, "\n")
	for _, p := range problems {
		if p.Message == "" || strings.Contains(p.Message, "s3cret-v4lue") || strings.Contains(p.Hint, "s3cret-v4lue") {
			t.Fatalf("message %q with hint %q", p.Message, p.Hint)
		}
		if p.Line == 0 && p.Excerpt == "" {
			continue // of the whole file
		}
		if p.Line < 1 || p.Line > len(lines) {
			t.Fatalf("line %d of %d: %s", p.Line, len(lines), p.Message)
		}
		if n := utf8.RuneCountInString(lines[p.Line-1]); p.Column < 1 || p.Column > n+1 {
			t.Fatalf("column %d of %d: %s", p.Column, n, p.Message)
		}
		if p.Line < 100_000 && strings.Count(p.Excerpt, "\n") != 1 {
			t.Fatalf("excerpt %q", p.Excerpt)
		}
	}
}
