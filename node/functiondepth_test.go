package node

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestFunctionsCallEachOtherFourDeepAndNoDeeper(t *testing.T) {
	var origins, functions strings.Builder
	for i := 1; i <= maxFunctionDepth+1; i++ {
		next := fmt.Sprint("o", i+1)
		if i == maxFunctionDepth+1 {
			next = "web"
		}
		fmt.Fprintf(&origins, "o%d: {function: f%d}, ", i, i)
		fmt.Fprintf(&functions, "f%d: {module: FILE(next), backends: {next: %s}}, ", i, next)
	}
	b := serveGuests(t, fmt.Sprintf(`service: test
hosts: ["*"]
origins: {%sweb: {endpoints: [ORIGIN]}}
functions: {%sother: {module: FILE(next), backends: {next: web}}}
routes:
  - {match: {path: /five}, function: f1}
  - {match: {path: /four}, function: f2}
`, &origins, &functions), func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "origin") },
		map[string]string{"next": asks(t, "next", "next", "GET", "unreachable")})
	expect(t, "four", b.get("/four"), "200 origin")
	b.took()
	if got := b.get("/five"); !strings.HasPrefix(got, "500 ") {
		t.Errorf("five deep: got %q", got)
	}
	if got := b.took(); got != "" {
		t.Errorf("five deep: the origin was asked %s", got)
	}
}
