package wasi

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// variables are an environment in the making. What was set first stays.
type variables struct {
	list  []string
	own   []string
	names map[string]bool
}

// newVariables begins with the program's own, which are those that the request does not set.
func newVariables(own []string) *variables {
	return &variables{own: own, names: make(map[string]bool)}
}

func (v *variables) set(name, value string) {
	if v.names[name] {
		return
	}
	v.names[name] = true
	// A zero byte ends a variable: a path that has one is not to be mistaken for its beginning.
	v.list = append(v.list, name+"="+strings.ReplaceAll(value, "\x00", "%00"))
}

func (v *variables) setNumber(name string, n int64) { v.set(name, strconv.FormatInt(n, 10)) }

// fields sets the request's fields, and at the end the program's own variables.
//
// HTTP_PROXY is none of them: programs take it for their own setting. Neither
// are names with an underscore, which would be mistaken for those with a hyphen.
func (v *variables) fields(h http.Header, host string) {
	v.set("HTTP_HOST", host)
	for _, name := range slices.Sorted(maps.Keys(h)) {
		joint := ", "
		switch name {
		case "Content-Type":
			v.set("CONTENT_TYPE", h.Get(name))
			continue
		case "Content-Length", "Proxy":
			continue
		case "Cookie":
			joint = "; "
		}
		if !strings.ContainsAny(name, "_=") {
			v.set("HTTP_"+strings.ToUpper(strings.ReplaceAll(name, "-", "_")), strings.Join(h[name], joint))
		}
	}
	for _, kv := range v.own {
		name, value, _ := strings.Cut(kv, "=")
		if !strings.HasPrefix(name, "HTTP_") { // those are what a client sent, and nothing else
			v.set(name, value)
		}
	}
}
