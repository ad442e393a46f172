package policy

import (
	"net/http"

	"github.com/selvage-edge/selvage"
)

// compileMaxBody bounds the request body: at once where the length is known,
// else when it is read. Then the reader of Out's body gets an
// [http.MaxBytesError], for which the answer is 413 too.
func compileMaxBody(_ Scope, rt *selvage.Route) (policy, error) {
	most := int64(rt.MaxBody)
	if most < 0 {
		return policy{}, selvage.Errorf(selvage.Invalid, "max_body: %d is negative", most)
	}
	if most == 0 {
		return policy{}, nil
	}
	text := "The body of this request may have at most " + rt.MaxBody.String() + ".\n"
	return policy{request: func(x *Exchange) *Answer {
		if x.In.ContentLength > most {
			hit(x, "body")
			return refuse(x, http.StatusRequestEntityTooLarge, text, "max_body: Content-Length is beyond it")
		}
		if x.Out.Body != nil && x.Out.Body != http.NoBody {
			x.Out.Body = http.MaxBytesReader(nil, x.Out.Body, most)
		}
		return nil
	}}, nil
}
