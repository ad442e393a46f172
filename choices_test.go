package selvage

import (
	"slices"
	"testing"
)

func TestProtocolsAreThoseOfTheirList(t *testing.T) {
	for _, text := range Protocol("").Values() {
		var p Protocol
		if err := p.UnmarshalText([]byte(text)); err != nil || string(p) != text {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "h3", "HTTP1", "http/1.1"} {
		var p Protocol
		want := `"` + text + `" is not a protocol: write http1, h2 or h2c`
		if err := p.UnmarshalText([]byte(text)); err == nil || err.Error() != want || p != "" {
			t.Errorf("%q: got %q, %v", text, p, err)
		}
	}
	if want := []string{string(HTTP1), string(H2), string(H2C)}; !slices.Equal(Protocol("").Values(), want) {
		t.Errorf("got %v, want %v", Protocol("").Values(), want)
	}
}

func TestLimitKeysNameWhoShares(t *testing.T) {
	for text, header := range map[string]string{"client": "", "route": "", "header:X-Key": "X-Key", "header:a:b": "a:b"} {
		var k LimitKey
		err := k.UnmarshalText([]byte(text))
		name, ok := k.Header()
		if err != nil || ok != (header != "") || ok && name != header {
			t.Errorf("%q: got header %q %v, %v", text, name, ok, err)
		}
	}
	for _, text := range []string{"", "header:", "header", "ip", "Client"} {
		var k LimitKey
		want := `"` + text + `" is not a limit's key: write client, route or header:NAME`
		if err := k.UnmarshalText([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v", text, err)
		}
	}
}

func TestErrorsAreLoggedUnlessNothingIs(t *testing.T) {
	for text, want := range map[string]LogChoice{"all": {1, true}, "errors": {0, true}, "none": {0, false}, "25%": {0.25, true}} {
		var c LogChoice
		if err := c.UnmarshalText([]byte(text)); err != nil || c != want {
			t.Errorf("%q: got %+v, %v, want %+v", text, c, err, want)
		}
	}
}

func TestRungsAreReadFromTheWordStale(t *testing.T) {
	r := Rung{Default: &DefaultAnswer{}}
	if err := r.UnmarshalText([]byte("stale")); err != nil || !r.Stale || r.Default != nil {
		t.Errorf("got %+v, %v", r, err)
	}
	for _, text := range []string{"", "Stale", "default", "inbox"} {
		want := `"` + text + `" is not a step of the failure ladder: write stale, or default with its answer`
		if err := r.UnmarshalText([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%q: got %v", text, err)
		}
	}
}
