//go:build wasip1

// Command scenes does what the path says, for the tests of functions at the whole edge.
package main

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"unsafe"

	"github.com/selvage-edge/selvage/guest"
)

//go:wasmimport fastly_http_resp new
func respNew(resp *uint32) uint32

//go:wasmimport fastly_http_resp status_set
func respStatus(resp, status uint32) uint32

//go:wasmimport fastly_http_resp header_append
func respAppend(resp uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_resp send_downstream
func respSend(resp, body, streaming uint32) uint32

//go:wasmimport fastly_http_body new
func bodyNew(body *uint32) uint32

//go:wasmimport fastly_http_body write
func bodyWrite(body uint32, p unsafe.Pointer, size, end uint32, n *uint32) uint32

//go:wasmimport fastly_http_body close
func bodyClose(body uint32) uint32

//go:wasmimport fastly_http_body trailer_append
func trailerAppend(body uint32, name unsafe.Pointer, nameSize uint32, value unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req new
func reqNew(req *uint32) uint32

//go:wasmimport fastly_http_req uri_set
func reqURI(req uint32, p unsafe.Pointer, size uint32) uint32

//go:wasmimport fastly_http_req send_async
func reqSend(req, body uint32, backend unsafe.Pointer, size uint32, pending *uint32) uint32

//go:wasmimport fastly_http_req pending_req_select
func reqSelect(pending unsafe.Pointer, n uint32, which, resp, body *uint32) uint32

//go:wasmimport fastly_http_body read
func bodyRead(body uint32, p unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req register_dynamic_backend
func register(name unsafe.Pointer, nameSize uint32, target unsafe.Pointer, size, mask uint32, settings unsafe.Pointer) uint32

func text(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		name, _, _ := strings.Cut(strings.TrimPrefix(r.Path(), "/"), "/")
		return map[string]func(*guest.Request) *guest.Response{
			"flood": flood, "echo": echo, "up": up, "events": events, "trailers": trailers, "hints": hints, "gone": gone, "select": race,
			"dynamic": dynamic, "outer": outer, "inner": ask("web"), "again": ask("again"), "cut": cut, "page": page,
		}[name](r)
	})
}

// stream begins an answer that is written as it comes.
func stream() io.WriteCloser {
	w, err := (&guest.Response{Header: guest.Header{"content-type": {"text/event-stream"}}}).Stream()
	if err != nil {
		panic(err)
	}
	return w
}

// flood answers with 100 MiB.
func flood(*guest.Request) *guest.Response {
	w, chunk := stream(), make([]byte, 64<<10)
	for range 1600 {
		if _, err := w.Write(chunk); err != nil {
			panic(err)
		}
	}
	_ = w.Close()
	return nil
}

// echo answers with what comes, in capitals, while it comes.
func echo(r *guest.Request) *guest.Response {
	w, buf := stream(), make([]byte, 4096)
	for {
		n, err := r.Body.Read(buf)
		if err != nil {
			break
		}
		if _, err := w.Write(bytes.ToUpper(buf[:n])); err != nil {
			panic(err)
		}
	}
	_ = w.Close()
	return nil
}

// up counts what comes.
func up(r *guest.Request) *guest.Response {
	n, err := io.CopyBuffer(io.Discard, struct{ io.Reader }{r.Body}, make([]byte, 64<<10))
	if err != nil {
		panic(err)
	}
	return guest.Text(200, fmt.Sprint(n))
}

// events tells one at once, and the other when the origin has answered.
func events(r *guest.Request) *guest.Response {
	w := stream()
	_, _ = io.WriteString(w, "data: one\n\n")
	if _, err := guest.NewRequest("GET", "http://shop.example/wait"+r.Path()).Send("web"); err != nil {
		panic(err)
	}
	_, _ = io.WriteString(w, "data: two\n\n")
	_ = w.Close()
	return nil
}

// trailers has a field behind its body.
func trailers(*guest.Request) *guest.Response {
	var resp, body, n uint32
	respNew(&resp)
	bodyNew(&body)
	respSend(resp, body, 1)
	p, size := text("body")
	bodyWrite(body, p, size, 0, &n)
	name, nameSize := text("x-sum")
	value, valueSize := text("12")
	trailerAppend(body, name, nameSize, value, valueSize)
	bodyClose(body)
	return nil
}

// hints says what will be needed before it answers.
func hints(*guest.Request) *guest.Response {
	var resp, body uint32
	respNew(&resp)
	bodyNew(&body)
	respStatus(resp, 103)
	name, nameSize := text("link")
	value, valueSize := text("</style.css>; rel=preload")
	respAppend(resp, name, nameSize, value, valueSize)
	if respSend(resp, body, 0) != 0 {
		panic("the hints are refused")
	}
	return guest.Text(200, "page")
}

// gone begins an answer and then waits for an origin that has none.
func gone(r *guest.Request) *guest.Response {
	w := stream()
	_, _ = io.WriteString(w, "begun")
	_, _ = guest.NewRequest("GET", "http://shop.example/hang"+r.Path()).Send("web")
	_, _ = io.WriteString(w, "not for anybody")
	return nil
}

// race asks three at once and lists their answers as they come.
func race(*guest.Request) *guest.Response {
	var pending []uint32
	for i := range 3 {
		var req, body, p uint32
		reqNew(&req)
		uri, size := text(fmt.Sprint("http://shop.example/turn/", i))
		reqURI(req, uri, size)
		bodyNew(&body)
		backend, size := text("web")
		reqSend(req, body, backend, size, &p)
		pending = append(pending, p)
	}
	w := stream()
	_, _ = io.WriteString(w, "go ")
	for len(pending) > 0 {
		var which, resp, body, n uint32
		if reqSelect(unsafe.Pointer(&pending[0]), uint32(len(pending)), &which, &resp, &body) != 0 {
			panic("none answers")
		}
		buf := make([]byte, 100)
		bodyRead(body, unsafe.Pointer(&buf[0]), uint32(len(buf)), &n)
		_, _ = w.Write(buf[:n])
		pending = append(pending[:which], pending[which+1:]...)
	}
	_ = w.Close()
	return nil
}

// dynamic asks the address in a field, which is no origin of the service.
func dynamic(r *guest.Request) *guest.Response {
	name, nameSize := text("there")
	target, size := text(r.Header.Get("X-Target"))
	var settings [128]byte
	if status := register(name, nameSize, target, size, 0, unsafe.Pointer(&settings[0])); status != 0 {
		return guest.Text(403, fmt.Sprint("status ", status))
	}
	resp, err := guest.NewRequest("GET", "http://there.example/dynamic").Send("there")
	if err != nil {
		return guest.Text(502, err.Error())
	}
	return resp
}

// outer asks a function.
func outer(r *guest.Request) *guest.Response {
	r.URL = "http://shop.example/inner"
	return ask("inner")(r)
}

// ask passes the request on.
func ask(origin string) func(*guest.Request) *guest.Response {
	return func(r *guest.Request) *guest.Response {
		resp, err := r.Send(origin)
		if err != nil {
			return guest.Text(502, err.Error())
		}
		return resp
	}
}

// cut begins an answer and fails.
func cut(*guest.Request) *guest.Response {
	w := stream()
	_, _ = io.WriteString(w, "begun")
	panic("it does not go on")
}

// page is an answer that may be stored.
func page(r *guest.Request) *guest.Response {
	resp, err := guest.NewRequest("GET", "http://shop.example/data").Send("web")
	if err != nil {
		return guest.Text(502, err.Error())
	}
	data, err := resp.Body.Text()
	if err != nil {
		return guest.Text(502, err.Error())
	}
	out := guest.Text(200, "page of "+data)
	out.Header.Set("Cache-Control", "max-age=60")
	return out
}
