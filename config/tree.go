package config

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"

	"github.com/selvage-edge/selvage"
)

// form is what a value is written as.
type form string

const (
	empty   form = "nothing"
	text    form = "text"
	number  form = "a number"
	boolean form = "true or false"
	list    form = "a list"
	object  form = "keys with values"
	word    form = "a word" // only in what is shown: a duration, a rate; it needs no quotes
)

// tree is a value of a file, as far as the files of people need YAML: no
// anchors, aliases, tags, merged or composed keys.
type tree struct {
	form    form
	at      position
	text    string // of text, number and boolean, as it is written, without quotes
	items   []*tree
	entries []entry
}

type entry struct {
	key   string
	at    position
	value *tree
}

// get is the value of a key, nil without one.
func (t *tree) get(key string) *tree {
	for _, e := range t.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// parse makes a tree of YAML. What it cannot make a tree of it reports; the
// tree is nil then.
func parse(src *source) (t *tree, problems selvage.Problems) {
	defer func() {
		if r := recover(); r != nil { // the library met something that it did not expect
			t = nil
			problems = selvage.Problems{src.place(selvage.Problem{Message: "this is not YAML"}, position{1, 1})}
		}
	}()
	if strings.TrimSpace(src.text) == "" {
		return nil, selvage.Problems{src.place(selvage.Problem{Message: "the file is empty"}, position{1, 1})}
	}
	tokens := mend(lexer.Tokenize(src.text))
	if problems := checkTokens(src, tokens); len(problems) > 0 {
		return nil, problems
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return nil, selvage.Problems{syntaxProblem(src, err)}
	}
	return grow(src, file)
}

// grow makes a tree of the one document of a file.
func grow(src *source, file *ast.File) (*tree, selvage.Problems) {
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil {
			continue
		}
		if body != nil {
			p := selvage.Problem{Message: "a second document begins here", Hint: "make it a file of its own"}
			at := position{1, 1}
			if doc.Start != nil {
				at = place(doc.Start)
			}
			return nil, selvage.Problems{src.place(p, at)}
		}
		body = doc.Body
	}
	g := grower{src: src}
	if body == nil {
		g.refuse(position{1, 1}, "the file is empty", "")
		return nil, g.problems
	}
	t := g.node(body, 0)
	if len(g.problems) > 0 {
		return nil, g.problems
	}
	return t, nil
}

// mend puts words together that the library tears apart: it takes every colon
// within brackets within braces for the end of a key, also in
// {endpoints: [http://10.0.0.1:8080]}, where no space follows it.
func mend(tokens token.Tokens) token.Tokens {
	var out token.Tokens
	var open []token.Type
	for i := 0; i < len(tokens); i++ {
		tk := tokens[i]
		switch tk.Type {
		case token.SequenceStartType, token.MappingStartType:
			open = append(open, tk.Type)
		case token.SequenceEndType, token.MappingEndType:
			open = open[:max(len(open)-1, 0)]
		}
		if len(open) > 1 && open[len(open)-1] == token.SequenceStartType {
			if end := wordEnd(tokens, i); end > i {
				value, origin := "", ""
				for _, part := range tokens[i : end+1] {
					value += part.Value
					origin += part.Origin
				}
				tk = token.New(value, origin, tk.Position)
				i = end
			}
		}
		out.Add(tk)
	}
	return out
}

// wordEnd is the last of the tokens from i on that follow each other without
// a gap. A colon at the end is none of the word's.
func wordEnd(tokens token.Tokens, i int) int {
	part := func(tk *token.Token) bool {
		return tk.Type == token.StringType || tk.Type == token.IntegerType || tk.Type == token.FloatType || tk.Type == token.MappingValueType
	}
	end := i
	for ; end+1 < len(tokens) && part(tokens[end]) && part(tokens[end+1]); end++ {
		at, next := tokens[end].Position, tokens[end+1].Position
		if at.Line != next.Line || at.Column+utf8.RuneCountInString(tokens[end].Value) != next.Column {
			break
		}
	}
	for end > i && tokens[end].Type == token.MappingValueType {
		end--
	}
	return end
}

// guard looks at the tokens before anything recursive sees them: a hostile
// file can otherwise exhaust the stack, the memory or our patience.
type guard struct {
	grower
	open   []token.Type // the brackets that are open
	hollow int          // values that are not there
	keys   []siblings   // the mappings without brackets that tk is in, the outermost first
}

// siblings are the keys of one mapping so far.
type siblings struct{ column, n int }

func checkTokens(src *source, tokens token.Tokens) selvage.Problems {
	g := guard{grower: grower{src: src}}
	var prev *token.Token
	for i, tk := range tokens {
		if tk.Type == token.CommentType || tk.Position == nil {
			continue
		}
		next := &token.Token{Type: token.CommentType}
		for j := i + 1; j < len(tokens) && next.Type == token.CommentType; j++ {
			next = tokens[j]
		}
		g.unsupported(tk, next)
		if !g.bounded(prev, tk, next) || len(g.problems) >= maxProblems {
			break
		}
		prev = tk
	}
	return g.problems
}

// unsupported refuses what the tree does not have.
func (g *guard) unsupported(tk, next *token.Token) {
	quoted := "as text it needs quotes: %q"
	switch tk.Type {
	case token.AliasType:
		g.refuse(place(tk), "aliases are not supported", fmt.Sprintf(quoted, "*"+strings.TrimRight(next.Value, "]},")))
	case token.AnchorType:
		g.refuse(place(tk), "anchors are not supported", fmt.Sprintf(quoted, "&"+next.Value))
	case token.TagType:
		g.refuse(place(tk), "tags are not supported", fmt.Sprintf(quoted, tk.Value))
	case token.DirectiveType:
		g.refuse(place(tk), "directives are not supported", "as text it needs quotes")
	case token.MergeKeyType:
		g.refuse(place(tk), "merge keys are not supported", "write the keys out")
	}
}

// bounded counts what costs more than its characters.
func (g *guard) bounded(prev, tk, next *token.Token) bool {
	if g.isHollow(prev, tk, next) {
		if g.hollow++; g.hollow > maxHollow {
			g.refuse(place(tk), fmt.Sprintf("more than %d keys have no value", maxHollow), "")
			return false
		}
	}
	switch tk.Type {
	case token.SequenceStartType, token.MappingStartType:
		g.open = append(g.open, tk.Type)
	case token.SequenceEndType, token.MappingEndType:
		g.open = g.open[:max(len(g.open)-1, 0)]
	case token.MappingValueType, token.SequenceEntryType, token.MappingKeyType:
		if len(g.open) == 0 && tk.Position.Column > maxColumn {
			g.refuse(place(tk), "this is nested too deep", "")
			return false
		}
		if n := g.sibling(prev, tk); n > maxKeys {
			g.refuse(place(tk), fmt.Sprintf("more than %d keys stand together", maxKeys), "")
			return false
		}
	}
	if len(g.open) > maxDepth {
		g.refuse(place(tk), fmt.Sprintf("this is nested deeper than %d levels", maxDepth), "")
		return false
	}
	return true
}

// sibling counts the keys that stand together without brackets. For each of
// them the library copies those that follow.
func (g *guard) sibling(prev, tk *token.Token) int {
	if len(g.open) > 0 {
		return 0
	}
	column := tk.Position.Column
	if tk.Type == token.MappingValueType && prev != nil && prev.Position.Line == tk.Position.Line {
		column = prev.Position.Column
	}
	for len(g.keys) > 0 && g.keys[len(g.keys)-1].column > column {
		g.keys = g.keys[:len(g.keys)-1]
	}
	if tk.Type == token.SequenceEntryType {
		return 0
	}
	if len(g.keys) == 0 || g.keys[len(g.keys)-1].column < column {
		g.keys = append(g.keys, siblings{column, 0})
	}
	last := &g.keys[len(g.keys)-1]
	last.n++
	return last.n
}

// isHollow says that behind tk the library puts in a value that is not there.
// It copies the document each time.
func (g *guard) isHollow(prev, tk, next *token.Token) bool {
	ends := next.Type == token.CollectEntryType || next.Type == token.MappingEndType || next.Type == token.SequenceEndType
	switch tk.Type {
	case token.MappingValueType, token.SequenceEntryType, token.MappingKeyType:
		from := tk.Position.Column
		if tk.Type == token.MappingValueType && prev != nil {
			from = prev.Position.Column
		}
		return ends || next.Position != nil && next.Position.Line > tk.Position.Line && next.Position.Column <= from
	case token.MappingStartType, token.CollectEntryType:
		return false
	}
	// A word within braces that has no colon.
	return ends && len(g.open) > 0 && g.open[len(g.open)-1] == token.MappingStartType &&
		prev != nil && (prev.Type == token.CollectEntryType || prev.Type == token.MappingStartType)
}

// syntaxProblem words an error of the library as a mistake.
func syntaxProblem(src *source, err error) selvage.Problem {
	p, at := selvage.Problem{Message: "this is not YAML"}, position{1, 1}
	if e, ok := err.(interface {
		GetToken() *token.Token
		GetMessage() string
	}); ok {
		p.Message = e.GetMessage()
		if tk := e.GetToken(); tk != nil {
			at = place(tk)
		}
	}
	p = src.place(p, at)
	line := src.lines[p.Line-1]
	switch {
	case strings.Contains(p.Message, "'\t'"):
		p.Message, p.Hint = "a tab cannot indent", "indent with spaces"
	case strings.Contains(line, "${"):
		p.Hint = "within braces ${...} needs quotes"
	case strings.Contains(line, "*"):
		p.Hint = "as text a * needs quotes"
	}
	return p
}

func place(tk *token.Token) position {
	if tk == nil || tk.Position == nil {
		return position{1, 1}
	}
	return position{tk.Position.Line, tk.Position.Column}
}

// grower makes a tree of the library's nodes and gathers what it refuses.
type grower struct {
	src      *source
	problems selvage.Problems
}

func (g *grower) refuse(at position, message, hint string) {
	g.problems = append(g.problems, g.src.place(selvage.Problem{Message: message, Hint: hint}, at))
}

func (g *grower) node(n ast.Node, depth int) *tree {
	at := place(n.GetToken())
	if depth > maxDepth {
		g.refuse(at, fmt.Sprintf("this is nested deeper than %d levels", maxDepth), "")
		return &tree{form: empty, at: at}
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		return g.mapping(n.Values, at, depth)
	case *ast.MappingValueNode:
		return g.mapping([]*ast.MappingValueNode{n}, at, depth)
	case *ast.SequenceNode:
		t := &tree{form: list, at: at}
		for _, v := range n.Values {
			t.items = append(t.items, g.node(v, depth+1))
		}
		return t
	case *ast.NullNode:
		return &tree{form: empty, at: at}
	case *ast.StringNode:
		return &tree{form: text, at: at, text: n.Value}
	case *ast.LiteralNode:
		if n.Value == nil {
			return &tree{form: text, at: at}
		}
		return &tree{form: text, at: at, text: n.Value.Value}
	case *ast.BoolNode:
		return &tree{form: boolean, at: at, text: n.GetToken().Value}
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return &tree{form: number, at: at, text: n.GetToken().Value}
	}
	g.refuse(at, fmt.Sprintf("%s is not supported here", strings.ToLower(n.Type().String())), "")
	return &tree{form: empty, at: at}
}

func (g *grower) mapping(values []*ast.MappingValueNode, at position, depth int) *tree {
	t := &tree{form: object, at: at}
	for i, v := range values {
		key := v.Key.GetToken()
		e := entry{at: place(key)}
		switch v.Key.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode, *ast.NullNode, *ast.InfinityNode, *ast.NanNode:
			e.key = key.Value
		default:
			g.refuse(e.at, "a key must be a plain word", "")
			continue
		}
		if i == 0 && at != e.at && g.blockAt(at) {
			t.at = e.at
		}
		e.value = &tree{form: empty, at: e.at}
		if v.Value != nil {
			e.value = g.node(v.Value, depth+1)
		}
		t.entries = append(t.entries, e)
	}
	return t
}

// blockAt says that a mapping at a position is not in braces: the library
// places it at its first colon, we at its first key.
func (g *grower) blockAt(at position) bool {
	line := []rune(g.src.lines[min(max(at.line, 1), len(g.src.lines))-1])
	return at.column < 1 || at.column > len(line) || line[at.column-1] != '{'
}
