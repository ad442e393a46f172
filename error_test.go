package selvage

import (
	"errors"
	"testing"
)

func TestAProxyErrorNamesTheOriginThatItIsOf(t *testing.T) {
	for _, tc := range []struct{ origin, endpoint, want string }{
		{"", "", "connection_refused: no"},
		{"web", "", `origin "web": connection_refused: no`},
		{"web", "10.0.0.1:80", `origin "web" at 10.0.0.1:80: connection_refused: no`},
	} {
		err := &ProxyError{Type: ConnectionRefused, Origin: OriginName(tc.origin), Endpoint: tc.endpoint, Err: errors.New("no")}
		if got := err.Error(); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}
