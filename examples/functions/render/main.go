//go:build wasip1

// Command render makes a page of an API's answer. As an origin, what it makes is
// stored: the API is asked once a minute, not once a visit.
package main

import (
	"html"
	"strings"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		resp, err := guest.NewRequest("GET", "http://api.internal"+r.Path()).Send("api")
		if err != nil || resp.Status != 200 {
			return guest.HTML(503, "<p>later</p>\n")
		}
		list, err := resp.Body.Text()
		if err != nil {
			return guest.HTML(503, "<p>later</p>\n")
		}
		var page strings.Builder
		page.WriteString("<ul>\n")
		for line := range strings.Lines(list) {
			page.WriteString("<li>" + html.EscapeString(strings.TrimSpace(line)) + "</li>\n")
		}
		page.WriteString("</ul>\n")
		out := guest.HTML(200, page.String())
		out.Header.Set("Cache-Control", "max-age=60")
		out.Header.Set("Surrogate-Key", "list")
		return out
	})
}
