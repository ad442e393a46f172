//go:build wasip1

// Command render makes a page of what an API answers. As an origin, what it makes is
// stored: the API is asked once a minute, not once a visit.
package main

import (
	"encoding/csv"
	"html"
	"strings"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		_, query, _ := strings.Cut(r.URL, "?")
		ask := guest.NewRequest("GET", "http://api.internal"+r.Path()+"?"+query)
		ask.Header.Set("Accept", "text/csv")
		resp, err := ask.Send("api")
		if err != nil || resp.Status != 200 {
			return guest.HTML(503, "<p>later</p>\n")
		}
		text, err := resp.Body.Text()
		if err != nil {
			return guest.HTML(503, "<p>later</p>\n")
		}
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			return guest.HTML(503, "<p>later</p>\n")
		}
		out := guest.HTML(200, table(rows))
		out.Header.Set("Cache-Control", "max-age=60")
		out.Header.Set("Surrogate-Key", "list")
		return out
	})
}

func table(rows [][]string) string {
	var page strings.Builder
	page.WriteString("<table>\n")
	for _, row := range rows {
		page.WriteString("<tr>")
		for _, cell := range row {
			page.WriteString("<td>" + html.EscapeString(cell) + "</td>")
		}
		page.WriteString("</tr>\n")
	}
	page.WriteString("</table>\n")
	return page.String()
}
