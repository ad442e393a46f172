// Package functions has programs for the edge, a folder each. Build one with
//
//	GOOS=wasip1 GOARCH=wasm go build -o hello.wasm ./examples/functions/hello
//
// and run it with functions.yaml beside this file, which has a route for each
// of them. The folders javascript and assemblyscript are for their own compilers.
package functions
