package cache

import (
	"slices"
	"testing"
	"time"
)

func TestOnlyWhatTellsAllBytesApartIsAStrongValidator(t *testing.T) {
	const changed = "Last-Modified: Sat, 01 Jan 2000 00:00:00 GMT\n"
	for fields, want := range map[string]string{
		"":                         "",
		`Etag: "a"`:                `"a"`,
		`Etag: W/"a"`:              "",
		"Etag: \"a\"\nEtag: \"b\"": "",
		changed + `Etag: W/"a"`:    "", // who has a weak tag says that the bytes may differ
		changed:                    "", // nobody knows when it was made
		changed + "Date: oops":     "",
		"Last-Modified: oops\nDate: Sat, 01 Jan 2000 00:00:09 GMT": "",
		changed + "Date: Sat, 01 Jan 2000 00:00:00 GMT":            "", // it may change again within the second
		changed + "Date: Sat, 01 Jan 2000 00:00:01 GMT":            "Sat, 01 Jan 2000 00:00:00 GMT",
	} {
		if got := strongValidator(head(fields), epoch); got != want {
			t.Errorf("%q: got %q, want %q", fields, got, want)
		}
	}
}

// partAt is a stored part of ten bytes at a place of thirty, as good as can be.
func partAt(place int64) *answer {
	a := &answer{
		status: 200, header: head("Etag: \"a\""), body: bodyOf([][]byte{[]byte("0123456789")}), length: 10,
		terms: terms{received: epoch, lifetime: time.Minute, immutable: true}, part: span{place, 10}, total: 30,
		position: 7, softened: 7, tags: []string{"a"},
	}
	a.mark = a.body
	return a
}

// TestAWholeIsNoBetterThanTheWorstOfItsParts: whichever part comes first, and
// however the whole is put together.
func TestAWholeIsNoBetterThanTheWorstOfItsParts(t *testing.T) {
	tests := map[string]struct {
		part func(*answer)
		want func(*answer) bool
	}{
		"position":         {func(a *answer) { a.position = 0 }, func(w *answer) bool { return w.position == 0 }},
		"made stale":       {func(a *answer) { a.terms.spent = true }, func(w *answer) bool { return w.terms.spent && w.terms.ttl(epoch) <= 0 }},
		"asked each time":  {func(a *answer) { a.terms.noCache = true }, func(w *answer) bool { return w.terms.noCache }},
		"never stale":      {func(a *answer) { a.terms.neverStale = true }, func(w *answer) bool { return w.terms.neverStale }},
		"fresh for less":   {func(a *answer) { a.terms.lifetime = time.Second }, func(w *answer) bool { return w.terms.lifetime == time.Second }},
		"older":            {func(a *answer) { a.terms.initialAge = 50 * time.Second }, func(w *answer) bool { return w.terms.ttl(epoch) == 10*time.Second }},
		"not softened yet": {func(a *answer) { a.softened = 3 }, func(w *answer) bool { return w.softened == 3 }},
		"mutable":          {func(a *answer) { a.terms.immutable = false }, func(w *answer) bool { return !w.terms.immutable }},
		"a tag of its own": {func(a *answer) { a.tags = []string{"b"} }, func(w *answer) bool { return slices.Equal(w.tags, []string{"a", "b"}) }},
		"a group":          {func(a *answer) { a.groups = []string{"g"} }, func(w *answer) bool { return slices.Equal(w.groups, []string{"g"}) }},
	}
	for name, tt := range tests {
		a, b, c := partAt(0), partAt(10), partAt(20)
		tt.part(b)
		head := a.asWhole()
		head.include(b)
		for i, w := range []*answer{
			combine([]*answer{a, b, c}), combine([]*answer{b, a, c}), combine([]*answer{c, a, b}),
			head, b.asWhole().joined(a), a.asWhole().joined(b),
		} {
			if w == nil || !tt.want(w) || !w.hadAge {
				t.Errorf("%s, put together in way %d: got %+v", name, i, w)
			}
		}
	}
}
