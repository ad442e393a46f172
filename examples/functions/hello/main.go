//go:build wasip1

// Command hello is the smallest function.
package main

import "github.com/selvage-edge/selvage/guest"

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		return guest.Text(200, "hello from "+r.Path()+"\n")
	})
}
