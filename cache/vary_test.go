package cache

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVaryNamesFields(t *testing.T) {
	tests := []struct {
		lines []string
		want  []string
		ok    bool
	}{
		{nil, nil, true},
		{[]string{""}, nil, true},
		{[]string{" , ,"}, nil, true},
		{[]string{"accept-encoding"}, []string{"Accept-Encoding"}, true},
		{[]string{"b, a", "A ,c"}, []string{"A", "B", "C"}, true},
		{[]string{"Host"}, nil, true},
		{[]string{"*"}, nil, false},
		{[]string{"a", "b,*"}, nil, false},
		{[]string{`"a"`}, nil, false},
		{[]string{"a b"}, nil, false},
		{[]string{"a;b"}, nil, false},
	}
	for _, tt := range tests {
		got, ok := varyNames(tt.lines)
		if ok != tt.ok || !cmp.Equal(got, tt.want) {
			t.Errorf("varyNames(%q) = %q, %v; want %q, %v", tt.lines, got, ok, tt.want, tt.ok)
		}
	}
}

func TestSelectingFieldsAreComparedNormalised(t *testing.T) {
	tests := []struct {
		stored, asked string
		want          bool
	}{
		{"", "", true},
		{"", "X: a", false},
		{"X: a", "", false},
		{"X:", "", false}, // there and empty is not absent
		{"X: a", "X: a", true},
		{"X: a", "X:  a ", true},
		{"X: a", "X: A", false},
		{"X: a, b", "X: a,b", true},
		{"X: a, b", "X: a\nX: b", true},
		{"X: a, b", "X: b, a", false},
		{"X: a, b", "X: a", false},
		{"X: a", "X: a\nX: a", false},
		{"X: a\nY: 1", "X: a\nY: 2", true}, // Y is not named
	}
	for _, tt := range tests {
		sel := selectorsOf([]string{"X"}, head(tt.stored))
		if got := selected(sel, head(tt.asked)); got != tt.want {
			t.Errorf("stored for %q, asked with %q: selected %v, want %v", tt.stored, tt.asked, got, tt.want)
		}
	}
}

func TestPreferencesAreComparedByWhatTheySay(t *testing.T) {
	tests := []struct {
		name, stored, asked string
		want                bool
	}{
		{"Accept-Encoding", "gzip, br", "br,gzip", true},
		{"Accept-Encoding", "gzip, br", "BR , GZip", true},
		{"Accept-Encoding", "gzip;q=1.0, br", "br, gzip", true},
		{"Accept-Encoding", "gzip; q=0.50, br", "br, gzip;q=0.5", true},
		{"Accept-Encoding", "gzip, gzip", "gzip", true},
		{"Accept-Encoding", "gzip;q=0, br", "br", false},
		{"Accept-Encoding", "gzip;q=0.0", "gzip;q=0", true},
		{"Accept-Encoding", "gzip;q=0.1", "gzip;q=1", false},
		{"Accept-Encoding", "gzip;q=10", "gzip;q=1", false},
		{"Accept-Encoding", "gzip", "gzip, br", false},
		{"Accept-Encoding", "", "gzip", false},
		{"Accept-Language", "en, de", "de, en", true},
		{"Accept-Language", "en-GB, de;q=0.8", "DE;q=0.8,en-gb", true},
		{"Accept-Language", "en, de;q=0.8", "en;q=0.8, de", false},
		{"Accept-Charset", "utf-8, x", "X,UTF-8", true},
		{"Accept", "a/b, c/d", "c/d, a/b", false},
	}
	for _, tt := range tests {
		sel := selectorsOf([]string{tt.name}, map[string][]string{tt.name: {tt.stored}})
		if got := selected(sel, map[string][]string{tt.name: {tt.asked}}); got != tt.want {
			t.Errorf("%s stored for %q, asked with %q: selected %v, want %v", tt.name, tt.stored, tt.asked, got, tt.want)
		}
	}
	sel := selectorsOf([]string{"Accept-Encoding"}, nil)
	if selected(sel, map[string][]string{"Accept-Encoding": {""}}) {
		t.Error("an empty Accept-Encoding, which refuses every coding, is taken for none")
	}
}
