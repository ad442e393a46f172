// Package httpwasm is the guest interface of http-wasm handlers, version 1: the
// middleware that plug-ins for Traefik and others are written as
// (https://http-wasm.io/http-handler-abi).
//
// Look at [New] first, which makes the interface that the engine links. A guest
// exports handle_request, which looks at the request, changes it, and says
// whether it goes on to the origin behind the function; and handle_response,
// which is called with the origin's answer. What a guest imports is in table.go.
//
// It promises that a guest which passes what makes no sense is ended with a trap
// that says so, as the interface has it, and that it reads and writes nothing outside
// of its own memory; that what is kept of bodies is bounded; and that whatever
// a guest sends is a message of HTTP. It refuses what a guest asks for while it
// starts, but for its configuration, its features and the log: what it learnt of
// one request would be in the memory of every other.
//
// Where the interface leaves a choice: a status and a body that a guest
// wrote before it let the request go on stand instead of the origin's, fields
// are added to the origin's. A body that was read without buffer_request goes on without what was read.
package httpwasm

import (
	"context"
	"errors"

	"github.com/selvage-edge/selvage/compute"
	"github.com/tetratelabs/wazero/api"
)

// Level is how much a guest logs.
type Level int32

// The levels.
const (
	Debug Level = iota - 1
	Info
	Warn
	Error
	None
)

// words are the levels as they stand in a log.
var words = map[Level]string{Debug: "debug", Info: "info", Warn: "warn", Error: "error"}

// ParseLevel is the level of a word; Info of one that is none.
func ParseLevel(word string) Level {
	for level, w := range words {
		if w == word {
			return level
		}
	}
	if word == "none" {
		return None
	}
	return Info
}

// Options set up the interface. The zero value works.
type Options struct {
	// Config is what get_config gives.
	Config []byte
	// Level is the lowest that is logged. The zero value is Info.
	Level Level
	// BodyBytes is how much is kept of a request's bodies together, where a
	// guest buffers them or writes its own. Default 16 MiB. More ends the
	// guest with the limit bodies.
	BodyBytes int64
}

// LimitBodies is the limit of Options.BodyBytes.
const LimitBodies compute.LimitName = "bodies"

const defaultBodyBytes = 16 << 20

// ABI is the interface. It is safe for concurrent use.
type ABI struct{ options Options }

var _ compute.Handler = (*ABI)(nil)

// New makes the interface.
func New(o Options) *ABI {
	if o.BodyBytes <= 0 {
		o.BodyBytes = defaultBodyBytes
	}
	return &ABI{o}
}

// Name is http-wasm.
func (*ABI) Name() string { return "http-wasm" }

// IsOurs says whether a module that a guest imports from is this interface's.
func IsOurs(module string) bool { return module == moduleName }

const moduleName = "http_handler"

// Exports implements [compute.Handler].
func (*ABI) Exports() map[string]compute.Signature {
	i32, i64 := api.ValueTypeI32, api.ValueTypeI64
	return map[string]compute.Signature{
		"handle_request":  {Results: []api.ValueType{i64}},
		"handle_response": {Params: []api.ValueType{i32, i32}},
	}
}

// Begin makes what one request's guest sees.
func (a *ABI) Begin(_ context.Context, in *compute.Invocation) any { return begin(a, in) }

// End closes what the guest left open.
func (*ABI) End(session any) {
	if x, ok := session.(*exchange); ok && x.answer != nil {
		_ = x.answer.Body.Close() // all of it that anybody wanted was read
	}
}

// Serve implements [compute.Handler].
func (*ABI) Serve(ctx context.Context, g *compute.Guest) error {
	x := g.Session().(*exchange)
	x.g = g
	x.features, _ = g.Kept().(features)
	results, err := g.Call(ctx, "handle_request")
	if err != nil {
		return err
	}
	if uint32(results[0]) == 0 {
		return x.send()
	}
	failed := x.next(ctx)
	g.Check()
	if limit, ok := errors.AsType[*compute.LimitError](failed); ok {
		return limit
	}
	isError := uint64(0)
	if failed != nil {
		isError = 1
	}
	if _, err := g.Call(ctx, "handle_response", results[0]>>32, isError); err != nil {
		return err
	}
	switch {
	case failed != nil && (x.sent || !x.answered):
		return failed
	case x.sent:
		return nil
	}
	return x.send()
}
