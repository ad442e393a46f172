//go:build wasip1

// Command tour uses what a function finds at the edge, a path for each, for the
// tests of functions at the whole edge: Go's own compiler, package guest, and the
// imports of what that has not.
package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"strconv"
	"unsafe"

	"github.com/selvage-edge/selvage/guest"
)

//go:wasmimport fastly_http_req downstream_tls_client_hello
func tlsHello(buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req downstream_tls_ja3_md5
func tlsJA3(buf unsafe.Pointer, n *uint32) uint32

//go:wasmimport fastly_http_req downstream_tls_ja4
func tlsJA4(buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req downstream_tls_raw_client_certificate
func tlsCertificate(buf unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_req downstream_tls_client_cert_verify_result
func tlsVerdict(result *uint32) uint32

//go:wasmimport fastly_cache lookup
func cacheLookup(key unsafe.Pointer, size, mask uint32, options unsafe.Pointer, handle *uint32) uint32

//go:wasmimport fastly_cache get_state
func cacheState(handle uint32, state *uint32) uint32

//go:wasmimport fastly_cache get_body
func cacheBody(handle, mask uint32, options unsafe.Pointer, body *uint32) uint32

//go:wasmimport fastly_cache insert
func cacheInsert(key unsafe.Pointer, size, mask uint32, options unsafe.Pointer, body *uint32) uint32

//go:wasmimport fastly_object_store open
func storeOpen(name unsafe.Pointer, size uint32, store *uint32) uint32

//go:wasmimport fastly_object_store lookup
func storeLookup(store uint32, key unsafe.Pointer, size uint32, body *uint32) uint32

//go:wasmimport fastly_object_store insert
func storeInsert(store uint32, key unsafe.Pointer, size, body uint32) uint32

//go:wasmimport fastly_geo lookup
func geoLookup(address unsafe.Pointer, size uint32, buf unsafe.Pointer, bufSize uint32, n *uint32) uint32

//go:wasmimport fastly_log endpoint_get
func logOpen(name unsafe.Pointer, size uint32, endpoint *uint32) uint32

//go:wasmimport fastly_log write
func logWrite(endpoint uint32, line unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_body new
func bodyNew(body *uint32) uint32

//go:wasmimport fastly_http_body write
func bodyWrite(body uint32, p unsafe.Pointer, size, end uint32, n *uint32) uint32

//go:wasmimport fastly_http_body read
func bodyRead(body uint32, p unsafe.Pointer, size uint32, n *uint32) uint32

//go:wasmimport fastly_http_body close
func bodyClose(body uint32) uint32

func at(s string) (unsafe.Pointer, uint32) {
	return unsafe.Pointer(unsafe.StringData(s)), uint32(len(s))
}

// must ends the program with a trap that says which function refused.
func must(what string, status uint32) {
	if status != 0 {
		panic(fmt.Sprintf("%s: status %d", what, status))
	}
}

func main() {
	routes := map[string]func(*guest.Request) string{
		"/fetch": fetch, "/cache": cache, "/kv": kv, "/signed": signed, "/geo": geo, "/log": log, "/tls": handshake, "/through": through, "/nobody": nobody,
	}
	guest.Serve(func(r *guest.Request) *guest.Response {
		return guest.Text(200, routes[r.Path()](r))
	})
}

// nobody asks an origin that is not there.
func nobody(*guest.Request) string {
	_, err := guest.NewRequest("GET", "http://api.internal/").Send("nobody")
	return fmt.Sprint(err)
}

// fetch asks an origin twice at once.
func fetch(*guest.Request) string {
	out := ""
	var asked []*guest.Pending
	for n := range 2 {
		p, err := guest.NewRequest("GET", "http://api.internal/part/"+strconv.Itoa(n)).Start("web")
		if err != nil {
			panic(err)
		}
		asked = append(asked, p)
	}
	for _, p := range asked {
		res, err := p.Wait()
		if err != nil {
			panic(err)
		}
		text, err := res.Body.Text()
		if err != nil {
			panic(err)
		}
		out += text + ", "
	}
	return out
}

// through sends on what comes and hands on what is answered, both as they come.
func through(r *guest.Request) string {
	up := guest.NewRequest("POST", "http://api.internal/upper")
	up.Body = r.Body
	res, err := up.Send("web")
	if err != nil {
		panic(err)
	}
	n, sum := 0, sha256.New()
	buf := make([]byte, 32<<10)
	for {
		k, err := res.Body.Read(buf)
		n += k
		sum.Write(buf[:k])
		if err == io.EOF {
			return fmt.Sprintf("%d %x", n, sum.Sum(nil))
		}
		if err != nil {
			panic(err)
		}
	}
}

func readAll(body uint32) string {
	var out []byte
	buf := make([]byte, 256)
	for {
		var n uint32
		must("read", bodyRead(body, unsafe.Pointer(&buf[0]), uint32(len(buf)), &n))
		if n == 0 {
			return string(out)
		}
		out = append(out, buf[:n]...)
	}
}

func write(body uint32, s string) {
	var n uint32
	p, size := at(s)
	must("write", bodyWrite(body, p, size, 0, &n))
}

// cache keeps for a minute who came first.
func cache(r *guest.Request) string {
	var handle, state, body uint32
	key, size := at("first")
	must("look up", cacheLookup(key, size, 0, unsafe.Pointer(&[16]byte{}), &handle))
	must("state", cacheState(handle, &state))
	if state&1 != 0 {
		must("body", cacheBody(handle, 0, unsafe.Pointer(&[16]byte{}), &body))
		return "found " + readAll(body)
	}
	options := [9]uint64{60e9}
	must("insert", cacheInsert(key, size, 0, unsafe.Pointer(&options), &body))
	write(body, r.Header.Get("x-name"))
	must("close", bodyClose(body))
	return "kept " + r.Header.Get("x-name")
}

// kv counts visits.
func kv(*guest.Request) string {
	var store, old, next uint32
	p, size := at("visits")
	must("open", storeOpen(p, size, &store))
	visits := 1
	key, keySize := at("all")
	if storeLookup(store, key, keySize, &old) == 0 && old != 1<<32-1 {
		n, err := strconv.Atoi(readAll(old))
		if err != nil {
			panic(err)
		}
		visits = n + 1
	}
	must("new body", bodyNew(&next))
	write(next, strconv.Itoa(visits))
	must("insert", storeInsert(store, key, keySize, next))
	return strconv.Itoa(visits)
}

// signed signs a setting with a secret.
func signed(*guest.Request) string {
	key, _ := guest.Secret("keys", "signing")
	greeting, _ := guest.Config("settings", "greeting")
	sum := hmac.New(sha256.New, []byte(key))
	sum.Write([]byte(greeting))
	return greeting + " " + hex.EncodeToString(sum.Sum(nil))
}

// geo says where an address is.
func geo(*guest.Request) string {
	buf := make([]byte, 2048)
	var n uint32
	address := [4]byte{192, 0, 2, 1}
	must("look up", geoLookup(unsafe.Pointer(&address), 4, unsafe.Pointer(&buf[0]), uint32(len(buf)), &n))
	return string(buf[:n])
}

// log writes a line to an endpoint, and one to each of the standard ones.
func log(r *guest.Request) string {
	var endpoint, n uint32
	p, size := at("orders")
	must("open", logOpen(p, size, &endpoint))
	p, size = at("order of\n" + r.Header.Get("x-name"))
	must("log", logWrite(endpoint, p, size, &n))
	fmt.Println("out")
	println("err")
	return strconv.Itoa(int(n))
}

// handshake says how the client's TLS began.
func handshake(*guest.Request) string {
	text := func(what string, get func(unsafe.Pointer, uint32, *uint32) uint32) string {
		buf := make([]byte, 16<<10)
		var n uint32
		must(what, get(unsafe.Pointer(&buf[0]), uint32(len(buf)), &n))
		return string(buf[:n])
	}
	hello := text("hello", tlsHello)
	var ja3 [16]byte
	var n, verdict uint32
	must("JA3", tlsJA3(unsafe.Pointer(&ja3), &n))
	must("verdict", tlsVerdict(&verdict))
	block, _ := pem.Decode([]byte(text("certificate", tlsCertificate)))
	shown := 0
	if block != nil {
		shown = len(block.Bytes)
	}
	return fmt.Sprintf("%x %s %x %d %d", hello, text("JA4", tlsJA4), ja3[:n], verdict, shown)
}
