package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/selvage-edge/selvage/client"
)

func TestPagesAreASCIIWhereTheLocaleIs(t *testing.T) {
	r := &client.Rollout{
		Change: client.Change{ID: "c-7", Service: "shop", Why: "größere Preise", From: "0123456789abcdef", To: "fedcba9876543210", State: client.Watching},
		Plan:   []string{strings.Repeat("a long line ", 20)}, Share: 0.5, ToUndo: client.Evidence{ToOne: 30, Bound: 1000},
		Gate:       &client.Gate{Next: 0.95, ToOne: 7, Bound: 50, Words: "watching: 12 makings so far, about 673 more for ε = 0.5 % (trap)"},
		Indicators: []client.Indicator{{Name: "origin 5xx", Bad: [2]int64{1, 0}}},
	}
	over := *r
	over.Change.State = client.Promoted
	over.Receipt = &client.Receipt{Outcome: client.Promoted, Words: "promoted: ε = 0.5 % after 12 makings"}
	s := &client.Status{State: "draining", Started: time.Now(), Services: []client.Service{{Service: "shop"}}}
	for locale, plain := range map[string]bool{"C": true, "POSIX": true, "": true, "C.UTF-8": false, "de_DE.utf8": false} {
		t.Setenv("LC_ALL", locale)
		t.Setenv("LC_CTYPE", "")
		t.Setenv("LANG", "")
		f, err := os.Create(filepath.Join(t.TempDir(), "out"))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		w := newStream(f)
		var page bytes.Buffer
		for _, w := range []interface{ Write([]byte) (int, error) }{w, &page} {
			rolloutPage{w, ui{}}.show(r)
			rolloutPage{w, ui{}}.show(&over)
			statusPage{w, ui{}, time.Now()}.node(s)
		}
		got, err := os.ReadFile(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		if is := !bytes.ContainsFunc(got, func(r rune) bool { return r > 127 }); is != plain {
			t.Errorf("locale %q: ASCII %t, want %t:\n%s", locale, is, plain, got)
		}
		if len([]rune(string(got))) != len([]rune(page.String())) {
			t.Errorf("locale %q: it is not as wide as it was:\n%s", locale, got)
		}
		if want := "about 673 more for e = 0.5 %"; plain && !strings.Contains(strings.Join(strings.Fields(string(got)), " "), want) {
			t.Errorf("locale %q: no %q in\n%s", locale, want, got)
		}
	}
}

func TestWhatProgramsReadIsAsItIsInEveryLocale(t *testing.T) {
	t.Setenv("LC_ALL", "C")
	f, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := printJSON(newStream(f), "größer, ε"); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(f.Name()); err != nil || string(got) != "\"größer, ε\"\n" {
		t.Errorf("got %q, %v", got, err)
	}
}
