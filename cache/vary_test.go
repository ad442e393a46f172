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
