package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

// lines are where the keys of a file are, by their path.
type lines map[string]int

func pathOf(path []string) string { return strings.Join(path, "\x00") }

// linesOf finds the keys of a file that was parsed already.
func linesOf(text []byte) lines {
	all := lines{}
	var p unstable.Parser
	p.Reset(text)
	var table []string
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = all.add(&p, nil, e)
		case unstable.KeyValue:
			all.value(&p, table, e)
		}
	}
	return all
}

// add notes the key of a table or a value below a path, and returns its own.
func (l lines) add(p *unstable.Parser, above []string, e *unstable.Node) []string {
	path := slices.Clone(above)
	for key := e.Key(); key.Next(); {
		path = append(path, string(key.Node().Data))
		if _, known := l[pathOf(path)]; !known {
			l[pathOf(path)] = p.Shape(key.Node().Raw).Start.Line
		}
	}
	return path
}

func (l lines) value(p *unstable.Parser, above []string, e *unstable.Node) {
	path := l.add(p, above, e)
	v := e.Value()
	if v.Kind != unstable.InlineTable {
		return
	}
	for c := v.Children(); c.Next(); {
		l.value(p, path, c.Node())
	}
}

// of is the line of a path, or of what it is in; 0 if there is none.
func (l lines) of(path ...string) int {
	for ; len(path) > 0; path = path[:len(path)-1] {
		if line := l[pathOf(path)]; line > 0 {
			return line
		}
	}
	return 0
}

// placed is an error in a thing of a section.
type placed struct {
	name string
	err  error
}

func (e *placed) Error() string { return e.err.Error() }

func (e *placed) Unwrap() error { return e.err }

// at says where in the file an error is.
func (l lines) at(file, section string, err error) error {
	path := []string{"local_server", section}
	if p, ok := errors.AsType[*placed](err); ok {
		path = append(path, p.name)
	}
	if line := l.of(path...); line > 0 {
		return fmt.Errorf("%s:%d: %w", file, line, err)
	}
	return fmt.Errorf("%s: %w", file, err)
}

// Ignored is something in a manifest that does nothing here.
type Ignored struct {
	Key  string // as in local_server.pushpin
	Line int
	Why  string
}

// known are the keys of the section local_server; * is any. What is below them is
// looked at where it is read.
var known = []string{
	"backends.*.url", "backends.*.override_host", "backends.*.cert_host", "backends.*.use_sni", "backends.*.ca_certificate",
	"backends.*.health", "backends.*.client_certificate", "backends.*.grpc", "backends.*.first_byte_timeout_ms",
	"backends.*.between_bytes_timeout_ms",
	"dictionaries.*.format", "dictionaries.*.file", "dictionaries.*.contents", "config_stores.*.format", "config_stores.*.file", "config_stores.*.contents",
	"kv_stores.*", "object_stores.*", "object_store.*", "secret_stores.*", "acls.*",
	"geolocation.format", "geolocation.file", "geolocation.addresses", "geolocation.use_default_loopback",
	"device_detection.format", "device_detection.file", "device_detection.user_agents", "shielding_sites", "pushpin",
}

// isKnown says whether a path is known, a part of what is, or what has something that is.
func isKnown(path []string) bool {
	for _, k := range known {
		parts := strings.Split(k, ".")
		same := true
		for i := range min(len(parts), len(path)) {
			same = same && (parts[i] == "*" || parts[i] == path[i])
		}
		if same {
			return true
		}
	}
	return false
}

// unknown are the keys of the section local_server that are not known, in the order
// of their lines; of those within each other the outermost.
func (l lines) unknown() (all []Ignored) {
	for text, line := range l {
		path := strings.Split(text, "\x00")
		if len(path) < 2 || path[0] != "local_server" || isKnown(path[1:]) || len(path) > 2 && !isKnown(path[1:len(path)-1]) {
			continue
		}
		all = append(all, Ignored{strings.Join(path, "."), line, "it is not known here"})
	}
	return all
}
