//go:build wasip1

// Command cart passes the cart on, and reads a field of the answer that is hardly
// ever there. Where it is, it panics: the fault that no test of its author saw.
package main

import (
	"strings"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		resp, err := r.Send("next")
		if err != nil {
			return guest.Text(502, err.Error()+"\n")
		}
		if offers := resp.Header.Get("Shop-Offers"); offers != "" {
			resp.Header.Set("Shop-Offer", strings.Split(offers, ";")[1])
		}
		return resp
	})
}
