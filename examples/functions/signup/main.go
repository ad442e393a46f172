//go:build wasip1

// Command signup leads visitors whom the accounts know to their login, and all others to the sign-up.
package main

import (
	"strings"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		if r.Cookie("session") != "" {
			resp, err := r.Send("web")
			if err != nil {
				return guest.Text(502, err.Error()+"\n")
			}
			return resp
		}
		ask := guest.NewRequest("GET", "http://accounts.internal/known")
		ask.Header.Set("X-Device", r.Cookie("device"))
		known, err := ask.Send("accounts")
		if err != nil || known.Status != 200 {
			return guest.Redirect(302, "/signup")
		}
		name, err := known.Body.Text()
		if err != nil {
			return guest.Redirect(302, "/signup")
		}
		return guest.Redirect(302, "/login?name="+strings.TrimSpace(name))
	})
}
