//go:build wasip1

// Command abtest sends each visitor to one of two origins and keeps them there by a cookie.
package main

import (
	"crypto/rand"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		group, known := r.Cookie("group"), true
		if group != "a" && group != "b" {
			group, known = draw(), false
		}
		resp, err := r.Send("web-" + group)
		if err != nil {
			return guest.Text(502, err.Error()+"\n")
		}
		if !known {
			resp.Header.Add("Set-Cookie", "group="+group+"; Path=/; Max-Age=2592000; SameSite=Lax")
			resp.Header.Set("Cache-Control", "private")
		}
		return resp
	})
}

// draw is a or b. Not by math/rand, whose seed the requests of a sandbox share.
func draw() string {
	var b [1]byte
	_, _ = rand.Read(b[:]) // it never fails
	return [...]string{"a", "b"}[b[0]&1]
}
