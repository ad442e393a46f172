// Package functions has programs for the edge, a folder each. `make examples`
// builds all of them; one in Go is built with
//
//	GOOS=wasip1 GOARCH=wasm go build -o examples/functions/hello.wasm ./examples/functions/hello
//
// (handler, which is a library, with -buildmode=c-shared), and functions.yaml
// beside this file has a route for each of those. The folders javascript and
// assemblyscript are programs for Fastly Compute, made with its own npm
// packages. Each has the fastly.toml that it runs with.
package functions
