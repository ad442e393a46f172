// Package wasi is the guest interface of plain programs for WASI preview 1: a
// program of any language that reads its standard input and writes its standard
// output handles a request as a script of CGI does (RFC 3875).
//
// Look at [New] first. The request is in the program's environment
// (REQUEST_METHOD, PATH_INFO, QUERY_STRING, HTTP_…) and its body on standard input; the
// answer is on standard output: fields, an empty line, the body. What it writes to
// standard error is its log. An exit status other than 0 is a trap.
//
// It promises that a program sees no files, no sockets and no other request; that
// what it asks of those is an error code of WASI; and that fields which are none are
// refused with a text that says what was expected. It refuses scripts whose
// output is the whole message (nph-), and follows no local redirect: a Location
// without a Status is a 302, whatever it names.
package wasi

import (
	"context"
	"strings"

	"github.com/selvage-edge/selvage/compute"
	"github.com/tetratelabs/wazero/api"
)

// Options set up the interface. The zero value works.
type Options struct {
	// Env are variables beside those of the request, as in NAME=value. Those of the request win.
	Env []string
	// Software is SERVER_SOFTWARE.
	Software string
}

// ABI is the interface. It is safe for concurrent use.
type ABI struct{ options Options }

var _ compute.Finisher = (*ABI)(nil)

// New makes the interface.
func New(o Options) *ABI { return &ABI{o} }

// Name is wasi.
func (*ABI) Name() string { return "wasi" }

// Begin makes what one request's program sees.
func (a *ABI) Begin(_ context.Context, in *compute.Invocation) any {
	return &exchange{in: in, env: environment(a.options, in)}
}

// End has nothing to close: the body is the invocation's.
func (*ABI) End(any) {}

// Finish implements [compute.Finisher]: a program that ends without a whole head gave no answer.
func (*ABI) Finish(_ context.Context, g *compute.Guest) {
	if x := g.Session().(*exchange); !x.begun {
		x.refuse(g, "it ended before the empty line behind the fields of its answer")
	}
}

// The error numbers of WASI that are given here.
const (
	success  = 0
	badFile  = 8
	fault    = 21
	inputOut = 29
	pipe     = 64
)

// moduleName is where programs import from.
const moduleName = "wasi_snapshot_preview1"

// Functions are those of WASI that are about the request. The engine has the others.
func (a *ABI) Functions() []compute.HostFunc {
	return []compute.HostFunc{
		function("environ_sizes_get", 2, environSizes),
		function("environ_get", 2, environGet),
		function("fd_read", 4, read),
		function("fd_write", 4, write),
	}
}

// function is one of so many parameters that answers with an error number.
func function(name string, params int, do func(ctx context.Context, g *compute.Guest, args []uint32) uint32) compute.HostFunc {
	h := compute.HostFunc{Module: moduleName, Name: name, Results: []api.ValueType{api.ValueTypeI32}}
	for range params {
		h.Params = append(h.Params, api.ValueTypeI32)
	}
	h.Call = func(ctx context.Context, g *compute.Guest, stack []uint64) {
		args := make([]uint32, params)
		for i := range args {
			args[i] = uint32(stack[i])
		}
		stack[0] = uint64(do(ctx, g, args))
	}
	return h
}

func environSizes(_ context.Context, g *compute.Guest, args []uint32) uint32 {
	x, size := g.Session().(*exchange), 0
	for _, kv := range x.env {
		size += len(kv) + 1
	}
	if !g.PutUint32(args[0], uint32(len(x.env))) || !g.PutUint32(args[1], uint32(size)) {
		return fault
	}
	return success
}

func environGet(ctx context.Context, g *compute.Guest, args []uint32) uint32 {
	pointers, at := args[0], args[1]
	for _, kv := range g.Session().(*exchange).env {
		if !g.PutUint32(pointers, at) || !g.Write(at, append([]byte(kv), 0)) {
			return fault
		}
		pointers += 4
		at += uint32(len(kv)) + 1
		g.Charge(ctx, uint64(len(kv)))
	}
	return success
}

// read fills the first buffer that has room. At the end of the body it reads nothing.
func read(ctx context.Context, g *compute.Guest, args []uint32) uint32 {
	x, n := g.Session().(*exchange), 0
	if args[0] != 0 {
		return badFile
	}
	for p, ok := range g.Vectors(ctx, args[1], args[2]) {
		if !ok {
			return fault
		}
		if len(p) == 0 {
			continue
		}
		if x.in.R.Body != nil {
			var err error
			g.Wait(func() { n, err = x.in.R.Body.Read(p) })
			if n == 0 && err != nil && !isEOF(err) {
				g.Check()
				return inputOut
			}
		}
		break
	}
	if !g.PutUint32(args[3], uint32(n)) {
		return fault
	}
	return success
}

// write takes a part of the answer, or of the log.
func write(ctx context.Context, g *compute.Guest, args []uint32) uint32 {
	x, n := g.Session().(*exchange), uint32(0)
	if args[0] != 1 && args[0] != 2 {
		return badFile
	}
	for p, ok := range g.Vectors(ctx, args[1], args[2]) {
		switch {
		case !ok:
			return fault
		case args[0] == 2:
			g.Log(nil, p)
		default:
			if err := x.write(g, p); err != nil {
				return pipe
			}
		}
		n += uint32(len(p))
		g.Charge(ctx, uint64(len(p))/16)
	}
	if !g.PutUint32(args[3], n) {
		return fault
	}
	return success
}

// environment are the variables of a request (RFC 3875, section 4.1).
func environment(o Options, in *compute.Invocation) []string {
	r := in.R
	host, port, https := r.Host, "80", in.Client.TLS || r.TLS != nil
	if https {
		port = "443"
	}
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") {
		host, port = host[:i], host[i+1:]
	}
	vars := newVariables(o.Env)
	vars.set("GATEWAY_INTERFACE", "CGI/1.1")
	vars.set("SERVER_SOFTWARE", o.Software)
	vars.set("SERVER_PROTOCOL", r.Proto)
	vars.set("SERVER_NAME", host)
	vars.set("SERVER_PORT", port)
	vars.set("REQUEST_METHOD", r.Method)
	vars.set("SCRIPT_NAME", "")
	if r.URL != nil {
		vars.set("REQUEST_URI", r.URL.RequestURI())
		vars.set("PATH_INFO", r.URL.Path)
		vars.set("QUERY_STRING", r.URL.RawQuery)
	}
	if a := in.Client.Address; a.IsValid() {
		vars.set("REMOTE_ADDR", a.Addr().String())
		vars.setNumber("REMOTE_PORT", int64(a.Port()))
	}
	if https {
		vars.set("HTTPS", "on")
	}
	if r.ContentLength > 0 {
		vars.setNumber("CONTENT_LENGTH", r.ContentLength)
	}
	vars.fields(in.Header(), r.Host)
	return vars.list
}
