package selvage

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// The least that a function needs to run at all.
const (
	leastFunctionCPU    = Duration(100 * time.Microsecond)
	leastFunctionMemory = 64 << 10
	leastFunctionStack  = 64 << 10
	mostFunctionMemory  = 4 << 30
)

// functions checks the functions of a service.
func (c *checker) functions(s *Service) {
	for _, name := range slices.Sorted(maps.Keys(s.Functions)) {
		f := s.Functions[name]
		at := "functions." + string(name)
		if !validName(string(name)) {
			c.keyMistake(at, "write lower-case letters, digits and hyphens, at most 63", "function %q is not a name", name)
		}
		c.subject = fmt.Sprintf("function %q: ", name)
		c.function(at, s, name, &f)
		c.subject = ""
	}
}

func (c *checker) function(at string, s *Service, name FunctionName, f *Function) {
	c.functionLimits(at, f)
	for key, value := range f.Env {
		if key == "" || strings.ContainsAny(key, "=\x00") || strings.Contains(value, "\x00") {
			c.keyMistake(at+".env."+key, "", "%q is not a variable of an environment", key)
		}
	}
	for _, alias := range slices.Sorted(maps.Keys(f.Backends)) {
		c.defined(at+".backends."+alias, s, f.Backends[alias])
	}
	if f.OtherBackends != "" {
		c.defined(at+".other_backends", s, f.OtherBackends)
	}
	unique(c, at+".kv", "store", f.KV)
	c.functionData(at, f)
	c.onFunctionFailure(at, s, name, f)
}

// The bounds of what KV stores have at first.
const (
	maxKVInitial  = 1000 // entries of a store
	maxKVKey      = 1024 // bytes
	maxKVMetadata = 2000 // bytes
	maxKVValue    = 25 << 20
)

// functionData checks what a function finds: entries of KV stores, lists, places, devices.
func (c *checker) functionData(at string, f *Function) {
	for _, store := range slices.Sorted(maps.Keys(f.KVInitial)) {
		here := at + ".kv_initial." + store
		if !slices.Contains(f.KV, store) {
			c.keyMistake(here, "add it to kv", "KV store %q is not one of its stores", store)
		}
		if n := len(f.KVInitial[store]); n > maxKVInitial {
			c.mistake(here, "", "%d entries, the most is %d", n, maxKVInitial)
		}
		for _, key := range slices.Sorted(maps.Keys(f.KVInitial[store])) {
			c.kvEntry(here+"."+key, key, f.KVInitial[store][key])
		}
	}
	for _, list := range slices.Sorted(maps.Keys(f.ACLs)) {
		l := f.ACLs[list]
		unique(c, at+".acls."+list+".block", "address", l.Block)
		unique(c, at+".acls."+list+".allow", "address", l.Allow)
	}
	for _, address := range slices.Sorted(maps.Keys(f.Places)) {
		if _, err := netip.ParseAddr(address); err != nil {
			c.keyMistake(at+".places."+address, "", "%q is not an address", address)
		}
		c.jsonObject(at+".places."+address, f.Places[address])
	}
	for _, agent := range slices.Sorted(maps.Keys(f.Devices)) {
		c.jsonObject(at+".devices."+agent, f.Devices[agent])
	}
}

func (c *checker) kvEntry(at, key string, e KVEntry) {
	if key == "" || len(key) > maxKVKey || strings.ContainsAny(key, "\r\n#?*[]") {
		c.keyMistake(at, "write 1 to 1024 bytes in one line, without # ? * [ ]", "%.80q is not a key of a KV store", key)
	}
	if e.File != "" && e.Text != "" {
		c.keyMistake(at+".file", "keep one of them", "it has a file beside a text")
	}
	if len(e.Metadata) > maxKVMetadata {
		c.mistake(at+".metadata", "", "%d bytes, the most is %d", len(e.Metadata), maxKVMetadata)
	}
	if len(e.Content) > maxKVValue {
		c.mistake(at+".file", "", "%s, the most is %s", ByteSize(len(e.Content)), ByteSize(maxKVValue))
	}
}

func (c *checker) jsonObject(at, text string) {
	var object map[string]any
	if err := json.Unmarshal([]byte(text), &object); err != nil {
		c.mistake(at, "write an object of JSON, in quotes", "%v", err)
	}
}

// defined checks that an origin is there.
func (c *checker) defined(at string, s *Service, name OriginName) {
	if _, ok := s.Origins[name]; !ok {
		c.mistake(at, didYouMean(c, name, maps.Keys(s.Origins)), "origin %q is not defined", name)
	}
}

func (c *checker) functionLimits(at string, f *Function) {
	if f.CPU < leastFunctionCPU {
		c.mistake(at+".cpu", "write at least 100us", "no program does anything within %s", f.CPU)
	}
	if f.Wall < f.CPU {
		c.mistake(at+".wall", "", "it is less than cpu, which is %s", f.CPU)
	}
	if f.Memory < leastFunctionMemory || f.Memory > mostFunctionMemory {
		c.mistake(at+".memory", "write 64KiB to 4GiB", "%s is not a size of a linear memory", f.Memory)
	}
	if f.Stack < leastFunctionStack || f.Stack > f.Memory {
		c.mistake(at+".stack", "write 64KiB to as much as memory", "%s is not a size of a stack", f.Stack)
	}
	if f.Headers <= 0 {
		c.mistake(at+".headers", "", "with a limit of nothing there is no answer")
	}
}

// onFunctionFailure checks that what is to be done when it fails can be done.
func (c *checker) onFunctionFailure(at string, s *Service, name FunctionName, f *Function) {
	switch {
	case f.OnFailure == FailWithDefault && f.Default == nil:
		c.mistake(at+".on_failure", "add default: {status: 503, body: ...}", "it has no default answer")
	case f.OnFailure != FailWithDefault && f.Default != nil:
		c.keyMistake(at+".default", "write on_failure: default", "the default answer is never used")
	}
	if f.Default != nil {
		c.answer(at+".default", f.Default)
	}
	if f.OnFailure != FailPass {
		return
	}
	for _, origin := range slices.Sorted(maps.Keys(s.Origins)) {
		if s.Origins[origin].Function == name {
			c.mistake(at+".on_failure", "write previous, default or 500", "it cannot pass where it is the origin %q itself", origin)
		}
	}
	for i := range s.Routes {
		if r := &s.Routes[i]; r.Function == name && r.Origin == "" {
			c.mistake(at+".on_failure", "add origin to the route", "route %q has no origin to pass to", r.Label())
		}
	}
}

// functionOrigin checks that nothing is set that only endpoints have.
func (c *checker) functionOrigin(at string, s *Service, o *Origin) {
	if _, ok := s.Functions[o.Function]; !ok {
		c.mistake(at+".function", didYouMean(c, o.Function, maps.Keys(s.Functions)), "function %q is not defined", o.Function)
	}
	if len(o.Endpoints) > 0 || o.Folder != "" {
		c.keyMistake(at+".function", "keep one of them", "it has a function beside endpoints or a folder")
	}
	c.noneOf(at, "function", o)
}

// noneOf reports what only endpoints have.
func (c *checker) noneOf(at, what string, o *Origin) {
	if o.Health != nil {
		c.keyMistake(at+".health", "take it away", "a %s has no health check", what)
	}
	if len(o.Weights) > 0 {
		c.keyMistake(at+".weights", "take it away", "a %s has no weights", what)
	}
	if o.TLS != (OriginTLS{}) {
		c.keyMistake(at+".tls", "take it away", "a %s has no TLS", what)
	}
	if o.Protocol != HTTP1 && o.Protocol != "" {
		c.keyMistake(at+".protocol", "take it away", "a %s has no protocol", what)
	}
}

// nodeFunctions checks what a machine lets functions do.
func (c *checker) nodeFunctions(f *NodeFunctions) {
	unique(c, "compute.dynamic_backends", "service", f.DynamicBackends)
	unique(c, "compute.dial_allow", "address", f.DialAllow)
	unique(c, "compute.geo", "file", f.Geo)
}
