//go:build wasip1

// Command guest is a program of the tests: Go's own compiler, and the interface
// by its imports, without a library. The path says what it does.
package main

import (
	"strconv"
	"strings"
	"syscall"
	"unsafe"
)

//go:wasmimport fastly_http_req body_downstream_get
func downstream(req, body *uint32) uint32

//go:wasmimport fastly_http_req uri_get
func uriGet(req uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req new
func requestNew(req *uint32) uint32

//go:wasmimport fastly_http_req uri_set
func uriSet(req uint32, uri unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req method_set
func methodSet(req uint32, method unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req send_async_streaming
func sendStreaming(req, body uint32, backend unsafe.Pointer, size uint32, pending *uint32) uint32

//go:wasmimport fastly_http_req send_async
func sendAsync(req, body uint32, backend unsafe.Pointer, size uint32, pending *uint32) uint32

//go:wasmimport fastly_http_req pending_req_wait_v2
func pendingWait(pending uint32, detail *[20]byte, resp, body *uint32) uint32

//go:wasmimport fastly_http_resp new
func responseNew(resp *uint32) uint32

//go:wasmimport fastly_http_resp header_append
func headerAppend(resp uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, valueSize uint32) uint32

//go:wasmimport fastly_http_resp send_downstream
func send(resp, body, streaming uint32) uint32

//go:wasmimport fastly_http_body new
func bodyNew(body *uint32) uint32

//go:wasmimport fastly_http_body write
func bodyWrite(body uint32, buf unsafe.Pointer, size, end uint32, n *uint32) uint32

//go:wasmimport fastly_http_body read
func bodyRead(body uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_body append
func bodyAppend(to, from uint32) uint32

//go:wasmimport fastly_http_body close
func bodyClose(body uint32) uint32

//go:wasmimport fastly_config_store open
func configOpen(name unsafe.Pointer, size uint32, store *uint32) uint32

//go:wasmimport fastly_config_store get
func configGet(store uint32, key unsafe.Pointer, keySize uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_kv_store open
func kvOpen(name unsafe.Pointer, size uint32, store *uint32) uint32

//go:wasmimport fastly_kv_store insert
func kvInsert(store uint32, key unsafe.Pointer, size, body, mask uint32, config *[32]byte, task *uint32) uint32

//go:wasmimport fastly_kv_store insert_wait
func kvInsertWait(task uint32, kvError *uint32) uint32

//go:wasmimport fastly_kv_store lookup
func kvLookup(store uint32, key unsafe.Pointer, size, mask uint32, config *[32]byte, task *uint32) uint32

//go:wasmimport fastly_kv_store lookup_wait_v2
func kvLookupWait(task uint32, body *uint32, meta unsafe.Pointer, size uint32, n *uint32, generation *uint64, kvError *uint32) uint32

//go:wasmimport fastly_of_tomorrow something_new
func somethingNew(a uint32) uint32

// check ends the program if a function did not do what it should.
func check(what string, status uint32) {
	if status != 0 {
		panic(what + ": status " + strconv.Itoa(int(status)))
	}
}

func in(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// readAll reads a body to its end.
func readAll(body uint32) string {
	var out strings.Builder
	buf := make([]byte, 1024)
	for {
		var n uint32
		check("read", bodyRead(body, unsafe.Pointer(&buf[0]), uint32(len(buf)), &n))
		if n == 0 {
			return out.String()
		}
		out.Write(buf[:n])
	}
}

func write(body uint32, s string) {
	p, size := in(s)
	var n uint32
	check("write", bodyWrite(body, p, size, 0, &n))
}

func newBody(s string) (body uint32) {
	check("new body", bodyNew(&body))
	write(body, s)
	return body
}

// ask prepares a request to an origin.
func ask(method, uri string) (req uint32) {
	check("new request", requestNew(&req))
	p, size := in(uri)
	check("uri", uriSet(req, p, size))
	p, size = in(method)
	check("method", methodSet(req, p, size))
	return req
}

// respond answers, and returns the body if it is to be streamed.
func respond(body, streaming uint32) {
	var resp uint32
	check("new response", responseNew(&resp))
	name, nameSize := in("X-Guest")
	value, valueSize := in("go")
	check("field", headerAppend(resp, name, nameSize, value, valueSize))
	check("send", send(resp, body, streaming))
}

// copied is what the program found in its environment before it asked for a request.
var copied = func() string {
	id, _ := syscall.Getenv("FASTLY_TRACE_ID")
	return strings.Clone(id)
}()

func main() {
	var req, body, n uint32
	check("downstream", downstream(&req, &body))
	buf := make([]byte, 1024)
	check("uri", uriGet(req, unsafe.Pointer(&buf[0]), uint32(len(buf)), &n))
	uri := string(buf[:n])
	switch path := uri[strings.LastIndexByte(uri, '/'):]; path {
	case "/hello":
		id, _ := syscall.Getenv("FASTLY_SERVICE_ID")
		respond(newBody("hello from "+id), 0)
	case "/trace":
		id, _ := syscall.Getenv("FASTLY_TRACE_ID")
		respond(newBody(id+" "+copied), 0)
	case "/through":
		through()
	case "/up":
		up(body)
	case "/stream":
		out := newBody("")
		respond(out, 1)
		for i := range 5 {
			write(out, "chunk "+strconv.Itoa(i)+"\n")
		}
		check("close", bodyClose(out))
	case "/stores":
		respond(newBody(stores()), 0)
	case "/new":
		respond(newBody("status "+strconv.Itoa(int(somethingNew(1)))), 0)
	case "/panic":
		panic("as asked for")
	default:
		respond(newBody("no such path: "+path), 0)
	}
}

// through passes an origin's answer on.
func through() {
	p, size := in("api")
	var pending, resp, answer uint32
	check("send", sendAsync(ask("GET", "http://api.example/thing"), newBody(""), p, size, &pending))
	check("wait", pendingWait(pending, &[20]byte{}, &resp, &answer))
	check("answer", send(resp, answer, 0))
}

// up streams what the client sends to an origin, with words around.
func up(body uint32) {
	p, size := in("api")
	var pending, resp, answer uint32
	out := newBody("<")
	check("send", sendStreaming(ask("POST", "http://api.example/echo"), out, p, size, &pending))
	check("append", bodyAppend(out, body))
	write(out, ">")
	check("close", bodyClose(out))
	check("wait", pendingWait(pending, &[20]byte{}, &resp, &answer))
	respond(newBody(readAll(answer)), 0)
}

// stores uses a config store and a KV store.
func stores() string {
	var conf, kv, task, failed, n, body uint32
	var generation uint64
	p, size := in("conf")
	check("open", configOpen(p, size, &conf))
	key, keySize := in("greeting")
	buf := make([]byte, 100)
	check("get", configGet(conf, key, keySize, unsafe.Pointer(&buf[0]), 100, &n))
	p, size = in("kv")
	check("open", kvOpen(p, size, &kv))
	check("insert", kvInsert(kv, key, keySize, newBody("kept"), 0, &[32]byte{}, &task))
	check("insert", kvInsertWait(task, &failed))
	check("lookup", kvLookup(kv, key, keySize, 0, &[32]byte{}, &task))
	meta := make([]byte, 100)
	var m uint32
	check("lookup", kvLookupWait(task, &body, unsafe.Pointer(&meta[0]), 100, &m, &generation, &failed))
	return string(buf[:n]) + " " + readAll(body)
}
