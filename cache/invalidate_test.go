package cache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestInvalidatedURLs(t *testing.T) {
	tests := []struct {
		status int
		head   string
		want   []string
	}{
		{200, "", []string{"/cart/1"}},
		{204, "", []string{"/cart/1"}},
		{303, "Location: /cart/2", []string{"/cart/1", "/cart/2"}},
		{201, "Location: 2?x\nContent-Location: http://shop.example:80/3", []string{"/cart/1", "/cart/2?x", "/3"}},
		{201, "Location: http://SHOP.example/cart/1", []string{"/cart/1"}},
		{201, "Location: http://other.example/a\nContent-Location: https://shop.example/b", []string{"/cart/1"}},
		{201, "Location: //other.example/a", []string{"/cart/1"}},
		{201, "Location: http://shop.example:8080/a", []string{"/cart/1"}},
		{201, "Location: %zz\nContent-Location: :", []string{"/cart/1"}},
		{201, "Location: ../up#frag", []string{"/cart/1", "/up"}},
		{199, "Location: /a", nil},
		{400, "Location: /a", nil},
		{500, "Location: /a", nil},
	}
	target := keyOf(&shop, get(t, "http://shop.example/cart/1"))
	for _, tt := range tests {
		var got []string
		for _, k := range invalidated(&shop, target, tt.status, head(tt.head)) {
			if k.Host != target.Host || k.Scheme != target.Scheme || k.Service != target.Service {
				t.Errorf("%d %q reaches %v", tt.status, tt.head, k)
			}
			u := k.Path
			if k.HasQuery {
				u += "?" + k.Query
			}
			got = append(got, u)
		}
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%d %q: (-want +got)\n%s", tt.status, tt.head, d)
		}
	}
}
