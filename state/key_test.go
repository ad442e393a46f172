package state

import (
	"strings"
	"testing"
)

func FuzzNoTwoPartsOfKeysAreWrittenTheSame(f *testing.F) {
	for _, s := range []string{"", "a", "A", "a.b", "=", "=2e", "é", "\x00\xff", "main"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, part string) {
		written := escape(part)
		if back := unescape(written); back != part {
			t.Errorf("%q is written %q, which is read as %q", part, written, back)
		}
		if strings.ToLower(written) != written || strings.ContainsAny(written, "._/\\*> \r\n") {
			t.Errorf("%q is written %q", part, written)
		}
	})
}
