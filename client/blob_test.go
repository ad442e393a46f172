package client

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

// An answer to HEAD has no body that would say why.
func TestABlobThatMayNotBeAskedForIsSaidInWords(t *testing.T) {
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusForbidden) }))
	defer node.Close()
	c, err := New(Options{Address: node.URL})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.HasBlob(t.Context(), "00"); err == nil || err.Error() != "the token's role does not allow this" {
		t.Errorf("got %v", err)
	}
}
