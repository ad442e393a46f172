package guest

import (
	"errors"
	"strconv"
	"unsafe"
)

// The functions of the host. Each returns a status; 0 is well.

//go:wasmimport fastly_http_req body_downstream_get
func hostDownstream(req, body *uint32) uint32

//go:wasmimport fastly_http_downstream next_request
func hostNext(mask uint32, options unsafe.Pointer, promise *uint32) uint32

//go:wasmimport fastly_http_downstream next_request_wait
func hostNextWait(promise uint32, req, body *uint32) uint32

//go:wasmimport fastly_http_req new
func hostRequestNew(req *uint32) uint32

//go:wasmimport fastly_http_req method_get
func hostMethodGet(req uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req method_set
func hostMethodSet(req uint32, p unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req uri_get
func hostURIGet(req uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req uri_set
func hostURISet(req uint32, p unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req header_names_get
func hostRequestNames(req uint32, buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32

//go:wasmimport fastly_http_req header_values_get
func hostRequestValues(req uint32, name unsafe.Pointer, nameSize uint32, buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32

//go:wasmimport fastly_http_req header_append
func hostRequestAppend(req uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req send_async
func hostSend(req, body uint32, backend unsafe.Pointer, size uint32, pending *uint32) uint32

//go:wasmimport fastly_http_req pending_req_wait
func hostWait(pending uint32, resp, body *uint32) uint32

//go:wasmimport fastly_http_req downstream_client_ip_addr
func hostClient(octets unsafe.Pointer, n *uint32) uint32

//go:wasmimport fastly_http_resp new
func hostResponseNew(resp *uint32) uint32

//go:wasmimport fastly_http_resp status_get
func hostStatusGet(resp uint32, status *uint16) uint32

//go:wasmimport fastly_http_resp status_set
func hostStatusSet(resp, status uint32) uint32

//go:wasmimport fastly_http_resp header_names_get
func hostResponseNames(resp uint32, buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32

//go:wasmimport fastly_http_resp header_values_get
func hostResponseValues(resp uint32, name unsafe.Pointer, nameSize uint32, buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32

//go:wasmimport fastly_http_resp header_append
func hostResponseAppend(resp uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_resp send_downstream
func hostRespond(resp, body, streaming uint32) uint32

//go:wasmimport fastly_http_body new
func hostBodyNew(body *uint32) uint32

//go:wasmimport fastly_http_body read
func hostBodyRead(body uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_body write
func hostBodyWrite(body uint32, buf unsafe.Pointer, size, end uint32, n *uint32) uint32

//go:wasmimport fastly_http_body close
func hostBodyClose(body uint32) uint32

//go:wasmimport fastly_config_store open
func hostConfigOpen(name unsafe.Pointer, size uint32, store *uint32) uint32

//go:wasmimport fastly_config_store get
func hostConfigGet(store uint32, key unsafe.Pointer, keySize uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_secret_store open
func hostSecretsOpen(name unsafe.Pointer, size uint32, store *uint32) uint32

//go:wasmimport fastly_secret_store get
func hostSecretsGet(store uint32, key unsafe.Pointer, keySize uint32, secret *uint32) uint32

//go:wasmimport fastly_secret_store plaintext
func hostSecretText(secret uint32, buf unsafe.Pointer, size uint32, n *uint32) uint32

// bufferLength is the status of a buffer that is too small; how much is needed is told.
const bufferLength = 4

// invalid is the status of what is not valid, and of an origin that is not there.
const invalid = 2

// none is the status of what is not there.
const none = 10

// statuses are what a status means, by its number.
var statuses = [...]string{
	1: "failed", invalid: "invalid argument", 3: "bad handle", 5: "unsupported here", 7: "invalid HTTP", 8: "refused by the host",
	9: "the answer is incomplete", 10: "there is none", 11: "the head is too large", 12: "invalid status", 13: "limit exceeded",
}

// failed is the error of a status; nil for 0.
func failed(what string, status uint32) error {
	if status == 0 {
		return nil
	}
	text := "status " + strconv.Itoa(int(status))
	if int(status) < len(statuses) && statuses[status] != "" {
		text = statuses[status]
	}
	return errors.New(what + ": " + text)
}

// must ends the program for what cannot fail but by a defect of this package.
func must(what string, status uint32) {
	if err := failed(what, status); err != nil {
		panic(err)
	}
}

// at is where a text lies, and how long it is.
func at(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// room is where bytes may be written.
func room(b []byte) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.SliceData(b)), uint32(len(b))
}

// firstBuffer is how many bytes a text may have before it is asked for twice.
const firstBuffer = 1024

// text asks for a text, twice if it is a long one. ok is false where there is none.
func text(ask func(buf unsafe.Pointer, size uint32, n *uint32) uint32) (string, bool) {
	buf := make([]byte, firstBuffer)
	for {
		var n uint32
		p, size := room(buf)
		switch status := ask(p, size, &n); {
		case status == 0:
			return string(buf[:n]), true
		case status == bufferLength && n > size:
			buf = make([]byte, n)
		default:
			return "", false
		}
	}
}

// list asks for texts that each end in a zero byte.
func list(ask func(buf unsafe.Pointer, size, cursor uint32, next *int64, n *uint32) uint32) []string {
	var out []string
	buf := make([]byte, firstBuffer)
	for cursor := uint32(0); ; {
		var n uint32
		var next int64
		p, size := room(buf)
		switch status := ask(p, size, cursor, &next, &n); {
		case status == bufferLength && n > size:
			buf = make([]byte, n)
			continue
		case status != 0:
			return out
		}
		for rest := buf[:n]; len(rest) > 0; {
			end := 0
			for end < len(rest) && rest[end] != 0 {
				end++
			}
			out = append(out, string(rest[:end]))
			rest = rest[min(end+1, len(rest)):]
		}
		if next < 0 {
			return out
		}
		cursor = uint32(next)
	}
}
