// Package guest is for programs that run at the edge: functions in Go, compiled
// by Go's own compiler with GOOS=wasip1 GOARCH=wasm.
//
// Look at [Serve] first: a program calls it from main with what answers a
// request. Requests to the origins of the service go by their names, with
// [Request.Send], or several at once with [Request.Start].
//
//	package main
//
//	import "github.com/selvage-edge/selvage/guest"
//
//	func main() {
//		guest.Serve(func(r *guest.Request) *guest.Response {
//			return guest.Text(200, "hello "+r.Client())
//		})
//	}
//
// Each request runs in memory of its own: what a program leaves in a global
// variable is gone with the request, but for [ServeMany]. Everything that happens before Serve happens
// once for many requests, so tables and templates are best made there. What
// must differ from request to request must not: math/rand and the order of maps
// are seeded before, crypto/rand is not.
//
// It speaks the interface of Fastly Compute, so that a program runs there too. It
// refuses net/http, which makes a program several times larger. On other
// systems the package is empty but for this text.
package guest
