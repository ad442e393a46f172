package http1

import (
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
)

func TestNamesOfFieldsAreKeptAsTheyCame(t *testing.T) {
	const request = "GET / HTTP/1.1\r\nhOST: x\r\nx-lower: 1\r\nACCEPT: */*\r\nX-Lower: 2\r\nsec-CH-ua: a\r\nAccept: b\r\nconnection: close\r\n\r\n"
	for _, d := range serverDrivers {
		t.Run(d.name, func(t *testing.T) {
			var keep atomic.Bool
			s := &Server{KeepNames: keep.Load, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				fmt.Fprintf(w, "%q %q %q", FieldNamesOf(r.Context()), r.Header["X-Lower"], r.Header["Sec-Ch-Ua"])
			})}
			for _, c := range []struct {
				keep bool
				want string
			}{
				{true, `"hOST\nx-lower\nACCEPT\nX-Lower\nsec-CH-ua\nAccept\nconnection" ["1" "2"] ["a"]`},
				{false, `"" ["1" "2"] ["a"]`},
			} {
				keep.Store(c.keep)
				if got := talk(t, d, s, request); !strings.Contains(got, c.want) {
					t.Errorf("kept %t: got %q, want %s", c.keep, got, c.want)
				}
			}
		})
	}
	if names := FieldNamesOf(t.Context()); names != "" {
		t.Errorf("of no request: %q", names)
	}
}
