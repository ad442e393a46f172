package edgetest

import (
	"errors"
	"fmt"
	"net/netip"
	"path"
	"slices"
	"strings"
)

// statement is a line of a scenario with the indented lines below it.
type statement struct {
	pos
	line  string
	block []blockLine
}

// op is a statement that has been understood.
type op struct {
	pos
	line string
	do   func(*player) error
}

// parseScenario reads a scenario whole and reports all mistakes at once. A
// scenario begins with a comment that says what it promises.
func parseScenario(file, source string) ([]op, error) {
	if !strings.HasPrefix(source, "# ") {
		return nil, pos{file, 1}.errorf("a scenario begins with a comment that says what it promises")
	}
	statements, err := split(file, source)
	errs := []error{err}
	var ops []op
	for _, st := range statements {
		do, err := st.compile()
		if err != nil {
			errs = append(errs, st.errorf("%w", err))
			continue
		}
		ops = append(ops, op{st.pos, st.line, do})
	}
	return ops, errors.Join(errs...)
}

// split divides a source into statements.
func split(file, source string) ([]statement, error) {
	var out []statement
	blank := 0
	for i, l := range strings.Split(source, "\n") {
		at := pos{file, i + 1}
		l = strings.TrimRight(l, " \t\r")
		switch {
		case l == "":
			blank++
			continue
		case l[0] == ' ' || l[0] == '\t':
			if len(out) == 0 {
				return nil, at.errorf("an indented line belongs to the statement above it, and there is none")
			}
			st := &out[len(out)-1]
			for ; blank > 0 && len(st.block) > 0; blank-- {
				st.block = append(st.block, blockLine{pos{file, i + 1 - blank}, ""})
			}
			st.block = append(st.block, blockLine{at, l})
		case l[0] == '#':
		default:
			out = append(out, statement{pos: at, line: l})
		}
		blank = 0
	}
	return out, nil
}

// blockText is a block without the indentation of its first line.
func (st statement) blockText() string {
	if len(st.block) == 0 {
		return ""
	}
	first := st.block[0].text
	indent := first[:len(first)-len(strings.TrimLeft(first, " \t"))]
	var b strings.Builder
	for _, l := range st.block {
		b.WriteString(strings.TrimPrefix(l.text, indent))
		b.WriteByte('\n')
	}
	return b.String()
}

// requestWords are the verbs that send a request.
var requestWords = []string{"get", "head", "post", "put", "patch", "delete", "options", "trace", "request", "upgrade"}

var statementWords = slices.Concat([]string{
	"service", "node", "file", "origin", "dns", "from", "over", "send", "ws", "close", "wait", "reload", "purge", "why", "drain", "expect",
	"deploy", "canary", "promote", "undo",
}, requestWords)

func (st statement) compile() (func(*player) error, error) {
	verb, rest := word(st.line)
	if len(st.block) > 0 && !slices.Contains(requestWords, verb) && !slices.Contains([]string{"service", "node", "file", "origin", "send", "reload", "deploy", "canary", "why"}, verb) {
		return nil, st.block[0].errorf("%s has no indented lines", verb)
	}
	switch verb {
	case "service":
		return func(p *player) error { return p.addService(st.blockText()) }, alone(verb, rest)
	case "node":
		return func(p *player) error { return p.setNode(st.blockText()) }, alone(verb, rest)
	case "file":
		return st.compileFile(rest)
	case "origin":
		return st.compileOrigin(rest)
	case "dns":
		return compileDNS(rest)
	case "from":
		addr, err := netip.ParseAddr(rest)
		return func(p *player) error { p.from = addr; return nil }, err
	case "over":
		return compileOver(rest)
	case "send":
		return st.compileSend(rest)
	case "ws":
		return compileWS(rest)
	case "close":
		return func(p *player) error { return p.closeExchange(rest) }, nil
	case "wait":
		d, err := duration(rest)
		return func(p *player) error { return p.wait(d) }, err
	case "reload":
		return st.compileReload(rest)
	case "deploy", "canary", "promote", "undo":
		return st.compileChange(verb, rest)
	case "purge":
		return compilePurge(rest)
	case "why":
		return st.compileWhy(rest)
	case "drain":
		return func(p *player) error { return p.drain() }, alone(verb, rest)
	case "expect":
		return compileExpect(rest)
	}
	if slices.Contains(requestWords, verb) {
		return st.compileRequest(verb, rest)
	}
	return nil, unknown("statement", verb, statementWords)
}

// compilePurge reads what is purged: [soft] tag:NAME|URL|service:NAME ...
func compilePurge(rest string) (func(*player) error, error) {
	what := strings.Fields(rest)
	soft := len(what) > 0 && what[0] == "soft"
	if soft {
		what = what[1:]
	}
	if len(what) == 0 {
		return nil, errors.New("purge needs to know what: write purge tag:NAME, purge soft http://shop.example/ or purge service:test")
	}
	return func(p *player) error { return p.purge(what, soft) }, nil
}

func alone(verb, rest string) error {
	if rest != "" {
		return fmt.Errorf("%s stands alone, got %q behind it", verb, rest)
	}
	return nil
}

func (st statement) compileFile(name string) (func(*player) error, error) {
	if name == "" || path.IsAbs(name) || strings.Contains(name, "..") {
		return nil, fmt.Errorf("%q is not the name of a file: write file public/index.html", name)
	}
	content, err := unescape(strings.TrimSuffix(st.blockText(), "\n"))
	return func(p *player) error { return p.writeFile(name, content) }, err
}

var originStates = []string{"down", "unreachable", "up"}

func (st statement) compileOrigin(rest string) (func(*player) error, error) {
	name, rest := word(rest)
	if name == "" {
		return nil, errors.New("an origin needs a name: write origin one")
	}
	verb, _ := word(rest)
	switch {
	case verb == "" || verb == "on" || verb == "h2c" || verb == "h2" || verb == "tls":
		o, err := parseOriginOptions(strings.Fields(rest))
		if err == nil && len(st.block) > 0 {
			err = st.block[0].errorf("a new origin has no indented lines: write origin %s answers ...", name)
		}
		return func(p *player) error { return p.addOrigin(name, o) }, err
	case slices.Contains(originStates, verb):
		return func(p *player) error {
			return p.withOrigin(name, func(o *Origin) error {
				map[string]func(){"down": o.Down, "unreachable": o.Unreachable, "up": o.Up}[verb]()
				return nil
			})
		}, nil
	}
	r, err := parseRule(rest, st.block)
	if err != nil {
		return nil, err
	}
	for _, s := range r.script.steps {
		if s.do == "unread" || s.do == "send" != r.script.raw && s.do == "send" {
			return nil, fmt.Errorf("%s is no step of this answer", s.do)
		}
	}
	return func(p *player) error {
		return p.withOrigin(name, func(o *Origin) error { o.set(r); return nil })
	}, nil
}

// originOptions are how a new origin speaks and where.
type originOptions struct {
	h2, tls bool
	port    uint16
}

func parseOriginOptions(words []string) (originOptions, error) {
	var o originOptions
	for i := 0; i < len(words); i++ {
		switch words[i] {
		case "h2c":
			o.h2 = true
		case "h2":
			o.h2, o.tls = true, true
		case "tls":
			o.tls = true
		case "on":
			if i+1 == len(words) {
				return o, errors.New("on needs a port: write on :8080")
			}
			i++
			at, err := parseAddr(words[i])
			if err != nil {
				return o, err
			}
			o.port = at.Port()
		default:
			return o, unknown("option of an origin", words[i], []string{"h2c", "h2", "tls", "on"})
		}
	}
	if o.port == 0 {
		o.port = 80
		if o.tls {
			o.port = 443
		}
	}
	return o, nil
}

func compileDNS(rest string) (func(*player) error, error) {
	words := strings.Fields(rest)
	if len(words) < 2 {
		return nil, errors.New("dns needs a name and origins: write dns pool one two, dns pool fails, dns pool hangs or dns pool unknown")
	}
	return func(p *player) error { return p.setDNS(words[0], words[1:]) }, nil
}

var protocols = []string{"http/1.1", "http/1.0", "h2c", "h2", "tls"}

func compileOver(rest string) (func(*player) error, error) {
	if !slices.Contains(protocols, rest) {
		return nil, unknown("protocol", rest, protocols)
	}
	return func(p *player) error { p.protocol = rest; return nil }, nil
}

func (st statement) compileSend(rest string) (func(*player) error, error) {
	for _, l := range st.block {
		rest += strings.TrimSpace(l.text)
	}
	s, err := unescape(rest)
	if err == nil && s == "" {
		err = errors.New(`send needs bytes: write send GET / HTTP/1.1\r\n`)
	}
	return func(p *player) error { return p.sendRaw(s) }, err
}

func compileWS(rest string) (func(*player) error, error) {
	verb, words := word(rest)
	s, err := text(words)
	switch verb {
	case "send":
		return func(p *player) error { return p.tunnelSend(s) }, err
	case "expect":
		return func(p *player) error { return p.expectChunk(p.last, s) }, err
	}
	return nil, unknown("verb of ws", verb, []string{"send", "expect"})
}

func (st statement) compileReload(rest string) (func(*player) error, error) {
	why, refused := "", false
	if rest != "" {
		verb, more := word(rest)
		if verb != "refused" {
			return nil, unknown("word behind reload", verb, []string{"refused"})
		}
		why, refused = more, true
	}
	return func(p *player) error { return p.reload(st.blockText(), refused, why) }, nil
}

var requestSteps = []string{"wait", "chunk", "every", "trailer", "close", "reset", "hang", "unread"}

// compileRequest reads
//
//	get TARGET [as NAME] [Name: value]
//	post TARGET [as NAME] [BODY]
//	request METHOD TARGET [as NAME] [BODY]
//	upgrade TARGET [as NAME]
func (st statement) compileRequest(verb, rest string) (func(*player) error, error) {
	r := &request{method: strings.ToUpper(verb), script: new(script)}
	switch verb {
	case "request":
		r.method, rest = word(rest)
	case "upgrade":
		r.method = "GET"
		r.script.fields = []field{
			{"Connection", "Upgrade"}, {"Upgrade", "websocket"},
			{"Sec-WebSocket-Version", "13"}, {"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
		}
	}
	target, rest := word(rest)
	if target == "" {
		return nil, fmt.Errorf("%s needs a target: write %s /path", verb, verb)
	}
	var err error
	if r.target, err = unescape(target); err != nil {
		return nil, err
	}
	name := ""
	if more, ok := strings.CutPrefix(rest, "as "); ok {
		name, rest = word(more)
	}
	if err := r.addRest(verb, rest); err != nil {
		return nil, err
	}
	if err := r.script.parseSteps(st.block); err != nil {
		return nil, err
	}
	for _, s := range r.script.steps {
		if !slices.Contains(requestSteps, s.do) {
			return nil, unknown("step of a request", s.do, requestSteps)
		}
	}
	return func(p *player) error { return p.ask(r, name, st.line) }, nil
}

// addRest reads what stands behind the target: a body where the method
// usually has one, else a field.
func (r *request) addRest(verb, rest string) error {
	if rest == "" {
		return nil
	}
	switch verb {
	case "post", "put", "patch", "request":
		var err error
		r.script.body, err = text(rest)
		return err
	}
	f, ok := parseField(rest)
	if !ok {
		return fmt.Errorf("%q is not a field: write %s %s Name: value", rest, verb, r.target)
	}
	v, err := unescape(f.value)
	r.script.fields = append(r.script.fields, field{f.name, v})
	return err
}
