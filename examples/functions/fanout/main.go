//go:build wasip1

// Command fanout asks three origins at once and makes one document of their answers.
// One that fails is left out, and named.
package main

import (
	"strings"

	"github.com/selvage-edge/selvage/guest"
)

func main() {
	guest.Serve(func(r *guest.Request) *guest.Response {
		asks := [...]struct{ name, origin, path string }{
			{"product", "products", "/api/products" + r.Path()}, {"cart", "carts", "/api/cart"}, {"reviews", "reviews", "/api/reviews" + r.Path()},
		}
		var pending [len(asks)]*guest.Pending
		for i, ask := range asks {
			pending[i], _ = guest.NewRequest("GET", "http://"+ask.origin+".internal"+ask.path).Start(ask.origin) // nil: left out below
		}
		var parts, missing []string
		for i, p := range pending {
			body, ok := take(p)
			if !ok {
				missing = append(missing, `"`+asks[i].name+`"`)
				continue
			}
			parts = append(parts, `"`+asks[i].name+`":`+body)
		}
		if len(missing) > 0 {
			parts = append(parts, `"missing":[`+strings.Join(missing, ",")+`]`)
		}
		resp := guest.Text(200, "{"+strings.Join(parts, ",")+"}\n")
		resp.Header.Set("Content-Type", "application/json")
		return resp
	})
}

// take is the body of an answer that is there and well.
func take(p *guest.Pending) (string, bool) {
	if p == nil {
		return "", false
	}
	resp, err := p.Wait()
	if err != nil || resp.Status != 200 {
		return "", false
	}
	body, err := resp.Body.Text()
	return strings.TrimSpace(body), err == nil
}
