package httpwasm

import (
	"context"
	"fmt"

	"github.com/selvage-edge/selvage/compute"
	"github.com/tetratelabs/wazero/api"
)

// function is one that a guest may import. Its types are a letter for each
// value: i for i32, l for i64.
type function struct {
	name            string
	params, results string
	call            func(c *call)
	early, waits    bool
}

// table is the whole interface.
func table() []function {
	return []function{
		{name: "enable_features", params: "i", results: "i", call: enableFeatures, early: true},
		{name: "get_config", params: "ii", results: "i", call: func(c *call) { c.give(string(c.abi().options.Config)) }, early: true},
		{name: "log", params: "iii", call: logLine, early: true},
		{name: "log_enabled", params: "i", results: "i", call: logEnabled, early: true},

		{name: "get_method", params: "ii", results: "i", call: func(c *call) { c.give(c.x.r.Method) }},
		{name: "set_method", params: "ii", call: setMethod},
		{name: "get_uri", params: "ii", results: "i", call: func(c *call) { c.give(c.x.r.URL.RequestURI()) }},
		{name: "set_uri", params: "ii", call: setURI},
		{name: "get_protocol_version", params: "ii", results: "i", call: func(c *call) { c.give(c.x.r.Proto) }},
		{name: "get_source_addr", params: "ii", results: "i", call: sourceAddr},

		{name: "get_header_names", params: "iii", results: "l", call: headerNames},
		{name: "get_header_values", params: "iiiii", results: "l", call: headerValues},
		{name: "set_header_value", params: "iiiii", call: setHeader},
		{name: "add_header_value", params: "iiiii", call: addHeader},
		{name: "remove_header", params: "iii", call: removeHeader},

		{name: "read_body", params: "iii", results: "l", call: readBody, waits: true},
		{name: "write_body", params: "iii", call: writeBody},

		{name: "get_status_code", results: "i", call: func(c *call) { c.answer(uint64(c.x.statusCode())) }},
		{name: "set_status_code", params: "i", call: setStatus},
	}
}

// Functions implements [compute.ABI].
func (a *ABI) Functions() []compute.HostFunc {
	var out []compute.HostFunc
	for _, f := range table() {
		h := compute.HostFunc{Module: moduleName, Name: f.name, Params: typesOf(f.params), Results: typesOf(f.results), Early: f.early, Waits: f.waits}
		h.Call = func(ctx context.Context, g *compute.Guest, stack []uint64) {
			c := call{name: f.name, g: g, x: g.Session().(*exchange), stack: stack}
			f.call(&c)
			g.Charge(ctx, c.bytes/16)
		}
		out = append(out, h)
	}
	return out
}

func typesOf(letters string) []api.ValueType {
	var out []api.ValueType
	for _, l := range letters {
		if l == 'l' {
			out = append(out, api.ValueTypeI64)
		} else {
			out = append(out, api.ValueTypeI32)
		}
	}
	return out
}

// call is one call of a function. What is wrong with it ends the guest: the
// interface has no codes for errors.
type call struct {
	name  string
	g     *compute.Guest
	x     *exchange
	stack []uint64
	bytes uint64 // that it copied, which the guest pays for
}

func (c *call) abi() *ABI { return c.x.abi }

func (c *call) u32(i int) uint32 { return uint32(c.stack[i]) }

func (c *call) answer(v uint64) { c.stack[0] = v }

// fail ends the guest. It does not return.
func (c *call) fail(format string, args ...any) {
	c.g.Refuse(c.name + ": " + fmt.Sprintf(format, args...))
}

// memory is a part of the guest's memory, by the parameters i and i+1.
func (c *call) memory(i int) []byte {
	b, ok := c.g.Bytes(c.u32(i), c.u32(i+1))
	if !ok {
		c.fail("%d bytes at %d are not in its memory", c.u32(i+1), c.u32(i))
	}
	return b
}

// text is a copy of a part of the guest's memory.
func (c *call) text(i int) string { return string(c.memory(i)) }

// copied notes what was copied.
func (c *call) copied(n int) { c.bytes += uint64(n) }

// give writes a text to the buffer of the parameters 0 and 1, if there is room for
// it, and answers with its length.
func (c *call) give(s string) {
	if len(s) <= int(c.u32(1)) && !c.g.Write(c.u32(0), []byte(s)) {
		c.fail("%d bytes at %d are not in its memory", len(s), c.u32(0))
	}
	c.copied(len(s))
	c.answer(uint64(uint32(len(s))))
}

// giveAll writes texts, each with a zero byte behind it, to the buffer of the
// parameters i and i+1, if there is room for all, and answers with their number
// and length.
func (c *call) giveAll(i int, all []string) {
	size := 0
	for _, s := range all {
		size += len(s) + 1
	}
	c.copied(size)
	at, room := c.u32(i), c.u32(i+1)
	c.answer(uint64(len(all))<<32 | uint64(uint32(size)))
	if size == 0 || uint64(size) > uint64(room) {
		return
	}
	b, ok := c.g.Bytes(at, uint32(size))
	if !ok {
		c.fail("%d bytes at %d are not in its memory", size, at)
	}
	for _, s := range all {
		n := copy(b, s)
		b[n] = 0
		b = b[n+1:]
	}
}

// features are what a guest may turn on.
type features uint32

const (
	bufferRequest features = 1 << iota
	bufferResponse
	trailers

	everyFeature = bufferRequest | bufferResponse | trailers
)

// enableFeatures turns features on: for all requests while the guest starts,
// later for this one. The answer is what there is.
func enableFeatures(c *call) {
	wanted := features(c.u32(0)) & everyFeature
	kept, _ := c.g.Kept().(features)
	c.g.Keep(kept | wanted)
	if !c.x.after {
		c.x.features |= wanted
	}
	c.answer(uint64(everyFeature))
}

func (x *exchange) has(f features) bool { return x.features&f != 0 }

func (c *call) level(i int) Level { return Level(int32(c.u32(i))) }

func (c *call) logs(level Level) bool {
	_, known := words[level]
	return known && level >= c.abi().options.Level
}

func logEnabled(c *call) {
	on := c.logs(c.level(0))
	c.answer(0)
	if on {
		c.answer(1)
	}
}

// logLine is for people: what cannot be read is no reason to end a guest.
func logLine(c *call) {
	level := c.level(0)
	if !c.logs(level) {
		return
	}
	b, ok := c.g.Bytes(c.u32(1), c.u32(2))
	if !ok {
		return
	}
	b = b[:min(len(b), int(c.g.Limits().LogBytes))]
	c.copied(len(b))
	c.g.Log(nil, []byte(words[level]+": "+string(b)+"\n"))
}
