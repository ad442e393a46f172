//go:build wasip1

// Command counter is a program of the tests that counts the requests of its sandbox.
package main

import (
	"strconv"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	count := 0
	guest.ServeMany(func(*guest.Request) *guest.Response {
		count++
		return guest.Text(200, strconv.Itoa(count))
	})
}
