//go:build wasip1

// Command handler is middleware for the http-wasm handler interface, as plug-ins for
// other proxies are: it refuses paths that its configuration does not name, marks what
// goes on to the origin, and says in the answer who let it through. It is
// built as a library, with -buildmode=c-shared: its main never runs.
package main

import (
	"strings"
	"unsafe"
)

//go:wasmimport http_handler get_config
func getConfig(buf unsafe.Pointer, room uint32) uint32

//go:wasmimport http_handler enable_features
func enableFeatures(features uint32) uint32

//go:wasmimport http_handler get_uri
func getURI(buf unsafe.Pointer, room uint32) uint32

//go:wasmimport http_handler set_header_value
func setHeader(kind uint32, name unsafe.Pointer, nameLen uint32, value unsafe.Pointer, valueLen uint32)

//go:wasmimport http_handler set_status_code
func setStatus(status uint32)

//go:wasmimport http_handler write_body
func writeBody(kind uint32, body unsafe.Pointer, size uint32)

// The kinds of fields and bodies, and the feature that lets an answer be changed.
const (
	ofRequest, ofResponse = 0, 1
	bufferResponse        = 2
)

// text calls a function that gives a text, with as much room as it needs.
func text(get func(buf unsafe.Pointer, room uint32) uint32) string {
	buf := make([]byte, 256)
	for {
		n := get(unsafe.Pointer(&buf[0]), uint32(len(buf)))
		if int(n) <= len(buf) {
			return string(buf[:n])
		}
		buf = make([]byte, n)
	}
}

func set(kind uint32, name, value string) {
	setHeader(kind, unsafe.Pointer(unsafe.StringData(name)), uint32(len(name)), unsafe.Pointer(unsafe.StringData(value)), uint32(len(value)))
}

// allowed are the beginnings of paths that may pass. It is read once, and is
// the same in every request's sandbox.
var allowed = func() []string {
	enableFeatures(bufferResponse)
	return strings.Fields(text(getConfig))
}()

//go:wasmexport handle_request
func handleRequest() uint64 {
	uri := text(getURI)
	for _, prefix := range allowed {
		if strings.HasPrefix(uri, prefix) {
			set(ofRequest, "X-Checked", prefix)
			return 1 // it goes on to the origin
		}
	}
	setStatus(403)
	no := "not here\n"
	writeBody(ofResponse, unsafe.Pointer(unsafe.StringData(no)), uint32(len(no)))
	return 0
}

//go:wasmexport handle_response
func handleResponse(_, failed uint32) {
	if failed == 0 {
		set(ofResponse, "X-Handler", "go")
	}
}

func main() {}
