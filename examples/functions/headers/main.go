//go:build wasip1

// Command headers changes what the origin and the client are told: it adds a
// field to the request, and takes one away from the answer.
package main

import "github.com/selvage-edge/selvage/guest"

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		r.Header.Set("X-Plan", "gold")
		resp, err := r.Send("web")
		if err != nil {
			return guest.Text(502, err.Error()+"\n")
		}
		resp.Header.Del("Server")
		resp.Header.Set("X-Frame-Options", "DENY")
		return resp
	})
}
