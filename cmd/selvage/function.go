package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"

	"github.com/selvage-edge/selvage"
	"github.com/selvage-edge/selvage/compute/abi/fastly"
	"github.com/selvage-edge/selvage/config"
	"github.com/selvage-edge/selvage/telemetry"
)

// serviceForm is a service as a file would have it, for those that no file has.
type serviceForm struct {
	Service   string                  `json:"service"`
	Hosts     []string                `json:"hosts"`
	Origins   map[string]originForm   `json:"origins,omitempty"`
	Functions map[string]functionForm `json:"functions"`
	Routes    []routeForm             `json:"routes"`
}

type originForm struct {
	Endpoints []string          `json:"endpoints"`
	Host      string            `json:"host,omitempty"`
	Protocol  string            `json:"protocol,omitempty"`
	TLS       map[string]string `json:"tls,omitempty"`
	Timeout   map[string]string `json:"timeout,omitempty"`
}

type functionForm struct {
	Module        string                        `json:"module"`
	CPU           string                        `json:"cpu"`
	OtherBackends string                        `json:"other_backends,omitempty"`
	Backends      map[string]string             `json:"backends,omitempty"`
	Config        map[string]fastly.Map         `json:"config,omitempty"`
	Secrets       map[string]fastly.Map         `json:"secrets,omitempty"`
	KV            []string                      `json:"kv,omitempty"`
	KVInitial     map[string]map[string]kvEntry `json:"kv_initial,omitempty"`
	ACLs          map[string]aclForm            `json:"acls,omitempty"`
	Places        map[string]string             `json:"places,omitempty"`
	Devices       map[string]string             `json:"devices,omitempty"`
}

type kvEntry struct {
	Text     string `json:"text,omitempty"`
	File     string `json:"file,omitempty"`
	Metadata string `json:"metadata,omitempty"`
}

type aclForm struct {
	File string `json:"file"`
}

type routeForm struct {
	Match    map[string]string `json:"match"`
	Function string            `json:"function"`
	Origin   string            `json:"origin,omitempty"`
	Cache    *struct{}         `json:"cache,omitempty"`
}

// outside stands in a form for what an environment variable has; its name and } follow.
var outside = "outside-" + rand.Text() + "{"

// service makes a service of the form. What it says stands for itself: ${ has no meaning in it.
func (f serviceForm) service(name string) (selvage.Service, selvage.Outside, error) {
	text, err := json.Marshal(f)
	if err != nil {
		return selvage.Service{}, selvage.Outside{}, fmt.Errorf("%s: %w", name, err)
	}
	text = bytes.ReplaceAll(text, []byte("${"), []byte("$${"))
	s, from, err := config.ParseOutside(name, bytes.ReplaceAll(text, []byte(outside), []byte("${env:")))
	if problems, ok := errors.AsType[selvage.Problems](err); ok {
		for i := range problems { // the text is ours, nobody wants to see it
			problems[i] = selvage.Problem{File: name, Message: problems[i].Message, Hint: problems[i].Hint}
		}
		return s, from, problems
	}
	return s, from, err
}

// deskCPU is the CPU that a program gets of which no service file says how much: on a desk nobody
// else waits for it, the machine is busy with its build, and Fastly's own local server has no limit.
const deskCPU = "1s"

// quickFunction is the service of --function: every request goes to it, and
// every backend that it names is the origin.
func quickFunction(module, originURL string) (selvage.Service, error) {
	f := serviceForm{
		Service: "quick", Hosts: []string{"*"},
		Functions: map[string]functionForm{"main": {Module: module, CPU: deskCPU}},
		Routes:    []routeForm{{Match: map[string]string{"path": "/*"}, Function: "main"}},
	}
	if originURL != "" {
		f.Origins = map[string]originForm{"origin": {Endpoints: []string{originURL}}}
		f.Functions["main"] = functionForm{Module: module, CPU: deskCPU, OtherBackends: "origin"}
		f.Routes[0].Origin, f.Routes[0].Cache = "origin", new(struct{})
	}
	s, _, err := f.service("--function")
	return s, err
}

// isManifest says whether an argument is a file of Fastly's command line.
func isManifest(name string) bool { return filepath.Ext(name) == ".toml" }

// watchEvery is how often files are looked at for changes.
const watchEvery = 300 * time.Millisecond

// watchFiles asks for a reload when one of the files has changed, and stays the
// same from one look to the next: a compiler may still be writing. It ends with ctx.
func watchFiles(ctx context.Context, files []string, hup chan<- os.Signal) {
	seen := signature(files)
	last := seen
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		now := signature(files)
		if now != seen && now == last {
			seen = now
			select {
			case hup <- syscall.SIGHUP:
			default: // one is on its way already
			}
		}
		last = now
	}
}

// signature is another one when a file has changed.
func signature(files []string) string {
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			b.WriteString("-;")
			continue
		}
		fmt.Fprintf(&b, "%d,%d;", info.Size(), info.ModTime().UnixNano())
	}
	return b.String()
}

// watched are the files whose content a configuration is made of.
func (f *runFlags) watched(conf *selvage.Config) []string {
	var all []string
	all = append(all, f.files...)
	if f.nodeFile != "" {
		all = append(all, f.nodeFile)
	}
	for i := range conf.Services {
		for _, fn := range conf.Services[i].Functions {
			all = append(all, fn.Module)
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// functionLog writes what functions write, and how they trap, to a terminal as it
// is, behind the function's name. nil, the log of lines, where that is elsewhere.
func functionLog(conf *selvage.Node) func(telemetry.FunctionLine) {
	if conf.FunctionLog != "stderr" || !term.IsTerminal(int(os.Stderr.Fd())) {
		return nil
	}
	return func(l telemetry.FunctionLine) {
		u, name := newUI(os.Stderr), string(l.Function)
		if l.Endpoint != "" {
			name += " " + string(beside("", []byte(l.Endpoint)))
		}
		_, _ = os.Stderr.Write(beside(u.strong(strings.TrimSpace(name))+" ", l.Text)) // nobody is left to be told
	}
}

// beside writes lines behind a prefix. What would move the terminal's cursor or paint is shown as a question mark.
func beside(prefix string, p []byte) []byte {
	var out []byte
	for line := range bytes.Lines(p) {
		out = append(out, prefix...)
		for _, r := range string(bytes.TrimRight(line, "\r\n")) {
			if unicode.IsControl(r) && r != '\t' {
				r = '?'
			}
			out = utf8.AppendRune(out, r)
		}
		out = append(out, '\n')
	}
	return out
}
